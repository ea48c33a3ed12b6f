# SPDX-License-Identifier: MIT
"""Memory kernels by inversion of the Volterra equation of a velocity autocorrelation, scalar or matrix-valued."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.integrate
import scipy.interpolate
from numpy.typing import ArrayLike, NDArray
from openmm import unit

from .._openmm import strip_units

Array = NDArray[np.float64]
Method = Literal["G", "midpoint", "trapezoid", "second"]
METHODS = ("G", "midpoint", "trapezoid", "second")


@dataclass(frozen=True)
class TabulatedKernel:
    """A kernel on a grid of times.

    Attributes
    ----------
    t : numpy.ndarray, shape (T,)
        In ps, from 0 on.
    kernel : numpy.ndarray, shape (T,) or (T, d, d)
        k(t), in 1/ps^2. A white part shows as a spike of weight gamma0 in the first point or two.
    integrated : numpy.ndarray, shape (T,) or (T, d, d)
        G(t) = int_0^t k(t') dt', in 1/ps.
    """

    t: Array
    kernel: Array
    integrated: Array


def volterra_kernel(
    t: ArrayLike,
    vacf: ArrayLike,
    method: Method = "G",
    refine: int = 4,
    mean_force: ArrayLike | None = None,
) -> TabulatedKernel:
    """Return the memory kernel of a velocity autocorrelation C(t) = <v(t) v(0)^T>.

    ``dC/dt = F(t) - int_0^t k(t-s) C(s) ds`` with ``F(t) = <F(x(t)) v(0)^T>/m`` of the mean force. Without a mean
    force the particle is taken as free: for an interacting system the result is then the effective kernel of its
    velocities, in which the mean force is contained.

    Parameters
    ----------
    t : array_like, shape (T,)
        Times from 0 on in equal steps, in ps.
    vacf : array_like, shape (T,) or (T, d, d)
        C(t) in any unit.
    method : {"G", "midpoint", "trapezoid", "second"}
        ``"G"``: the equation integrated once, ``C(t) - C(0) - int_0^t F = -int_0^t G(t-s) C(s) ds``, which needs no
        derivative of C, by the trapezoidal rule with G(0) = 0 and C'(0) = 0, for kernels without white part.
        ``"midpoint"``: the same with G at the middle of each step, which also resolves a white part.
        ``"trapezoid"``: the equation as it stands, of the first kind for k, smoothed over neighbours.
        ``"second"``: its derivative, of the second kind, which needs C''.
    refine : int
        C is interpolated by a cubic spline to steps that are smaller by this factor, which moves the discretisation
        error and the odd-even ripple of the quadrature out of sight. 1: no interpolation.
    mean_force : array_like, shape (T,) or (T, d, d), optional
        F(t), in the unit of `vacf` per ps. See `meanforce.memory.extract_kernel`, which computes it.

    Raises
    ------
    ValueError
        If the times are not equally spaced from 0 on, or C(0) is not positive.

    Notes
    -----
    B. Kowalik et al., Phys. Rev. E 100, 012126 (2019), doi 10.1103/PhysRevE.100.012126.
    """
    times, c, h = check_grid(t, vacf, "vacf")
    scalar = c.ndim == 1
    c = c.reshape(len(c), 1, 1) if scalar else c
    if not np.all(np.linalg.eigvalsh(0.5 * (c[0] + c[0].T)) > 0.0):
        raise ValueError(f"`vacf` must start at a positive value, got {np.squeeze(c[0]).tolist()}")
    if method not in METHODS:
        raise ValueError(f'`method` must be one of "{", ".join(METHODS)}", got {method!r}')
    if refine < 1:
        raise ValueError(f"`refine` must be >= 1, got {refine}")
    scale = float(np.trace(c[0])) / len(c[0])
    force = np.zeros_like(c)
    if mean_force is not None:
        _, force, _ = check_grid(t, mean_force, "mean_force")
        force = force.reshape(len(force), 1, 1) if scalar else force
        if force.shape != c.shape:
            raise ValueError(f"`mean_force` must have the shape of `vacf`, got {force.shape}, not {c.shape}")
    # Without white part C is even in t, so its slope at 0 is known.
    ends: Any = "not-a-knot" if method == "midpoint" else ((1, np.zeros(c.shape[1:])), "not-a-knot")
    c_of_t = scipy.interpolate.CubicSpline(times, c / scale, bc_type=ends)
    force_of_t = scipy.interpolate.CubicSpline(times, force / scale)
    fine, h = np.linspace(0.0, times[-1], refine * (len(times) - 1) + 1), h / refine
    c = c_of_t(fine)
    if method in ("G", "midpoint"):
        lost = c[0] - c + force_of_t.antiderivative()(fine)
        g = first_kind(c, lost, np.zeros_like(c[0]), h) if method == "G" else midpoint(c, lost, h)
        # Centred differences over two steps also remove the ripple that equations of the first kind admit.
        k = np.gradient(g, h, axis=0, edge_order=2)
        k[-1] = 2.0 * k[-2] - k[-3]
    else:
        start = (force_of_t(0.0, 1) - c_of_t(0.0, 2)) @ np.linalg.inv(c[0])
        if method == "trapezoid":
            k = _smoothed(first_kind(c, force_of_t(fine) - c_of_t(fine, 1), start, h))
        else:
            k = _second_kind(c[0], c_of_t(fine, 1), force_of_t(fine, 1) - c_of_t(fine, 2), start, h)
        g = scipy.interpolate.CubicSpline(fine, k).antiderivative()(fine)
    k, g = k[::refine], g[::refine]
    return TabulatedKernel(times, k[:, 0, 0], g[:, 0, 0]) if scalar else TabulatedKernel(times, k, g)


def check_grid(t: ArrayLike, values: ArrayLike, name: str) -> tuple[Array, Array, float]:
    """Return times, values and the step of a function that is tabulated from 0 on in equal steps.

    Raises
    ------
    ValueError
        If the shapes differ, the steps are unequal, the first time is not 0 or a value is not finite.
    """
    times = np.asarray(strip_units(t, unit.picosecond), dtype=np.float64)
    array = np.asarray(values, dtype=np.float64)
    square = array.ndim == 1 or (array.ndim == 3 and array.shape[1] == array.shape[2])
    if times.ndim != 1 or not square or len(times) != len(array) or len(times) < 4:
        raise ValueError(f"`t` and `{name}` must be lists of the same length >= 4, got {times.shape}, {array.shape}")
    step = float(times[-1] / (len(times) - 1))
    if step <= 0.0 or not np.allclose(times, np.arange(len(times)) * step, rtol=0.0, atol=1e-3 * step):
        raise ValueError("`t` must run from 0 upwards in equal steps (ps)")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"`{name}` must be finite")
    return times, array, step


def _convolution_solver(weights: Array, right: Array, first: Array | None, diagonal: Array) -> Array:
    """Solve x_n D + sum_{0<j<n} x_j W_{n-j} + x_0 W_n / 2 = r_n, or with `first` None sum_{j<n} x_j W_{n-j} + x_n D.

    Shapes: W (T, d, d), r (T, p, d), x_0 (p, d), D (d, d).
    """
    count, d = len(right), weights.shape[1]
    # Matrices side by side, so that each sum over j is one product.
    backwards = np.ascontiguousarray(weights[::-1]).reshape(-1, d)
    x = np.zeros((right.shape[1], count * d))
    inverse = np.linalg.inv(diagonal)
    begin = 0
    if first is not None:
        x[:, :d] = 0.5 * first
    for n in range(0 if first is None else 1, count):
        past = x[:, begin : n * d] @ backwards[len(backwards) - (n + 1) * d : len(backwards) - d]
        x[:, n * d : (n + 1) * d] = (right[n] - past) @ inverse
    if first is not None:
        x[:, :d] = first
    return np.ascontiguousarray(x.reshape(-1, count, d).swapaxes(0, 1))


def first_kind(c: Array, right: Array, first: Array, h: float) -> Array:
    """Solve right(t) = int_0^t x(s) c(t-s) ds by the trapezoidal rule."""
    return _convolution_solver(c, right / h, first, 0.5 * c[0])


def _second_kind(zero: Array, c: Array, right: Array, first: Array, h: float) -> Array:
    """Solve right(t) = x(t) zero + int_0^t x(s) c(t-s) ds by the trapezoidal rule."""
    return _convolution_solver(c, right / h, first, zero / h + 0.5 * c[0])


def midpoint(c: Array, right: Array, h: float) -> Array:
    """Solve right_n = h sum_{j<n} x_{j+1/2} c_{n-j-1/2} and return x at whole steps."""
    half = 0.5 * (c[1:] + c[:-1])
    x = _convolution_solver(half, right[1:] / h, None, half[0])
    inner = 0.5 * (x[1:] + x[:-1])
    return np.concatenate([[1.5 * x[0] - 0.5 * x[1]], inner, [1.5 * x[-1] - 0.5 * x[-2]]])


def _smoothed(x: Array) -> Array:
    out = x.copy()
    out[1:-1] = 0.25 * (x[:-2] + 2.0 * x[1:-1] + x[2:])
    return out


def laplace_kernel(t: ArrayLike, vacf: ArrayLike, s: ArrayLike, mean_force: ArrayLike | None = None) -> NDArray[Any]:
    """Return the Laplace transform of k from that of C: an independent check of an inversion in time.

    k~(s) = (C(0) + F~(s))/C~(s) - s. With s = i omega + epsilon it is a Fourier transform, its real part the spectrum.

    Parameters
    ----------
    t : array_like, shape (T,)
        Times from 0 on in equal steps, in ps, to where C has decayed on the scale 1/Re(s).
    vacf : array_like, shape (T,)
        C(t) in any unit.
    s : array_like of float or complex
        In 1/ps, Re(s) >= 0.
    mean_force : array_like, shape (T,), optional
        See `volterra_kernel`.

    Returns
    -------
    numpy.ndarray
        In 1/ps, of the shape of `s`; complex if `s` is. Compare with `laplace_transform` of a table.
    """
    times, c, _ = check_grid(t, vacf, "vacf")
    points = np.asarray(s)
    force = 0.0 if mean_force is None else laplace_transform(times, mean_force, points)
    return np.asarray((c[0] + force) / laplace_transform(times, c, points) - points)


def laplace_transform(t: ArrayLike, values: ArrayLike, s: ArrayLike) -> NDArray[Any]:
    """Return int_0^t[-1] f(t) exp(-s t) dt of the cubic spline through a table, for each s."""
    times, f, _ = check_grid(t, values, "values")
    points = np.asarray(s)
    fine = np.linspace(0.0, times[-1], 16 * (len(times) - 1) + 1)
    smooth = scipy.interpolate.CubicSpline(times, f)(fine)
    decays = np.exp(-np.multiply.outer(points, fine))
    return np.asarray(scipy.integrate.simpson(decays * smooth, x=fine, axis=-1))


def backward_orthogonal_kernel(
    velocities: ArrayLike, accelerations: ArrayLike, dt: float, max_time: float
) -> TabulatedKernel:
    """Return the kernel by following the random force itself backwards in its projected dynamics: no inversion.

    R_0 = dv/dt - F(x)/m at each frame; R_{n+1}(t) = R_n(t + dt) + dt [k_n v(t + dt) + k_{n+1} v(t)]/2 and
    k_n = <R_0 R_n>/<v^2>. It needs the accelerations and costs frames times lags: a check of `volterra_kernel`.

    Parameters
    ----------
    velocities : array_like, shape (F, N, d)
        In nm/ps.
    accelerations : array_like, shape (F, N, d)
        Recorded forces over masses, less those of the mean force, in nm/ps^2.
    dt : float
        Time between frames, in ps.
    max_time : float
        Longest lag, in ps.

    Notes
    -----
    A. Carof, R. Vuilleumier, B. Rotenberg, J. Chem. Phys. 140, 124103 (2014), doi 10.1063/1.4868653.
    """
    v = np.asarray(velocities, dtype=np.float64)
    start = np.asarray(accelerations, dtype=np.float64)
    lags = round(max_time / dt)
    if v.ndim != 3 or v.shape != start.shape or not 3 <= lags < len(v) // 2:
        raise ValueError(
            "`velocities` and `accelerations` must have the shape (F, N, d) and half of F be more than the lags, got "
            f"{v.shape}, {start.shape}, {lags} lags"
        )
    size = float(np.mean(v * v))
    k = np.empty(lags + 1)
    k[0] = float(np.mean(start * start)) / size
    r = start
    for n in range(1, lags + 1):
        r = r[1:] + 0.5 * dt * k[n - 1] * v[1 : len(r)]
        k[n] = float(np.mean(start[: len(r)] * r)) / size
        r = r + 0.5 * dt * k[n] * v[: len(r)]
    t = dt * np.arange(lags + 1.0)
    return TabulatedKernel(t, k, scipy.interpolate.CubicSpline(t, k).antiderivative()(t))
