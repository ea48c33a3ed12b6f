# SPDX-License-Identifier: MIT
"""Memory kernels that depend on position, in a basis: m dv/dt = F(x) - m int k(s, x(t-s)) v(t-s) ds + R(t)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.integrate
import scipy.interpolate
from numpy.typing import ArrayLike, NDArray
from openmm import unit

from .._openmm import strip_units
from .streaming import CorrelationStream, CrossCorrelation
from .volterra import first_kind, midpoint

Array = NDArray[np.float64]
Basis = Callable[[Array], Array]

_BLOCKS = 10
#: Correlations are interpolated to steps smaller by this factor.
_REFINE = 4


def fourier_basis(period: float, order: int) -> Basis:
    """Return 1, cos(2 pi j x/period), sin(2 pi j x/period), j = 1 .. order, as a function from x to shape (..., J)."""
    if not (np.isfinite(period) and period > 0.0) or order < 0:
        raise ValueError(f"`period` must be > 0 (nm) and `order` >= 0, got {period}, {order}")

    def evaluate(x: Array) -> Array:
        angle = 2.0 * np.pi / period * np.multiply.outer(x, np.arange(1, order + 1))
        return np.concatenate([np.ones((*np.shape(x), 1)), np.cos(angle), np.sin(angle)], axis=-1)

    return evaluate


def hat_basis(nodes: ArrayLike) -> Basis:
    """Return piecewise linear functions, 1 at one node and 0 at the others, constant beyond the outer ones."""
    x0 = np.asarray(strip_units(nodes, unit.nanometer), dtype=np.float64)
    if x0.ndim != 1 or len(x0) < 2 or not np.all(np.diff(x0) > 0.0):
        raise ValueError(f"`nodes` must be at least two increasing positions (nm), got {x0.tolist()}")
    unit_vectors = np.eye(len(x0))

    def evaluate(x: Array) -> Array:
        return np.stack([np.interp(x, x0, row) for row in unit_vectors], axis=-1)

    return evaluate


@dataclass(frozen=True)
class PositionKernel:
    """The integrated kernel G(t, x) = sum_j G_j(t) phi_j(x).

    Attributes
    ----------
    t : numpy.ndarray, shape (T,)
        In ps.
    coefficients : numpy.ndarray, shape (T, J)
        G_j(t), in 1/ps.
    blocks : numpy.ndarray, shape (B, T, J)
        The same without the data of one block each, for errors by the jackknife.
    basis : callable
        From x to phi_j(x).
    """

    t: Array
    coefficients: Array
    blocks: Array
    basis: Basis

    def integrated(self, x: ArrayLike) -> tuple[Array, Array]:
        """Return G(t, x) and its standard error, each of shape (T, *x.shape), in 1/ps."""
        phi = self.basis(np.asarray(x, dtype=np.float64))
        value = np.tensordot(self.coefficients, phi, axes=(1, -1))
        parts = np.tensordot(self.blocks, phi, axes=(2, -1))
        count = len(parts)
        error = np.sqrt((count - 1.0) / count * ((parts - parts.mean(axis=0)) ** 2).sum(axis=0))
        return value, np.asarray(error)

    def friction(self, x: ArrayLike, to: float) -> tuple[Array, Array]:
        """Return the friction at x, G(to, x), and its standard error.

        Parameters
        ----------
        x : array_like
            Positions, in nm.
        to : float
            In ps: longer than the memory, and shorter than the time in which a bead moves to where friction differs.
        """
        i = int(np.argmin(np.abs(self.t - to)))
        value, error = self.integrated(x)
        return value[i], error[i]


def position_dependent_kernel(
    positions: ArrayLike,
    velocities: ArrayLike,
    dt: float,
    basis: Basis,
    *,
    max_time: float,
    mean_force: ArrayLike | Callable[[Array], ArrayLike] | None = None,
    masses: ArrayLike | None = None,
    method: Literal["G", "midpoint"] = "midpoint",
) -> PositionKernel:
    """Return the kernel that friction along one coordinate has at different places.

    With k(t, x) = sum_j k_j(t) phi_j(x), multiplying the equation of motion by phi_i(x(0)) v(0) and averaging gives a
    Volterra equation with the matrix <phi_i(x_0) v_0 phi_j(x_t) v_t>.

    Parameters
    ----------
    positions, velocities : array_like, shape (F, N)
        One coordinate of each bead, in nm, and its velocity, in nm/ps.
    dt : float
        Time between frames, in ps.
    basis : callable
        From positions of any shape to phi_j, one more axis: `fourier_basis`, `hat_basis`, or your own.
    max_time : float
        Longest lag, in ps.
    mean_force : callable or array_like, shape (F, N), optional
        In kJ/mol/nm. Default: none.
    masses : array_like, shape (N,), optional
        In dalton; 1 by default.
    method : {"midpoint", "G"}
        See `volterra_kernel`; ``"midpoint"`` also for friction without memory.

    Notes
    -----
    H. Vroylandt, P. Monmarche, J. Chem. Phys. 156, 244105 (2022), doi 10.1063/5.0094566.
    """
    x = np.asarray(strip_units(positions, unit.nanometer), dtype=np.float64)
    v = np.asarray(strip_units(velocities, unit.nanometer / unit.picosecond), dtype=np.float64)
    if x.ndim != 2 or x.shape != v.shape:
        raise ValueError(f"`positions` and `velocities` must both have shape (F, N), got {x.shape}, {v.shape}")
    if method not in ("G", "midpoint"):
        raise ValueError(f'`method` must be "midpoint" or "G", got {method!r}')
    m = np.ones(x.shape[1]) if masses is None else np.asarray(strip_units(masses, unit.dalton), dtype=np.float64)
    if m.shape != (x.shape[1],) or not np.all(m > 0.0):
        raise ValueError(f"`masses` must be {x.shape[1]} values > 0 (dalton), got shape {m.shape}")
    force = np.zeros_like(x)
    if mean_force is not None:
        force = np.asarray(mean_force(x) if callable(mean_force) else mean_force, dtype=np.float64)
        if force.shape != x.shape:
            raise ValueError(f"`mean_force` must have the shape of `positions`, {x.shape}, got {force.shape}")
    phi = np.asarray(basis(x), dtype=np.float64)
    if phi.shape[:2] != x.shape or phi.ndim != 3:
        raise ValueError(f"`basis` must add one axis to {x.shape}, got {phi.shape}")
    stream = CorrelationStream(dt, max_time, m, matrix=True)
    # One matrix of correlations holds all that is needed: of phi_j v, of v, and of the acceleration.
    stream.add(np.concatenate([phi * v[..., None], v[..., None], (force / m)[..., None]], axis=2))
    found = stream.result()
    assert isinstance(found, CrossCorrelation)
    whole = _solve(found.value, dt, method)
    groups = np.array_split(np.arange(len(found.blocks)), min(_BLOCKS, len(found.blocks)))
    blocks = []
    for group in groups:
        kept = np.setdiff1d(np.arange(len(found.blocks)), group)
        share = found.weights[kept] / found.weights[kept].sum(axis=0)
        blocks.append(_solve(np.einsum("bt,bt...->t...", share, found.blocks[kept]), dt, method))
    return PositionKernel(found.t, whole, np.array(blocks), basis)


def _solve(correlations: Array, dt: float, method: str) -> Array:
    """Return G_j(t) from the correlations of (phi_j v, v, F/m), shape (T, J+2, J+2), [i, j] = <b_i(t) b_j(0)>."""
    count = correlations.shape[1] - 2
    coarse = dt * np.arange(len(correlations))
    fine = np.linspace(0.0, coarse[-1], _REFINE * (len(coarse) - 1) + 1)
    correlations, dt = scipy.interpolate.CubicSpline(coarse, correlations)(fine), dt / _REFINE
    c = correlations[:, :count, :count]
    gained = scipy.integrate.cumulative_simpson(correlations[:, -1, :count], dx=dt, axis=0, initial=0.0)
    lost = (correlations[0, count, :count] - correlations[:, count, :count] + gained)[:, None, :]
    if method == "G":
        return first_kind(c, lost, np.zeros((1, count)), dt)[::_REFINE, 0]
    return midpoint(c, lost, dt)[::_REFINE, 0]
