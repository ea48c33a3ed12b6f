# SPDX-License-Identifier: MIT
"""Passive state-space kernels in torch, fitted through the integrator's exact discrete map.

Every vector of parameters is a passive kernel: with the couplings b, a lower triangle L, a skew part S - S^T and the
white friction gamma0 = c^2::

    A = [[gamma0, -b^T], [b, A_ss]],      A_ss = r_min 1 + L L^T + (S - S^T)
    k(t) = 2 gamma0 delta(t) + b^T exp(-A_ss t) b
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import torch
from numpy.typing import ArrayLike, NDArray

from ..memorykernel import MemoryKernel
from .fit import KernelFit, fit_blocks_to_vacf, thinned
from .volterra import check_grid

Array = NDArray[np.float64]

#: The dissipation that a starting point leaves to each variable beyond r_min, so that L has a gradient, as a fraction
#: of what moves that variable.
_FLOOR = 0.05
#: Directions that the data show less than this, relative to the best known, move slowly.
WEAK = 1e-4


@dataclass(frozen=True)
class StateSpace:
    """The family of passive kernels with n auxiliary variables.

    Attributes
    ----------
    modes : int
        n.
    white : bool
        Whether there is a white part.
    slowest : float
        r_min, in 1/ps: all modes decay at least at this rate. Rates below 1/(longest lag) would be extrapolation.
    """

    modes: int
    white: bool
    slowest: float

    @property
    def size(self) -> int:
        """The number of parameters, n + n^2, and one of the white part."""
        return self.modes + self.modes**2 + int(self.white)

    @property
    def identifiable(self) -> int:
        """The number of parameters that the kernel shows: all other directions only change the basis of s."""
        return 2 * self.modes + int(self.white)

    def drift(self, parameters: torch.Tensor) -> torch.Tensor:
        """Return A, shape (n+1, n+1), in 1/ps."""
        n = self.modes
        b, rest = parameters[:n], parameters[n : n + n * n].reshape(n, n)
        lower, skew = torch.tril(rest), torch.triu(rest, 1)
        memory = lower @ lower.T + (skew - skew.T) + self.slowest * torch.eye(n, dtype=parameters.dtype)
        white = parameters[-1] ** 2 if self.white else parameters.new_zeros(())
        top = torch.cat([white.reshape(1), -b])
        return torch.cat([top[None, :], torch.cat([b[:, None], memory], dim=1)])

    def kernel(self, parameters: Array) -> MemoryKernel:
        """Return the kernel of these parameters."""
        return MemoryKernel(self.drift(torch.as_tensor(parameters, dtype=torch.float64)).numpy())

    def parameters(self, kernel: MemoryKernel) -> Array:
        """Return parameters of a kernel with n variables, or of one close to it that dissipates a little more.

        Raises
        ------
        ValueError
            If the kernel has another number of modes, or its white part is coupled to the memory.
        """
        a, n = kernel.drift, self.modes
        if kernel.dimension != 1 or len(a) != n + 1:
            raise ValueError(f"`start` must have {n} modes and the dimension 1, got {kernel!r}")
        if np.abs(a[0, 1:] + a[1:, 0]).max(initial=0.0) > 1e-8 * np.abs(a).max():
            raise ValueError("`start` must have the form A_us = -A_su^T")
        memory = a[1:, 1:]
        values, vectors = np.linalg.eigh(0.5 * (memory + memory.T) - self.slowest * np.eye(n))
        floor = _FLOOR * np.linalg.norm(vectors.T @ memory @ vectors, axis=1)
        root = vectors * np.sqrt(np.maximum(values, floor))
        lower = np.linalg.qr(root.T)[1].T
        lower = lower * np.where(np.diag(lower) < 0.0, -1.0, 1.0)
        packed = np.tril(lower) + np.triu(0.5 * (memory - memory.T), 1)
        tail = [np.sqrt(max(a[0, 0], 1e-6 * np.abs(a).max()))] if self.white else []
        return np.concatenate([a[1:, 0], packed.ravel(), tail])

    def table(self, parameters: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return k(t) without white part, and G(t), shape (2, T)."""
        drift = self.drift(parameters)
        b, memory = drift[1:, 0], drift[1:, 1:]
        flow = torch.linalg.matrix_exp(-t[:, None, None] * memory)
        smooth = flow @ b
        # memory has no eigenvalue below r_min
        gone = torch.linalg.solve(memory, (b - smooth).T).T
        return torch.stack([smooth @ b, drift[0, 0] + gone @ b])


def powers(step: torch.Tensor, start: torch.Tensor, count: int) -> torch.Tensor:
    """Return step^j start for j < count, shape (count, n), by doubling."""
    found, jump = start[None, :], step
    while len(found) < count:
        found = torch.cat([found, found @ jump.T])
        jump = jump @ jump
    return found[:count]


def velocity_correlation(drift: torch.Tensor, dt: float, count: int, stiffness: float = 0.0) -> torch.Tensor:
    """Return [exp(-A j dt)]_00 for j < count; in a harmonic well, its coordinate is one more variable of A."""
    if stiffness > 0.0:
        n = len(drift)
        whole = drift.new_zeros((n + 1, n + 1))
        coupling = drift.new_zeros(n)
        coupling[0] = np.sqrt(stiffness)
        drift = torch.cat([torch.cat([drift, coupling[:, None]], dim=1), torch.cat([-coupling, whole[0, :1]])[None, :]])
    first = torch.eye(len(drift), dtype=drift.dtype)[0]
    return powers(torch.linalg.matrix_exp(-dt * drift), first, count)[:, 0]


def fit_vacf(
    t: ArrayLike,
    vacf: ArrayLike,
    modes: int | tuple[int, int] = (2, 3),
    *,
    white: bool = False,
    stiffness: float = 0.0,
    start: MemoryKernel | None = None,
    starts: int = 4,
    seed: int = 0,
) -> KernelFit:
    """Fit a passive kernel to a velocity autocorrelation through the exact discrete map: no error from the spacing.

    Unlike the Volterra inversion, this has no discretisation error. Rates are at least 1/(longest lag); modes faster
    than pi/dt, which the data cannot show, are folded into the white part. It needs torch.

    Parameters
    ----------
    t, vacf : array_like, shape (T,)
        Times from 0 on in equal steps, in ps; C(t) in any unit.
    modes : int or (int, int)
        The number n of auxiliary variables; or numbers of exponentials and damped cosines (two variables each).
    white : bool
        Whether the kernel may have a white part.
    stiffness : float
        k/m of a harmonic mean force, in 1/ps^2.
    start : MemoryKernel, optional
        A kernel to start from, as a further starting point.
    starts : int
        Number of starting points; the best fit is returned.
    seed : int
        Seed of the starting points beyond the first.

    Raises
    ------
    ValueError
        If the table is ill-shaped or does not start above zero, or no modes are asked for.
    """
    times, c, dt = check_grid(t, vacf, "vacf")
    if c.ndim != 1 or not c[0] > 0.0:
        raise ValueError(f"`vacf` must be scalar and start at a positive value, got {np.ravel(c)[0]}")
    if not stiffness >= 0.0:
        raise ValueError(f"`stiffness` must be >= 0 (1/ps^2), got {stiffness}")
    c = c / c[0]
    chosen = thinned(len(times))
    weight = np.sqrt(np.gradient(chosen.astype(float)))
    weight = weight / np.linalg.norm(weight * c[chosen])
    index, scale = torch.as_tensor(chosen), torch.as_tensor(weight)
    target = torch.as_tensor(c[chosen])

    def residuals(family: StateSpace) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda p: scale * (velocity_correlation(family.drift(p), dt, len(times), stiffness)[index] - target)

    first = fit_blocks_to_vacf(times, c, chosen, weight, modes, white, stiffness, start, starts, seed)
    family = StateSpace(first.modes, white, 1.0 / times[-1])
    kernel = family.kernel(least_squares(residuals(family), family.parameters(first)))
    folded = fold_fast_modes(kernel, np.pi / dt)
    if folded.modes < kernel.modes and folded.modes > 0:
        family = StateSpace(folded.modes, True, 1.0 / times[-1])
        kernel = fold_fast_modes(
            family.kernel(least_squares(residuals(family), family.parameters(decoupled(folded)))), np.pi / dt
        )
    elif folded.modes == 0:
        kernel = folded
    drift = torch.as_tensor(kernel.drift)
    model = velocity_correlation(drift, dt, len(times), stiffness).numpy()
    return KernelFit(kernel, float(np.linalg.norm(model - c) / np.linalg.norm(c)), float("nan"))


def least_squares(residuals: Callable[[torch.Tensor], torch.Tensor], start: Array) -> Array:
    """Return the parameters of the least sum of squares, by Levenberg-Marquardt steps with derivatives by autograd.

    Only `identifiable` directions have derivatives that differ from zero; the damping keeps the others where they are.
    """
    jacobian = torch.func.jacfwd(residuals)
    p, damping = as_parameters(start), 1e-3
    r = residuals(p)
    for _ in range(60):
        j = jacobian(p)
        curvature, slope = j.T @ j, j.T @ r
        scale = torch.diag(curvature).clamp(min=WEAK * float(torch.diag(curvature).max()))
        while damping < 1e12:
            trial = p - torch.linalg.solve(curvature + damping * torch.diag(scale), slope)
            new = residuals(trial)
            if bool(torch.isfinite(new).all()) and float(new @ new) < float(r @ r):
                break
            damping *= 4.0
        else:
            return p.numpy()
        gain = 1.0 - float(new @ new) / float(r @ r)
        p, r, damping = trial, new, max(0.2 * damping, 1e-12)
        if gain < 1e-6:
            break
    return p.numpy()


def fold_fast_modes(kernel: MemoryKernel, fastest: float) -> MemoryKernel:
    """Return the kernel with modes of |rate| > `fastest` (1/ps) folded into its white part.

    The fast variables follow the others at once; eliminating them (a Schur complement) leaves a passive kernel of the
    same integrated friction.
    """
    a = kernel.drift
    if kernel.modes == 0:
        return kernel
    _, basis, slow = scipy.linalg.schur(
        a[1:, 1:], output="real", sort=lambda re, im=0.0: bool(np.hypot(re, im) <= fastest)
    )
    if slow == kernel.modes:
        return kernel
    rotation = scipy.linalg.block_diag(np.eye(1), basis)
    whole = rotation.T @ a @ rotation
    kept, fast = slice(0, slow + 1), slice(slow + 1, None)
    reduced = whole[kept, kept] - whole[kept, fast] @ np.linalg.solve(whole[fast, fast], whole[fast, kept])
    return MemoryKernel(reduced)


def decoupled(kernel: MemoryKernel) -> MemoryKernel:
    """Return the kernel with A_us = -A_su^T: its noise on u is then independent of that on s. Integrals are kept."""
    a = kernel.drift
    b = 0.5 * (a[1:, 0] - a[0, 1:])
    gone = a[0, 0] - a[0, 1:] @ np.linalg.solve(a[1:, 1:], a[1:, 0])
    out = a.copy()
    out[1:, 0], out[0, 1:] = b, -b
    out[0, 0] = max(0.0, gone - b @ np.linalg.solve(a[1:, 1:], b))
    return MemoryKernel(out)


def as_parameters(values: Any) -> torch.Tensor:
    """Return a float64 tensor."""
    return torch.as_tensor(values, dtype=torch.float64)
