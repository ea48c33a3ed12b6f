# SPDX-License-Identifier: MIT
"""Force matching of networks by gradient descent."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data import Frames, Trajectory
from ..potentials import MomentTensor, Potential
from ..structure import pairs_within

WARM_UP = 0.02
"""Fraction of the training over which the learning rate rises from zero."""

STATISTICS_FRAMES = 16
"""Training frames from which the features' means and deviations are taken."""

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class ForceMatchingResult:
    """How well the forces of held-out frames are explained, as fractions of their mean square.

    Attributes
    ----------
    unexplained_prior, unexplained
        Left over by the prior alone, and by prior and network together.
    steps : int
        Optimizer steps taken.
    seconds : float
        Time spent in training, over all resumptions.
    """

    unexplained_prior: float
    unexplained: float
    steps: int
    seconds: float


@dataclass(frozen=True)
class _Frame:
    """One frame's pairs within the model's cutoff, and the force left to learn."""

    first: Tensor
    second: Tensor
    displacements: Tensor
    force: Tensor


class ForceMatching:
    r"""Fits a potential to the forces F - F_prior of a trajectory.

    Minimises sum \|F - F_prior - F_model\|^2 / sum \|F\|^2 over batches of frames with AdamW
    (doi:10.48550/arXiv.1711.05101), a learning rate that falls along a cosine, and an exponential average of the
    weights, which is what the model holds after `train`. Projected instantaneous forces are mostly noise about their
    mean, so most of the loss cannot be learned: compare with the value of another model, not with zero.

    Parameters
    ----------
    model : Potential
        Trained in place, in its own precision. The features of a `MomentTensor` are normalised on the data first.
    frames
        Frames with forces. Each is kept with its pairs in memory.
    prior : Potential, optional
        Its forces are subtracted; it stays as it is.
    learning_rate
        Largest learning rate.
    batch_size
        Frames per optimizer step.
    weight_decay
        Of AdamW.
    averaging
        Decay per step of the weights' exponential average.
    validation_fraction
        The last part of the frames is held out: neighbouring frames are alike, so a random choice would not test.
    seed
        Of the order of frames.

    Raises
    ------
    ValueError
        If there are no forces, or too few frames to hold one out.
    """

    def __init__(
        self,
        model: Potential,
        frames: Trajectory | Frames,
        prior: Potential | None = None,
        *,
        learning_rate: float = 5e-3,
        batch_size: int = 4,
        weight_decay: float = 0.0,
        averaging: float = 0.99,
        validation_fraction: float = 0.1,
        seed: int = 0,
    ) -> None:
        frames.require_forces()
        held_out = max(1, round(validation_fraction * len(frames)))
        if len(frames) - held_out < 1:
            raise ValueError(f"{len(frames)} frames are too few to train on and to hold one out")
        self.model = model
        self._dtype = next(model.parameters()).dtype
        self._types = torch.as_tensor(np.asarray(frames.types), dtype=torch.long)
        prepared, squared, squared_left = self._prepare(frames, prior)
        split = len(prepared) - held_out
        self._training, self._validation = prepared[:split], prepared[split:]
        self._mean_square = float(np.mean(squared[:split]))
        self._validation_square = float(np.sum(squared[split:]))
        self._unexplained_prior = float(np.sum(squared_left[split:]) / self._validation_square)
        self._batch_size = min(batch_size, split)
        self._learning_rate, self._seed, self._averaging = learning_rate, seed, averaging
        if isinstance(model, MomentTensor):
            sample = self._training[:: max(1, split // STATISTICS_FRAMES)][:STATISTICS_FRAMES]
            displacements, first, second, types, _ = self._join(sample)
            model.set_feature_statistics(displacements, first, second, types)
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
        self._weights = {name: p.detach().clone() for name, p in model.named_parameters()}
        self._average = {name: p.clone() for name, p in self._weights.items()}
        self._step, self._seconds = 0, 0.0

    def train(
        self,
        epochs: int | None = None,
        max_seconds: float | None = None,
        progress: Progress | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_seconds: float = 30.0,
    ) -> ForceMatchingResult:
        """Train for a number of passes over the frames, or for a time.

        Parameters
        ----------
        epochs, max_seconds
            Give one of them. The learning rate falls to zero over that span, including what was done before `load`.
            Only a number of epochs is repeatable: on a busier machine the same time does fewer steps.
        progress
            Called after each step with the steps done, their (estimated) total and the batch's loss.
        checkpoint, checkpoint_seconds
            File to `save` to, and how often.

        Raises
        ------
        ValueError
            If not exactly one of `epochs` and `max_seconds` is given.
        """
        if (epochs is None) == (max_seconds is None):
            raise ValueError(f"give either `epochs` or `max_seconds`, got {epochs} and {max_seconds}")
        self._load_weights(self._weights)
        self._weights = {name: p.detach() for name, p in self.model.named_parameters()}  # the live ones, for `save`
        try:
            self._loop(epochs, max_seconds, progress, checkpoint, checkpoint_seconds)
        finally:
            self._weights = {name: weight.clone() for name, weight in self._weights.items()}
            self._load_weights(self._average)
        if checkpoint is not None:
            self.save(checkpoint)
        return ForceMatchingResult(self._unexplained_prior, self.unexplained(), self._step, self._seconds)

    def _loop(
        self,
        epochs: int | None,
        max_seconds: float | None,
        progress: Progress | None,
        checkpoint: str | Path | None,
        checkpoint_seconds: float,
    ) -> None:
        batches = len(self._training) // self._batch_size
        started = saved = time.monotonic()
        before = self._seconds
        while (done := self._done(epochs, max_seconds, batches)) < 1.0:
            loss = self._take_step(self._batch(batches), done)
            now = time.monotonic()
            self._seconds = before + now - started
            if checkpoint is not None and now - saved >= checkpoint_seconds:
                self.save(checkpoint)
                saved = now
            if progress is not None:
                total = epochs * batches if epochs is not None else self._estimated_total(max_seconds)
                progress(self._step, total, loss)

    def unexplained(self) -> float:
        """Return the fraction of the held-out mean squared force that prior and model leave unexplained."""
        left = 0.0
        for frame in self._validation:
            displacements, first, second, types, target = self._join([frame])
            with torch.enable_grad():
                forces = pair_forces(self.model, displacements, first, second, types)
            left += float((forces - target).detach().double().square().sum())
        return left / self._validation_square

    def save(self, path: str | Path) -> None:
        """Write the state of the training, so that it can go on after `load`; replaces the file in one go."""
        state = {
            "weights": self._weights,
            "buffers": dict(self.model.named_buffers()),
            "average": self._average,
            "optimizer": self._optimizer.state_dict(),
            "step": self._step,
            "seconds": self._seconds,
            "frames": len(self._training),
        }
        temporary = Path(f"{path}.part")
        torch.save(state, temporary)
        os.replace(temporary, path)

    def load(self, path: str | Path) -> None:
        """Go on from a state that `save` wrote, with the same model, frames and settings.

        Raises
        ------
        ValueError
            If the state belongs to another model or other frames.
        """
        state = torch.load(path, weights_only=True)
        if state["frames"] != len(self._training):
            raise ValueError(f"{path} was trained on {state['frames']} frames, not {len(self._training)}")
        own = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        saved = {**state["weights"], **state["buffers"]}
        if {name: tensor.shape for name, tensor in own.items()} != {name: t.shape for name, t in saved.items()}:
            raise ValueError(f"{path} is the training of a model with other parameters")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(saved[name])
        self._weights = state["weights"]
        self._average = state["average"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._step, self._seconds = state["step"], state["seconds"]

    def _prepare(
        self, frames: Trajectory | Frames, prior: Potential | None
    ) -> tuple[list[_Frame], list[float], list[float]]:
        prepared, squared, squared_left = [], [], []
        for index in range(len(frames)):
            frame = frames[index : index + 1]
            positions, box = np.asarray(frame.positions[0], dtype=float), None if frame.box is None else frame.box[0]
            force = np.asarray(frame.require_forces()[0], dtype=float)
            cutoff = max(self.model.cutoff, 0.0 if prior is None else prior.cutoff)
            first, second, displacements = pairs_within(positions, box, cutoff)
            left = force if prior is None else force - self._prior_forces(prior, first, second, displacements)
            near = np.einsum("ij,ij->i", displacements, displacements) < self.model.cutoff**2
            prepared.append(
                _Frame(
                    torch.from_numpy(first[near].astype(np.int32)),
                    torch.from_numpy(second[near].astype(np.int32)),
                    torch.from_numpy(displacements[near]).to(self._dtype),
                    torch.from_numpy(left).to(self._dtype),
                )
            )
            squared.append(float(np.sum(force**2)))
            squared_left.append(float(np.sum(left**2)))
        return prepared, squared, squared_left

    def _prior_forces(
        self, prior: Potential, first: np.ndarray, second: np.ndarray, displacements: np.ndarray
    ) -> np.ndarray:
        d = torch.from_numpy(displacements)
        i, j = torch.from_numpy(first.astype(np.int64)), torch.from_numpy(second.astype(np.int64))
        return pair_forces(prior, d, i, j, self._types).detach().numpy()

    def _join(self, frames: list[_Frame]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Concatenate frames as one system whose beads only see their own frame."""
        n = len(self._types)
        first = torch.cat([frame.first.long() + n * k for k, frame in enumerate(frames)])
        second = torch.cat([frame.second.long() + n * k for k, frame in enumerate(frames)])
        displacements = torch.cat([frame.displacements for frame in frames])
        return displacements, first, second, self._types.repeat(len(frames)), torch.cat([f.force for f in frames])

    def _batch(self, batches: int) -> list[_Frame]:
        epoch, place = divmod(self._step, batches)
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._training))
        return [self._training[k] for k in order[place * self._batch_size : (place + 1) * self._batch_size]]

    def _take_step(self, batch: list[_Frame], done: float) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate * min(1.0, (done + 1e-3) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * done))
        displacements, first, second, types, target = self._join(batch)
        forces = pair_forces(self.model, displacements, first, second, types, differentiable=True)
        loss = (forces - target).square().sum() / (len(batch) * self._mean_square)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._optimizer.step()
        self._step += 1
        decay = min(self._averaging, self._step / (10 + self._step))
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                self._average[name].lerp_(parameter, 1 - decay)
        return float(loss.detach())

    def _done(self, epochs: int | None, max_seconds: float | None, batches: int) -> float:
        """Return the fraction of the training that is done."""
        if epochs is not None:
            return self._step / (epochs * batches)
        assert max_seconds is not None
        return self._seconds / max_seconds

    def _estimated_total(self, max_seconds: float | None) -> int:
        assert max_seconds is not None
        return max(self._step, round(self._step * max_seconds / self._seconds))

    def _load_weights(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(weights[name])


def pair_forces(
    model: Potential,
    displacements: Tensor,
    first: Tensor,
    second: Tensor,
    types: Tensor,
    differentiable: bool = False,
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
    """
    d = displacements.detach().requires_grad_()
    energy = model.bead_energies(d, first, second, types).sum()
    (slope,) = torch.autograd.grad(energy, d, create_graph=differentiable)
    forces = torch.zeros(types.shape[0], 3, dtype=slope.dtype)
    return forces.index_add(0, first, slope).index_add(0, second, -slope)
