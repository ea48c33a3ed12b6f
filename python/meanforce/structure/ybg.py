# SPDX-License-Identifier: MIT
"""The Yvon-Born-Green balance: mean force between two particles = direct pair force + what third particles add."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from openmm import unit
from scipy import sparse

from .._openmm import strip_units
from .blocks import BLOCKS, ZeroTest, jackknife, zero_test
from .frames import checked_frames
from .radial import GAS_CONSTANT, pairs_within

LEAST_PAIRS = 200
"""Distances with fewer pairs in the whole run are left out of tests and fits."""

PairForce = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class YBG:
    """Every term of the balance, in hat functions of the distance, block by block.

    Attributes
    ----------
    r : (m,)
        Nodes of the hat functions, in nm.
    pairs : (n_blocks, m)
        Mean over frames of sum_{pairs} hat(r_ij).
    mean : (n_blocks, m)
        kT d ln g/dr in its weak form, times `pairs`: -kT sum (hat' + 2 hat/r).
    total, direct : (n_blocks, m) or None
        Total and direct pair force along the line of a pair, times `pairs`; None without a force.
    normal, overlap : (n_blocks, m, m)
        The same for forces that are themselves hat functions: `overlap` is the direct part, `normal` - `overlap` the
        three-body correlation, g3 integrated over the third particle with the cosine of the angle.
    frames : int
        In the whole run.
    """

    r: np.ndarray
    pairs: np.ndarray
    mean: np.ndarray
    total: np.ndarray | None
    direct: np.ndarray | None
    normal: np.ndarray
    overlap: np.ndarray
    frames: int

    @classmethod
    def measure(
        cls,
        positions: Any,
        box: Any,
        temperature: Any,
        cutoff: float = 0.9,
        spacing: float = 0.01,
        pair_force: PairForce | None = None,
        force_cutoff: float | None = None,
        forces: Any = None,
        blocks: int = BLOCKS,
    ) -> YBG:
        r"""Measure all terms on the frames of a liquid of one type of particle.

        For a field v that moves each pair apart by hat(r) along its line, <F.v> + kT <div v> = 0 holds exactly for any
        width of the hats; this is the YBG equation integrated with hat(r), so bins cost no accuracy.

        Parameters
        ----------
        positions : (n_frames, n, 3)
            In nm.
        box : (3, 3) or (n_frames, 3, 3)
            In nm.
        temperature
            In K.
        cutoff, spacing
            Largest distance looked at and distance between nodes, in nm.
        pair_force : callable, optional
            -du/dr in kJ/mol/nm, of distances (k,) in nm. Direct and three-body parts are those of this force.
        force_cutoff : float, optional
            Where it ends; `cutoff` by default.
        forces : (n_frames, n, 3), optional
            The forces of the frames, many-body or not, in kJ/mol/nm; then `total` is theirs and only `direct` comes
            from `pair_force`.
        blocks
            Number of consecutive blocks of frames.

        Raises
        ------
        ValueError
            If shapes disagree, or a cutoff exceeds half the box.
        """
        x, boxes = checked_frames(positions, box)
        f = None if forces is None else np.asarray(strip_units(forces, _FORCE), dtype=float)
        if f is not None and f.shape != x.shape:
            raise ValueError(f"`forces` must have the shape {x.shape} of the positions, got {f.shape}")
        if not 0 < spacing < cutoff:
            raise ValueError(f"`spacing` must lie between 0 and the cutoff of {cutoff} nm, got {spacing}")
        kT = GAS_CONSTANT * float(strip_units(temperature, unit.kelvin))
        hats = Hats(cutoff, round(cutoff / spacing))
        reach = max(cutoff, force_cutoff or cutoff) if pair_force is not None else cutoff
        terms: list[list[np.ndarray]] = []
        for part in np.array_split(np.arange(len(x)), min(blocks, len(x))):
            sums = [
                _frame(x[k], boxes[k], kT, hats, pair_force, reach, force_cutoff or cutoff, None if f is None else f[k])
                for k in part
            ]
            terms.append([np.mean(term, axis=0) for term in zip(*sums, strict=True)])
        pairs, mean, total, direct, normal, overlap = (np.array(term) for term in zip(*terms, strict=True))
        has_total, has_direct = forces is not None or pair_force is not None, pair_force is not None
        return cls(
            hats.nodes,
            pairs,
            mean,
            total if has_total else None,
            direct if has_direct else None,
            normal,
            overlap,
            len(x),
        )

    @property
    def sampled(self) -> np.ndarray:
        """Which nodes hold enough pairs, shape (m,)."""
        return np.asarray(self.pairs.mean(axis=0) * self.frames >= LEAST_PAIRS)

    def mean_force(self) -> tuple[np.ndarray, np.ndarray]:
        """Return -dw/dr = kT d ln g/dr at the nodes and its standard error, (m,), NaN where not sampled."""
        return self._ratio(self.mean)

    def direct_force(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean direct pair force at the nodes and its standard error, in kJ/mol/nm."""
        return self._ratio(_required(self.direct, "`pair_force`"))

    def three_body_force(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean force of third particles along the line of a pair, and its standard error.

        With recorded `forces` this is all that the direct pair force leaves, many-body forces included.
        """
        return self._ratio(_required(self.total, "`pair_force` or `forces`") - _required(self.direct, "`pair_force`"))

    def three_body_correlation(self) -> np.ndarray:
        """Return G, shape (m, m): the force of third particles at node a is sum_b G[a, b] f(r_b) for any f.

        G is g3 measured: mean over pairs at distance r_a of the number of third particles at r_b of either, weighted
        with the cosine of the angle at that particle between the two directions.
        """
        with np.errstate(invalid="ignore"):
            correlation = np.mean(self.normal - self.overlap, axis=0) / self.pairs.mean(axis=0)[:, None]
        return np.asarray(correlation)

    def balance(self) -> ZeroTest:
        """Test whether direct and three-body force add up to the mean force at all sampled distances."""
        imbalance = _required(self.total, "`pair_force` or `forces`") - self.mean
        keep = self.sampled
        return zero_test(imbalance[:, keep] / self.pairs.mean(axis=0)[keep])

    def pair_force(self, regularization: float = 1e-6) -> tuple[np.ndarray, np.ndarray]:
        """Return the pair force whose direct and three-body parts add up to the mean force, from structure alone.

        This is the force-matching solution without forces (generalized YBG, doi:10.1103/PhysRevLett.103.198104). It is
        the potential's own force if that is a pair potential, which inverting g(r) alone is not.

        Parameters
        ----------
        regularization
            Weight of squared second differences relative to the mean diagonal element of the normal matrix.

        Returns
        -------
        force, standard_error : (m,)
            In kJ/mol/nm, NaN where not sampled.
        """
        keep = np.flatnonzero(self.sampled)
        bending = np.diff(np.eye(len(keep)), 2, axis=0)

        def solve(stacked: np.ndarray) -> np.ndarray:
            matrix, right = stacked[:, :-1], stacked[:, -1]
            scale = np.trace(matrix) / len(keep)
            return np.linalg.solve(matrix + regularization * scale * bending.T @ bending, right)

        stacked = np.concatenate([self.normal[:, keep][:, :, keep], self.mean[:, keep, None]], axis=2)
        force, error = np.full((2, len(self.r)), np.nan)
        force[keep], error[keep] = jackknife(stacked, solve)
        return force, error

    def _ratio(self, term: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        def ratio(stacked: np.ndarray) -> np.ndarray:
            return np.where(self.sampled, stacked[0] / np.where(self.sampled, stacked[1], 1.0), np.nan)

        return jackknife(np.stack([term, self.pairs], axis=1), ratio)


class Hats:
    """Hat functions on equally spaced nodes in 0 .. cutoff that vanish at the cutoff.

    Parameters
    ----------
    cutoff : float
        In nm.
    intervals : int

    Attributes
    ----------
    nodes : (intervals,)
    """

    def __init__(self, cutoff: float, intervals: int) -> None:
        self.cutoff, self.spacing = cutoff, cutoff / intervals
        self.nodes = self.spacing * np.arange(intervals)

    def local(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return, for distances (k,) below the cutoff, the two nodes, hats and slopes that differ from 0, (k, 2) each.

        Node `intervals`, at the cutoff, has no function: its column is to be cut off.
        """
        left = np.minimum((r / self.spacing).astype(int), len(self.nodes) - 1)
        t = r / self.spacing - left
        slopes = np.broadcast_to([-1.0, 1.0], (len(r), 2)) / self.spacing
        return np.stack([left, left + 1], axis=1), np.stack([1 - t, t], axis=1), slopes

    def design(self, n: int, first: np.ndarray, second: np.ndarray, displacements: np.ndarray) -> sparse.csr_array:
        """Return the forces on n particles of pair forces hat(r): shape (3 n, intervals)."""
        r = np.linalg.norm(displacements, axis=1)
        columns, values, _ = self.local(r)
        apart = -displacements / r[:, None]  # the direction in which a repulsive force pushes the first particle
        entries = values[:, :, None] * apart[:, None, :]
        components = np.arange(3)[None, None, :]
        shape = entries.shape
        rows = [np.broadcast_to(3 * bead[:, None, None] + components, shape).reshape(-1) for bead in (first, second)]
        cols = np.broadcast_to(columns[:, :, None], shape).reshape(-1)
        flat = entries.reshape(-1)
        matrix = sparse.coo_array(
            (np.concatenate([flat, -flat]), (np.concatenate(rows), np.concatenate([cols, cols]))),
            shape=(3 * n, len(self.nodes) + 1),
        )
        return matrix.tocsr()[:, : len(self.nodes)]


_FORCE = unit.kilojoule_per_mole / unit.nanometer


def _frame(
    x: np.ndarray,
    box: np.ndarray,
    kT: float,
    hats: Hats,
    pair_force: PairForce | None,
    reach: float,
    force_cutoff: float,
    recorded: np.ndarray | None,
) -> tuple[np.ndarray, ...]:
    """Return the terms of one frame: pairs, mean, total, direct (m,), normal, overlap (m, m)."""
    first, second, displacements = pairs_within(x, box, reach)
    r = np.linalg.norm(displacements, axis=1)
    force = np.zeros_like(x) if recorded is None else recorded
    strength = np.zeros_like(r)
    if pair_force is not None:
        strength = np.where(r < force_cutoff, np.asarray(pair_force(r), dtype=float), 0.0)
        if recorded is None:
            pushes = -displacements * (strength / r)[:, None]
            for component in range(3):
                force[:, component] = np.bincount(first, pushes[:, component], len(x)) - np.bincount(
                    second, pushes[:, component], len(x)
                )
    near = r < hats.cutoff
    first, second, displacements, r, strength = (v[near] for v in (first, second, displacements, r, strength))
    columns, values, slopes = hats.local(r)
    m = len(hats.nodes)

    def summed(weights: np.ndarray) -> np.ndarray:
        return np.bincount(columns.reshape(-1), weights.reshape(-1), m + 1)[:m]

    design = hats.design(len(x), first, second, displacements)
    normal = (0.5 * (design.T @ design)).toarray()
    outer = (values[:, :, None] * values[:, None, :]).reshape(-1)
    flat = (columns[:, :, None] * (m + 1) + columns[:, None, :]).reshape(-1)
    overlap = np.bincount(flat, outer, (m + 1) ** 2).reshape(m + 1, m + 1)[:m, :m]
    mean = -kT * summed(slopes + 2 * values / r[:, None])
    total = 0.5 * (design.T @ force.reshape(-1))
    return summed(values), mean, total, summed(values * strength[:, None]), normal, overlap


def _required(term: np.ndarray | None, what: str) -> np.ndarray:
    if term is None:
        raise ValueError(f"this needs {what}, which the measurement did not get")
    return term
