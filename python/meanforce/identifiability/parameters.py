# SPDX-License-Identifier: MIT
"""Named parameters in dimensionless coordinates, and the names of their combinations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from scipy import linalg
from torch import Tensor

SMALLEST_SHARE = 0.05
"""Coefficients below this share of the largest are left out of a combination's name."""


@dataclass(frozen=True)
class Parameters:
    """Parameters p of a model around a point p0, as coordinates z with z = 0 there.

    A logarithmic parameter is p0 exp(z), so that a step of one is a factor e; another is p0 + scale z. Spectra and
    directions depend on this choice; null spaces, and bars in the parameters' own units, do not.

    Attributes
    ----------
    values : dict of str to Tensor
        p0, float64, of any shape.
    logarithmic : frozenset of str
    scales : dict of str to float
    """

    values: dict[str, Tensor]
    logarithmic: frozenset[str]
    scales: dict[str, float]

    @classmethod
    def of(
        cls,
        values: Mapping[str, Any],
        logarithmic: bool | Collection[str] = False,
        scales: Mapping[str, float] | None = None,
    ) -> Parameters:
        """Check parameters.

        Parameters
        ----------
        values
            Name to number or array.
        logarithmic
            Names of positive parameters to be taken by their logarithm; True for all.
        scales
            What counts as a change of order one in each other parameter; by default its root mean square, or 1 if it is
            zero.

        Raises
        ------
        ValueError
            If there are no parameters, a name is unknown, or a value or scale is not finite or not positive.
        """
        p = {name: torch.as_tensor(np.asarray(v, dtype=float)) for name, v in values.items()}
        if not p:
            raise ValueError("there are no parameters")
        logs = frozenset(p if logarithmic is True else () if logarithmic is False else logarithmic)
        given = dict(scales or {})
        for name in (*logs, *given):
            if name not in p:
                raise ValueError(f"there is no parameter {name!r} among {', '.join(p)}")
        for name, v in p.items():
            if not bool(torch.isfinite(v).all()):
                raise ValueError(f"parameter {name!r} must be finite, got {v.numpy()}")
            if name in logs and not bool((v > 0).all()):
                raise ValueError(f"a logarithmic parameter must be positive, got {name} = {v.numpy()}")
            given.setdefault(name, float(v.square().mean().sqrt()) or 1.0)
            if not 0 < given[name] < float("inf"):
                raise ValueError(f"the scale of {name!r} must be positive, got {given[name]}")
        return cls(p, logs, given)

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return sum(v.numel() for v in self.values.values())

    @property
    def names(self) -> list[str]:
        """A name for each coordinate: that of the parameter, with indices if it is an array."""
        found = []
        for name, v in self.values.items():
            indices = np.ndindex(*v.shape) if v.dim() else [()]
            found += [f"{name}[{','.join(map(str, i))}]" if i else name for i in indices]
        return found

    @property
    def is_logarithmic(self) -> np.ndarray:
        """Whether each coordinate is a logarithm."""
        return np.concatenate([np.full(v.numel(), name in self.logarithmic) for name, v in self.values.items()])

    @property
    def units(self) -> np.ndarray:
        """dp/dz at z = 0 for each coordinate."""
        return np.concatenate(
            [
                v.reshape(-1).numpy() if name in self.logarithmic else np.full(v.numel(), self.scales[name])
                for name, v in self.values.items()
            ]
        )

    def at(self, z: Tensor) -> dict[str, Tensor]:
        """Return the parameters at coordinates z, shape (size,)."""
        found, start = {}, 0
        for name, v in self.values.items():
            part = z[start : start + v.numel()].reshape(v.shape)
            found[name] = v * torch.exp(part) if name in self.logarithmic else v + self.scales[name] * part
            start += v.numel()
        return found

    def combination(self, direction: np.ndarray) -> str:
        """Return a direction (size,) as a combination of parameters: a product if all are logarithmic, else a sum."""
        share = direction / _leading(direction)
        kept = np.flatnonzero(np.abs(share) >= SMALLEST_SHARE)
        kept = kept[np.argsort(-np.abs(share[kept]), kind="stable")]
        logs, names = self.is_logarithmic, self.names
        if logs[kept].all():
            above = [_power(names[i], share[i]) for i in kept if share[i] > 0]
            below = [_power(names[i], -share[i]) for i in kept if share[i] < 0]
            if not below:
                return " ".join(above)
            return f"{' '.join(above)} / {below[0] if len(below) == 1 else '(' + ' '.join(below) + ')'}"
        text = ""
        for i in kept:
            # In the parameters' own units: z = (p - p0)/scale.
            number = _number(abs(share[i]) * (1.0 if logs[i] else self.units[kept[0]] / self.units[i]))
            sign = (" - " if text else "-") if share[i] < 0 else (" + " if text else "")
            text += sign + ("" if number == "1" else f"{number} ") + (f"ln {names[i]}" if logs[i] else names[i])
        return text

    def ridge(self, direction: np.ndarray) -> str:
        """Return how parameters change together along a direction that data do not see, with a free number c."""
        share = direction / _leading(direction)
        logs, names = self.is_logarithmic, self.names
        moves = []
        for i in np.flatnonzero(np.abs(share) >= SMALLEST_SHARE):
            if logs[i]:
                moves.append(f"{names[i]} -> {names[i]} {_power('c', share[i])}")
            else:
                number = _number(abs(share[i] * self.units[i]))
                factor = "" if number == "1" else f"{number} "
                moves.append(f"{names[i]} -> {names[i]} {'+' if share[i] > 0 else '-'} {factor}ln c")
        text = ", ".join(moves)
        return text if logs.any() else text.replace("ln c", "c")


def sparse_basis(basis: np.ndarray) -> np.ndarray:
    """Return a basis (n, d) of the same space in which d parameters appear in one vector each, for names.

    The pivots are chosen by QR with column pivoting, so that the coefficients stay small.
    """
    if basis.shape[1] == 0:
        return basis
    _, _, order = linalg.qr(basis.T, pivoting=True)
    pivots = np.sort(order[: basis.shape[1]])
    reduced = basis @ np.linalg.inv(basis[pivots])
    return np.asarray(np.where(np.abs(reduced) < 1e-9, 0.0, reduced))


def _leading(direction: np.ndarray) -> float:
    """Return the first of the largest coefficients; roundoff does not decide between equal ones."""
    size = np.abs(direction)
    return float(direction[np.flatnonzero(size >= size.max() * (1 - 1e-6))[0]])


def _number(value: float) -> str:
    simple = Fraction(value).limit_denominator(6)
    if simple != 0 and abs(float(simple) - value) < 1e-6 * max(1.0, abs(value)):
        return str(simple)
    return f"{value:.2g}"


def _power(name: str, exponent: float) -> str:
    number = _number(abs(exponent))
    if exponent < 0:
        return f"{name}^-{number}"
    return name if number == "1" else f"{name}^{number}"
