# SPDX-License-Identifier: MIT
"""GLEIntegrator from Python. Its statistics and its propagator are tested in tests/cpp/TestGLEIntegrator.cpp."""

from __future__ import annotations

import copy
import io
import pickle
import re
import types
from pathlib import Path

import numpy as np
import openmm
import pytest
import scipy.linalg
from openmm import app, unit

import meanforce
from conftest import TestPlatform
from meanforce import _meanforce

KT = (unit.MOLAR_GAS_CONSTANT_R * 300 * unit.kelvin).value_in_unit(unit.kilojoule_per_mole)
# Two exponential memories, an oscillating one, and a little white friction, in 1/ps.
DRIFT = np.array(
    [
        [0.2, -9.0, -4.0, -6.0, 0.0],
        [9.0, 12.0, 0.0, 0.0, 0.0],
        [4.0, 0.0, 1.5, 0.0, 0.0],
        [6.0, 0.0, 0.0, 2.0, -25.0],
        [0.0, 0.0, 0.0, 25.0, 3.0],
    ]
)


def oscillators(number: int, mass: float, strength: float) -> openmm.System:
    """Return independent particles, each in the potential ``strength * r**2 / 2``."""
    system = openmm.System()
    force = openmm.CustomExternalForce(f"{strength / 2!r}*(x^2+y^2+z^2)")
    for i in range(number):
        system.addParticle(mass)
        force.addParticle(i)
    system.addForce(force)
    return system


def step_map(drift: np.ndarray, h: float, omega: float) -> np.ndarray:
    """Return the matrix of one step at T = 0 on z = (sqrt(m) x, u, s): B(h), A(h/2), O(h), A(h/2)."""
    size = len(drift) + 1
    kick, half_drift, bath = np.eye(size), np.eye(size), np.eye(size)
    kick[1, 0] = -h * omega**2
    half_drift[0, 1] = h / 2
    bath[1:, 1:] = scipy.linalg.expm(-h * drift)
    return half_drift @ bath @ half_drift @ kick


def test_zero_temperature_map(platform: TestPlatform) -> None:
    """The deterministic part is a matrix power, composed here from scipy's exponential."""
    mass, h, omega, steps, number = 7.0, 0.01, 30.0, 200, 20
    rng = np.random.default_rng(1)
    x, u = 0.1 * rng.normal(size=(number, 3)), rng.normal(size=(number, 3))
    s = rng.normal(size=(number, 3, 4))
    integrator = meanforce.GLEIntegrator(0, DRIFT, h)
    context = platform.context(oscillators(number, mass, mass * omega**2), integrator)
    context.setPositions(x)
    context.setVelocities(u / mass**0.5)
    integrator.setAuxiliaryVariables(s)
    integrator.step(steps)
    state = context.getState(positions=True, velocities=True)
    found = np.concatenate(
        [
            mass**0.5 * state.getPositions(asNumpy=True)._value[..., None],
            mass**0.5 * state.getVelocities(asNumpy=True)._value[..., None],
            integrator.getAuxiliaryVariables()._value,
        ],
        axis=-1,
    )
    start = np.concatenate([mass**0.5 * x[..., None], u[..., None], s], axis=-1)
    expected = start @ np.linalg.matrix_power(step_map(DRIFT, h, omega), steps).T
    # x(0), u(0) and s(0) are of order 1. Mixed precision has float forces, and single float positions; all precisions
    # of the GPU platforms add up forces in units of 2**-32 kJ/mol/nm.
    double = 1e-9 if platform.precision else 1e-12
    np.testing.assert_allclose(found, expected, rtol=0, atol=platform.tolerance(1e-4, 1e-5, double))
    wrong = start @ np.linalg.matrix_power(step_map(DRIFT.T, h, omega), steps).T
    assert np.abs(wrong - expected).max() > 0.01


def test_platform_runs_its_own_kernel(platform: TestPlatform) -> None:
    """Equal numbers alone would not show that the CPU platform does not fall back to the Reference kernel."""
    integrator = meanforce.GLEIntegrator(300, DRIFT, 0.01)
    context = platform.context(oscillators(3, 7.0, 500.0), integrator)
    prefix = {"Reference": "Reference", "CPU": "Cpu"}.get(platform.name, "Common")
    assert _meanforce.kernel_class(context, integrator) == f"meanforce::{prefix}IntegrateGLEStepKernel"
    with pytest.raises(TypeError, match="of meanforce"):
        _meanforce.kernel_class(context, openmm.VerletIntegrator(0.001))


def trajectory_on_cpu(threads: int, number: int, seed: int, *, constrained: bool) -> np.ndarray:
    """Return positions, velocities, auxiliary variables and heat of 20 steps with three kinds of bath."""
    system = oscillators(number, 7.0, 500.0)
    if constrained:
        system.addConstraint(0, 3, 0.1)
    integrator = meanforce.GLEIntegrator(300, [[5.0]], 0.01)
    kernel = integrator.addKernel(DRIFT)
    for i in range(number):
        if i % 3:
            integrator.setParticleKernel(i, kernel if i % 3 == 1 else -1)
    integrator.setRandomNumberSeed(seed)
    cpu = openmm.Platform.getPlatformByName("CPU" if threads else "Reference")
    context = openmm.Context(system, integrator, cpu, {"Threads": str(threads)} if threads else {})
    positions = np.zeros((number, 3))
    positions[0, 0] = 0.1
    context.setPositions(positions)
    integrator.step(20)
    state = context.getState(positions=True, velocities=True)
    arrays = [
        state.getPositions(asNumpy=True)._value,
        state.getVelocities(asNumpy=True)._value,
        integrator.getAuxiliaryVariables()._value,
        integrator.getBathHeat()._value / number,
    ]
    return np.concatenate([np.ravel(a) for a in arrays])


@pytest.mark.parametrize("constrained", [False, True])
def test_threads_do_not_change_the_trajectory(constrained: bool) -> None:
    """6001 particles are enough for several threads, with incomplete vectors at the end; noise is that of Reference."""
    number = 6001
    single = trajectory_on_cpu(1, number, 3, constrained=constrained)
    for threads in (2, 5):
        assert np.array_equal(trajectory_on_cpu(threads, number, 3, constrained=constrained), single)
    reference = trajectory_on_cpu(0, number, 3, constrained=constrained)
    np.testing.assert_allclose(single, reference, rtol=0, atol=1e-12)
    assert np.abs(trajectory_on_cpu(1, number, 4, constrained=constrained) - reference).max() > 0.1


def test_matrix_kernel_at_zero_temperature(platform: TestPlatform) -> None:
    """A 3 x 3 kernel couples the directions; the map of (x, y, z) and the shared variables is composed here."""
    mass, h, omega, steps, number, n = 7.0, 0.01, 30.0, 100, 11, 5
    rng = np.random.default_rng(6)
    skew, root = 4 * rng.normal(size=(2, 3 + n, 3 + n))
    drift = skew - skew.T + root @ root.T / n
    assert np.abs(drift[:3, :3] - np.diag(np.diag(drift[:3, :3]))).max() > 1
    x, u, s = 0.1 * rng.normal(size=(number, 3)), rng.normal(size=(number, 3)), np.zeros((number, 3, 2))
    # Variable j is [:, j % 3, j // 3]; the sixth is none.
    shared = rng.normal(size=(number, n))
    for j in range(n):
        s[:, j % 3, j // 3] = shared[:, j]
    s[:, 2, 1] = 99
    integrator = meanforce.GLEIntegrator(0, types.SimpleNamespace(drift=drift, dimension=3), h)
    assert integrator.getKernelDimension(0) == 3
    assert integrator.getNumModes() == 2
    context = platform.context(oscillators(number, mass, mass * omega**2), integrator)
    context.setPositions(x)
    context.setVelocities(u / mass**0.5)
    integrator.setAuxiliaryVariables(s)
    integrator.step(steps)
    state = context.getState(positions=True, velocities=True)
    after = integrator.getAuxiliaryVariables()._value
    assert np.all(after[:, 2, 1] == 0)
    found = np.concatenate(
        [
            mass**0.5 * state.getPositions(asNumpy=True)._value,
            mass**0.5 * state.getVelocities(asNumpy=True)._value,
            np.stack([after[:, j % 3, j // 3] for j in range(n)], axis=-1),
        ],
        axis=-1,
    )
    kick, half_drift, bath = np.eye(6 + n), np.eye(6 + n), np.eye(6 + n)
    kick[3:6, :3] = -h * omega**2 * np.eye(3)
    half_drift[:3, 3:6] = h / 2 * np.eye(3)
    start = np.concatenate([mass**0.5 * x, u, shared], axis=-1)

    def after_steps(a: np.ndarray) -> np.ndarray:
        bath[3:, 3:] = scipy.linalg.expm(-h * a)
        return start @ np.linalg.matrix_power(half_drift @ bath @ half_drift @ kick, steps).T

    expected = after_steps(drift)
    double = 1e-9 if platform.precision else 1e-12
    np.testing.assert_allclose(found, expected, rtol=0, atol=platform.tolerance(1e-4, 1e-5, double))
    assert np.abs(after_steps(drift.T) - expected).max() > 0.01


def test_diagonal_matrix_kernel_is_three_scalar_kernels(platform: TestPlatform) -> None:
    """At T = 0, the same memory in each direction; a kernel that mixes directions differs."""
    n, number, h = len(DRIFT) - 1, 5, 0.01
    rng = np.random.default_rng(2)
    v, s = rng.normal(size=(2, number, 3)), rng.normal(size=(number, 3, n))
    drift = np.zeros((3 + 3 * n, 3 + 3 * n))
    for direction in range(3):
        own = [direction, *range(3 + direction, 3 + 3 * n, 3)]
        drift[np.ix_(own, own)] = DRIFT

    def run(kernel: object) -> np.ndarray:
        integrator = meanforce.GLEIntegrator(0, kernel, h)
        context = platform.context(oscillators(number, 7.0, 500.0), integrator)
        context.setPositions(v[0])
        context.setVelocities(v[1])
        integrator.setAuxiliaryVariables(s)
        integrator.step(50)
        positions = context.getState(positions=True).getPositions(asNumpy=True)._value
        return np.concatenate([positions.ravel(), integrator.getAuxiliaryVariables()._value.ravel()])

    scalar = run(DRIFT)
    tolerance = platform.tolerance(1e-4, 1e-5, 1e-9)
    np.testing.assert_allclose(run(types.SimpleNamespace(drift=drift, dimension=3)), scalar, rtol=0, atol=tolerance)
    mixed = drift + 5 * (np.eye(3 + 3 * n, k=1) - np.eye(3 + 3 * n, k=-1))
    assert np.abs(run(types.SimpleNamespace(drift=mixed, dimension=3)) - scalar).max() > 0.01


@pytest.mark.parametrize("dimension", [1, 3])
def test_largest_kernel(platform: TestPlatform, dimension: int) -> None:
    """32 auxiliary variables, with noise, against Reference."""
    size = dimension + 32
    rng = np.random.default_rng(3)
    skew, root = rng.normal(size=(2, size, size))
    kernel = types.SimpleNamespace(drift=skew - skew.T + root @ root.T / size, dimension=dimension)

    def run(device: TestPlatform, seed: int) -> np.ndarray:
        integrator = meanforce.GLEIntegrator(300, kernel, 0.01)
        integrator.setRandomNumberSeed(seed)
        context = device.context(oscillators(9, 7.0, 500.0), integrator)
        context.setPositions(np.zeros((9, 3)))
        integrator.step(20)
        x = context.getState(positions=True).getPositions(asNumpy=True)._value
        return np.concatenate([x.ravel(), integrator.getAuxiliaryVariables()._value.ravel()])

    expected = run(TestPlatform("Reference"), 1)
    assert len(expected) == 27 + 27 * (32 if dimension == 1 else 11)
    np.testing.assert_allclose(run(platform, 1), expected, rtol=0, atol=platform.tolerance(1e-4, 1e-4, 1e-9))
    assert np.abs(run(platform, 2) - expected).max() > 0.1


def run_from_state(platform: TestPlatform, xml: str) -> np.ndarray:
    integrator = meanforce.GLEIntegrator(300, DRIFT, 0.01)
    context = platform.context(oscillators(10, 7.0, 500.0), integrator)
    context.setState(openmm.XmlSerializer.deserialize(xml))
    integrator.step(10)
    return context.getState(positions=True).getPositions(asNumpy=True)._value


def test_step_counter_has_64_bits(platform: TestPlatform) -> None:
    """Beyond 2**32 steps, noise is still that of Reference, and not that of the steps 2**32 earlier."""
    integrator = meanforce.GLEIntegrator(300, DRIFT, 0.01)
    context = TestPlatform("Reference").context(oscillators(10, 7.0, 500.0), integrator)
    context.setPositions(np.zeros((10, 3)))
    integrator.step(5)
    state = context.getState(positions=True, velocities=True, integratorParameters=True)
    xml = openmm.XmlSerializer.serialize(state)
    late = xml.replace('noiseStep="5"', f'noiseStep="{2**32 + 5}"')
    assert late != xml
    expected = run_from_state(TestPlatform("Reference"), late)
    found = run_from_state(platform, late)
    np.testing.assert_allclose(found, expected, rtol=0, atol=platform.tolerance(1e-5, 1e-6, 1e-9))
    assert np.abs(run_from_state(platform, xml) - found).max() > 1e-3


def bead_topology(number: int) -> app.Topology:
    topology = app.Topology()
    chain = topology.addChain()
    for _ in range(number):
        topology.addAtom("C", app.element.carbon, topology.addResidue("CG", chain))
    return topology


def coordinates(simulation: app.Simulation) -> np.ndarray:
    state = simulation.context.getState(positions=True, velocities=True)
    return np.concatenate([state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value])


def check_restart(
    platform: TestPlatform, system: openmm.System, positions: np.ndarray, h: float, steps: int, folder: Path
) -> None:
    """Twice `steps` steps are the same in one go and continued in a new Simulation, from a State or a checkpoint."""

    def simulation(seed: int) -> app.Simulation:
        integrator = meanforce.GLEIntegrator(300, DRIFT, h)
        integrator.setRandomNumberSeed(seed)
        device = openmm.Platform.getPlatformByName(platform.name)
        return app.Simulation(
            bead_topology(len(positions)), copy.deepcopy(system), integrator, device, platform.properties
        )

    whole, restarted, checkpointed = simulation(0), simulation(5), simulation(6)
    whole.context.setPositions(positions)
    whole.context.setVelocitiesToTemperature(300, 1)
    whole.step(steps)
    whole.saveState(str(folder / "state.xml"))
    whole.saveCheckpoint(str(folder / "state.chk"))
    half_way = coordinates(whole)
    restarted.loadState(str(folder / "state.xml"))
    checkpointed.loadCheckpoint(str(folder / "state.chk"))
    assert np.array_equal(
        restarted.integrator.getAuxiliaryVariables()._value, whole.integrator.getAuxiliaryVariables()._value
    )
    for s in (whole, restarted, checkpointed):
        s.step(steps)
    assert np.abs(coordinates(whole) - half_way).max() > 0.01
    assert np.array_equal(coordinates(checkpointed), coordinates(whole))
    # A State rounds positions of mixed precision to single.
    atol = 1e-5 if platform.precision == "mixed" else 0
    np.testing.assert_allclose(coordinates(restarted), coordinates(whole), rtol=0, atol=atol)


def test_simulation_restart(platform: TestPlatform, tmp_path: Path) -> None:
    """saveState, then loadState in a new Simulation with a new integrator, continues the trajectory."""
    steps = 1000 if platform.name == "Reference" else 100
    check_restart(platform, oscillators(20, 7.0, 500.0), np.zeros((20, 3)), 0.01, steps, tmp_path)


@pytest.mark.parametrize("name", ["Reference", "CPU"])
def test_restart_of_a_coarse_grained_liquid(name: str, tmp_path: Path) -> None:
    """The forces of the demo, a moment tensor potential on top of a pair prior in a periodic box, restart bitwise."""
    count, side, rng = 64, 1.24, np.random.default_rng(4)
    system = openmm.System()
    prior = meanforce.PairSplineForce(1, 0.45)
    prior.setCoefficients(50 * (1 - np.arange(-1, 39)[None] / 40) ** 3)
    prior.setUsesPeriodicBoundaryConditions(True)
    many_body = meanforce.MomentTensorForce(1, 0.45, 1, 2)
    many_body.setFilters(0.09, rng.normal(size=(5, 2, 2)))
    many_body.setTypeWeights(np.ones((1, 2)))
    many_body.addLayer(rng.normal(size=(1, 4, 6)) / 6, np.zeros((1, 4)))
    many_body.addLayer(5 * rng.normal(size=(1, 1, 4)), np.zeros((1, 1)))
    many_body.setUsesPeriodicBoundaryConditions(True)
    many_body.setForceGroup(1)
    for _ in range(count):
        system.addParticle(18.0)
        prior.addParticle(0)
        many_body.addParticle(0)
    system.setDefaultPeriodicBoxVectors(*(side * np.eye(3)))
    system.addForce(prior)
    system.addForce(many_body)
    lattice = np.stack(np.meshgrid(*[np.arange(4)] * 3), axis=-1).reshape(-1, 3) * side / 4
    platform = TestPlatform(name)
    context = platform.context(copy.deepcopy(system), openmm.VerletIntegrator(0.001))
    context.setPositions(lattice + rng.normal(scale=0.03, size=lattice.shape))
    for group in (0, 1):
        forces = context.getState(forces=True, groups={group}).getForces(asNumpy=True)._value
        assert 10 < np.sqrt(np.mean(forces**2)) < 1000
    check_restart(platform, system, lattice, 0.005, 1000, tmp_path)


def test_seeds() -> None:
    def run(seed: int) -> np.ndarray:
        integrator = meanforce.GLEIntegrator(300, DRIFT, 0.01)
        integrator.setRandomNumberSeed(seed)
        context = TestPlatform("Reference").context(oscillators(3, 7.0, 500.0), integrator)
        context.setPositions(np.zeros((3, 3)))
        integrator.step(5)
        return context.getState(positions=True).getPositions(asNumpy=True)._value

    assert np.array_equal(run(1), run(1))
    assert not np.allclose(run(1), run(2))
    assert not np.allclose(run(0), run(0))


def test_temperature_change_keeps_equilibrium() -> None:
    """Scaling by sqrt(T'/T) puts the auxiliary variables in equilibrium at once, in units of standard errors."""
    integrator = meanforce.GLEIntegrator(300, DRIFT, 0.002)
    integrator.setRandomNumberSeed(1)
    context = TestPlatform("Reference").context(oscillators(2000, 7.0, 0.0), integrator)
    context.setPositions(np.zeros((2000, 3)))
    integrator.setTemperature(600)
    integrator.step(1)
    s = integrator.getAuxiliaryVariables()._value / (2 * KT) ** 0.5
    assert abs((s**2).mean() - 1) < 4 * (2 / s.size) ** 0.5
    assert abs((s**2).mean() - 0.5) > 4 * (2 / s.size) ** 0.5


def test_reading_and_writing_back_between_temperatures_changes_nothing() -> None:
    """Auxiliary variables are read as they are at the integrator's temperature, whether a step has been made or not."""
    integrator = meanforce.GLEIntegrator(300, DRIFT, 0.002)
    integrator.setRandomNumberSeed(1)
    context = TestPlatform("Reference").context(oscillators(5, 7.0, 0.0), integrator)
    context.setPositions(np.zeros((5, 3)))
    before = integrator.getAuxiliaryVariables()._value
    integrator.setTemperature(1200)
    s = integrator.getAuxiliaryVariables()
    np.testing.assert_allclose(s._value, 2 * before, rtol=1e-14)
    integrator.setAuxiliaryVariables(s)
    np.testing.assert_allclose(integrator.getAuxiliaryVariables()._value, 2 * before, rtol=1e-14)
    integrator.setTemperature(300)
    np.testing.assert_allclose(integrator.getAuxiliaryVariables()._value, before, rtol=1e-14)


def test_runs_from_one_state_part_with_another_seed(platform: TestPlatform) -> None:
    """A State carries the seed of the run that made it; a new one holds from the next step on."""
    system = oscillators(30, 7.0, 500.0)

    def positions(state: openmm.State | None, seed: int) -> tuple[np.ndarray, openmm.State]:
        integrator = meanforce.GLEIntegrator(300, DRIFT, 0.002)
        integrator.setRandomNumberSeed(1)
        context = platform.context(system, integrator)
        context.setPositions(np.zeros((30, 3)))
        if state is not None:
            context.setState(state)
            integrator.setRandomNumberSeed(seed)
        integrator.step(1500)
        state = context.getState(positions=True, velocities=True, parameters=True, integratorParameters=True)
        return state.getPositions(asNumpy=True)._value, state

    state = positions(None, 1)[1]
    first, again, other = (positions(state, seed)[0] for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    difference = first - other
    assert abs(np.mean(difference**2) / (2 * np.mean(first**2)) - 1) < 0.5


def test_velocities_to_temperature_are_half_a_step_early() -> None:
    """OpenMM shifts drawn velocities back by the integrator's offset, h/2."""
    h, strength = 0.01, 1000.0
    system = oscillators(1, 1.0, strength)
    velocities = []
    for integrator in (meanforce.GLEIntegrator(300, [[1.0]], h), openmm.LangevinMiddleIntegrator(300, 1, h)):
        context = TestPlatform("Reference").context(system, integrator)
        context.setPositions([[1, 0, 0]])
        context.setVelocitiesToTemperature(300, 4)
        velocities.append(context.getState(velocities=True).getVelocities(asNumpy=True)._value)
    np.testing.assert_allclose(velocities[0], velocities[1], rtol=1e-12)


def test_kernels_of_any_kind() -> None:
    """A kernel is an object with a drift matrix, an array, a list or a Quantity."""
    kernel = types.SimpleNamespace(drift=DRIFT)
    integrator = meanforce.GLEIntegrator(300 * unit.kelvin, kernel, 4 * unit.femtoseconds)
    assert integrator.getTemperature() == 300 * unit.kelvin
    assert integrator.getStepSize().value_in_unit(unit.femtosecond) == pytest.approx(4)
    assert np.array_equal(integrator.getKernel(0).value_in_unit(unit.picosecond**-1), DRIFT)
    assert integrator.addKernel([[5]]) == 1
    assert integrator.addKernel(unit.Quantity(DRIFT[:2, :2] / 1000, unit.femtosecond**-1)) == 2
    np.testing.assert_allclose(integrator.getKernel(2)._value, DRIFT[:2, :2], rtol=1e-15)
    assert integrator.getNumKernels() == 3
    assert integrator.getNumModes() == 4


def test_attributes_survive_copies() -> None:
    integrator = meanforce.GLEIntegrator(310.5, DRIFT, 0.003)
    integrator.addKernel([[5.0]])
    integrator.setParticleKernel(7, 1)
    integrator.setParticleKernel(9, -1)
    integrator.setRandomNumberSeed(12)
    integrator.setAuxiliaryInitialization(meanforce.GLEIntegrator.Zero)
    integrator.setIntegrationForceGroups({1, 3})
    xml = openmm.XmlSerializer.serialize(integrator)
    generic = openmm.XmlSerializer.deserialize(xml)
    assert meanforce.GLEIntegrator.isinstance(generic)
    copies = [copy.copy(integrator), copy.deepcopy(integrator), pickle.loads(pickle.dumps(integrator))]
    for other in [*copies, meanforce.GLEIntegrator.cast(generic)]:
        assert isinstance(other, meanforce.GLEIntegrator)
        assert openmm.XmlSerializer.serialize(other) == xml
        assert other.getTemperature() == 310.5 * unit.kelvin
        assert other.getParticleKernels() == {7: 1, 9: -1}
        assert [other.getParticleKernel(i) for i in (0, 7, 9)] == [0, 1, -1]
        assert other.getRandomNumberSeed() == 12
        assert other.getAuxiliaryInitialization() == meanforce.GLEIntegrator.Zero
        assert np.array_equal(other.getKernel(0)._value, DRIFT)
    verlet = openmm.VerletIntegrator(0.001)
    assert not meanforce.GLEIntegrator.isinstance(verlet)
    with pytest.raises(TypeError, match="not a GLEIntegrator"):
        meanforce.GLEIntegrator.cast(verlet)


def test_compound_integrator(platform: TestPlatform) -> None:
    """Two baths take turns, and both are part of the checkpoint."""
    compound = openmm.CompoundIntegrator()
    compound.addIntegrator(openmm.LangevinMiddleIntegrator(300, 1, 0.002))
    compound.addIntegrator(meanforce.GLEIntegrator(300, DRIFT, 0.002))
    compound.setCurrentIntegrator(1)
    context = platform.context(oscillators(4, 7.0, 500.0), compound)
    context.setPositions(np.zeros((4, 3)))
    compound.step(5)
    checkpoint = context.createCheckpoint()
    compound.step(5)
    expected = context.getState(positions=True).getPositions(asNumpy=True)._value
    context.loadCheckpoint(checkpoint)
    compound.step(5)
    assert np.array_equal(context.getState(positions=True).getPositions(asNumpy=True)._value, expected)


def test_auxiliary_variables_have_units_and_shape(platform: TestPlatform) -> None:
    integrator = meanforce.GLEIntegrator(300, DRIFT, 0.002)
    with pytest.raises(ValueError, match="not bound"):
        integrator.getAuxiliaryVariables()
    context = platform.context(oscillators(6, 7.0, 500.0), integrator)
    context.setPositions(np.zeros((6, 3)))
    assert integrator.getAuxiliaryVariables().shape == (6, 3, 4)
    s = np.arange(72.0).reshape(6, 3, 4)
    integrator.setAuxiliaryVariables(unit.Quantity(s, unit.kilojoule_per_mole**0.5))
    np.testing.assert_array_equal(integrator.getAuxiliaryVariables()._value, s)
    assert integrator.getBathHeat() == 0 * unit.kilojoule_per_mole
    integrator.step(1)
    assert integrator.getBathHeat().value_in_unit(unit.kilojoule_per_mole) != 0
    for wrong in (s[:, :, :3], s.ravel(), s[:5]):
        with pytest.raises(ValueError, match=r"\(6, 3, 4\), got \("):
            integrator.setAuxiliaryVariables(wrong)
    with pytest.raises(ValueError, match="finite"):
        integrator.setAuxiliaryVariables(np.full_like(s, np.nan))


def test_auxiliary_variables_are_those_of_the_context(platform: TestPlatform) -> None:
    """A kernel that is added later has no variables; without memory there is an empty array for each particle."""
    integrator = meanforce.GLEIntegrator(300, [[5.0]], 0.002)
    with pytest.raises(ValueError, match="not bound"):
        integrator.setAuxiliaryVariables(np.zeros((6, 3, 0)))
    context = platform.context(oscillators(6, 7.0, 500.0), integrator)
    context.setPositions(np.zeros((6, 3)))
    for _ in range(2):
        empty = integrator.getAuxiliaryVariables()
        assert empty.shape == (6, 3, 0)
        integrator.setAuxiliaryVariables(empty)
        integrator.step(1)
        integrator.addKernel(DRIFT)
    assert integrator.getNumModes() == 4
    context.reinitialize(preserveState=False)
    assert integrator.getAuxiliaryVariables().shape == (6, 3, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, DRIFT, 0.002), "temperature must be zero or positive"),
        ((np.nan, DRIFT, 0.002), "temperature"),
        ((300, DRIFT, 0), "step size must be positive"),
        ((300, DRIFT, -0.002), "-0.002 ps"),
        ((300, DRIFT[:3], 0.002), r"shape \(3, 5\)"),
        ((300, 5.0, 0.002), r"shape \(\)"),
        ((300, DRIFT.ravel(), 0.002), r"shape \(25,\)"),
        ((300, np.zeros((0, 0)), 0.002), r"shape \(0, 0\)"),
        ((300, np.zeros((34, 34)), 0.002), "34 x 34"),
        ((300, [[0, 1], [1, np.inf]], 0.002), "row 1, column 1"),
        ((300, -DRIFT, 0.002), "negative eigenvalue -12/ps"),
        ((300, types.SimpleNamespace(drift=DRIFT, dimension=2), 0.002), "1 or 3, got 2"),
        ((300, types.SimpleNamespace(drift=[[1.0]], dimension=3), 0.002), "at least 3 x 3"),
    ],
)
def test_bad_arguments(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        meanforce.GLEIntegrator(*arguments)


@pytest.mark.filterwarnings("ignore:.*kernel.brownian")
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("modes", [1, 6, 32])
def test_one_definition_of_passivity(scale: float, modes: int) -> None:
    """What MemoryKernel accepts is accepted here, up to the last bit of its tolerance; 2 % beyond both refuse."""
    rng = np.random.default_rng(modes)
    rotation = np.linalg.qr(rng.normal(size=(modes + 1, modes + 1)))[0]
    passive = (rotation[:, 1:] * rng.uniform(0.1, 1, modes)) @ rotation[:, 1:].T
    skew = rng.normal(size=(modes + 1, modes + 1))
    base = scale * (passive + skew - skew.T)
    least = scale * np.outer(rotation[:, 0], rotation[:, 0])

    def drift(dissipation: float) -> np.ndarray:
        return base + dissipation * np.abs(base).max() / scale * least

    accepted = 0
    for dissipation in -1e-10 * (1 + np.linspace(-1e-4, 1e-4, 41)):
        try:
            kernel = meanforce.MemoryKernel(drift(dissipation))
        except ValueError:
            continue
        assert kernel.is_passive()
        meanforce.GLEIntegrator(300, kernel, 0.002)
        accepted += 1
    assert 0 < accepted < 41
    for refuse in (meanforce.MemoryKernel, lambda a: meanforce.GLEIntegrator(300, a, 0.002)):
        with pytest.raises(ValueError, match="negative eigenvalue -"):
            refuse(drift(-1.02e-10))


def test_kernel_that_is_not_passive_names_the_frequency() -> None:
    """A narrow negative band of the spectrum, against numpy's scan; a matrix in the wrong basis says so."""
    rate, frequency, weight = 1.0, 40.0, -5.0
    drift = np.zeros((4, 4))
    drift[0, 0] = 2.0
    drift[0, 1], drift[1, 0] = -weight, 1.0
    drift[1:3, 1:3] = [[rate, -frequency], [frequency, rate]]
    drift[3, 3] = 1.0
    omega = np.linspace(38, 42, 4001)
    spectrum = [
        (drift[0, 0] - drift[0, 1:] @ np.linalg.solve(drift[1:, 1:] + 1j * w * np.eye(3), drift[1:, 0])).real
        for w in omega
    ]
    with pytest.raises(ValueError, match="angular frequency") as error:
        meanforce.GLEIntegrator(300, drift, 0.002)
    found = re.search(r"friction is (\S+)/ps at the angular frequency (\S+) rad/ps", str(error.value))
    assert found
    assert float(found[1]) == pytest.approx(min(spectrum), rel=1e-3)
    assert float(found[2]) == pytest.approx(omega[np.argmin(spectrum)], rel=1e-3)
    # One exponential memory with its auxiliary variable in another unit: passive, but not with C = kT 1.
    with pytest.raises(ValueError, match="negative at no frequency"):
        meanforce.GLEIntegrator(300, [[0, -9], [0.1, 2]], 0.002)
    matrix = np.diag([2.0, -3.0, 1.0])
    with pytest.raises(ValueError, match="-3/ps at the angular frequency 0 rad/ps"):
        meanforce.GLEIntegrator(300, types.SimpleNamespace(drift=matrix, dimension=3), 0.002)


def test_large_friction_warns_once() -> None:
    with pytest.warns(UserWarning, match=r"kernel 0 times the step size is 1.2.*kernel\.brownian") as caught:
        integrator = meanforce.GLEIntegrator(300, [[600.0]], 0.002)
    assert len(caught) == 1
    integrator.setStepSize(0.004)
    integrator.addKernel([[900.0]])
    assert caught[0].filename == __file__
    integrator = meanforce.GLEIntegrator(300, [[400.0]], 0.002)
    with pytest.warns(UserWarning, match="is 1.6"):
        integrator.setStepSize(0.004)
    # Friction of a memory is its integral: 60^2/2 = 1800/ps; without decay there is none to compare with.
    with pytest.warns(UserWarning, match="is 1.8"):
        meanforce.GLEIntegrator(300, [[0, -60], [60, 2]], 0.001)
    meanforce.GLEIntegrator(300, [[0, -60], [60, 0]], 0.001)
    integrator = meanforce.GLEIntegrator(300, DRIFT, 0.002)
    with pytest.warns(UserWarning, match="kernel 1 times the step size is 2,"):
        integrator.addKernel(types.SimpleNamespace(drift=np.diag([1.0, 1000.0, 1.0]), dimension=3))


def test_bad_units() -> None:
    with pytest.raises(TypeError, match="not compatible"):
        meanforce.GLEIntegrator(300 * unit.nanometer, DRIFT, 0.002)


@pytest.mark.parametrize("name", ["Reference", "CPU"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_position_is_named(name: str, bad: float) -> None:
    """OpenMM's own force lets such a particle pass: it is within the cutoff of none."""
    count, box = 10, 2 * np.eye(3)
    system, force = openmm.System(), openmm.CustomNonbondedForce("(0.2/r)^8")
    for i in range(count):
        system.addParticle(0.0 if i == 3 else 7.0)
        force.addParticle([])
    system.setDefaultPeriodicBoxVectors(*box)
    force.setNonbondedMethod(force.CutoffPeriodic)
    force.setCutoffDistance(0.5)
    system.addForce(force)
    integrator = meanforce.GLEIntegrator(300, DRIFT, 0.002)
    context = TestPlatform(name).context(system, integrator)
    positions = np.random.default_rng(3).uniform(0, 2, (count, 3))
    context.setPositions(positions)
    integrator.step(1)
    broken = positions.copy()
    broken[6, 2] = broken[8, 0] = bad
    context.setPositions(broken)
    heat = integrator.getBathHeat()
    with pytest.raises(openmm.OpenMMException, match="GLEIntegrator: the position of particle 6 is NaN or infinite"):
        integrator.step(1)
    assert integrator.getBathHeat() == heat
    context.setPositions(positions)
    integrator.step(1)


def test_bad_position_is_named_on_every_platform(platform: TestPlatform) -> None:
    """On GPUs it is found by the kernel, and told after the last of the steps that were asked for."""
    integrator = meanforce.GLEIntegrator(300, DRIFT, 0.002)
    context = platform.context(oscillators(10, 7.0, 500.0), integrator)
    positions = np.zeros((10, 3))
    context.setPositions(positions)
    integrator.step(2)
    positions[6, 1] = np.nan
    context.setPositions(positions)
    with pytest.raises(openmm.OpenMMException, match="GLEIntegrator: the position of particle 6 is NaN or infinite"):
        integrator.step(1)
    context.setPositions(np.zeros((10, 3)))
    context.setVelocities(np.zeros((10, 3)))
    integrator.setAuxiliaryVariables(np.zeros((10, 3, 4)))
    integrator.step(2)


def test_truncated_checkpoint() -> None:
    integrator = meanforce.GLEIntegrator(300, DRIFT, 0.002)
    context = TestPlatform("Reference").context(oscillators(3, 7.0, 500.0), integrator)
    context.setPositions(np.zeros((3, 3)))
    stream = io.BytesIO(context.createCheckpoint())
    with pytest.raises(openmm.OpenMMException, match="truncated"):
        context.loadCheckpoint(stream.getvalue()[:-20])


def energy_error(platform: TestPlatform, kernel: list, h: float, *, dumbbells: bool) -> tuple[float, float, float]:
    """Return the largest changes in 1 ps of the conserved energy, a State's energy plus heat, and its energy alone."""
    count, mass, rng = 40, 10.0, np.random.default_rng(2)
    system = oscillators(count, mass, 400.0)
    x = 0.05 * rng.normal(size=(count, 3))
    if dumbbells:
        x[1::2] = x[::2] + 0.2 * np.array([0.6, 0.0, 0.8])
        for i in range(0, count, 2):
            system.addConstraint(i, i + 1, 0.2)
    integrator = meanforce.GLEIntegrator(300, kernel, h)
    integrator.setRandomNumberSeed(5)
    integrator.setConstraintTolerance(1e-6)
    context = platform.context(system, integrator)
    context.setPositions(x)
    context.setVelocitiesToTemperature(300, 3)
    rows = []
    for _ in range(20):
        state, heat = context.getState(energy=True), integrator.getBathHeat()._value
        energy = state.getPotentialEnergy()._value + state.getKineticEnergy()._value
        rows.append([integrator.computeConservedEnergy()._value, energy + heat, energy])
        integrator.step(round(0.05 / h))
    return tuple(np.abs(np.array(rows) - rows[0]).max(axis=0))


@pytest.mark.parametrize("dumbbells", [False, True])
@pytest.mark.parametrize("kernel", [[[5.0]], [[0.5, -20.0], [20.0, 5.0]]], ids=["white", "memory"])
def test_energy_and_heat_fluctuate_as_the_step_squared(kernel: list, dumbbells: bool) -> None:
    """With velocities at the time of the positions; half a step early they make an error of first order."""
    reference = TestPlatform("Reference")
    coarse, fine = (np.array(energy_error(reference, kernel, h, dumbbells=dumbbells)) for h in (0.004, 0.001))
    assert fine[0] < 0.02
    assert coarse[0] > 8 * fine[0]
    assert 2 < coarse[1] / fine[1] < 8
    assert fine[2] > 100 * fine[1]


@pytest.mark.parametrize("dumbbells", [False, True])
def test_conserved_energy_on_every_platform(platform: TestPlatform, dumbbells: bool) -> None:
    """About 150 kJ/mol; constraints and bath without memory, whose noise along the bonds must not count as heat."""
    errors = energy_error(platform, [[5.0]], 0.002, dumbbells=dumbbells)
    assert errors[0] < platform.tolerance(0.2, 0.2, 0.1)
    assert errors[2] > 20
    with pytest.raises(ValueError, match="not bound"):
        meanforce.GLEIntegrator(300, [[5.0]], 0.002).computeConservedEnergy()


def test_versions_and_states_of_other_kernels() -> None:
    """XML from before matrix kernels, without their dimension, loads; what does not fit gives one clear error."""
    integrator = meanforce.GLEIntegrator(300, DRIFT, 0.002)
    xml = openmm.XmlSerializer.serialize(integrator)
    old = xml.replace(' dimension="1"', "")
    assert old != xml
    assert openmm.XmlSerializer.serialize(openmm.XmlSerializer.deserialize(old)) == xml
    newer = re.sub(r'(type="meanforce::GLEIntegrator"[^>]*) version="1"', r'\1 version="99"', xml)
    assert newer != xml
    with pytest.raises(openmm.OpenMMException, match="GLEIntegrator: unsupported version number 99"):
        openmm.XmlSerializer.deserialize(newer)
    context = TestPlatform("Reference").context(oscillators(3, 7.0, 500.0), integrator)
    context.setPositions(np.zeros((3, 3)))
    state = openmm.XmlSerializer.serialize(context.getState(positions=True, integratorParameters=True))
    newer = re.sub(r'(<IntegratorParameters[^>]*) version="1"', r'\1 version="99"', state)
    assert newer != state
    with pytest.raises(openmm.OpenMMException, match="unsupported version number 99 in the State"):
        context.setState(openmm.XmlSerializer.deserialize(newer))
    other = meanforce.GLEIntegrator(300, [[0.0, -9.0], [9.0, 12.0]], 0.002)
    context = TestPlatform("Reference").context(oscillators(3, 7.0, 500.0), other)
    before = other.getAuxiliaryVariables()._value
    with pytest.raises(openmm.OpenMMException, match=r"expected 9 auxiliary variables .* got 36"):
        context.setState(openmm.XmlSerializer.deserialize(state))
    assert np.array_equal(other.getAuxiliaryVariables()._value, before)
