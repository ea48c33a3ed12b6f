# SPDX-License-Identifier: MIT
"""SchNetForce against NumPy, the torch twin and SciPy's B-splines; platforms against Reference."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import openmm
import pytest
from openmm import unit
from scipy.interpolate import BSpline

import beads
from beads import (
    BOXES,
    REFERENCE,
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
from meanforce import CGPotential, SchNetForce, export

CUTOFF = 0.45
ACTIVATIONS = {
    "tanh": np.tanh,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "ssp": lambda x: np.log(0.5 * np.exp(x) + 0.5),
}


@dataclasses.dataclass
class Model:
    """Random parameters, sized so that forces are of the order of 100 kJ/mol/nm."""

    num_types: int = 2
    features: int = 17
    filters: int = 20
    blocks: int = 2
    functions: int = 9
    basis: str = "expnormal"
    cutoff_function: str = "cosine"
    lower: float = 0.0
    activation: str = "tanh"
    hidden: tuple[int, ...] = (11,)
    grid: tuple[int, int] = (3, 0)
    readouts: int = 1
    scale: float = 20.0
    seed: int = 1

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        H, F, R = self.features, self.filters, self.functions

        def matrix(outputs: int, inputs: int) -> np.ndarray:
            return rng.normal(size=(outputs, inputs)) / np.sqrt(inputs)

        self.embeddings = rng.normal(size=(self.num_types, H))
        self.type_energies = rng.normal(size=self.num_types)
        self.centers = np.linspace(math.exp(-5) if self.basis == "expnormal" else 0.05, 0.9, R)
        self.widths = rng.uniform(10, 20, R) if self.basis == "expnormal" else None
        self.exponent = 5 / CUTOFF if self.basis == "expnormal" else 150.0
        if self.basis == "gaussian":
            self.centers = self.centers * CUTOFF
        self.block_parameters = [
            (
                *(matrix(F, H), 2 * matrix(F, R), rng.normal(size=F), matrix(F, F), 0.1 * rng.normal(size=F)),
                *(matrix(H, F), 0.1 * rng.normal(size=H), matrix(H, H), 0.1 * rng.normal(size=H)),
            )
            for _ in range(self.blocks)
        ]
        widths = (H, *self.hidden, self.readouts)
        self.layers = [(matrix(o, i)[None], 0.1 * rng.normal(size=(1, o))) for i, o in itertools.pairwise(widths)]
        self.layers[-1] = (self.scale * self.layers[-1][0], self.layers[-1][1])

    def set_parameters(self, force: SchNetForce) -> None:
        """Set all that updateParametersInContext may change."""
        force.setRadialBasis(self.basis, self.exponent, self.centers, self.widths)
        force.setEmbeddings(self.embeddings)
        force.setTypeEnergies(self.type_energies)
        for index, block in enumerate(self.block_parameters):
            force.setBlockParameters(index, *block)

    def __call__(self, types: Any, periodic: bool = False) -> SchNetForce:
        force = SchNetForce(self.num_types, CUTOFF * unit.nanometer, self.features, self.filters, self.blocks)
        self.set_parameters(force)
        force.setCutoffFunction(self.cutoff_function, self.lower * unit.nanometer)
        force.setActivation(self.activation)
        for weights, biases in self.layers:
            force.addLayer(weights, biases)
        if self.grid[1]:
            force.setFilterGrid(*self.grid)
        if self.readouts == 2:
            force.setTemperatureDependent(True)
            force.setDefaultTemperature(3.0)
        force.setUsesPeriodicBoundaryConditions(periodic)
        for type in types:
            force.addParticle(int(type))
        return force


# ---- the equations again, in NumPy ----


def numpy_filters(model: Model, r: np.ndarray) -> list[np.ndarray]:
    """Return W^b(r) of each block, shape (..., F)."""
    act = ACTIVATIONS[model.activation]
    if model.basis == "gaussian":
        phi = np.exp(-model.exponent * (r[..., None] - model.centers) ** 2)
    else:
        x = np.exp(-model.exponent * r)[..., None]
        envelope = 0.5 * (np.cos(np.pi * r / CUTOFF) + 1)[..., None]
        phi = envelope * np.exp(-model.widths * (x - model.centers) ** 2)
    if model.cutoff_function == "polynomial":
        u = r / CUTOFF
        f = 1 - 10 * u**3 + 15 * u**4 - 6 * u**5
    elif model.cutoff_function == "shifted_cosine":
        s = np.clip((r - model.lower) / (CUTOFF - model.lower), 0, None)
        f = 0.5 * (np.cos(np.pi * s) + 1)
    elif model.lower > 0:
        s = np.clip((r - model.lower) / (CUTOFF - model.lower), 0, None)
        f = 0.5 * (np.cos(np.pi * (2 * s + 1)) + 1)
    else:
        f = 0.5 * (np.cos(np.pi * r / CUTOFF) + 1)
    f = np.where(r < CUTOFF, f, 0.0)[..., None]
    return [f * (act(phi @ V1.T + v1) @ V2.T + v2) for _, V1, v1, V2, v2, *_ in model.block_parameters]


def numpy_energy(model: Model, types: np.ndarray, positions: np.ndarray, box: Any) -> float:
    act = ACTIVATIONS[model.activation]
    delta = positions[None] - positions[:, None]
    if box is not None:
        grid = np.array(np.meshgrid(*[np.arange(-4, 5)] * 3)).reshape(3, -1).T @ box
        images = delta[None] + grid[:, None, None]
        delta = np.take_along_axis(images, (images**2).sum(-1).argmin(0)[None, :, :, None], 0)[0]
    r = np.sqrt((delta**2).sum(-1))
    filters = numpy_filters(model, np.where(np.eye(len(r), dtype=bool), 2 * CUTOFF, r))
    y = model.embeddings[types]
    for W, (L1, _, _, _, _, L2, l2, L3, l3) in zip(filters, model.block_parameters, strict=True):
        messages = np.einsum("ijc,jc->ic", W, y @ L1.T)
        y = y + act(messages @ L2.T + l2) @ L3.T + l3
    for index, (weights, biases) in enumerate(model.layers):
        y = (act(y) if index else y) @ weights[0].T + biases
    outputs = y.sum(0)
    energy = outputs[0] + model.type_energies[types].sum()
    return float(energy - 3.0 * outputs[1] if model.readouts == 2 else energy)


CASES = {
    "expnormal": ("none", Model()),
    "gaussian": ("rectangular", Model(basis="gaussian", activation="ssp", hidden=())),
    "polynomial": ("triclinic", Model(cutoff_function="polynomial", activation="silu", num_types=3)),
    "shifted cosine": ("none", Model(cutoff_function="shifted_cosine", lower=0.15, blocks=1)),
    "rising cosine": ("rectangular", Model(lower=0.1, basis="gaussian", activation="silu")),
    "8 blocks": ("triclinic", Model(blocks=8, features=5, filters=3, hidden=(6, 4), num_types=1, scale=1.0)),
    "two readouts": ("none", Model(readouts=2, activation="ssp")),
}


@pytest.mark.parametrize(("box", "model"), CASES.values(), ids=CASES)
def test_reference_equals_numpy(box: str, model: Model) -> None:
    types = np.arange(24) % model.num_types
    positions = make_positions(24, BOXES[box])
    found = reference(make_system(model(types, box != "none"), 24, BOXES[box]), positions)[0]
    assert found == pytest.approx(numpy_energy(model, types, positions, BOXES[box]), rel=1e-10)
    # With the messages of another block the comparison fails.
    other = copy.deepcopy(model)
    other.block_parameters[0] = (other.block_parameters[0][0] * 1.01, *other.block_parameters[0][1:])
    assert found != pytest.approx(numpy_energy(other, types, positions, BOXES[box]), rel=1e-6)


@pytest.mark.parametrize("grid", [(3, 0), (3, 9), (5, 12)])
@pytest.mark.parametrize(("box", "model"), CASES.values(), ids=CASES)
def test_forces_are_the_gradient(box: str, model: Model, grid: tuple[int, int]) -> None:
    """Also that of splines so coarse that they are far from the filters."""
    types = np.arange(20) % model.num_types
    beads.check_gradient(dataclasses.replace(model, grid=grid), types, BOXES[box])


# ---- grids ----


@pytest.mark.parametrize("degree", [3, 5])
def test_tables_are_splines(degree: int) -> None:
    """The energy of two beads is that of SciPy's splines with our coefficients."""
    model = Model(grid=(degree, 10), blocks=1)
    force = model([0, 1])
    tables = force.getFilterTables()[0]
    assert tables.shape == (10 + degree, model.filters)
    # Row m counts from the cutoff inwards.
    knots = (np.arange(10 + 2 * degree + 1) - degree) * CUTOFF / 10
    spline = BSpline(knots, tables[::-1], degree)
    context = new_context(REFERENCE, make_system(force, 2), np.zeros((2, 3)))
    exact = Model(blocks=1)
    r = np.array([0.02, 0.11, 0.2345, 0.3, 0.4499])
    np.testing.assert_allclose(force.evaluateFilters(r)[0], numpy_filters(exact, r)[0], rtol=0, atol=1e-12)
    L1, _, _, _, _, L2, l2, L3, l3 = model.block_parameters[0]
    for distance in r:
        context.setPositions([[0, 0, 0], [0, distance, 0]])
        y = model.embeddings.copy()
        y = y + np.tanh((spline(distance) * (y @ L1.T)[::-1]) @ L2.T + l2) @ L3.T + l3
        for index, (weights, biases) in enumerate(model.layers):
            y = (np.tanh(y) if index else y) @ weights[0].T + biases
        assert evaluate(context)[0] == pytest.approx(y.sum() + model.type_energies.sum(), rel=1e-11)


@pytest.mark.parametrize("degree", [3, 5])
@pytest.mark.parametrize("basis", ["gaussian", "expnormal"])
def test_order_of_interpolation(degree: int, basis: str) -> None:
    """Values converge with the power degree + 1 of the spacing, also in the intervals at both ends."""
    model = Model(basis=basis)
    errors = []
    for intervals in (32, 64):
        tables = dataclasses.replace(model, grid=(degree, intervals))([]).getFilterTables()
        knots = (np.arange(intervals + 2 * degree + 1) - degree) * CUTOFF / intervals
        # The same distances on both grids: two intervals of the coarse one at each end, and what is between.
        ends = CUTOFF / 16
        worst = []
        for low, high in ((0, ends), (ends, CUTOFF - ends), (CUTOFF - ends, CUTOFF)):
            r = np.linspace(low, high, 400)[1:-1]
            difference = [
                BSpline(knots, table[::-1], degree)(r) - exact
                for table, exact in zip(tables, numpy_filters(model, r), strict=True)
            ]
            worst.append(np.abs(difference).max())
        errors.append(worst)
    orders = np.log2(np.array(errors[0]) / np.array(errors[1]))
    assert np.all(orders > degree + 0.4)
    # Neither end is worse than the middle by much.
    assert max(errors[1][0], errors[1][2]) < 5 * errors[1][1]


@pytest.mark.parametrize("tolerance", [1e-4, 1e-6])
@pytest.mark.parametrize("basis", ["gaussian", "expnormal"])
def test_reported_error_holds_on_other_configurations(basis: str, tolerance: float) -> None:
    model = Model(basis=basis, filters=24, features=16, functions=20, num_types=3)
    force = model([])
    assert force.getFilterError() is None
    reported = force.tabulateFilters(tolerance)
    assert force.getFilterError() == reported < tolerance
    count, box = 120, np.diag([1.3] * 3)
    types = np.arange(count) % 3
    errors, energy_errors = [], []
    for seed in (1, 2, 3):
        positions = make_positions(count, box, seed=seed, distance=0.12)
        found, expected = (
            reference(make_system(dataclasses.replace(model, grid=grid)(types, True), count, box), positions)
            for grid in (force.getFilterGrid(), (3, 0))
        )
        rms = np.sqrt(np.mean(expected[1] ** 2))
        errors.append(np.sqrt(np.mean((found[1] - expected[1]) ** 2)) / rms)
        energy_errors.append(abs(found[0] - expected[0]) / (count * rms * CUTOFF))
    assert max(*errors, *energy_errors) < tolerance
    assert reported / 30 < np.mean(errors) < 2 * reported


def test_grids_are_no_finer_than_needed() -> None:
    force = Model()([])
    grids = []
    for largest in (1e-2, 1e-4, 1e-6, 1e-8):
        force.tabulateFilters(largest)
        grids.append(force.getFilterGrid())
    assert grids == sorted(grids)
    assert grids[0][1] <= 128
    assert grids[-1][0] == 5
    with pytest.raises(ValueError, match="below the tolerance, 1e-15; use exact filters or a larger one"):
        force.tabulateFilters(1e-15)


def test_error_is_measured_for_given_positions() -> None:
    """Two beads so close that no random packing has such pairs."""
    model = Model(basis="expnormal", seed=4)
    force = model([])
    usual = force.tabulateFilters(1e-4)
    grid = force.getFilterGrid()
    close = np.array([[[0, 0, 0], [0.012, 0, 0]], [[0, 0, 0], [0.004, 0, 0]]])
    force.tabulateFilters(1e-4, close * 10 * unit.angstrom, [0, 1])
    assert force.getFilterGrid() >= grid
    assert force.getFilterGrid() > grid or force.getFilterError() >= usual
    with pytest.raises(ValueError, match="together"):
        force.tabulateFilters(1e-4, close)
    with pytest.raises(ValueError, match="positions must have shape"):
        force.tabulateFilters(1e-4, close, [0, 1, 0])
    with pytest.raises(ValueError, match="type must be from 0 to 1, found 2"):
        force.tabulateFilters(1e-4, close, [0, 2])


def test_error_is_forgotten_when_parameters_change() -> None:
    model = Model()
    for change in (
        lambda force: force.setBlockParameters(0, *model.block_parameters[0]),
        lambda force: force.setEmbeddings(model.embeddings),
        lambda force: force.setActivation("ssp"),
        lambda force: force.setCutoffFunction("polynomial"),
        lambda force: force.setFilterGrid(3, 100),
    ):
        force = model([])
        force.tabulateFilters(1e-3)
        change(force)
        assert force.getFilterError() is None


# ---- platforms ----

WARM = Model(grid=(3, 50), readouts=2, activation="ssp", hidden=(), filters=5, features=40)
#: Widths that are no multiples of a vector's, more filters than one pass of a work item takes, and every text variant.
PLATFORM_CASES = {
    "cubic": ("none", Model(grid=(3, 64))),
    "quintic": ("triclinic", Model(grid=(5, 40), filters=70, features=33, blocks=3, activation="silu", num_types=3)),
    "two readouts": (
        "rectangular",
        Model(grid=(3, 50), readouts=2, activation="ssp", hidden=(), filters=5, features=40),
    ),
    "exact gaussian": ("triclinic", Model(basis="gaussian", cutoff_function="polynomial", activation="ssp", blocks=1)),
    "exact rising": ("none", Model(lower=0.1, activation="silu", functions=16, filters=16, features=8)),
}


@pytest.mark.parametrize(("box", "model"), PLATFORM_CASES.values(), ids=PLATFORM_CASES)
def test_platform_equals_reference(platform: TestPlatform, box: str, model: Model) -> None:
    beads.check_platform(platform, model, np.arange(40) % model.num_types, BOXES[box], tolerance(platform))


SMALL = Model(grid=(3, 64))


def test_each_platform_runs_its_own_kernel(platform: TestPlatform) -> None:
    beads.check_kernel_class(platform, SMALL([0, 0]), 2)


def test_isolated_beads_and_absent_particles(platform: TestPlatform) -> None:
    positions = np.array([[0, 0, 0], [0.1875, 0, 0], [5, 0, 0], [5.125, 0, 0], [5.25, 0.125, 0]])
    energy, forces = evaluate(new_context(platform, make_system(SMALL([1, -1, 1, -1, 0]), 5), positions))
    lonely = numpy_energy(Model(), np.array([1]), positions[:1], None)
    kept = positions[[2, 4]]
    pair = reference(make_system(SMALL([1, 0]), 2), kept)
    assert abs(lonely) > 0.1
    assert energy == pytest.approx(pair[0] + lonely, rel=tolerance(platform))
    assert np.all(forces[[0, 1, 3]] == 0)
    # The force of one pair alone is a small difference of large terms.
    np.testing.assert_allclose(forces[[2, 4]], pair[1], atol=5 * tolerance(platform) * np.abs(pair[1]).max())


def test_coinciding_beads_give_finite_forces(platform: TestPlatform) -> None:
    beads.check_coinciding(platform, SMALL)


def test_crowded_rows(platform: TestPlatform) -> None:
    beads.check_crowd(platform, SMALL, BOXES["triclinic"])


def test_repeatable(platform: TestPlatform) -> None:
    beads.check_repeatable(platform, SMALL)


def test_dynamics_with_reordering(platform: TestPlatform) -> None:
    if platform.name == "Reference":
        pytest.skip("compares with Reference")
    count, box = 100, np.diag([1.75, 1.75, 1.75])
    system = make_system(SMALL(np.arange(count) % 2, True), count, box)
    system.addForce(repulsion(count))
    run_dynamics(platform, system, make_positions(count, box), steps=600, dt=0.004)


def test_continuous_at_the_cutoff(platform: TestPlatform) -> None:
    """The cutoff functions end with a slope of 0: so does the force, in proportion to the distance."""
    context = new_context(platform, make_system(SMALL([0, 0]), 2), np.zeros((2, 3)))
    found = {}
    for gap in (0.004, 0.002, 0.0, -0.01):
        context.setPositions([[0, 0, 0], [CUTOFF - gap, 0, 0]])
        found[gap] = evaluate(context)[1][0, 0]
    assert found[0.004] / found[0.002] == pytest.approx(2, rel=0.1)
    assert abs(found[0.0]) < 1e-4 * abs(found[0.004])
    assert found[-0.01] == 0


def test_replicas(platform: TestPlatform) -> None:
    """Copies in the same place do not see one another, and each has the energy that it has alone."""
    count = 20
    force = SMALL([])
    copies = [make_positions(count, None, seed=seed) for seed in (2, 3, 2)]
    for replica in range(3):
        for i in range(count):
            force.addParticle(i % 2, replica)
    context = new_context(platform, make_system(force, 3 * count), np.concatenate(copies))
    alone = [reference(make_system(SMALL(np.arange(count) % 2), count), positions) for positions in copies]
    energies = [energy for energy, _ in alone]
    assert abs(energies[0] - energies[1]) > 1
    assert force.getReplicaEnergies(context) == pytest.approx(energies, rel=tolerance(platform))
    expected = np.concatenate([forces for _, forces in alone])
    rms = np.sqrt(np.mean(expected**2))
    assert np.sqrt(np.mean((evaluate(context)[1] - expected) ** 2)) < tolerance(platform) * rms


def test_temperature_derivative(platform: TestPlatform) -> None:
    name = SchNetForce.TemperatureParameter()
    force = WARM(np.arange(20) % 2)
    force.setOffset([3.0, -0.02, 0.004, 1e-3])
    force.addEnergyParameterDerivative(name)
    context = new_context(platform, make_system(force, 20), make_positions(20, None))
    state = context.getState(energy=True, parameterDerivatives=True)
    energies = []
    for temperature in (2.5, 3.5):
        context.setParameter(name, temperature)
        energies.append(context.getState(energy=True).getPotentialEnergy()._value)
    # What is not linear in T is C(T), whose third derivative times 1/24 is 1e-5.
    slope = energies[1] - energies[0]
    assert abs(slope) > 1
    assert state.getEnergyParameterDerivatives()[name] == pytest.approx(slope, abs=1e-4 * abs(slope) + 1e-4)


@pytest.mark.parametrize("grid", [(3, 64), (3, 0)])
def test_update_parameters_in_context(platform: TestPlatform, grid: tuple[int, int]) -> None:
    """Tables follow the parameters, and types too."""
    count = 25
    positions = make_positions(count, None)
    options = {"grid": grid, "cutoff_function": "shifted_cosine", "lower": 0.2}
    model, other = Model(**options), Model(**options, seed=5)
    force = model(np.arange(count) % 2)
    context = new_context(platform, make_system(force, count), positions)
    before = evaluate(context)
    types = [[1, -1, 0][i % 3] for i in range(count)]
    other.set_parameters(force)
    for index, layer in enumerate(other.layers):
        force.setLayerParameters(index, *layer)
    for i, type in enumerate(types):
        force.setParticleType(i, type)
    force.updateParametersInContext(context)
    expected = reference(make_system(other(types), count), positions)
    beads.assert_same(platform, evaluate(context), expected)
    assert abs(before[0] - expected[0]) > 1


def test_update_cannot_change_shapes() -> None:
    force = SMALL([0, 1])
    context = new_context(REFERENCE, make_system(force, 2), np.zeros((2, 3)))
    force.setFilterGrid(3, 32)
    with pytest.raises(openmm.OpenMMException, match="number of intervals of the filter grid from 64 to 32"):
        force.updateParametersInContext(context)
    force.setFilterGrid(3, 64)
    force.setCutoffFunction("polynomial")
    with pytest.raises(openmm.OpenMMException, match="cutoff function from cosine to polynomial"):
        force.updateParametersInContext(context)


# ---- the torch twin, through a model file ----


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"basis": "gaussian", "activation": "ssp", "cutoff_function": "shifted_cosine", "cutoff_lower": 0.2},
        {"activation": "silu", "cutoff_lower": 0.1, "temperature_dependent": True, "hidden": ()},
        {"cutoff_function": "polynomial", "filter_grid": 16},
        {"basis": "gaussian", "filter_grid": 24, "cutoff_function": "shifted_cosine"},
    ],
)
def test_equals_torch_through_a_model_file(torch: Any, tmp_path: Any, options: dict[str, Any]) -> None:
    from meanforce.potentials import SchNet

    torch.manual_seed(3)
    sizes = {"features": 7, "filters": 9, "blocks": 2, "radial_functions": 8, "hidden": (5,)}
    twin = SchNet(2, CUTOFF, **{**sizes, **options}).double()
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if name.endswith("bias") or name == "type_energies":
                parameter.normal_()
        twin.layers[-1].weight.normal_(std=20.0)
    export(twin, tmp_path / "model.pt")
    types = np.arange(22) % 2
    positions = make_positions(22, None)
    warm = bool(options.get("temperature_dependent"))
    (force,) = CGPotential(tmp_path / "model.pt").createForces(
        types, temperature=2.5 if warm else None, filters="exact" if "filter_grid" not in options else "tabulated"
    )
    assert SchNetForce.isinstance(force)
    found = reference(make_system(force, 22), positions)
    x = torch.tensor(positions, requires_grad=True)
    energy = twin(x, torch.tensor(types), None, 2.5) if warm else twin(x, torch.tensor(types))
    (gradient,) = torch.autograd.grad(energy, x)
    rms = gradient.square().mean().sqrt().item()
    assert rms > 1
    assert found[0] == pytest.approx(energy.item(), rel=1e-9)
    assert np.sqrt(np.mean((found[1] + gradient.numpy()) ** 2)) < 1e-9 * rms


def test_model_file_is_tabulated_by_default(torch: Any, tmp_path: Any) -> None:
    from meanforce.potentials import SchNet

    torch.manual_seed(3)
    twin = SchNet(1, CUTOFF, features=6, filters=8, blocks=1, radial_functions=8).double()
    export(twin, tmp_path / "model.pt")
    (force,) = CGPotential(tmp_path / "model.pt").createForces([0, 0])
    assert force.getFilterGrid()[1] > 0
    assert force.getFilterError() < 1e-6


# ---- API ----


def test_round_trips() -> None:
    trained = SMALL([0, 1, 0], True)
    trained.setFilterTables(5, 8, np.random.default_rng(1).normal(size=(2, 13, 20)))
    tabulated = Model(basis="gaussian", cutoff_function="shifted_cosine", lower=0.1)([1])
    tabulated.tabulateFilters(1e-3)
    for original in (trained, tabulated, Model(readouts=2)([1, 0]), SchNetForce(1, 0.5, 3, 4, 2)):
        for force in beads.round_trips(original):
            for name in ("Embeddings", "TypeEnergies"):
                np.testing.assert_array_equal(getattr(force, f"get{name}")(), getattr(original, f"get{name}")())
            for block in range(original.getNumBlocks()):
                pairs = zip(force.getBlockParameters(block), original.getBlockParameters(block), strict=True)
                for found, expected in pairs:
                    np.testing.assert_array_equal(found, expected)
            assert force.getCutoffFunction() == original.getCutoffFunction()
            assert force.getFilterGrid() == original.getFilterGrid()
            assert force.getFilterError() == original.getFilterError()
            kind, exponent, centers, widths = force.getRadialBasis()
            assert (kind, exponent) == original.getRadialBasis()[:2]
            np.testing.assert_array_equal(centers, original.getRadialBasis()[2])
            np.testing.assert_array_equal(widths, original.getRadialBasis()[3])
            if kind:
                np.testing.assert_array_equal(force.getFilterTables(), original.getFilterTables())


def test_given_tables_stay() -> None:
    force = SMALL([0, 1])
    tables = np.random.default_rng(1).normal(size=(2, 67, 20))
    force.setFilterTables(3, 64, tables)
    Model(seed=5).set_parameters(force)
    np.testing.assert_array_equal(force.getFilterTables(), tables)
    force.setFilterGrid(3, 64)
    assert np.abs(force.getFilterTables() - tables).max() > 1
    force.setFilterGrid(3, 0)
    assert force.getFilterTables().size == 0


def test_units() -> None:
    force = SchNetForce(1, 4.5 * unit.angstrom, 3, 4, 1)
    force.setRadialBasis("gaussian", 2.0 / unit.angstrom**2, [1.0, 2.0] * unit.angstrom)
    assert force.getCutoff() == 0.45 * unit.nanometer
    _, gamma, centers, widths = force.getRadialBasis()
    assert gamma == pytest.approx(200.0)
    np.testing.assert_allclose(centers, [0.1, 0.2])
    assert widths is None
    force.setCutoffFunction("shifted_cosine", 1 * unit.angstrom)
    assert force.getCutoffFunction()[1] / unit.nanometer == pytest.approx(0.1)
    with pytest.raises(TypeError, match="not compatible"):
        force.setCutoffFunction("cosine", 1 * unit.picosecond)


def test_bad_arguments() -> None:
    force = SMALL([0])
    block = Model().block_parameters[0]
    for arguments, message in (
        ((0, 0.4, 3, 4, 1), "number of types must be at least 1, found 0"),
        ((1, -0.4, 3, 4, 1), "cutoff must be positive"),
        ((1, 0.4, 0, 4, 1), "number of features must be at least 1, found 0"),
        ((1, 0.4, 3, 0, 1), "number of filters must be at least 1, found 0"),
        ((1, 0.4, 3, 4, 9), "number of blocks must be from 1 to 8, found 9"),
    ):
        with pytest.raises(ValueError, match=message):
            SchNetForce(*arguments)
    for call, message in (
        (lambda: force.setRadialBasis("bessel", 1, [0.1]), "'gaussian' or 'expnormal', found 'bessel'"),
        (lambda: force.setRadialBasis("gaussian", 0, [0.1]), "exponent of the radial basis must be positive"),
        (lambda: force.setRadialBasis("gaussian", 1, [0.1], [1.0]), "a gaussian basis has none"),
        (lambda: force.setRadialBasis("expnormal", 1, [0.1]), "length of the widths"),
        (lambda: force.setRadialBasis("expnormal", 1, [0.1], [-1.0]), "must not be negative, found -1"),
        (lambda: force.setCutoffFunction("sharp"), "'cosine', 'shifted_cosine' or 'polynomial', found 'sharp'"),
        (lambda: force.setCutoffFunction("cosine", 0.45), "less than the cutoff, 0.45 nm, found 0.45"),
        (lambda: force.setCutoffFunction("polynomial", 0.1), "'polynomial' must be 0, found 0.1"),
        (lambda: force.setActivation("relu"), "'tanh', 'silu' or 'ssp', found 'relu'"),
        (lambda: force.setEmbeddings(np.zeros((2, 3))), r"embeddings must have shape \(2, 17\)"),
        (lambda: force.setTypeEnergies([1.0]), r"energies must have shape \(2\)"),
        (lambda: force.setBlockParameters(2, *block), "index of a block must be at least 0 and less than 2, found 2"),
        (lambda: force.setBlockParameters(0, block[1], *block[1:]), r"lin1 must have shape \(20, 17\)"),
        (lambda: force.setBlockParameters(0, np.nan * block[0], *block[1:]), "weights of lin1 must be finite"),
        (lambda: force.setFilterGrid(4, 100), "degree of the filter grid must be 3 or 5, found 4"),
        (lambda: force.setFilterGrid(3, 2), "intervals of the filter grid must be at least 4, found 2"),
        (lambda: force.setFilterTables(3, 8, np.zeros((2, 10, 20))), r"coefficients must have shape \(2, 11, 20\)"),
        (lambda: force.tabulateFilters(0.0), "tolerance must be positive, found 0"),
        (lambda: SchNetForce(1, 0.5, 3, 4, 1).setBlockParameters(0, *block), "setRadialBasis must be called"),
        (lambda: SchNetForce(1, 0.5, 3, 4, 1).tabulateFilters(), r"setRadialBasis\(\) must be called"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_what_a_context_needs() -> None:
    force = SchNetForce(1, 0.5, 3, 4, 1)
    force.addParticle(0)

    def expect(message: str) -> None:
        with pytest.raises(openmm.OpenMMException, match=message):
            new_context(REFERENCE, make_system(copy.deepcopy(force), 1), np.zeros((1, 3)))

    expect(r"setRadialBasis\(\) must be called")
    force.setRadialBasis("gaussian", 1.0, [0.1, 0.2])
    expect("for each block, found none for block 0")
    force.setBlockParameters(0, *(np.ones(s) for s in ((4, 3), (4, 2), 4, (4, 4), 4, (3, 4), 3, (3, 3), 3)))
    expect(r"setEmbeddings\(\) must be called")
    force.setEmbeddings(np.ones((1, 3)))
    expect(r"addLayer\(\) must be called")
    force.addLayer(np.ones((1, 2, 3)), np.ones((1, 2)))
    expect("last layer must have 1 output")
