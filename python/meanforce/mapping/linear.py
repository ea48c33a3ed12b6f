# SPDX-License-Identifier: MIT
"""Linear maps: every bead is a weighted mean of its atoms."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from collections.abc import Mapping as MappingABC
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openmm
from openmm import app, unit
from scipy import sparse

from .._openmm import strip_units
from ..modelfile import BeadType
from . import beads as choose
from .constraints import Pairs, constraints_of_system
from .forcemap import ForceMap, _apply
from .periodic import minimum_image

Weights = str | Sequence[Sequence[float]]
Selection = str | Sequence[int] | Callable[[Any], bool]


class Projected(NamedTuple):
    """Frames of beads in nm, nm/ps and kJ/mol/nm, each (n_frames, n_beads, 3); None where there is nothing."""

    positions: np.ndarray
    velocities: np.ndarray | None
    forces: np.ndarray | None


class Mapping:
    """A linear map that puts every bead at a weighted mean of its atoms, by default at their centre of mass.

    Velocities are mapped like positions; forces by a `ForceMap`, by default the constraint-aware sum over a bead's
    atoms. With centres of mass that sum is the exact projected force, mass times acceleration of the bead. Massless
    particles (virtual sites) carry no weight in any of the three; OpenMM has already passed their forces on to the
    atoms that define them.

    Parameters
    ----------
    beads
        For each bead the indices of its atoms. No atom may be in two beads; atoms in no bead are integrated out.
    masses : (n_atoms,)
        Atomic masses in dalton.
    names, residues
        For each bead its name and the name of its residue; the two together are its type.
    constraints
        Pairs of atoms whose distance is constrained.
    weights : "mass", "geometry" or a sequence per bead
        Centre of mass, mean over the atoms with mass, or for each bead the weights of its atoms, whose sum is one.
    residue_ids
        For each bead the number of its residue: neighbours with the same number share a residue of the topology. By
        default each bead is a residue of its own.
    chain_ids
        For each bead the number of its chain; one chain by default.
    bonds
        Pairs of beads that the topology shows as bonded.

    Raises
    ------
    ValueError
        If a bead is empty or massless, an atom is in two beads, weights do not sum to one, or one bead type has two
        masses.
    """

    def __init__(
        self,
        beads: Sequence[Sequence[int]],
        masses: Any,
        names: Sequence[str],
        residues: Sequence[str],
        constraints: Pairs = (),
        *,
        weights: Weights = "mass",
        residue_ids: Sequence[int] | None = None,
        chain_ids: Sequence[int] | None = None,
        bonds: Pairs = (),
    ) -> None:
        self._atom_masses = np.asarray(strip_units(masses, unit.dalton), dtype=float)
        n, num_atoms = len(beads), len(self._atom_masses)
        sizes = np.array([len(atoms) for atoms in beads], dtype=int)
        if n == 0 or np.any(sizes == 0):
            raise ValueError("a mapping needs at least one bead, and each bead at least one atom")
        if not n == len(names) == len(residues):
            raise ValueError(f"got {n} beads, {len(names)} names and {len(residues)} residue names")
        atoms = np.concatenate([np.asarray(a, dtype=int) for a in beads])
        if atoms.min() < 0 or atoms.max() >= num_atoms:
            raise ValueError(f"atom indices must lie in 0 .. {num_atoms - 1}, got {atoms.min()} .. {atoms.max()}")
        if len(np.unique(atoms)) != len(atoms):
            raise ValueError("an atom belongs to two beads")
        self._atoms, self._bead_of_entry = atoms, np.repeat(np.arange(n), sizes)
        self._first = atoms[np.cumsum(sizes) - sizes]
        self._constraints = [(int(i), int(j)) for i, j in constraints]
        if self._constraints and not 0 <= np.min(self._constraints) <= np.max(self._constraints) < num_atoms:
            raise ValueError(f"constraints must be between atoms 0 .. {num_atoms - 1}, got {np.max(self._constraints)}")
        has_mass = (self._atom_masses[atoms] > 0).astype(float)
        self._require_mass(has_mass)
        entry_weights = self._entry_weights(weights, sizes)
        self._weights = sparse.csr_array((entry_weights, (self._bead_of_entry, atoms)), shape=(n, num_atoms))
        self._membership = sparse.csr_array((has_mass, (self._bead_of_entry, atoms)), shape=(n, num_atoms))
        self._membership.eliminate_zeros()
        inverse = np.divide(entry_weights**2, self._atom_masses[atoms], where=has_mass > 0, out=np.zeros(len(atoms)))
        self._masses = 1.0 / np.bincount(self._bead_of_entry, weights=inverse)
        self._names, self._residues = list(names), list(residues)
        self._residue_ids = list(range(n)) if residue_ids is None else [int(i) for i in residue_ids]
        self._chain_ids = [0] * n if chain_ids is None else [int(i) for i in chain_ids]
        if not n == len(self._residue_ids) == len(self._chain_ids):
            raise ValueError(f"`residue_ids` and `chain_ids` must have {n} entries, one for each bead")
        self._bonds = [(int(i), int(j)) for i, j in bonds]
        self._set_types()
        self._force_map: ForceMap | None = None

    @classmethod
    def from_topology(
        cls,
        topology: app.Topology,
        system_or_masses: Any = None,
        by: str = "molecule",
        names: MappingABC[str, str] | None = None,
        *,
        weights: str = "mass",
        constraints: Pairs | None = None,
    ) -> Mapping:
        """Make one bead of each molecule, residue or chain.

        Parameters
        ----------
        topology
            The atomistic topology.
        system_or_masses : openmm.System or (n_atoms,), optional
            Where the masses (dalton) come from; the elements of the topology by default. With a System, constraints
            are found as well.
        by : {"molecule", "residue", "chain"}
            What becomes a bead. Molecules are what bonds, constraints and virtual sites connect.
        names
            Bead name for each residue name (of a bead's first atom). Without it water is ``W`` and all else ``B``.
        weights : {"mass", "geometry"}
            Centre of mass or of geometry.
        constraints
            Pairs of constrained atoms, if there is no System to ask.

        Raises
        ------
        ValueError
            If `by` is not one of the three, or the masses do not fit the topology.
        """
        masses, found = _masses_and_constraints(topology, system_or_masses, constraints)
        links = choose.links(topology, system_or_masses)
        beads = [bead for bead in choose.parts(topology, by, links) if bead]
        atoms = list(topology.atoms())
        residues = [atoms[bead[0]].residue.name for bead in beads]
        return cls(
            beads,
            masses,
            [_bead_name(residue, names) for residue in residues],
            residues,
            found,
            weights=weights,
            chain_ids=None if by == "molecule" else [atoms[bead[0]].residue.chain.index for bead in beads],
            bonds=choose.bonds_between(beads, links, topology.getNumAtoms()),
        )

    @classmethod
    def from_selections(
        cls,
        topology: app.Topology,
        system_or_masses: Any,
        selections: MappingABC[str, Selection],
        per: str = "residue",
        *,
        weights: str = "mass",
        constraints: Pairs | None = None,
    ) -> Mapping:
        """Make a bead of what each selection finds in each residue, molecule, chain or in the whole.

        Parameters
        ----------
        topology, system_or_masses, weights, constraints
            As in `from_topology`.
        selections
            For each bead name the atoms: a selection string of MDAnalysis, which must be installed then, a function
            of an OpenMM atom, or atom indices. Where a selection finds nothing in a part, the part has no such bead.
        per : {"residue", "molecule", "chain", "all"}
            The parts. Beads come in the order of the parts, within one in that of the selections.

        Raises
        ------
        ValueError
            If a selection finds no atom at all, or two find the same one.
        ImportError
            If a selection is a string and MDAnalysis is missing.
        """
        masses, found = _masses_and_constraints(topology, system_or_masses, constraints)
        links = choose.links(topology, system_or_masses)
        parts = choose.parts(topology, per, links)
        selected = {name: choose.selected(topology, name, selection) for name, selection in selections.items()}
        atoms = list(topology.atoms())
        beads, names, residues, residue_ids, chain_ids = [], [], [], [], []
        for part in parts:
            for name, chosen in selected.items():
                bead = [i for i in part if i in chosen]
                if bead:
                    residue = atoms[bead[0]].residue
                    beads.append(bead)
                    names.append(name)
                    residues.append(residue.name)
                    residue_ids.append(residue.index)
                    chain_ids.append(residue.chain.index)
        return cls(
            beads,
            masses,
            names,
            residues,
            found,
            weights=weights,
            residue_ids=residue_ids,
            chain_ids=chain_ids,
            bonds=choose.bonds_between(beads, links, topology.getNumAtoms()),
        )

    @classmethod
    def c_alpha(
        cls, topology: app.Topology, system_or_masses: Any = None, *, constraints: Pairs | None = None
    ) -> Mapping:
        """Put a bead on the alpha carbon of each amino acid."""
        return cls._protein(topology, system_or_masses, ("CA",), constraints)

    @classmethod
    def five_bead(
        cls, topology: app.Topology, system_or_masses: Any = None, *, constraints: Pairs | None = None
    ) -> Mapping:
        """Put beads on N, CA, CB, C and O of each amino acid; glycine has no CB."""
        return cls._protein(topology, system_or_masses, ("N", "CA", "CB", "C", "O"), constraints)

    @classmethod
    def _protein(
        cls, topology: app.Topology, system_or_masses: Any, names: Sequence[str], constraints: Pairs | None
    ) -> Mapping:
        amino_acids = choose.amino_acids(topology)
        if not amino_acids:
            raise ValueError("no amino acid in the topology: no residue has atoms N, CA and C")
        selections = {
            name: [a.index for a in topology.atoms() if a.name == name and a.residue.index in amino_acids]
            for name in names
        }
        present = {name: atoms for name, atoms in selections.items() if atoms}
        return cls.from_selections(topology, system_or_masses, present, constraints=constraints)

    @classmethod
    def identity(cls, topology: app.Topology, system_or_masses: Any) -> Mapping:
        """Map each atom to itself, to record a coarse-grained run as it is.

        Names, residues, chains and bonds are those of `topology`. Constraints are no obstacle to recording, but forces
        of constrained particles are not mean forces, so `map_forces` refuses them as always.
        """
        masses, constraints = _masses_and_constraints(topology, system_or_masses, None)
        atoms = list(topology.atoms())
        return cls(
            [[atom.index] for atom in atoms],
            masses,
            [atom.name for atom in atoms],
            [atom.residue.name for atom in atoms],
            constraints,
            residue_ids=[atom.residue.index for atom in atoms],
            chain_ids=[atom.residue.chain.index for atom in atoms],
            bonds=[(bond[0].index, bond[1].index) for bond in topology.bonds()],
        )

    @property
    def num_beads(self) -> int:
        """Number of beads."""
        return int(self._weights.shape[0])

    @property
    def num_atoms(self) -> int:
        """Number of atoms."""
        return int(self._weights.shape[1])

    @property
    def weights(self) -> sparse.csr_array:
        """The map of positions and velocities, a sparse (n_beads, n_atoms) matrix whose rows sum to one."""
        return self._weights

    @property
    def membership(self) -> sparse.csr_array:
        """One where an atom with mass belongs to a bead, a sparse (n_beads, n_atoms) matrix."""
        return self._membership

    @property
    def bead_of_atom(self) -> np.ndarray:
        """Index of each atom's bead, (n_atoms,); -1 where it belongs to none."""
        bead = np.full(self.num_atoms, -1)
        bead[self._atoms] = self._bead_of_entry
        return bead

    @property
    def masses(self) -> np.ndarray:
        """Bead masses in dalton, (n_beads,): 1/m = sum w_i^2/m_i, which is what equipartition of their velocities asks.

        With centres of mass this is the sum of the atoms' masses.
        """
        return self._masses

    @property
    def atom_masses(self) -> np.ndarray:
        """Atomic masses in dalton, (n_atoms,)."""
        return self._atom_masses

    @property
    def constraints(self) -> list[tuple[int, int]]:
        """Pairs of atoms whose distance is constrained."""
        return self._constraints

    @property
    def bonds(self) -> list[tuple[int, int]]:
        """Pairs of bonded beads."""
        return self._bonds

    @property
    def bead_types(self) -> list[BeadType]:
        """The distinct bead types, in order of first appearance."""
        return self._bead_types

    @property
    def types(self) -> np.ndarray:
        """Index of each bead's type in `bead_types`, (n_beads,)."""
        return self._types

    @property
    def force_map(self) -> ForceMap:
        """The force map; unless another was chosen, that of `ForceMap.constraint_aware`.

        Raises
        ------
        ValueError
            If constraints join two beads and no other map was chosen.
        """
        if self._force_map is None:
            self._force_map = ForceMap.constraint_aware(self)
        return self._force_map

    @force_map.setter
    def force_map(self, force_map: ForceMap) -> None:
        if force_map.weights.shape != self._weights.shape:
            raise ValueError(f"the force map has shape {force_map.weights.shape}, the mapping {self._weights.shape}")
        self._force_map = force_map

    def project(
        self, positions: Any, box: Any = None, velocities: Any = None, forces: Any = None, frames: Any = None
    ) -> Projected:
        """Return the beads of some frames of atoms; see `map_positions`, `map_velocities` and `map_forces`.

        `frames`, the frames' numbers, matter to stochastic maps only.
        """
        return Projected(
            self.map_positions(positions, box),
            None if velocities is None else self.map_velocities(velocities),
            None if forces is None else self.map_forces(forces),
        )

    def map_positions(self, positions: Any, box: Any = None) -> np.ndarray:
        """Return the bead positions in nm, ([n_frames,] n_beads, 3).

        Parameters
        ----------
        positions : ([n_frames,] n_atoms, 3)
            Atomic positions in nm.
        box : ([n_frames,] 3, 3), optional
            Periodic box vectors in nm. With it each bead is made whole first: its atoms are taken at their images
            nearest to the bead's first atom. A bead must therefore be smaller than half the box.
        """
        x = self._checked(positions, "positions", unit.nanometer)
        if box is not None:
            x = self._made_whole(x, np.asarray(strip_units(box, unit.nanometer), dtype=float))
        return _apply(self._weights, x)

    def map_velocities(self, velocities: Any) -> np.ndarray:
        """Return the bead velocities in nm/ps, ([n_frames,] n_beads, 3), from those of the atoms."""
        return _apply(self._weights, self._checked(velocities, "velocities", unit.nanometer / unit.picosecond))

    def map_forces(self, forces: Any) -> np.ndarray:
        """Return the bead forces in kJ/mol/nm, ([n_frames,] n_beads, 3), by the `force_map`."""
        return self.force_map.apply(forces)

    def require_forces(self) -> None:
        """Check that the beads have unbiased forces, before anything long is started.

        Raises
        ------
        ValueError
            If a constraint joins two beads: the constraint's own force, which OpenMM does not report, then acts
            between them and the plain sum is a biased mean force.
        """
        _ = self.force_map

    def topology(self, box: Any = None) -> app.Topology:
        """Return the coarse-grained topology, with one atom per bead.

        Parameters
        ----------
        box : (3, 3), optional
            Periodic box vectors in nm.
        """
        topology = app.Topology()
        chain = residue = previous = None
        atoms = []
        for bead, (name, residue_name) in enumerate(zip(self._names, self._residues, strict=True)):
            place = (self._chain_ids[bead], self._residue_ids[bead], residue_name)
            if previous is None or place[0] != previous[0]:
                chain = topology.addChain()
            if place != previous:
                residue = topology.addResidue(residue_name, chain)
            atoms.append(topology.addAtom(name, None, residue))
            previous = place
        for i, j in self._bonds:
            topology.addBond(atoms[i], atoms[j])
        if box is not None:
            topology.setPeriodicBoxVectors(np.asarray(strip_units(box, unit.nanometer), dtype=float) * unit.nanometer)
        return topology

    def write_pdb(self, path: str | Path, positions: Any, box: Any = None) -> None:
        """Write bead positions ((n_beads, 3), nm) and topology as a PDB file; PDB keeps 0.0001 nm."""
        x = np.asarray(strip_units(positions, unit.nanometer), dtype=float)
        if x.shape != (self.num_beads, 3):
            raise ValueError(f"`positions` must have shape ({self.num_beads}, 3), got {x.shape}")
        with Path(path).open("w", encoding="utf-8") as file:
            app.PDBFile.writeFile(self.topology(box), x * unit.nanometer, file)

    def save(self, path: str | Path) -> None:
        """Write the mapping, with its force map, as a JSON file that people can read and edit."""
        beads = [
            {
                "name": self._names[k],
                "residue": self._residues[k],
                "residue_id": self._residue_ids[k],
                "chain_id": self._chain_ids[k],
                "atoms": self._atoms[self._bead_of_entry == k].tolist(),
                "weights": [float(self._weights[k, a]) for a in self._atoms[self._bead_of_entry == k]],
            }
            for k in range(self.num_beads)
        ]
        description: dict[str, Any] = {
            "format": "meanforce mapping 1",
            "masses": self._atom_masses.tolist(),
            "constraints": self._constraints,
            "bonds": self._bonds,
            "beads": beads,
        }
        if self._force_map is not None:
            entries = sparse.coo_array(self._force_map.weights)
            description["force_map"] = [entries.row.tolist(), entries.col.tolist(), entries.data.tolist()]
            description["constraints_cancel"] = self._force_map.constraints_cancel
        Path(path).write_text(json.dumps(description, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Mapping:
        """Read a mapping that `save` wrote, or that was written by hand in the same form.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not a mapping.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            beads = content["beads"]
            if content["format"] != "meanforce mapping 1":
                raise ValueError(f"format {content['format']!r} is not 'meanforce mapping 1'")
            mapping = cls(
                [bead["atoms"] for bead in beads],
                content["masses"],
                [bead["name"] for bead in beads],
                [bead["residue"] for bead in beads],
                content.get("constraints", ()),
                weights=[bead["weights"] for bead in beads],
                residue_ids=[bead.get("residue_id", k) for k, bead in enumerate(beads)],
                chain_ids=[bead.get("chain_id", 0) for bead in beads],
                bonds=content.get("bonds", ()),
            )
            if "force_map" in content:
                rows, columns, values = content["force_map"]
                weights = sparse.csr_array((values, (rows, columns)), shape=mapping.weights.shape)
                mapping.force_map = ForceMap(weights, mapping, content.get("constraints_cancel", True))
            return mapping
        except (ValueError, KeyError, TypeError, IndexError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{path} is not a mapping as Mapping.save writes it: {reason}") from error

    def _checked(self, values: Any, what: str, of_unit: unit.Unit) -> np.ndarray:
        array = np.asarray(strip_units(values, of_unit), dtype=float)
        if array.ndim not in (2, 3) or array.shape[-2:] != (self.num_atoms, 3):
            raise ValueError(f"`{what}` must have shape ([n_frames,] {self.num_atoms}, 3), got {array.shape}")
        return array

    def _made_whole(self, x: np.ndarray, box: np.ndarray) -> np.ndarray:
        reference = np.array(x)
        reference[..., self._atoms, :] = x[..., self._first[self._bead_of_entry], :]
        return np.asarray(reference + minimum_image(x - reference, box))

    def _require_mass(self, has_mass: np.ndarray) -> None:
        massive = np.bincount(self._bead_of_entry, weights=has_mass)
        if np.any(massive == 0):
            raise ValueError(f"bead {int(np.argmin(massive))} has no mass")

    def _entry_weights(self, weights: Weights, sizes: np.ndarray) -> np.ndarray:
        """Return the weight of every atom in its bead, in the order of the beads' atoms."""
        masses = self._atom_masses[self._atoms]
        if isinstance(weights, str):
            if weights not in ("mass", "geometry"):
                raise ValueError(f"`weights` must be 'mass', 'geometry' or numbers for each bead, got {weights!r}")
            raw = masses if weights == "mass" else (masses > 0).astype(float)
            return np.asarray(raw / np.bincount(self._bead_of_entry, weights=raw)[self._bead_of_entry])
        if [len(w) for w in weights] != sizes.tolist():
            raise ValueError("`weights` must give each bead one weight for each of its atoms")
        values = np.concatenate([np.asarray(w, dtype=float) for w in weights])
        sums = np.bincount(self._bead_of_entry, weights=values)
        if not np.all(np.abs(sums - 1) < 1e-6):
            bead = int(np.argmax(~(np.abs(sums - 1) < 1e-6)))
            raise ValueError(f"the weights of bead {bead} sum to {sums[bead]:.6g}, not to one")
        massless = (masses <= 0) & (values != 0)
        if massless.any():
            entry = int(np.argmax(massless))
            raise ValueError(
                f"atom {self._atoms[entry]} of bead {self._bead_of_entry[entry]} has no mass and can carry no weight"
            )
        return np.asarray(values / sums[self._bead_of_entry])

    def _set_types(self) -> None:
        index: dict[tuple[str, str], int] = {}
        self._bead_types: list[BeadType] = []
        self._types = np.empty(self.num_beads, dtype=int)
        for bead, (name, residue) in enumerate(zip(self._names, self._residues, strict=True)):
            mass = float(self._masses[bead])
            if (residue, name) not in index:
                index[residue, name] = len(self._bead_types)
                self._bead_types.append(BeadType(name, residue, mass))
            known = self._bead_types[index[residue, name]]
            if abs(float(known.mass or 0.0) - mass) > 1e-6 * mass:
                raise ValueError(
                    f"bead {bead} of type {residue}:{name} has mass {mass:.6g}, but the same type has mass"
                    f" {known.mass:.6g} elsewhere; give the beads different names"
                )
            self._types[bead] = index[residue, name]


def _masses_and_constraints(
    topology: app.Topology, system_or_masses: Any, constraints: Pairs | None
) -> tuple[np.ndarray, Pairs]:
    if isinstance(system_or_masses, openmm.System):
        system = system_or_masses
        given = [system.getParticleMass(i) for i in range(system.getNumParticles())]
        masses = np.array([strip_units(mass, unit.dalton) for mass in given], dtype=float)
        constraints = constraints_of_system(system) if constraints is None else constraints
    elif system_or_masses is None:
        masses = np.array([_element_mass(atom) for atom in topology.atoms()])
    else:
        masses = np.asarray(strip_units(system_or_masses, unit.dalton), dtype=float)
    if len(masses) != topology.getNumAtoms():
        raise ValueError(f"the topology has {topology.getNumAtoms()} atoms, but there are {len(masses)} masses")
    return masses, () if constraints is None else constraints


def _element_mass(atom: Any) -> float:
    if atom.element is None:
        raise ValueError(f"atom {atom.index} ({atom.residue.name}:{atom.name}) has no element; give the masses")
    return float(atom.element.mass.value_in_unit(unit.dalton))


def _bead_name(residue: str, names: MappingABC[str, str] | None) -> str:
    if names is not None:
        if residue not in names:
            raise ValueError(f"`names` has no bead name for residue {residue!r}, only for {sorted(names)}")
        return names[residue]
    return "W" if residue in choose.WATER_RESIDUES else "B"
