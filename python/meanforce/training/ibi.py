# SPDX-License-Identifier: MIT
"""Iterative Boltzmann inversion: correct a pair potential until its g(r) is the target's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch

from ..potentials import PairSpline, Potential
from ..structure import RDF
from .iteration import SAMPLED_G, Correction, Pair, Seen, StructureIteration, pressure_ramp
from .sampler import Sample
from .splinebasis import with_coefficients, with_repulsive_core

PRESSURE_FRAMES = 200
"""Configurations of a sample from which its pressure is taken."""


class PairIteration(StructureIteration):
    """A method that corrects a PairSpline, and optionally brings the pressure to a target as well.

    Parameters
    ----------
    target, temperature, types
        See StructureIteration.
    alpha : float
        Fraction of the correction that is applied.
    pressure : float, optional
        Target pressure in bar. After each correction a ramp A (1 - r / rc) is added that takes out
        `pressure_fraction` of the difference (doi:10.1021/ct8004083).
    pressure_fraction : float
    """

    def __init__(
        self,
        target: RDF | Mapping[Pair, RDF],
        temperature: Any,
        types: Any = None,
        alpha: float = 1.0,
        pressure: float | None = None,
        pressure_fraction: float = 0.5,
    ) -> None:
        super().__init__(target, temperature, types)
        if not 0 < alpha <= 1 or not 0 < pressure_fraction <= 1:
            raise ValueError(f"`alpha` and `pressure_fraction` must lie in (0, 1], got {alpha} and {pressure_fraction}")
        self._alpha = float(alpha)
        self._pressure = None if pressure is None else float(pressure)
        self._pressure_fraction = float(pressure_fraction)

    def settings(self) -> dict[str, Any]:
        """Return what a continued run must agree in."""
        return {
            "method": type(self).__name__,
            "temperature": self._temperature,
            "alpha": self._alpha,
            "pressure": self._pressure,
            "pressure_fraction": self._pressure_fraction,
            "targets": [[*pair, len(g.r), float(g.g.sum())] for pair, g in self._targets.items()],
        }

    def pressure_of(self, model: Potential, sample: Sample) -> float | None:
        """Return the pressure in bar if there is a target for it."""
        if self._pressure is None:
            return None
        return sample.pressure(model, max(1, len(sample.positions) // PRESSURE_FRAMES))[0]

    def with_pressure(self, potential: PairSpline, seen: Seen) -> PairSpline:
        """Return the potential with the ramp that brings the pressure nearer to its target."""
        if self._pressure is None or seen.pressure is None:
            return potential
        excess = self._pressure_fraction * (seen.pressure - self._pressure)
        change = pressure_ramp(potential, excess, seen.distributions, seen.sample, self._kT)
        return with_coefficients(potential, potential.coefficients.detach().double().numpy() + change)


class IterativeBoltzmannInversion(PairIteration):
    r"""Corrects the pair part of a model: U <- U + alpha kT ln(g_model / g_target) (doi:10.1002/jcc.10307).

    Where both g(r) are sampled, the correction is projected on the B-splines by least squares. Below, it is continued
    as a constant, so that the repulsive core keeps its slopes or gets steeper ones, see `with_repulsive_core`.

    Parameters
    ----------
    target, temperature, types, alpha, pressure, pressure_fraction
        See PairIteration.
    """

    def correct(self, potential: Potential, seen: Seen) -> Correction:
        """Return the pair potential after one correction; see StructureIteration.correct."""
        updated = self.update(cast(PairSpline, potential), seen.distributions)
        return Correction(self.with_pressure(updated, seen))

    def update(self, potential: PairSpline, found: Mapping[Pair, RDF]) -> PairSpline:
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
