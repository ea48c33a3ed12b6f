# SPDX-License-Identifier: MIT
"""Repulsion between beads, as a pair spline, so that it runs at the speed of one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from .splines import PairSpline

CORE_ENERGY = 100.0
"""Energy in units of epsilon above which the repulsion goes on as a straight line."""


def repulsion(
    sigmas: ArrayLike,
    epsilon: float = 2.5,
    exponent: float = 12.0,
    cutoff: float | None = None,
    spacing: float = 0.01,
    exclude_bonds: int = 0,
) -> PairSpline:
    r"""Return the repulsion U = sum_{i<j} u(r_ij) between beads of given diameters, a prior for a network.

        v(r) = epsilon (sigma / r)^n
        u(r) = v(r) - v(rc) - v'(rc) (r - rc) - v''(rc) (r - rc)^2 / 2      where r < rc, else 0

    u falls monotonically, and its value, slope and curvature vanish at rc. It is written as the `PairSpline`
    nearest to it; at distances where u exceeds 100 epsilon that is a straight line.

    Parameters
    ----------
    sigmas : array_like
        sigma in nm, for each pair of types: shape (T, T), symmetric; a number for a single type.
    epsilon : float
        In kJ/mol.
    exponent : float
        n, at least 2.
    cutoff : float, optional
        rc in nm; by default twice the largest sigma.
    spacing : float
        Distance between knots in nm; adjusted so that a whole number of them fits.
    exclude_bonds : int
        See `PairSpline`.

    Raises
    ------
    ValueError
        If the sigmas are not a symmetric matrix of lengths below the cutoff, or another argument is not positive.
    """
    matrix = np.atleast_2d(np.asarray(sigmas, dtype=float))
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.allclose(matrix, matrix.T):
        raise ValueError(f"sigmas must be a symmetric matrix, one row for each type, got {matrix.tolist()}")
    rc = 2.0 * float(matrix.max()) if cutoff is None else float(cutoff)
    if not (np.all(matrix > 0) and np.all(matrix < rc)):
        raise ValueError(f"sigmas must be positive and smaller than the cutoff, {rc} nm, got {matrix.tolist()}")
    if not (epsilon > 0 and exponent >= 2 and 0 < spacing < rc):
        raise ValueError(
            f"epsilon and spacing must be positive and exponent at least 2, got {epsilon}, {spacing} and {exponent}"
        )
    potential = PairSpline(len(matrix), rc, max(4, round(rc / spacing)), exclude_bonds).double()
    for t in range(len(matrix)):
        for s in range(t + 1):
            row = _spline_row(potential, matrix[t, s], float(epsilon), float(exponent))
            with torch.no_grad():
                potential.coefficients[potential.pair_index(s, t)] = torch.from_numpy(row)
    return potential


def smallest_distances(
    positions: Any, types: ArrayLike, box: Any, bonds: Sequence[Sequence[int]] = (), exclude_bonds: int = 3
) -> np.ndarray:
    """Return the smallest distance between beads of each pair of types, the usual sigmas of a repulsion.

    Parameters
    ----------
    positions : array_like
        Shape (F, n, 3), in nm.
    types : array_like
        Shape (n,).
    box : array_like or None
        Shape (3, 3) or (F, 3, 3), in nm.
    bonds, exclude_bonds
        Pairs joined by at most so many bonds do not count.

    Returns
    -------
    ndarray
        Shape (T, T), in nm. Where two types never come within 1 nm of each other (or half the box), that distance.
    """
    from ..bonds import BondGraph
    from ..structure import pairs_within

    x, kinds = np.asarray(positions, dtype=float), np.asarray(types, dtype=int)
    boxes = None if box is None else np.broadcast_to(np.asarray(box, dtype=float), (len(x), 3, 3))
    graph = BondGraph.create(kinds.tolist(), bonds)
    hidden = np.zeros((len(kinds), len(kinds)), dtype=bool)
    for i, j in graph.pairs_within(exclude_bonds if graph.bonds else 0):
        hidden[i, j] = True
    farthest = 1.0
    if boxes is not None:
        farthest = min(farthest, 0.5 * float(1 / np.linalg.norm(np.linalg.inv(boxes), axis=1).max()))
    count = int(kinds.max()) + 1
    smallest = np.full((count, count), farthest)
    for k, frame in enumerate(x):
        first, second, displacements = pairs_within(frame, None if boxes is None else boxes[k], farthest)
        seen = ~hidden[np.minimum(first, second), np.maximum(first, second)]
        r = np.linalg.norm(displacements, axis=1)[seen]
        np.minimum.at(smallest, (kinds[first[seen]], kinds[second[seen]]), r)
    return np.asarray(np.minimum(smallest, smallest.T))


def _spline_row(potential: PairSpline, sigma: float, epsilon: float, n: float) -> np.ndarray:
    """Return the coefficients of the spline nearest to u, with a straight line at short distances."""
    rc, spacing, functions = potential.cutoff, potential.basis.spacing, potential.functions

    def v(x: Any, k: int) -> Any:
        """Return the k-th derivative of epsilon (sigma / x)^n."""
        factor = {0: 1.0, 1: -n, 2: n * (n + 1)}[k]
        return factor * epsilon * sigma**n / x ** (n + k)

    # Function k sits at (k - 1) D. Below `start` the coefficients, and so the spline, go on as a straight line.
    start = max(2, int(np.ceil(sigma * CORE_ENERGY ** (-1.0 / n) / spacing)))
    r = np.linspace(start * spacing, rc, 8 * (functions - start), endpoint=False)
    u = v(r, 0) - v(rc, 0) - v(rc, 1) * (r - rc) - 0.5 * v(rc, 2) * (r - rc) ** 2
    with torch.no_grad():
        values = potential.basis(torch.from_numpy(r)).numpy()[:, start:]
    weights = 1 / (epsilon + u)  # relative where the energy is high, absolute elsewhere
    tail = np.linalg.lstsq(values * weights[:, None], u * weights, rcond=None)[0]
    c = np.zeros(functions)
    c[start:] = tail
    c[:start] = tail[0] + (tail[0] - tail[1]) * np.arange(start, 0, -1)
    return c
