# SPDX-License-Identifier: MIT
"""Sums of the B-splines over pairs of beads: the observables that belong to the coefficients of a pair spline."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ..potentials import PairSpline
from ..structure import RDF, pairs_within

SUBDIVISIONS = 8
"""Points per bin of a g(r) at which the B-splines are integrated over it."""


def spline_sums(potential: PairSpline, positions: np.ndarray, types: np.ndarray, box: np.ndarray | None) -> np.ndarray:
    """Return S_k = dU/dc_k = sum over pairs of B_k(r), for each frame.

    Parameters
    ----------
    potential
    positions : (n_frames, n, 3)
        In nm.
    types : (n,)
    box : (3, 3), (n_frames, 3, 3) or None
        In nm.

    Returns
    -------
    (n_frames, rows * functions)
    """
    rows, functions = potential.coefficients.shape
    sums = np.empty((len(positions), rows * functions))
    table = potential.pair_table.numpy()
    boxes = None if box is None else np.broadcast_to(box, (len(positions), 3, 3))
    width = functions + 4
    for frame, x in enumerate(np.asarray(positions, dtype=float)):
        first, second, d = pairs_within(x, None if boxes is None else boxes[frame], potential.cutoff)
        if potential.exclude_bonds > 0:
            seen = potential.is_seen(
                torch.from_numpy(first.astype(np.int64)), torch.from_numpy(second.astype(np.int64))
            )
            keep = seen.numpy() > 0
            first, second, d = first[keep], second[keep], d[keep]
        knot, values = potential.basis.local(torch.from_numpy(np.sqrt(np.einsum("ij,ij->i", d, d))))
        columns = (table[types[first], types[second]] * width + knot.numpy())[:, None] + np.arange(4)
        counted = np.bincount(columns.reshape(-1), weights=values.numpy().reshape(-1), minlength=rows * width)
        sums[frame] = counted.reshape(rows, width)[:, :functions].reshape(-1)
    return sums


def expected_sums(
    potential: PairSpline, targets: Mapping[tuple[int, int], RDF], types: np.ndarray, box: np.ndarray
) -> np.ndarray:
    """Return the mean S_k of a system with given g(r), shape (rows * functions,); 0 for pairs of types without one.

    Raises
    ------
    ValueError
        If a g(r) ends before the cutoff.
    """
    rows, functions = potential.coefficients.shape
    counts = np.bincount(types, minlength=potential.num_types)
    volume = float(np.linalg.det(box))
    sums = np.zeros((rows, functions))
    for (s, t), g in targets.items():
        width = g.r[1] - g.r[0]
        if g.r[-1] + 0.5 * width < potential.cutoff * (1 - 1e-9):
            raise ValueError(
                f"the target g(r) of types {s} and {t} ends at {g.r[-1] + 0.5 * width:.4g} nm, "
                f"before the cutoff of {potential.cutoff} nm"
            )
        inside = (np.arange(SUBDIVISIONS) + 0.5) / SUBDIVISIONS - 0.5
        r = (g.r[:, None] + width * inside).reshape(-1)
        with torch.no_grad():
            values = potential.basis(torch.from_numpy(r)).numpy()
        pairs = counts[s] * (counts[s] - 1) / 2 if s == t else counts[s] * counts[t]
        shells = 4 * np.pi * r**2 * (width / SUBDIVISIONS) * np.repeat(g.g, SUBDIVISIONS)
        sums[potential.pair_index(s, t)] = pairs / volume * (shells @ values)
    return sums.reshape(-1)
