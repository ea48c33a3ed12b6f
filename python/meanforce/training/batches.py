# SPDX-License-Identifier: MIT
"""Frames with their pairs in memory, from which the batches of a training are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ..data import Frames, Trajectory
from ..potentials import Potential, energies_and_forces
from ..structure import pairs_within

SHAPES = 8
"""Batches have at most about this many different numbers of pairs; a compiled step is compiled for each it meets."""

CHUNK = 64
"""Frames whose prior forces are evaluated in one call."""


@dataclass(frozen=True)
class Batch:
    """Frames joined as one system whose beads only see their own frame.

    Attributes
    ----------
    displacements : Tensor
        Shape (P, 3), in nm. Pairs that only fill up the shape are farther apart than the cutoff.
    first, second : Tensor
        Shape (P,), int64.
    types : Tensor
        Shape (N,), int64.
    forces : Tensor
        Shape (N, 3), in kJ/mol/nm: what is to be learned.
    temperature : Tensor or None
        Shape (N,), in K.
    """

    displacements: Tensor
    first: Tensor
    second: Tensor
    types: Tensor
    forces: Tensor
    temperature: Tensor | None = None

    def to(self, device: torch.device) -> Self:
        """Return the batch on a device."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: value.to(device) for name, value in moved.items() if value is not None})


class PairedFrames:
    """Frames of one composition, each with its pairs within a cutoff and the force that a prior leaves.

    Parameters
    ----------
    types : ndarray
        Shape (n,): of each bead.
    cutoff : float
        In nm.
    dtype : torch.dtype
        Of displacements and forces.

    Attributes
    ----------
    squared, squared_left : list of float
        Sum over each frame of the squared force, and of the squared force that the prior leaves.
    """

    def __init__(self, types: np.ndarray, cutoff: float, dtype: torch.dtype) -> None:
        self.types = torch.as_tensor(np.asarray(types), dtype=torch.long)
        self.cutoff = cutoff
        self.squared: list[float] = []
        self.squared_left: list[float] = []
        self._dtype = dtype
        self._first: list[Tensor] = []
        self._second: list[Tensor] = []
        self._displacements: list[Tensor] = []
        self._forces: list[Tensor] = []
        self._temperatures: list[Tensor] = []
        self._starts = np.zeros(1, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.squared)

    @property
    def has_temperature(self) -> bool:
        """Whether every frame has a temperature."""
        return len(self._temperatures) > 0

    def add(self, frames: Trajectory | Frames, prior: Potential | None, temperature: np.ndarray | None) -> None:
        """Add frames with forces; `temperature` has one value in K for each."""
        if not np.array_equal(np.asarray(frames.types), self.types.numpy()):
            raise ValueError("all frames of a training must have the same beads, in the same order")
        for start in range(0, len(frames), CHUNK):
            chunk = frames[start : start + CHUNK]
            at = None if temperature is None else torch.from_numpy(temperature[start : start + CHUNK])
            self._add_chunk(chunk, prior, at)
        counts = np.concatenate([np.diff(self._starts), [len(first) for first in self._first[len(self._starts) - 1 :]]])
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def finish(self) -> None:
        """Put everything into one piece of memory; call it once, after the last `add`."""
        for name in ("_first", "_second", "_displacements", "_forces", "_temperatures"):
            parts = getattr(self, name)
            setattr(self, name, [torch.cat(parts)] if parts else [])

    def pair_counts(self, frames: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the number of pairs of each of the frames."""
        return np.asarray(np.diff(self._starts)[np.asarray(frames)])

    def join(self, frames: Sequence[int] | np.ndarray, pairs: int | None = None) -> Batch:
        """Return frames as one batch, filled up to a number of pairs if one is given."""
        chosen = np.asarray(frames, dtype=np.int64)
        n, count = len(self.types), len(chosen)
        counts = self.pair_counts(chosen)
        total = int(counts.sum())
        ends = np.cumsum(counts)
        # Where each pair of the batch lies in memory, and in which frame of the batch.
        place = torch.from_numpy(np.repeat(self._starts[chosen] - (ends - counts), counts) + np.arange(total))
        shift = torch.from_numpy(np.repeat(n * np.arange(count), counts))
        first = self._first[0].index_select(0, place).long() + shift
        second = self._second[0].index_select(0, place).long() + shift
        displacements = self._displacements[0].index_select(0, place)
        if pairs is not None and pairs > total:
            # Spread over all beads, so that no bead's row of neighbours grows by more than a few.
            filling = torch.arange(pairs - total) % (n * count)
            far = torch.zeros(pairs - total, 3, dtype=self._dtype)
            far[:, 0] = 2.0 * self.cutoff
            first, second = torch.cat([first, filling]), torch.cat([second, (filling + 1) % (n * count)])
            displacements = torch.cat([displacements, far])
        beads = torch.from_numpy((n * chosen[:, None] + np.arange(n)).reshape(-1))
        temperature = None
        if self._temperatures:
            temperature = self._temperatures[0].index_select(0, torch.from_numpy(chosen)).repeat_interleave(n)
        return Batch(
            displacements,
            first,
            second,
            self.types.repeat(count),
            self._forces[0].index_select(0, beads),
            temperature,
        )

    def padded_pairs(self, frames: Sequence[int] | np.ndarray, pool: np.ndarray) -> int:
        """Return the number of pairs to fill a batch up to, one of few, if batches are drawn from `pool`."""
        counts = np.sort(self.pair_counts(pool))
        quantum = max(1, -(-int(counts[-len(frames) :].sum()) // SHAPES))
        return -(-int(self.pair_counts(frames).sum()) // quantum) * quantum

    def _add_chunk(self, frames: Frames, prior: Potential | None, temperature: Tensor | None) -> None:
        positions = np.asarray(frames.positions, dtype=float)
        forces = torch.from_numpy(np.array(frames.require_forces(), dtype=float))
        left = forces if prior is None else forces - self._prior_forces(prior, frames, temperature)
        for k, x in enumerate(positions):
            box = None if frames.box is None else np.asarray(frames.box[k])
            first, second, displacements = pairs_within(x, box, self.cutoff)
            self._first.append(torch.from_numpy(first.astype(np.int32)))
            self._second.append(torch.from_numpy(second.astype(np.int32)))
            self._displacements.append(torch.from_numpy(displacements).to(self._dtype))
        self._forces.append(left.reshape(-1, 3).to(self._dtype))
        if temperature is not None:
            self._temperatures.append(temperature.to(self._dtype))
        self.squared += forces.square().sum((1, 2)).tolist()
        self.squared_left += left.square().sum((1, 2)).tolist()

    def _prior_forces(self, prior: Potential, frames: Frames, temperature: Tensor | None) -> Tensor:
        positions, forces = np.asarray(frames.positions, dtype=float), np.empty(frames.positions.shape)
        kelvin = np.zeros(len(positions)) if temperature is None else temperature.numpy()
        for value in np.unique(kelvin):
            same = kelvin == value
            box = None if frames.box is None else np.asarray(frames.box)[same]
            at = None if temperature is None else float(value)
            forces[same] = energies_and_forces(prior, positions[same], self.types.numpy(), box, at)[1]
        return torch.from_numpy(forces)


def pair_forces(
    model: Potential,
    displacements: Tensor,
    first: Tensor,
    second: Tensor,
    types: Tensor,
    differentiable: bool = False,
    temperature: Tensor | None = None,
) -> Tensor:
    """Return the forces F = -dU/dx, shape (N, 3), in kJ/mol/nm.

    Parameters
    ----------
    displacements : Tensor
        Shape (P, 3), in nm: position of `second` minus position of `first`.
    first, second : Tensor
        Shape (P,), int64: each pair once.
    types : Tensor
        Shape (N,), int64.
    differentiable
        Keep the graph, for derivatives with respect to the model's parameters.
    temperature : Tensor
        In K, a scalar or shape (N,): of a model that depends on it.
    """
    with torch.enable_grad():
        d = displacements.detach().requires_grad_()
        more = (temperature,) if model.temperature_dependent else ()
        energy = model.bead_energies(d, first, second, types, *more).sum()
        (slope,) = torch.autograd.grad(energy, d, create_graph=differentiable)
    return forces_on_beads(slope, first, second, types.shape[0])


def forces_on_beads(slope: Tensor, first: Tensor, second: Tensor, count: int) -> Tensor:
    """Return the forces on `count` beads, shape (N, 3), from dU/d(displacement) of each pair, shape (P, 3)."""
    forces = torch.zeros(count, 3, dtype=slope.dtype, device=slope.device)
    return forces.index_add(0, first, slope).index_add(0, second, -slope)
