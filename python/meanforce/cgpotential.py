# SPDX-License-Identifier: MIT
"""A coarse-grained potential read from model.pt, as OpenMM forces."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import openmm
from openmm import unit

from . import modelfile
from ._openmm import strip_units
from .beadforce import BeadForce
from .bondedforces import BONDED_TERMS, bonded_force
from .bonds import BondGraph
from .modelfile import BeadType, Component, ModelFile
from .momenttensor import MomentTensorForce
from .pairspline import PairSplineForce
from .schnet import SchNetForce
from .stillingerweber import StillingerWeberForce

if TYPE_CHECKING:
    import torch
    from openmm.app import Atom, Topology

    from .memorykernel import MemoryKernel

#: Values of `implementation`.
IMPLEMENTATIONS = ("native", "torchscript")
#: Values of `filters`.
FILTERS = ("tabulated", "exact")
TEMPERATURE_PARAMETER = "MeanForceTemperature"
"""Context parameter with the temperature, in K, of all temperature-dependent potentials."""


class CGPotential:
    """A coarse-grained potential from a model file, ready for OpenMM.

    Models of other architectures run too, in torch: a TorchScript archive of another program, or any module. They are
    called as ``model(positions, types, box, temperature)``, with positions (N, 3) in nm, types (N,) as int64, box
    (3, 3) in nm or None, temperature in K as a scalar tensor or None, and return the energy in kJ/mol or each bead's
    share of it. `implementation` and the object's repr say what runs.

    Parameters
    ----------
    source : str or path-like or torch.nn.Module
        A `model.pt` written by ``meanforce.export``: its native half is read at once, without torch. Or, together with
        `bead_types`, another TorchScript archive or a module.
    bead_types : sequence of BeadType or str, optional
        The types of beads of another architecture's model, in the order of their indices, or just their names. A
        module's own `bead_types` are the default.
    cutoff : float, optional
        Largest distance in nm at which two beads of another architecture's model see each other. The module's own
        `cutoff` is the default, or else there is none, and then no periodic box.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If the file is damaged, altered or too new (a ValueError).
    ValueError
        If `bead_types` is missing for another architecture's model, or given for a `model.pt`.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | torch.nn.Module,
        *,
        bead_types: Iterable[BeadType | str] | None = None,
        cutoff: float | None = None,
    ) -> None:
        if isinstance(source, str | os.PathLike):
            self._source: Any = os.path.abspath(os.fspath(source))
            if bead_types is None:
                if cutoff is not None:
                    raise ValueError("cutoff is read from the model file; give it together with bead_types only")
                self._file = modelfile.read(source)
            else:
                if modelfile.has_description(source):
                    raise ValueError(f"'{self._source}' has bead types and a cutoff of its own: leave out bead_types")
                self._file = _other_model(bead_types, cutoff)
        else:
            if bead_types is None:
                bead_types = getattr(source, "bead_types", None)
            if bead_types is None:
                raise ValueError(f"a module needs bead_types, which {type(source).__name__} does not have")
            self._source = source
            self._file = _other_model(bead_types, getattr(source, "cutoff", None) if cutoff is None else cutoff)

    def __repr__(self) -> str:
        name = f"'{self._source}'" if isinstance(self._source, str) else type(self._source).__name__
        runs = {"native": "runs natively", "torchscript": "runs in torch, not natively"}[self.implementation]
        return f"<CGPotential {name}, {self.numTypes} bead types, cutoff {self.cutoff} nm: {runs}>"

    @property
    def implementation(self) -> str:
        """What `createSystem` uses unless told otherwise: ``"native"``, or ``"torchscript"`` for other models."""
        return "native" if self._file.components else "torchscript"

    @property
    def isTemperatureDependent(self) -> bool:
        """Whether the potential needs a temperature."""
        own = getattr(self._source, "temperature_dependent", False)
        return bool(own) or any(component.temperature_dependent for component in self._file.components)

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
    def bondGraph(self) -> BondGraph | None:
        """The bonded system that the TorchScript half is for; native forces take their bonds from the topology."""
        return self._file.bond_graph

    @property
    def needsBonds(self) -> bool:
        """Whether the potential has bonded terms or pairs excluded along bonds."""
        return any(component.needs_bonds for component in self._file.components)

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
        self,
        topology: Topology,
        temperature: Any = None,
        replicas: int = 1,
        implementation: str | None = None,
        filters: str = "tabulated",
        tolerance: float | None = None,
    ) -> openmm.System:
        """Return a System of the beads in a topology, with their masses, the periodic box and the potential's forces.

        Parameters
        ----------
        topology : openmm.app.Topology
            One atom per bead. A bead's type is the one with its residue's and its own name, or else the only one with
            its name. A model with a single type and no table of types takes every atom for that type. Distances are
            periodic exactly if the topology has box vectors. Bonded terms and exclusions follow its bonds.
        temperature : float or Quantity, optional
            In K. Needed by a potential that depends on temperature. It is the default of the Context parameter
            ``MeanForceTemperature``, and without effect on a native potential that does not depend on it. A model of
            another architecture gets it if it is given.
        replicas : int
            Number of copies of the topology that do not see one another. The System holds the beads of the first copy,
            then those of the second, and so on; ``meanforce.replicas`` makes a topology and positions to match. All
            copies share the box and the temperature; a barostat is refused.
        implementation : str, optional
            ``"native"``, or ``"torchscript"`` to run the TorchScript half in float64, with openmm-torch's TorchForce
            where that is installed and OpenMM's PythonForce elsewhere. The default is the property of that name; a
            warning says so if that is not ``"native"``.
        filters : str
            ``"tabulated"``, or ``"exact"`` to evaluate the filters of a native SchNet with their network at every
            distance, which is slow and the referee of the tables.
        tolerance : float, optional
            Largest error of a SchNet's tabulated filters, of forces relative to their root mean square. The default is
            1e-6, or 1e-5 with a lower cutoff, where the slope of the filters has a kink.

        Returns
        -------
        openmm.System

        Raises
        ------
        ValueError
            If a bead's type or mass is unknown, the box is smaller than twice the cutoff, a temperature is needed and
            missing, or another argument has a value that is not allowed.
        """
        _check_replicas(replicas)
        if implementation is None:
            implementation = self.implementation
            if implementation != "native":
                warnings.warn(f"{self!r}; implementation='torchscript' says that you know", stacklevel=2)
        if implementation not in IMPLEMENTATIONS:
            raise ValueError(f"implementation must be one of {', '.join(IMPLEMENTATIONS)}, got {implementation!r}")
        if replicas > 1 and implementation != "native":
            raise ValueError(f"replicas must be 1 with implementation={implementation!r}, got {replicas}")
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
        bonds = [(bond[0].index, bond[1].index) for bond in topology.bonds()]
        if implementation == "native":
            self._check_native()
            if self.needsBonds and not bonds:
                raise ValueError(f"the potential in '{self._source}' has bonded terms, but the topology has no bonds")
            forces = self.createForces(types, temperature, box is not None, filters, replicas, tolerance, bonds)
        else:
            self._check_bonds(types, bonds)
            forces = [self._torch_force(types, temperature, box is not None)]
        for force in forces:
            system.addForce(force)
        return system

    def createForces(
        self,
        types: Iterable[int | str],
        temperature: Any = None,
        periodic: bool = False,
        filters: str = "tabulated",
        replicas: int = 1,
        tolerance: float | None = None,
        bonds: Iterable[tuple[int, int]] | None = None,
    ) -> list[openmm.Force]:
        """Return the potential as OpenMM forces, for a System whose particles are all beads.

        Parameters
        ----------
        types : iterable of int or str
            The type of each bead of one replica, as its index or as its name.
        temperature : float or Quantity, optional
            In K; see createSystem.
        periodic : bool
            Whether distances are those to the nearest periodic image.
        filters : str
            ``"tabulated"`` or ``"exact"``; see createSystem.
        replicas : int
            Number of copies that do not see one another; particles are ordered copy by copy.
        tolerance : float, optional
            Of tabulated filters; see createSystem.
        bonds : iterable of (int, int), optional
            The bonded beads of one replica, needed by a model with bonded terms or exclusions.

        Returns
        -------
        list of openmm.Force
            One for each component: PairSplineForce, StillingerWeberForce, MomentTensorForce or SchNetForce, and for
            bonded terms OpenMM's HarmonicBondForce, HarmonicAngleForce or PeriodicTorsionForce. For a model of another
            architecture one TorchForce or PythonForce.

        Raises
        ------
        ValueError
            If a type is unknown, the temperature is not positive, or one is needed and missing, `replicas` is not a
            whole number >= 1, or `bonds` are needed and missing or without parameters.
        """
        _check_replicas(replicas)
        if filters not in FILTERS:
            raise ValueError(f"filters must be one of {', '.join(FILTERS)}, got {filters!r}")
        indices = self._type_indices(types)
        if not self._file.components:
            if replicas > 1:
                raise ValueError(f"replicas must be 1 for a model of another architecture, got {replicas}")
            return [self._torch_force(indices, temperature, bool(periodic))]
        kelvin = self._checked_temperature(temperature)
        if bonds is None and self.needsBonds:
            raise ValueError(f"the potential in '{self._source}' has bonded terms or exclusions: give bonds")
        graph = BondGraph.create(indices, bonds or ())
        forces: list[openmm.Force] = []
        for component in self.components:
            if component.kind in BONDED_TERMS:
                forces.append(bonded_force(component, graph, replicas, bool(periodic)))
                continue
            force = _FORCES[component.kind](component, self.numTypes)
            force.setUsesPeriodicBoundaryConditions(periodic)
            if component.temperature_dependent:
                force.setDefaultTemperature(kelvin)
            for replica in range(replicas):
                for bead_type in indices:
                    force.addParticle(bead_type, replica)
                for i, j in graph.pairs_within(component.architecture.get("exclude_bonds", 0)):
                    force.addExclusion(i + replica * len(indices), j + replica * len(indices))
            if component.kind == "schnet" and filters == "tabulated":
                _tabulate_filters(force, component, tolerance)
            forces.append(force)
        return forces

    def toTorchScript(self, path: str | os.PathLike[str], types: Iterable[int | str], periodic: bool = False) -> None:
        """Write the potential of beads of given types in the form that openmm-torch's ``TorchForce`` expects.

        The written module has ``forward(positions)``, or ``forward(positions, boxvectors)`` if periodic, with positions
        in nm, and returns the energy in kJ/mol. If the potential depends on temperature, that is one more argument, in
        K, for a global parameter of the TorchForce. Needs torch.

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
        indices = self._type_indices(types)
        self._check_bonds(indices, None)
        _torchscript.save_bound(self._source, path, indices, periodic, self.isTemperatureDependent)

    def _torch_force(self, types: list[int], temperature: Any, periodic: bool) -> openmm.Force:
        from . import _torchscript

        self._check_torchscript()
        kelvin = self._checked_temperature(temperature)
        if self._file.components and not self.isTemperatureDependent:
            kelvin = None
        return _torchscript.make_force(self._source, types, periodic, kelvin)

    def _checked_temperature(self, temperature: Any) -> float | None:
        _check_temperature(temperature)
        if temperature is None:
            if self.isTemperatureDependent:
                raise ValueError(f"the potential in '{self._source}' depends on temperature: give one, in K")
            return None
        return float(strip_units(temperature, unit.kelvin))

    def _check_native(self) -> None:
        if not self._file.components:
            raise ValueError(f"{self!r}; implementation='torchscript' works")

    def _check_torchscript(self) -> None:
        if not self._file.has_torchscript:
            raise ValueError(f"'{self._source}' has no TorchScript half; implementation='native' works")

    def _check_bonds(self, types: list[int], bonds: Iterable[tuple[int, int]] | None) -> None:
        """Raise unless the TorchScript half is for beads of these types, and these bonds if given."""
        own = self._file.bond_graph
        if own is None or not self.needsBonds:
            return
        same_bonds = bonds is None or BondGraph.create(types, bonds).bonds == own.bonds
        if tuple(types) != own.types or not same_bonds:
            raise ValueError(
                f"the TorchScript half of '{self._source}' is for one bonded system of {len(own.types)} beads with "
                f"{len(own.bonds)} bonds, not for these {len(types)} beads; implementation='native' works"
            )

    def _check_box(self, box: Any) -> None:
        if math.isinf(self._file.cutoff):
            raise ValueError(f"{self!r}: in a periodic box the model's cutoff must be given")
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


def _other_model(bead_types: Iterable[BeadType | str], cutoff: float | None) -> ModelFile:
    table = [BeadType(bead) if isinstance(bead, str) else bead for bead in bead_types]
    if not table or not all(isinstance(bead, BeadType) for bead in table):
        raise ValueError(f"bead_types must be one or more BeadType or names, got {table!r}")
    length = math.inf if cutoff is None else float(strip_units(cutoff, unit.nanometer))
    if not length > 0:
        raise ValueError(f"cutoff must be a positive length in nm, got {cutoff!r}")
    return ModelFile(len(table), length, table, [], None, {}, True)


def _check_temperature(temperature: Any) -> None:
    if temperature is not None:
        value = float(strip_units(temperature, unit.kelvin))
        if not 0 < value < math.inf:
            raise ValueError(f"temperature must be positive, got {value} K")


def _check_replicas(replicas: Any) -> None:
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 1:
        raise ValueError(f"replicas must be a whole number >= 1, got {replicas!r}")


def _moment_tensor_force(component: Component, num_types: int) -> BeadForce:
    sizes, tensors = component.architecture, component.tensors
    force = MomentTensorForce(num_types, component.cutoff, sizes["max_l"], sizes["channels"])
    for degrees, shifts in sizes.get("products", []):
        force.addProduct(degrees, shifts)
    force.setFilters(component.cutoff / sizes["radial_functions"], tensors["filters"])
    force.setTypeWeights(tensors["type_weights"])
    _set_readouts(force, component)
    for layer in range(len(sizes["hidden"]) + 1):
        force.addLayer(tensors[f"layers.{layer}.weight"], tensors[f"layers.{layer}.bias"])
    force.setActivation(sizes["activation"])
    return force


def _schnet_force(component: Component, num_types: int) -> BeadForce:
    """Return a SchNetForce, with the grid of a model that was trained on one and exact filters otherwise."""
    sizes, tensors = component.architecture, component.tensors
    force = SchNetForce(num_types, component.cutoff, sizes["features"], sizes["filters"], sizes["blocks"])
    widths = [tensors["radial.betas"]] if sizes["basis"] == "expnormal" else []
    force.setRadialBasis(sizes["basis"], sizes["basis_exponent"], tensors["radial.centers"], *widths)
    force.setCutoffFunction(sizes["cutoff_function"], sizes["cutoff_lower"])
    force.setActivation(sizes["activation"])
    force.setEmbeddings(tensors["embedding"])
    for block in range(sizes["blocks"]):
        names = [
            "lin1.weight",
            *(f"{n}.{p}" for n in ("filter1", "filter2", "lin2", "lin3") for p in ("weight", "bias")),
        ]
        force.setBlockParameters(block, *(tensors[f"blocks.{block}.{name}"] for name in names))
    _set_readouts(force, component)
    for layer in range(len(sizes["hidden"]) + 1):
        force.addLayer(tensors[f"layers.{layer}.weight"][None], tensors[f"layers.{layer}.bias"][None])
    force.setTypeEnergies(tensors["type_energies"])
    if sizes["filter_grid"] is not None:
        tables = np.stack([tensors[f"blocks.{block}.filter_table"] for block in range(sizes["blocks"])])
        force.setFilterTables(sizes["filter_grid"]["degree"], sizes["filter_grid"]["intervals"], tables)
    return force


def _tabulate_filters(force: Any, component: Component, tolerance: float | None) -> None:
    """Put the filters on a grid, unless the model brings its own."""
    if component.architecture["filter_grid"] is None:
        if tolerance is None:
            tolerance = 1e-6 if component.architecture["cutoff_lower"] == 0 else 1e-5
        force.tabulateFilters(tolerance)


def _set_readouts(force: Any, component: Component) -> None:
    if component.temperature_dependent:
        force.setTemperatureDependent(True)
        force.setOffset(component.tensors["offset"])


def _pair_spline_force(component: Component, num_types: int) -> BeadForce:
    force = PairSplineForce(num_types, component.cutoff)
    force.setCoefficients(component.tensors["coefficients"])
    return force


def _stillinger_weber_force(component: Component, num_types: int) -> BeadForce:
    force = StillingerWeberForce(num_types, component.cutoff)
    for center in range(num_types):
        for second in range(num_types):
            sizes = (component.architecture[name][center][second] for name in ("ranges", "gammas"))
            force.setPairParameters(center, second, *sizes)
            for first in range(second + 1):
                row = second * (second + 1) // 2 + first
                force.setTripletParameters(center, first, second, *component.tensors["coefficients"][center, row])
    return force


#: How each kind of component becomes a force, still without beads.
_FORCES: dict[str, Callable[[Component, int], Any]] = {
    "moment-tensor": _moment_tensor_force,
    "pair-spline": _pair_spline_force,
    "schnet": _schnet_force,
    "stillinger-weber": _stillinger_weber_force,
}
