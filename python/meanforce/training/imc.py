# SPDX-License-Identifier: MIT
"""Inverse Monte Carlo: correct a pair potential by the response of its pair distances to each coefficient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from scipy import linalg

from ..potentials import PairSpline, Potential
from ..structure import RDF
from .ibi import PairIteration
from .iteration import Correction, Pair, Seen
from .splinebasis import linear_continuation, with_coefficients, with_repulsive_core
from .splinesums import expected_sums, spline_sums

LARGEST_CHANGE = 2.0
"""Largest change of a pair potential where beads meet, in kT; larger corrections are scaled down as a whole."""

OFTEN_MET = 0.1
"""Beads meet where g(r) of target and model exceed this; below the first such distance potentials are extrapolated."""


class InverseMonteCarlo(PairIteration):
    r"""Corrects all pair potentials of a model at once, by the fluctuations of its sample.

    The method is that of Lyubartsev and Laaksonen, doi:10.1103/PhysRevE.52.3730. With S_k = sum over pairs of B_k(r),
    the observable of coefficient k, d<S_k>/dc_l = -Cov(S_k, S_l) / kT, and

        Cov(S) dc = alpha kT (<S> - S_target)

    is Newton's method; in contrast to iterative Boltzmann inversion, pairs of types and distances know of each other.
    The matrix is noisy along directions that hardly change the structure: scaled to a unit diagonal, it is regularised
    by `regularization`.

    Parameters
    ----------
    target, temperature, types, alpha, pressure, pressure_fraction
        See PairIteration. The g(r) must reach to the cutoff.
    regularization : float
        Added to the unit diagonal.
    """

    def __init__(
        self,
        target: RDF | Mapping[Pair, RDF],
        temperature: Any,
        types: Any = None,
        alpha: float = 1.0,
        pressure: float | None = None,
        pressure_fraction: float = 0.5,
        regularization: float = 1e-3,
    ) -> None:
        super().__init__(target, temperature, types, alpha, pressure, pressure_fraction)
        if not regularization >= 0:
            raise ValueError(f"`regularization` must not be negative, got {regularization}")
        self._regularization = float(regularization)

    def settings(self) -> dict[str, Any]:
        """Return what a continued run must agree in."""
        return {**super().settings(), "regularization": self._regularization}

    def correct(self, potential: Potential, seen: Seen) -> Correction:
        """Return the pair potential after one correction; see StructureIteration.correct."""
        pair, sample = cast(PairSpline, potential), seen.sample
        if sample.box is None:
            raise ValueError("inverse Monte Carlo needs a periodic box: without one g(r) has no density")
        sums = spline_sums(pair, sample.positions, sample.types, sample.box)
        wanted = expected_sums(pair, self._targets, sample.types, sample.box)
        reduced = SplineCoordinates(pair, self._targets, seen.distributions)
        free = sums @ reduced.matrix
        covariance = np.atleast_2d(np.cov(free, rowvar=False))
        change = reduced.solve(covariance, free.mean(axis=0) - wanted @ reduced.matrix, self._regularization) * self._kT
        largest = reduced.largest_change(change)
        scale = self._alpha * min(1.0, LARGEST_CHANGE * self._kT / max(largest, 1e-300))
        updated = reduced.apply(pair, scale * change)
        return Correction(self.with_pressure(updated, seen), {"largest_change": scale * largest})


class SplineCoordinates:
    """The coefficients that data determine, of all pairs of types with a target, in one vector.

    Below the first distance that both target and model often visit, coefficients go on as a straight line.

    Attributes
    ----------
    matrix : (rows * functions, free)
        From the free coefficients to all.
    """

    def __init__(self, potential: PairSpline, targets: Mapping[Pair, RDF], found: Mapping[Pair, RDF]) -> None:
        rows, functions = potential.coefficients.shape
        self._starts: dict[int, int] = {}
        self._met: dict[int, np.ndarray] = {}
        blocks = []
        pairs = {potential.pair_index(*pair): pair for pair in targets}
        for row in range(rows):
            if row not in pairs:
                blocks.append(np.zeros((functions, 0)))
                continue
            target, model = targets[pairs[row]], found[pairs[row]]
            often = (target.g > OFTEN_MET) & (model.g > OFTEN_MET) & (target.r < potential.cutoff)
            if not often.any():
                raise ValueError("the g(r) of model and target have no sampled distance within the cutoff in common")
            # The function whose centre lies just before: data fix those further in by their tails alone.
            start = min(int(target.r[often][0] / potential.basis.spacing) + 1, functions - 2)
            self._starts[row] = start
            blocks.append(linear_continuation(functions, start))
            with torch.no_grad():
                self._met[row] = potential.basis(torch.from_numpy(target.r[often])).numpy()
        self.matrix = linalg.block_diag(*blocks)

    def largest_change(self, change: np.ndarray) -> float:
        """Return the largest change of a pair potential at distances where beads often meet, in kJ/mol."""
        rows = (self.matrix @ change).reshape(-1, next(iter(self._met.values())).shape[1])
        return max(float(np.abs(values @ rows[row]).max(initial=0.0)) for row, values in self._met.items())

    @staticmethod
    def solve(hessian: np.ndarray, right: np.ndarray, regularization: float) -> np.ndarray:
        """Return the solution of a symmetric system, regularised after scaling to a unit diagonal."""
        size = np.sqrt(np.maximum(np.diagonal(hessian), 1e-4 * np.diagonal(hessian).max() + 1e-300))
        scaled = hessian / np.outer(size, size) + regularization * np.eye(len(size))
        return np.asarray(np.linalg.lstsq(scaled, right / size, rcond=1e-12)[0] / size)

    def apply(self, potential: PairSpline, change: np.ndarray) -> PairSpline:
        """Return the potential with its free coefficients changed and its core at least as steep as before."""
        old = potential.coefficients.detach().double().numpy()
        new = old + (self.matrix @ change).reshape(old.shape)
        for row, start in self._starts.items():
            new[row] = with_repulsive_core(new[row], start, slopes=-np.diff(old[row, : start + 1]))
        return with_coefficients(potential, new)
