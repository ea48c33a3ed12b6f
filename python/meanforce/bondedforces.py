# SPDX-License-Identifier: MIT
"""Bonded terms of a model file as OpenMM's own forces, which are fast on every platform."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import openmm

from .bonds import BondGraph
from .modelfile import Component

#: For each kind of bonded component, the tuples of beads it acts on (see BondGraph).
BONDED_TERMS = {
    "harmonic-bond": "bonds",
    "harmonic-angle": "angles",
    "dihedral": "dihedrals",
    "improper": "impropers",
}


def bonded_force(component: Component, graph: BondGraph, replicas: int, periodic: bool) -> openmm.Force:
    """Return the force of one bonded component.

    Parameters
    ----------
    component : Component
        Of a kind in `BONDED_TERMS`.
    graph : BondGraph
        Of one replica.
    replicas : int
        Number of copies; particles are ordered copy by copy.
    periodic : bool
        Whether bonded beads are taken at their nearest periodic images.

    Returns
    -------
    openmm.HarmonicBondForce, openmm.HarmonicAngleForce or openmm.PeriodicTorsionForce
    """
    term = BONDED_TERMS[component.kind]
    terms = [
        (tuple(bead + copy * len(graph.types) for bead in beads), row)
        for copy in range(replicas)
        for beads, row in zip(*graph.terms(term, component.architecture["types"]), strict=True)
    ]
    tensors = component.tensors
    if term == "bonds":
        force = openmm.HarmonicBondForce()
        for beads, row in terms:
            force.addBond(*beads, float(tensors["lengths"][row]), float(tensors["force_constants"][row]))
    elif term == "angles":
        force = openmm.HarmonicAngleForce()
        for beads, row in terms:
            force.addAngle(*beads, float(tensors["angles"][row]), float(tensors["force_constants"][row]))
    else:
        force = openmm.PeriodicTorsionForce()
        for beads, row in terms:
            for periodicity, phase, k in _torsions(tensors["coefficients"][row]):
                force.addTorsion(*beads, periodicity, phase, k)
    force.setName(f"meanforce {component.kind}")
    force.setUsesPeriodicBoundaryConditions(periodic)
    return force


def _torsions(coefficients: np.ndarray) -> Iterator[tuple[int, float, float]]:
    """Yield periodicity, phase and k of OpenMM's k [1 + cos(n phi - phase)] that add up to a Fourier series.

    Two of opposite sign and half the height, so that their constants cancel and the energy is the model's.
    """
    for n, (a, b) in enumerate(coefficients, start=1):
        height, phase = math.hypot(a, b), math.atan2(b, a)
        if height > 0:
            yield n, phase, 0.5 * height
            yield n, phase + math.pi, -0.5 * height
