# SPDX-License-Identifier: MIT
"""Memory kernels by inversion of the Volterra equation of a velocity autocorrelation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.interpolate
from numpy.typing import ArrayLike, NDArray
from openmm import unit

from .._openmm import strip_units

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TabulatedKernel:
    """A kernel on a grid of times.

    Attributes
    ----------
    t : numpy.ndarray, shape (T,)
        In ps, from 0 on.
    kernel : numpy.ndarray, shape (T,)
        k(t), in 1/ps^2. A white part shows as a spike of weight gamma0 in the first point or two.
    integrated : numpy.ndarray, shape (T,)
        G(t) = int_0^t k(t') dt', in 1/ps.
    """

    t: Array
    kernel: Array
    integrated: Array


def volterra_kernel(
    t: ArrayLike, vacf: ArrayLike, method: Literal["G", "midpoint"] = "G", refine: int = 4
) -> TabulatedKernel:
    """Return the memory kernel of a velocity autocorrelation C, as if the particle were free.

    Integrating dC/dt = -int_0^t k(t-s) C(s) ds once gives an equation of the first kind for the integrated kernel,
    ``C(t) - C(0) = -int_0^t G(t-s) C(s) ds``, which needs no derivative of C. For an interacting system the result is
    the effective kernel of its velocities, in which the mean force is contained.

    Parameters
    ----------
    t : array_like, shape (T,)
        Times from 0 on in equal steps, in ps.
    vacf : array_like, shape (T,)
        C(t) in any unit.
    method : {"G", "midpoint"}
        ``"G"``: trapezoidal rule with G(0) = 0 and C'(0) = 0, for kernels without white part. ``"midpoint"``: G at the
        middle of each step, which also resolves a white part.
    refine : int
        C is interpolated by a cubic spline to steps that are smaller by this factor, which moves the discretisation
        error and the odd-even ripple of the quadrature out of sight. 1: no interpolation.

    Raises
    ------
    ValueError
        If the times are not equally spaced from 0 on, or C(0) is not positive.

    Notes
    -----
    B. Kowalik et al., Phys. Rev. E 100, 012126 (2019), doi 10.1103/PhysRevE.100.012126.
    """
    times, c, h = check_grid(t, vacf, "vacf")
    if not c[0] > 0.0:
        raise ValueError(f"`vacf` must start at a positive value, got {c[0]}")
    if method not in ("G", "midpoint"):
        raise ValueError(f'`method` must be "G" or "midpoint", got {method!r}')
    if refine < 1:
        raise ValueError(f"`refine` must be >= 1, got {refine}")
    c = c / c[0]
    if refine > 1:
        # Without white part C is even in t, so its slope at 0 is known.
        ends = ((1, 0.0), "not-a-knot") if method == "G" else "not-a-knot"
        spline = scipy.interpolate.CubicSpline(times, c, bc_type=ends)
        c = spline(np.linspace(0.0, times[-1], refine * (len(times) - 1) + 1))
    g = (_trapezoidal if method == "G" else _midpoint)(c, h / refine)
    # Centred differences over two steps also remove the ripple that equations of the first kind admit.
    k = np.gradient(g, h / refine, edge_order=2)
    return TabulatedKernel(times, k[::refine], g[::refine])


def check_grid(t: ArrayLike, values: ArrayLike, name: str) -> tuple[Array, Array, float]:
    """Return times, values and the step of a function that is tabulated from 0 on in equal steps.

    Raises
    ------
    ValueError
        If the shapes differ, the steps are unequal, the first time is not 0 or a value is not finite.
    """
    times = np.asarray(strip_units(t, unit.picosecond), dtype=np.float64)
    array = np.asarray(values, dtype=np.float64)
    if times.ndim != 1 or times.shape != array.shape or len(times) < 4:
        raise ValueError(f"`t` and `{name}` must be lists of the same length >= 4, got {times.shape}, {array.shape}")
    step = float(times[-1] / (len(times) - 1))
    if step <= 0.0 or not np.allclose(times, np.arange(len(times)) * step, rtol=0.0, atol=1e-3 * step):
        raise ValueError("`t` must run from 0 upwards in equal steps (ps)")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"`{name}` must be finite")
    return times, array, step


def _trapezoidal(c: Array, h: float) -> Array:
    """Solve C_n - C_0 = -h [sum_{0<j<n} G_j C_{n-j} + G_n C_0 / 2], G_0 = 0."""
    g = np.zeros(len(c))
    for n in range(1, len(c)):
        g[n] = 2.0 * ((1.0 - c[n]) / h - np.dot(g[1:n], c[n - 1 : 0 : -1]))
    return g


def _midpoint(c: Array, h: float) -> Array:
    """Solve C_n - C_0 = -h sum_{j<n} G_{j+1/2} C_{n-j-1/2} and return G at whole steps."""
    half = 0.5 * (c[1:] + c[:-1])
    g = np.zeros(len(half))
    for n in range(len(half)):
        g[n] = ((1.0 - c[n + 1]) / h - np.dot(g[:n], half[n:0:-1])) / half[0]
    inner = 0.5 * (g[1:] + g[:-1])
    return np.concatenate([[1.5 * g[0] - 0.5 * g[1]], inner, [1.5 * g[-1] - 0.5 * g[-2]]])
