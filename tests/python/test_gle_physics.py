# SPDX-License-Identifier: MIT
"""GLEIntegrator against closed forms and other descriptions of the same bath; each test has a scheme that fails.

Thresholds are in standard errors, with fixed seeds. tests/validation/test_gle.py measures the same with more data. The
deterministic map (T3), the noise covariance and S S^T + T T^T = 1 (T10) are tested in test_gle.py and
TestGLEIntegrator.cpp.
"""

import numpy as np
import openmm
import pytest
import scipy.spatial.transform
import scipy.special

import gle_physics as physics
import meanforce
from gle_physics import (
    FREE,
    LOBES,
    TEMPERATURE,
    exponential,
    gld,
    gle,
    normal,
    obabo,
    run_integrator,
    unshared,
)
from meanforce import MemoryKernel
from meanforce.memory import volterra_kernel

# steps of friction * h > 1 on purpose
pytestmark = pytest.mark.filterwarnings("ignore:.*kernel.brownian")

#: Largest deviation in standard errors that chance may make in one quantity, and in one of about a hundred.
ONE, MANY = 4.0, 4.5


@pytest.mark.parametrize(("c", "tau"), [(2.0, 0.05), (2.0, 0.5)], ids=["overdamped", "oscillating"])
def test_free_particle(c, tau):
    """Velocity correlation, mean square displacement and diffusion of one exponential memory (T1)."""
    h, lags = 0.1, np.arange(1, 61)
    kernel = exponential(c, tau)
    vacf, msd = physics.free_motion(gle, kernel, h, 1500, 600, lags, seed=3)
    assert vacf.error.max() < 0.006
    assert vacf.deviation(physics.exponential_vacf(h * lags, c, tau)) < MANY
    # displacements are sums over steps: their discrete law, exactly; within 1.5 % that of continuous time
    padded = kernel.vacf(np.arange(61), h)
    exact = np.array([h**2 * (n * padded[0] + 2 * (n - np.arange(1, n)) @ padded[1:n]) for n in lags])
    # x moves by half of the old and half of the new velocity in each step
    exact -= 0.5 * h**2 * (1 - kernel.vacf(lags, h))
    assert msd.deviation(exact) < MANY
    assert np.abs(exact / physics.exponential_msd(h * lags, c, tau) - 1)[9:].max() < 0.015
    slope, t = (exact[-1] - exact[-11]) / (2 * 10 * h), kernel.diffusion(TEMPERATURE, 1.0, h)
    assert slope == pytest.approx(t, rel=0.01)
    wrong, _ = physics.free_motion(unshared, kernel, h, 1500, 600, lags, seed=3)
    assert wrong.deviation(physics.exponential_vacf(h * lags, c, tau)) > 2 * MANY


def moments_hold(found, h):
    """Return the largest deviation of second moments of a unit oscillator in standard errors."""
    expected = {"xx": 1.0, "vv": 1.0, "ss": 1.0, "xv": h / 2, "xs": 0.0, "vs": 0.0}
    return max(found[name].deviation(value) for name, value in expected.items())


@pytest.mark.parametrize("kernel", [exponential(2.0, 0.5), physics.EIGHT], ids=["one", "eight"])
def test_harmonic_oscillator(kernel):
    """All second moments at omega h = 0.8 (T2, T8); positions, velocities and bath are not correlated but for <xv>."""
    h = 0.8
    found = physics.harmonic_moments(gle, kernel, h, 1500, 1200, seed=5, interval=2)
    assert max(found[name].error.max() for name in ("xx", "vv", "ss")) < 0.02
    assert found["xx"].error[0] < 0.003
    assert moments_hold(found, h) < MANY
    for scheme in (obabo, unshared):
        assert moments_hold(physics.harmonic_moments(scheme, kernel, h, 1500, 1200, seed=5), h) > 2 * MANY
    wrong = physics.harmonic_moments(obabo, kernel, h, 1500, 600, seed=6)
    assert wrong["xx"].value[0] == pytest.approx(1 / (1 - (h / 2) ** 2), abs=0.02)


def test_fix_gld_is_wrong_by_half():
    found = physics.harmonic_moments(gld, exponential(2.0, 0.5), 0.8, 1500, 600, seed=5)
    assert found["xx"].value[0] == pytest.approx(1.518, abs=0.02)


def test_spectrum_of_an_oscillator():
    """S_v(w) = 2 kT w^2 Re k~ / |k - w^2 + i w k~|^2, from the Laplace transform alone (T2)."""
    stiffness, h = 4.0, 0.05
    kernel = MemoryKernel.prony([6.0], [0.5])
    omega, found = physics.velocity_spectrum(gle, kernel, stiffness, h, 600, 1024, seed=8)
    chosen = slice(4, 120, 3)  # from 0.5 to 15 rad/ps
    w = omega[chosen]

    def expected(transform):
        return 2 * w**2 * transform.real / np.abs(stiffness - w**2 + 1j * w * transform) ** 2

    found = physics.Estimate(found.value[chosen], found.error[chosen])
    memory = expected(6.0 / (1j * w + 2.0))
    # the window smears, and the step shifts, by a per cent of the peak; errors are 4 % in each bin
    error = np.sqrt(found.error**2 + (0.02 * memory.max()) ** 2)
    assert np.abs((found.value - memory) / error).max() < ONE
    assert np.abs((found.value - expected(np.full(len(w), 3.0))) / error).max() > 2 * ONE  # no memory


def test_random_force_obeys_fluctuation_dissipation():
    """The bath's force on particles that it cannot move has the autocorrelation kT k(t) (T4)."""
    h, dofs, steps, lags = 0.05, 600, 1000, np.arange(61)
    force = physics.random_force(LOBES, h, dofs, steps, seed=4)
    found = physics.force_correlation(force, LOBES, h, lags)
    k = LOBES.kernel(h * lags)
    assert k.min() < -0.5  # negative lobes
    assert found.deviation(k) < MANY
    assert np.linalg.norm(found.value - k) / np.linalg.norm(k) < 0.02
    clipped = physics.clipped_force(LOBES, h, 1.0, dofs, steps, seed=4)
    assert physics.force_correlation(clipped, LOBES, h, lags).deviation(k) > 2 * MANY
    # the machinery of the control is right: with the whole kernel, it passes
    whole = physics.clipped_force(LOBES, h, 100.0, dofs, steps, seed=4)
    assert physics.force_correlation(whole, LOBES, h, lags).deviation(k) < MANY


@pytest.mark.parametrize(("kernel", "kappa"), physics.BARRIERS, ids=["2-0.5", "5-5", "10-0.2", "three"])
def test_barrier_crossing(kernel, kappa):
    """The transmission coefficient of a parabolic barrier is that of Grote and Hynes (T5)."""
    h, steps = 0.1, 80
    assert physics.grote_hynes(kernel) == pytest.approx(kappa, abs=1e-6)
    assert physics.predicted_transmission(kernel, 0.05, 1000) == pytest.approx(kappa, abs=0.0006)
    expected = physics.predicted_transmission(kernel, h, steps)
    assert physics.transmission(gle, kernel, h, steps, 120000, seed=3).deviation(expected) < ONE
    # Two controls, each where it matters: the bug that keeps <v^2>, u and s with noise of their own; no memory.
    wrong = MemoryKernel.white(kernel.friction)
    controls = [(unshared, kernel)] if kappa in (0.477967, 0.100979) else [(gle, wrong)]
    for bath, other in controls:
        assert physics.transmission(bath, other, h, steps, 120000, seed=3).deviation(expected) > ONE


def test_unshared_noise_keeps_the_temperature():
    """Why the control above is there: free particles have the right <v^2> with it, by construction."""
    found = physics.free_motion(unshared, exponential(2.0, 0.5), 0.1, 1500, 600, np.array([0]), seed=3)[0]
    assert found.value[0] == pytest.approx(1.0, abs=0.02)


def test_quartic_well():
    """<x^4> = kT in x^4/4 at h = 0.3."""
    assert physics.quartic_moment(gle, physics.TWO, 0.3, 1500, 1600, seed=2).deviation(1.0) < ONE
    wrong = physics.quartic_moment(obabo, physics.TWO, 0.3, 1500, 1600, seed=2)
    assert wrong.deviation(1.0) > ONE
    assert wrong.value[0] == pytest.approx(1.053, abs=0.02)


def double_well() -> openmm.CustomExternalForce:
    return openmm.CustomExternalForce("2*((x^2-1)^2+(y^2-1)^2+(z^2-1)^2)")


def test_oscillators_as_a_bath():
    """At T = 0 an undamped kernel is a set of springs (Kac and Zwanzig): trajectories agree in a double well (T6)."""
    rng = np.random.default_rng(2)
    w, strength = rng.uniform(0.5, 8.0, 10), rng.uniform(0.1, 2.0, 10)
    masses = strength / w**2
    kernel = sum(
        (MemoryKernel.block(np.sqrt(k), 0.0, 0.0, omega) for k, omega in zip(strength, w, strict=True)),
        MemoryKernel.white(0.0),
    )
    t = np.linspace(0, 5, 50)
    np.testing.assert_allclose(kernel.kernel(t), np.cos(np.outer(t, w)) @ strength, atol=1e-10)
    x0, q0 = np.array([0.3, -0.2, 1.1]), rng.normal(size=(10, 3))
    v0, p0 = np.array([0.5, 0.1, -0.4]), rng.normal(size=(10, 3)) * np.sqrt(masses)[:, None]

    def with_springs(h, steps):
        system, force, springs = openmm.System(), double_well(), openmm.HarmonicBondForce()
        system.addParticle(1.0)
        force.addParticle(0)
        for j in range(10):
            springs.addBond(0, system.addParticle(masses[j]), 0.0, strength[j])
        for item in (force, springs):
            system.addForce(item)
        integrator = openmm.VerletIntegrator(h)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(np.concatenate([x0[None], q0]))
        context.setVelocities(np.concatenate([v0[None], p0 / masses[:, None]]))
        integrator.step(steps)
        return context.getState(positions=True).getPositions(asNumpy=True)._value[0]

    def with_memory(h, steps, sign=1.0):
        system, force = openmm.System(), double_well()
        system.addParticle(1.0)
        force.addParticle(0)
        system.addForce(force)
        integrator = meanforce.GLEIntegrator(0.0, kernel, h)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(x0[None])
        context.setVelocities(v0[None])
        s = np.empty((1, 3, 20))
        s[0, :, 0::2] = (np.sqrt(strength)[:, None] * (q0 - x0)).T
        s[0, :, 1::2] = sign * (p0 / np.sqrt(masses)[:, None]).T
        integrator.setAuxiliaryVariables(s)
        integrator.step(steps)
        return context.getState(positions=True).getPositions(asNumpy=True)._value[0]

    # Velocities are half a step early, those of the springs too, but s is not: a difference of first order in h.
    differences = [
        np.abs(with_springs(h, round(3 / h)) - with_memory(h, round(3 / h))).max() for h in (4e-4, 2e-4, 1e-4)
    ]
    assert differences[2] < 2e-3
    assert differences[0] > 3.5 * differences[2]
    assert np.abs(with_springs(1e-3, 3000) - with_memory(1e-3, 3000, sign=-1.0)).max() > 0.1


def test_a_damped_particle_as_a_bath():
    """A particle on a spring, with white friction, is a memory with two auxiliary variables, in any potential."""
    h, count, lags, steps = 0.05, 400, np.arange(0, 80, 2), 1200
    spring, mass, friction = 6.0, 0.5, 2.0
    kernel = MemoryKernel.block(np.sqrt(spring), 0.0, friction, np.sqrt(spring / mass))
    t = np.linspace(0, 4, 50)
    rate = np.sqrt(spring / mass - friction**2 / 4)
    formula = spring * np.exp(-friction * t / 2) * (np.cos(rate * t) + friction / 2 / rate * np.sin(rate * t))
    np.testing.assert_allclose(kernel.kernel(t), formula, atol=1e-10)

    def correlation(explicit, seed):
        system, force, springs = openmm.System(), double_well(), openmm.HarmonicBondForce()
        integrator = meanforce.GLEIntegrator(TEMPERATURE, MemoryKernel.white(friction) if explicit else kernel, h)
        for i in range(count):
            system.addParticle(1.0)
            force.addParticle(i)
        for i in range(count if explicit else 0):
            springs.addBond(i, system.addParticle(mass), 0.0, spring)
            integrator.setParticleKernel(i, -1)  # the particle itself feels the spring only
        for item in (force, springs):
            system.addForce(item)
        integrator.setRandomNumberSeed(seed)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
        rng = np.random.default_rng(seed)
        x = rng.choice([-1.0, 1.0], size=(count, 3))
        partner = x + rng.normal(size=(count, 3)) / np.sqrt(spring)
        context.setPositions(np.concatenate([x, partner])[: system.getNumParticles()])
        context.setVelocitiesToTemperature(TEMPERATURE, seed)
        integrator.step(200)
        record = []
        for _ in range(steps):
            integrator.step(1)
            record.append(context.getState(velocities=True).getVelocities(asNumpy=True)._value[:count].ravel())
        v = np.array(record)
        return physics.Estimate.of(np.stack([(v[lag:] * v[: steps - lag]).mean(axis=0) for lag in lags], axis=1))

    with_particle, with_memory = correlation(True, 1), correlation(False, 2)
    error = np.hypot(with_particle.error, with_memory.error)
    assert error.max() < 0.012
    assert with_memory.value.min() < -0.2
    assert np.abs((with_particle.value - with_memory.value) / error).max() < MANY
    # the control: the friction of the same integral without memory
    plain = physics.free_motion(physics.middle, MemoryKernel.white(kernel.friction), h, 300, 600, lags, seed=1)[0]
    assert np.abs((with_particle.value - plain.value) / np.hypot(with_particle.error, plain.error)).max() > 2 * MANY


def chain_velocities(rings: int, beads: int, frequency: float, h: float, steps: int, seed: int) -> np.ndarray:
    """Return velocities (steps, particles, 3) of harmonic rings that start in equilibrium: unit masses, Verlet."""
    system, bonds = openmm.System(), openmm.HarmonicBondForce()
    for ring in range(rings):
        for i in range(beads):
            system.addParticle(1.0)
            bonds.addBond(ring * beads + i, ring * beads + (i + 1) % beads, 0.0, frequency**2)
    system.addForce(bonds)
    rng = np.random.default_rng(seed)
    # modes: frequency^2 (2 - 2 cos q) is the stiffness; the one at q = 0 is the ring's position
    q = 2 * np.pi * np.arange(beads) / beads
    width = 1.0 / np.sqrt(np.maximum(frequency**2 * (2 - 2 * np.cos(q)), 1e-300))
    width[0] = 0.0
    noise = np.fft.fft(rng.normal(size=(rings, beads, 3)), axis=1)
    x = np.fft.ifft(noise * width[:, None], axis=1).real.reshape(-1, 3)
    integrator = openmm.VerletIntegrator(h)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(x)
    context.setVelocities(rng.normal(size=x.shape))
    record = []
    for _ in range(steps):
        integrator.step(1)
        record.append(context.getState(velocities=True).getVelocities(asNumpy=True)._value)
    return np.array(record)


def test_rubin_chain():
    """A ring of springs, no bath: extraction gives 2 W^2 J1(2Wt)/(Wt), and the fitted bath the chain's J0 (T7)."""
    frequency, h, lags = 3.0, 0.02, 150
    v = chain_velocities(12, 300, frequency, h, lags + 50, seed=6)
    c = np.array([np.mean(v[lag:] * v[: len(v) - lag]) for lag in range(lags)])
    t = h * np.arange(lags)
    assert np.abs(c / c[0] - scipy.special.j0(2 * frequency * t)).max() < 0.03
    with np.errstate(invalid="ignore"):
        exact = np.where(
            t > 0, 2 * frequency**2 * scipy.special.j1(2 * frequency * t) / (frequency * t), 2 * frequency**2
        )
    found = volterra_kernel(t, c)
    assert np.linalg.norm(found.kernel - exact) / np.linalg.norm(exact) < 0.05
    assert found.integrated[-1] == pytest.approx(np.trapezoid(exact, dx=h), rel=0.05)
    bath = MemoryKernel.fit(t, exact, modes=(0, 5))
    assert bath.fit_error < 0.01
    chosen = np.arange(0, lags, 5)
    vacf, _ = physics.free_motion(gle, bath, h, 900, 1200, chosen, seed=9)
    assert vacf.error.max() < 0.02
    assert np.max(np.abs(vacf.value - scipy.special.j0(2 * frequency * t[chosen])) / np.hypot(vacf.error, 0.005)) < MANY


# -------------------------------------------------------------------------------------------------- limits


def langevin_states(friction, h, potential, x, v, steps, seed):
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, friction, h)
    integrator.setRandomNumberSeed(seed)
    return run_integrator(integrator, potential, x, v, steps)


def as_bath(kernel, h, potential, x, v, steps, seed, interval=1):
    """OpenMM's Langevin integrator at the kernel's friction."""
    states = list(langevin_states(kernel.friction, h, potential, x, v, steps, seed))
    return states[interval - 1 :: interval]


def test_no_memory_has_the_moments_of_langevin_dynamics():
    """Step by step at T = 0 this is tested in C++; here the moments at T > 0 in an anharmonic well."""
    kernel = MemoryKernel.white(1.5)
    first = physics.quartic_moment(gle, kernel, 0.3, 1500, 1000, seed=2)
    second = physics.quartic_moment(as_bath, kernel, 0.3, 1500, 1000, seed=3)
    error = np.hypot(first.error, second.error)
    assert np.abs((first.value - second.value) / error).max() < ONE
    assert np.abs((first.value - physics.quartic_moment(obabo, kernel, 0.35, 1500, 1000, 4).value) / error).max() > ONE


@pytest.mark.parametrize(("tau", "same"), [(0.004, True), (0.5, False)])
def test_short_memory_is_langevin_dynamics(tau, same):
    """As the memory time goes to zero, velocity correlation and diffusion become those of LangevinMiddleIntegrator."""
    friction, h, lags = 2.0, 0.1, np.arange(0, 50, 2)
    kernel = exponential(friction, tau)
    assert kernel.markovian().langevin_is_enough == same
    vacf, msd = physics.free_motion(gle, kernel, h, 1500, 500, lags, seed=5)
    plain, plain_msd = physics.free_motion(as_bath, kernel, h, 1500, 500, lags, seed=6)
    apart = np.abs(vacf.value - plain.value) / np.hypot(np.hypot(vacf.error, plain.error), friction * 0.004)
    assert (apart.max() < ONE) == same
    # displacement: long times agree always, up to a constant (inertia and memory); D of the discrete dynamics
    slope = [(m.value[-1] - m.value[-6]) / (2 * h * (lags[-1] - lags[-6])) for m in (msd, plain_msd)]
    assert slope[0] == pytest.approx(kernel.diffusion(TEMPERATURE, 1.0, h), rel=0.05)
    assert slope[1] == pytest.approx(1 / friction, rel=0.05)


def test_large_friction_is_the_scheme_of_leimkuhler_and_matthews():
    """Beyond friction h = 1 each step draws new velocities: good samples, but not the dynamics of that friction."""
    h, dofs, steps = 0.4, 1500, 1200
    rows = [
        list(gle(MemoryKernel.white(friction), h, physics.QUARTIC, normal(dofs, 1), normal(dofs, 2), 50, 7))
        for friction in (1e3, 1e6)
    ]
    np.testing.assert_allclose(rows[0][-1][0], rows[1][-1][0], atol=1e-9)
    # x' = x + (h^2/2) F + (h/2) (v + v'), v' fresh: Leimkuhler and Matthews with the time step h^2/2
    for (x, v, _), (new_x, new_v, _) in zip(rows[1][:-1], rows[1][1:], strict=True):
        np.testing.assert_allclose(new_x, x + h**2 / 2 * physics.QUARTIC.force(x) + h / 2 * (v + new_v), atol=1e-9)
    found = physics.quartic_moment(gle, MemoryKernel.white(1e6), h, dofs, steps, seed=3)
    assert abs(found.value[0] - 1) < ONE * found.error[0] + 0.005
    # the Euler scheme at the same step has a bias of first order
    x, total, rng = normal(dofs, 1), 0.0, np.random.default_rng(2)
    for _ in range(steps):
        x = x + h**2 / 2 * physics.QUARTIC.force(x) + h * rng.normal(size=dofs)
        total += np.mean(x**4) / steps
    assert abs(total - 1) > 0.05


def test_brownian_limit_diffuses_as_the_friction_says():
    kernel, h, dofs, steps = exponential(500.0, 0.01), 0.1, 3000, 200
    integrator = kernel.brownian(TEMPERATURE, h)
    integrator.setRandomNumberSeed(3)
    *_, (x, _, _) = run_integrator(integrator, FREE, np.zeros(dofs), np.zeros(dofs), steps, steps)
    expected = kernel.diffusion(TEMPERATURE, 1.0)
    assert expected == pytest.approx(1 / 500.0)
    found = physics.Estimate.of(x[:, None] ** 2 / (2 * h * steps))
    assert found.deviation(expected) < ONE
    # GLEIntegrator at friction h = 50 diffuses with kT h / 2m, whatever the friction is
    *_, (x, _, _) = gle(MemoryKernel.white(500.0), h, FREE, np.zeros(dofs), normal(dofs, 1), steps, 4, steps)
    wrong = physics.Estimate.of(x[:, None] ** 2 / (2 * h * steps))
    assert wrong.deviation(expected) > 5 * ONE
    assert wrong.deviation(MemoryKernel.white(500.0).diffusion(TEMPERATURE, 1.0, h)) < ONE


def test_matrix_valued_memory():
    """The velocities of free particles in a tilted film have all nine correlations of the kernel."""
    h, lags, count = 0.1, np.arange(0, 40, 2), 1000
    turn = scipy.spatial.transform.Rotation.from_euler("x", 0.6).as_matrix()
    along, across = exponential(2.0, 0.5) + MemoryKernel.damped_cosine(4.0, 0.0, 1.0, 6.0), exponential(5.0, 0.2)
    kernel = MemoryKernel.matrix(along, turn @ np.diag([1.0, 1.0, 0.0]) @ turn.T)
    kernel = kernel + MemoryKernel.matrix(across, turn @ np.diag([0.0, 0.0, 1.0]) @ turn.T)
    integrator = meanforce.GLEIntegrator(TEMPERATURE, kernel, h)
    integrator.setRandomNumberSeed(3)
    states = run_integrator(integrator, FREE, np.zeros(3 * count), normal(3 * count, 1), 600)
    v = np.array([v.reshape(-1, 3) for _, v, _ in states])
    products = [np.einsum("tni,tnj->nij", v[lag:], v[: 600 - lag]) / (600 - lag) for lag in lags]
    found, exact = physics.Estimate.of(np.stack(products, axis=1)), kernel.vacf(lags, h)
    assert found.deviation(exact) < MANY
    assert np.abs(exact[:, 1, 2]).max() > 0.2
    # the control: the same friction along each axis of the laboratory, but no coupling between them
    straight = MemoryKernel.matrix(along, np.diag([1.0, 1.0, 0.0])) + MemoryKernel.matrix(
        across, np.diag([0.0, 0.0, 1.0])
    )
    assert found.deviation(straight.vacf(lags, h)) > 2 * MANY
