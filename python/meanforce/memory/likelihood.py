# SPDX-License-Identifier: MIT
"""The likelihood of a recorded velocity under a memory kernel: a Kalman filter on the hidden variables of the bath.

One step of the integrator is linear in the bath, whatever the force is: with u = sqrt(m/kT) v, s in units of sqrt(kT)
and w_n = u_n + h f(x_n)/sqrt(m kT)::

    (u, s)_{n+1} = T (w, s)_n + noise,      T = exp(-h A),      noise covariance 1 - T T^T

so so that the filter, which predicts u_{n+1} from all u before, is exact for every mean force f. Its gain tends to a
constant; the innovations are then a convolution, e_n = sum_j a_j u_{n-j} + b_j w_{n-j}, and the sum of their squares
needs nothing of the data but sums of products u_{n-j} u_{n-k}, u_{n-j} w_{n-k} and w_{n-j} w_{n-k}: one pass over any
number of frames serves all kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
import scipy.linalg
import torch
from numpy.typing import ArrayLike, NDArray
from openmm import unit

from .._openmm import strip_units
from ..memorykernel import MemoryKernel
from .correlations import Correlation
from .statespace import WEAK, StateSpace, as_parameters, decoupled, fit_vacf, fold_fast_modes, powers

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
    """What the likelihood needs of a trajectory: mean products of u and w up to a longest lag L.

    Attributes
    ----------
    dt : float
        Time between frames, in ps.
    products : numpy.ndarray, shape (2 L + 2, 2 L + 2)
        Mean over frames n and degrees of freedom of y_j y_k, y = (u_n, u_{n-1}, .. u_{n-L}, w_n, w_{n-1}, .. w_{n-L}).
    count : float
        Number of predicted velocities.
    free : bool
        Whether there are no forces, w = u.
    """

    dt: float
    products: Array
    count: float
    free: bool

    @property
    def lags(self) -> int:
        """L."""
        return len(self.products) // 2 - 1

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
        edges = np.zeros((2 * lags, 2 * lags))
        sums = np.zeros((2, 2, 2, lags + 1))
        for i in range(v.shape[1]):
            u = np.asarray(v[:, i], dtype=np.float64) * np.sqrt(m[i] / kt)
            w = u if f is None else u + float(dt) / np.sqrt(m[i] * kt) * f[:, i]
            sums += _border_products(np.stack([u, w]), lags)
            head = np.concatenate([u[lags - 1 :: -1], w[lags - 1 :: -1]])
            tail = np.concatenate([u[: -lags - 1 : -1], w[: -lags - 1 : -1]])
            edges += head @ head.T - tail @ tail.T
        count = float((len(v) - lags) * v.shape[1] * v.shape[2])
        return cls(float(dt), _completed(sums, edges, lags) / count, count, f is None)

    @classmethod
    def expected(cls, kernel: MemoryKernel, dt: float, count: float, memory: float) -> VelocityRecord:
        """Return the record that free particles with this kernel would give on average: to plan measurements."""
        lags = round(memory / dt)
        c = kernel.vacf(np.arange(lags + 1), dt)
        return cls(float(dt), np.tile(scipy.linalg.toeplitz(c), (2, 2)), float(count), True)


def _border_products(series: Array, lags: int) -> Array:
    """Return sum_{n >= L} p_n q_{n-k} and sum_{n >= L} p_{n-k} q_n for p, q of (u, w), k = 0 .. L: (2, 2, 2, L+1)."""
    frames = series.shape[1]
    size = scipy.fft.next_fast_len(frames + lags, real=True)
    late = series.copy()
    late[:, :lags] = 0.0
    x, y = scipy.fft.rfft(late, size, axis=1), scipy.fft.rfft(series, size, axis=1)
    spectrum = np.einsum("pfd,qfd->pqf", x, y.conj())
    one = scipy.fft.irfft(spectrum, size, axis=2)[..., : lags + 1]
    return np.stack([one, one.swapaxes(0, 1)])


def _completed(sums: Array, edges: Array, lags: int) -> Array:
    """Return all products from those of y_0: one frame further back, two sums differ by what enters and leaves."""
    whole = np.empty((2, lags + 1, 2, lags + 1))
    change = edges.reshape(2, lags, 2, lags)
    whole[:, 0, :, :] = sums[0]
    whole[:, :, :, 0] = sums[1].swapaxes(1, 2)
    for j in range(lags):
        whole[:, j + 1, :, 1:] = whole[:, j, :, :-1] + change[:, j]
    return whole.reshape(2 * lags + 2, 2 * lags + 2)


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
        return np.asarray(self._table_error(t)[0])

    def integrated_error(self, t: ArrayLike) -> Array:
        """Return the standard error of G(t) = int_0^t k, in 1/ps."""
        return np.asarray(self._table_error(t)[1])

    @property
    def friction_error(self) -> float:
        """The standard error of the friction int_0^inf k, in 1/ps."""

        def friction(p: torch.Tensor) -> torch.Tensor:
            a = self.family.drift(p)
            value: torch.Tensor = a[0, 0] + a[1:, 0] @ torch.linalg.solve(a[1:, 1:], a[1:, 0])
            return value

        slope = torch.func.grad(friction)(as_parameters(self.parameters)).numpy()
        return float(np.sqrt(slope @ self.covariance @ slope))

    def __str__(self) -> str:
        return (
            f"friction {self.kernel.friction:.4g} +- {self.friction_error:.2g} / ps; {self.family.identifiable} "
            f"parameters that the kernel shows, {self.sloppy} of them not fixed by the data"
        )

    def _spectrum(self) -> tuple[Array, Array, Array]:
        """Return the largest eigenvalues and their vectors of the scaled information, and the scale."""
        known = np.diag(self.information)
        scale = 1.0 / np.sqrt(np.maximum(known, 1e-6 * known.max()))
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
    """Return a_j and b_j (j = 0 .. lags) of the innovations, b_0 = 0, and the logarithm of their variance."""
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
    of_w = torch.cat([0.0 * one, -step[:1, 0], -(seen[:-1] @ (column - gain * step[0, 0]))])
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
        if not record.free:
            raise ValueError("`start` is needed with forces: a fit to the Volterra inversion, for example")
        c = record.products[0, : record.lags + 1]
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


def expected_information(kernel: MemoryKernel, dt: float, samples: float, memory: float | None = None) -> LikelihoodFit:
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

    def model(q: torch.Tensor) -> torch.Tensor:
        of_u, of_w, log_variance = innovation_filter(family.drift(q), record.dt, record.lags)
        return torch.cat([of_u, of_w, log_variance[None]])

    products = as_parameters(record.products)
    values = model(p)
    filters, variance = values[:-1], torch.exp(values[-1])
    seen = products @ filters
    square = filters @ seen
    value = float(-0.5 * record.count * (values[-1] + np.log(2.0 * np.pi) + square / variance))
    if not derivatives:
        return value, p, p
    jacobian = torch.func.jacfwd(model)(p).T
    slopes, log_slope = jacobian[:, :-1], jacobian[:, -1]
    gradient = -0.5 * record.count * ((1.0 - square / variance) * log_slope + 2.0 * (slopes @ seen) / variance)
    information = slopes @ products @ slopes.T / variance + 0.5 * torch.outer(log_slope, log_slope)
    return value, gradient, record.count * 0.5 * (information + information.T)


def _scoring(record: VelocityRecord, family: StateSpace, start: Array, iterations: int) -> Array:
    """Return the parameters of the highest likelihood."""
    p, damping = as_parameters(start), 1e-3
    for _ in range(iterations):
        value, gradient, information = _score(record, family, p)
        scale = torch.diag(information).clamp(min=WEAK * float(torch.diag(information).max()))
        while damping < 1e12:
            trial = p + torch.linalg.solve(information + damping * torch.diag(scale), gradient)
            new = _score(record, family, trial, derivatives=False)[0]
            if np.isfinite(new) and new > value:
                break
            damping *= 4.0
        else:
            break
        p, damping = trial, max(0.2 * damping, 1e-10)
        if new - value < 1e-4:  # nats
            break
    return p.numpy()
