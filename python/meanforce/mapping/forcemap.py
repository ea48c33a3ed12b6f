# SPDX-License-Identifier: MIT
r"""Force maps: which linear combination of atomic forces is the force on a bead.

For beads x = W q any force F = B f with B W^T = 1 has the mean force as its conditional mean (doi:10.1063/1.2938860),
as long as B moves every group of constrained atoms as one, B_Ki = B_Kj for a constraint between i and j, so that the
forces of constraints, which nobody records, cancel (doi:10.1002/cphc.200400669). What is left free decides only the
noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from openmm import unit
from scipy import linalg, sparse

from .._openmm import strip_units
from .constraints import connected_groups

if TYPE_CHECKING:
    from .linear import Mapping

FORCE_UNIT = unit.kilojoule_per_mole / unit.nanometer
MAX_GROUPS = 5000
"""More groups of atoms than this make the least-squares problem of `ForceMap.optimal` too large (200 MB)."""


class ForceMap:
    """The force on each bead as a linear combination of atomic forces.

    Parameters
    ----------
    weights : (n_beads, n_atoms)
        B, dense or sparse.
    mapping
        The map of positions that it belongs to.
    check_constraints
        Whether to refuse weights that differ within a group of constrained atoms; only a deliberately biased map needs
        False.

    Attributes
    ----------
    constraints_cancel : bool
        Whether the forces of all constraints cancel; without that the mean force is biased.

    Raises
    ------
    ValueError
        If B W^T is not the unit matrix, or B is not uniform over constrained atoms.
    """

    def __init__(self, weights: Any, mapping: Mapping, check_constraints: bool = True) -> None:
        self._weights = sparse.csr_array(weights)
        self._weights.sum_duplicates()  # also sorts, so that equal maps have equal arrays
        expected = (mapping.num_beads, mapping.num_atoms)
        if self._weights.shape != expected:
            raise ValueError(f"`weights` must have shape {expected}, got {self._weights.shape}")
        self._check_orthogonal(mapping)
        self.constraints_cancel = True
        if check_constraints:
            self._require_cancelling(mapping.constraints)
        else:
            self.constraints_cancel = self._worst_constraint(mapping.constraints) is None

    @classmethod
    def slice(cls, mapping: Mapping) -> ForceMap:
        """Return the plain sum over each bead's own atoms, whatever is constrained.

        With a constraint that leaves a bead it is biased (see `constraint_aware`); it is there to compare with.
        """
        return cls(mapping.membership, mapping, check_constraints=False)

    @classmethod
    def constraint_aware(cls, mapping: Mapping) -> ForceMap:
        """Return the sum over each bead's atoms and all atoms that constraints join to them.

        Raises
        ------
        ValueError
            If constraints join two beads.
        """
        groups = _groups(mapping, None)
        touched = sparse.csr_array(mapping.membership @ groups.T)
        touched.data[:] = 1.0
        beads_of_group = touched.sum(axis=0)
        if np.any(beads_of_group > 1):
            _refuse_joined_beads(mapping, groups, int(np.argmax(beads_of_group > 1)))
        return cls(touched @ groups, mapping)

    @classmethod
    def optimal(
        cls,
        mapping: Mapping,
        forces: Any,
        atoms: Sequence[int] | None = None,
        regularization: float = 1e-6,
    ) -> ForceMap:
        r"""Return the force map with the least mean square force, among all that are unbiased.

        Minimises <|B f|^2> over B with B W^T = 1 and B uniform over constrained groups: an equality-constrained
        least-squares problem with a closed solution (doi:10.1021/acs.jpclett.3c00444). The mean square is that of the
        mean force, which is the same for all, plus the noise.

        Parameters
        ----------
        mapping
            The map of positions.
        forces : (n_frames, n_atoms, 3) or iterable of such blocks
            Atomic forces in kJ/mol/nm of the training frames; keep others to report the gain on, see
            `mean_square`.
        atoms
            The atoms whose forces may be used; all of them by default. In a solution name those of the solute.
        regularization
            Weight of |B|^2 relative to the mean square force on a group of atoms. It decides between maps
            that the frames cannot tell apart.

        Raises
        ------
        ValueError
            If the atoms cannot make an unbiased map, are too many, or there are no frames.
        """
        groups = _groups(mapping, atoms)
        n = groups.shape[0]
        if n > MAX_GROUPS:
            raise ValueError(
                f"an optimal force map over {n} groups of atoms is too large (at most {MAX_GROUPS}); name the atoms of"
                " the molecules that hold beads with `atoms`"
            )
        moment, count = np.zeros((n, n)), 0
        for block in forces if not hasattr(forces, "shape") else [forces]:
            grouped = _apply(groups, _checked_forces(block, mapping.num_atoms))
            columns = np.moveaxis(grouped, -2, -1).reshape(-1, n)
            moment += columns.T @ columns
            count += len(columns)
        if count == 0:
            raise ValueError("an optimal force map needs frames with forces, got none")
        moment /= count
        moment += regularization * max(np.trace(moment) / n, np.finfo(float).tiny) * np.eye(n)
        projection = np.asarray((groups @ mapping.weights.T).todense())
        if np.linalg.matrix_rank(projection) < mapping.num_beads:
            constraint_free = "the constraints leave" if len(mapping.constraints) else "these atoms leave"
            raise ValueError(
                f"{constraint_free} no unbiased force for each of the {mapping.num_beads} beads; put atoms that"
                " constraints join into one bead, or build the System with fewer constraints"
            )
        return cls(sparse.csr_array(_least_squares(moment, projection)) @ groups, mapping)

    @property
    def weights(self) -> sparse.csr_array:
        """B, a sparse (n_beads, n_atoms) matrix."""
        return self._weights

    def apply(self, forces: Any) -> np.ndarray:
        """Return the forces on the beads, ([n_frames,] n_beads, 3), in kJ/mol/nm, from those on the atoms."""
        return _apply(self._weights, _checked_forces(forces, int(self._weights.shape[1])))

    def mean_square(self, forces: Any) -> np.ndarray:
        """Return each bead's mean square force per component, (n_beads,), in (kJ/mol/nm)^2.

        Parameters
        ----------
        forces : (n_frames, n_atoms, 3) or iterable of such blocks
            Atomic forces in kJ/mol/nm; for an optimal map frames that it was not fitted to.
        """
        total, count = np.zeros(self._weights.shape[0]), 0
        for block in forces if not hasattr(forces, "shape") else [forces]:
            mapped = self.apply(block)
            mapped = mapped.reshape(-1, *mapped.shape[-2:])
            total += np.mean(mapped**2, axis=2).sum(axis=0)
            count += len(mapped)
        if count == 0:
            raise ValueError("a mean square force needs frames with forces, got none")
        return np.asarray(total / count)

    def _check_orthogonal(self, mapping: Mapping) -> None:
        product = self._weights @ mapping.weights.T
        error = sparse.coo_array(abs(product - sparse.eye_array(mapping.num_beads, format="csr")))
        if error.nnz and error.data.max() > 1e-6:
            worst = int(np.argmax(error.data))
            raise ValueError(
                f"the force map is not orthogonal to the map of positions: (B W^T) of beads {error.row[worst]} and"
                f" {error.col[worst]} is off by {error.data[worst]:.3g}, so that its mean would not be the mean force"
            )

    def _worst_constraint(self, constraints: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
        """Return the constrained atoms whose weights differ most; None if none do."""
        if len(constraints) == 0:
            return None
        columns = self._weights.tocsc()
        first, second = np.asarray(constraints, dtype=int).T
        difference = sparse.coo_array(abs(columns[:, first] - columns[:, second]))
        if difference.nnz == 0 or difference.data.max() < 1e-6:
            return None
        worst = int(difference.col[np.argmax(difference.data)])
        return int(first[worst]), int(second[worst])

    def _require_cancelling(self, constraints: Sequence[tuple[int, int]]) -> None:
        worst = self._worst_constraint(constraints)
        if worst is not None:
            raise ValueError(
                f"the force map gives the constrained atoms {worst[0]} and {worst[1]} different weights, so that the"
                " force of the constraint does not cancel and the mean force is biased"
            )


def _checked_forces(forces: Any, num_atoms: int) -> np.ndarray:
    array = np.asarray(strip_units(forces, FORCE_UNIT), dtype=float)
    if array.ndim not in (2, 3) or array.shape[-2:] != (num_atoms, 3):
        raise ValueError(f"`forces` must have shape ([n_frames,] {num_atoms}, 3), got {array.shape}")
    return array


def _apply(weights: sparse.csr_array, values: np.ndarray) -> np.ndarray:
    if values.ndim == 2:
        return np.asarray(weights @ values)
    return np.stack([weights @ frame for frame in values]) if len(values) else np.empty((0, weights.shape[0], 3))


def _groups(mapping: Mapping, atoms: Sequence[int] | None) -> sparse.csr_array:
    """Return the indicator (n_groups, n_atoms) of what constraints join, without virtual sites and unwanted atoms."""
    label = connected_groups(mapping.constraints, mapping.num_atoms)
    wanted = np.ones(mapping.num_atoms, dtype=bool)
    if atoms is not None:
        # A group must move as one, so that it is wanted as a whole.
        wanted = np.isin(label, label[np.asarray(atoms, dtype=int)])
    used = np.flatnonzero(wanted & (mapping.atom_masses > 0))
    kept, rows = np.unique(label[used], return_inverse=True)
    return sparse.csr_array((np.ones(len(used)), (rows, used)), shape=(len(kept), mapping.num_atoms))


def _least_squares(moment: np.ndarray, projection: np.ndarray) -> np.ndarray:
    """Return C (n_beads, n_groups) that minimises tr(C S C^T) with C A = 1: C = (A^T S^-1 A)^-1 A^T S^-1."""
    factor = linalg.cho_factor(moment)
    solved = linalg.cho_solve(factor, projection)
    return np.asarray(linalg.solve(projection.T @ solved, solved.T, assume_a="pos"))


def _refuse_joined_beads(mapping: Mapping, groups: sparse.csr_array, group: int) -> None:
    bead = mapping.bead_of_atom
    members = set(groups[[group]].indices.tolist())
    chain = [(i, j) for i, j in mapping.constraints if i in members and bead[i] != bead[j]]
    first, second = next(((i, j) for i, j in chain if bead[i] >= 0 and bead[j] >= 0), chain[0])
    raise ValueError(
        f"the constraint between atoms {first} and {second} joins different beads, so that the sum of a bead's atomic"
        " forces is a biased mean force; build the System without this constraint (constraints=None), put both atoms"
        " into one bead, or try ForceMap.optimal, which may find a combination without bias"
    )
