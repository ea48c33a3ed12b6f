# SPDX-License-Identifier: MIT
"""Structure of a liquid from its frames: g(r), neighbour angles, potentials of mean force, displacements.

Frames are positions (n_frames, n, 3) in nm with box vectors (3, 3) or (n_frames, 3, 3) in nm. Standard errors come
from blocks: the frames are cut into consecutive blocks and the scatter of the blocks' means gives the error of the
whole, which is honest as long as a block is longer than the correlation time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from openmm import unit
from scipy.spatial import cKDTree

from ._openmm import strip_units
from .mapping import minimum_image

GAS_CONSTANT = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
BLOCKS = 10
"""Number of blocks behind each standard error (fewer if there are fewer frames)."""

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
    x, boxes = _frames(positions, box)
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
    g, error = _block_mean(histogram)
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
    x, boxes = _frames(positions, box)
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
    p, error = _block_mean(histogram * (len(x) / (total * width)))
    return (np.arange(bins) + 0.5) * width, p, error


def mean_square_displacement(positions: Any, max_lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean square displacement over all time origins, by FFT.

    Parameters
    ----------
    positions : (n_frames, n, 3)
        Unwrapped positions in nm, equally spaced in time.
    max_lag
        Largest lag in frames.

    Returns
    -------
    msd, standard_error : (max_lag + 1,)
        In nm^2. The error takes the particles as independent.

    Raises
    ------
    ValueError
        If there are not more than `max_lag` frames.
    """
    x = _positions(positions)
    frames = len(x)
    if not 0 <= max_lag < frames:
        raise ValueError(f"`max_lag` must lie in 0 .. {frames - 1} for {frames} frames, got {max_lag}")
    x = x - x.mean(axis=0)
    # <|x(t+s) - x(t)|^2> = <x(t+s)^2 + x(t)^2> - 2 <x(t+s) x(t)>; the last term is a correlation.
    size = 1 << (2 * frames - 1).bit_length()
    spectrum = np.fft.rfft(x, size, axis=0)
    correlation = np.fft.irfft((spectrum * spectrum.conj()).sum(-1), size, axis=0)[: max_lag + 1]
    cumulative = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum((x**2).sum(-1), axis=0)])
    lags = np.arange(max_lag + 1)
    early, late = cumulative[frames - lags], cumulative[frames] - cumulative[lags]
    msd = (early + late - 2 * correlation) / (frames - lags)[:, None]
    particles = x.shape[1]
    error = msd.std(axis=1, ddof=1) / np.sqrt(particles) if particles > 1 else np.full(len(lags), np.nan)
    return msd.mean(axis=1), error


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


def angle_distribution_error(p: np.ndarray, reference: np.ndarray) -> float:
    """Return mean |p - reference| / mean reference of two angle distributions on the same bins."""
    if np.shape(p) != np.shape(reference):
        raise ValueError(f"the two angle distributions have {np.shape(p)} and {np.shape(reference)} bins")
    return float(np.mean(np.abs(np.asarray(p) - reference)) / np.mean(reference))


def _positions(positions: Any) -> np.ndarray:
    x = np.asarray(strip_units(positions, unit.nanometer), dtype=float)
    if x.ndim != 3 or x.shape[-1] != 3 or len(x) == 0:
        raise ValueError(f"`positions` must have shape (n_frames, n, 3) with at least one frame, got {x.shape}")
    return x


def _frames(positions: Any, box: Any) -> tuple[np.ndarray, np.ndarray]:
    x = _positions(positions)
    boxes = np.asarray(strip_units(box, unit.nanometer), dtype=float)
    if boxes.shape not in ((3, 3), (len(x), 3, 3)):
        raise ValueError(f"`box` must have shape (3, 3) or ({len(x)}, 3, 3), got {boxes.shape}")
    return x, np.broadcast_to(boxes, (len(x), 3, 3))


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


def _block_mean(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard error over frames (n_frames, ...) from block averages; NaN errors for one frame."""
    blocks = np.array_split(samples, min(BLOCKS, len(samples)))
    means = np.array([block.mean(axis=0) for block in blocks])
    if len(blocks) < 2:
        return samples.mean(axis=0), np.full(samples.shape[1:], np.nan)
    return samples.mean(axis=0), means.std(axis=0, ddof=1) / np.sqrt(len(blocks))
