# SPDX-License-Identifier: MIT
"""Passive state-space fits of memory kernels: every trial kernel, and so the result, obeys fluctuation-dissipation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.integrate
import scipy.interpolate
import scipy.optimize
from numpy.typing import ArrayLike, NDArray
from openmm import unit

from .._openmm import strip_units
from ..memorykernel import MemoryKernel
from .volterra import check_grid, volterra_kernel

Array = NDArray[np.float64]

#: Points of a table that a fit looks at; longer tables are thinned towards long times.
_MAX_POINTS = 240
#: Oscillations may decay more slowly than the slowest exponential, by this factor: their friction is small.
_OSCILLATING = 0.1
#: Their frequency times the longest lag is at least this: a whole period is seen.
_LOWEST = 2.0 * np.pi


@dataclass(frozen=True)
class KernelFit:
    """A fitted kernel and how well it fits.

    Attributes
    ----------
    kernel : MemoryKernel
        The passive kernel.
    error : float
        Relative L2 error of what was fitted: of k(t), of G(t) or of the velocity autocorrelation.
    integrated_error : float
        Relative L2 error of G(t) = int_0^t k; nan in a fit to velocities.
    """

    kernel: MemoryKernel
    error: float
    integrated_error: float


def fit_kernel(
    t: ArrayLike,
    k: ArrayLike | None = None,
    modes: int | tuple[int, int] = (2, 3),
    *,
    integrated: ArrayLike | None = None,
    white: bool = False,
    weights: ArrayLike | None = None,
    start: MemoryKernel | None = None,
    starts: int = 4,
    seed: int = 0,
) -> KernelFit:
    """Fit a passive kernel to a table of k(t), of G(t) = int_0^t k, or of both, by weighted least squares.

    The trial kernels are sums of exponentials ``a exp(-r t)``, a >= 0, and of damped cosines
    ``g^2 [exp(-t [[alpha, -w], [w, beta]])]_00``, alpha, beta >= 0, all of which are passive. Rates and frequencies
    stay below pi/dt: what decays faster cannot be seen in the table and belongs to the white part. Exponentials decay
    at least at the rate 1/t[-1], damped cosines at a tenth of it: slower ones would be extrapolation, and friction that
    the data do not show.

    Parameters
    ----------
    t : array_like, shape (T,)
        Times from 0 on in equal steps dt, in ps.
    k : array_like, shape (T,), optional
        Smooth part of the kernel, in 1/ps^2.
    modes : int or (int, int)
        Numbers of exponentials and of damped cosines; or the number of auxiliary variables, shared out between them.
    integrated : array_like, shape (T,), optional
        G(t), in 1/ps.
    white : bool
        Whether the kernel may have a white part, which is visible in `integrated` only.
    weights : array_like, shape (T,), optional
        Weight of each time in the sum of squares. Default: 1.
    start : MemoryKernel, optional
        A kernel that was found by such a fit with the same modes, as a further starting point.
    starts : int
        Number of starting points; the best fit is returned.
    seed : int
        Seed of the starting points beyond the first two.

    Raises
    ------
    ValueError
        If neither or ill-shaped tables are given, or no modes are asked for.
    """
    family = _Family(*mode_counts(modes), white and integrated is not None)
    if k is None and integrated is None:
        raise ValueError("give `k`, `integrated` or both")
    target_k: Array | None = None
    target_g: Array | None = None
    if k is not None:
        times, target_k, dt = check_grid(t, strip_units(k, unit.picosecond**-2), "k")
    if integrated is not None:
        times, target_g, dt = check_grid(t, strip_units(integrated, unit.picosecond**-1), "integrated")
    weight = np.ones(len(times)) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != times.shape or not np.all(weight >= 0.0) or not weight.any():
        raise ValueError(f"`weights` must be {len(times)} values >= 0, not all zero, got shape {weight.shape}")
    shape_k = target_k if target_k is not None else np.asarray(np.gradient(np.asarray(target_g), dt))
    shape_g = target_g
    if shape_g is None:
        shape_g = scipy.interpolate.CubicSpline(times, shape_k).antiderivative()(times)

    chosen = thinned(len(times))
    # A point stands for the points that were left out around it.
    root = np.sqrt(weight[chosen] * np.gradient(chosen.astype(float)))
    pieces: list[tuple[Array, Array, bool]] = []
    if target_k is not None:
        pieces.append((target_k[chosen], root / _norm(root * target_k[chosen]), False))
    if target_g is not None:
        pieces.append((target_g[chosen], root / _norm(root * target_g[chosen]), True))

    def residuals(parameters: Array) -> Array:
        smooth, integral = family.evaluate(parameters, times[chosen])
        return np.concatenate([scale * ((integral if is_g else smooth) - y) for y, scale, is_g in pieces])

    def jacobian(parameters: Array) -> Array:
        slopes = family.derivatives(parameters, times[chosen])
        return np.concatenate([scale[:, None] * slopes[is_g] for _, scale, is_g in pieces])

    def amplitudes(columns: tuple[Array, Array]) -> Array:
        design = np.concatenate([scale[:, None] * columns[is_g] for _, scale, is_g in pieces])
        right = np.concatenate([scale * y for y, scale, _ in pieces])
        return np.asarray(scipy.optimize.nnls(design, right)[0])

    limits = (1.0 / times[-1], np.pi / dt)
    best = _least_squares(
        family, residuals, jacobian, amplitudes, times[chosen], limits, starts, seed, shape_k[chosen], start
    )
    kernel = family.kernel(best)
    root = np.sqrt(weight)
    g_error = _norm(root * (kernel.integrated(times) - shape_g)) / _norm(root * shape_g)
    k_error = g_error if target_k is None else _norm(root * (kernel.kernel(times) - target_k)) / _norm(root * target_k)
    return KernelFit(kernel, k_error, g_error)


def fit_blocks_to_vacf(
    times: Array,
    c: Array,
    chosen: NDArray[np.int64],
    weight: Array,
    modes: int | tuple[int, int],
    white: bool,
    stiffness: float,
    start: MemoryKernel | None,
    starts: int,
    seed: int,
) -> MemoryKernel:
    """Return the sum of exponentials and damped cosines whose exact [exp(-A t)]_00 is closest to C(t)/C(0).

    This is the first half of `meanforce.memory.fit_vacf`, which says what the arguments are.
    """
    family = _Family(*mode_counts(modes), white)
    dt = times[1]
    spring = None
    if stiffness > 0.0:  # <F v(0)>/m = -stiffness <x(t) v(0)> = -stiffness int_0^t C
        spring = -stiffness * scipy.integrate.cumulative_simpson(c, dx=dt, initial=0.0)
    rough = volterra_kernel(times, c, "midpoint" if white else "G", mean_force=spring)
    scale = 1.0 / _norm(rough.integrated[chosen])

    def residuals(parameters: Array) -> Array:
        drift = with_spring(family.drift(parameters), stiffness)
        return np.asarray(weight * (_first_element(drift, times[chosen]) - c[chosen]))

    def amplitudes(columns: tuple[Array, Array]) -> Array:
        return np.asarray(scipy.optimize.nnls(scale * columns[True], scale * rough.integrated[chosen])[0])

    limits = (1.0 / times[-1], np.pi / dt)
    shape = rough.kernel[chosen]
    return family.kernel(
        _least_squares(family, residuals, "2-point", amplitudes, times[chosen], limits, starts, seed, shape, start)
    )


def with_spring(drift: Array, stiffness: float) -> Array:
    """Return the drift matrix with the coordinate of a harmonic well, k/m = stiffness, as one more variable."""
    if stiffness == 0.0:
        return drift
    whole = np.pad(drift, (0, 1))
    whole[0, -1] = np.sqrt(stiffness)
    whole[-1, 0] = -np.sqrt(stiffness)
    return whole


def _first_element(drift: Array, t: Array) -> Array:
    """Return [exp(-A t)]_00."""
    rates, vectors = np.linalg.eig(drift)
    weights = vectors[0] * np.linalg.solve(vectors, np.eye(len(drift), dtype=complex)[0])
    return np.asarray((np.exp(-np.multiply.outer(t, rates)) @ weights).real)


# -------------------------------------------------------------------------------------------------- the family


@dataclass(frozen=True)
class _Family:
    """Sums of exponentials and damped cosines, with parameters in one vector.

    Order: coupling of each mode (sqrt of its amplitude), then log r of the exponentials, then alpha, beta, log w of the
    damped cosines, then the white friction if there is one.
    """

    exponentials: int
    cosines: int
    white: bool

    @property
    def modes(self) -> int:
        return self.exponentials + self.cosines

    def split(self, p: Array) -> tuple[Array, Array, Array, Array, Array, float]:
        """Return couplings, r, alpha, beta, w and gamma0."""
        e, c = self.exponentials, self.cosines
        rest = p[e + c :]
        alpha, beta, log_w = rest[e : e + c], rest[e + c : e + 2 * c], rest[e + 2 * c : e + 3 * c]
        return p[: e + c], np.exp(rest[:e]), alpha, beta, np.exp(log_w), float(rest[-1]) if self.white else 0.0

    def join(self, couplings: Array, r: Array, alpha: Array, beta: Array, w: Array, gamma0: float) -> Array:
        """Return the parameter vector."""
        tail = [gamma0] if self.white else []
        return np.concatenate([couplings, np.log(r), alpha, beta, np.log(w), tail])

    def bounds(self, slowest: float, fastest: float) -> tuple[Array, Array]:
        """Return lower and upper bounds of the parameters, rates in 1/ps."""
        e, c, n = self.exponentials, self.cosines, int(self.white)
        low = [
            np.zeros(e + c),
            np.full(e, np.log(slowest)),
            np.full(2 * c, _OSCILLATING * slowest),
            np.full(c, np.log(_LOWEST * slowest)),
            np.zeros(n),
        ]
        high = [
            np.full(e + c, np.inf),
            np.full(e, np.log(fastest)),
            np.full(2 * c, fastest),
            np.full(c, np.log(fastest)),
            np.full(n, np.inf),
        ]
        return np.concatenate(low), np.concatenate(high)

    def columns(self, p: Array, t: Array) -> tuple[Array, Array]:
        """Return k(t) and G(t) of each mode at unit amplitude, and of the white part, shape (T, modes + white)."""
        _, r, alpha, beta, w, _ = self.split(p)
        decay = np.exp(-np.multiply.outer(t, r))
        smooth, integral = [decay], [(1.0 - decay) / r]
        if self.cosines:
            mean, half = 0.5 * (alpha + beta), 0.5 * (beta - alpha)
            # Omega may be imaginary (overdamped), and must not be 0 in the quotient below.
            omega = np.sqrt((w - half) * (w + half) + 1e-12 * w * w + 0j)
            plus = np.exp(np.multiply.outer(t, 1j * omega - mean))
            minus = np.exp(np.multiply.outer(t, -1j * omega - mean))
            cosine, sine = 0.5 * (plus + minus).real, (0.5 * (plus - minus) / (1j * omega)).real
            # Elements 00 and 10 of exp(-B t), B = [[alpha, -w], [w, beta]], and of its integral B^-1 (1 - exp(-B t)).
            e00, e10 = cosine + half * sine, -w * sine
            smooth.append(e00)
            integral.append((beta * (1.0 - e00) - w * e10) / (alpha * beta + w * w))
        if self.white:
            smooth.append(np.zeros((len(t), 1)))
            integral.append(np.ones((len(t), 1)))
        return np.concatenate(smooth, axis=1), np.concatenate(integral, axis=1)

    def evaluate(self, p: Array, t: Array) -> tuple[Array, Array]:
        """Return k(t) and G(t)."""
        amplitudes = np.append(p[: self.modes] ** 2, p[-1:] if self.white else [])
        smooth, integral = self.columns(p, t)
        return smooth @ amplitudes, integral @ amplitudes

    def derivatives(self, p: Array, t: Array) -> tuple[Array, Array]:
        """Return the derivatives of k(t) and G(t) by the parameters, shape (T, parameters).

        Rates are shifted in all modes at once, because each moves the column of its own mode only.
        """
        e, c, m = self.exponentials, self.cosines, self.modes
        base = self.columns(p, t)
        slopes = (np.zeros((len(t), len(p))), np.zeros((len(t), len(p))))
        first = np.arange(m)
        # log r and alpha of all modes, then beta, then log w of the damped cosines
        second, third = m + e + c + first[:c], m + e + 2 * c + first[:c]
        for index, mode in ((m + first, first), (second, first[e:]), (third, first[e:])):
            step = 1e-7 * np.maximum(1.0, np.abs(p[index]))
            shifted = p.copy()
            shifted[index] += step
            for slope, old, new in zip(slopes, base, self.columns(shifted, t), strict=True):
                slope[:, index] = p[mode] ** 2 * (new - old)[:, mode] / step
        for slope, old in zip(slopes, base, strict=True):
            slope[:, :m] = 2.0 * p[:m] * old[:, :m]
            if self.white:
                slope[:, -1] = old[:, -1]
        return slopes

    def drift(self, p: Array) -> Array:
        """Return the drift matrix, shape (n+1, n+1)."""
        couplings, r, alpha, beta, w, gamma0 = self.split(p)
        e, c = self.exponentials, self.cosines
        a = np.zeros((1 + e + 2 * c,) * 2)
        a[0, 0] = gamma0
        first = np.concatenate([np.arange(1, e + 1), np.arange(e + 1, e + 2 * c + 1, 2)])
        a[first, 0], a[0, first] = couplings, -couplings
        a[first[:e], first[:e]] = r
        i = first[e:]
        a[i, i], a[i + 1, i + 1], a[i, i + 1], a[i + 1, i] = alpha, beta, -w, w
        return a

    def kernel(self, p: Array) -> MemoryKernel:
        """Return the kernel of these parameters."""
        return MemoryKernel(self.drift(p))

    def parameters(self, kernel: MemoryKernel) -> Array | None:
        """Return the parameters of a kernel that has this form, or None."""
        a = kernel.drift
        e, c = self.exponentials, self.cosines
        if len(a) != 1 + e + 2 * c:
            return None
        first = np.concatenate([np.arange(1, e + 1), np.arange(e + 1, e + 2 * c + 1, 2)])
        i = first[e:]
        r, alpha, beta, w = a[first[:e], first[:e]], a[i, i], a[i + 1, i + 1], a[i + 1, i]
        if np.any(r <= 0.0) or np.any(w <= 0.0) or np.any(a[first, 0] < 0.0):
            return None
        p = self.join(a[first, 0], r, alpha, beta, w, float(a[0, 0]))
        return p if np.array_equal(a != 0.0, (a != 0.0) & (self.drift(p) != 0.0)) else None


def mode_counts(modes: int | tuple[int, int]) -> tuple[int, int]:
    """Return the numbers of exponentials and damped cosines that `modes` asks for."""
    if isinstance(modes, (int, np.integer)):
        cosines = max(0, (int(modes) - 1) // 2)
        # Two exponentials at least, where there is room for more than one auxiliary variable and a cosine.
        cosines = cosines - 1 if int(modes) - 2 * cosines == 1 and cosines > 1 else cosines
        counts = (int(modes) - 2 * cosines, cosines)
    else:
        counts = (int(modes[0]), int(modes[1]))
    if min(counts) < 0 or sum(counts) < 1:
        raise ValueError(f"`modes` must ask for at least one exponential or damped cosine, got {modes}")
    return counts


# -------------------------------------------------------------------------------------------------- the search


def _least_squares(
    family: _Family,
    residuals: Callable[[Array], Array],
    jacobian: Callable[[Array], Array] | str,
    amplitudes: Callable[[tuple[Array, Array]], Array],
    t: Array,
    limits: tuple[float, float],
    starts: int,
    seed: int,
    shape: Array,
    known: MemoryKernel | None,
) -> Array:
    """Return the best parameters over several starting points."""
    low, high = family.bounds(*limits)
    best: tuple[float, Array] | None = None
    for guess, complete in _guesses(family, t, shape, limits, starts, seed, known):
        inside = np.clip(guess, low + 1e-9, np.where(np.isinf(high), 1e300, high - 1e-9))
        if not complete:
            values = amplitudes(family.columns(inside, t))
            # A mode of no amplitude has no gradient: give it a little.
            floor = 1e-3 * max(values[: family.modes].max(), 1e-6)
            inside[: family.modes] = np.sqrt(np.maximum(values[: family.modes], floor))
            if family.white:
                inside[-1] = max(values[-1], 1e-6)
        result = scipy.optimize.least_squares(
            residuals, inside, jacobian, (low, high), x_scale="jac", ftol=1e-9, xtol=1e-9, gtol=1e-12, max_nfev=150
        )
        if best is None or result.cost < best[0]:
            best = (float(result.cost), result.x)
    assert best is not None
    return best[1]


def _guesses(
    family: _Family,
    t: Array,
    shape: Array,
    limits: tuple[float, float],
    starts: int,
    seed: int,
    known: MemoryKernel | None,
) -> Iterator[tuple[Array, bool]]:
    """Yield parameters to start from, and whether their amplitudes are meant.

    In this order: a known kernel, the poles that the matrix pencil finds, log-spaced rates, random ones.
    """
    e, c = family.exponentials, family.cosines
    ones = np.ones(e + c)
    if known is not None:
        p = family.parameters(known)
        if p is not None:
            yield p, True
    slow, fast = np.log(2.0 / t[-1]), np.log(0.3 * limits[1])
    r = np.exp(np.linspace(slow, fast, e + 2)[1:-1])
    w = np.exp(np.linspace(slow, fast, c + 2)[1:-1])
    yield _from_pencil(family, t, shape, r, w, limits), False
    rng = np.random.default_rng(seed)
    for i in range(max(0, starts - 1)):
        spread = 0.0 if i == 0 else 0.6
        rates = r * np.exp(spread * rng.normal(size=e))
        frequencies = w * np.exp(spread * rng.normal(size=c))
        damping = frequencies * (0.5 if i == 0 else np.exp(spread * rng.normal(size=c)))
        yield family.join(ones, rates, damping, damping, frequencies, 0.0), False


def _from_pencil(family: _Family, t: Array, shape: Array, r: Array, w: Array, limits: tuple[float, float]) -> Array:
    """Return a starting point with the poles that the matrix pencil finds, completed from `r` and `w`.

    Y. Hua, T. K. Sarkar, IEEE Trans. Acoust. Speech Signal Process. 38, 814 (1990), doi 10.1109/29.56027.
    """
    points = np.linspace(0.0, t[-1], 120)
    y, h = np.interp(points, t, shape), points[1]
    rank = family.exponentials + 2 * family.cosines
    hankel = np.lib.stride_tricks.sliding_window_view(y, 60)
    _, values, right = np.linalg.svd(hankel, full_matrices=False)
    right = right[: min(rank, len(values))]
    poles = np.linalg.eigvals(np.linalg.lstsq(right[:, :-1].T, right[:, 1:].T, rcond=None)[0])
    rates = -np.log(np.where(np.abs(poles) < 1e-12, 1e-12, poles).astype(complex)) / h
    rates = rates[rates.real > limits[0]]
    real = np.sort(rates[np.abs(rates.imag) < 1e-6].real)[: family.exponentials]
    pairs = rates[rates.imag > 1e-6]
    pairs = pairs[np.argsort(pairs.real)][: family.cosines]
    r, w = r.copy(), w.copy()
    damping = 0.5 * w
    r[: len(real)] = real
    w[: len(pairs)] = np.abs(pairs)
    damping[: len(pairs)] = pairs.real
    return family.join(np.ones(family.modes), np.clip(r, *limits), damping, damping, np.clip(w, *limits), 0.0)


def thinned(points: int) -> NDArray[np.int64]:
    """Return indices from 0 to points - 1, all of them at first and sparser later, at most about _MAX_POINTS."""
    if points <= _MAX_POINTS:
        return np.arange(points)
    dense = _MAX_POINTS // 2
    sparse = np.rint(dense * (points / dense) ** np.linspace(0.0, 1.0, _MAX_POINTS - dense + 1)).astype(np.int64)
    return np.unique(np.concatenate([np.arange(dense), np.minimum(sparse, points - 1)]))


def _norm(x: Array) -> float:
    return max(float(np.linalg.norm(x)), 1e-300)
