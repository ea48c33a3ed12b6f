# SPDX-License-Identifier: MIT
"""Energies and forces of many frames, and whether a potential tells a conformation from its mirror image."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..structure import pairs_within
from .base import Potential

BEADS_PER_BATCH = 2000
"""Frames are joined up to about so many beads."""

MIRROR_TOLERANCE = 1e-5
"""Energies of mirror images that differ by less than this fraction of the energies' spread count as equal."""

CHIRAL_SIGNIFICANCE = 6.0
"""Standard errors by which the mean sine of a dihedral must differ from 0 for the frames to count as chiral."""


class JoinedFrames:
    """Several frames as one system whose beads only see their own frame, with their pairs, for many evaluations.

    Parameters
    ----------
    positions : ndarray
        Shape (F, n, 3), in nm.
    types : ArrayLike
        Shape (n,).
    boxes : ndarray or None
        Shape (F, 3, 3), in nm.
    cutoff : float
        Of the pairs, in nm: that of the models that will be evaluated, or more.
    """

    def __init__(self, positions: np.ndarray, types: ArrayLike, boxes: np.ndarray | None, cutoff: float) -> None:
        self.shape = positions.shape
        n = self.shape[1]
        firsts, seconds, images = [np.zeros(0, dtype=int)], [np.zeros(0, dtype=int)], [np.zeros((0, 3))]
        for k, x in enumerate(positions if cutoff > 0 else positions[:0]):
            first, second, displacements = pairs_within(x, None if boxes is None else boxes[k], cutoff)
            firsts.append(first + n * k)
            seconds.append(second + n * k)
            images.append(displacements - (x[second] - x[first]))
        self._first, self._second = (torch.from_numpy(np.concatenate(p).astype(np.int64)) for p in (firsts, seconds))
        self._images = torch.from_numpy(np.concatenate(images))  # what periodic boundaries add to the difference
        self._positions = torch.from_numpy(np.ascontiguousarray(positions.reshape(-1, 3)))
        self._types = torch.as_tensor(np.asarray(types), dtype=torch.long).repeat(self.shape[0])
        self._boxes = None if boxes is None else torch.tensor(np.asarray(boxes))

    def energies(
        self, model: Potential, temperature: float | None = None, needs_gradient: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return the energies of the frames, differentiable by the model's parameters, and the positions.

        Parameters
        ----------
        model : Potential
            Evaluated in the precision of its parameters.
        temperature : float, optional
            In K.
        needs_gradient : bool
            Whether the energies are to be differentiable by the positions too.

        Returns
        -------
        energies : Tensor
            Shape (F,), in kJ/mol.
        positions : Tensor
            Shape (F n, 3), in nm.
        """
        dtype = next((p.dtype for p in model.parameters()), torch.float64)
        x = self._positions.to(dtype).detach().requires_grad_(needs_gradient)
        displacements = x.index_select(0, self._second) - x.index_select(0, self._first) + self._images.to(dtype)
        arguments: list[Any] = [displacements, self._first, self._second, self._types]
        offset: Tensor | float = 0.0
        if model.temperature_dependent:
            if temperature is None:
                raise ValueError("the potential depends on temperature: the argument temperature, in K, is missing")
            arguments.append(torch.tensor(float(temperature), dtype=torch.float64))
            offset = model.offset_energy(arguments[-1])
        energies = model.bead_energies(*arguments) + model.bonded_energies(x, self._boxes)
        return energies.view(self.shape[0], self.shape[1]).sum(1) + offset, x


def joined_batches(
    positions: ArrayLike, types: ArrayLike, box: ArrayLike | None, cutoff: float
) -> Iterator[JoinedFrames]:
    """Yield frames, joined in batches of up to about `BEADS_PER_BATCH` beads.

    Parameters
    ----------
    positions, types, box
        As for `energies_and_forces`.
    cutoff : float
        In nm.
    """
    x = np.asarray(positions, dtype=float)
    boxes = None if box is None else np.broadcast_to(np.asarray(box, dtype=float), (len(x), 3, 3))
    per_batch = max(1, BEADS_PER_BATCH // x.shape[1])
    for start in range(0, len(x), per_batch):
        part = slice(start, start + per_batch)
        yield JoinedFrames(x[part], types, None if boxes is None else boxes[part], cutoff)


def energies_and_forces(
    model: Potential,
    positions: ArrayLike,
    types: ArrayLike,
    box: ArrayLike | None = None,
    temperature: float | None = None,
    forces: bool = True,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return energies and forces of frames, with bonded terms and everything else the potential has.

    Parameters
    ----------
    model : Potential
        Evaluated in the precision of its parameters.
    positions : array_like
        Shape (F, n, 3), in nm.
    types : array_like
        Shape (n,).
    box : array_like, optional
        Shape (3, 3) or (F, 3, 3): box vectors as rows, in nm.
    temperature : float, optional
        In K, for a potential that depends on it.
    forces : bool
        Whether forces are wanted; None is returned for them otherwise.

    Returns
    -------
    energies : ndarray
        Shape (F,), in kJ/mol.
    forces : ndarray or None
        Shape (F, n, 3), in kJ/mol/nm.
    """
    found_energies, found_forces = [], []
    for batch in joined_batches(positions, types, box, model.cutoff):
        energy, x = batch.energies(model, temperature, forces)
        found_energies.append(energy.detach().double().numpy())
        if forces:
            (gradient,) = torch.autograd.grad(energy.sum(), x)
            found_forces.append(-gradient.double().numpy().reshape(batch.shape))
    return np.concatenate(found_energies), np.concatenate(found_forces) if forces else None


def mirror_asymmetry(
    model: Potential,
    positions: ArrayLike,
    types: ArrayLike,
    box: ArrayLike | None = None,
    temperature: float | None = None,
) -> np.ndarray:
    """Return how much the energy of each frame's mirror image differs from its own.

    Parameters
    ----------
    model, positions, types, box, temperature
        As for `energies_and_forces`. The box must be rectangular: the mirror is that of x.

    Returns
    -------
    ndarray
        Shape (F,), in kJ/mol: U(mirrored) - U.
    """
    x = np.asarray(positions, dtype=float)
    if box is not None and np.any(np.asarray(box)[..., ~np.eye(3, dtype=bool)] != 0):
        raise ValueError("the mirror image of a triclinic box is another box: give frames in a rectangular one")
    own = energies_and_forces(model, x, types, box, temperature, forces=False)[0]
    mirrored = energies_and_forces(model, x * np.array([-1.0, 1.0, 1.0]), types, box, temperature, forces=False)[0]
    return np.asarray(mirrored - own)


def is_mirror_blind(
    model: Potential,
    positions: ArrayLike,
    types: ArrayLike,
    box: ArrayLike | None = None,
    temperature: float | None = None,
) -> bool:
    """Return whether a potential gives mirror images the same energy, so that it makes both equally likely.

    Every potential of distances and angles does. Signed dihedrals and impropers, and products of odd parity in a
    MomentTensor, do not. Arguments as for `mirror_asymmetry`; a few dozen frames of the molecule suffice.
    """
    difference = mirror_asymmetry(model, positions, types, box, temperature)
    energies = energies_and_forces(model, positions, types, box, temperature, forces=False)[0]
    spread = float(np.std(energies)) if len(energies) > 1 else abs(float(energies[0]))
    return bool(np.abs(difference).max() <= MIRROR_TOLERANCE * max(spread, 1e-3))


def are_chiral(positions: ArrayLike, types: ArrayLike, bonds: Sequence[Sequence[int]], blocks: int = 10) -> bool:
    """Return whether frames of a bonded system show one handedness more than the other.

    They do if the mean sine of any dihedral or improper differs from 0 by more than `CHIRAL_SIGNIFICANCE` of its
    standard error, from blocks of consecutive frames. Molecules must be whole.

    Parameters
    ----------
    positions : array_like
        Shape (F, n, 3), in nm.
    types : array_like
        Shape (n,).
    bonds : sequence of (int, int)
    blocks : int
        Number of blocks.
    """
    from ..bonds import BondGraph
    from .bonded import torsion_cosine_and_sine

    x = torch.as_tensor(np.asarray(positions, dtype=float))
    graph = BondGraph.create(np.asarray(types).tolist(), bonds)
    for beads in [*graph.dihedrals, *graph.impropers]:
        steps = [x[:, beads[k + 1]] - x[:, beads[k]] for k in range(3)]
        sine = torsion_cosine_and_sine(*steps)[1].numpy()
        means = np.array([part.mean() for part in np.array_split(sine, min(blocks, len(sine)))])
        error = means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else np.inf
        if abs(means.mean()) > CHIRAL_SIGNIFICANCE * error:
            return True
    return False
