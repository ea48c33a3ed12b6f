# SPDX-License-Identifier: MIT
"""What all our forces share: typed beads within a cutoff, replicas, networks, dependence on temperature."""

from __future__ import annotations

from typing import Any, Self

import openmm
from numpy.typing import ArrayLike
from openmm import unit

from . import _meanforce
from ._openmm import FloatArray, adopt, float_array, strip_units


class BeadForce(openmm.Force):
    """A force on typed beads that see each other up to a cutoff; the base of every potential here.

    Each particle of the System has a type and belongs to a replica. One of type -1 takes no part. Particles of
    different replicas do not see each other.

    Notes
    -----
    ``System.getForce()``, ``XmlSerializer.deserialize()`` and similar functions of OpenMM return a plain
    ``openmm.Force``: the method `cast` turns it into its class.
    """

    def _create(self, num_types: int, cutoff: Any, **attributes: int | str) -> None:
        """Create the C++ object from our XML; all checks are made there."""
        length = float(strip_units(cutoff, unit.nanometer))
        name = type(self).__name__
        more = "".join(f' {key}="{value}"' for key, value in attributes.items())
        xml = f'<Force type="meanforce::{name}" version="1" numTypes="{int(num_types)}" cutoff="{length!r}"{more}/>'
        try:
            adopt(self, xml)
        except openmm.OpenMMException as error:
            raise ValueError(str(error)) from None

    @classmethod
    def isinstance(cls, force: openmm.Force) -> bool:
        """Return whether an ``openmm.Force`` of any Python class is one of this class."""
        return bool(getattr(_meanforce, f"is_{cls.__name__}")(force))

    @classmethod
    def cast(cls, force: openmm.Force) -> Self:
        """Turn the generic ``openmm.Force`` that OpenMM returns into one of this class, in place.

        Raises
        ------
        TypeError
            If it is a force of another kind.
        """
        if not cls.isinstance(force):
            raise TypeError(f"expected a {cls.__name__}, got {force.getName()}")
        force.__class__ = cls
        return force  # type: ignore[no-any-return]

    def getNumTypes(self) -> int:
        """Return the number of bead types."""
        return int(_meanforce.BeadForce_getNumTypes(self))

    def getCutoff(self) -> Any:
        """Return the cutoff distance, a Quantity."""
        return _meanforce.BeadForce_getCutoff(self) * unit.nanometer

    def addParticle(self, type: int, replica: int = 0) -> int:
        """Add the next particle of the System and return its index.

        Parameters
        ----------
        type : int
            Its type; -1 if it takes no part.
        replica : int
            The copy of the system that it belongs to. Copies do not see each other.

        Raises
        ------
        ValueError
            If one of them is out of range.
        """
        return int(_meanforce.BeadForce_addParticle(self, int(type), int(replica)))

    def getNumParticles(self) -> int:
        """Return the number of particles."""
        return int(_meanforce.BeadForce_getNumParticles(self))

    def getNumReplicas(self) -> int:
        """Return the number of replicas, one more than the largest replica of any particle."""
        return int(_meanforce.BeadForce_getNumReplicas(self))

    def getParticleType(self, index: int) -> int:
        """Return the type of a particle."""
        return int(_meanforce.BeadForce_getParticleType(self, index))

    def setParticleType(self, index: int, type: int) -> None:
        """Set the type of a particle."""
        _meanforce.BeadForce_setParticleType(self, index, int(type))

    def getParticleReplica(self, index: int) -> int:
        """Return the replica of a particle."""
        return int(_meanforce.BeadForce_getParticleReplica(self, index))

    def setUsesPeriodicBoundaryConditions(self, periodic: bool) -> None:
        """Set whether distances are those to the nearest periodic image; the default is False."""
        _meanforce.BeadForce_setUsesPeriodicBoundaryConditions(self, bool(periodic))

    def updateParametersInContext(self, context: openmm.Context) -> None:
        """Copy all parameters and the particles' types to a Context.

        Raises
        ------
        openmm.OpenMMException
            If anything else changed since the Context was created.
        """
        _meanforce.BeadForce_updateParametersInContext(self, context)

    def getReplicaEnergies(self, context: openmm.Context) -> FloatArray:
        """Return this force's energy of each replica at the Context's positions, shape (replicas,), in kJ/mol."""
        return _meanforce.BeadForce_getReplicaEnergies(self, context)  # type: ignore[no-any-return]


class NetworkForce(BeadForce):
    r"""A force in which a dense network turns the features of each bead into its energy.

    The energy may depend on the temperature,

    .. math::

        U(x; T) = \sum_i A_i(x) - T \sum_i B_i(x) + C(T), \qquad C(T) = c_0 + c_1 T + c_2 T \ln T + c_3 T^2

    with C(T) for each replica. The last layer then has two outputs, A and B, and T is the Context parameter
    `TemperatureParameter`, which must agree with the integrator's temperature whenever a step is made.
    """

    @staticmethod
    def TemperatureParameter() -> str:
        """Return the name of the Context parameter with the temperature (K); all forces of a Context share it."""
        return str(_meanforce.TemperatureParameter)

    def getNumFeatures(self) -> int:
        """Return the number of inputs of the network."""
        return int(_meanforce.NetworkForce_getNumFeatures(self))

    def getNumNetworks(self) -> int:
        """Return the number of separate networks: one for each type, or one for all."""
        return int(_meanforce.NetworkForce_getNumNetworks(self))

    def _layer(self, inputs: int, outputs: int | None, weights: ArrayLike, biases: ArrayLike) -> list[FloatArray]:
        networks = self.getNumNetworks()
        w = float_array("weights", weights, (networks, outputs, inputs), "(networks, outputs, inputs)")
        return [w, float_array("biases", biases, (networks, w.shape[1]), "(networks, outputs)")]

    def addLayer(self, weights: ArrayLike, biases: ArrayLike) -> int:
        """Append a dense layer to the network; the last layer has one output (kJ/mol), or two (kJ/mol and kJ/mol/K).

        Parameters
        ----------
        weights : array_like, shape (networks, outputs, inputs)
            `inputs` is `getNumFeatures()` for the first layer, and the outputs of the layer before for the others.
        biases : array_like, shape (networks, outputs)

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
        return int(_meanforce.NetworkForce_addLayer(self, *self._layer(inputs, None, weights, biases)))

    def getNumLayers(self) -> int:
        """Return the number of layers."""
        return int(_meanforce.NetworkForce_getNumLayers(self))

    def getLayerParameters(self, index: int) -> tuple[FloatArray, FloatArray]:
        """Return a layer's weights, shape (networks, outputs, inputs), and biases, shape (networks, outputs)."""
        return _meanforce.NetworkForce_getLayerParameters(self, index)  # type: ignore[no-any-return]

    def setLayerParameters(self, index: int, weights: ArrayLike, biases: ArrayLike) -> None:
        """Replace a layer's parameters by others of the same shape.

        Raises
        ------
        ValueError
            If a shape is another.
        """
        _, outputs, inputs = self.getLayerParameters(index)[0].shape
        _meanforce.NetworkForce_setLayerParameters(self, index, *self._layer(inputs, outputs, weights, biases))

    def setActivation(self, activation: str) -> None:
        """Set the activation function of the hidden layers, "tanh" (the default) or another that the class offers."""
        _meanforce.NetworkForce_setActivation(self, activation)

    def getActivation(self) -> str:
        """Return the activation function of the hidden layers."""
        return str(_meanforce.NetworkForce_getActivation(self))

    def setTemperatureDependent(self, dependent: bool) -> None:
        """Set whether the energy depends on the temperature, so that the last layer has two outputs."""
        _meanforce.NetworkForce_setTemperatureDependent(self, bool(dependent))

    def isTemperatureDependent(self) -> bool:
        """Return whether the energy depends on the temperature."""
        return bool(_meanforce.NetworkForce_isTemperatureDependent(self))

    def setDefaultTemperature(self, temperature: Any) -> None:
        """Set the temperature (K) that new Contexts start with."""
        _meanforce.NetworkForce_setDefaultTemperature(self, float(strip_units(temperature, unit.kelvin)))

    def getDefaultTemperature(self) -> Any:
        """Return the temperature that new Contexts start with, a Quantity."""
        return _meanforce.NetworkForce_getDefaultTemperature(self) * unit.kelvin

    def setOffset(self, coefficients: ArrayLike) -> None:
        """Set c0 to c3 of C(T), in kJ/mol and K; the default is 0.

        Raises
        ------
        ValueError
            If there are not four of them.
        """
        array = float_array("coefficients", coefficients, (4,), "those of 1, T, T ln T and T^2")
        _meanforce.NetworkForce_setOffset(self, array)

    def getOffset(self) -> FloatArray:
        """Return c0 to c3, shape (4,)."""
        return _meanforce.NetworkForce_getOffset(self)  # type: ignore[no-any-return]

    def addEnergyParameterDerivative(self, name: str) -> None:
        """Ask for the derivative of the energy with respect to a Context parameter.

        Raises
        ------
        ValueError
            If it is not `TemperatureParameter()`.
        """
        _meanforce.NetworkForce_addEnergyParameterDerivative(self, name)
