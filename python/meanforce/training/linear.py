# SPDX-License-Identifier: MIT
"""Force matching of potentials that are linear in their coefficients, by least squares, with error bars."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import torch
from scipy import linalg, stats

from ..data import Frames, Trajectory
from ..potentials import PairSpline, Potential, StillingerWeber, Sum, energies_and_forces
from ..structure import pairs_within
from .splinebasis import active_functions, first_sampled, linear_continuation, with_coefficients, with_repulsive_core

CHUNKS = 400
"""Consecutive parts into which the frames are cut for the error estimate; fewer if there are many coefficients."""

CHUNK_MEMORY = 4e8
"""Bytes that the chunks' normal matrices may take together."""

BLOCK_LENGTH = 10.0
"""Length of a block in correlation times: what is left between blocks then biases variances by a twentieth."""

FEWEST_BLOCKS = 10
"""Blocks are kept shorter than `BLOCK_LENGTH` says rather than fewer than this."""


class _LinearTerm(Protocol):
    """What a term must have: its energy is linear in `coefficients`."""

    coefficients: torch.nn.Parameter


@dataclass(frozen=True)
class LinearFit:
    """What linear force matching found.

    Attributes
    ----------
    potential : Potential
        The fitted potential, in double precision: the term, or the Sum of the terms, that was fitted.
    coefficients : (K,)
        All coefficients, term by term, as the least squares gave them (`potential` has a straighter core).
    covariance : (K, K)
        Of the coefficients, from the residual forces with their correlation in time and between beads; NaN with fewer
        than four frames.
    determined : (K,)
        False where a coefficient is an extrapolation, because no pair came so near.
    unexplained : float
        Fraction of the mean squared force that the potential (and a prior) leaves, on the frames it was fitted to.
    correlation_time : float
        Integrated correlation time of the residuals' influence, in frames; 1 if frames are independent.
    blocks : int
        Number of blocks of consecutive frames behind the covariance.
    """

    potential: Potential
    coefficients: np.ndarray
    covariance: np.ndarray
    determined: np.ndarray
    unexplained: float
    correlation_time: float
    blocks: int

    @property
    def standard_errors(self) -> np.ndarray:
        """Standard errors of the coefficients, shape (K,), in kJ/mol; NaN where they are extrapolated."""
        return np.where(self.determined, np.sqrt(np.diagonal(self.covariance)), np.nan)

    def half_width(self, level: float = 0.95) -> np.ndarray:
        """Return half the width of confidence intervals, shape (K,), with Student's t for the number of blocks."""
        return np.asarray(self.standard_errors * stats.t.ppf(0.5 + 0.5 * level, max(self.blocks - 1, 1)))


class LinearForceMatching:
    r"""Least-squares fit of B-spline pair potentials, and a Stillinger-Weber term, to forces.

    Minimises sum \|F - F_prior - F(c)\|^2 + lambda \|second differences of c\|^2 by normal equations, which are exact
    because forces are linear in the coefficients (multiscale coarse graining, doi:10.1021/jp044629q). Where hardly any
    pair comes, at short distances, the coefficients go on as a straight line, in the end with at least the steepest
    slope of the sampled range, so the potential stays repulsive and its curvature at r = 0 vanishes.

    Parameters
    ----------
    cutoff : float
        Of the pair potentials, in nm.
    spacing : float
        Distance between knots in nm; adjusted so that a whole number of them fits.
    exclude_bonds : int
        Pairs of beads joined by at most so many bonds are left out; see PairSpline.
    three_body_range, three_body_gamma : float
        a and gamma of the Stillinger-Weber term in nm; no such term if the range is 0.
    regularization : float
        lambda relative to the mean diagonal element of the normal matrix.
    """

    def __init__(
        self,
        *,
        cutoff: float = 0.9,
        spacing: float = 0.02,
        exclude_bonds: int = 0,
        three_body_range: float = 0.0,
        three_body_gamma: float = 0.12,
        regularization: float = 1e-6,
    ) -> None:
        if not 0 < spacing < cutoff:
            raise ValueError(f"`spacing` must lie between 0 and the cutoff of {cutoff} nm, got {spacing}")
        if three_body_range < 0 or three_body_gamma <= 0:
            raise ValueError(
                f"`three_body_range` must not be negative and `three_body_gamma` must be positive, got "
                f"{three_body_range} and {three_body_gamma} nm"
            )
        if regularization < 0:
            raise ValueError(f"`regularization` must not be negative, got {regularization}")
        self.cutoff, self.spacing, self.exclude_bonds = float(cutoff), float(spacing), int(exclude_bonds)
        self.three_body_range, self.three_body_gamma = float(three_body_range), float(three_body_gamma)
        self.regularization = float(regularization)

    def terms(self, num_types: int) -> list[Potential]:
        """Return the terms to be fitted, with coefficients 0."""
        functions = max(4, round(self.cutoff / self.spacing))
        terms: list[Potential] = [PairSpline(num_types, self.cutoff, functions, self.exclude_bonds).double()]
        if self.three_body_range > 0:
            terms.append(StillingerWeber(num_types, self.three_body_range, self.three_body_gamma).double())
        return terms

    def fit(
        self,
        frames: Trajectory | Frames,
        prior: Potential | None = None,
        num_types: int | None = None,
        bonds: Sequence[Sequence[int]] = (),
    ) -> LinearFit:
        """Return the potential that matches the forces of a trajectory best.

        Parameters
        ----------
        frames
            Frames with forces. Slice a long trajectory: frames closer than about 0.1 ps add little.
        prior
            Its forces are subtracted first; it stays as it is.
        num_types
            Number of bead types; by default one more than the largest in the frames.
        bonds
            The bonded beads, for `exclude_bonds`.

        Raises
        ------
        ValueError
            If there are no forces, or no pair of beads comes within the cutoff.
        """
        types = np.asarray(frames.types)
        terms = self.terms(int(types.max()) + 1 if num_types is None else num_types)
        for term in terms:
            term.set_bonds(types.tolist(), bonds)
        return fit_linear(terms, frames, prior, self.regularization)


def fit_linear(
    terms: Sequence[Potential],
    frames: Trajectory | Frames,
    prior: Potential | None = None,
    regularization: float = 1e-6,
) -> LinearFit:
    """Return the least-squares fit of terms that are linear in their parameter `coefficients`.

    Parameters
    ----------
    terms
        PairSpline, StillingerWeber, Dihedrals or any other potential with these properties. They are not changed.
    frames, prior
        As for `LinearForceMatching.fit`.
    regularization
        Of pair splines; see LinearForceMatching.
    """
    frames.require_forces()
    equations = _NormalEquations(terms, len(frames))
    edges = np.linspace(0, len(frames), equations.chunks + 1).astype(int)
    for chunk, (start, stop) in enumerate(itertools.pairwise(edges)):
        equations.add(chunk, frames[start:stop], prior)
    return equations.solve(regularization, np.diff(edges))


def fit_pair_spline(
    frames: Trajectory | Frames,
    cutoff: float = 0.9,
    spacing: float = 0.02,
    num_types: int | None = None,
    regularization: float = 1e-6,
) -> PairSpline:
    """Return the pair potential that matches the forces of a trajectory best; see `LinearForceMatching`."""
    method = LinearForceMatching(cutoff=cutoff, spacing=spacing, regularization=regularization)
    return cast(PairSpline, method.fit(frames, num_types=num_types).potential)


class _NormalEquations:
    """D^T D and D^T F of each chunk of frames, with D = dF/dc."""

    def __init__(self, terms: Sequence[Potential], frames: int) -> None:
        self.terms = [copy.deepcopy(term).double() for term in terms]
        self.sizes = [cast(_LinearTerm, term).coefficients.numel() for term in self.terms]
        size = sum(self.sizes)
        self.chunks = int(np.clip(CHUNK_MEMORY / (8 * size * size), FEWEST_BLOCKS, CHUNKS))
        self.chunks = min(self.chunks, frames)
        self.normal = np.zeros((self.chunks, size, size))
        self.right = np.zeros((self.chunks, size))
        self.squared = 0.0  # of the forces themselves
        self.squared_left = 0.0  # by the prior
        self.counts = [
            np.zeros((len(term.coefficients), term.functions), dtype=int) if isinstance(term, PairSpline) else None
            for term in self.terms
        ]

    def add(self, chunk: int, frames: Frames, prior: Potential | None) -> None:
        """Add frames to a chunk."""
        forces = np.asarray(frames.require_forces(), dtype=float)
        self.squared += float(np.sum(forces**2))
        if prior is not None:
            explained = energies_and_forces(prior, frames.positions, frames.types, frames.box)[1]
            assert explained is not None
            forces = forces - explained
        self.squared_left += float(np.sum(forces**2))
        types = np.asarray(frames.types)
        for k, positions in enumerate(np.asarray(frames.positions, dtype=float)):
            box = None if frames.box is None else np.asarray(frames.box[k])
            parts = [self._design(index, positions, types, box) for index in range(len(self.terms))]
            design = np.concatenate(parts, axis=1)
            self.normal[chunk] += design.T @ design
            self.right[chunk] += design.T @ forces[k].reshape(-1)

    def _design(self, index: int, positions: np.ndarray, types: np.ndarray, box: np.ndarray | None) -> np.ndarray:
        """Return dF/dc of one term in one frame, shape (3 n, K)."""
        term, counts = self.terms[index], self.counts[index]
        if isinstance(term, PairSpline):
            assert counts is not None
            return pair_design(term, positions, types, box, counts)
        columns = []
        coefficients = cast(_LinearTerm, term).coefficients
        for k in range(coefficients.numel()):
            with torch.no_grad():
                coefficients.zero_().view(-1)[k] = 1.0
            forces = energies_and_forces(term, positions[None], types, box)[1]
            assert forces is not None
            columns.append(forces.reshape(-1))
        return np.stack(columns, axis=1)

    def solve(self, regularization: float, lengths: np.ndarray) -> LinearFit:
        """Return the fit; `lengths` are the frames in each chunk."""
        normal, right = self.normal.sum(axis=0), self.right.sum(axis=0)
        continuation, bending, determined = self._constraints()
        scale = np.trace(normal) / continuation.shape[1]
        matrix = continuation.T @ normal @ continuation + regularization * scale * bending.T @ bending
        # Coefficients of what never occurs have no influence: the shortest solution leaves them at 0.
        inverse = np.linalg.pinv(matrix, rcond=1e-14, hermitian=True)
        free = inverse @ (continuation.T @ right)
        if regularization == 0:  # one step of refinement: normal equations square the condition number
            free += inverse @ (continuation.T @ (right - normal @ (continuation @ free)))
        c = continuation @ free
        influence = (self.right - self.normal @ c) @ continuation @ inverse
        covariance, tau, blocks = _covariance(influence)
        left = self.squared_left - 2 * c @ right + c @ normal @ c
        fitted = self._fitted(c)
        return LinearFit(
            fitted[0] if len(fitted) == 1 else Sum(*fitted),
            c,
            continuation @ covariance @ continuation.T,
            determined,
            float(left / self.squared),
            tau * float(np.mean(lengths)) if np.max(lengths) > 1 else tau,
            blocks,
        )

    def _constraints(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the matrices from free to all coefficients and to what is penalised, and what is determined."""
        continuations, bendings, determined = [], [], []
        for size, counts in zip(self.sizes, self.counts, strict=True):
            if counts is None:
                continuations.append(np.eye(size))
                bendings.append(np.zeros((0, size)))
                determined.append(np.ones(size, dtype=bool))
                continue
            rows, functions = counts.shape
            starts = [first_sampled(row) for row in counts]
            blocks = [linear_continuation(functions, start) for start in starts]
            if not any(np.any(active_functions(row)) for row in counts):
                raise ValueError("no pair of beads comes within the cutoff often enough to fit a pair potential")
            continuations.append(linalg.block_diag(*blocks))
            bendings.append(linalg.block_diag(*[np.diff(np.eye(functions), 2, axis=0)] * rows))
            determined.append(np.concatenate([np.arange(functions) >= start for start in starts]))
        continuation = linalg.block_diag(*continuations)
        return continuation, linalg.block_diag(*bendings) @ continuation, np.concatenate(determined)

    def _fitted(self, c: np.ndarray) -> list[Potential]:
        fitted = []
        for term, counts, part in zip(self.terms, self.counts, np.split(c, np.cumsum(self.sizes)[:-1]), strict=True):
            if isinstance(term, PairSpline):
                assert counts is not None
                rows = part.reshape(counts.shape)
                rows = np.stack([with_repulsive_core(r, first_sampled(n)) for r, n in zip(rows, counts, strict=True)])
                fitted.append(cast(Potential, with_coefficients(term, rows)))
            else:
                coefficients = cast(_LinearTerm, term).coefficients
                with torch.no_grad():
                    coefficients.copy_(torch.from_numpy(part.reshape(coefficients.shape)))
                fitted.append(term)
        return fitted


def pair_design(
    term: PairSpline,
    positions: np.ndarray,
    types: np.ndarray,
    box: np.ndarray | None,
    counts: np.ndarray | None = None,
) -> np.ndarray:
    """Return dF/dc of a pair spline in one frame, shape (3 n, K).

    Parameters
    ----------
    term
    positions : (n, 3)
        In nm.
    types : (n,)
    box : (3, 3) or None
        In nm.
    counts : (rows, functions), optional
        Increased by the number of pairs in each knot interval.
    """
    basis = term.basis
    first, second, displacements = pairs_within(positions, box, basis.cutoff)
    if term.exclude_bonds > 0:
        seen = term.is_seen(torch.from_numpy(first.astype(np.int64)), torch.from_numpy(second.astype(np.int64)))
        keep = seen.numpy() > 0
        first, second, displacements = first[keep], second[keep], displacements[keep]
    r = np.linalg.norm(displacements, axis=1)
    row = term.pair_table.numpy()[types[first], types[second]]
    knot = np.minimum((r / basis.spacing).astype(int), basis.functions - 1)
    rows = len(term.coefficients)
    if counts is not None:
        np.add.at(counts, (row, knot), 1)
    t = r / basis.spacing - knot
    s = 1 - t
    slopes = np.stack([-s * s, t * (3 * t - 4), s * (4 - 3 * s), t * t], axis=1) / 2  # of `BSpline`'s four functions
    # (pairs, functions, components): the force of function k on the first bead is dB_k/dr along the displacement
    forces = (slopes / basis.spacing)[:, :, None] * (displacements / r[:, None])[:, None, :]
    width = basis.functions + 3  # the last three do not belong to the basis: cut off below
    columns = (row * width + knot)[:, None, None] + np.arange(4)[None, :, None]
    size = 3 * len(positions) * rows * width
    design = np.zeros(size)
    for bead, sign in ((first, 1.0), (second, -1.0)):
        component = 3 * bead[:, None, None] + np.arange(3)[None, None, :]
        flat = component * (rows * width) + columns
        design += np.bincount(flat.reshape(-1), weights=sign * forces.reshape(-1), minlength=size)
    shaped = design.reshape(3 * len(positions), rows, width)[:, :, : basis.functions]
    return shaped.reshape(3 * len(positions), -1)


def correlation_time(series: np.ndarray) -> float:
    """Return the largest integrated correlation time, in rows, of the columns of a series, at least 1.

    tau = 1 + 2 sum_{k=1}^{M} rho(k), with the smallest window M >= 5 tau (doi:10.1007/978-1-4899-0319-8_6).

    Parameters
    ----------
    series : (n, K)
    """
    x = series - series.mean(axis=0)
    n = len(x)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(x, size, axis=0)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, size, axis=0)[: n // 2 + 1]
    varies = correlation[0] > 1e-30 * max(float(correlation[0].max()), 1e-300)
    if not varies.any():
        return 1.0
    rho = correlation[:, varies] / correlation[0, varies]
    taus = 2 * np.cumsum(rho, axis=0) - 1
    enough = np.arange(len(taus))[:, None] >= 5 * taus
    window = np.where(enough.any(axis=0), enough.argmax(axis=0), len(taus) - 1)
    return max(1.0, float(taus[window, np.arange(taus.shape[1])].max()))


def _covariance(influence: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Return the covariance of the sum of a series, its correlation time, and the number of blocks behind it.

    Blocks are `BLOCK_LENGTH` correlation times long, so that their sums are independent of each other; within a block
    everything may be correlated. No model of the noise is needed.

    Parameters
    ----------
    influence : (n, K)
        How much each chunk of frames has moved the coefficients; they add up to nearly 0.
    """
    n, size = influence.shape
    if n < 4:
        return np.full((size, size), np.nan), 1.0, n
    tau = correlation_time(influence)
    blocks = max(int(n / (BLOCK_LENGTH * tau)), min(FEWEST_BLOCKS, n // 2))
    sums = np.stack([part.sum(axis=0) for part in np.array_split(influence, blocks)])
    sums -= sums.mean(axis=0)
    return sums.T @ sums * (blocks / (blocks - 1)), tau, blocks
