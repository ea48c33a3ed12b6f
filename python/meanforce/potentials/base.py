# SPDX-License-Identifier: MIT
"""What every potential is: an energy per bead, from pairs of beads nearer to each other than a cutoff."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..bonds import BondGraph
from ..modelfile import BeadType

READOUT_TEMPERATURE = 300.0
"""Temperature in K by which the network's entropic output is multiplied."""


def neighbor_pairs(positions: Tensor, cutoff: float, box: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return every pair of beads nearer than the cutoff, once.

    All N (N - 1) / 2 pairs are looked at, so this is for systems of up to a few thousand beads.

    Parameters
    ----------
    positions : Tensor
        Shape (N, 3), in nm.
    cutoff : float
        In nm.
    box : Tensor, optional
        Shape (3, 3): the periodic box vectors as rows, in nm, in OpenMM's reduced form (lower triangular).

    Returns
    -------
    first, second : Tensor
        Shape (P,), int64, first < second.
    displacements : Tensor
        Shape (P, 3), in nm: nearest image of `second` minus `first`, differentiable with respect to `positions`.

    Raises
    ------
    ValueError
        If a diagonal element of the box is less than twice the cutoff, so that a bead would see two images of another.
    """
    if positions.dim() != 2 or positions.shape[1] != 3:
        raise ValueError(f"positions must have shape (N, 3), got {positions.shape}")
    if box is not None:
        if box.dim() != 2 or box.shape[0] != 3 or box.shape[1] != 3:
            raise ValueError(f"box must have shape (3, 3), got {box.shape}")
        shortest = float(box.detach().diagonal().min())
        # OpenMM's own test; the relative slack admits a box that was rounded to single precision.
        if shortest * (1.0 + 1e-6) < 2.0 * cutoff:
            raise ValueError(
                f"the periodic box, {shortest} nm on its shortest edge, must be at least twice the cutoff, {cutoff} nm"
            )
    count = positions.shape[0]
    pairs = torch.triu_indices(count, count, 1, device=positions.device)
    fixed = positions.detach()
    fixed_box: Tensor | None = None
    if box is not None:
        fixed_box = box.detach().to(positions.dtype)
    squared = _displacements(fixed, pairs[0], pairs[1], fixed_box).square().sum(1)
    near = (squared < cutoff * cutoff).nonzero().squeeze(1)
    first, second = pairs[0].index_select(0, near), pairs[1].index_select(0, near)
    return first, second, _displacements(positions, first, second, box)


def _displacements(positions: Tensor, first: Tensor, second: Tensor, box: Tensor | None) -> Tensor:
    # index_select, not indexing: its backward is an index_add, several times faster than index_put.
    displacements = positions.index_select(0, second) - positions.index_select(0, first)
    if box is not None:
        displacements = nearest_image(displacements, box)
    return displacements


def nearest_image(displacements: Tensor, box: Tensor) -> Tensor:
    """Return displacements, shape (P, 3), to the nearest periodic image.

    Parameters
    ----------
    displacements : Tensor
        In nm.
    box : Tensor
        Shape (3, 3), or (P, 3, 3) for a box of each: reduced box vectors as rows, in nm.
    """
    vectors = box.to(displacements.dtype)
    for axis in [2, 1, 0]:  # in a reduced box only vector c has a z component, then only b has a y component
        images = torch.round(displacements[:, axis] / vectors[..., axis, axis])
        displacements = displacements - images.unsqueeze(1) * vectors[..., axis, :]
    return displacements


class Potential(torch.nn.Module):
    """A coarse-grained potential U(x) = sum_i u_i, where u_i depends on the beads within one cutoff of bead i.

    A subclass provides `bead_energies`, and `components` if it has a native counterpart that `meanforce.export` can
    describe. Potentials can be scripted with ``torch.jit.script``, after ``requires_grad_(False)`` (what export does):
    torch 2.13's executor gives wrong forces where parameters need gradients and the positions of its first call don't.

    Parameters
    ----------
    num_types : int
        Number of bead types.
    cutoff : float
        In nm; 0 for potentials, like bonded ones, in which pairs do not matter.
    temperature_dependent : bool
        Whether `bead_energies` takes a temperature.

    Attributes
    ----------
    cutoff : float
    num_types : int
    temperature_dependent : bool
    bead_types : list of BeadType or None
        Names, residues and masses of the types, written to the model file.
    bond_graph : BondGraph or None
        The bonds of one copy of the system, as `set_bonds` gave them.
    """

    # A constant for torch.jit, so that it compiles only the branch that exists.
    __constants__ = ("temperature_dependent",)

    def __init__(self, num_types: int, cutoff: float, temperature_dependent: bool = False) -> None:
        super().__init__()
        if int(num_types) != num_types or num_types < 1:
            raise ValueError(f"num_types must be a positive integer, got {num_types!r}")
        if not 0 <= cutoff < float("inf"):
            raise ValueError(f"cutoff must be a positive length in nm, got {cutoff!r}")
        self.num_types = int(num_types)
        self.cutoff = float(cutoff)
        self.temperature_dependent = bool(temperature_dependent)
        self.bead_types: list[BeadType] | None = None
        self.bond_graph: BondGraph | None = None

    @torch.jit.unused
    def set_bonds(self, types: Sequence[int], bonds: Sequence[Sequence[int]]) -> None:
        """Say which beads are bonded, for bonded terms and for pairs excluded along bonds.

        The energy is then that of these beads, or of several copies of them one after another. The model file does not
        depend on it: there the bonds come from the topology.

        Parameters
        ----------
        types : sequence of int
            The type of each bead of one copy.
        bonds : sequence of (int, int)
            The bonded beads of one copy.

        Raises
        ------
        ValueError
            If a bond makes no sense, or a potential of bonds has no parameters for one.
        """
        self.bond_graph = BondGraph.create(types, bonds)

    def forward(
        self,
        positions: Tensor,
        types: Tensor,
        box: Tensor | None = None,
        temperature: torch.Tensor | float | None = None,
    ) -> Tensor:
        """Return the potential energy.

        Parameters
        ----------
        positions : Tensor
            Shape (N, 3), in nm.
        types : Tensor
            Shape (N,): index of each bead's type.
        box : Tensor, optional
            Shape (3, 3): periodic box vectors as rows, reduced as OpenMM's are, in nm.
        temperature : Tensor or float, optional
            In K. Needed by a potential that depends on temperature, without effect on others.

        Returns
        -------
        Tensor
            Scalar in kJ/mol, in the dtype of the positions.

        Raises
        ------
        ValueError
            If a shape is wrong, the box is smaller than twice the cutoff, or a temperature is needed and missing.
        """
        if types.dim() != 1 or types.shape[0] != positions.shape[0]:
            raise ValueError(f"types must have shape ({positions.shape[0]},), got {types.shape}")
        first, second, displacements = neighbor_pairs(positions, self.cutoff, box)
        types = types.to(torch.long)
        if self.temperature_dependent:
            if temperature is None:
                raise ValueError("the potential depends on temperature: the argument temperature, in K, is missing")
            kelvin = _scalar(temperature, positions)
            energies = self.bead_energies(displacements, first, second, types, kelvin)  # type: ignore[call-arg]
            total = energies.sum() + self.offset_energy(kelvin)
        else:
            total = self.bead_energies(displacements, first, second, types).sum()
        return (total + self.bonded_energies(positions, box).sum()).to(positions.dtype)

    def bead_energies(self, displacements: Tensor, first: Tensor, second: Tensor, types: Tensor) -> Tensor:
        """Return each bead's share of the energy.

        Beads only see each other through the pairs, so several frames are evaluated in one call by joining them:
        their positions one after another and their pairs shifted by the number of beads before them.

        Parameters
        ----------
        displacements : Tensor
            Shape (P, 3), in nm: position of `second` minus position of `first`, nearest image.
        first, second : Tensor
            Shape (P,), int64: the two beads of each pair. Each pair appears once, in either order. Pairs beyond the
            cutoff contribute nothing.
        types : Tensor
            Shape (N,), int64.
        temperature : Tensor
            In K, a scalar or one for each bead, shape (N,): of temperature-dependent potentials only.

        Returns
        -------
        Tensor
            Shape (N,), in kJ/mol.
        """
        raise NotImplementedError

    def bonded_energies(self, positions: Tensor, box: Tensor | None) -> Tensor:
        """Return each bead's share of the energy of bonded terms, which pairs within a cutoff do not know.

        Parameters
        ----------
        positions : Tensor
            Shape (N, 3), in nm: one copy of the beads given to `set_bonds`, or several one after another.
        box : Tensor, optional
            Shape (3, 3), or (copies, 3, 3): periodic box vectors as rows, in nm.

        Returns
        -------
        Tensor
            Shape (N,), in kJ/mol; zeros unless a subclass has bonded terms.
        """
        return torch.zeros(positions.shape[0], dtype=positions.dtype, device=positions.device)

    def offset_energy(self, temperature: Tensor) -> Tensor:
        """Return C(T), the energy in kJ/mol of a replica whose beads have none, at a scalar temperature in K."""
        return torch.zeros_like(temperature)

    @torch.jit.unused
    def components(self) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
        """Return the native description: for each term of the energy its architecture and its float64 parameters.

        Raises
        ------
        TypeError
            If this class has no native counterpart.
        """
        raise TypeError(
            f"{type(self).__name__} has no native counterpart: meanforce.export takes PairSpline, StillingerWeber, "
            "MomentTensor, SchNet, HarmonicBonds, HarmonicAngles, Dihedrals, Impropers and Sum"
        )


def _scalar(value: torch.Tensor | float, like: Tensor) -> Tensor:
    if isinstance(value, torch.Tensor):
        return value.to(like.device, torch.float64)
    return torch.full([], float(value), dtype=torch.float64, device=like.device)


class NetworkPotential(Potential):
    """A potential whose network has one output for each bead, or two if it depends on temperature.

        U(x)    = sum_i A_i(x)
        U(x; T) = sum_i A_i(x) - T sum_i B_i(x) + C(T),      C(T) = c0 + c1 T + c2 T ln T + c3 T^2

    A is the energetic and B the entropic part of the potential of mean force, from one evaluation; C is the free energy
    of what was integrated out, once for each replica. A subclass provides `bead_readouts`.

    Parameters
    ----------
    num_types : int
    cutoff : float
        In nm.
    temperature_dependent : bool

    Attributes
    ----------
    readouts : int
        Outputs of the network, 1 or 2.
    offset : Parameter or None
        c0 .. c3 with T in K and energies in kJ/mol, initially 0; None without temperature dependence. It has no
        influence on forces.
    """

    def __init__(self, num_types: int, cutoff: float, temperature_dependent: bool) -> None:
        if cutoff == 0:
            raise ValueError(f"cutoff must be a positive length in nm, got {cutoff!r}")
        super().__init__(num_types, cutoff, temperature_dependent)
        self.readout_temperature = READOUT_TEMPERATURE
        self.readouts = 2 if temperature_dependent else 1
        self.offset = torch.nn.Parameter(torch.zeros(4)) if temperature_dependent else None

    def bead_readouts(self, displacements: Tensor, first: Tensor, second: Tensor, types: Tensor) -> Tensor:
        """Return A_i and, with temperature dependence, B_i times READOUT_TEMPERATURE, in kJ/mol, shape (N, readouts).

        The factor gives both outputs the same size for the optimizer. Arguments as for `bead_energies`.
        """
        raise NotImplementedError

    def bead_energies(
        self, displacements: Tensor, first: Tensor, second: Tensor, types: Tensor, temperature: Tensor | None = None
    ) -> Tensor:
        """Return each bead's share of the energy without C(T), shape (N,); see Potential.bead_energies."""
        readouts = self.bead_readouts(displacements, first, second, types)
        if self.temperature_dependent:
            if temperature is None:
                raise ValueError("the potential depends on temperature: the argument temperature, in K, is missing")
            return readouts[:, 0] - temperature / self.readout_temperature * readouts[:, 1]
        return readouts.squeeze(1)

    def offset_energy(self, temperature: Tensor) -> Tensor:
        """Return C(T); see Potential.offset_energy."""
        offset = self.offset
        if offset is None:
            return torch.zeros_like(temperature)
        t = temperature
        return offset[0] + t * (offset[1] + offset[2] * torch.log(t) + offset[3] * t)

    @torch.jit.unused
    def describe_readouts(
        self, description: dict[str, Any], tensors: dict[str, np.ndarray], last_layer: str
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return a component (see `components`) completed by its readouts, B_i in kJ/mol/K.

        Parameters
        ----------
        description, tensors
            The rest of the component, with the last layer as the network has it.
        last_layer : str
            What the names of its weights, shape (..., readouts, inputs), and biases, (..., readouts), begin with.
        """
        description, tensors = {**description, "readouts": self.readouts}, dict(tensors)
        if self.offset is not None:
            for name in ("weight", "bias"):
                values = np.array(tensors[f"{last_layer}.{name}"])
                entropic = values[..., 1, :] if name == "weight" else values[..., 1]
                entropic /= READOUT_TEMPERATURE
                tensors[f"{last_layer}.{name}"] = values
            tensors["offset"] = double(self.offset)
        return description, tensors


def double(tensor: Tensor) -> np.ndarray:
    """Return the values of a parameter as float64."""
    return tensor.detach().cpu().double().numpy()


class Sum(Potential):
    """The sum of several potentials of the same bead types, for instance a pair prior and a network.

    Parameters
    ----------
    *potentials : Potential
        They are evaluated on one common list of pairs, up to the largest of their cutoffs.
    """

    def __init__(self, *potentials: Potential) -> None:
        if not potentials:
            raise ValueError("Sum needs at least one potential")
        counts = [potential.num_types for potential in potentials]
        if len(set(counts)) > 1:
            raise ValueError(f"potentials in a Sum must have the same number of bead types, got {counts}")
        super().__init__(
            counts[0],
            max(potential.cutoff for potential in potentials),
            any(potential.temperature_dependent for potential in potentials),
        )
        tables: Sequence[list[BeadType]] = [p.bead_types for p in potentials if p.bead_types is not None]
        if any(table != tables[0] for table in tables):
            raise ValueError("potentials in a Sum must have the same bead types")
        self.bead_types = tables[0] if tables else None
        self.potentials = torch.nn.ModuleList(potentials)
        graphs = [p.bond_graph for p in potentials if p.bond_graph is not None]
        if graphs:
            self.set_bonds(graphs[0].types, graphs[0].bonds)

    @torch.jit.unused
    def set_bonds(self, types: Sequence[int], bonds: Sequence[Sequence[int]]) -> None:
        """Say which beads are bonded, to all terms; see Potential.set_bonds."""
        super().set_bonds(types, bonds)
        for potential in self.potentials:
            potential.set_bonds(types, bonds)  # type: ignore[operator]

    def bonded_energies(self, positions: Tensor, box: Tensor | None) -> Tensor:
        """Return each bead's share of the energy of bonded terms; see Potential.bonded_energies."""
        energies = torch.zeros(positions.shape[0], dtype=positions.dtype, device=positions.device)
        for potential in self.potentials:
            energies = energies + potential.bonded_energies(positions, box)  # type: ignore[operator]
        return energies

    def bead_energies(
        self, displacements: Tensor, first: Tensor, second: Tensor, types: Tensor, temperature: Tensor | None = None
    ) -> Tensor:
        """Return each bead's share of the energy, shape (N,); see Potential.bead_energies."""
        energies = torch.zeros(types.shape[0], dtype=displacements.dtype, device=displacements.device)
        for potential in self.potentials:
            if potential.temperature_dependent:
                energies = energies + potential.bead_energies(displacements, first, second, types, temperature)  # type: ignore[operator]
            else:
                energies = energies + potential.bead_energies(displacements, first, second, types)  # type: ignore[operator]
        return energies

    def offset_energy(self, temperature: Tensor) -> Tensor:
        """Return C(T); see Potential.offset_energy."""
        energy = torch.zeros_like(temperature)
        for potential in self.potentials:
            if potential.temperature_dependent:
                energy = energy + potential.offset_energy(temperature)  # type: ignore[operator]
        return energy

    @torch.jit.unused
    def components(self) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
        """Return the native description; see Potential.components."""
        return [c for potential in self.potentials for c in potential.components()]  # type: ignore[operator]
