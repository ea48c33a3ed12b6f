# SPDX-License-Identifier: MIT
"""Maps from atoms to beads: positions, velocities, forces, and the coarse-grained topology that goes with them."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app, unit
from scipy import sparse
from scipy.sparse import csgraph

from ._openmm import strip_units
from .modelfile import BeadType

WATER_RESIDUES = frozenset({"HOH", "WAT", "SOL", "H2O", "TIP3", "SPC"})


class Mapping:
    """A linear map that puts every bead at the centre of mass of its atoms.

    Positions and velocities are mass-weighted means over a bead's atoms and its force is the sum of theirs. The sum is
    the exact projected force also with rigid constraints, as long as each constraint stays within one bead: constraint
    forces are equal and opposite and cancel. Massless particles (virtual sites) carry no weight in any of the three;
    OpenMM has already passed their forces on to the atoms that define them.

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

    Raises
    ------
    ValueError
        If a bead is empty or massless, an atom is in two beads, or one bead type has two masses.
    """

    def __init__(
        self,
        beads: Sequence[Sequence[int]],
        masses: Any,
        names: Sequence[str],
        residues: Sequence[str],
        constraints: Sequence[tuple[int, int]] = (),
    ) -> None:
        atom_masses = np.asarray(strip_units(masses, unit.dalton), dtype=float)
        sizes = np.array([len(atoms) for atoms in beads], dtype=int)
        if len(beads) == 0 or np.any(sizes == 0):
            raise ValueError("a mapping needs at least one bead, and each bead at least one atom")
        if not len(beads) == len(names) == len(residues):
            raise ValueError(f"got {len(beads)} beads, {len(names)} names and {len(residues)} residue names")
        atoms = np.concatenate([np.asarray(a, dtype=int) for a in beads])
        if atoms.min() < 0 or atoms.max() >= len(atom_masses):
            raise ValueError(
                f"atom indices must lie in 0 .. {len(atom_masses) - 1}, got {atoms.min()} .. {atoms.max()}"
            )
        if len(np.unique(atoms)) != len(atoms):
            raise ValueError("an atom belongs to two beads")
        bead_of_entry = np.repeat(np.arange(len(beads)), sizes)
        shape = (len(beads), len(atom_masses))
        self._masses = np.bincount(bead_of_entry, weights=atom_masses[atoms])
        if np.any(self._masses <= 0):
            raise ValueError(f"bead {int(np.argmin(self._masses))} has no mass")
        self._atoms = atoms
        self._bead_of_entry = bead_of_entry
        self._first = atoms[np.cumsum(sizes) - sizes]
        entry_weights = atom_masses[atoms] / self._masses[bead_of_entry]
        self._weights = sparse.csr_array((entry_weights, (bead_of_entry, atoms)), shape=shape)
        has_mass = (atom_masses[atoms] > 0).astype(float)
        self._force_weights = sparse.csr_array((has_mass, (bead_of_entry, atoms)), shape=shape)
        self._joining_constraint = self._find_joining_constraint(constraints)
        self._names, self._residues = list(names), list(residues)
        self._set_types()

    @classmethod
    def from_topology(
        cls,
        topology: app.Topology,
        system_or_masses: Any,
        by: str = "molecule",
        names: MappingABC[str, str] | None = None,
    ) -> Mapping:
        """Make one bead of each molecule, residue or chain.

        Parameters
        ----------
        topology
            The atomistic topology.
        system_or_masses : openmm.System or (n_atoms,)
            Where the masses (dalton) come from. With a System, constraints that would bias the mapped forces are
            found as well.
        by : {"molecule", "residue", "chain"}
            What becomes a bead. Molecules are what bonds, constraints and virtual sites connect.
        names
            Bead name for each residue name (of a bead's first atom). Without it water is ``W`` and all else ``B``.

        Raises
        ------
        ValueError
            If `by` is not one of the three, or the masses do not fit the topology.
        """
        masses, constraints = _masses_and_constraints(system_or_masses)
        if len(masses) != topology.getNumAtoms():
            raise ValueError(f"the topology has {topology.getNumAtoms()} atoms, but there are {len(masses)} masses")
        if by == "molecule":
            beads = _molecules(topology, system_or_masses)
        elif by == "residue":
            beads = [[atom.index for atom in residue.atoms()] for residue in topology.residues()]
        elif by == "chain":
            beads = [[atom.index for atom in chain.atoms()] for chain in topology.chains()]
        else:
            raise ValueError(f"`by` must be 'molecule', 'residue' or 'chain', got {by!r}")
        beads = [bead for bead in beads if bead]
        residue_names = [atom.residue.name for atom in topology.atoms()]
        residues = [residue_names[bead[0]] for bead in beads]
        bead_names = [_bead_name(residue, names) for residue in residues]
        return cls(beads, masses, bead_names, residues, constraints)

    @classmethod
    def identity(cls, topology: app.Topology, system_or_masses: Any) -> Mapping:
        """Map each atom to itself, to record a coarse-grained run as it is.

        Bead and residue names are those of `topology`. Constraints are no obstacle to recording, but forces of
        constrained particles are not mean forces, so `map_forces` refuses them as always.
        """
        masses, constraints = _masses_and_constraints(system_or_masses)
        atoms = list(topology.atoms())
        if len(masses) != len(atoms):
            raise ValueError(f"the topology has {len(atoms)} atoms, but there are {len(masses)} masses")
        beads = [[atom.index] for atom in atoms]
        return cls(beads, masses, [a.name for a in atoms], [a.residue.name for a in atoms], constraints)

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
    def masses(self) -> np.ndarray:
        """Bead masses in dalton, (n_beads,)."""
        return self._masses

    @property
    def bead_types(self) -> list[BeadType]:
        """The distinct bead types, in order of first appearance."""
        return self._bead_types

    @property
    def types(self) -> np.ndarray:
        """Index of each bead's type in `bead_types`, (n_beads,)."""
        return self._types

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
        """Return the bead forces in kJ/mol/nm, ([n_frames,] n_beads, 3), the sums over each bead's atoms.

        Raises
        ------
        ValueError
            If a constraint joins two beads, or a bead and an atom of none; see `require_exact_forces`.
        """
        self.require_exact_forces()
        return _apply(self._force_weights, self._checked(forces, "forces", unit.kilojoule_per_mole / unit.nanometer))

    def require_exact_forces(self) -> None:
        """Check that a bead's force is the sum of its atoms' forces.

        Raises
        ------
        ValueError
            If a constraint joins two beads: the constraint's own force, which OpenMM does not report, then acts
            between them and the plain sum is a biased mean force.
        """
        if self._joining_constraint is not None:
            first, second = self._joining_constraint
            raise ValueError(
                f"the constraint between atoms {first} and {second} joins different beads, so that the sum of a bead's"
                " atomic forces is a biased mean force; build the System without this constraint (constraints=None) or"
                " put both atoms into one bead"
            )

    def topology(self, box: Any = None) -> app.Topology:
        """Return the coarse-grained topology: one chain, one residue per bead, one atom per residue.

        Parameters
        ----------
        box : (3, 3), optional
            Periodic box vectors in nm.
        """
        topology = app.Topology()
        chain = topology.addChain()
        for name, residue_name in zip(self._names, self._residues, strict=True):
            topology.addAtom(name, None, topology.addResidue(residue_name, chain))
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

    def _checked(self, values: Any, what: str, of_unit: unit.Unit) -> np.ndarray:
        array = np.asarray(strip_units(values, of_unit), dtype=float)
        if array.ndim not in (2, 3) or array.shape[-2:] != (self.num_atoms, 3):
            raise ValueError(f"`{what}` must have shape ([n_frames,] {self.num_atoms}, 3), got {array.shape}")
        return array

    def _made_whole(self, x: np.ndarray, box: np.ndarray) -> np.ndarray:
        reference = np.empty_like(x)
        reference[..., self._atoms, :] = x[..., self._first[self._bead_of_entry], :]
        unmapped = np.setdiff1d(np.arange(self.num_atoms), self._atoms)
        reference[..., unmapped, :] = x[..., unmapped, :]
        return np.asarray(reference + minimum_image(x - reference, box))

    def _find_joining_constraint(self, constraints: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
        if len(constraints) == 0:
            return None
        bead = np.full(self.num_atoms, -1)
        bead[self._atoms] = self._bead_of_entry
        pairs = np.asarray(constraints, dtype=int)
        joining = pairs[bead[pairs[:, 0]] != bead[pairs[:, 1]]]
        return (int(joining[0, 0]), int(joining[0, 1])) if len(joining) else None

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


def minimum_image(displacements: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return displacements ([n_frames,] n, 3) at their nearest images.

    `box` is ([n_frames,] 3, 3) in OpenMM's reduced form. The result is exact for displacements shorter than half the
    box's smallest width.
    """
    d = np.array(displacements)
    for k in (2, 1, 0):
        vector = box[..., k, :][..., None, :]
        d -= np.round(d[..., k : k + 1] / vector[..., k : k + 1]) * vector
    return d


def _apply(weights: sparse.csr_array, values: np.ndarray) -> np.ndarray:
    if values.ndim == 2:
        return np.asarray(weights @ values)
    return np.stack([weights @ frame for frame in values]) if len(values) else np.empty((0, weights.shape[0], 3))


def _masses_and_constraints(system_or_masses: Any) -> tuple[np.ndarray, list[tuple[int, int]]]:
    if not isinstance(system_or_masses, openmm.System):
        return np.asarray(strip_units(system_or_masses, unit.dalton), dtype=float), []
    system = system_or_masses
    masses = np.array([strip_units(system.getParticleMass(i), unit.dalton) for i in range(system.getNumParticles())])
    constraints = [tuple(system.getConstraintParameters(i)[:2]) for i in range(system.getNumConstraints())]
    return masses, constraints


def _molecules(topology: app.Topology, system_or_masses: Any) -> list[list[int]]:
    """Return the atoms of each molecule: what bonds, constraints and virtual sites connect, ordered by first atom."""
    links = [(bond[0].index, bond[1].index) for bond in topology.bonds()]
    if isinstance(system_or_masses, openmm.System):
        system = system_or_masses
        links += _masses_and_constraints(system)[1]
        sites = [i for i in range(system.getNumParticles()) if system.isVirtualSite(i)]
        links += [(i, system.getVirtualSite(i).getParticle(0)) for i in sites]
    pairs = np.array(links, dtype=int).reshape(-1, 2)
    n = topology.getNumAtoms()
    graph = sparse.coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    label = csgraph.connected_components(graph, directed=False)[1]
    molecules: dict[int, list[int]] = {}
    for atom in range(n):
        molecules.setdefault(int(label[atom]), []).append(atom)
    return list(molecules.values())


def _bead_name(residue: str, names: MappingABC[str, str] | None) -> str:
    if names is not None:
        if residue not in names:
            raise ValueError(f"`names` has no bead name for residue {residue!r}, only for {sorted(names)}")
        return names[residue]
    return "W" if residue in WATER_RESIDUES else "B"
