# SPDX-License-Identifier: MIT
"""Velocity autocorrelation, mean square displacement and diffusion, with standard errors from blocks of time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from openmm import unit
from scipy.integrate import trapezoid

from .._openmm import strip_units

Array = NDArray[np.float64]

#: Beads transformed at once, so that memory stays bounded for long trajectories.
_BEADS_AT_ONCE = 64
#: 1 nm^2/ps in 1e-9 m^2/s.
_NM2_PER_PS = 1e3


@dataclass(frozen=True)
class Correlation:
    """A normalised velocity autocorrelation function.

    Attributes
    ----------
    t : numpy.ndarray, shape (T,)
        Lags, in ps; t[0] = 0.
    value : numpy.ndarray, shape (T,)
        C(t)/C(0).
    standard_error : numpy.ndarray, shape (T,)
        Of `value`, from blocks of time origins.
    zero : float
        C(0) = sum_i m_i <v_i . v_i> / (3 sum_i m_i), in nm^2/ps^2; kT/m for equal beads in equilibrium.
    blocks : numpy.ndarray, shape (B, T)
        C(t)/C(0) from the time origins of each block alone, with the common C(0).
    weights : numpy.ndarray, shape (B, T)
        The share of each block in `value`; sums to 1 for each lag.
    """

    t: Array
    value: Array
    standard_error: Array
    zero: float
    blocks: Array
    weights: Array

    @classmethod
    def from_table(cls, t: ArrayLike, value: ArrayLike, zero: float = 1.0) -> Correlation:
        """Return a correlation that was obtained elsewhere, taken as exact.

        Parameters
        ----------
        t : array_like, shape (T,)
            Lags from 0 on, in ps.
        value : array_like, shape (T,)
            In any unit; it is normalised.
        zero : float
            C(0), in nm^2/ps^2.
        """
        times = np.asarray(strip_units(t, unit.picosecond), dtype=np.float64)
        c = np.asarray(value, dtype=np.float64)
        if times.ndim != 1 or times.shape != c.shape or len(c) < 2 or not c[0] > 0.0:
            raise ValueError(f"`t` and `value` must be lists of the same length >= 2, value[0] > 0, got {c.shape}")
        c = c / c[0]
        return cls(times, c, np.zeros_like(c), float(zero), np.stack([c, c]), np.full((2, len(c)), 0.5))

    @property
    def dt(self) -> float:
        """Spacing of the lags, in ps."""
        return float(self.t[1] - self.t[0])


@dataclass(frozen=True)
class Diffusion:
    """A self-diffusion coefficient and its standard error, in nm^2/ps."""

    value: float
    standard_error: float

    @property
    def in_1e9_m2_per_s(self) -> float:
        """The coefficient in 1e-9 m^2/s, the customary unit for liquids (water: 2.3 at 298 K)."""
        return self.value * _NM2_PER_PS

    @property
    def error_in_1e9_m2_per_s(self) -> float:
        """The standard error in 1e-9 m^2/s."""
        return self.standard_error * _NM2_PER_PS

    def __str__(self) -> str:
        return f"D = ({self.in_1e9_m2_per_s:.3g} +- {self.error_in_1e9_m2_per_s:.2g}) 1e-9 m^2/s"


def velocity_autocorrelation(
    velocities: ArrayLike,
    dt: float,
    max_time: float | None = None,
    blocks: int = 5,
    masses: ArrayLike | None = None,
) -> Correlation:
    """Return the normalised velocity autocorrelation, averaged over beads, components and time origins.

    Parameters
    ----------
    velocities : array_like, shape (F, N, 3)
        In nm/ps.
    dt : float
        Time between frames, in ps.
    max_time : float, optional
        Longest lag, in ps; it must fit in a block. Default: as long as fits.
    blocks : int
        Blocks of time origins for the standard error, at least 2. Each should be longer than the memory of the system.
    masses : array_like, shape (N,), optional
        In dalton: beads then count in proportion to their mass. Default: equally.

    Raises
    ------
    ValueError
        If the shape is wrong, a value is not finite, or `max_time` does not fit in a block.
    """
    v = _trajectory(velocities, "velocities", unit.nanometer / unit.picosecond)
    step = _positive(dt, "dt")
    starts, lags = _blocks(len(v), step, max_time, blocks)
    weights = _mass_weights(masses, v.shape[1])
    sums = _lagged_products(v, weights, starts, lags)
    origins = _origin_counts(len(v), starts, lags)
    pooled = sums.sum(axis=0) / origins.sum(axis=0)
    zero = float(pooled[0])
    if not np.isfinite(zero) or zero <= 0.0:
        raise ValueError(f"`velocities` must be finite and not all zero, got <v.v>/3 = {zero}")
    share = origins / origins.sum(axis=0)
    parts = sums / origins / zero
    value = pooled / zero
    t = step * np.arange(lags + 1, dtype=np.float64)
    return Correlation(t, value, _standard_error(parts, share), zero, parts, share)


def mean_square_displacement(
    positions: ArrayLike, dt: float, max_time: float | None = None, blocks: int = 5
) -> tuple[Array, Array, Array]:
    """Return the mean square displacement of a trajectory that is not wrapped into the box (see `unwrap`).

    Parameters
    ----------
    positions : array_like, shape (F, N, 3)
        In nm.
    dt : float
        Time between frames, in ps.
    max_time : float, optional
        Longest lag, in ps.
    blocks : int
        Blocks of time origins.

    Returns
    -------
    t : numpy.ndarray, shape (T,)
        Lags, in ps.
    value : numpy.ndarray, shape (T,)
        <|x(t) - x(0)|^2>, in nm^2.
    parts : numpy.ndarray, shape (B, T)
        The same from the time origins of each block alone.
    """
    x = _trajectory(positions, "positions", unit.nanometer)
    step = _positive(dt, "dt")
    starts, lags = _blocks(len(x), step, max_time, blocks)
    weights = np.full(x.shape[1], 1.0 / x.shape[1])
    # |x(t) - x(0)|^2 = x(t)^2 + x(0)^2 - 2 x(0).x(t), from the first frame on so that little cancels.
    origin = np.asarray(x[0], dtype=np.float64)
    squares = np.zeros(len(x))
    for i in range(0, x.shape[1], _BEADS_AT_ONCE):
        part = slice(i, i + _BEADS_AT_ONCE)
        squares += np.einsum("fnc,n->f", (x[:, part] - origin[part]) ** 2, weights[part]) / 3.0
    running = np.concatenate([[0.0], np.cumsum(squares)])
    products = _lagged_products(x, weights, starts, lags, origin)
    origins = _origin_counts(len(x), starts, lags)
    lag = np.arange(lags + 1)
    begin, end = starts[:-1, None], np.minimum(starts[1:, None], len(x) - lag)
    end = np.maximum(end, begin)
    now = running[end] - running[begin]
    later = running[end + lag] - running[begin + lag]
    sums = 3.0 * (now + later - 2.0 * products)
    t = step * lag.astype(np.float64)
    return t, np.asarray(sums.sum(axis=0) / origins.sum(axis=0)), np.asarray(sums / origins)


def diffusion_coefficient(
    source: Correlation | ArrayLike,
    dt: float | None = None,
    to: float | None = None,
    blocks: int = 5,
) -> Diffusion:
    """Return the diffusion coefficient D = C(0) int_0^to C(t)/C(0) dt from the velocity autocorrelation.

    Parameters
    ----------
    source : Correlation or array_like, shape (F, N, 3)
        A correlation, or velocities in nm/ps.
    dt : float, optional
        Time between frames of the velocities, in ps.
    to : float, optional
        Upper limit of the integral, in ps. Default: the longest lag.
    blocks : int
        Blocks of time origins when `source` are velocities.
    """
    if not isinstance(source, Correlation):
        if dt is None:
            raise ValueError("`dt` (ps) is needed with velocities")
        source = velocity_autocorrelation(source, dt, to, blocks)
    limit = source.t[-1] if to is None else _positive(to, "to")
    if limit > source.t[-1] + 0.5 * source.dt:
        raise ValueError(f"`to` must be at most the longest lag, {source.t[-1]:.6g} ps, got {limit:.6g}")
    chosen = source.t <= limit + 0.5 * source.dt
    integrals = np.asarray(trapezoid(source.blocks[:, chosen], dx=source.dt, axis=1))
    share = source.weights[:, 0]
    error = _standard_error(integrals[:, None], share[:, None])[0]
    value = trapezoid(source.value[chosen], dx=source.dt)
    return Diffusion(float(value * source.zero), float(error * source.zero))


def diffusion_from_displacement(
    positions: ArrayLike, dt: float, start: float = 1.0, to: float = 4.0, blocks: int = 5
) -> Diffusion:
    """Return D from the slope of the mean square displacement, 6 D t, between two lags.

    Parameters
    ----------
    positions : array_like, shape (F, N, 3)
        Not wrapped into the box, in nm.
    dt : float
        Time between frames, in ps.
    start, to : float
        The lags between which a straight line is fitted, in ps.
    blocks : int
        Blocks of time origins.
    """
    t, value, parts = mean_square_displacement(positions, dt, to, blocks)
    chosen = t >= _positive(start, "start") - 0.5 * t[1]
    if chosen.sum() < 2:
        raise ValueError(f"`start` must lie below `to` by a frame at least, got {start} and {to} ps")
    slopes = np.array([np.polyfit(t[chosen], row[chosen], 1)[0] for row in (value, *parts)]) / 6.0
    share = np.full((len(parts), 1), 1.0 / len(parts))
    return Diffusion(float(slopes[0]), float(_standard_error(slopes[1:, None], share)[0]))


def unwrap(positions: ArrayLike, box: ArrayLike) -> Array:
    """Return a trajectory without the jumps of a rectangular periodic box.

    Beads must move by less than half an edge from frame to frame.

    Parameters
    ----------
    positions : array_like, shape (F, N, 3)
        In nm.
    box : array_like, shape (3,)
        Edges, in nm.
    """
    x = np.asarray(strip_units(positions, unit.nanometer), dtype=np.float64)
    edges = np.asarray(strip_units(box, unit.nanometer), dtype=np.float64)
    if edges.shape != (3,) or not np.all(edges > 0.0):
        raise ValueError(f"`box` must be three edges > 0 (nm), got {edges.tolist()}")
    jumps = np.rint(np.diff(x, axis=0) / edges)
    out = x.copy()
    out[1:] -= np.cumsum(jumps, axis=0) * edges
    return out


def relative_l2_error(c1: Correlation, c2: Correlation, t_max: float = 2.0) -> float:
    """Return sqrt(int (c1 - c2)^2 dt / int c2^2 dt) of two normalised correlations from 0 to t_max.

    Parameters
    ----------
    c1, c2 : Correlation
        `c1` is interpolated to the lags of `c2`, the reference.
    t_max : float
        In ps.

    Raises
    ------
    ValueError
        If a correlation is shorter than `t_max`.
    """
    for name, c in (("c1", c1), ("c2", c2)):
        if not isinstance(c, Correlation):
            raise TypeError(f"`{name}` must be a Correlation, got {type(c).__name__}")
        if c.t[-1] < t_max - 0.5 * c.dt:
            raise ValueError(f"`{name}` must reach `t_max` = {t_max} ps, but its longest lag is {c.t[-1]:.6g} ps")
    chosen = c2.t <= t_max + 0.5 * c2.dt
    reference = c2.value[chosen] / c2.value[0]
    other = np.interp(c2.t[chosen], c1.t, c1.value / c1.value[0])
    return float(np.sqrt(trapezoid((other - reference) ** 2) / trapezoid(reference**2)))


# -------------------------------------------------------------------------------------------------- helpers


def _trajectory(values: ArrayLike, name: str, wanted: Any) -> NDArray[Any]:
    array = np.asarray(strip_units(values, wanted))
    if array.ndim != 3 or array.shape[2] != 3 or array.shape[1] < 1:
        raise ValueError(f"`{name}` must have shape (F, N, 3), got {array.shape}")
    return array


def _positive(value: Any, name: str) -> float:
    number = float(strip_units(value, unit.picosecond))
    if not (np.isfinite(number) and number > 0.0):
        raise ValueError(f"`{name}` must be > 0 (ps), got {number}")
    return number


def _mass_weights(masses: ArrayLike | None, beads: int) -> Array:
    if masses is None:
        return np.full(beads, 1.0 / beads)
    m = np.asarray(strip_units(masses, unit.dalton), dtype=np.float64)
    if m.shape != (beads,) or not np.all(m >= 0.0) or not m.sum() > 0.0:
        raise ValueError(f"`masses` must be {beads} values >= 0, not all zero, got shape {m.shape}")
    return np.asarray(m / m.sum())


def _blocks(frames: int, dt: float, max_time: float | None, blocks: int) -> tuple[NDArray[np.int64], int]:
    """Return the block boundaries (B+1,) and the number of lags beyond 0."""
    if blocks < 2:
        raise ValueError(f"`blocks` must be at least 2, got {blocks}")
    length = frames // blocks
    if length < 2:
        raise ValueError(f"{frames} frames are too few for {blocks} blocks")
    lags = length - 1 if max_time is None else round(_positive(max_time, "max_time") / dt)
    if not 1 <= lags < length:
        raise ValueError(
            f"`max_time` must be at least dt and below the {length * dt:.6g} ps of a block, got {lags * dt:.6g} ps: "
            "record a longer run or ask for fewer blocks"
        )
    return np.rint(np.linspace(0, frames, blocks + 1)).astype(np.int64), lags


def _origin_counts(frames: int, starts: NDArray[np.int64], lags: int) -> Array:
    lag = np.arange(lags + 1)
    ends = np.minimum(starts[1:, None], frames - lag)
    return (ends - starts[:-1, None]).astype(np.float64)


def _lagged_products(
    a: NDArray[Any], weights: Array, starts: NDArray[np.int64], lags: int, origin: Array | None = None
) -> Array:
    """Return sum_i w_i sum_t a_i(t).a_i(t + lag)/3 over the time origins t of each block, shape (B, lags+1)."""
    sums = [
        lagged_products(a[begin : end + lags], None, weights, int(end - begin), lags, origin=origin)
        for begin, end in pairwise(starts)
    ]
    return np.array(sums)


def lagged_products(
    a: NDArray[Any],
    b: NDArray[Any] | None,
    weights: Array,
    origins: int,
    lags: int,
    matrix: bool = False,
    origin: Array | None = None,
) -> Array:
    """Return sum_i w_i sum_t a_i(t).b_i(t + lag)/d over the first time origins t of a piece of trajectory.

    Parameters
    ----------
    a, b : numpy.ndarray, shape (F, N, d)
        F <= origins + lags frames; what lies beyond counts as zero. `b` None: the same as `a`.
    weights : numpy.ndarray, shape (N,)
    origins, lags : int
        Time origins, and longest lag.
    matrix : bool
        Return the matrix b_i(t + lag) a_i(t)^T instead of its trace over d.
    origin : numpy.ndarray, shape (N, d), optional
        Subtracted from both.

    Returns
    -------
    numpy.ndarray, shape (lags+1,) or (lags+1, d, d)
    """
    # Room for the lags wanted on one side and for the wrapped-around negative lags on the other.
    size = scipy.fft.next_fast_len(origins + lags, real=True)
    d = a.shape[2]
    spectrum = np.zeros((size // 2 + 1, d, d) if matrix else size // 2 + 1, dtype=complex)
    for i in range(0, a.shape[1], _BEADS_AT_ONCE):
        part = slice(i, i + _BEADS_AT_ONCE)
        root = np.sqrt(weights[part])[:, None]
        shift = 0.0 if origin is None else origin[part]
        first = (np.asarray(a[:, part], dtype=np.float64) - shift) * root
        second = first if b is None else (np.asarray(b[:, part], dtype=np.float64) - shift) * root
        now = scipy.fft.rfft(first[:origins], size, axis=0)
        later = scipy.fft.rfft(second, size, axis=0)
        if matrix:
            spectrum += np.matmul(later.swapaxes(1, 2), now.conj())
        else:
            spectrum += np.einsum("fnk,fnk->f", now.conj(), later)
    sums = scipy.fft.irfft(spectrum, size, axis=0)[: lags + 1]
    return np.asarray(sums if matrix else sums / d)


def _standard_error(parts: Array, weights: Array) -> Array:
    """Return the standard error of the weighted mean of blocks, shape (T, ...), from parts of shape (B, T, ...)."""
    mean = (weights * parts).sum(axis=0)
    count = len(parts)
    return np.asarray(np.sqrt(count / (count - 1.0) * (weights**2 * (parts - mean) ** 2).sum(axis=0)))
