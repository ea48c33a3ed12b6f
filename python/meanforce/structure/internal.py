# SPDX-License-Identifier: MIT
"""Distances, angles and signed dihedrals between named beads."""

from __future__ import annotations

from typing import Any

import numpy as np
from openmm import unit

from .._openmm import strip_units
from ..mapping import minimum_image
from .frames import checked_positions


def distances(positions: Any, pairs: Any, box: Any = None) -> np.ndarray:
    """Return the distance between the two beads of each pair.

    Parameters
    ----------
    positions : (n_frames, n, 3)
        In nm.
    pairs : (m, 2)
        Indices of beads.
    box : (3, 3) or (n_frames, 3, 3), optional
        Box vectors in nm; nearest images are taken. None for open boundaries.

    Returns
    -------
    (n_frames, m)
        In nm.

    Raises
    ------
    ValueError
        If a shape is wrong or a bead does not exist.
    """
    (bonds,) = _bonds(positions, pairs, 2, box)
    return np.asarray(np.linalg.norm(bonds, axis=-1))


def angles(positions: Any, triples: Any, box: Any = None) -> np.ndarray:
    """Return the angle at the middle bead of each triple, (n_frames, m), in radian; arguments as for `distances`."""
    first, second = _bonds(positions, triples, 3, box)
    cross = np.linalg.norm(np.cross(first, second), axis=-1)
    return np.asarray(np.arctan2(cross, -np.sum(first * second, axis=-1)))


def dihedrals(positions: Any, quadruples: Any, box: Any = None) -> np.ndarray:
    """Return the signed dihedral of each quadruple, (n_frames, m), in radian from -pi to pi.

    The sign is that of IUPAC: positive where, looking along the middle bond, the far bond is turned clockwise from the
    near one. Mirror images differ in it. Other arguments as for `distances`.
    """
    a, b, c = _bonds(positions, quadruples, 4, box)
    n, m = np.cross(a, b), np.cross(b, c)
    sine = np.linalg.norm(b, axis=-1) * np.sum(a * m, axis=-1)
    return np.asarray(np.arctan2(sine, np.sum(n * m, axis=-1)))


def _bonds(positions: Any, indices: Any, beads: int, box: Any) -> list[np.ndarray]:
    """Return the vectors (n_frames, m, 3) between successive beads of each tuple."""
    x = checked_positions(positions)
    index = np.asarray(indices, dtype=int)
    if index.ndim != 2 or index.shape[1] != beads or len(index) == 0:
        raise ValueError(f"indices of beads must have shape (m, {beads}) with m > 0, got {index.shape}")
    if index.min() < 0 or index.max() >= x.shape[1]:
        raise ValueError(f"bead indices must lie in 0 .. {x.shape[1] - 1}, got {index.min()} .. {index.max()}")
    steps = [x[:, index[:, k + 1]] - x[:, index[:, k]] for k in range(beads - 1)]
    if box is None:
        return steps
    vectors = np.asarray(strip_units(box, unit.nanometer), dtype=float)
    if vectors.shape not in ((3, 3), (len(x), 3, 3)):
        raise ValueError(f"`box` must have shape (3, 3) or ({len(x)}, 3, 3), got {vectors.shape}")
    return [minimum_image(step, vectors) for step in steps]
