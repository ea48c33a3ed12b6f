# SPDX-License-Identifier: MIT
"""What every fit of pair splines shares: which functions data determine, and the repulsive core below them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..potentials import PairSpline

SAMPLED_PAIRS = 50
"""A knot interval counts as sampled from this many pairs on."""


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
    potential = PairSpline(template.num_types, template.cutoff, template.functions, template.exclude_bonds).double()
    potential.bead_types = template.bead_types
    if template.bond_graph is not None:
        potential.set_bonds(template.bond_graph.types, template.bond_graph.bonds)
    with torch.no_grad():
        potential.coefficients.copy_(torch.from_numpy(np.ascontiguousarray(coefficients)))
    return potential


def linear_continuation(functions: int, start: int) -> np.ndarray:
    """Return the (n_functions, n_functions - start) matrix from free to all coefficients: a line below `start`."""
    matrix = np.concatenate([np.zeros((start, functions - start)), np.eye(functions - start)])
    distance = start - np.arange(start)
    if functions - start > 1:
        matrix[:start, 0], matrix[:start, 1] = 1 + distance, -distance
    return matrix


def active_functions(counts: np.ndarray) -> np.ndarray:
    """Return for each knot interval whether it is sampled."""
    return np.asarray(counts >= SAMPLED_PAIRS)


def first_sampled(counts: np.ndarray) -> int:
    """Return the first function that touches a sampled knot interval; at least 1, so that the core is a line."""
    sampled = np.flatnonzero(active_functions(counts))
    return max(1, int(sampled[0])) if len(sampled) else len(counts) - 1
