# SPDX-License-Identifier: MIT
"""Which further data would tell most about what is least known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from .fisher import Identifiability, Model, sensitivities
from .noise import NoiseLike, WhiteNoise


@dataclass(frozen=True)
class Candidate:
    """What one further observation or experiment would do.

    Attributes
    ----------
    name : str
    standard_error : float
        Along the direction that is least known now, with these data added; inf if it stays on a ridge.
    worst : float
        Of the direction that is least known then.
    ridges : int
        Dimension of the null space that is left.
    """

    name: str
    standard_error: float
    worst: float
    ridges: int


def rank_candidates(
    analysis: Identifiability, candidates: Mapping[str, tuple[Model, NoiseLike]]
) -> tuple[str, list[Candidate]]:
    """Return the least known direction, and what each candidate would do to it, the best first.

    Parameters
    ----------
    analysis
        Of the data there are.
    candidates
        Name of an experiment (another observable, temperature, time) to its model of the same parameters and its noise.

    Returns
    -------
    direction : str
        The sloppiest direction, or the first ridge if there is one, as a combination of parameters.
    ranking : list of Candidate
        By standard error along it; among those that leave it on a ridge, by the ridges that are left.
    """
    p = analysis.parameters
    if analysis.null_space.shape[1]:
        target = analysis.null_space[:, 0] / np.linalg.norm(analysis.null_space[:, 0])
    else:
        target = analysis.directions[:, -1]
    origin = torch.zeros(p.size, dtype=torch.float64)
    found = []
    for name, (model, noise) in candidates.items():
        jacobian = sensitivities(lambda z, model=model: model(p.at(z)), origin)  # type: ignore[misc]
        whitened = (noise if hasattr(noise, "whiten") else WhiteNoise(noise)).whiten(jacobian)
        values, vectors = np.linalg.eigh(analysis.information + whitened.T @ whitened)
        null = values <= p.size * 1e-13 * values[-1]
        on_ridge = np.linalg.norm(vectors[:, null].T @ target) > 1e-6
        variance = np.sum((vectors[:, ~null].T @ target) ** 2 / values[~null])
        found.append(
            Candidate(
                name,
                float("inf") if on_ridge else float(np.sqrt(variance)),
                float("inf") if null.any() else float(values[0] ** -0.5),
                int(null.sum()),
            )
        )
    return p.combination(target), sorted(found, key=lambda c: (c.standard_error, c.ridges, c.worst))
