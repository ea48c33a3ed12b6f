# SPDX-License-Identifier: MIT
"""Which atoms a simulation kept at fixed distances: of an OpenMM System, or as another program would choose them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import openmm
from openmm import app
from scipy import sparse
from scipy.sparse import csgraph

WATER_RESIDUES = frozenset({"HOH", "WAT", "SOL", "H2O", "TIP3", "SPC"})

Pairs = Sequence[tuple[int, int]]


def constraints_of_system(system: openmm.System) -> list[tuple[int, int]]:
    """Return the pairs of atoms whose distance the System constrains."""
    return [tuple(system.getConstraintParameters(i)[:2]) for i in range(system.getNumConstraints())]


def constraints_of_bonds(topology: app.Topology, constraints: str, rigid_water: bool = True) -> list[tuple[int, int]]:
    """Return the pairs that a run constrained, for trajectories that come without an OpenMM System.

    Parameters
    ----------
    topology
        With bonds and elements.
    constraints : {"none", "hbonds", "allbonds"}
        None, all bonds to hydrogen, or all bonds.
    rigid_water
        Whether water was rigid as well: both bonds, and the distance between the hydrogens.

    Raises
    ------
    ValueError
        If `constraints` is not one of the three, or the topology has no bonds to take them from.
    """
    if constraints not in ("none", "hbonds", "allbonds"):
        raise ValueError(f"`constraints` must be 'none', 'hbonds' or 'allbonds', got {constraints!r}")
    if constraints != "none" and topology.getNumBonds() == 0 and topology.getNumAtoms() > 1:
        raise ValueError(f"the topology has no bonds, so that {constraints!r} cannot be found; use the System instead")
    pairs = []
    for first, second in topology.bonds():
        water = first.residue.name in WATER_RESIDUES
        hydrogen = app.element.hydrogen in (first.element, second.element)
        if (water and rigid_water) or constraints == "allbonds" or (constraints == "hbonds" and hydrogen):
            pairs.append((first.index, second.index))
    if rigid_water:
        for residue in topology.residues():
            hydrogens = [a.index for a in residue.atoms() if a.element is app.element.hydrogen]
            if residue.name in WATER_RESIDUES and len(hydrogens) == 2:
                pairs.append((hydrogens[0], hydrogens[1]))
    return pairs


def connected_groups(pairs: Iterable[tuple[int, int]], n: int) -> np.ndarray:
    """Return for each of `n` atoms the label (n,) of the group that the pairs connect it to."""
    links = np.array(list(pairs), dtype=int).reshape(-1, 2)
    graph = sparse.coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(n, n))
    return np.asarray(csgraph.connected_components(graph, directed=False)[1])
