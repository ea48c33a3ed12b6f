# SPDX-License-Identifier: MIT
"""A coarse-grained potential read from model.pt, as OpenMM forces."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import openmm
from openmm import unit

from . import modelfile
from ._openmm import strip_units
from .modelfile import BeadType, Component
from .momenttensor import MomentTensorForce
from .pairspline import PairSplineForce
from .stillingerweber import StillingerWeberForce

if TYPE_CHECKING:
    from openmm.app import Atom, Topology

    from .memorykernel import MemoryKernel

#: Values of `implementation`.
IMPLEMENTATIONS = ("native", "torchscript")


class CGPotential:
    """A coarse-grained potential from a model file, ready for OpenMM.

    Parameters
    ----------
    path : str or path-like
        A `model.pt` written by ``meanforce.export``. Its native half is read at once, without torch.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If the file is damaged, altered or too new (a ValueError).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.path.abspath(os.fspath(path))
        self._file = modelfile.read(path)

    @property
    def numTypes(self) -> int:
        """Number of bead types."""
        return self._file.num_types

    @property
    def beadTypes(self) -> list[BeadType] | None:
        """The table of bead types, in the order of their indices; None if the model has no names for them."""
        return None if self._file.bead_types is None else list(self._file.bead_types)

    @property
    def cutoff(self) -> float:
        """The largest distance at which two beads see each other, in nm."""
        return self._file.cutoff

    @property
    def components(self) -> list[Component]:
        """The terms of the energy with their parameters."""
        return list(self._file.components)

    @property
    def description(self) -> dict[str, Any]:
        """The content of the file's meanforce.json."""
        return self._file.description

    @property
    def memoryKernel(self) -> MemoryKernel | None:
        """The memory kernel that the file carries, or None."""
        if self._file.kernel is None:
            return None
        from .memorykernel import MemoryKernel

        return MemoryKernel.from_json(self._file.kernel)

    def createSystem(
        self, topology: Topology, temperature: Any = None, replicas: int = 1, implementation: str = "native"
    ) -> openmm.System:
        """Return a System of the beads in a topology, with their masses, the periodic box and the potential's forces.

        Parameters
        ----------
        topology : openmm.app.Topology
            One atom per bead. A bead's type is the one with its residue's and its own name, or else the only one with
            its name. A model with a single type and no table of types takes every atom for that type. Distances are
            periodic exactly if the topology has box vectors.
        temperature : float or Quantity, optional
            In K. Without effect on a potential that does not depend on temperature, which are all in this version.
        replicas : int
            Only 1 in this version.
        implementation : str
            ``"native"``, or ``"torchscript"`` to run the TorchScript half in float64, with openmm-torch's TorchForce
            where that is installed and OpenMM's PythonForce elsewhere.

        Returns
        -------
        openmm.System

        Raises
        ------
        ValueError
            If a bead's type or mass is unknown, the box is smaller than twice the cutoff, or another argument has
            a value that is not allowed.
        """
        if replicas != 1:
            raise ValueError(
                f"replicas must be 1, got {replicas!r}: several replicas are not available in this version"
            )
        if implementation not in IMPLEMENTATIONS:
            raise ValueError(f"implementation must be one of {', '.join(IMPLEMENTATIONS)}, got {implementation!r}")
        _check_temperature(temperature)
        atoms = list(topology.atoms())
        types = [self._type_of(atom) for atom in atoms]
        system = openmm.System()
        for atom, bead_type in zip(atoms, types, strict=True):
            system.addParticle(self._mass(atom, bead_type))
        box = topology.getPeriodicBoxVectors()
        if box is not None:
            self._check_box(box)
            system.setDefaultPeriodicBoxVectors(*box)
        if implementation == "native":
            forces = self.createForces(types, temperature, box is not None)
        else:
            from . import _torchscript

            self._check_torchscript()
            forces = [_torchscript.make_force(self._path, types, box is not None)]
        for force in forces:
            system.addForce(force)
        return system

    def createForces(
        self, types: Iterable[int | str], temperature: Any = None, periodic: bool = False
    ) -> list[openmm.Force]:
        """Return the potential as native OpenMM forces, for a System whose particles are all beads.

        Parameters
        ----------
        types : iterable of int or str
            The type of each bead, as its index or as its name.
        temperature : float or Quantity, optional
            In K. Without effect on a potential that does not depend on temperature.
        periodic : bool
            Whether distances are those to the nearest periodic image.

        Returns
        -------
        list of openmm.Force
            One for each component: PairSplineForce, StillingerWeberForce or MomentTensorForce.

        Raises
        ------
        ValueError
            If a type is unknown or the temperature is not positive.
        """
        _check_temperature(temperature)
        indices = self._type_indices(types)
        return [
            _FORCES[component.kind](component, self.numTypes, indices, bool(periodic)) for component in self.components
        ]

    def toTorchScript(self, path: str | os.PathLike[str], types: Iterable[int | str], periodic: bool = False) -> None:
        """Write the potential of beads of given types in the form that openmm-torch's ``TorchForce`` expects.

        The written module has ``forward(positions)``, or ``forward(positions, boxvectors)`` if periodic, with positions
        in nm, and returns the energy in kJ/mol. Needs torch.

        Parameters
        ----------
        path : str or path-like
        types : iterable of int or str
            The type of each bead, as its index or as its name.
        periodic : bool

        Raises
        ------
        ValueError
            If a type is unknown, or the model file has a native half only.
        """
        from . import _torchscript

        self._check_torchscript()
        _torchscript.save_bound(self._path, path, self._type_indices(types), periodic)

    def _check_torchscript(self) -> None:
        if not self._file.has_torchscript:
            raise ValueError(f"'{self._path}' has no TorchScript half; implementation='native' works")

    def _check_box(self, box: Any) -> None:
        edges = [float(strip_units(box[axis][axis], unit.nanometer)) for axis in range(3)]
        if min(edges) < 2 * self._file.cutoff:
            raise ValueError(
                f"the periodic box, {min(edges)} nm on its shortest edge, must be at least twice the cutoff, "
                f"{self._file.cutoff} nm"
            )

    def _known_types(self) -> str:
        if self._file.bead_types is None:
            return f"0 .. {self.numTypes - 1} (the model has no names for them)"
        return ", ".join(
            f"{i}: {bead.residue + '/' if bead.residue else ''}{bead.name}"
            for i, bead in enumerate(self._file.bead_types)
        )

    def _type_of(self, atom: Atom) -> int:
        table = self._file.bead_types
        if table is None:
            if self.numTypes == 1:
                return 0
            raise ValueError(
                f"the model has {self.numTypes} bead types without names, so a topology can't say which bead is which: "
                "use createForces with indices, or export the model with bead_types"
            )
        named = [i for i, bead in enumerate(table) if bead.name == atom.name]
        exact = [i for i in named if table[i].residue == atom.residue.name]
        if exact:
            return exact[0]
        if len(named) == 1:
            return named[0]
        problem = "is unknown to the model" if not named else "fits several types of the model"
        raise ValueError(f"bead {atom.index}, {atom.residue.name}/{atom.name}, {problem}; known: {self._known_types()}")

    def _type_indices(self, types: Iterable[int | str]) -> list[int]:
        indices = []
        for value in types:
            if isinstance(value, str):
                found = [i for i, bead in enumerate(self._file.bead_types or []) if bead.name == value]
            elif isinstance(value, int | np.integer) and not isinstance(value, bool):
                found = [int(value)] if 0 <= value < self.numTypes else []
            else:
                raise TypeError(f"a bead type must be an index or a name, got {value!r}")
            if len(found) != 1:
                problem = "stands for several bead types" if found else "is not a bead type of the model"
                raise ValueError(f"{value!r} {problem}; known: {self._known_types()}")
            indices.append(found[0])
        return indices

    def _mass(self, atom: Atom, bead_type: int) -> float:
        table = self._file.bead_types
        mass = None if table is None else table[bead_type].mass
        if mass is not None:
            return mass
        if atom.element is None:
            raise ValueError(
                f"bead {atom.index}, {atom.residue.name}/{atom.name}, has no mass: the model gives none for its type "
                f"{bead_type}, and its atom in the topology has no element"
            )
        return float(strip_units(atom.element.mass, unit.dalton))


def _check_temperature(temperature: Any) -> None:
    if temperature is not None:
        value = float(strip_units(temperature, unit.kelvin))
        if not 0 < value < math.inf:
            raise ValueError(f"temperature must be positive, got {value} K")


def _moment_tensor_force(component: Component, num_types: int, types: list[int], periodic: bool) -> openmm.Force:
    sizes, tensors = component.architecture, component.tensors
    force = MomentTensorForce(num_types, component.cutoff, sizes["max_l"], sizes["channels"])
    force.setFilters(component.cutoff / sizes["radial_functions"], tensors["filters"])
    force.setTypeWeights(tensors["type_weights"])
    for layer in range(len(sizes["hidden"]) + 1):
        force.addLayer(tensors[f"layers.{layer}.weight"], tensors[f"layers.{layer}.bias"])
    force.setActivation(sizes["activation"])
    force.setUsesPeriodicBoundaryConditions(periodic)
    for bead_type in types:
        force.addParticle(bead_type)
    return force


def _pair_spline_force(component: Component, num_types: int, types: list[int], periodic: bool) -> openmm.Force:
    force = PairSplineForce(num_types, component.cutoff)
    force.setCoefficients(component.tensors["coefficients"])
    force.setUsesPeriodicBoundaryConditions(periodic)
    for bead_type in types:
        force.addParticle(bead_type)
    return force


def _stillinger_weber_force(component: Component, num_types: int, types: list[int], periodic: bool) -> openmm.Force:
    force = StillingerWeberForce(num_types, component.cutoff)
    for center in range(num_types):
        for second in range(num_types):
            sizes = (component.architecture[name][center][second] for name in ("ranges", "gammas"))
            force.setPairParameters(center, second, *sizes)
            for first in range(second + 1):
                row = second * (second + 1) // 2 + first
                force.setTripletParameters(center, first, second, *component.tensors["coefficients"][center, row])
    force.setUsesPeriodicBoundaryConditions(periodic)
    for bead_type in types:
        force.addParticle(bead_type)
    return force


_FORCES = {
    "moment-tensor": _moment_tensor_force,
    "pair-spline": _pair_spline_force,
    "stillinger-weber": _stillinger_weber_force,
}
