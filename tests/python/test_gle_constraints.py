# SPDX-License-Identifier: MIT
"""GLEIntegrator with constraints on particles with memory, against exact averages of rigid molecules."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
import scipy.linalg
from openmm import unit

import meanforce
from conftest import TestPlatform

# Strong memory that lasts: these kernels have large integrals, but are resolved by the step.
pytestmark = pytest.mark.filterwarnings("ignore:.*kernel.brownian")
KT = (unit.MOLAR_GAS_CONSTANT_R * 300 * unit.kelvin).value_in_unit(unit.kilojoule_per_mole)
# A dumbbell of two particles in a field along z: energy -FIELD kT cos(theta).
MASS, LENGTH, FIELD = 10.0, 0.2, 2.0
PERIOD = LENGTH / (2 * KT / MASS) ** 0.5  # the time in which it turns by about one radian
COSINE = 1 / np.tanh(FIELD) - 1 / FIELD


def exponential(b: float, rate: float) -> np.ndarray:
    """Return the drift matrix of the memory b^2 exp(-rate t)."""
    return np.array([[0.0, -b], [b, rate]])


# Strong memory that lasts longer than a turn, and a step of a fifth of a radian.
DRIFT, STEP = exponential(5 / PERIOD, 0.5 / PERIOD), 0.2 * PERIOD


def mean_and_error(samples: list[np.ndarray]) -> tuple[float, float]:
    """Return the mean and its standard error over independent molecules; `samples` has one row for each time."""
    averages = np.mean(samples[len(samples) // 10 :], axis=0)
    return float(averages.mean()), float(averages.std(ddof=1) / len(averages) ** 0.5)


def equilibrium_positions(rng: np.random.Generator, number: int) -> np.ndarray:
    """Draw orientations from exp(FIELD cos(theta)); the shape is (dumbbell, end, xyz)."""
    uniform = rng.uniform(size=number)
    cosine = 1 + np.log(uniform + (1 - uniform) * np.exp(-2 * FIELD)) / FIELD
    azimuth, sine = rng.uniform(0, 2 * np.pi, number), np.sqrt(1 - cosine**2)
    axis = np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine], axis=-1)
    return LENGTH / 2 * np.stack([-axis, axis], axis=1)


def dumbbell_system(number: int) -> openmm.System:
    system, force = openmm.System(), openmm.CustomExternalForce("-f*z")
    force.addPerParticleParameter("f")
    for i in range(2 * number):
        system.addParticle(MASS)
        force.addParticle(i, [FIELD * KT / LENGTH * (-1) ** (i + 1)])
        if i % 2:
            system.addConstraint(i - 1, i, LENGTH)
    system.addForce(force)
    return system


def kinetic_and_cosine(x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each dumbbell, the kinetic energy in units of its mean, 5/2 kT, and cos(theta)."""
    return MASS * np.sum(v**2, axis=(1, 2)) / (5 * KT), (x[:, 1, 2] - x[:, 0, 2]) / LENGTH


def make_dumbbells(platform: TestPlatform, number: int, step: float) -> openmm.Context:
    integrator = meanforce.GLEIntegrator(300, DRIFT, step)
    integrator.setRandomNumberSeed(1)
    integrator.setConstraintTolerance(1e-6)
    context = platform.context(dumbbell_system(number), integrator)
    context.setPositions(equilibrium_positions(np.random.default_rng(1), number).reshape(-1, 3))
    return context


def run_without_refill(number: int, steps: int, *, geodesic: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return `kinetic_and_cosine` in time for the controls: half drifts on the constraints, or one SHAKE per step."""
    rng = np.random.default_rng(2)
    decay = scipy.linalg.expm(-STEP * DRIFT)
    noise = KT**0.5 * scipy.linalg.sqrtm(np.eye(len(DRIFT)) - decay @ decay.T).real
    x = equilibrium_positions(rng, number)
    y = KT**0.5 * rng.normal(size=(number, 2, 3, len(DRIFT)))
    v = y[..., 0] / MASS**0.5
    impulse = np.zeros_like(x)
    impulse[:, 0, 2], impulse[:, 1, 2] = np.array([-1, 1]) * STEP * FIELD * KT / LENGTH / MASS

    def along(bond: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return np.stack([bond, -bond], axis=1) * scale[:, None, None] / 2

    def project(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        bond = x[:, 1] - x[:, 0]
        return v + along(bond, np.sum(bond * (v[:, 1] - v[:, 0]), axis=-1) / np.sum(bond**2, axis=-1))

    def constrain(x: np.ndarray, target: np.ndarray) -> np.ndarray:
        bond, moved = x[:, 1] - x[:, 0], target[:, 1] - target[:, 0]
        a, b, c = (np.sum(p * q, axis=-1) for p, q in ((bond, bond), (bond, moved), (moved, moved)))
        return target + along(bond, (b - np.sqrt(b**2 - a * (c - LENGTH**2))) / a)

    def move(x: np.ndarray, v: np.ndarray, target: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
        constrained = constrain(x, target)
        return constrained, v + (constrained - target) / time

    samples = []
    for _ in range(steps):
        v = project(x, v + impulse)
        target = x + STEP / 2 * v
        if geodesic:
            x, v = move(x, v, target, STEP / 2)
            v = project(x, v)
        y[..., 0] = MASS**0.5 * v
        y = y @ decay.T + rng.normal(size=y.shape) @ noise
        v = y[..., 0] / MASS**0.5
        if geodesic:
            v = project(x, v)
            target = x
        x, v = move(x, v, target + STEP / 2 * v, STEP / 2 if geodesic else STEP)
        samples.append(kinetic_and_cosine(x, project(x, v)))
    return samples


def test_rigid_rotor_is_unbiased() -> None:
    """<cos> and the temperature are exact within 4 standard errors; the controls are 3 % too cold."""
    number, samples = 500, []
    context = make_dumbbells(TestPlatform("CPU"), number, STEP)
    context.setVelocitiesToTemperature(300, 2)
    for _ in range(600):
        context.getIntegrator().step(5)
        state = context.getState(positions=True, velocities=True)
        arrays = (state.getPositions(asNumpy=True), state.getVelocities(asNumpy=True))
        samples.append(kinetic_and_cosine(*(array._value.reshape(-1, 2, 3) for array in arrays)))

    def check(samples: list[tuple[np.ndarray, np.ndarray]]) -> list[float]:
        deviations = []
        for values, expected in zip(zip(*samples, strict=True), (1.0, COSINE), strict=True):
            mean, error = mean_and_error(list(values))
            assert error < 0.008
            deviations.append((mean - expected) / error)
        return deviations

    assert np.abs(check(samples)).max() < 4
    # One correction for the whole step, as for Langevin dynamics; or half drifts on the constraints without refill.
    for geodesic in (False, True):
        assert check(run_without_refill(number, 1500, geodesic=geodesic))[0] < -6


def test_bath_heat_with_constraints(platform: TestPlatform) -> None:
    """Bath, refill and projection are all in the heat: from rest, the bath gives what the dumbbells have."""
    number = 20
    context = make_dumbbells(platform, number, STEP / 20)
    integrator = context.getIntegrator()
    before = context.getState(energy=True).getPotentialEnergy()._value
    integrator.step(300)
    state = context.getState(energy=True)
    kinetic, potential = state.getKineticEnergy()._value, state.getPotentialEnergy()._value
    assert kinetic > 0.5 * 2.5 * number * KT
    heat = integrator.getBathHeat()._value
    assert abs(kinetic + potential + heat - before) < 0.01 * kinetic
    assert abs(kinetic + potential - heat - before) > 0.5 * kinetic


def test_rigid_water_has_the_temperature_in_all_motions(platform: TestPlatform) -> None:
    """Rigid three-site molecules without forces: translation and rotation, per degree of freedom."""
    count = 300 if platform.name in ("Reference", "CPU") else 30
    masses = np.array([16.0, 1.0, 1.0])
    molecule = np.array([[0.0, 0.0, 0.0], [0.09572, 0.0, 0.0], [-0.02399872, 0.09266272, 0.0]])
    system = openmm.System()
    for i in range(count):
        for mass in masses:
            system.addParticle(mass)
        for a, b in ((0, 1), (0, 2), (1, 2)):
            system.addConstraint(3 * i + a, 3 * i + b, float(np.linalg.norm(molecule[a] - molecule[b])))
    integrator = meanforce.GLEIntegrator(300, exponential(60, 8), 0.004)
    integrator.setRandomNumberSeed(3)
    integrator.setConstraintTolerance(1e-6)
    context = platform.context(system, integrator)
    context.setPositions((molecule + 0.5 * np.arange(count)[:, None, None]).reshape(-1, 3))
    context.setVelocitiesToTemperature(300, 3)
    translation, rotation = [], []
    for _ in range(200):
        integrator.step(5)
        v = context.getState(velocities=True).getVelocities(asNumpy=True)._value.reshape(-1, 3, 3)
        centre = np.einsum("a,nai->ni", masses / masses.sum(), v)
        translation.append(masses.sum() * np.sum(centre**2, axis=-1) / (3 * KT))
        rotation.append(np.einsum("a,nai->n", masses, (v - centre[:, None]) ** 2) / (3 * KT))
    for samples in (translation, rotation):
        mean, error = mean_and_error(samples)
        assert error < (0.016 if count == 300 else 0.05)
        assert abs(mean - 1) < 4 * error
    x = context.getState(positions=True).getPositions(asNumpy=True)._value.reshape(-1, 3, 3)
    np.testing.assert_allclose(np.linalg.norm(x[:, 1] - x[:, 2], axis=-1), 0.15139, atol=1e-4)


def test_memory_reaches_across_the_bond() -> None:
    """The velocities that a constraint forbids are drawn from the seed: another one gives another trajectory."""

    def run(seed: int) -> np.ndarray:
        system = openmm.System()
        for _ in range(2):
            system.addParticle(MASS)
        system.addConstraint(0, 1, LENGTH)
        integrator = meanforce.GLEIntegrator(300, DRIFT, STEP)
        integrator.setRandomNumberSeed(seed)
        context = TestPlatform("Reference").context(system, integrator)
        context.setPositions([[0, 0, 0], [LENGTH, 0, 0]])
        integrator.step(20)
        return context.getState(positions=True).getPositions(asNumpy=True)._value

    assert np.array_equal(run(1), run(1))
    assert not np.allclose(run(1), run(2))


@pytest.mark.parametrize("memory", [False, True])
def test_massless_particles_and_virtual_sites_are_skipped(platform: TestPlatform, *, memory: bool) -> None:
    """Neither has a bath: the one stays where it is, the other follows its parents."""
    system = openmm.System()
    for mass in (5.0, 5.0, 0.0, 0.0):
        system.addParticle(mass)
    system.addConstraint(0, 1, 0.2)
    system.setVirtualSite(2, openmm.TwoParticleAverageSite(0, 1, 0.25, 0.75))
    integrator = meanforce.GLEIntegrator(300, exponential(20, 5) if memory else [[5.0]], 0.004)
    context = platform.context(system, integrator)
    context.setPositions([[0, 0, 0], [0.2, 0, 0], [0.15, 0, 0], [1, 2, 3]])
    integrator.step(100)
    state = context.getState(positions=True, velocities=True)
    x, v = state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value
    s = integrator.getAuxiliaryVariables()._value
    assert np.abs(x[0]).max() > 0.01
    np.testing.assert_allclose(x[2], 0.25 * x[0] + 0.75 * x[1], atol=1e-6)
    np.testing.assert_allclose(x[3], [1, 2, 3], atol=1e-6)
    assert np.all(v[3] == 0)
    assert np.all(s[2:] == 0)
    assert s.shape == (4, 3, int(memory))
    assert not memory or np.all(s[:2] != 0)
