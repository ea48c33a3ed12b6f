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
from .beadforce import NetworkForce
from .modelfile import BeadType, Component
from .momenttensor import MomentTensorForce

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
            In K. A potential that depends on temperature needs it; others ignore it.
        replicas : int
            Number of copies of the topology that do not see one another. The System holds the beads of the first copy,
            then those of the second, and so on; ``meanforce.replicas`` makes a topology and positions to match. All
            copies share the box and the temperature; a barostat is refused.
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
        _check_replicas(replicas)
        if replicas > 1 and implementation != "native":
            raise ValueError(f"replicas must be 1 with implementation={implementation!r}, got {replicas}")
        if implementation not in IMPLEMENTATIONS:
            raise ValueError(f"implementation must be one of {', '.join(IMPLEMENTATIONS)}, got {implementation!r}")
        _check_temperature(temperature)
        atoms = list(topology.atoms())
        types = [self._type_of(atom) for atom in atoms]
        system = openmm.System()
        masses = [self._mass(atom, bead_type) for atom, bead_type in zip(atoms, types, strict=True)]
        for mass in masses * replicas:
            system.addParticle(mass)
        box = topology.getPeriodicBoxVectors()
        if box is not None:
            self._check_box(box)
            system.setDefaultPeriodicBoxVectors(*box)
        if implementation == "native":
            forces = self.createForces(types, temperature, box is not None, replicas)
        else:
            from . import _torchscript

            self._check_torchscript()
            forces = [_torchscript.make_force(self._path, types, box is not None)]
        for force in forces:
            system.addForce(force)
        return system

    def createForces(
        self, types: Iterable[int | str], temperature: Any = None, periodic: bool = False, replicas: int = 1
    ) -> list[openmm.Force]:
        """Return the potential as native OpenMM forces, for a System whose particles are all beads.

        Parameters
        ----------
        types : iterable of int or str
            The type of each bead of one replica, as its index or as its name.
        temperature : float or Quantity, optional
            In K. A potential that depends on temperature needs it; others ignore it.
        periodic : bool
            Whether distances are those to the nearest periodic image.
        replicas : int
            Number of copies that do not see one another; particles are ordered copy by copy.

        Returns
        -------
        list of openmm.Force
            One for each component: MomentTensorForce, or CustomNonbondedForce for a pair spline.

        Raises
        ------
        ValueError
            If a type is unknown, the temperature is missing or not positive, or `replicas` is not a whole number >= 1.
        """
        _check_temperature(temperature)
        _check_replicas(replicas)
        indices = self._type_indices(types)
        forces = [
            _FORCES[component.kind](component, self.numTypes, indices, bool(periodic)) for component in self.components
        ]
        for force in forces:
            for replica in range(1, replicas):
                for bead_type in indices:
                    force.addParticle(bead_type, replica)
            if isinstance(force, NetworkForce) and force.isTemperatureDependent():
                if temperature is None:
                    raise ValueError("the potential depends on the temperature: give temperature=, in K")
                force.setDefaultTemperature(temperature)
        return forces

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


def _check_replicas(replicas: Any) -> None:
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 1:
        raise ValueError(f"replicas must be a whole number >= 1, got {replicas!r}")


def _moment_tensor_force(component: Component, num_types: int, types: list[int], periodic: bool) -> openmm.Force:
    sizes, tensors = component.architecture, component.tensors
    force = MomentTensorForce(num_types, component.cutoff, sizes["max_l"], sizes["channels"])
    for degrees, shifts in sizes.get("products", []):
        force.addProduct(degrees, shifts)
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
    """Return a CustomNonbondedForce with the splines of all pairs of types, one after another, in one table.

    Three zero coefficients between two splines keep them apart, and three at each end give the table the vanishing
    curvature of the natural spline that OpenMM lays through it: what it evaluates is the same function, not
    an approximation.
    """
    coefficients = component.tensors["coefficients"]
    pairs, functions = coefficients.shape
    spacing = component.cutoff / functions
    stride = functions + 3
    line = np.concatenate([np.pad(coefficients, ((0, 0), (3, 0))).reshape(-1), np.zeros(3)])
    knots = (line[:-2] + 4 * line[1:-1] + line[2:]) / 6  # at x = -3 D, -2 D, ...
    table = openmm.Continuous1DFunction(knots, -3 * spacing, (len(knots) - 4) * spacing)
    force = openmm.CustomNonbondedForce("u(r)" if pairs == 1 else "u(r + start(type1, type2))")
    force.setName("PairSpline")
    force.addTabulatedFunction("u", table)
    if pairs > 1:
        low = np.minimum.outer(np.arange(num_types), np.arange(num_types))
        high = np.maximum.outer(np.arange(num_types), np.arange(num_types))
        start = (high * (high + 1) // 2 + low) * stride * spacing
        force.addTabulatedFunction("start", openmm.Discrete2DFunction(num_types, num_types, start.reshape(-1)))
        force.addPerParticleParameter("type")
    force.setNonbondedMethod(force.CutoffPeriodic if periodic else force.CutoffNonPeriodic)
    force.setCutoffDistance(component.cutoff)
    for bead_type in types:
        force.addParticle([bead_type] if pairs > 1 else [])
    return force


_FORCES = {"moment-tensor": _moment_tensor_force, "pair-spline": _pair_spline_force}
