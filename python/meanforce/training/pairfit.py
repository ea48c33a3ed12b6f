# SPDX-License-Identifier: MIT
"""Linear force matching of pair splines, and the repulsive core that every fitted pair spline gets."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import linalg

from ..data import Frames, Trajectory
from ..potentials import PairSpline
from ..structure import pairs_within

BLOCKS = 10
"""Consecutive parts of the trajectory whose scatter gives the standard errors."""

SAMPLED_PAIRS = 50
"""A knot interval counts as sampled from this many pairs on."""


@dataclass(frozen=True)
class PairFit:
    """What `PairForceMatching` found.

    Attributes
    ----------
    potential : PairSpline
        The fitted potential, in double precision.
    standard_errors : (n_pairs_of_types, n_functions)
        Of the coefficients, in kJ/mol; NaN where they are extrapolated.
    unexplained : float
        Fraction of the mean squared force that the potential leaves, on the frames it was fitted to.
    """

    potential: PairSpline
    standard_errors: np.ndarray
    unexplained: float


class PairForceMatching:
    r"""Least-squares fit of B-spline pair potentials to forces, accumulated frame by frame.

    Minimises sum \|F - F_pair(c)\|^2 + lambda \|second differences of c\|^2 by normal equations, which are exact
    because forces are linear in the coefficients (multiscale coarse graining, doi:10.1021/jp044629q). Where hardly any
    pair comes, at short distances, the coefficients go on as a straight line, in the end with at least the steepest
    slope of the sampled range, so the potential stays repulsive and its curvature at r = 0 vanishes.

    Parameters
    ----------
    cutoff
        In nm.
    spacing
        Distance between knots in nm; adjusted so that a whole number of them fits.
    num_types
        Number of bead types.
    regularization
        lambda relative to the mean diagonal element of the normal matrix.
    """

    def __init__(
        self, cutoff: float = 0.9, spacing: float = 0.02, num_types: int = 1, regularization: float = 1e-6
    ) -> None:
        if not 0 < spacing < cutoff:
            raise ValueError(f"`spacing` must lie between 0 and the cutoff of {cutoff} nm, got {spacing}")
        self._template = PairSpline(num_types, cutoff, max(4, round(cutoff / spacing)))
        self._regularization = regularization
        rows, functions = self._template.coefficients.shape
        self._counts = np.zeros((rows, functions), dtype=int)
        self._normal: list[np.ndarray] = []
        self._right: list[np.ndarray] = []
        self._squared_forces = 0.0

    def add_block(self, frames: Frames) -> None:
        """Add frames (with forces) as one block of the error estimate."""
        forces = np.asarray(frames.require_forces(), dtype=float)
        size = self._template.coefficients.numel()
        normal, right = np.zeros((size, size)), np.zeros(size)
        for index in range(len(frames)):
            box = None if frames.box is None else np.asarray(frames.box[index])
            design = self._force_of_each_function(np.asarray(frames.positions[index], dtype=float), box, frames.types)
            normal += design.T @ design
            right += design.T @ forces[index].reshape(-1)
        self._normal.append(normal)
        self._right.append(right)
        self._squared_forces += float(np.sum(forces**2))

    def solve(self) -> PairFit:
        """Return the fit to all blocks added so far.

        Raises
        ------
        ValueError
            If no pair came within the cutoff.
        """
        if not np.any(self._counts >= SAMPLED_PAIRS):
            raise ValueError(f"fewer than {SAMPLED_PAIRS} pairs within {self._template.cutoff} nm in any knot interval")
        normal, right = np.sum(self._normal, axis=0), np.sum(self._right, axis=0)
        coefficients = self._coefficients(normal, right)
        errors = np.full(coefficients.shape, np.nan)
        if len(self._normal) > 1:
            without_one = [
                self._coefficients(normal - n, right - b) for n, b in zip(self._normal, self._right, strict=True)
            ]
            errors = np.sqrt(len(without_one) - 1) * np.std(without_one, axis=0)
        starts = [_first_sampled(counts) for counts in self._counts]
        for row, start in enumerate(starts):
            errors[row, :start] = np.nan
        c = coefficients.reshape(-1)
        unexplained = (self._squared_forces - 2 * c @ right + c @ normal @ c) / self._squared_forces
        for row, start in enumerate(starts):
            coefficients[row] = with_repulsive_core(coefficients[row], start)
        return PairFit(with_coefficients(self._template, coefficients), errors, float(unexplained))

    def _force_of_each_function(self, positions: np.ndarray, box: np.ndarray | None, types: np.ndarray) -> np.ndarray:
        """Return d F / d c, shape (3 n, n_coefficients)."""
        basis = self._template.basis
        first, second, displacements = pairs_within(positions, box, basis.cutoff)
        r = np.linalg.norm(displacements, axis=1)
        row = self._template.pair_table.numpy()[types[first], types[second]]
        knot = np.minimum((r / basis.spacing).astype(int), basis.functions - 1)
        np.add.at(self._counts, (row, knot), 1)
        t = r / basis.spacing - knot
        s = 1 - t
        slopes = (
            np.stack([-s * s, t * (3 * t - 4), s * (4 - 3 * s), t * t], axis=1) / 2
        )  # of `BSpline`'s four functions
        # (pairs, functions, components): the force of function k on the first bead is dB_k/dr along the displacement
        forces = (slopes / basis.spacing)[:, :, None] * (displacements / r[:, None])[:, None, :]
        width = basis.functions + 3  # the last three do not belong to the basis: cut off below
        columns = (row * width + knot)[:, None, None] + np.arange(4)[None, :, None]
        size = 3 * len(positions) * len(self._counts) * width
        design = np.zeros(size)
        for bead, sign in ((first, 1.0), (second, -1.0)):
            component = 3 * bead[:, None, None] + np.arange(3)[None, None, :]
            flat = component * (len(self._counts) * width) + columns
            design += np.bincount(flat.reshape(-1), weights=sign * forces.reshape(-1), minlength=size)
        shaped = design.reshape(3 * len(positions), len(self._counts), width)[:, :, : basis.functions]
        return shaped.reshape(3 * len(positions), -1)

    def _coefficients(self, normal: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Solve for the sampled coefficients; the others continue them as a straight line."""
        rows, functions = self._counts.shape
        continuation = linalg.block_diag(*(_linear_continuation(functions, _first_sampled(c)) for c in self._counts))
        bending = linalg.block_diag(*[np.diff(np.eye(functions), 2, axis=0)] * rows) @ continuation
        scale = np.trace(normal) / continuation.shape[1]
        matrix = continuation.T @ normal @ continuation + self._regularization * scale * bending.T @ bending
        free = np.linalg.lstsq(matrix, continuation.T @ right, rcond=None)[0]
        return np.asarray(continuation @ free).reshape(rows, functions)


def fit_pair_spline(
    frames: Trajectory | Frames,
    cutoff: float = 0.9,
    spacing: float = 0.02,
    num_types: int = 1,
    regularization: float = 1e-6,
) -> PairSpline:
    """Return the pair potential that matches the forces of a trajectory best; see `PairForceMatching`.

    Parameters
    ----------
    frames
        Frames with forces. Slice a long trajectory: frames closer than about 0.1 ps add little.
    cutoff, spacing
        In nm.
    num_types, regularization
        As for `PairForceMatching`.

    Raises
    ------
    ValueError
        If there are no forces.
    """
    return fit_pair_spline_with_errors(frames, cutoff, spacing, num_types, regularization).potential


def fit_pair_spline_with_errors(
    frames: Trajectory | Frames,
    cutoff: float = 0.9,
    spacing: float = 0.02,
    num_types: int = 1,
    regularization: float = 1e-6,
) -> PairFit:
    """Return `fit_pair_spline`'s potential together with standard errors from consecutive blocks."""
    frames.require_forces()
    fit = PairForceMatching(cutoff, spacing, num_types, regularization)
    edges = np.linspace(0, len(frames), min(BLOCKS, len(frames)) + 1).astype(int)
    for start, stop in itertools.pairwise(edges):
        fit.add_block(frames[start:stop])
    return fit.solve()


def with_repulsive_core(coefficients: np.ndarray, start: int, slopes: Any = 0.0) -> np.ndarray:
    """Return coefficients that below function `start` rise towards r = 0 at least as steeply as anywhere above.

    Parameters
    ----------
    coefficients : (n_functions,)
        Of one pair of types.
    start
        First function that data determine.
    slopes : float or (start,)
        Lower bounds, per function, of c[k] - c[k + 1] for k < start.
    """
    c = np.array(coefficients, dtype=float)
    steepest = max(0.0, float(np.max(-np.diff(c[start:]), initial=0.0)))
    rises = np.broadcast_to(np.maximum(slopes, steepest), (start,))
    c[:start] = c[start] + np.cumsum(rises[::-1])[::-1]
    return c


def with_coefficients(template: PairSpline, coefficients: np.ndarray) -> PairSpline:
    """Return a double precision copy of a pair spline with other coefficients."""
    potential = PairSpline(template.num_types, template.cutoff, template.functions).double()
    potential.bead_types = template.bead_types
    with torch.no_grad():
        potential.coefficients.copy_(torch.from_numpy(np.ascontiguousarray(coefficients)))
    return potential


def _linear_continuation(functions: int, start: int) -> np.ndarray:
    """Return the (n_functions, n_functions - start) matrix from free to all coefficients: a line below `start`."""
    matrix = np.concatenate([np.zeros((start, functions - start)), np.eye(functions - start)])
    distance = start - np.arange(start)
    if functions - start > 1:
        matrix[:start, 0], matrix[:start, 1] = 1 + distance, -distance
    return matrix


def _first_sampled(counts: np.ndarray) -> int:
    """Return the first function that touches a sampled knot interval; at least 1, so that the core is a line."""
    sampled = np.flatnonzero(counts >= SAMPLED_PAIRS)
    return max(1, int(sampled[0])) if len(sampled) else len(counts) - 1
