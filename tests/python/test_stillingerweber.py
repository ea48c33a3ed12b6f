# SPDX-License-Identifier: MIT
"""StillingerWeberForce against CustomManyParticleForce, finite differences, and platforms against Reference."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any

import numpy as np
import openmm
import pytest
from openmm import unit

import beads
import meanforce
from beads import BOXES, REFERENCE, evaluate, make_positions, make_system, new_context, reference
from conftest import TestPlatform
from meanforce import StillingerWeberForce
from meanforce.modelfile import ModelFileError

CUTOFF = 0.45
#: mW water, doi:10.1021/jp805227c: nm and kJ/mol.
SIGMA, EPSILON, LAMBDA, A, B = 0.23925, 25.87, 23.15, 7.049556277, 0.6022245584


def limit(platform: TestPlatform) -> float:
    """Force error over force RMS: doubles on the CPU platform too."""
    return platform.tolerance(1e-5, 1e-5, 1e-9)


def make_parameters(num_types: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ranges and gammas, [centre][type], and coefficients, [centre][type][type][3], symmetric in the types."""
    rng = np.random.default_rng(seed)
    ranges = rng.uniform(0.35, CUTOFF, (num_types, num_types))
    gammas = rng.uniform(0.08, 0.2, (num_types, num_types))
    coefficients = 100 * rng.normal(size=(num_types, num_types, num_types, 3))
    return ranges, gammas, coefficients + coefficients.transpose(0, 2, 1, 3)


def set_parameters(force: StillingerWeberForce, num_types: int, seed: int = 1) -> None:
    ranges, gammas, coefficients = make_parameters(num_types, seed)
    for center, second in itertools.product(range(num_types), repeat=2):
        force.setPairParameters(center, second, ranges[center, second], gammas[center, second])
        for first in range(second + 1):
            force.setTripletParameters(center, second, first, *coefficients[center, first, second])


def make_force(types: Any, periodic: bool, num_types: int = 1) -> StillingerWeberForce:
    force = StillingerWeberForce(num_types, CUTOFF * unit.nanometer)
    set_parameters(force, num_types)
    force.setUsesPeriodicBoundaryConditions(periodic)
    for type in types:
        force.addParticle(type)
    return force


def make_mixture(types: Any, periodic: bool) -> StillingerWeberForce:
    return make_force(types, periodic, 3)


def make_water(count: int, periodic: bool) -> StillingerWeberForce:
    force = StillingerWeberForce(1, 1.8 * SIGMA)
    force.setPairParameters(0, 0, 1.8 * SIGMA, 1.2 * SIGMA)
    force.setTripletAngle(0, 0, 0, LAMBDA * EPSILON * unit.kilojoule_per_mole, -1 / 3)
    force.setUsesPeriodicBoundaryConditions(periodic)
    for _ in range(count):
        force.addParticle(0)
    return force


def many_particle_water(count: int, cosine: str = "1/3") -> openmm.CustomManyParticleForce:
    """mW's three-body term as OpenMM computes it."""
    a, gamma = 1.8 * SIGMA, 1.2 * SIGMA
    force = openmm.CustomManyParticleForce(
        3,
        f"{LAMBDA * EPSILON!r}*(cos(theta)+{cosine})^2*exp({gamma!r}/(r12-{a!r}))*exp({gamma!r}/(r13-{a!r}))"
        f"*step({a!r}-r12)*step({a!r}-r13);"
        "r12=distance(p1,p2); r13=distance(p1,p3); theta=angle(p2,p1,p3)",
    )
    force.setPermutationMode(force.UniqueCentralParticle)
    force.setNonbondedMethod(force.CutoffPeriodic)
    force.setCutoffDistance(a)
    for _ in range(count):
        force.addParticle([])
    return force


def liquid(side: int = 4, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return positions at the density of water, a crystal well shaken, and their box."""
    edge = 0.31
    cells = np.stack(np.meshgrid(*[np.arange(side)] * 3), -1).reshape(-1, 3) * edge
    positions = cells + np.random.default_rng(seed).normal(scale=0.03, size=cells.shape)
    return positions.astype(np.float32).astype(float), np.diag([side * edge] * 3)


def test_water_equals_custom_many_particle_force() -> None:
    positions, box = liquid()
    count = len(positions)
    found = reference(make_system(make_water(count, True), count, box), positions)
    expected = reference(make_system(many_particle_water(count), count, box), positions)
    rms = np.sqrt(np.mean(expected[1] ** 2))
    assert rms > 100
    assert found[0] == pytest.approx(expected[0], rel=1e-9)
    assert np.abs(found[1] - expected[1]).max() < 1e-9 * rms
    # Another angle is seen.
    other = reference(make_system(many_particle_water(count, "0.35"), count, box), positions)
    assert np.abs(found[1] - other[1]).max() > 1e-2 * rms


def test_mixture_equals_custom_many_particle_force() -> None:
    """Unequal types, ranges and coefficients: each centre type is a CustomManyParticleForce with tables."""
    num_types, count, box = 2, 24, BOXES["triclinic"]
    types = np.arange(count) % num_types
    positions = make_positions(count, box)
    ranges, gammas, coefficients = make_parameters(num_types)
    force = openmm.CustomManyParticleForce(
        3,
        "(c(i)+c(i+1)*cosine+c(i+2)*cosine^2)*g12*g13; i=3*(4*type1+2*type2+type3); cosine=cos(angle(p2,p1,p3));"
        "g12=step(a(j)-r12)*exp(h(j)/min(r12-a(j),-1e-9)); g13=step(a(k)-r13)*exp(h(k)/min(r13-a(k),-1e-9));"
        "j=2*type1+type2; k=2*type1+type3; r12=distance(p1,p2); r13=distance(p1,p3)",
    )
    for name, table in (("a", ranges), ("h", gammas), ("c", coefficients)):
        force.addTabulatedFunction(name, openmm.Discrete1DFunction(table.reshape(-1)))
    force.addPerParticleParameter("type")
    force.setPermutationMode(force.UniqueCentralParticle)
    force.setNonbondedMethod(force.CutoffPeriodic)
    force.setCutoffDistance(CUTOFF)
    for type in types:
        force.addParticle([type])
    expected = reference(make_system(force, count, box), positions)
    found = reference(make_system(make_force(types, True, 2), count, box), positions)
    rms = np.sqrt(np.mean(expected[1] ** 2))
    assert rms > 10
    assert found[0] == pytest.approx(expected[0], rel=1e-9)
    assert np.abs(found[1] - expected[1]).max() < 1e-9 * rms
    # Exchanging the types is seen.
    swapped = reference(make_system(make_force(1 - types, True, 2), count, box), positions)
    assert np.abs(found[1] - swapped[1]).max() > 1e-2 * rms


def test_a_perfect_tetrahedron_has_no_energy(platform: TestPlatform) -> None:
    corners = 0.25 / np.sqrt(3) * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    system = make_system(make_water(5, False), 5)
    context = new_context(platform, system, np.concatenate([[[0, 0, 0]], corners]))
    energy, forces = evaluate(context)
    context.setPositions(
        np.concatenate([[[0, 0, 0]], np.abs(corners) * [[1, 1, 1], [1, -1, 1], [-1, 1, 1], [1, 1, -1]]])
    )
    bent = evaluate(context)
    # The corners are 0.41 nm apart, so that they are in each other's range, at angles of 60 degrees: hardly.
    assert abs(energy) < 1e-3 * bent[0]
    assert np.abs(forces).max() < 1e-2 * np.abs(bent[1]).max()


@pytest.mark.parametrize("box", BOXES)
def test_reference_forces_are_the_gradient(box: str) -> None:
    beads.check_gradient(make_mixture, np.arange(30) % 3, BOXES[box])


@pytest.mark.parametrize("box", BOXES)
def test_platform_equals_reference(platform: TestPlatform, box: str) -> None:
    beads.check_platform(platform, make_mixture, np.arange(40) % 3, BOXES[box], limit(platform))
    beads.check_platform(platform, make_force, [0] * 40, BOXES[box], limit(platform))


def test_each_platform_runs_its_own_kernel(platform: TestPlatform) -> None:
    beads.check_kernel_class(platform, make_force([0, 0], False), 2)


def test_replicas() -> None:
    beads.check_replicas(make_force)


def test_absent_particles(platform: TestPlatform) -> None:
    """Particles of type -1 neither act nor feel; two beads are no triple."""
    types = [0, -1, 0, -1, 0, 0, 0]
    positions = np.array(
        [[0, 0, 0], [0.1875, 0, 0], [5, 0, 0], [5.125, 0, 0], [5.25, 0.125, 0], [5.125, 0.25, 0.125], [0, 0.25, 0]]
    )
    energy, forces = evaluate(new_context(platform, make_system(make_force(types, False), 7), positions))
    assert np.abs(forces[[0, 1, 3, 6]]).max() < limit(platform) * np.abs(forces).max()
    kept = [2, 4, 5]
    expected = reference(make_system(make_force([0, 0, 0], False), 3), positions[kept])
    assert energy == pytest.approx(expected[0], rel=limit(platform) if platform.name != "CPU" else 1e-6)
    np.testing.assert_allclose(forces[kept], expected[1], atol=limit(platform) * np.abs(expected[1]).max())


def test_coinciding_beads_give_finite_forces(platform: TestPlatform) -> None:
    beads.check_coinciding(platform, make_force)


def test_crowded_rows(platform: TestPlatform) -> None:
    beads.check_crowd(platform, make_force, BOXES["triclinic"])


def test_repeatable(platform: TestPlatform) -> None:
    beads.check_repeatable(platform, make_force)


def test_dynamics(platform: TestPlatform) -> None:
    beads.check_dynamics(platform, make_water(100, True), [], 2.0, limit(platform))


def test_smooth_where_a_neighbour_comes_into_range(platform: TestPlatform) -> None:
    """The force falls faster than any power: here faster than the fourth."""
    context = new_context(platform, make_system(make_water(3, False), 3), np.zeros((3, 3)))
    found = {}
    for gap in (0.04, 0.02, 1e-7, 0.0, -0.01):
        context.setPositions([[0, 0, 0], [1.8 * SIGMA - gap, 0, 0], [0, 0.25, 0]])
        found[gap] = np.abs(evaluate(context)[1]).max()
    assert 0 < found[0.02] < found[0.04] / 16
    assert found[1e-7] == found[0.0] == found[-0.01] == 0


def test_cpu_threads() -> None:
    """Bitwise repeatable for a given number of threads; between numbers sums differ in the last bits only."""
    positions, box = liquid(12)
    count = 1500
    system = make_system(make_water(count, True), count, box)
    positions = positions[:count]
    expected = beads.evaluate_with_threads(system, positions, 1)
    for threads in (2, 3):
        found = beads.evaluate_with_threads(system, positions, threads)
        assert np.abs(found[1] - expected[1]).max() < 1e-11 * np.abs(expected[1]).max()
        assert found[0] == pytest.approx(expected[0], rel=1e-7)
        assert np.array_equal(beads.evaluate_with_threads(system, positions, threads)[1], found[1])


def test_update_parameters_in_context(platform: TestPlatform) -> None:
    count = 25
    positions = make_positions(count, None)
    force = make_force(np.arange(count) % 2, False, 2)
    context = new_context(platform, make_system(force, count), positions)
    before = evaluate(context)
    types = [[1, -1, 0, 0][i % 4] for i in range(count)]
    changed = make_force(types, False, 2)
    set_parameters(changed, 2, seed=7)
    set_parameters(force, 2, seed=7)
    for i, type in enumerate(types):
        force.setParticleType(i, type)
    force.updateParametersInContext(context)
    expected = reference(make_system(changed, count), positions)
    beads.assert_same(platform, evaluate(context), expected)
    assert abs(before[0] - expected[0]) > 1
    force.addParticle(0)
    with pytest.raises(openmm.OpenMMException, match="change the number of particles from 25 to 26"):
        force.updateParametersInContext(context)


def test_round_trips() -> None:
    ranges, gammas, coefficients = make_parameters(2)
    for force in beads.round_trips(make_force([0, -1, 1, 0], True, 2)):
        for center, second in itertools.product(range(2), repeat=2):
            found = force.getPairParameters(center, second)
            assert [v / unit.nanometer for v in found] == [ranges[center, second], gammas[center, second]]
            for first in range(2):
                c = force.getTripletParameters(center, first, second)
                assert [v / unit.kilojoule_per_mole for v in c] == list(coefficients[center, first, second])
    empty = pickle.loads(pickle.dumps(StillingerWeberForce(2, 0.5)))
    assert empty.getPairParameters(0, 1)[0] == 0 * unit.nanometer


def test_bad_arguments() -> None:
    for arguments, message in (
        ((0, 0.5), "number of types must be at least 1, found 0"),
        ((1, -0.5), r"cutoff must be positive \(nm\), found -0.5"),
    ):
        with pytest.raises(ValueError, match=message):
            StillingerWeberForce(*arguments)
    force = StillingerWeberForce(2, 0.5)
    for call, message in (
        (
            lambda: force.setPairParameters(0, 2, 0.4, 0.1),
            "index of a bead type must be at least 0 and less than 2, found 2",
        ),
        (
            lambda: force.setPairParameters(0, 1, 0.6, 0.1),
            "range must be positive and at most the cutoff, 0.5 nm, found 0.6",
        ),
        (lambda: force.setPairParameters(0, 1, float("nan"), 0.1), "range must be positive .* found nan"),
        (lambda: force.setPairParameters(0, 1, 0.4, 0.0), r"gamma must be positive \(nm\), found 0"),
        (lambda: force.setTripletParameters(-1, 0, 0, 1, 1, 1), "index of a bead type .* found -1"),
        (
            lambda: force.setTripletParameters(0, 0, 0, 1, np.inf, 1),
            "coefficients must be finite, found inf at position 1",
        ),
        (lambda: force.setTripletAngle(0, 0, 0, 1, -1.5), "cosine of the angle must be from -1 to 1, found -1.5"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError):
        force.setPairParameters(0, 0, 0.4 * unit.kelvin, 0.1)


def test_incomplete_forces_are_refused() -> None:
    def refuse(force: StillingerWeberForce, message: str, box: Any = None) -> None:
        with pytest.raises(openmm.OpenMMException, match=message):
            REFERENCE.context(make_system(copy.copy(force), 1, box), openmm.VerletIntegrator(0.001))

    force = StillingerWeberForce(2, CUTOFF)
    refuse(force, "number of particles must be that of the System, 1, found 0")
    force.addParticle(0)
    force.setTripletAngle(0, 0, 1, 10.0, -0.5)
    refuse(force, "needs the pair parameters .* found none for a centre of type 0 and a neighbour of type 0")
    force.setPairParameters(0, 0, 0.4, 0.1)
    refuse(force, "found none for a centre of type 0 and a neighbour of type 1")
    refuse(make_force([0], True), "box must be at least twice the cutoff", np.diag([0.8, 2, 2]))


# ------------------------------------------------------------------------------------------------------- the torch twin
def make_model(torch: Any, num_types: int) -> Any:
    from meanforce.potentials import StillingerWeber

    ranges, gammas, coefficients = make_parameters(num_types)
    model = StillingerWeber(num_types, ranges, gammas).double()
    with torch.no_grad():
        for second in range(num_types):
            for first in range(second + 1):
                row = second * (second + 1) // 2 + first
                model.coefficients[:, row] = torch.from_numpy(coefficients[:, first, second])
    return model


@pytest.mark.parametrize("num_types", [1, 3])
@pytest.mark.parametrize("box", BOXES)
def test_torch_equals_reference(torch: Any, num_types: int, box: str) -> None:
    count = 30
    types = np.arange(count) % num_types
    positions = make_positions(count, BOXES[box])
    found = reference(make_system(make_force(types, box != "none", num_types), count, BOXES[box]), positions)
    model = make_model(torch, num_types)
    for dtype, precision in ((torch.float64, 1e-11), (torch.float32, 1e-5)):
        x = torch.tensor(positions, requires_grad=True)
        vectors = None if BOXES[box] is None else torch.from_numpy(BOXES[box])
        energy = model.to(dtype)(x, torch.from_numpy(types), vectors)
        (gradient,) = torch.autograd.grad(energy, x)
        assert energy.item() == pytest.approx(found[0], rel=precision)
        assert np.abs(-gradient.numpy() - found[1]).max() < precision * np.sqrt(np.mean(found[1] ** 2)) * 10


def test_torch_is_linear_in_its_coefficients(torch: Any) -> None:
    model = make_model(torch, 2)
    x, types = torch.tensor(make_positions(20, None)), torch.arange(20) % 2
    (slope,) = torch.autograd.grad(model(x, types), model.coefficients)
    assert (slope * model.coefficients).sum().item() == pytest.approx(model(x, types).item(), rel=1e-12)
    assert (slope != 0).all()


def test_model_file(torch: Any, tmp_path: Any) -> None:
    """Export checks that both halves agree to 1e-9; a wrong half is refused."""
    from meanforce.potentials import PairSpline, Sum

    model = Sum(make_model(torch, 2), PairSpline(2, 0.5, 8).double())
    meanforce.export(model, tmp_path / "model.pt")
    potential = meanforce.CGPotential(tmp_path / "model.pt")
    assert [component.kind for component in potential.components] == ["stillinger-weber", "pair-spline"]
    force = potential.createForces([0, 1, 0])[0]
    assert isinstance(force, StillingerWeberForce)
    assert potential.cutoff == 0.5

    class Wrong(type(model.potentials[0])):  # type: ignore[misc]
        def components(self) -> Any:
            ((description, tensors),) = super().components()
            return [(description, {"coefficients": tensors["coefficients"] * (1 + 1e-6)})]

    wrong = make_model(torch, 2)
    wrong.__class__ = Wrong
    with pytest.raises(ModelFileError, match="disagree"):
        meanforce.export(wrong, tmp_path / "wrong.pt")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ranges", [[0.4]], "ranges in .* must be 2 lists of 2 positive lengths in nm, at most the cutoff, got"),
        ("ranges", [[0.4, 0.4], [0.4, 0.9]], "ranges in .* at most the cutoff"),
        ("gammas", [[0.1, 0.0], [0.1, 0.1]], "gammas in .* must be 2 lists of 2 positive lengths in nm, got"),
        ("gammas", None, "gammas in"),
    ],
)
def test_bad_model_files(torch: Any, tmp_path: Any, name: str, value: Any, message: str) -> None:
    from meanforce import modelfile

    description, tensors = modelfile.describe(make_model(torch, 2))
    description["components"][0][name] = value
    (tmp_path / "model.pt").write_bytes(modelfile.add_native_half(b"", description, tensors))
    with pytest.raises(ModelFileError, match=message):
        meanforce.CGPotential(tmp_path / "model.pt")


def test_bad_torch_arguments(torch: Any) -> None:
    from meanforce.potentials import StillingerWeber

    assert StillingerWeber(2, 0.4, 0.1).ranges == [[0.4, 0.4], [0.4, 0.4]]
    with pytest.raises(ValueError, match=r"ranges must be a number or have shape \(2, 2\), got \(3,\)"):
        StillingerWeber(2, [0.4, 0.4, 0.4], 0.1)
    with pytest.raises(ValueError, match="gammas must be positive lengths in nm, got 0"):
        StillingerWeber(2, 0.4, 0)
