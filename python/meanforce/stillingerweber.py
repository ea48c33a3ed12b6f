# SPDX-License-Identifier: MIT
"""The native three-body potential as an OpenMM force."""

from __future__ import annotations

from typing import Any

from openmm import unit

from . import _meanforce
from ._openmm import strip_units
from .beadforce import BeadForce


class StillingerWeberForce(BeadForce):
    r"""The three-body term of the Stillinger-Weber potential, with any quadratic function of the cosine.

    .. math::

        U = \sum_i \sum_{j<k} (c_0 + c_1 \cos\theta_{jik} + c_2 \cos^2\theta_{jik})\, g_{ij}\, g_{ik}, \qquad
        g_{ij} = \exp\frac{\gamma}{r_{ij} - a} \ \text{where}\ r_{ij} < a,\ \text{else}\ 0

    The sum runs over all beads i and pairs of their neighbours. The coefficients belong to the type of i and the
    unordered pair of types of j and k, the range a and gamma to the type of i and that of j. All derivatives vanish
    where a neighbour comes into range. Arguments may carry units; plain numbers are in nm and kJ/mol.

    Parameters
    ----------
    num_types : int
        Number of bead types.
    cutoff : float or Quantity
        The largest range that can be set (nm).

    Raises
    ------
    ValueError
        If an argument is out of range; so do the methods.

    Notes
    -----
    Types without pair parameters have no range, triples without coefficients no energy. The potential is that of
    Stillinger and Weber, doi:10.1103/PhysRevB.31.5262; for water mW, doi:10.1021/jp805227c.
    """

    def __init__(self, num_types: int, cutoff: Any) -> None:
        self._create(num_types, cutoff)

    def setPairParameters(self, center: int, type: int, range: Any, gamma: Any) -> None:
        """Set how a neighbour fades out with its distance.

        Parameters
        ----------
        center, type : int
            The type of the bead in the centre, and that of its neighbour.
        range : float or Quantity
            a (nm), at most the cutoff.
        gamma : float or Quantity
            In nm.
        """
        lengths = [float(strip_units(value, unit.nanometer)) for value in (range, gamma)]
        _meanforce.StillingerWeberForce_setPairParameters(self, int(center), int(type), *lengths)

    def getPairParameters(self, center: int, type: int) -> tuple[Any, Any]:
        """Return the range and gamma, two Quantities; both are 0 if they were not set."""
        range, gamma = _meanforce.StillingerWeberForce_getPairParameters(self, center, type)
        return range * unit.nanometer, gamma * unit.nanometer

    def setTripletParameters(self, center: int, type1: int, type2: int, c0: Any, c1: Any, c2: Any) -> None:
        """Set the coefficients of 1, cos and cos^2 of a centre and two neighbours, whose order does not matter.

        Parameters
        ----------
        center, type1, type2 : int
        c0, c1, c2 : float or Quantity
            In kJ/mol.
        """
        energies = [float(strip_units(value, unit.kilojoule_per_mole)) for value in (c0, c1, c2)]
        _meanforce.StillingerWeberForce_setTripletParameters(self, int(center), int(type1), int(type2), *energies)

    def getTripletParameters(self, center: int, type1: int, type2: int) -> tuple[Any, Any, Any]:
        """Return the coefficients of 1, cos and cos^2, three Quantities; they are 0 if they were not set."""
        c0, c1, c2 = _meanforce.StillingerWeberForce_getTripletParameters(self, center, type1, type2)
        return c0 * unit.kilojoule_per_mole, c1 * unit.kilojoule_per_mole, c2 * unit.kilojoule_per_mole

    def setTripletAngle(self, center: int, type1: int, type2: int, strength: Any, cos_angle: float) -> None:
        """Set the coefficients of the classical form, ``strength * (cos - cos_angle)**2``.

        Parameters
        ----------
        center, type1, type2 : int
        strength : float or Quantity
            lambda epsilon (kJ/mol).
        cos_angle : float
            Cosine of the angle without energy.
        """
        energy = float(strip_units(strength, unit.kilojoule_per_mole))
        _meanforce.StillingerWeberForce_setTripletAngle(
            self, int(center), int(type1), int(type2), energy, float(cos_angle)
        )
