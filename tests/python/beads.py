# SPDX-License-Identifier: MIT
"""Systems of beads, and what every force on them must do: test files call these checks with forces of their own."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import openmm
import pytest
from openmm import unit

from conftest import TestPlatform
from meanforce import _meanforce

REFERENCE = TestPlatform("Reference")
SIDE = 1.25
BOXES = {
    "none": None,
    "rectangular": np.diag([SIDE, SIDE, 1.5]),
    "triclinic": np.array([[SIDE, 0, 0], [0.375, SIDE, 0], [-0.5, 0.25, 1.5]]),
}

#: Makes a force of beads of given types.
Maker = Callable[[Any, bool], Any]


def make_system(force: openmm.Force, count: int, box: Any = None) -> openmm.System:
    system = openmm.System()
    for _ in range(count):
        system.addParticle(18.0)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*[openmm.Vec3(*v) for v in box])
    system.addForce(force)
    return system


def make_positions(count: int, box: Any, seed: int = 2, distance: float = 0.2) -> np.ndarray:
    """Random positions, also outside the box, no two closer than `distance`, exact in single precision."""
    rng = np.random.default_rng(seed)
    frame = np.diag([SIDE] * 3) if box is None else box
    shifts = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T @ frame
    fractions: list[np.ndarray] = []
    while len(fractions) < count:
        trial = rng.uniform(size=3)
        if all(np.linalg.norm((trial - f) @ frame + shifts, axis=1).min() > distance for f in fractions):
            fractions.append(trial)
    images = rng.integers(-1, 1, (count, 3)) if box is not None else 0
    return ((np.array(fractions) + images) @ frame).astype(np.float32).astype(float)


def evaluate(context: openmm.Context) -> tuple[float, np.ndarray]:
    state = context.getState(energy=True, forces=True)
    return (
        state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole),
        state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer),
    )


def new_context(platform: TestPlatform, system: openmm.System, positions: np.ndarray) -> openmm.Context:
    context = platform.context(system, openmm.VerletIntegrator(0.001))
    context.setPositions(positions)
    return context


def reference(system: openmm.System, positions: np.ndarray) -> tuple[float, np.ndarray]:
    return evaluate(new_context(REFERENCE, copy.deepcopy(system), positions))


def tolerance(platform: TestPlatform) -> float:
    """Force error over force RMS: float arithmetic on CPU and in single and mixed, doubles elsewhere."""
    return 1e-5 if platform.name == "CPU" else platform.tolerance(1e-5, 1e-5, 1e-9)


def assert_same(platform: TestPlatform, found: tuple[float, np.ndarray], expected: tuple[float, np.ndarray]) -> None:
    rms = np.sqrt(np.mean(expected[1] ** 2))
    assert rms > 0.1
    assert np.sqrt(np.mean((found[1] - expected[1]) ** 2)) < tolerance(platform) * rms
    assert found[0] == pytest.approx(expected[0], rel=tolerance(platform), abs=tolerance(platform) * len(expected[1]))


def repulsion(count: int) -> openmm.CustomNonbondedForce:
    """Keeps beads apart; on GPUs its use of the shared neighbour list also switches the reordering of atoms on."""
    force = openmm.CustomNonbondedForce("0.2*(0.3/r)^8")
    for _ in range(count):
        force.addParticle([])
    force.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(0.45)
    force.setUseSwitchingFunction(True)
    force.setSwitchingDistance(0.35)
    return force


def run_dynamics(platform: TestPlatform, system: openmm.System, positions: np.ndarray, steps: int, dt: float) -> None:
    """Compare with Reference after dynamics, at the platform's own final positions and box."""
    integrator = openmm.LangevinMiddleIntegrator(300, 5.0, dt)
    integrator.setRandomNumberSeed(4)
    context = platform.context(system, integrator)
    context.setPositions(positions)
    context.setVelocitiesToTemperature(300, 5)
    integrator.step(steps)
    state = context.getState(positions=True)
    other = REFERENCE.context(copy.deepcopy(system), openmm.VerletIntegrator(0.001))
    other.setPeriodicBoxVectors(*state.getPeriodicBoxVectors())
    other.setPositions(state.getPositions())
    found, expected = evaluate(context), evaluate(other)
    rms = np.sqrt(np.mean(expected[1] ** 2))
    assert np.sqrt(np.mean((found[1] - expected[1]) ** 2)) < tolerance(platform) * rms


def check_gradient(make: Maker, types: Any, box: Any) -> None:
    """Reference: forces are the gradient of the energy, by central differences of fourth order."""
    count = len(types)
    positions = make_positions(count, box)
    context = new_context(REFERENCE, make_system(make(types, box is not None), count, box), positions)
    forces = evaluate(context)[1]
    rng = np.random.default_rng(3)
    for _ in range(3):
        direction = rng.normal(size=positions.shape)
        h, energies = 1e-5, {}
        for step in (-2, -1, 1, 2):
            context.setPositions(positions + step * h * direction)
            energies[step] = evaluate(context)[0]
        slope = (8 * (energies[1] - energies[-1]) - energies[2] + energies[-2]) / (12 * h)
        assert -slope == pytest.approx(np.sum(forces * direction), rel=1e-6)


def check_platform(platform: TestPlatform, make: Maker, types: Any, box: Any, limit: float) -> None:
    """A platform gives Reference's energy and forces, the latter within `limit` of their root mean square."""
    count = len(types)
    positions = make_positions(count, box)
    force = make(types, box is not None)
    system = make_system(force, count, box)
    context = new_context(platform, system, positions)
    found, expected = evaluate(context), reference(system, positions)
    rms = np.sqrt(np.mean(expected[1] ** 2))
    assert rms > 10
    assert np.sqrt(np.mean((found[1] - expected[1]) ** 2)) < limit * rms
    assert found[0] == pytest.approx(expected[0], rel=1e-6 if platform.name == "CPU" else limit)
    assert context.getState(energy=True).getPotentialEnergy()._value == found[0]
    assert force.getReplicaEnergies(context) == pytest.approx(
        [expected[0]], rel=1e-6 if platform.name == "CPU" else limit
    )


def check_kernel_class(platform: TestPlatform, force: Any, count: int) -> None:
    """Each platform runs its own kernel, not Reference's."""
    context = new_context(platform, make_system(force, count), np.zeros((count, 3)))
    prefix = {"Reference": "Reference", "CPU": "Cpu"}.get(platform.name, "Common")
    assert f"meanforce::{prefix}Calc{type(force).__name__}Kernel" in _meanforce.kernel_class(context, force)


def check_replicas(make: Maker) -> None:
    """Reference: copies at the same place do not see one another, and each has the energy that it has alone."""
    count = 20
    positions = make_positions(count, None)
    alone = evaluate(new_context(REFERENCE, make_system(make([0] * count, False), count), positions))
    moved = positions * 0.95
    other = evaluate(new_context(REFERENCE, make_system(make([0] * count, False), count), moved))
    force = make([], False)
    for replica in (0, 1, 2):
        for _ in range(count):
            force.addParticle(0, replica)
    context = new_context(REFERENCE, make_system(force, 3 * count), np.concatenate([positions, moved, positions]))
    np.testing.assert_allclose(force.getReplicaEnergies(context), [alone[0], other[0], alone[0]], rtol=1e-12)
    scale = np.abs(alone[1]).max()
    expected = np.concatenate([alone[1], other[1], alone[1]])
    np.testing.assert_allclose(evaluate(context)[1], expected, rtol=0, atol=1e-11 * scale)


def check_isolated_and_absent(platform: TestPlatform, make: Maker) -> None:
    """Lonely beads have no energy; particles of type -1 neither act nor feel."""
    types = [0, -1, 0, -1, 0]
    positions = np.array([[0, 0, 0], [0.1875, 0, 0], [5, 0, 0], [5.125, 0, 0], [5.25, 0.125, 0]])
    energy, forces = evaluate(new_context(platform, make_system(make(types, False), 5), positions))
    assert np.all(forces[[0, 1, 3]] == 0)
    kept = positions[[2, 4]]
    pair = reference(make_system(make([0, 0], False), 2), kept)
    assert energy == pytest.approx(pair[0], rel=tolerance(platform))
    np.testing.assert_allclose(forces[[2, 4]], pair[1], atol=tolerance(platform) * np.abs(pair[1]).max())


def check_coinciding(platform: TestPlatform, make: Maker) -> None:
    """Two beads at one point get finite forces, the same as on Reference."""
    system = make_system(make([0] * 3, False), 3)
    positions = np.array([[0.0, 0, 0], [0, 0, 0], [0.1875, 0, 0]])
    assert_same(platform, evaluate(new_context(platform, system, positions)), reference(system, positions))


def check_crowd(platform: TestPlatform, make: Maker, box: Any) -> None:
    """Rows grow, and shrink again, without losing a neighbour; NaN is named."""
    count = 120
    rng = np.random.default_rng(8)
    system = make_system(make([0] * count, True), count, box)
    spread = make_positions(count, box, distance=0.05)
    context = new_context(platform, system, spread)
    assert_same(platform, evaluate(context), reference(system, spread))
    close = rng.uniform(0, 0.375, (count, 3)).astype(np.float32).astype(float)
    context.setPositions(close)
    assert_same(platform, evaluate(context), reference(system, close))
    context.setPositions(spread)
    assert_same(platform, evaluate(context), reference(system, spread))
    spread[13, 1] = np.inf
    context.setPositions(spread)
    with pytest.raises(openmm.OpenMMException, match="particle 13 is NaN, infinite"):
        context.getState(forces=True)


def check_dynamics(platform: TestPlatform, force: Any, others: list[openmm.Force], side: float, limit: float) -> None:
    """After dynamics, in which lists are rebuilt and GPUs reorder atoms, forces are still Reference's."""
    if platform.name == "Reference":
        pytest.skip("compares with Reference")
    count, box = force.getNumParticles(), np.diag([side] * 3)
    force.setForceGroup(1)
    system = make_system(force, count, box)
    # On GPUs the use of OpenMM's own neighbour list switches the reordering of atoms on.
    repulsion = openmm.CustomNonbondedForce("0.1*(0.3/r)^6")
    repulsion.setNonbondedMethod(repulsion.CutoffPeriodic)
    repulsion.setCutoffDistance(0.45)
    repulsion.setUseSwitchingFunction(True)
    repulsion.setSwitchingDistance(0.35)
    for _ in range(count):
        repulsion.addParticle([])
    for other in (repulsion, *others):
        system.addForce(other)
    integrator = openmm.LangevinMiddleIntegrator(300, 5.0, 0.004)
    integrator.setRandomNumberSeed(4)
    reference_context = new_context(REFERENCE, copy.deepcopy(system), make_positions(count, box, distance=0.15))
    openmm.LocalEnergyMinimizer.minimize(reference_context, 10, 20)  # on PoCL the minimizer itself crashes
    start = reference_context.getState(positions=True).getPositions(asNumpy=True)._value
    context = platform.context(system, integrator)
    context.setPositions(start)
    context.setVelocitiesToTemperature(300, 5)
    integrator.step(400)
    positions = context.getState(positions=True).getPositions(asNumpy=True)._value
    assert np.abs(positions - start).max() > 0.1
    found = []
    for each in (context, reference_context):
        # Numbers that are exact in single precision; atoms stay in their present order.
        each.setPositions((positions - side * np.floor(positions / side)).astype(np.float32).astype(float))
        found.append(each.getState(forces=True, groups={1}).getForces(asNumpy=True)._value)
    rms = np.sqrt(np.mean(found[1] ** 2))
    assert rms > 10
    assert np.sqrt(np.mean((found[0] - found[1]) ** 2)) < limit * rms


def check_repeatable(platform: TestPlatform, make: Maker) -> None:
    """The same positions give the same bits, also after the list was built elsewhere and in another Context."""
    count, box = 100, np.diag([1.75, 1.75, 1.75])
    system = make_system(make([0] * count, True), count, box)
    positions = make_positions(count, box)
    context = new_context(platform, system, positions)
    first = evaluate(context)[1]
    context.setPositions(positions + 0.01)
    evaluate(context)
    context.setPositions(positions)
    assert np.array_equal(evaluate(context)[1], first)
    assert np.array_equal(evaluate(new_context(platform, copy.deepcopy(system), positions))[1], first)


def evaluate_with_threads(system: openmm.System, positions: np.ndarray, threads: int) -> tuple[float, np.ndarray]:
    """Return energy and forces on the CPU platform with a given number of threads."""
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(copy.deepcopy(system), openmm.VerletIntegrator(0.001), platform, {"Threads": str(threads)})
    context.setPositions(positions)
    return evaluate(context)


def round_trips(original: Any) -> list[Any]:
    """Return copies of a force made in four ways, after checking what all forces have."""
    original.setForceGroup(3)
    original.setName("water")
    kind = type(original)
    copies = [
        copy.copy(original),
        copy.deepcopy(original),
        pickle.loads(pickle.dumps(original)),
        kind.cast(openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(original))),
    ]
    for force in copies:
        assert isinstance(force, kind)
        assert force.getForceGroup() == 3
        assert force.getName() == "water"
        assert force.getNumTypes() == original.getNumTypes()
        assert force.getCutoff() == original.getCutoff()
        assert force.usesPeriodicBoundaryConditions() == original.usesPeriodicBoundaryConditions()
        for get in (force.getParticleType, force.getParticleReplica):
            same = getattr(original, get.__name__)
            assert [get(i) for i in range(force.getNumParticles())] == [same(i) for i in range(force.getNumParticles())]
        assert openmm.XmlSerializer.serialize(force) == openmm.XmlSerializer.serialize(original)
    return copies
