# SPDX-License-Identifier: MIT
"""Many copies of a system in one Context, which do not see one another.

``CGPotential.createSystem(topology, replicas=R)`` makes the System. A small system leaves most of a GPU idle; R copies
of it cost little more than one until the device is full.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from ._openmm import FloatArray
from .momenttensor import MomentTensorForce
from .pairspline import PairSplineForce
from .schnet import SchNetForce
from .stillingerweber import StillingerWeberForce

#: Our force classes, all of which report an energy for each replica.
_CLASSES = (MomentTensorForce, PairSplineForce, SchNetForce, StillingerWeberForce)


def copyTopology(topology: app.Topology, replicas: int) -> app.Topology:
    """Return a topology of `replicas` copies, copy by copy, in the same box.

    Parameters
    ----------
    topology : openmm.app.Topology
        Of one copy.
    replicas : int

    Returns
    -------
    openmm.app.Topology
    """
    result = app.Topology()
    result.setPeriodicBoxVectors(topology.getPeriodicBoxVectors())
    for _ in range(replicas):
        atoms = {}
        for chain in topology.chains():
            new_chain = result.addChain(chain.id)
            for residue in chain.residues():
                new_residue = result.addResidue(residue.name, new_chain, residue.id, residue.insertionCode)
                for atom in residue.atoms():
                    atoms[atom] = result.addAtom(atom.name, atom.element, new_residue, atom.id)
        for bond in topology.bonds():
            result.addBond(atoms[bond[0]], atoms[bond[1]], bond.type, bond.order)
    return result


def copyPositions(positions: Any, replicas: int) -> Any:
    """Return the positions of one copy `replicas` times.

    Parameters
    ----------
    positions : array_like or Quantity, shape (N, 3)
        In nm.
    replicas : int

    Returns
    -------
    Quantity
        Shape (R N, 3).
    """
    if unit.is_quantity(positions):
        positions = positions.value_in_unit(unit.nanometer)
    return np.tile(np.asarray(positions, dtype=np.float64), (replicas, 1)) * unit.nanometer


def getEnergies(context: openmm.Context) -> FloatArray:
    """Return the potential energy of each replica at the Context's positions, from all our forces in its System.

    Parameters
    ----------
    context : openmm.Context

    Returns
    -------
    ndarray
        Shape (R,), in kJ/mol.

    Raises
    ------
    ValueError
        If the System has a force that is not ours, whose energy can't be divided among replicas.
    """
    energies: FloatArray | None = None
    for force in context.getSystem().getForces():
        ours = [cls for cls in _CLASSES if cls.isinstance(force)]
        if ours:
            part = ours[0].cast(force).getReplicaEnergies(context)
            energies = part if energies is None else energies + part
        elif not isinstance(force, openmm.CMMotionRemover):
            raise ValueError(f"the energy of {force.getName()} can't be divided among replicas")
    if energies is None:
        raise ValueError("the System has no force of meanforce")
    return energies
