# SPDX-License-Identifier: MIT
"""Iterative Boltzmann inversion: correct a pair potential until its g(r) is the target's."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from openmm import unit

from .._openmm import strip_units
from ..potentials import PairSpline, Potential, Sum
from ..structure import GAS_CONSTANT, RDF, rdf, rdf_error
from .pairfit import with_coefficients, with_repulsive_core

SAMPLED_G = 0.02
"""Below this value of g(r) its logarithm is mostly noise: the correction is extrapolated."""

Sampler = Callable[[Potential], tuple[Any, Any]]
"""Runs the given model and returns positions (n_frames, n, 3) and box vectors, in nm."""


@dataclass(frozen=True)
class IBIStep:
    """One iteration.

    Attributes
    ----------
    potential : PairSpline
        The corrected pair potential.
    distributions : dict of (int, int) to RDF
        g(r) of the model *before* the correction, per pair of types.
    error : float
        Mean absolute error of these g(r).
    """

    potential: PairSpline
    distributions: dict[tuple[int, int], RDF]
    error: float


class IterativeBoltzmannInversion:
    r"""Corrects the pair part of a model: U <- U + alpha kT ln(g_model / g_target) (doi:10.1002/jcc.10307).

    Where both g(r) are sampled, the correction is projected on the B-splines by least squares. Below, it is continued
    as a constant, so that the repulsive core keeps its slopes or gets steeper ones, see `with_repulsive_core`.

    Parameters
    ----------
    target : RDF or dict of (int, int) to RDF
        Target g(r); for several bead types one for each pair of types to be corrected.
    temperature
        In K.
    types : (n,), optional
        Type of each bead, needed with several types.
    alpha
        Fraction of the correction that is applied.
    """

    def __init__(
        self,
        target: RDF | MappingABC[tuple[int, int], RDF],
        temperature: Any,
        types: Any = None,
        alpha: float = 1.0,
    ) -> None:
        self._targets = {(0, 0): target} if isinstance(target, RDF) else dict(target)
        self._kT = GAS_CONSTANT * float(strip_units(temperature, unit.kelvin))
        self._types = types
        self._alpha = alpha

    def run(
        self, potential: PairSpline, sampler: Sampler, fixed: Potential | None = None, steps: int = 2
    ) -> list[IBIStep]:
        """Sample and correct `steps` times; the last potential is that of the last step.

        Parameters
        ----------
        potential
            The pair potential to start from; it is not changed.
        sampler
            Called with the whole model (pair potential and fixed part), returns positions and box of its sample.
        fixed
            The rest of the model, for instance a network, kept as it is.
        steps
            Number of corrections.
        """
        history: list[IBIStep] = []
        for _ in range(steps):
            model = potential if fixed is None else Sum(potential, fixed)
            positions, box = sampler(model)
            found = {pair: self._rdf_like(target, positions, box, pair) for pair, target in self._targets.items()}
            errors = [rdf_error(found[pair], target, target.r[-1]) for pair, target in self._targets.items()]
            potential = self.update(potential, found)
            history.append(IBIStep(potential, found, float(np.mean(errors))))
        return history

    def update(self, potential: PairSpline, found: MappingABC[tuple[int, int], RDF]) -> PairSpline:
        """Return the pair potential after one correction for the model's g(r), `found`."""
        coefficients = potential.coefficients.detach().double().numpy().copy()
        for pair, target in self._targets.items():
            row = potential.pair_index(*pair)
            coefficients[row] = self._corrected(potential, coefficients[row], found[pair], target)
        return with_coefficients(potential, coefficients)

    def _corrected(self, potential: PairSpline, old: np.ndarray, found: RDF, target: RDF) -> np.ndarray:
        sampled = (target.g > SAMPLED_G) & (found.g > SAMPLED_G) & (target.r < potential.cutoff)
        if not sampled.any():
            raise ValueError("the g(r) of model and target have no sampled distance within the cutoff in common")
        r = target.r[sampled]
        correction = self._alpha * self._kT * np.log(found.g[sampled] / target.g[sampled])
        start = max(1, int(r[0] / potential.basis.spacing))
        with torch.no_grad():
            values = potential.basis(torch.from_numpy(r)).double().numpy()[:, start:]
        change = np.zeros(len(old))
        change[start:] = np.linalg.lstsq(values, correction, rcond=1e-3)[0]
        return with_repulsive_core(old + change, start, slopes=-np.diff(old[: start + 1]))

    def _rdf_like(self, target: RDF, positions: Any, box: Any, pair: tuple[int, int]) -> RDF:
        width = target.r[1] - target.r[0]
        selection = {} if self._types is None else {"types": self._types, "pair": pair}
        return rdf(positions, box, r_max=target.r[-1] + width / 2, bins=len(target.r), **selection)
