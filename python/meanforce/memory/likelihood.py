# SPDX-License-Identifier: MIT
"""The likelihood of a recorded velocity under a memory kernel: a Kalman filter on the hidden variables of the bath.

One step of the integrator is linear in the bath, whatever the force is: with u = sqrt(m/kT) v, s in units of sqrt(kT)
and w_n = u_n + h f(x_n)/sqrt(m kT)::

    (u, s)_{n+1} = T (w, s)_n + noise,      T = exp(-h A),      noise covariance 1 - T T^T

so that the filter, which predicts u_{n+1} from all u before, is exact for every mean force f. Its gain tends to a
constant; the innovations are then a convolution, e_n = sum_j a_j u_{n-j} + b_j w_{n-1-j}, and the sum of their squares
needs nothing of the data but the correlations of u and w: one pass over any number of frames serves all kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
import torch
from numpy.typing import ArrayLike, NDArray
from openmm import unit

from .._openmm import strip_units
from ..memorykernel import MemoryKernel
from .correlations import Correlation
from .statespace import StateSpace, as_parameters, decoupled, fit_vacf, fold_fast_modes, powers

Array = NDArray[np.float64]

_R = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
#: Doublings of the Riccati iteration: 2^24 steps of the filter.
_DOUBLINGS = 24
#: Eigenvalues of the scaled information below this fraction of the largest count as zero.
_ZERO = 1e-13
#: A combination of parameters that the data do not fix to within this factor is called sloppy.
_SLOPPY = 1.0


@dataclass(frozen=True)
class VelocityRecord:
    """What the likelihood needs of a trajectory: correlations of u and w up to a longest lag.

    Attributes
    ----------
    dt : float
        Time between frames, in ps.
    uu, uw, ww : numpy.ndarray, shape (2 L + 1,)
        Mean of u_n u_{n+m}, u_n w_{n+m} and w_n w_{n+m} for m = -L .. L.
    count : float
        Number of predicted velocities.
    """

    dt: float
    uu: Array
    uw: Array
    ww: Array
    count: float

    @property
    def lags(self) -> int:
        """L."""
        return len(self.uu) // 2

    @classmethod
    def from_velocities(
        cls,
        velocities: ArrayLike,
        dt: float,
        *,
        memory: float,
        masses: ArrayLike | None = None,
        temperature: Any = None,
        forces: ArrayLike | None = None,
    ) -> VelocityRecord:
        """Return the record of a trajectory.

        Parameters
        ----------
        velocities : array_like, shape (F, N, d)
            In nm/ps.
        dt : float
            Time between frames, in ps.
        memory : float
            How far back the prediction of a velocity looks, in ps; at most a quarter of the trajectory.
        masses : array_like, shape (N,), optional
            In dalton; 1 by default.
        temperature : float or Quantity, optional
            In K. Default: that of the velocities, if there are no forces.
        forces : array_like, shape (F, N, d), optional
            Mean force at the positions of the same frames, in kJ/mol/nm. dt must then be the step of the dynamics.
        """
        v = np.asarray(strip_units(velocities, unit.nanometer / unit.picosecond))
        if v.ndim != 3 or not np.all(np.isfinite(v)):
            raise ValueError(f"`velocities` must be finite and have shape (F, N, d), got {v.shape}")
        lags = round(float(memory) / float(dt))
        if not 2 <= lags <= len(v) // 4:
            raise ValueError(
                f"`memory` must be between two steps and a quarter of the trajectory, {len(v) * dt / 4:.6g} ps, "
                f"got {memory:.6g} ps"
            )
        m = np.ones(v.shape[1]) if masses is None else np.asarray(strip_units(masses, unit.dalton), dtype=np.float64)
        if m.shape != (v.shape[1],) or not np.all(m > 0.0):
            raise ValueError(f"`masses` must be {v.shape[1]} values > 0 (dalton), got shape {m.shape}")
        if temperature is None:
            if forces is not None:
                raise ValueError("`temperature` (K) is needed with forces")
            kt = float(np.mean(m[:, None] * v.astype(np.float64) ** 2))
        else:
            kt = _R * float(strip_units(temperature, unit.kelvin))
        if not kt > 0.0:
            raise ValueError(f"`temperature` must be > 0 (K), and velocities not all zero, got kT = {kt}")
        f = None if forces is None else np.asarray(strip_units(forces, unit.kilojoule_per_mole / unit.nanometer))
        if f is not None and f.shape != v.shape:
            raise ValueError(f"`forces` must have the shape of `velocities`, {v.shape}, got {f.shape}")
        frames = len(v)
        size = scipy.fft.next_fast_len(frames + lags, real=True)
        spectra = np.zeros((3, size // 2 + 1), dtype=complex)
        for i in range(v.shape[1]):
            u = np.asarray(v[:, i], dtype=np.float64) * np.sqrt(m[i] / kt)
            w = u if f is None else u + float(dt) / np.sqrt(m[i] * kt) * f[:, i]
            x = scipy.fft.rfft(u, size, axis=0)
            y = x if f is None else scipy.fft.rfft(w, size, axis=0)
            spectra += np.array([(p.conj() * q).sum(axis=1) for p, q in ((x, x), (x, y), (y, y))])
        sums = np.roll(scipy.fft.irfft(spectra, size, axis=1), lags, axis=1)[:, : 2 * lags + 1]
        dofs = v.shape[1] * v.shape[2]
        means = sums / (dofs * (frames - np.abs(np.arange(-lags, lags + 1))))
        return cls(float(dt), means[0], means[1], means[2], float(dofs * (frames - 1)))

    @classmethod
    def expected(cls, kernel: MemoryKernel, dt: float, count: float, memory: float) -> VelocityRecord:
        """Return the record that free particles with this kernel would give on average: to plan measurements."""
        lags = round(memory / dt)
        c = kernel.vacf(np.arange(lags + 1), dt)
        whole = np.concatenate([c[:0:-1], c])
        return cls(float(dt), whole, whole, whole, float(count))


@dataclass(frozen=True)
class LikelihoodFit:
    """The kernel of the highest likelihood, and what the data say about it.

    Attributes
    ----------
    kernel : MemoryKernel
        The passive kernel.
    log_likelihood : float
        Of the data, in units of nats.
    information : numpy.ndarray, shape (P, P)
        Fisher information of the parameters of `family`, most of whose directions the kernel does not show.
    family : StateSpace
        What the parameters mean.
    parameters : numpy.ndarray, shape (P,)
        Their values.
    """

    kernel: MemoryKernel
    log_likelihood: float
    information: Array
    family: StateSpace
    parameters: Array

    @property
    def covariance(self) -> Array:
        """The Cramer-Rao bound: inverse of the information in the directions that the kernel shows."""
        values, vectors, scale = self._spectrum()
        kept = values > _ZERO * values.max()
        return np.asarray((vectors[:, kept] / values[kept]) @ vectors[:, kept].T * np.outer(scale, scale))

    @property
    def relative_errors(self) -> Array:
        """Standard errors of the independent combinations of log-like parameters, the best known first.

        Values above 1 mean that the data do not fix that combination: a sloppy direction.
        """
        size = np.maximum(np.abs(self.parameters), 1e-3 * np.abs(self.parameters).max())
        values = np.linalg.eigvalsh(self.information * np.outer(size, size))[::-1][: self.family.identifiable]
        return np.asarray(1.0 / np.sqrt(np.maximum(values, 1e-300)))

    @property
    def sloppy(self) -> int:
        """The number of combinations that the data do not fix."""
        return int(np.sum(self.relative_errors > _SLOPPY))

    def kernel_error(self, t: ArrayLike) -> Array:
        """Return the standard error of k(t), in 1/ps^2."""
        return self._table_error(t)[0]

    def integrated_error(self, t: ArrayLike) -> Array:
        """Return the standard error of G(t) = int_0^t k, in 1/ps."""
        return self._table_error(t)[1]

    @property
    def friction_error(self) -> float:
        """The standard error of the friction int_0^inf k, in 1/ps."""

        def friction(p: torch.Tensor) -> torch.Tensor:
            a = self.family.drift(p)
            return a[0, 0] + a[1:, 0] @ torch.linalg.solve(a[1:, 1:], a[1:, 0])

        slope = torch.func.grad(friction)(as_parameters(self.parameters)).numpy()
        return float(np.sqrt(slope @ self.covariance @ slope))

    def __str__(self) -> str:
        return (
            f"friction {self.kernel.friction:.4g} +- {self.friction_error:.2g} / ps; {self.family.identifiable} "
            f"parameters that the kernel shows, {self.sloppy} of them not fixed by the data"
        )

    def _spectrum(self) -> tuple[Array, Array, Array]:
        """Return the largest eigenvalues of the information scaled to a unit diagonal, their vectors, and the scale."""
        scale = 1.0 / np.sqrt(np.maximum(np.diag(self.information), 1e-300))
        values, vectors = np.linalg.eigh(self.information * np.outer(scale, scale))
        keep = slice(len(values) - min(self.family.identifiable, len(values)), None)
        return values[keep], vectors[:, keep], scale

    def _table_error(self, t: ArrayLike) -> Array:
        times = as_parameters(np.atleast_1d(np.asarray(t, dtype=np.float64)))
        slope = torch.func.jacfwd(lambda p: self.family.table(p, times))(as_parameters(self.parameters)).numpy()
        return np.asarray(np.sqrt(np.einsum("xtp,pq,xtq->xt", slope, self.covariance, slope)))


def log_likelihood(
    kernel: MemoryKernel,
    velocities: ArrayLike,
    dt: float,
    *,
    temperature: Any,
    masses: ArrayLike | None = None,
    forces: ArrayLike | None = None,
) -> float:
    """Return the logarithm of the likelihood of velocities given the first ones, by the exact filter, frame by frame.

    The reference for `fit_likelihood`, which uses the filter's limit of constant gain.

    Parameters
    ----------
    kernel : MemoryKernel
        Of dimension 1.
    velocities : array_like, shape (F, N, d)
        In nm/ps.
    dt, temperature, masses, forces
        See `VelocityRecord.from_velocities`.
    """
    v = np.asarray(velocities, dtype=np.float64)
    m = np.ones(v.shape[1]) if masses is None else np.asarray(masses, dtype=np.float64)
    kt = _R * float(strip_units(temperature, unit.kelvin))
    u = (v * np.sqrt(m / kt)[:, None]).reshape(len(v), -1)
    w = u
    if forces is not None:
        w = u + dt * (np.asarray(forces, dtype=np.float64) / np.sqrt(m * kt)[:, None]).reshape(len(v), -1)
    step = torch.linalg.matrix_exp(-dt * as_parameters(kernel.drift)).numpy()
    noise = np.eye(len(step)) - step @ step.T
    mean, spread, total = np.zeros((kernel.modes, u.shape[1])), np.eye(kernel.modes), 0.0
    for now, then in zip(w[:-1], u[1:], strict=True):
        e = then - step[0, 0] * now - step[0, 1:] @ mean
        s = float(step[0, 1:] @ spread @ step[0, 1:] + noise[0, 0])
        gain = (step[1:, 1:] @ spread @ step[0, 1:] + noise[1:, 0]) / s
        mean = np.outer(step[1:, 0], now) + step[1:, 1:] @ mean + np.outer(gain, e)
        spread = step[1:, 1:] @ spread @ step[1:, 1:].T + noise[1:, 1:] - s * np.outer(gain, gain)
        total -= 0.5 * float(np.sum(e * e)) / s + 0.5 * len(e) * np.log(2.0 * np.pi * s)
    return total


def innovation_filter(drift: torch.Tensor, dt: float, lags: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a_j and b_j (j = 0 .. lags) of the innovations, and the logarithm of their variance."""
    n = len(drift) - 1
    unit_matrix = torch.eye(n, dtype=drift.dtype)
    step = torch.linalg.matrix_exp(-dt * drift)
    noise = torch.eye(n + 1, dtype=drift.dtype) - step @ step.T
    column, row, inner = step[1:, 0], step[0, 1:], step[1:, 1:]
    # Riccati equation of the error of the estimate of s, by structure-preserving doubling
    slope = noise[1:, 0] / noise[0, 0]
    a = (inner - torch.outer(slope, row)).T
    g = torch.outer(row, row) / noise[0, 0]
    h = noise[1:, 1:] - torch.outer(slope, noise[0, 1:])
    for _ in range(_DOUBLINGS):
        mixed = torch.linalg.solve(unit_matrix + g @ h, torch.cat([a, g @ a.T], dim=1))
        first, second = mixed[:, :n], mixed[:, n:]
        h = h + a.T @ h @ first
        g = g + a @ second
        a = a @ first
    variance = row @ h @ row + noise[0, 0]
    gain = (inner @ h @ row + noise[1:, 0]) / variance
    closed = inner - torch.outer(gain, row)
    seen = powers(closed.T, row, lags)  # row closed^j
    one = torch.ones(1, dtype=drift.dtype)
    of_u = torch.cat([one, -(seen @ gain)])
    of_w = torch.cat([-step[:1, 0], -(seen @ (column - gain * step[0, 0]))])
    return of_u, of_w, torch.log(variance)


def fit_likelihood(
    record: VelocityRecord,
    modes: int | tuple[int, int] = (2, 3),
    *,
    white: bool = False,
    start: MemoryKernel | None = None,
    iterations: int = 60,
) -> LikelihoodFit:
    """Return the kernel under which the recorded velocities are most likely, with its Fisher information.

    Fisher scoring with derivatives by autograd; it needs torch. Modes faster than pi/dt are folded into the white part.

    Parameters
    ----------
    record : VelocityRecord
        The data.
    modes : int or (int, int)
        The number of auxiliary variables, or numbers of exponentials and damped cosines.
    white : bool
        Whether the kernel may have a white part.
    start : MemoryKernel, optional
        Where to start. Default: `fit_vacf` of the recorded velocities, which is for data without forces; with a mean
        force start from a fit to its Volterra inversion.
    iterations : int
        At most so many steps.

    Raises
    ------
    ValueError
        If the data have forces and no start is given.

    Notes
    -----
    H. Vroylandt, L. Goudenege, P. Monmarche, F. Pietrucci, B. Rotenberg, Proc. Natl. Acad. Sci. USA 119, e2117586119
    (2022), doi 10.1073/pnas.2117586119, maximise the likelihood by expectation and maximisation.
    """
    slowest = 1.0 / (record.lags * record.dt)
    if start is None:
        if not np.array_equal(record.uu, record.ww):
            raise ValueError("`start` is needed with forces: a fit to the Volterra inversion, for example")
        c = record.uu[record.lags :]
        vacf = Correlation.from_table(record.dt * np.arange(len(c)), c)
        start = fit_vacf(vacf.t, vacf.value, modes, white=white).kernel
    kernel = fold_fast_modes(start, np.pi / record.dt)
    family = StateSpace(kernel.modes, white or kernel.white_friction > 0.0, slowest)
    p = _scoring(record, family, family.parameters(decoupled(kernel)), iterations)
    folded = fold_fast_modes(family.kernel(p), np.pi / record.dt)
    if 0 < folded.modes < family.modes:
        family = StateSpace(folded.modes, True, slowest)
        p = _scoring(record, family, family.parameters(decoupled(folded)), iterations)
    value, _, information = _score(record, family, as_parameters(p))
    return LikelihoodFit(family.kernel(p), value, information.numpy(), family, p)


def expected_information(
    kernel: MemoryKernel, dt: float, samples: float, memory: float | None = None
) -> LikelihoodFit:
    """Return what so many velocities of free particles would say about a kernel, before they are measured.

    Parameters
    ----------
    kernel : MemoryKernel
        Of dimension 1, with at least one mode.
    dt : float
        Time between frames, in ps.
    samples : float
        Frames times degrees of freedom.
    memory : float, optional
        How far back predictions look, in ps. Default: twenty times the slowest decay of the kernel.
    """
    rates = np.linalg.eigvals(kernel.drift[1:, 1:]).real
    length = 20.0 / rates.min() if memory is None else float(memory)
    record = VelocityRecord.expected(kernel, dt, samples, length)
    # half of the slowest dissipation, so that the kernel lies inside of the family
    least = np.linalg.eigvalsh(0.5 * (kernel.drift + kernel.drift.T)[1:, 1:])[0]
    family = StateSpace(kernel.modes, kernel.white_friction > 0.0, max(0.5 * least, 1e-6 * rates.min()))
    p = family.parameters(decoupled(kernel))
    value, _, information = _score(record, family, as_parameters(p))
    return LikelihoodFit(kernel, value, information.numpy(), family, p)


def _score(
    record: VelocityRecord, family: StateSpace, p: torch.Tensor, derivatives: bool = True
) -> tuple[float, torch.Tensor, torch.Tensor]:
    """Return the log-likelihood, its gradient, and the Fisher information."""
    lags = record.lags

    def model(q: torch.Tensor) -> torch.Tensor:
        of_u, of_w, log_variance = innovation_filter(family.drift(q), record.dt, lags - 1)
        return torch.cat([of_u, of_w, log_variance[None]])

    def mean_products(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the mean of the two filters' outputs' product, for filters x (P, 2 lags) and y (Q, 2 lags)."""
        size = 4 * lags
        x_u, x_w = torch.fft.fft(x[:, :lags], size), torch.fft.fft(x[:, lags:], size)
        y_u, y_w = torch.fft.fft(y[:, :lags], size), torch.fft.fft(y[:, lags:], size)
        power = [torch.fft.fft(as_parameters(np.roll(np.pad(r, (0, size - len(r))), -lags))) for r in (uu, uw, ww)]
        # b_j multiplies w_{n-1-j}, one frame before u_{n-j}
        shift = torch.exp(-2j * np.pi * torch.arange(size, dtype=torch.float64) / size)
        x_w, y_w = x_w * shift, y_w * shift
        left_u, left_w = x_u.conj(), x_w.conj()
        total = (left_u * power[0]) @ y_u.T + (left_w * power[2]) @ y_w.T
        total = total + (left_u * power[1].conj()) @ y_w.T + (left_w * power[1]) @ y_u.T
        return total.real / size

    uu, uw, ww = record.uu, record.uw, record.ww
    values = model(p)
    filters, variance = values[None, :-1], torch.exp(values[-1])
    square = mean_products(filters, filters)[0, 0]
    value = float(-0.5 * record.count * (values[-1] + np.log(2.0 * np.pi) + square / variance))
    if not derivatives:
        return value, p, p
    jacobian = torch.func.jacfwd(model)(p).T
    slopes, log_slope = jacobian[:, :-1], jacobian[:, -1]
    cross = mean_products(slopes, filters)[:, 0]
    gradient = -0.5 * record.count * ((1.0 - square / variance) * log_slope + 2.0 * cross / variance)
    information = mean_products(slopes, slopes) / variance + 0.5 * torch.outer(log_slope, log_slope)
    return value, gradient, record.count * 0.5 * (information + information.T)


def _scoring(record: VelocityRecord, family: StateSpace, start: Array, iterations: int) -> Array:
    """Return the parameters of the highest likelihood."""
    p, damping = as_parameters(start), 1e-3
    for _ in range(iterations):
        value, gradient, information = _score(record, family, p)
        scale = torch.diag(information).clamp(min=1e-12 * float(torch.diag(information).max()))
        while damping < 1e8:
            trial = p + torch.linalg.solve(information + damping * torch.diag(scale), gradient)
            new = _score(record, family, trial, derivatives=False)[0]
            if np.isfinite(new) and new > value:
                break
            damping *= 4.0
        else:
            break
        p, damping = trial, max(0.2 * damping, 1e-10)
        if new - value < 1e-6:  # nats
            break
    return p.numpy()
