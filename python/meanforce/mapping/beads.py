# SPDX-License-Identifier: MIT
"""Which atoms become a bead: parts of a topology, selections in them, and the bonds that beads inherit."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import openmm
from openmm import app

from .constraints import WATER_RESIDUES, connected_groups, constraints_of_system

__all__ = ["WATER_RESIDUES", "amino_acids", "bonds_between", "links", "parts", "selected"]


def links(topology: app.Topology, system_or_masses: Any) -> list[tuple[int, int]]:
    """Return the pairs of atoms that belong together: by bonds and, with a System, constraints and virtual sites."""
    pairs = [(bond[0].index, bond[1].index) for bond in topology.bonds()]
    if isinstance(system_or_masses, openmm.System):
        system = system_or_masses
        pairs += constraints_of_system(system)
        sites = [i for i in range(system.getNumParticles()) if system.isVirtualSite(i)]
        pairs += [(i, system.getVirtualSite(i).getParticle(0)) for i in sites]
    return pairs


def parts(topology: app.Topology, by: str, connections: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the atoms of each molecule, residue or chain, or of the whole, ordered by first atom."""
    if by == "residue":
        return [[atom.index for atom in residue.atoms()] for residue in topology.residues()]
    if by == "chain":
        return [[atom.index for atom in chain.atoms()] for chain in topology.chains()]
    if by == "all":
        return [list(range(topology.getNumAtoms()))]
    if by != "molecule":
        raise ValueError(f"beads are made by 'molecule', 'residue' or 'chain', got {by!r}")
    molecules: dict[int, list[int]] = {}
    for atom, label in enumerate(connected_groups(connections, topology.getNumAtoms())):
        molecules.setdefault(int(label), []).append(atom)
    return list(molecules.values())


def selected(topology: app.Topology, name: str, selection: str | Sequence[int] | Callable[[Any], bool]) -> set[int]:
    """Return the indices of the atoms that a selection finds.

    Raises
    ------
    ValueError
        If there are none, or MDAnalysis doesn't understand the selection.
    ImportError
        If MDAnalysis is needed and missing.
    """
    if isinstance(selection, str):
        found = _selected_by_mdanalysis(topology, selection)
    elif callable(selection):
        found = {atom.index for atom in topology.atoms() if selection(atom)}
    else:
        found = {int(i) for i in selection}
    if not found:
        raise ValueError(f"the selection of the beads {name!r} finds no atom")
    return found


def _selected_by_mdanalysis(topology: app.Topology, selection: str) -> set[int]:
    try:
        import MDAnalysis
    except ImportError as error:
        raise ImportError(
            f"the selection {selection!r} needs MDAnalysis (pip install 'meanforce[data]'); without it give a"
            " function of an OpenMM atom, as lambda atom: atom.name == 'CA'"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are no coordinates
        universe = MDAnalysis.Universe(topology, topology_format="OPENMMTOPOLOGY", to_guess=())
    try:
        return {int(i) for i in universe.select_atoms(selection).indices}
    except MDAnalysis.exceptions.SelectionError as error:
        raise ValueError(f"MDAnalysis does not understand the selection {selection!r}: {error}") from error


def amino_acids(topology: app.Topology) -> set[int]:
    """Return the indices of the residues that have a backbone: atoms N, CA and C."""
    return {r.index for r in topology.residues() if {"N", "CA", "C"} <= {atom.name for atom in r.atoms()}}


def bonds_between(
    beads: Sequence[Sequence[int]], connections: Iterable[tuple[int, int]], num_atoms: int
) -> list[tuple[int, int]]:
    """Return the pairs of beads that bonds connect, directly or through atoms that are in no bead."""
    bead = np.full(num_atoms, -1)
    for k, atoms in enumerate(beads):
        bead[list(atoms)] = k
    pairs = list(connections)
    between = [(i, j) for i, j in pairs if bead[i] < 0 and bead[j] < 0]
    part = connected_groups(between, num_atoms)
    found = {(bead[i], bead[j]) for i, j in pairs if bead[i] >= 0 and bead[j] >= 0}
    touched: dict[int, set[int]] = {}
    for i, j in pairs:
        for inner, outer in ((i, j), (j, i)):
            if bead[inner] < 0 <= bead[outer]:
                touched.setdefault(int(part[inner]), set()).add(int(bead[outer]))
    for neighbours in touched.values():
        found |= {(i, j) for i in neighbours for j in neighbours}
    return sorted({(int(min(pair)), int(max(pair))) for pair in found if pair[0] != pair[1]})
