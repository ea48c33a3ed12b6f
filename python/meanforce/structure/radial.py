# SPDX-License-Identifier: MIT
"""Pairs within a distance, and the radial distribution function g(r)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from openmm import unit
from scipy.spatial import cKDTree

from .._openmm import strip_units
from ..mapping import minimum_image
from .blocks import block_mean
from .frames import checked_frames

GAS_CONSTANT = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)

ALL_PAIRS_LIMIT = 100
"""Up to this many particles plain distance matrices beat a search tree (measured)."""


@dataclass(frozen=True)
class RDF:
    """A radial distribution function on bin centres.

    Attributes
    ----------
    r, g, standard_error : (n_bins,)
        Distances in nm, g(r), and the standard error of g.
    """

    r: np.ndarray
    g: np.ndarray
    standard_error: np.ndarray


def rdf(
    positions: Any,
    box: Any,
    r_max: float = 0.9,
    bins: int = 180,
    types: Any = None,
    pair: tuple[int, int] | None = None,
) -> RDF:
    """Return the radial distribution function g(r), one at all r for an ideal gas of any size.

    Parameters
    ----------
    positions : (n_frames, n, 3)
        Positions in nm.
    box : (3, 3) or (n_frames, 3, 3)
        Box vectors in nm.
    r_max
        Largest distance in nm, at most half the box's smallest width.
    bins
        Number of bins between 0 and `r_max`.
    types : (n,), optional
        Type of each particle, together with `pair`.
    pair
        The two types whose partial g(r) is wanted; all pairs without it.

    Raises
    ------
    ValueError
        If shapes disagree or `r_max` exceeds half the box.
    """
    x, boxes = checked_frames(positions, box)
    edges = np.linspace(0.0, r_max, bins + 1)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    selected, number_of_pairs = _selected_pairs(x.shape[1], types, pair)
    histogram = np.empty((len(x), bins))
    for frame, (points, vectors) in enumerate(zip(x, boxes, strict=True)):
        first, second, displacements = pairs_within(points, vectors, r_max)
        distances = np.sqrt(np.einsum("ij,ij->i", displacements, displacements))
        if selected is not None:
            distances = distances[selected[first, second]]
        # np.histogram searches its edges; equal widths need only a division.
        counts = np.bincount((distances * (bins / r_max)).astype(int), minlength=bins)[:bins]
        histogram[frame] = counts * (np.linalg.det(vectors) / (number_of_pairs * shells))
    g, error = block_mean(histogram)
    return RDF(0.5 * (edges[1:] + edges[:-1]), g, error)


def pairs_within(positions: np.ndarray, box: np.ndarray | None, cutoff: float) -> tuple[np.ndarray, ...]:
    """Return the pairs of one frame closer than `cutoff`, each once.

    Parameters
    ----------
    positions : (n, 3)
        Positions in nm, anywhere in space.
    box : (3, 3) or None
        Box vectors in nm in reduced form; None for open boundaries.
    cutoff
        In nm, at most half the box's smallest width.

    Returns
    -------
    first, second : (n_pairs,)
        Indices with first < second.
    displacements : (n_pairs, 3)
        Position of `second` minus position of `first`, nearest image, in nm.

    Raises
    ------
    ValueError
        If the cutoff exceeds half the box's smallest width.
    """
    n = len(positions)
    if box is not None:
        half_width = 0.5 / np.linalg.norm(np.linalg.inv(box), axis=0).max()
        if cutoff > half_width * (1 + 1e-9):
            raise ValueError(f"cutoff {cutoff:.4g} nm exceeds half the smallest width of the box, {half_width:.4g} nm")
    rectangular = box is None or np.count_nonzero(box - np.diag(np.diagonal(box))) == 0
    if n <= ALL_PAIRS_LIMIT or not rectangular:
        first, second = np.triu_indices(n, 1)
    else:
        lengths = None if box is None else np.diagonal(box)
        points = positions if lengths is None else np.mod(positions, lengths) % lengths
        found = cKDTree(points, boxsize=lengths).query_pairs(cutoff, output_type="ndarray")
        first, second = found[:, 0], found[:, 1]
    displacements = positions[second] - positions[first]
    if box is not None:
        displacements = minimum_image(displacements, box)
    near = np.einsum("ij,ij->i", displacements, displacements) < cutoff**2
    return first[near], second[near], displacements[near]


def boltzmann_inversion(distribution: RDF, temperature: Any) -> np.ndarray:
    """Return the pair potential of mean force w(r) = -kT ln g(r) in kJ/mol.

    This is the free energy of holding two particles at *vector* separation r, relative to far apart: the reversible
    work between them in three dimensions. It is not -kT ln p(r) of the distance's own distribution p(r), which differs
    by 2 kT ln r, and it is not a pair potential of the liquid beyond vanishing density. Where g = 0, w = inf.
    """
    kT = GAS_CONSTANT * float(strip_units(temperature, unit.kelvin))
    with np.errstate(divide="ignore"):
        return np.asarray(-kT * np.log(distribution.g))


def first_peak(distribution: RDF) -> tuple[float, float]:
    """Return height and place (nm) of the highest peak of g(r), from the parabola through its top three points."""
    top = int(np.argmax(distribution.g))
    if top in (0, len(distribution.g) - 1):
        raise ValueError(f"g(r) is largest at the end of its range, r = {distribution.r[top]:.4g} nm: no peak")
    left, middle, right = distribution.g[top - 1 : top + 2]
    shift = 0.5 * (left - right) / (left - 2 * middle + right) if middle > min(left, right) else 0.0
    height = middle - 0.25 * (left - right) * shift
    return float(height), float(distribution.r[top] + shift * (distribution.r[1] - distribution.r[0]))


def rdf_error(distribution: RDF, reference: RDF, r_max: float = 0.9) -> float:
    """Return the mean absolute difference of two g(r) on the same bins, over 0 .. `r_max` (nm)."""
    if distribution.r.shape != reference.r.shape or not np.allclose(distribution.r, reference.r):
        raise ValueError("the two g(r) are on different bins")
    within = reference.r <= r_max
    return float(np.mean(np.abs(distribution.g - reference.g)[within]))


def _selected_pairs(n: int, types: Any, pair: tuple[int, int] | None) -> tuple[np.ndarray | None, float]:
    """Return which of the (n, n) pairs count (None for all) and their number, each pair once."""
    if pair is None:
        return None, 0.5 * n * (n - 1)
    if types is None:
        raise ValueError("`pair` needs the `types` of the particles")
    a, b = (np.asarray(types) == t for t in pair)
    selected = np.outer(a, b) | np.outer(b, a)
    number = 0.5 * (selected.sum() - np.trace(selected))
    if number == 0:
        raise ValueError(f"there are no pairs of types {pair}")
    return selected, float(number)
