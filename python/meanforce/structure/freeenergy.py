# SPDX-License-Identifier: MIT
"""Potentials of mean force along one or two coordinates, from samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from openmm import unit

from .._openmm import strip_units
from .blocks import BLOCKS
from .distributions import Distribution
from .radial import GAS_CONSTANT

#: What the density of a coordinate is divided by, so that ideal, unconnected beads give a flat potential.
JACOBIANS = ("none", "distance", "angle")


@dataclass(frozen=True)
class PMF:
    """A potential of mean force on bin centres, zero at its minimum.

    Attributes
    ----------
    coordinates : tuple of (bins,)
    energy : (bins, ...)
        In kJ/mol; inf where nothing was sampled.
    standard_error : (bins, ...)
        Of the energy relative to its mean over the sampled bins weighted with their probability.
    definition : str
        What it is: "-kT ln p(x)" is the free energy of the coordinate, "-kT ln [p(x)/J(x)]" has the measure J removed.
    """

    coordinates: tuple[np.ndarray, ...]
    energy: np.ndarray
    standard_error: np.ndarray
    definition: str


def pmf(samples: Any, edges: Any, temperature: Any, jacobian: Any = "none", blocks: int = BLOCKS) -> PMF:
    """Return the potential of mean force of one or two sampled coordinates.

    A distance has two: A(r) = -kT ln p(r), the free energy of the *number* r, and w(r) = -kT ln [p(r)/r^2], that of the
    *vector*, which is what -kT ln g(r) and a pair potential are. They differ by 2 kT ln r. The same holds for an angle
    with the measure sin(theta). `definition` of the result says which it is.

    Parameters
    ----------
    samples, edges, blocks
        As for `Distribution.measure`.
    temperature
        In K.
    jacobian : str, or a sequence of one for each coordinate
        ``"none"`` for p(x) itself (dihedrals, linear coordinates), ``"distance"`` divides by r^2, ``"angle"`` by
        sin(theta).

    Raises
    ------
    ValueError
        If `jacobian` is none of these, or for reasons given at `Distribution.measure`.
    """
    kT = GAS_CONSTANT * float(strip_units(temperature, unit.kelvin))
    if not kT > 0:
        raise ValueError(f"`temperature` must be positive, got {temperature!r}")
    distribution = Distribution.measure(samples, edges, blocks)
    kinds = [jacobian] * len(distribution.edges) if isinstance(jacobian, str) else list(jacobian)
    if len(kinds) != len(distribution.edges) or any(kind not in JACOBIANS for kind in kinds):
        raise ValueError(f"`jacobian` must be one of {', '.join(JACOBIANS)} for each coordinate, got {jacobian!r}")
    measure = np.ones(())
    for kind, e in zip(kinds, distribution.edges, strict=True):
        measure = np.multiply.outer(measure, _measure(kind, e))
    with np.errstate(divide="ignore", invalid="ignore"):
        energy = -kT * np.log(distribution.probabilities / measure)
        error = kT * distribution.standard_error / distribution.density
    energy = energy - energy.min()
    names = ["x"] if len(kinds) == 1 else [f"x{k + 1}" for k in range(len(kinds))]
    powers = {"distance": "{}^2", "angle": "sin {}"}
    factors = [powers[kind].format(name) for kind, name in zip(kinds, names, strict=True) if kind != "none"]
    p = f"p({', '.join(names)})"
    definition = f"-kT ln [{p}/({' '.join(factors)})]" if factors else f"-kT ln {p}"
    return PMF(distribution.centers, energy, np.where(np.isfinite(energy), error, np.nan), definition)


def _measure(kind: str, edges: np.ndarray) -> np.ndarray:
    """Return the integral of the measure over each bin."""
    if kind == "distance":
        return np.asarray(np.diff(edges**3) / 3)
    if kind == "angle":
        return np.asarray(-np.diff(np.cos(edges)))
    return np.diff(edges)
