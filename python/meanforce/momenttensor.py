# SPDX-License-Identifier: MIT
"""The native moment-tensor potential as an OpenMM force."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm
from numpy.typing import ArrayLike, NDArray
from openmm import unit

from . import _meanforce
from ._openmm import adopt, strip_units

FloatArray = NDArray[np.float64]


def _array(name: str, values: ArrayLike, shape: tuple[int | None, ...], meaning: str) -> FloatArray:
    """Return `values` as a float64 array; None in `shape` stands for any length of at least one."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != len(shape) or any(
        found < 1 or expected not in (None, found) for found, expected in zip(array.shape, shape, strict=True)
    ):
        expected_text = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have shape ({expected_text}), that is {meaning}; found {array.shape}")
    return array


class MomentTensorForce(openmm.Force):
    r"""A strictly local many-body potential: a network per bead reads rotational invariants of its neighbourhood.

    .. math::

        W_{lc}(r) = \sum_k C_{klc} B((r - r_k) / D), \qquad r_k = r_c - (G + 1 - k) D

        M_{i,lm,c} = \sum_{j \ne i,\, r_{ij} < r_c} a_c(t_j)\, W_{lc}(r_{ij})\, Y_{lm}(\hat r_{ij})

        x_i = (M_{i,00,c};\ \sum_m M_{i,lm,c}^2,\ l = 0 \dots L), \qquad U = \sum_i \mathrm{NN}_{t_i}(x_i)

    `B` is the cubic cardinal B-spline and the `Y` are real spherical harmonics normalised so that
    :math:`\sum_m Y_{lm}(u) Y_{lm}(v) = P_l(u \cdot v)`. The energy is twice continuously differentiable at the cutoff.
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
        length = float(strip_units(cutoff, unit.nanometer))
        xml = (
            f'<Force type="meanforce::MomentTensorForce" version="1" numTypes="{int(num_types)}" cutoff="{length!r}"'
            f' maxL="{int(max_l)}" channels="{int(channels)}"/>'
        )
        try:
            adopt(self, xml)
        except openmm.OpenMMException as error:
            raise ValueError(str(error)) from None

    @staticmethod
    def isinstance(force: openmm.Force) -> bool:
        """Return whether an ``openmm.Force`` of any Python class is a MomentTensorForce."""
        return bool(_meanforce.is_MomentTensorForce(force))

    @classmethod
    def cast(cls, force: openmm.Force) -> MomentTensorForce:
        """Turn the generic ``openmm.Force`` that OpenMM returns into a MomentTensorForce, in place.

        Raises
        ------
        TypeError
            If it is a force of another kind.
        """
        if not cls.isinstance(force):
            raise TypeError(f"expected a MomentTensorForce, got {force.getName()}")
        force.__class__ = cls
        return force  # type: ignore[no-any-return]

    def getNumTypes(self) -> int:
        """Return the number of bead types."""
        return int(_meanforce.MomentTensorForce_getNumTypes(self))

    def getCutoff(self) -> Any:
        """Return the cutoff distance, a Quantity."""
        return _meanforce.MomentTensorForce_getCutoff(self) * unit.nanometer

    def getMaxL(self) -> int:
        """Return the largest degree of the moments."""
        return int(_meanforce.MomentTensorForce_getMaxL(self))

    def getNumChannels(self) -> int:
        """Return the number of channels F."""
        return int(_meanforce.MomentTensorForce_getNumChannels(self))

    def getNumFeatures(self) -> int:
        """Return the number of inputs of the network, (L + 2) F."""
        return int(_meanforce.MomentTensorForce_getNumFeatures(self))

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
        array = _array("coefficients", coefficients, shape, "(functions, L + 1, channels)")
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
        _meanforce.MomentTensorForce_setTypeWeights(self, _array("weights", weights, shape, "(types, channels)"))

    def getTypeWeights(self) -> FloatArray:
        """Return the weights, shape (types, F); (0, F) before they are set."""
        return _meanforce.MomentTensorForce_getTypeWeights(self)  # type: ignore[no-any-return]

    def _layer(self, inputs: int, outputs: int | None, weights: ArrayLike, biases: ArrayLike) -> list[FloatArray]:
        types = self.getNumTypes()
        w = _array("weights", weights, (types, outputs, inputs), "(types, outputs, inputs)")
        return [w, _array("biases", biases, (types, w.shape[1]), "(types, outputs)")]

    def addLayer(self, weights: ArrayLike, biases: ArrayLike) -> int:
        """Append a dense layer to the network; the last layer must have one output (kJ/mol).

        Parameters
        ----------
        weights : array_like, shape (types, outputs, inputs)
            `inputs` is `getNumFeatures()` for the first layer, and the outputs of the layer before for the others.
        biases : array_like, shape (types, outputs)

        Returns
        -------
        int
            The index of the layer.

        Raises
        ------
        ValueError
            If a shape is another.
        """
        layers = self.getNumLayers()
        inputs = self.getLayerParameters(layers - 1)[0].shape[1] if layers else self.getNumFeatures()
        return int(_meanforce.MomentTensorForce_addLayer(self, *self._layer(inputs, None, weights, biases)))

    def getNumLayers(self) -> int:
        """Return the number of layers."""
        return int(_meanforce.MomentTensorForce_getNumLayers(self))

    def getLayerParameters(self, index: int) -> tuple[FloatArray, FloatArray]:
        """Return a layer's weights, shape (types, outputs, inputs), and biases, shape (types, outputs)."""
        return _meanforce.MomentTensorForce_getLayerParameters(self, index)  # type: ignore[no-any-return]

    def setLayerParameters(self, index: int, weights: ArrayLike, biases: ArrayLike) -> None:
        """Replace a layer's parameters by others of the same shape.

        Raises
        ------
        ValueError
            If a shape is another.
        """
        _, outputs, inputs = self.getLayerParameters(index)[0].shape
        _meanforce.MomentTensorForce_setLayerParameters(self, index, *self._layer(inputs, outputs, weights, biases))

    def setActivation(self, activation: str) -> None:
        """Set the activation function of the hidden layers, "tanh" (the default) or "silu"."""
        _meanforce.MomentTensorForce_setActivation(self, activation)

    def getActivation(self) -> str:
        """Return the activation function of the hidden layers."""
        return str(_meanforce.MomentTensorForce_getActivation(self))

    def addParticle(self, type: int) -> int:
        """Add the next particle of the System and return its index; one of type -1 takes no part."""
        return int(_meanforce.MomentTensorForce_addParticle(self, int(type)))

    def getNumParticles(self) -> int:
        """Return the number of particles."""
        return int(_meanforce.MomentTensorForce_getNumParticles(self))

    def getParticleType(self, index: int) -> int:
        """Return the type of a particle."""
        return int(_meanforce.MomentTensorForce_getParticleType(self, index))

    def setParticleType(self, index: int, type: int) -> None:
        """Set the type of a particle."""
        _meanforce.MomentTensorForce_setParticleType(self, index, int(type))

    def setUsesPeriodicBoundaryConditions(self, periodic: bool) -> None:
        """Set whether distances are those to the nearest periodic image; the default is False."""
        _meanforce.MomentTensorForce_setUsesPeriodicBoundaryConditions(self, bool(periodic))

    def updateParametersInContext(self, context: openmm.Context) -> None:
        """Copy filter coefficients, type weights, layer parameters and particle types to a Context.

        Raises
        ------
        openmm.OpenMMException
            If anything else changed since the Context was created.
        """
        _meanforce.MomentTensorForce_updateParametersInContext(self, context)
