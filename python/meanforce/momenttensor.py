# SPDX-License-Identifier: MIT
"""The native moment-tensor potential as an OpenMM force."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike
from openmm import unit

from . import _meanforce
from ._openmm import FloatArray, float_array, strip_units
from .beadforce import NetworkForce


class MomentTensorForce(NetworkForce):
    r"""A strictly local many-body potential: a network per bead reads rotational invariants of its neighbourhood.

    .. math::

        W_{lc}(r) = \sum_k C_{klc} B((r - r_k) / D), \qquad r_k = r_c - (G + 1 - k) D

        M_{i,lm,c} = \sum_{j \ne i,\, r_{ij} < r_c} a_c(t_j)\, W_{lc}(r_{ij})\, Y_{lm}(\hat r_{ij})

        x_i = (M_{i,00,c};\ \sum_m M_{i,lm,c}^2,\ l = 0 \dots L;\ \text{products}),
        \qquad U = \sum_i \mathrm{NN}_{t_i}(x_i)

    `B` is the cubic cardinal B-spline and the `Y` are real spherical harmonics normalised so that
    :math:`\sum_m Y_{lm}(u) Y_{lm}(v) = P_l(u \cdot v)`. The energy is twice continuously differentiable at the cutoff.
    Products couple two or three moments, also of different degrees and channels; see `addProduct`.
    Arguments may carry units; plain numbers are in nm and kJ/mol.

    Parameters
    ----------
    num_types : int
        Number of bead types.
    cutoff : float or Quantity
        Cutoff distance (nm).
    max_l : int
        Largest degree L of the moments, 0 to 4.
    channels : int
        Number of channels F.

    Raises
    ------
    ValueError
        If an argument is out of range; so do the methods.

    Notes
    -----
    ``System.getForce()``, ``XmlSerializer.deserialize()`` and similar functions of OpenMM return a plain
    ``openmm.Force``: ``MomentTensorForce.cast(force)`` turns it into this class. The family of potentials is that of
    moment tensor potentials, doi:10.1137/15M1054183, and the atomic cluster expansion, doi:10.1103/PhysRevB.99.014104.
    """

    def __init__(self, num_types: int, cutoff: Any, max_l: int, channels: int) -> None:
        self._create(num_types, cutoff, maxL=int(max_l), channels=int(channels))

    def getMaxL(self) -> int:
        """Return the largest degree of the moments."""
        return int(_meanforce.MomentTensorForce_getMaxL(self))

    def getNumChannels(self) -> int:
        """Return the number of channels F."""
        return int(_meanforce.MomentTensorForce_getNumChannels(self))

    def addProduct(self, degrees: Sequence[int], shifts: Sequence[int]) -> int:
        r"""Add F features, the products of two or three moments; call it before `addLayer`.

        .. math::

            \sum_m M_{lm,c} M_{lm,c+s} \quad\text{or}\quad
            \sum_{m_1 m_2 m_3} K_{m_1 m_2 m_3} M_{l_1 m_1,c} M_{l_2 m_2,c+s_2} M_{l_3 m_3,c+s_3}

        Channels are counted modulo F. K is the Wigner 3j symbol in the basis of the Y, normalised to
        :math:`\sum K^2 = 1`, its first entry positive. With an odd sum of degrees the product changes its sign in a
        mirror.

        Parameters
        ----------
        degrees : sequence of int
            (l, l) or (l1, l2, l3).
        shifts : sequence of int
            (0, s) or (0, s2, s3).

        Returns
        -------
        int
            The index of the product.

        Raises
        ------
        ValueError
            If there is no such product, or it is zero for all moments.
        """
        return int(_meanforce.MomentTensorForce_addProduct(self, [int(n) for n in degrees], [int(n) for n in shifts]))

    def getNumProducts(self) -> int:
        """Return the number of products."""
        return int(_meanforce.MomentTensorForce_getNumProducts(self))

    def getProduct(self, index: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the degrees and the shifts of a product."""
        return _meanforce.MomentTensorForce_getProduct(self, index)  # type: ignore[no-any-return]

    def setFilters(self, spacing: Any, coefficients: ArrayLike) -> None:
        """Set the radial filters.

        Parameters
        ----------
        spacing : float or Quantity
            Distance D between the centres of neighbouring B-splines (nm).
        coefficients : array_like, shape (G, L + 1, F)
            Coefficients C. Function k is centred at ``cutoff - (G + 1 - k) * spacing``.

        Raises
        ------
        ValueError
            If the shape of `coefficients` is another.
        """
        shape = (None, self.getMaxL() + 1, self.getNumChannels())
        array = float_array("coefficients", coefficients, shape, "(functions, L + 1, channels)")
        _meanforce.MomentTensorForce_setFilters(self, float(strip_units(spacing, unit.nanometer)), array)

    def getFilters(self) -> tuple[Any, FloatArray]:
        """Return the spacing, a Quantity, and the coefficients, shape (G, L + 1, F)."""
        spacing, coefficients = _meanforce.MomentTensorForce_getFilters(self)
        return spacing * unit.nanometer, coefficients

    def setTypeWeights(self, weights: ArrayLike) -> None:
        """Set the weight of a neighbour of each type in each channel.

        Parameters
        ----------
        weights : array_like, shape (types, F)

        Raises
        ------
        ValueError
            If the shape is another.
        """
        shape = (self.getNumTypes(), self.getNumChannels())
        _meanforce.MomentTensorForce_setTypeWeights(self, float_array("weights", weights, shape, "(types, channels)"))

    def getTypeWeights(self) -> FloatArray:
        """Return the weights, shape (types, F); (0, F) before they are set."""
        return _meanforce.MomentTensorForce_getTypeWeights(self)  # type: ignore[no-any-return]
