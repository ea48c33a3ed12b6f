# SPDX-License-Identifier: MIT
"""MomentTensorForce against an independent implementation, finite differences, and platforms against Reference."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import pickle
from typing import Any

import numpy as np
import openmm
import pytest
from openmm import unit

import beads
from beads import (
    BOXES,
    REFERENCE,
    assert_same,
    evaluate,
    make_positions,
    make_system,
    new_context,
    reference,
    repulsion,
    run_dynamics,
    tolerance,
)
from conftest import TestPlatform
from meanforce import MomentTensorForce, _meanforce

CUTOFF = 0.45
TEMPERATURE = 300.0


@dataclasses.dataclass
class Model:
    """Random parameters, sized so that forces are of the order of 100 kJ/mol/nm."""

    max_l: int = 3
    num_types: int = 1
    channels: int = 5
    functions: int = 8
    hidden: tuple[int, ...] = (9, 7)
    activation: str = "tanh"
    spacing: float | None = None
    seed: int = 1
    products: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()
    readouts: int = 1

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.spacing = self.spacing or CUTOFF / self.functions
        self.coefficients = rng.normal(size=(self.functions, self.max_l + 1, self.channels))
        self.type_weights = rng.normal(size=(self.num_types, self.channels))
        widths = ((self.max_l + 2 + len(self.products)) * self.channels, *self.hidden, self.readouts)
        self.layers = [
            (rng.normal(size=(self.num_types, o, i)) / np.sqrt(i), 0.1 * rng.normal(size=(self.num_types, o)))
            for i, o in itertools.pairwise(widths)
        ]
        self.layers[-1] = (8 * self.layers[-1][0], self.layers[-1][1])
        # Products of third order are large: they must not drown the others, nor drive tanh to its limits.
        self.layers[0][0][:, :, (self.max_l + 2) * self.channels :] *= 0.1
        if self.readouts == 2:
            self.layers[-1][0][:, 1] *= 1e-3

    def force(self, types: Any, periodic: bool) -> MomentTensorForce:
        force = MomentTensorForce(self.num_types, CUTOFF * unit.nanometer, self.max_l, self.channels)
        for degrees, shifts in self.products:
            force.addProduct(degrees, shifts)
        force.setFilters(self.spacing, self.coefficients)
        force.setTypeWeights(self.type_weights)
        for weights, biases in self.layers:
            force.addLayer(weights, biases)
        force.setActivation(self.activation)
        if self.readouts == 2:
            force.setTemperatureDependent(True)
            force.setDefaultTemperature(TEMPERATURE)
            force.addEnergyParameterDerivative(force.TemperatureParameter())
        for type in types:
            force.addParticle(type)
        force.setUsesPeriodicBoundaryConditions(periodic)
        return force


def make_types(model: Model, count: int) -> np.ndarray:
    return np.arange(count) % model.num_types


# ---- an implementation that shares nothing with ours: addition theorem instead of spherical harmonics, autograd ----


def independent(torch: Any, model: Model, types: np.ndarray, positions: np.ndarray, box: Any) -> Any:
    """Return the energy and the gradient g_ij of the energy of bead i with respect to the vector from i to j."""
    x = torch.tensor(positions)
    delta = x[None] - x[:, None]
    if box is not None:
        grid = torch.tensor(np.array(np.meshgrid(*[[-4, -3, -2, -1, 0, 1, 2, 3, 4]] * 3)).reshape(3, -1).T @ box)
        images = delta[None] + grid[:, None, None]
        nearest = images.norm(dim=-1).argmin(dim=0)
        delta = delta + grid[nearest]
    delta = delta.clone().requires_grad_(True)
    off_diagonal = ~torch.eye(len(x), dtype=torch.bool)
    r = torch.where(off_diagonal, (delta**2).sum(-1), 4 * CUTOFF**2).sqrt()
    inside = off_diagonal & (r < CUTOFF)
    centres = CUTOFF - (model.functions + 1 - torch.arange(model.functions, dtype=torch.float64)) * model.spacing
    t = ((r[..., None] - centres) / model.spacing).abs()
    basis = torch.where(t < 1, 2 / 3 - t**2 + t**3 / 2, torch.where(t < 2, (2 - t) ** 3 / 6, 0.0))
    weights = torch.tensor(model.type_weights)[types]
    w = torch.einsum("ijk,klc->ijlc", basis, torch.tensor(model.coefficients)) * weights[None, :, None, :]
    w = torch.where(inside[..., None, None], w, 0.0)
    direction = delta / r[..., None]
    cosine = torch.einsum("ijx,ikx->ijk", direction, direction)
    legendre = [
        torch.ones_like(cosine),
        cosine,
        (3 * cosine**2 - 1) / 2,
        (5 * cosine**3 - 3 * cosine) / 2,
        (35 * cosine**4 - 30 * cosine**2 + 3) / 8,
    ]
    squares = [torch.einsum("ijc,ikc,ijk->ic", w[:, :, n], w[:, :, n], legendre[n]) for n in range(model.max_l + 1)]
    features = torch.cat([w[:, :, 0].sum(1), *squares], dim=1)
    activation = torch.tanh if model.activation == "tanh" else torch.nn.functional.silu
    for index, (weight, bias) in enumerate(model.layers):
        features = torch.einsum("ioj,ij->io", torch.tensor(weight)[types], features) + torch.tensor(bias)[types]
        if index < len(model.layers) - 1:
            features = activation(features)
    energy = features.sum()
    (gradient,) = torch.autograd.grad(energy, delta)
    return energy.item(), gradient.numpy()


CASES = [
    ("none", Model(max_l=0, activation="silu")),
    ("none", Model(max_l=4, num_types=3)),
    ("rectangular", Model(max_l=1, num_types=3, hidden=(6,))),
    ("rectangular", Model(max_l=3, channels=12, functions=20, hidden=(16, 16))),
    ("triclinic", Model(max_l=2, channels=17, activation="silu")),
    ("triclinic", Model(max_l=3, num_types=3, spacing=0.04)),
]


def random_products(max_l: int, channels: int, count: int, seed: int) -> tuple[Any, ...]:
    """Choose among all that exist."""
    rng = np.random.default_rng(seed)
    chosen: list[Any] = []
    while len(chosen) < count:
        order = int(rng.integers(2, 4))
        degrees = [int(n) for n in rng.integers(0, max_l + 1, order)]
        product = (tuple(degrees), (0, *(int(s) for s in rng.integers(0, channels, order - 1))))
        try:
            _meanforce.checkProduct(max_l, channels, *map(list, product))
        except ValueError:
            continue
        chosen.append(product)
    return tuple(chosen)


PRODUCT_CASES = [
    ("none", Model(max_l=1, channels=3, products=random_products(1, 3, 4, 1))),
    ("rectangular", Model(max_l=2, num_types=3, channels=7, products=random_products(2, 7, 6, 2), activation="silu")),
    ("triclinic", Model(max_l=3, channels=17, products=random_products(3, 17, 9, 3), readouts=2)),
    ("none", Model(max_l=4, num_types=2, channels=4, products=random_products(4, 4, 12, 4), readouts=2)),
]


@pytest.mark.parametrize(("box", "model"), CASES)
def test_reference_equals_independent_implementation(torch: Any, box: str, model: Model) -> None:
    positions, types = make_positions(24, BOXES[box]), make_types(model, 24)
    energy, gradient = independent(torch, model, types, positions, BOXES[box])
    correct = gradient.sum(1) - gradient.sum(0)
    found = reference(make_system(model.force(types, box != "none"), 24, BOXES[box]), positions)
    scale = np.sqrt(np.mean(correct**2))
    assert found[0] == pytest.approx(energy, rel=1e-10)
    assert np.abs(found[1] - correct).max() < 1e-10 * scale
    # Without the force that a bead feels as somebody's neighbour the comparison fails.
    assert np.abs(found[1] - gradient.sum(1)).max() > 0.1 * scale


@pytest.mark.parametrize(("box", "model"), CASES + PRODUCT_CASES)
def test_reference_forces_are_the_gradient(box: str, model: Model) -> None:
    beads.check_gradient(model.force, make_types(model, 20), BOXES[box])


@pytest.mark.parametrize(("box", "model"), CASES + PRODUCT_CASES)
def test_platform_equals_reference(platform: TestPlatform, box: str, model: Model) -> None:
    positions, types = make_positions(40, BOXES[box]), make_types(model, 40)
    system = make_system(model.force(types, box != "none"), 40, BOXES[box])
    context = new_context(platform, system, positions)
    assert_same(platform, evaluate(context), reference(system, positions))
    assert context.getState(energy=True).getPotentialEnergy()._value == evaluate(context)[0]


def test_temperature_derivative(platform: TestPlatform) -> None:
    model = PRODUCT_CASES[-1][1]
    system = make_system(model.force(make_types(model, 30), False), 30)
    contexts = [new_context(p, copy.deepcopy(system), make_positions(30, None)) for p in (platform, REFERENCE)]
    name = MomentTensorForce.TemperatureParameter()
    for temperature in (TEMPERATURE, 350.0):
        for context in contexts:
            context.setParameter(name, temperature)
        assert_same(platform, evaluate(contexts[0]), evaluate(contexts[1]))
        found, expected = (
            context.getState(parameterDerivatives=True).getEnergyParameterDerivatives()[name] for context in contexts
        )
        assert found == pytest.approx(expected, rel=10 * tolerance(platform))
    energies = []
    for temperature in (349.0, 351.0):
        contexts[1].setParameter(name, temperature)
        energies.append(evaluate(contexts[1])[0])
    assert (energies[1] - energies[0]) / 2 == pytest.approx(expected, rel=1e-9)
    assert abs(expected) > 1e-4


@pytest.mark.parametrize("odd", [False, True])
def test_mirror_images(platform: TestPlatform, odd: bool) -> None:
    """Four neighbours of one type at different distances from a centre, and from each other beyond the cutoff."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    positions = np.vstack([np.zeros((1, 3)), corners * np.array([[0.29], [0.32], [0.35], [0.4]])])
    products = (((1, 1, 1), (0, 1, 2)),) if odd else (((1, 1), (0, 1)), ((1, 1, 2), (0, 0, 1)))
    system = make_system(Model(max_l=2, products=products, activation="silu").force([0] * 5, periodic=False), 5)
    context = new_context(platform, system, positions)
    energy, forces = evaluate(context)
    mirror = np.array([1, 1, -1])
    context.setPositions(positions * mirror)
    mirrored = evaluate(context)
    loose = platform.tolerance(1e-5, 1e-5, tolerance(platform))
    same = abs(mirrored[0] - energy) < loose * max(1, abs(energy))
    assert same is not odd
    assert np.allclose(mirrored[1], forces * mirror, rtol=0, atol=loose * np.abs(forces).max()) is not odd


def test_each_platform_runs_its_own_kernel(platform: TestPlatform) -> None:
    force = Model().force([0], periodic=False)
    context = new_context(platform, make_system(force, 1), np.zeros((1, 3)))
    prefix = {"Reference": "Reference", "CPU": "Cpu"}.get(platform.name, "")
    assert f"meanforce::{prefix}" in _meanforce.kernel_class(context, force)
    assert "CalcMomentTensorForceKernel" in _meanforce.kernel_class(context, force)


def test_smooth_at_the_cutoff(platform: TestPlatform) -> None:
    """W ends like (r_c - r)^3: the force across the cutoff falls to zero with the square of the distance to it."""
    context = new_context(platform, make_system(Model().force([0, 0], periodic=False), 2), np.zeros((2, 3)))
    found = {}
    for gap in (0.02, 0.01, 0.005, 0.0, -0.01):
        context.setPositions([[0, 0, 0], [CUTOFF - gap, 0, 0]])
        found[gap] = evaluate(context)[1][0, 0]
    assert found[0.02] / found[0.01] == pytest.approx(4, rel=0.25)
    assert found[0.01] / found[0.005] == pytest.approx(4, rel=0.25)
    assert abs(found[0.0]) < 1e-6 * abs(found[0.01])
    assert found[-0.01] == 0


def test_isolated_beads_and_absent_particles(platform: TestPlatform) -> None:
    model = Model(num_types=2)
    # One bead only; the other particle is there because OpenMM itself crashes on PoCL with a single one.
    lonely = make_system(model.force([1, -1], periodic=False), 2)
    isolated, forces = evaluate(new_context(platform, lonely, np.array([[0, 0, 0], [0.2, 0, 0]])))
    assert isolated != 0
    assert np.all(forces == 0)
    # Particles 1 and 3 take no part.
    types = [1, -1, 1, -1, 0]
    positions = np.array([[0, 0, 0], [0.2, 0, 0], [5, 0, 0], [5.125, 0, 0], [5.25, 0.125, 0]])
    system = make_system(model.force(types, periodic=False), 5)
    energy, forces = evaluate(new_context(platform, system, positions))
    assert np.all(forces[[0, 1, 3]] == 0)
    kept = positions[[2, 4]]
    pair = reference(make_system(model.force([1, 0], periodic=False), 2), kept)
    assert energy == pytest.approx(isolated + pair[0], rel=tolerance(platform))
    np.testing.assert_allclose(forces[[2, 4]], pair[1], atol=tolerance(platform) * np.abs(pair[1]).max())


def test_coinciding_beads_give_finite_forces(platform: TestPlatform) -> None:
    system = make_system(Model().force([0] * 3, periodic=False), 3)
    positions = np.array([[0.0, 0, 0], [0, 0, 0], [0.25, 0, 0]])
    assert_same(platform, evaluate(new_context(platform, system, positions)), reference(system, positions))


def test_crowded_rows(platform: TestPlatform) -> None:
    """Many neighbours in one row: lists must grow, and shrink again, without losing one."""
    count = 150
    rng = np.random.default_rng(8)
    close = rng.uniform(0, 0.375, (count, 3)).astype(np.float32).astype(float)
    box = BOXES["triclinic"]
    model = Model(max_l=1, channels=3, functions=5)
    model.coefficients *= 0.02
    system = make_system(model.force([0] * count, periodic=True), count, box)
    context = new_context(platform, system, make_positions(count, box, distance=0.05))
    evaluate(context)
    context.setPositions(close)
    assert_same(platform, evaluate(context), reference(system, close))
    spread = make_positions(count, box, seed=9, distance=0.05)
    context.setPositions(spread)
    assert_same(platform, evaluate(context), reference(system, spread))


@pytest.mark.parametrize("cells", [1, 2, 3, 5])
def test_box_of_few_cells(platform: TestPlatform, cells: int) -> None:
    box = np.diag([1.0, 0.9375, 1.5]) * max(1, cells - 1)
    box[1, 0] = 0.25
    count = 12 * cells
    system = make_system(Model().force([0] * count, periodic=True), count, box)
    positions = make_positions(count, box)
    assert_same(platform, evaluate(new_context(platform, system, positions)), reference(system, positions))


@pytest.mark.parametrize("side", [60.0, 1000.0])
def test_nearly_empty_box(platform: TestPlatform, side: float) -> None:
    """Neighbours across the faces of a box that has room for 10**6 and 10**9 cells."""
    box = np.diag([side] * 3)
    positions = np.array([[0.0625, 0.125, 1], [side - 0.125, 0.125, 1], [0.0625, side - 0.125, 1], [30, 30, 30]])
    system = make_system(Model().force([0] * 4, periodic=True), 4, box)
    assert_same(platform, evaluate(new_context(platform, system, positions)), reference(system, positions))


def test_positions_many_boxes_away() -> None:
    """On the CPU platform the number of the box must fit into an int, with room for differences."""
    platform, box = TestPlatform("CPU"), np.diag([1.0, 2.0, 2.0])
    system = make_system(Model().force([0] * 4, periodic=True), 4, box)
    positions = np.array([[0, 0, 0], [0.25, 0, 0], [0, 0.25, 0], [0.25, 0.25, 0.25]])
    positions[2, 0] += 2.0**26
    positions[3, 1] -= 2.0**26
    context = new_context(platform, system, positions)
    assert_same(platform, evaluate(context), reference(system, positions))
    for far in (1.1e8, -3e9, 1e300):
        positions[2, 0] = far
        context.setPositions(positions)
        with pytest.raises(openmm.OpenMMException, match=r"position of particle 2 is .* too far from the origin"):
            evaluate(context)


def test_box_change_without_moving_particles(platform: TestPlatform) -> None:
    count = 60
    box = np.diag([2.0, 2.0, 2.0])
    system = make_system(Model().force([0] * count, periodic=True), count, box)
    positions = make_positions(count, box, distance=0.25)
    context = new_context(platform, system, positions)
    evaluate(context)
    for side in (1.9375, 1.75, 2.25):
        changed = np.diag([side] * 3)
        context.setPeriodicBoxVectors(*changed)
        other = make_system(Model().force([0] * count, periodic=True), count, changed)
        assert_same(platform, evaluate(context), reference(other, positions))
    context.setPeriodicBoxVectors(*np.diag([2.0, 0.875, 2.0]))
    with pytest.raises(openmm.OpenMMException, match=r"at least twice the cutoff, 0\.9 nm.*found 0\.875 nm along y"):
        evaluate(context)


def test_dynamics_with_reordering(platform: TestPlatform) -> None:
    if platform.name == "Reference":
        pytest.skip("compares with Reference")
    count, box = 120, np.diag([1.75, 1.75, 1.75])
    model = Model(num_types=2, channels=4, hidden=(6,))
    system = make_system(model.force(make_types(model, count), periodic=True), count, box)
    system.addForce(repulsion(count))
    run_dynamics(platform, system, make_positions(count, box), steps=600, dt=0.004)


def test_barostat(platform: TestPlatform) -> None:
    if platform.name == "Reference":
        pytest.skip("compares with Reference")
    count, box = 80, np.diag([1.75, 1.75, 1.75])
    system = make_system(Model(max_l=2).force([0] * count, periodic=True), count, box)
    system.addForce(repulsion(count))
    barostat = openmm.MonteCarloBarostat(100.0, 300.0, 2)
    barostat.setRandomNumberSeed(3)
    system.addForce(barostat)
    run_dynamics(platform, system, make_positions(count, box), steps=60, dt=0.002)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_position_is_named(platform: TestPlatform, bad: float) -> None:
    count, box = 20, BOXES["rectangular"]
    positions = make_positions(count, box)
    context = new_context(platform, make_system(Model().force([0] * count, periodic=True), count, box), positions)
    good = evaluate(context)
    broken = positions.copy()
    broken[13, 1] = bad
    broken[17, 0] = bad
    context.setPositions(broken)
    # OpenMM's CPU platform looks for NaN itself, before any force is asked.
    message = "particle 13 is NaN, infinite" if platform.name != "CPU" or bad == np.inf else "coordinate is NaN"
    with pytest.raises(openmm.OpenMMException, match=message):
        context.getState(forces=True)
    context.setPositions(positions)
    assert evaluate(context)[0] == good[0]


def test_repeatable(platform: TestPlatform) -> None:
    beads.check_repeatable(platform, Model().force)


def test_cpu_forces_do_not_depend_on_threads() -> None:
    count, box = 300, np.diag([2.25, 2.25, 2.25])
    model = Model(num_types=2)
    system = make_system(model.force(make_types(model, count), periodic=True), count, box)
    positions = make_positions(count, box)
    found = []
    for threads in (1, 2, 3):
        context = openmm.Context(
            copy.deepcopy(system),
            openmm.VerletIntegrator(0.001),
            openmm.Platform.getPlatformByName("CPU"),
            {"Threads": str(threads)},
        )
        context.setPositions(positions)
        found.append(evaluate(context)[1])
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_update_parameters_in_context(platform: TestPlatform) -> None:
    count = 25
    model, other = Model(num_types=2), Model(num_types=2, seed=7)
    types = make_types(model, count)
    positions = make_positions(count, None)
    force = model.force(types, periodic=False)
    context = new_context(platform, make_system(force, count), positions)
    before = evaluate(context)
    force.setFilters(force.getFilters()[0], other.coefficients)
    force.setTypeWeights(other.type_weights)
    for index, layer in enumerate(other.layers):
        force.setLayerParameters(index, *layer)
    for i in range(count):
        force.setParticleType(i, [1, -1, 0][i % 3])
    force.updateParametersInContext(context)
    expected = reference(make_system(other.force([[1, -1, 0][i % 3] for i in range(count)], False), count), positions)
    assert_same(platform, evaluate(context), expected)
    assert abs(before[0] - expected[0]) > 1
    force.setFilters(0.04, other.coefficients)
    with pytest.raises(openmm.OpenMMException, match=r"change the spacing of the filters from 0\.05625 to 0\.04"):
        force.updateParametersInContext(context)


def test_round_trips() -> None:
    model = Model(num_types=2, activation="silu", products=(((1, 1), (0, 3)), ((1, 1, 1), (0, 1, 2))))
    original = model.force([0, -1, 1, 0], periodic=True)
    for force in beads.round_trips(original):
        assert force.getNumTypes() == 2
        assert force.getCutoff() == CUTOFF * unit.nanometer
        assert force.getMaxL() == model.max_l
        assert force.getNumChannels() == model.channels
        assert force.getNumFeatures() == (model.max_l + 4) * model.channels
        assert [force.getProduct(i) for i in range(force.getNumProducts())] == list(model.products)
        assert force.getActivation() == "silu"
        assert force.usesPeriodicBoundaryConditions()
        assert [force.getParticleType(i) for i in range(force.getNumParticles())] == [0, -1, 1, 0]
        spacing, coefficients = force.getFilters()
        assert spacing == model.spacing * unit.nanometer
        assert np.array_equal(coefficients, model.coefficients)
        assert np.array_equal(force.getTypeWeights(), model.type_weights)
        assert force.getNumLayers() == len(model.layers)
        for index, layer in enumerate(model.layers):
            for found, expected in zip(force.getLayerParameters(index), layer, strict=True):
                assert np.array_equal(found, expected)
    assert pickle.loads(pickle.dumps(MomentTensorForce(1, 0.5, 2, 4))).getFilters()[1].shape == (0, 3, 4)


def test_cast() -> None:
    system = make_system(Model().force([0], periodic=False), 1)
    system.addForce(openmm.CMMotionRemover())
    generic, other = system.getForce(0), system.getForce(1)
    assert MomentTensorForce.isinstance(generic)
    assert MomentTensorForce.cast(generic).getNumParticles() == 1
    assert not MomentTensorForce.isinstance(other)
    with pytest.raises(TypeError, match="expected a MomentTensorForce, got CMMotionRemover"):
        MomentTensorForce.cast(other)


def test_bad_arguments() -> None:
    for arguments, message in (
        ((0, 0.5, 3, 4), "number of types must be at least 1, found 0"),
        ((1, -0.5, 3, 4), r"cutoff must be positive \(nm\), found -0.5"),
        ((1, 0.5, 5, 4), "largest degree must be from 0 to 4, found 5"),
        ((1, 0.5, 3, 0), "number of channels must be at least 1, found 0"),
    ):
        with pytest.raises(ValueError, match=message):
            MomentTensorForce(*arguments)
    with pytest.raises(TypeError):
        MomentTensorForce(1, 0.5 * unit.kelvin, 3, 4)
    force = MomentTensorForce(2, 0.5, 3, 4)
    with pytest.raises(ValueError, match=r"coefficients must have shape \(any, 4, 4\).*found \(8, 3, 4\)"):
        force.setFilters(0.05, np.zeros((8, 3, 4)))
    with pytest.raises(ValueError, match="spacing of the filters must be positive"):
        force.setFilters(0.0, np.zeros((8, 4, 4)))
    with pytest.raises(ValueError, match="filter coefficients must be finite, found nan at position 0"):
        force.setFilters(0.05, np.full((8, 4, 4), np.nan))
    with pytest.raises(ValueError, match=r"weights must have shape \(2, 4\).*found \(4,\)"):
        force.setTypeWeights(np.zeros(4))
    with pytest.raises(ValueError, match=r"weights must have shape \(2, any, 20\).*found \(2, 7, 8\)"):
        force.addLayer(np.zeros((2, 7, 8)), np.zeros((2, 7)))
    with pytest.raises(ValueError, match=r"biases must have shape \(2, 7\).*found \(2, 8\)"):
        force.addLayer(np.zeros((2, 7, 20)), np.zeros((2, 8)))
    with pytest.raises(ValueError, match=r"not vanish identically.*degrees \(1, 1, 1\) with the shifts \(0, 0, 0\)"):
        force.addProduct((1, 1, 1), (0, 0, 0))
    with pytest.raises(ValueError, match="degrees from 0 to 3"):
        force.addProduct((4, 4), (0, 1))
    with pytest.raises(ValueError, match="index of a product must be at least 0 and less than 0, found 0"):
        force.getProduct(0)
    with pytest.raises(ValueError, match="activation must be 'tanh' or 'silu', found 'relu'"):
        force.setActivation("relu")
    with pytest.raises(ValueError, match="type must be from 0 to 1, or -1 if it takes no part, found 2"):
        force.addParticle(2)
    with pytest.raises(ValueError, match="index of a layer must be at least 0 and less than 0, found 0"):
        force.getLayerParameters(0)
    with pytest.raises(ValueError, match="index of a particle must be at least 0 and less than 0, found 0"):
        force.setParticleType(0, 1)


def test_incomplete_forces_are_refused() -> None:
    def refuse(force: MomentTensorForce, message: str, box: Any = None) -> None:
        with pytest.raises(openmm.OpenMMException, match=message):
            REFERENCE.context(make_system(copy.copy(force), 1, box), openmm.VerletIntegrator(0.001))

    model = Model()
    force = MomentTensorForce(1, CUTOFF, model.max_l, model.channels)
    refuse(force, "number of particles must be that of the System, 1, found 0")
    force.addParticle(0)
    refuse(force, r"setFilters\(\) must be called")
    force.setFilters(model.spacing, model.coefficients)
    refuse(force, r"setTypeWeights\(\) must be called")
    force.setTypeWeights(model.type_weights)
    refuse(force, r"addLayer\(\) must be called")
    force.addLayer(*model.layers[0])
    refuse(force, "last layer must have 1 output, the energy, found 9")
    for layer in model.layers[1:]:
        force.addLayer(*layer)
    force.setUsesPeriodicBoundaryConditions(True)
    refuse(force, "box must be at least twice the cutoff", np.diag([0.8, 2, 2]))
