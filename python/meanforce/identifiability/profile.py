# SPDX-License-Identifier: MIT
"""Profile likelihood: how much worse the best fit gets when one parameter is held elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import optimize

from .fisher import Model, sensitivities
from .noise import NoiseLike, WhiteNoise
from .parameters import Parameters


@dataclass(frozen=True)
class Profile:
    """The profile of one parameter.

    Attributes
    ----------
    name : str
    values : (n,)
        At which the parameter was held.
    chi2 : (n,)
        Least chi^2 over all other parameters, above that of the best fit.
    """

    name: str
    values: np.ndarray
    chi2: np.ndarray

    def interval(self, level: float = 1.0) -> tuple[float, float]:
        """Return where chi^2 stays below `level` (1: 68 %, 3.84: 95 %), +-inf where it does to the end of the scan."""
        best = int(np.argmin(self.chi2))
        ends = []
        for step, end in ((-1, -np.inf), (1, np.inf)):
            k = best
            while 0 <= k + step < len(self.chi2) and self.chi2[k + step] < level:
                k += step
            nxt = k + step
            if not 0 <= nxt < len(self.chi2):
                ends.append(end)
                continue
            t = (level - self.chi2[k]) / (self.chi2[nxt] - self.chi2[k])
            ends.append(float(self.values[k] + t * (self.values[nxt] - self.values[k])))
        return ends[0], ends[1]


def profile_likelihood(
    model: Model,
    parameters: Mapping[str, Any],
    noise: NoiseLike,
    name: str,
    values: Any,
    *,
    data: Any = None,
    logarithmic: bool | Collection[str] = False,
    scales: Mapping[str, float] | None = None,
) -> Profile:
    """Return the profile likelihood of one coordinate; a flat one is a ridge, however curved.

    doi:10.1093/bioinformatics/btp358

    Parameters
    ----------
    model, parameters, noise, logarithmic, scales
        As for `analyse`.
    name
        Of the coordinate, for instance ``"k"`` or ``"a[2]"``.
    values : (n,)
        Where to hold it, in its own units, in increasing order.
    data : (m,), optional
        Observations; by default those of the model at `parameters` without noise, which shows what to expect.

    Raises
    ------
    ValueError
        If the name is unknown or a value is not allowed.
    """
    p = Parameters.of(parameters, logarithmic, scales)
    if name not in p.names:
        raise ValueError(f"there is no parameter {name!r} among {', '.join(p.names)}")
    noise = WhiteNoise(noise) if np.ndim(noise) == 0 and not hasattr(noise, "whiten") else noise
    index, held = p.names.index(name), np.asarray(values, dtype=float)
    center = np.concatenate([v.reshape(-1).numpy() for v in p.values.values()])[index]
    if p.is_logarithmic[index]:
        if not np.all(held > 0):
            raise ValueError(f"{name} is logarithmic and must be positive, got {held.min()}")
        z_held = np.log(held / center)
    else:
        z_held = (held - center) / p.units[index]
    free = np.delete(np.arange(p.size), index)

    def observe(z: torch.Tensor) -> torch.Tensor:
        return model(p.at(z))

    target = observe(torch.zeros(p.size, dtype=torch.float64)).detach().numpy() if data is None else np.asarray(data)

    def joined(others: np.ndarray, z: float) -> torch.Tensor:
        full = np.empty(p.size)
        full[free], full[index] = others, z
        return torch.from_numpy(full)

    def residuals(others: np.ndarray, z: float) -> np.ndarray:
        return np.asarray(noise.whiten(observe(joined(others, z)).detach().numpy() - target))

    def jacobian(others: np.ndarray, z: float) -> np.ndarray:
        return np.asarray(noise.whiten(sensitivities(observe, joined(others, z))[:, free]))

    best = optimize.least_squares(
        lambda z: noise.whiten(observe(torch.from_numpy(z)).detach().numpy() - target),
        np.zeros(p.size),
        lambda z: noise.whiten(sensitivities(observe, torch.from_numpy(z.copy()))),
    )
    chi2 = np.empty(len(held))
    # Outwards from the best fit, each scan starts where its neighbour ended.
    order = np.argsort(np.abs(z_held - best.x[index]))
    solutions: dict[int, np.ndarray] = {}
    for k in order:
        neighbours = [n for n in (k - 1, k + 1) if n in solutions]
        start = solutions[neighbours[0]] if neighbours else best.x[free]
        if len(free):
            fit = optimize.least_squares(residuals, start, jacobian, args=(z_held[k],), x_scale=1.0)
            solutions[k], chi2[k] = fit.x, 2 * fit.cost
        else:
            solutions[k], chi2[k] = start, float(np.sum(residuals(start, z_held[k]) ** 2))
    return Profile(name, held, chi2 - 2 * best.cost)
