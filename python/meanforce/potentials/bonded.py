# SPDX-License-Identifier: MIT
"""Potentials of bonds, angles, dihedrals and impropers, with parameters for each tuple of bead types."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .base import Potential, double, nearest_image


class BondedPotential(Potential):
    """A potential of tuples of bonded beads; `set_bonds` says which beads are bonded.

    Parameters
    ----------
    num_types : int
        Number of bead types.
    term : str
        ``"bonds"``, ``"angles"``, ``"dihedrals"`` or ``"impropers"``; see BondGraph.
    types : sequence of tuples of int
        For each row of parameters the types of the beads it is meant for; see BondGraph.terms.

    Attributes
    ----------
    types : list of list of int
    """

    beads: Tensor
    rows: Tensor

    def __init__(self, num_types: int, term: str, types: Sequence[Sequence[int]]) -> None:
        super().__init__(num_types, 0.0)
        self.term = term
        self.width = {"bonds": 2, "angles": 3}.get(term, 4)
        self.types = check_type_tuples(types, self.width, self.num_types, term == "impropers")
        self.copy_size = 0
        self.register_buffer("beads", torch.zeros(0, self.width, dtype=torch.long), persistent=False)
        self.register_buffer("rows", torch.zeros(0, dtype=torch.long), persistent=False)

    @torch.jit.unused
    def set_bonds(self, types: Sequence[int], bonds: Sequence[Sequence[int]]) -> None:
        """Say which beads are bonded; see Potential.set_bonds."""
        super().set_bonds(types, bonds)
        graph = self.bond_graph
        assert graph is not None
        beads, rows = graph.terms(self.term, self.types)
        device = self.beads.device
        self.beads = torch.tensor(beads, dtype=torch.long, device=device).reshape(-1, self.width)
        self.rows = torch.tensor(rows, dtype=torch.long, device=device)
        self.copy_size = len(graph.types)

    def bead_energies(self, displacements: Tensor, first: Tensor, second: Tensor, types: Tensor) -> Tensor:
        """Return zeros: pairs have no energy here; see Potential.bead_energies."""
        return torch.zeros(types.shape[0], dtype=displacements.dtype, device=displacements.device)

    def bonded_energies(self, positions: Tensor, box: Tensor | None) -> Tensor:
        """Return each bead's share of the energy, shape (N,); see Potential.bonded_energies."""
        count = positions.shape[0]
        if self.copy_size == 0:
            raise ValueError("the potential has bonded terms: call set_bonds(types, bonds) first")
        if count % self.copy_size != 0:
            raise ValueError(f"the bonds are those of {self.copy_size} beads, got {count} beads")
        copies = count // self.copy_size
        shift = self.copy_size * torch.arange(copies, device=positions.device)
        beads = (self.beads.unsqueeze(0) + shift.view(-1, 1, 1)).view(-1, self.width)
        rows = self.rows.repeat(copies)
        steps: list[Tensor] = []
        for k in range(1, self.width):
            d = positions.index_select(0, beads[:, k]) - positions.index_select(0, beads[:, k - 1])
            if box is not None:
                vectors = box
                if box.dim() == 3:
                    vectors = box.index_select(0, torch.div(beads[:, 0], self.copy_size, rounding_mode="floor"))
                d = nearest_image(d, vectors)
            steps.append(d)
        energies = self.energies(steps, rows)
        return torch.zeros(count, dtype=energies.dtype, device=energies.device).index_add(0, beads[:, 0], energies)

    def energies(self, steps: list[Tensor], rows: Tensor) -> Tensor:
        """Return the energies, shape (M,), of M tuples.

        Parameters
        ----------
        steps : list of Tensor
            Shape (M, 3), in nm: from the first bead of each tuple to the second, from the second to the third, ...
        rows : Tensor
            Shape (M,): rows of the parameters.
        """
        raise NotImplementedError


class HarmonicBonds(BondedPotential):
    """U = sum over bonds of (k / 2) (r - r0)^2.

    Parameters
    ----------
    num_types : int
    types : sequence of (int, int)
        Types of the beads that each row of parameters is meant for.
    force_constants : array_like
        k, shape (rows,), in kJ/mol/nm^2.
    lengths : array_like
        r0, shape (rows,), in nm.
    """

    def __init__(
        self, num_types: int, types: Sequence[Sequence[int]], force_constants: ArrayLike, lengths: ArrayLike
    ) -> None:
        super().__init__(num_types, "bonds", types)
        self.force_constants = _parameter("force_constants", force_constants, (len(self.types),))
        self.lengths = _parameter("lengths", lengths, (len(self.types),))

    def energies(self, steps: list[Tensor], rows: Tensor) -> Tensor:
        """Return the energies of bonds; see BondedPotential.energies."""
        r = steps[0].to(self.lengths.dtype).square().sum(1).sqrt()
        return 0.5 * self.force_constants[rows] * (r - self.lengths[rows]).square()

    @torch.jit.unused
    def components(self) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
        """Return the native description; see Potential.components."""
        tensors = {"force_constants": double(self.force_constants), "lengths": double(self.lengths)}
        return [({"kind": "harmonic-bond", "types": self.types}, tensors)]


class HarmonicAngles(BondedPotential):
    """U = sum over angles of (k / 2) (theta - theta0)^2.

    Parameters
    ----------
    num_types : int
    types : sequence of (int, int, int)
        Types of the beads that each row of parameters is meant for, the middle one at the vertex.
    force_constants : array_like
        k, shape (rows,), in kJ/mol/rad^2.
    angles : array_like
        theta0, shape (rows,), in radian, between 0 and pi.
    """

    def __init__(
        self, num_types: int, types: Sequence[Sequence[int]], force_constants: ArrayLike, angles: ArrayLike
    ) -> None:
        super().__init__(num_types, "angles", types)
        self.force_constants = _parameter("force_constants", force_constants, (len(self.types),))
        self.angles = _parameter("angles", angles, (len(self.types),))

    def energies(self, steps: list[Tensor], rows: Tensor) -> Tensor:
        """Return the energies of angles; see BondedPotential.energies."""
        a, b = -steps[0].to(self.angles.dtype), steps[1].to(self.angles.dtype)
        theta = torch.atan2(torch.linalg.cross(a, b, dim=1).square().sum(1).sqrt(), (a * b).sum(1))
        return 0.5 * self.force_constants[rows] * (theta - self.angles[rows]).square()

    @torch.jit.unused
    def components(self) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
        """Return the native description; see Potential.components."""
        tensors = {"force_constants": double(self.force_constants), "angles": double(self.angles)}
        return [({"kind": "harmonic-angle", "types": self.types}, tensors)]


class TorsionSeries(BondedPotential):
    """A Fourier series of the signed dihedral angle of four beads; see `Dihedrals` and `Impropers`."""

    kind = ""

    def __init__(self, num_types: int, term: str, types: Sequence[Sequence[int]], coefficients: ArrayLike) -> None:
        super().__init__(num_types, term, types)
        self.coefficients = _parameter("coefficients", coefficients, (len(self.types), None, 2))
        self.order = int(self.coefficients.shape[1])

    def energies(self, steps: list[Tensor], rows: Tensor) -> Tensor:
        """Return the energies of dihedral angles; see BondedPotential.energies."""
        coefficients = self.coefficients[rows]
        cosine, sine = torsion_cosine_and_sine(
            steps[0].to(coefficients.dtype), steps[1].to(coefficients.dtype), steps[2].to(coefficients.dtype)
        )
        c, s = cosine, sine
        energy = torch.zeros_like(cosine)
        for n in range(self.order):
            energy = energy + coefficients[:, n, 0] * c + coefficients[:, n, 1] * s
            c, s = c * cosine - s * sine, s * cosine + c * sine
        return energy

    @torch.jit.unused
    def components(self) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
        """Return the native description; see Potential.components."""
        description = {"kind": self.kind, "types": self.types, "order": self.order}
        return [(description, {"coefficients": double(self.coefficients)})]


class Dihedrals(TorsionSeries):
    r"""U = sum over dihedrals of sum_n A_n cos(n phi) + B_n sin(n phi), n = 1 .. order.

    phi is the signed angle (IUPAC) of four beads in a row, 0 if cis. The sine terms tell a molecule from its mirror
    image, which no potential of distances and angles can.

    Parameters
    ----------
    num_types : int
    types : sequence of (int, int, int, int)
        Types of the beads that each row of parameters is meant for.
    coefficients : array_like
        A_n and B_n, shape (rows, order, 2), in kJ/mol.
    """

    kind = "dihedral"

    def __init__(self, num_types: int, types: Sequence[Sequence[int]], coefficients: ArrayLike) -> None:
        super().__init__(num_types, "dihedrals", types, coefficients)


class Impropers(TorsionSeries):
    r"""U = sum over impropers of sum_n A_n cos(n chi) + B_n sin(n chi), n = 1 .. order.

    chi is the signed dihedral angle of a centre and the three beads i, j, k bonded to it, taken as four beads in a row:
    the angle between the planes (centre, i, j) and (i, j, k). It has one sign for each handedness of the centre.
    A harmonic restraint to chi0 is, near it, A_1 = -k cos(chi0), B_1 = -k sin(chi0).

    Parameters
    ----------
    num_types : int
    types : sequence of (int, int, int, int)
        Types of the beads that each row of parameters is meant for, the centre's first. Neighbours of the same type
        are told apart by their order in the topology.
    coefficients : array_like
        A_n and B_n, shape (rows, order, 2), in kJ/mol.
    """

    kind = "improper"

    def __init__(self, num_types: int, types: Sequence[Sequence[int]], coefficients: ArrayLike) -> None:
        super().__init__(num_types, "impropers", types, coefficients)


def torsion_cosine_and_sine(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of the dihedral angles, shape (M,), of steps a, b and c, each of shape (M, 3)."""
    n1, n2 = torch.linalg.cross(a, b, dim=1), torch.linalg.cross(b, c, dim=1)
    x = (n1 * n2).sum(1)
    y = (a * n2).sum(1) * b.square().sum(1).sqrt()
    norm = (x * x + y * y).sqrt()
    return x / norm, y / norm


def check_type_tuples(types: Sequence[Sequence[int]], width: int, num_types: int, improper: bool) -> list[list[int]]:
    """Return type tuples as lists, after checking their length, their range and that none comes twice.

    Raises
    ------
    ValueError
        If one of these fails, or there are none.
    """
    rows = [[int(t) for t in row] for row in types]
    if not rows:
        raise ValueError("a bonded potential needs at least one tuple of bead types")
    seen = set()
    for row in rows:
        if len(row) != width or not all(0 <= t < num_types for t in row):
            raise ValueError(f"type tuples must have {width} types of 0 .. {num_types - 1} each, got {row}")
        same = (row[0], *sorted(row[1:])) if improper else min(tuple(row), tuple(reversed(row)))
        if same in seen:
            raise ValueError(f"the type tuple {row} comes twice, perhaps in another order")
        seen.add(same)
    return rows


def _parameter(name: str, values: ArrayLike, shape: tuple[int | None, ...]) -> torch.nn.Parameter:
    array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
    if array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
        raise ValueError(f"{name} must have the shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array}")
    return torch.nn.Parameter(torch.from_numpy(array.copy()))
