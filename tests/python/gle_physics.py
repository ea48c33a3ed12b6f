# SPDX-License-Identifier: MIT
"""What GLEIntegrator must reproduce, measured on independent degrees of freedom, and schemes that do it wrong.

Units of this file: kT = 1 kJ/mol and masses of 1 dalton, so that (kT/m)^1/2 = 1 nm/ps. A `Bath` is an integrator to be
measured: GLEIntegrator itself, or a scheme in numpy. tests/python/test_gle_physics.py takes small
samples, tests/validation/test_gle.py large ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import openmm
import scipy.linalg
from numpy.typing import NDArray
from openmm import unit

import meanforce
from meanforce import MemoryKernel

Array = NDArray[np.float64]
State = tuple[Array, Array, Array]  # x (dofs), v (dofs), s (dofs, modes)

#: The temperature at which kT = 1 kJ/mol, in K.
TEMPERATURE = 1.0 / unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)


@dataclass(frozen=True)
class Potential:
    """An external potential of each coordinate, as OpenMM's expression and as a force in numpy."""

    energy: str
    force: Callable[[Array], Array]


def harmonic(strength: float) -> Potential:
    return Potential(f"{strength / 2!r}*(x^2+y^2+z^2)", lambda x: -strength * x)


FREE = Potential("0*x", lambda x: 0 * x)
QUARTIC = Potential("(x^4+y^4+z^4)/4", lambda x: -(x**3))


# -------------------------------------------------------------------------------------------------- integrators


def run_integrator(
    integrator: openmm.Integrator,
    potential: Potential,
    x: Array,
    v: Array,
    steps: int,
    interval: int = 1,
    platform: str = "Reference",
) -> Iterator[State]:
    """Yield the state every `interval` steps of an OpenMM integrator, for len(x) = 3 N coordinates of N particles."""
    system, count = openmm.System(), len(x) // 3
    force = openmm.CustomExternalForce(potential.energy)
    for i in range(count):
        system.addParticle(1.0)
        force.addParticle(i)
    if potential is not FREE:
        system.addForce(force)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform))
    context.setPositions(x.reshape(-1, 3))
    context.setVelocities(v.reshape(-1, 3))
    has_bath = isinstance(integrator, meanforce.GLEIntegrator)
    for _ in range(steps // interval):
        integrator.step(interval)
        state = context.getState(positions=True, velocities=True)
        s = integrator.getAuxiliaryVariables()._value.reshape(len(x), -1) if has_bath else np.zeros((len(x), 0))
        yield (
            state.getPositions(asNumpy=True)._value.ravel(),
            state.getVelocities(asNumpy=True)._value.ravel(),
            s,
        )


Bath = Callable[[MemoryKernel, float, Potential, Array, Array, int, int, int], Iterator[State]]


def gle(kernel: MemoryKernel, h: float, potential: Potential, x: Array, v: Array, steps: int, seed: int, interval=1):
    """GLEIntegrator."""
    integrator = meanforce.GLEIntegrator(TEMPERATURE, kernel, h)
    integrator.setRandomNumberSeed(seed)
    return run_integrator(integrator, potential, x, v, steps, interval)


def bath_matrices(drift: Array, h: float) -> tuple[Array, Array]:
    """Return T = exp(-h A) and S = (1 - T T^T)^1/2, symmetric."""
    decay = scipy.linalg.expm(-h * drift)
    values, vectors = np.linalg.eigh(np.eye(len(drift)) - decay @ decay.T)
    return decay, (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def unshared_widths(decay: Array, noise: Array) -> Array:
    """Return the widths of noise that lacks the correlations between u and s, but keeps <u^2> of free particles."""
    covariance = np.diag(np.diag(noise @ noise.T))
    first = np.zeros_like(covariance)
    first[0, 0] = 1.0
    response = scipy.linalg.solve_discrete_lyapunov(decay, first)[0, 0]
    covariance[0, 0] += (1.0 - scipy.linalg.solve_discrete_lyapunov(decay, covariance)[0, 0]) / response
    return np.sqrt(np.diag(covariance))


def _scheme(order: str, shared: bool = True) -> Bath:
    """Return a splitting in numpy; with `shared` false, u and each s have random numbers of their own."""

    def run(
        kernel: MemoryKernel, h: float, potential: Potential, x: Array, v: Array, steps: int, seed: int, interval=1
    ):
        rng, drift = np.random.default_rng(seed), kernel.drift
        fraction = {letter: 1.0 / order.count(letter) for letter in "ABO"}
        decay, noise = bath_matrices(drift, fraction["O"] * h)
        spread = unshared_widths(decay, noise)
        x, y = x.copy(), np.concatenate([v[:, None], rng.normal(size=(len(x), kernel.modes))], axis=1)
        for step in range(1, steps + 1):
            for letter in order:
                if letter == "A":
                    x = x + fraction["A"] * h * y[:, 0]
                elif letter == "B":
                    y[:, 0] += fraction["B"] * h * potential.force(x)
                else:
                    xi = rng.normal(size=y.shape)
                    y = y @ decay.T + (xi @ noise if shared else xi * spread)
            if step % interval == 0:
                yield x, y[:, 0].copy(), y[:, 1:].copy()

    return run


middle = _scheme("BAOA")
obabo = _scheme("OBABO")
unshared = _scheme("BAOA", shared=False)


def gld(kernel: MemoryKernel, h: float, potential: Potential, x: Array, v: Array, steps: int, seed: int, interval=1):
    """LAMMPS's fix gld, for sums of exponentials (Baczewski and Bond 2013), with normal deviates."""
    rng, drift = np.random.default_rng(seed), kernel.drift
    tau = 1.0 / np.diag(drift)[1:]
    c, decay = drift[1:, 0] ** 2 * tau, np.exp(-h / tau)
    x, v = x.copy(), v.copy()
    s = np.sqrt(c / tau) * rng.normal(size=(len(x), kernel.modes))
    for step in range(1, steps + 1):
        v = v + 0.5 * h * (potential.force(x) + s.sum(axis=1))
        x = x + h * v
        xi = rng.normal(size=s.shape)
        s = decay * s - (1.0 - decay) * c * v[:, None] + np.sqrt(2.0 * c / h) * (1.0 - decay) * xi
        v = v + 0.5 * h * (potential.force(x) + s.sum(axis=1))
        if step % interval == 0:
            yield x, v, s


def step_map(drift: Array, h: float, stiffness: float) -> Array:
    """Return the matrix of one step of BAOA at T = 0 on (x, v, s) for the force -stiffness x."""
    size = len(drift) + 1
    kick, half_drift, bath = np.eye(size), np.eye(size), np.eye(size)
    kick[1, 0] = -h * stiffness
    half_drift[0, 1] = h / 2
    bath[1:, 1:] = scipy.linalg.expm(-h * drift)
    return half_drift @ bath @ half_drift @ kick


# -------------------------------------------------------------------------------------------------- estimates


@dataclass(frozen=True)
class Estimate:
    """Averages over independent degrees of freedom, and their standard errors."""

    value: Array
    error: Array

    @classmethod
    def of(cls, samples: Array) -> Estimate:
        """Return the average over the first axis."""
        return cls(samples.mean(axis=0), samples.std(axis=0, ddof=1) / np.sqrt(len(samples)))

    def deviation(self, expected: Array | float) -> float:
        """Return the largest deviation, in standard errors."""
        return float(np.max(np.abs(self.value - expected) / self.error))


def normal(dofs: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=dofs)


# -------------------------------------------------------------------------------------------------- measurements


def harmonic_moments(
    bath: Bath, kernel: MemoryKernel, h: float, dofs: int, steps: int, seed: int, interval: int = 1
) -> dict[str, Estimate]:
    """Return <x^2>, <v^2>, <s^2>, <xv>, <xs>, <vs> of unit oscillators, all s_j of a kind in one array."""
    n = kernel.modes
    sums = np.zeros((dofs, 3 + 3 * n))
    for x, v, s in bath(kernel, h, harmonic(1.0), normal(dofs, seed), normal(dofs, seed + 1), steps, seed, interval):
        sums[:, 0] += x * x
        sums[:, 1] += v * v
        sums[:, 2] += x * v
        sums[:, 3 : 3 + n] += s * s
        sums[:, 3 + n : 3 + 2 * n] += x[:, None] * s
        sums[:, 3 + 2 * n :] += v[:, None] * s
    whole = Estimate.of(sums / (steps // interval))
    parts = {"xx": [0], "vv": [1], "xv": [2]}
    parts |= {name: list(range(3 + i * n, 3 + (i + 1) * n)) for i, name in enumerate(("ss", "xs", "vs"))}
    return {name: Estimate(whole.value[index], whole.error[index]) for name, index in parts.items()}


def quartic_moment(bath: Bath, kernel: MemoryKernel, h: float, dofs: int, steps: int, seed: int) -> Estimate:
    """Return <x^4>, which is kT = 1, in the potential x^4/4."""
    rng = np.random.default_rng(seed)
    # |x| = (4 g)^1/4 with g of the gamma distribution of shape 1/4 is distributed as exp(-x^4/4)
    x = (4.0 * rng.gamma(0.25, size=dofs)) ** 0.25 * rng.choice([-1.0, 1.0], size=dofs)
    total = np.zeros(dofs)
    for q, _, _ in bath(kernel, h, QUARTIC, x, normal(dofs, seed + 1), steps, seed, 2):
        total += q**4
    return Estimate.of(total[:, None] / (steps // 2))


def free_motion(
    bath: Bath, kernel: MemoryKernel, h: float, dofs: int, steps: int, lags: Array, seed: int
) -> tuple[Estimate, Estimate]:
    """Return <v(0) v(lag h)> and <[x(lag h) - x(0)]^2> of free particles."""
    x, v = [], []
    for q, p, _ in bath(kernel, h, FREE, np.zeros(dofs), normal(dofs, seed + 1), steps, seed, 1):
        x.append(q)
        v.append(p)
    xs, vs = np.array(x), np.array(v)
    vacf, msd = np.empty((dofs, len(lags))), np.empty((dofs, len(lags)))
    for column, lag in enumerate(lags):
        vacf[:, column] = np.einsum("td,td->d", vs[lag:], vs[: steps - lag]) / (steps - lag)
        msd[:, column] = ((xs[lag:] - xs[: steps - lag]) ** 2).mean(axis=0)
    return Estimate.of(vacf), Estimate.of(msd)


def velocity_spectrum(
    bath: Bath, kernel: MemoryKernel, stiffness: float, h: float, dofs: int, steps: int, seed: int
) -> tuple[Array, Estimate]:
    """Return angular frequencies and the two-sided spectrum of the velocity in a harmonic well, by Hann windows."""
    window = np.hanning(steps)
    records = np.array(
        [
            v
            for _, v, _ in bath(
                kernel,
                h,
                harmonic(stiffness),
                normal(dofs, seed) / stiffness**0.5,
                normal(dofs, seed + 1),
                steps,
                seed,
                1,
            )
        ]
    )
    power = np.abs(np.fft.rfft(window[:, None] * records, axis=0)) ** 2 * h / (window**2).sum()
    return 2 * np.pi * np.fft.rfftfreq(steps, h), Estimate.of(power.T)


def transmission(bath: Bath, kernel: MemoryKernel, h: float, steps: int, dofs: int, seed: int) -> Estimate:
    """Return the transmission coefficient of the barrier -x^2/2 from trajectories that start on it with the flux's v.

    Half of the particles start to either side. kappa = P(right | right) - P(right | left).
    """
    rng = np.random.default_rng(seed)
    v = np.sqrt(2.0 * rng.exponential(size=dofs))
    v[1::2] *= -1.0
    *_, (x, _, _) = bath(kernel, h, harmonic(-1.0), np.zeros(dofs), v, steps, seed, steps)
    return Estimate.of(np.sign(x * v)[:, None])


def predicted_transmission(kernel: MemoryKernel, h: float, steps: int) -> float:
    """Return the same for BAOA, from its linear map: x(t) is normal with a mean proportional to v."""
    n, drift = kernel.modes, kernel.drift
    one = step_map(drift, h, -1.0)
    _, noise = bath_matrices(drift, h)
    # O acts before the last half drift
    kicks = np.zeros((n + 2, n + 1))
    kicks[1:] = noise
    kicks[0] = 0.5 * h * noise[0]
    covariance = np.zeros((n + 2, n + 2))
    covariance[2:, 2:] = np.eye(n)
    for _ in range(steps):
        covariance = one @ covariance @ one.T + kicks @ kicks.T
    a = np.linalg.matrix_power(one, steps)[0, 1] / np.sqrt(covariance[0, 0])
    return float(a / np.sqrt(1.0 + a * a))


def grote_hynes(kernel: MemoryKernel) -> float:
    """Return kappa = lambda of lambda^2 + lambda k~(lambda) = 1 (w_b = 1), k~ the Laplace transform.

    R. F. Grote, J. T. Hynes, J. Chem. Phys. 73, 2715 (1980), doi 10.1063/1.440485.
    """
    unstable = np.zeros((kernel.modes + 2,) * 2)
    unstable[0, 1] = unstable[1, 0] = 1.0
    unstable[1:, 1:] -= kernel.drift
    return float(np.linalg.eigvals(unstable).real.max())


def random_force(kernel: MemoryKernel, h: float, dofs: int, steps: int, seed: int) -> Array:
    """Return the bath's force on particles that it cannot move, shape (steps, dofs), scaled to the kernel.

    The coupling is made weak, as by a large mass at a given absolute kernel, and the force scaled back.
    """
    weak = 1e-6
    drift = kernel.drift
    drift[0, 1:] *= weak
    drift[1:, 0] *= weak
    integrator = meanforce.GLEIntegrator(TEMPERATURE, drift, h)
    integrator.setRandomNumberSeed(seed)
    row = -drift[0, 1:] / weak
    states = run_integrator(integrator, FREE, np.zeros(dofs), np.zeros(dofs), steps)
    return np.array([s @ row for _, _, s in states])


def force_correlation(force: Array, kernel: MemoryKernel, h: float, lags: Array) -> Estimate:
    """Return the autocorrelation of a force, with Bartlett's errors for a normal process of covariance k(t)."""
    steps, dofs = force.shape
    value = [float(np.mean(force[lag:] * force[: steps - lag])) for lag in lags]
    t = h * np.arange(-steps // 2, steps // 2)
    error = [
        np.sqrt(
            h
            * np.sum(
                kernel.kernel(np.abs(t)) ** 2 + kernel.kernel(np.abs(t + lag * h)) * kernel.kernel(np.abs(t - lag * h))
            )
            / (dofs * (steps - lag) * h)
        )
        for lag in lags
    ]
    return Estimate(np.array(value), np.array(error))


def clipped_force(kernel: MemoryKernel, h: float, cut: float, dofs: int, steps: int, seed: int) -> Array:
    """Return noise by Fourier transform of the kernel cut off at a time, negative parts of the spectrum set to zero."""
    size = 2 * steps
    t = h * np.minimum(np.arange(size), size - np.arange(size))
    spectrum = np.fft.fft(np.where(t <= cut, kernel.kernel(t), 0.0)).real
    rng = np.random.default_rng(seed)
    white = rng.normal(size=(size, dofs)) + 1j * rng.normal(size=(size, dofs))
    return np.fft.fft(np.sqrt(np.maximum(spectrum, 0.0) / size)[:, None] * white, axis=0).real[:steps]


# -------------------------------------------------------------------------------------------------- kernels


def exponential(c: float, tau: float) -> MemoryKernel:
    """Return (c/tau) exp(-t/tau)."""
    return MemoryKernel.prony([c / tau], [tau])


def exponential_vacf(t: Array, c: float, tau: float) -> Array:
    root = np.sqrt(1 - 4 * c * tau + 0j)
    fast, slow = (1 + root) / (2 * tau), (1 - root) / (2 * tau)
    return ((fast * np.exp(-slow * t) - slow * np.exp(-fast * t)) / (fast - slow)).real


def exponential_msd(t: Array, c: float, tau: float) -> Array:
    root = np.sqrt(1 - 4 * c * tau + 0j)
    fast, slow = (1 + root) / (2 * tau), (1 - root) / (2 * tau)
    terms = [(fast / (fast - slow), slow), (-slow / (fast - slow), fast)]
    return 2.0 * sum(a * (t / rate - (1.0 - np.exp(-rate * t)) / rate**2) for a, rate in terms).real


#: Two exponentials, K(0) = 24, of the comparison of schemes.
TWO = MemoryKernel.prony([20.0, 4.0], [0.1, 1.0])
#: Eight exponentials over four decades.
EIGHT = MemoryKernel.prony(1.0 / np.geomspace(0.01, 100, 8), np.geomspace(0.01, 100, 8))
#: Exponentials and an oscillation with negative lobes.
LOBES = MemoryKernel.prony([5.0, 1.0], [0.2, 1.5]) + MemoryKernel.damped_cosine(4.0, 0.0, 1.0, 6.0)
#: The four of Grote and Hynes's test, with their transmission coefficients.
BARRIERS = [
    (exponential(2.0, 0.5), 0.477967),
    (exponential(5.0, 5.0), 0.525166),
    (exponential(10.0, 0.2), 0.100979),
    (MemoryKernel.prony([1 / 0.1, 1.0, 4.0 / 5.0], [0.1, 1.0, 5.0]), 0.267188),
]
