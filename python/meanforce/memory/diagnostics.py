# SPDX-License-Identifier: MIT
"""Whether a memory is short enough to be left out, and whether a run obeys fluctuation-dissipation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray
from openmm import unit
from scipy.integrate import trapezoid

from .._openmm import strip_units
from ..memorykernel import MemoryKernel
from .correlations import Correlation

Array = NDArray[np.float64]

_R = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)

#: Memory shorter than this fraction of the velocity's relaxation counts as none.
_SHORT = 0.1
#: Deviation in standard errors that chance makes in one of about a hundred numbers in one run of a thousand.
_Z_LIMIT = 4.5
#: Independent records that a standard error needs at least.
_RECORDS = 20


@dataclass(frozen=True)
class MarkovianReport:
    """How the memory compares with the motion.

    Attributes
    ----------
    memory_time : float
        int t |k| dt / (gamma0 + int |k| dt), in ps: the mean age of what the friction remembers.
    relaxation_time : float
        2 int C^2 dt of the normalised velocity autocorrelation, in ps (tau for exp(-t/tau)).
    ratio : float
        memory_time / relaxation_time.
    langevin_is_enough : bool
        Whether the ratio is below 0.1, so that Langevin dynamics with friction int k will do.
    friction : float
        int k, in 1/ps.
    vacf_error : float
        Relative L2 error of the velocity autocorrelation of a free particle in the limit without memory.
    """

    memory_time: float
    relaxation_time: float
    ratio: float
    langevin_is_enough: bool
    friction: float
    vacf_error: float

    def __str__(self) -> str:
        verdict = "Langevin dynamics will do" if self.langevin_is_enough else "memory matters"
        return (
            f"memory {self.memory_time:.3g} ps, velocity relaxation {self.relaxation_time:.3g} ps, "
            f"ratio {self.ratio:.3g}: {verdict} "
            f"(error of a free particle's velocity correlation without memory: {self.vacf_error:.2g})"
        )


def markovian_report(kernel: MemoryKernel, vacf: Correlation | None = None) -> MarkovianReport:
    """Compare the memory time of a kernel with the relaxation time of the velocity.

    Parameters
    ----------
    kernel : MemoryKernel
        The bath.
    vacf : Correlation, optional
        Of the system. Default: of a free particle with this kernel.

    Raises
    ------
    ValueError
        If the kernel has no friction, or never decays.
    """
    if not (np.isfinite(kernel.friction) and np.any(kernel.spectrum(np.logspace(-3, 3, 50)) > 0.0)):
        raise ValueError(f"`kernel` must have a finite friction > 0, got {kernel!r}")
    rates = np.linalg.eigvals(kernel.drift).real
    # From well below the fastest to well above the slowest decay there is.
    t = np.concatenate([[0.0], np.geomspace(1e-3 / np.abs(kernel.drift).max(), 20.0 / rates[rates > 0.0].min(), 4000)])
    size = np.abs(kernel.kernel(t))
    memory = float(trapezoid(t * size, t) / (kernel.white_friction + trapezoid(size, t)))
    if vacf is None:
        relaxation = float(2.0 * trapezoid(kernel.vacf(t, 1.0) ** 2, t))
    else:
        relaxation = float(2.0 * trapezoid(vacf.value**2, vacf.t))
    ratio = memory / relaxation
    free, white = kernel.vacf(t, 1.0), np.exp(-kernel.friction * t)
    error = float(np.sqrt(trapezoid((white - free) ** 2, t) / trapezoid(free**2, t)))
    return MarkovianReport(memory, relaxation, ratio, ratio < _SHORT, kernel.friction, error)


@dataclass(frozen=True)
class FDTReport:
    """The random force of a run, reconstructed from its velocities, against kT K(t).

    Attributes
    ----------
    t : numpy.ndarray, shape (T,)
        Lags, in ps.
    correlation : numpy.ndarray, shape (T,)
        <R(0) R(t)>/(m kT) of the random force, averaged over a step, in 1/ps^2.
    expected : numpy.ndarray, shape (T,)
        The same as the kernel demands it: k(t), as the integrator's steps show it.
    standard_error : numpy.ndarray, shape (T,)
        Of `correlation`.
    with_velocity : numpy.ndarray, shape (T,)
        <R(t) v(0)>/kT (times one step, without unit), with v(0) from where the reconstruction starts: zero.
    with_velocity_error : numpy.ndarray, shape (T,)
        Its standard error.
    """

    t: Array
    correlation: Array
    expected: Array
    standard_error: Array
    with_velocity: Array
    with_velocity_error: Array

    @property
    def z(self) -> Array:
        """Deviation of the autocorrelation in standard errors, shape (T,)."""
        return (self.correlation - self.expected) / self.standard_error

    @property
    def velocity_z(self) -> Array:
        """Correlation with the initial velocity in standard errors, shape (T,)."""
        return self.with_velocity / self.with_velocity_error

    @property
    def relative_error(self) -> float:
        """Relative L2 deviation of the autocorrelation."""
        return float(np.linalg.norm(self.correlation - self.expected) / np.linalg.norm(self.expected))

    @property
    def passed(self) -> bool:
        """Whether no deviation exceeds 4.5 standard errors."""
        return bool(max(np.abs(self.z).max(), np.abs(self.velocity_z).max()) < _Z_LIMIT)

    def __str__(self) -> str:
        verdict = "holds" if self.passed else "is BROKEN"
        return (
            f"fluctuation-dissipation {verdict}: random force against kT K, largest deviation "
            f"{np.abs(self.z).max():.1f} standard errors ({self.relative_error:.2g} relative); against the initial "
            f"velocity {np.abs(self.velocity_z).max():.1f}"
        )


def fdt_test(
    kernel: MemoryKernel,
    velocities: ArrayLike,
    dt: float,
    *,
    temperature: Any,
    max_time: float,
    masses: ArrayLike | None = None,
    forces: ArrayLike | None = None,
) -> FDTReport:
    """Reconstruct the random force of a run from what was recorded, and compare it with the kernel.

    The friction of the memory is computed from the recorded velocities in the integrator's own steps, starting from
    nothing every two longest lags; what the velocity does beyond it and the mean force is the random force. The
    expectation is exact for `GLEIntegrator` recorded at every step; elsewhere dt must resolve force and memory.

    Parameters
    ----------
    kernel : MemoryKernel
        Of dimension 1.
    velocities : array_like, shape (F, N, d)
        In nm/ps.
    dt : float
        Time between frames, in ps.
    temperature : float or Quantity
        In K.
    max_time : float
        Longest lag, in ps.
    masses : array_like, shape (N,), optional
        In dalton; 1 by default.
    forces : array_like, shape (F, N, d), optional
        Mean force at the recorded positions, in kJ/mol/nm. Default: none.

    Raises
    ------
    ValueError
        If there are fewer than 20 records of twice the longest lag.
    """
    v = np.asarray(strip_units(velocities, unit.nanometer / unit.picosecond), dtype=np.float64)
    kt = _R * float(strip_units(temperature, unit.kelvin))
    if v.ndim != 3 or kernel.dimension != 1 or not kt > 0.0:
        raise ValueError(f"`velocities` must have shape (F, N, d) and `temperature` be > 0 (K), got {v.shape}, kT {kt}")
    m = np.ones(v.shape[1]) if masses is None else np.asarray(strip_units(masses, unit.dalton), dtype=np.float64)
    if m.shape != (v.shape[1],) or not np.all(m > 0.0):
        raise ValueError(f"`masses` must be {v.shape[1]} values > 0 (dalton), got shape {m.shape}")
    lags = round(float(strip_units(max_time, unit.picosecond)) / dt)
    length = 2 * lags + 1
    windows = (len(v) - 1) // length
    if lags < 1 or windows * v.shape[1] * v.shape[2] < _RECORDS:
        raise ValueError(
            f"`max_time` must be at least dt = {dt} ps and leave {_RECORDS} records of twice its length, got "
            f"{windows * v.shape[1] * v.shape[2]} from {len(v)} frames"
        )
    u = v * np.sqrt(m / kt)[:, None]
    w = u
    if forces is not None:
        f = np.asarray(strip_units(forces, unit.kilojoule_per_mole / unit.nanometer), dtype=np.float64)
        if f.shape != v.shape:
            raise ValueError(f"`forces` must have the shape of `velocities`, {v.shape}, got {f.shape}")
        w = u + dt * f / np.sqrt(m * kt)[:, None]

    def records(x: Array, shift: int) -> Array:
        """Return the frames of each window, shape (length, records)."""
        kept = x[shift : shift + windows * length].reshape(windows, length, -1)
        return np.ascontiguousarray(kept.swapaxes(0, 1).reshape(length, -1))

    step = scipy.linalg.expm(-dt * kernel.drift)
    now, then, first = records(w, 0), records(u, 1), records(u, 0)[0]
    s = np.zeros((kernel.modes, now.shape[1]))
    random = np.empty_like(now)
    for k in range(length):
        random[k] = then[k] - step[0, 0] * now[k] - step[0, 1:] @ s
        s = np.outer(step[1:, 0], now[k]) + step[1:, 1:] @ s
    products = np.array([(random[: length - lag] * random[lag:]).mean(axis=0) for lag in range(lags + 1)]) / dt**2
    with_velocity = random[: lags + 1] * first
    count = np.sqrt(products.shape[1])
    return FDTReport(
        dt * np.arange(lags + 1.0),
        products.mean(axis=1),
        _random_force(step, length, lags) / dt**2,
        products.std(axis=1, ddof=1) / count,
        with_velocity.mean(axis=1),
        with_velocity.std(axis=1, ddof=1) / count,
    )


def _random_force(step: Array, length: int, lags: int) -> Array:
    """Return the mean over the time origins of a record of <r_k r_{k+lag}>, r what the bath does without u.

    The variables s start in equilibrium and then relax: r_k = T_us s_k + noise, s_{k+1} = T_ss s_k + noise.
    """
    noise = np.eye(len(step)) - step @ step.T
    row, inner = step[0, 1:], step[1:, 1:]
    sums, spread = np.zeros(lags + 1), np.eye(len(inner))
    rows = [row]
    for _ in range(lags):
        rows.append(rows[-1] @ inner)
    later = np.array(rows)  # row inner^lag
    for k in range(length):
        seen = spread @ row
        values = later @ seen
        values[1:] += later[:-1] @ noise[1:, 0]
        values[0] += noise[0, 0]
        reach = min(lags, length - 1 - k)
        sums[: reach + 1] += values[: reach + 1]
        spread = inner @ spread @ inner.T + noise[1:, 1:]
    return np.asarray(sums / (length - np.arange(lags + 1)))
