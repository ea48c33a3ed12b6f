# SPDX-License-Identifier: MIT
"""Angles between the neighbours of each particle."""

from __future__ import annotations

from typing import Any

import numpy as np

from .blocks import block_mean
from .frames import checked_frames
from .radial import pairs_within


def angle_distribution(
    positions: Any, box: Any, cutoff: float = 0.35, bins: int = 90
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distribution of the angles j-i-k between neighbours j, k of each particle i.

    Parameters
    ----------
    positions : (n_frames, n, 3)
        Positions in nm.
    box : (3, 3) or (n_frames, 3, 3)
        Box vectors in nm.
    cutoff
        Distance in nm within which two particles are neighbours.
    bins
        Number of bins between 0 and pi.

    Returns
    -------
    theta, p, standard_error : (bins,)
        Angles in radian, the normalised density per radian p(theta), which contains the factor sin(theta) of an
        isotropic distribution, and its standard error.
    """
    x, boxes = checked_frames(positions, box)
    width = np.pi / bins
    histogram = np.zeros((len(x), bins))
    for frame, (points, vectors) in enumerate(zip(x, boxes, strict=True)):
        cosines = _neighbour_cosines(points, vectors, cutoff)
        angles = np.arccos(np.clip(cosines, -1.0, 1.0))
        histogram[frame] = np.bincount(np.minimum((angles / width).astype(int), bins - 1), minlength=bins)
    total = histogram.sum()
    if total == 0:
        raise ValueError(f"no particle has two neighbours within {cutoff} nm")
    # Per frame the ratio to the mean number of angles, so that block means average to the pooled density.
    p, error = block_mean(histogram * (len(x) / (total * width)))
    return (np.arange(bins) + 0.5) * width, p, error


def angle_distribution_error(p: np.ndarray, reference: np.ndarray) -> float:
    """Return mean |p - reference| / mean reference of two angle distributions on the same bins."""
    if np.shape(p) != np.shape(reference):
        raise ValueError(f"the two angle distributions have {np.shape(p)} and {np.shape(reference)} bins")
    return float(np.mean(np.abs(np.asarray(p) - reference)) / np.mean(reference))


def _neighbour_cosines(points: np.ndarray, vectors: np.ndarray, cutoff: float) -> np.ndarray:
    """Return cos of all angles j-i-k with j and k within the cutoff of i, each once."""
    first, second, displacements = pairs_within(points, vectors, cutoff)
    directions = displacements / np.linalg.norm(displacements, axis=1, keepdims=True)
    centre = np.concatenate([first, second])
    order = np.argsort(centre, kind="stable")
    centre, directions = centre[order], np.concatenate([directions, -directions])[order]
    counts = np.bincount(centre, minlength=len(points))
    most = counts.max(initial=0)
    slot = np.arange(len(centre)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = np.zeros((len(points), most, 3))
    rows[centre, slot] = directions
    j, k = np.triu_indices(most, 1)
    cosines = np.einsum("nix,nkx->nik", rows, rows)[:, j, k]
    return np.asarray(cosines[k[None, :] < counts[:, None]])
