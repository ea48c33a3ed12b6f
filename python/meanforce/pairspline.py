# SPDX-License-Identifier: MIT
"""The native pair potential as an OpenMM force."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from . import _meanforce
from ._openmm import FloatArray, float_array
from .beadforce import BeadForce


class PairSplineForce(BeadForce):
    r"""A pair potential made of cubic B-splines, a different one for each pair of types.

    .. math::

        U = \sum_{i<j,\, r_{ij} < r_c} \sum_k c_{pk} B((r_{ij} - r_k) / D), \qquad r_k = (k - 1) D, \quad D = r_c / G

    `B` is the cubic cardinal B-spline. The energy and its first two derivatives vanish at the cutoff. Types s <= t have
    the row p = t (t + 1) / 2 + s: (0,0), (0,1), (1,1), (0,2), ... It is the function of
    ``meanforce.potentials.PairSpline``. Arguments may carry units; plain numbers are in nm and kJ/mol.

    Parameters
    ----------
    num_types : int
        Number of bead types.
    cutoff : float or Quantity
        Cutoff distance (nm).

    Raises
    ------
    ValueError
        If an argument is out of range; so do the methods.
    """

    def __init__(self, num_types: int, cutoff: Any) -> None:
        self._create(num_types, cutoff)

    def setCoefficients(self, coefficients: ArrayLike) -> None:
        """Set the coefficients of all pairs of types.

        Parameters
        ----------
        coefficients : array_like, shape (T (T + 1) / 2, G)
            In kJ/mol, with G at least 4.

        Raises
        ------
        ValueError
            If the shape is another.
        """
        shape = (int(_meanforce.PairSplineForce_getNumPairs(self)), None)
        array = float_array("coefficients", coefficients, shape, "(pairs of types, functions)")
        _meanforce.PairSplineForce_setCoefficients(self, array)

    def getCoefficients(self) -> FloatArray:
        """Return the coefficients, shape (T (T + 1) / 2, G); G is 0 before they are set."""
        return _meanforce.PairSplineForce_getCoefficients(self)  # type: ignore[no-any-return]

    def addExclusion(self, particle1: int, particle2: int) -> int:
        """Let two particles not see each other, and return the index of the exclusion.

        Raises
        ------
        ValueError
            If they are the same, an index is negative, or the pair is excluded already.
        """
        return int(_meanforce.PairSplineForce_addExclusion(self, int(particle1), int(particle2)))

    def getNumExclusions(self) -> int:
        """Return the number of exclusions."""
        return int(_meanforce.PairSplineForce_getNumExclusions(self))

    def getExclusionParticles(self, index: int) -> tuple[int, int]:
        """Return the two particles of an exclusion."""
        return _meanforce.PairSplineForce_getExclusionParticles(self, index)  # type: ignore[no-any-return]
