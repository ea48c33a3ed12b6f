# SPDX-License-Identifier: MIT
"""Force matching of networks by gradient descent."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..data import Frames, Trajectory
from ..potentials import MomentTensor, Potential
from ..structure import GAS_CONSTANT
from .batches import Batch, PairedFrames, pair_forces
from .checkpoints import StopSignals, save_atomically
from .step import ForceLoss, PriorSamples

WARM_UP = 0.02
"""Fraction of the training over which the learning rate rises from zero."""

STATISTICS_FRAMES = 16
"""Training frames from which the features' means and deviations are taken."""

VALIDATION_BATCH = 64
"""Held-out frames whose forces are evaluated in one call."""

SAMPLES_STREAM = 1
"""Sets the random numbers that choose samples apart from those that order frames."""

Progress = Callable[[int, int, float], None]


class Processes(Protocol):
    """What is needed of Lightning's `Fabric` to train with several processes."""

    global_rank: int
    world_size: int
    device: torch.device

    def all_reduce(self, data: Any, group: Any = None, reduce_op: str = "mean") -> Any:
        """Return the mean over all processes."""

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """Return the first process's object."""


@dataclass(frozen=True)
class Monitor:
    """A quantity that says how good the model is, for instance how far its sampled structure is from the data's.

    The error of held-out forces is nearly all noise and hardly tells a good model from a bad one, so this is what
    training should stop on. The model ends with the averaged weights at which the quantity was smallest.

    Parameters
    ----------
    measure : callable
        From the model, in its averaged weights, to the quantity; smaller is better.
    every : int
        Epochs between two measurements.
    patience : int
        Training ends when this many measurements in a row were no better than the best before.
    """

    measure: Callable[[Potential], float]
    every: int = 10
    patience: int = 3

    def __post_init__(self) -> None:
        if self.every < 1 or self.patience < 1:
            raise ValueError(f"`every` and `patience` must be at least 1, got {self.every} and {self.patience}")


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
    monitored : tuple of (step, value)
        What the `Monitor` measured.
    """

    unexplained_prior: float
    unexplained: float
    steps: int
    seconds: float
    monitored: tuple[tuple[int, float], ...] = ()


class ForceMatching:
    r"""Fits a potential to the forces F - F_prior of trajectories.

    Minimises sum \|F - F_prior - F_model\|^2 / sum \|F\|^2 over batches of frames with AdamW
    (doi:10.48550/arXiv.1711.05101), a learning rate that falls along a cosine, and an exponential average of the
    weights, which is what the model holds after `train`. Projected instantaneous forces are mostly noise about their
    mean, so most of the loss cannot be learned: compare with the value of another model, not with zero.

    Parameters
    ----------
    model : Potential
        Trained in place, in its own precision and on its device. The features of a `MomentTensor` are normalised on the
        data first.
    frames
        Frames with forces, or several trajectories of them with the same beads. Each is kept with its pairs in memory.
    prior : Potential, optional
        Its forces are subtracted; it stays as it is.
    temperature : float or sequence, optional
        Of the frames in K, or of each trajectory, or for each trajectory of each frame. A temperature-dependent model
        needs it.
    learning_rate
        Largest learning rate.
    batch_size
        Frames per optimizer step, shared among processes.
    weight_decay
        Of AdamW.
    averaging
        Decay per step of the weights' exponential average.
    clip
        Largest norm of the gradient; a longer one is shortened to it. None leaves it as it is.
    validation_fraction
        Held out: the last part of a single trajectory, as neighbouring frames are alike and a random choice would not
        test; of several trajectories the last ones, whole.
    compiled
        Compile the step with torch.compile: about a minute once, then several times faster (benchmarks/training.py).
    samples : PriorSamples, optional
        Frames that the prior sampled: the loss is then that of the forces and of the distribution.
    fabric : lightning.fabric.Fabric, optional
        Launched; its processes share each batch and end with the same weights.
    seed
        Of the order of frames.

    Raises
    ------
    ValueError
        If there are no forces, too few frames to hold one out, or no temperature for a model that needs it.
    """

    def __init__(
        self,
        model: Potential,
        frames: Trajectory | Frames | Sequence[Trajectory | Frames],
        prior: Potential | None = None,
        *,
        temperature: float | Sequence[Any] | np.ndarray | None = None,
        learning_rate: float = 1e-2,
        batch_size: int = 4,
        weight_decay: float = 0.0,
        averaging: float = 0.99,
        clip: float | None = None,
        validation_fraction: float = 0.1,
        compiled: bool = False,
        samples: PriorSamples | None = None,
        fabric: Processes | None = None,
        seed: int = 0,
    ) -> None:
        trajectories = [frames] if isinstance(frames, (Trajectory, Frames)) else list(frames)
        if model.temperature_dependent and temperature is None:
            raise ValueError("the model depends on temperature: `temperature`, in K, is missing")
        self.model = model
        parameter = next(model.parameters())
        self._device = parameter.device
        self._data = PairedFrames(np.asarray(trajectories[0].types), model.cutoff, parameter.dtype)
        for trajectory, kelvin in zip(trajectories, _temperatures(temperature, trajectories), strict=True):
            trajectory.require_forces()
            self._data.add(trajectory, prior, kelvin)
        self._data.finish()
        split = _training_frames([len(trajectory) for trajectory in trajectories], validation_fraction)
        self._training, self._validation = np.arange(split), np.arange(split, len(self._data))
        squared, squared_left = np.array(self._data.squared), np.array(self._data.squared_left)
        self._mean_square = float(np.mean(squared[:split]))
        self._validation_square = float(np.sum(squared[split:]))
        self._unexplained_prior = float(np.sum(squared_left[split:]) / self._validation_square)
        self._fabric, processes = fabric, 1 if fabric is None else fabric.world_size
        self._batch_size = min(batch_size, split)
        if self._batch_size % processes != 0:
            raise ValueError(f"{processes} processes cannot share batches of {self._batch_size} frames evenly")
        self._learning_rate, self._seed, self._averaging, self._clip = learning_rate, seed, averaging, clip
        if isinstance(model, MomentTensor):
            sample = self._join(self._training[:: max(1, split // STATISTICS_FRAMES)][:STATISTICS_FRAMES])
            model.set_feature_statistics(sample.displacements, sample.first, sample.second, sample.types)
        if fabric is not None:  # all begin with the first process's weights
            model.load_state_dict(fabric.broadcast({name: v.cpu() for name, v in model.state_dict().items()}))
        self._loss = ForceLoss(model, processes / (self._batch_size * self._mean_square), compiled, samples)
        self._compiled, self._samples = compiled, samples
        self._drawn = None if samples is None else self._pair_samples(samples, parameter.dtype)
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
        self._weights = {name: p.detach().clone() for name, p in model.named_parameters()}
        self._average = {name: p.clone() for name, p in self._weights.items()}
        self._best: dict[str, Tensor] = {}
        self._monitored: list[tuple[int, float]] = []
        self._step, self._seconds = 0, 0.0

    def train(
        self,
        epochs: int | None = None,
        max_seconds: float | None = None,
        progress: Progress | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_seconds: float = 30.0,
        monitor: Monitor | None = None,
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
            File to `save` to, and how often. With a file, Ctrl-C and SIGTERM wait for the end of the step, and
            whatever ends the training, its last state is saved.
        monitor
            Ends the training early, and chooses its weights.

        Raises
        ------
        ValueError
            If not exactly one of `epochs` and `max_seconds` is given, or several processes get a time.
        FloatingPointError
            If the loss is not finite; weights and checkpoint stay as they were before that step.
        """
        if (epochs is None) == (max_seconds is None):
            raise ValueError(f"give either `epochs` or `max_seconds`, got {epochs} and {max_seconds}")
        if epochs is None and self._fabric is not None:
            raise ValueError("several processes take a number of `epochs`, not `max_seconds`: clocks differ")
        self._load_weights(self._weights)
        self._weights = {name: p.detach() for name, p in self.model.named_parameters()}  # the live ones, for `save`
        try:
            if checkpoint is None:
                self._loop(epochs, max_seconds, progress, None, checkpoint_seconds, monitor, None)
            else:
                with StopSignals() as signals:
                    try:
                        self._loop(epochs, max_seconds, progress, checkpoint, checkpoint_seconds, monitor, signals)
                    finally:
                        self.save(checkpoint)
        finally:
            self._weights = {name: weight.clone() for name, weight in self._weights.items()}
            self._load_weights(self._best if self._best else self._average)
        return ForceMatchingResult(
            self._unexplained_prior, self.unexplained(), self._step, self._seconds, tuple(self._monitored)
        )

    def unexplained(self) -> float:
        """Return the fraction of the held-out mean squared force that prior and model leave unexplained."""
        left = 0.0
        for start in range(0, len(self._validation), VALIDATION_BATCH):
            batch = self._join(self._validation[start : start + VALIDATION_BATCH])
            forces = pair_forces(
                self.model, batch.displacements, batch.first, batch.second, batch.types, temperature=batch.temperature
            )
            left += float((forces - batch.forces).detach().double().square().sum())
        return left / self._validation_square

    def effective_fraction(self) -> float:
        """Return the effective part of the prior's samples in averages over the model; below 0.1 trust none.

        Raises
        ------
        ValueError
            If the training has no `samples`.
        """
        if self._samples is None or self._drawn is None:
            raise ValueError("there are no samples of the prior")
        kT, energies = GAS_CONSTANT * self._samples.temperature, []
        for start in range(0, len(self._drawn), VALIDATION_BATCH):
            batch = self._drawn.join(range(start, min(start + VALIDATION_BATCH, len(self._drawn)))).to(self._device)
            more = (batch.temperature,) if self.model.temperature_dependent else ()
            with torch.no_grad():
                beads = self.model.bead_energies(batch.displacements, batch.first, batch.second, batch.types, *more)
            energies.append(beads.view(-1, len(self._samples.frames.types)).sum(1).double().cpu())
        weights = torch.softmax(-torch.cat(energies) / kT, 0)
        return float(1 / weights.square().sum() / len(weights))

    def save(self, path: str | Path) -> None:
        """Write the state of the training, so that it can go on after `load`; replaces the file in one go."""
        if self._fabric is not None and self._fabric.global_rank != 0:
            return
        state = {
            "weights": self._weights,
            "buffers": dict(self.model.named_buffers()),
            "average": self._average,
            "best": self._best,
            "monitored": self._monitored,
            "optimizer": self._optimizer.state_dict(),
            "step": self._step,
            "seconds": self._seconds,
            "frames": len(self._training),
        }
        save_atomically(state, path)

    def load(self, path: str | Path) -> None:
        """Go on from a state that `save` wrote, with the same model, frames and settings.

        Raises
        ------
        ValueError
            If the state belongs to another model or other frames.
        """
        state = torch.load(path, weights_only=True, map_location=self._device)
        if state["frames"] != len(self._training):
            raise ValueError(f"{path} was trained on {state['frames']} frames, not {len(self._training)}")
        own = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        saved = {**state["weights"], **state["buffers"]}
        if {name: tensor.shape for name, tensor in own.items()} != {name: t.shape for name, t in saved.items()}:
            raise ValueError(f"{path} is the training of a model with other parameters")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(saved[name])
        self._weights, self._average, self._best = state["weights"], state["average"], state["best"]
        self._monitored = [(int(step), float(value)) for step, value in state["monitored"]]
        self._optimizer.load_state_dict(state["optimizer"])
        self._step, self._seconds = state["step"], state["seconds"]

    def _loop(
        self,
        epochs: int | None,
        max_seconds: float | None,
        progress: Progress | None,
        checkpoint: str | Path | None,
        checkpoint_seconds: float,
        monitor: Monitor | None,
        signals: StopSignals | None,
    ) -> None:
        batches = len(self._training) // self._batch_size
        started = saved = time.monotonic()
        before = self._seconds
        while (done := self._done(epochs, max_seconds, batches)) < 1.0:
            if monitor is not None and self._is_over(monitor, batches):
                return
            stopping = signals is not None and signals.received is not None
            loss, stop = self._take_step(self._batch(batches), done, stopping)
            now = time.monotonic()
            self._seconds = before + now - started
            if checkpoint is not None and now - saved >= checkpoint_seconds:
                self.save(checkpoint)
                saved = now
            if progress is not None:
                total = epochs * batches if epochs is not None else self._estimated_total(max_seconds)
                progress(self._step, total, loss)
            if stop and signals is not None:
                signals.act()
        if monitor is not None:
            self._is_over(monitor, batches)

    def _is_over(self, monitor: Monitor, batches: int) -> bool:
        """Measure if it is time to, and return whether the last measurements brought nothing."""
        due = self._step > 0 and self._step % (monitor.every * batches) == 0
        if due and (not self._monitored or self._monitored[-1][0] < self._step):
            live = {name: weight.clone() for name, weight in self._weights.items()}
            self._load_weights(self._average)
            value = float(monitor.measure(self.model))
            if self._fabric is not None:
                value = float(self._fabric.broadcast(value))
            if not any(value >= old for _, old in self._monitored):
                self._best = {name: p.detach().clone() for name, p in self.model.named_parameters()}
            self._load_weights(live)
            self._monitored.append((self._step, value))
        values = [value for _, value in self._monitored]
        return len(values) > monitor.patience and min(values[-monitor.patience :]) >= min(values[: -monitor.patience])

    def _batch(self, batches: int) -> Batch:
        """Return this process's part of the next batch."""
        epoch, place = divmod(self._step, batches)
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._training))
        chosen = self._training[order[place * self._batch_size : (place + 1) * self._batch_size]]
        if self._fabric is not None:
            chosen = chosen[self._fabric.global_rank :: self._fabric.world_size]
        return self._join(chosen, self._data.padded_pairs(chosen, self._training) if self._compiled else None)

    def _draw(self) -> Batch | None:
        """Return this process's part of the samples for the next step."""
        if self._samples is None or self._drawn is None:
            return None
        pool = np.arange(len(self._drawn))
        random = np.random.default_rng((self._seed, self._step, SAMPLES_STREAM))
        chosen = random.permutation(pool)[: self._samples.batch_size]
        if self._fabric is not None:
            chosen = chosen[self._fabric.global_rank :: self._fabric.world_size]
        return self._drawn.join(chosen, self._drawn.padded_pairs(chosen, pool) if self._compiled else None).to(
            self._device
        )

    def _pair_samples(self, samples: PriorSamples, dtype: torch.dtype) -> PairedFrames:
        paired = PairedFrames(self._data.types.numpy(), self.model.cutoff, dtype)
        nothing = np.zeros(samples.frames.positions.shape)
        kelvin = np.full(len(samples.frames), float(samples.temperature)) if self._data.has_temperature else None
        paired.add(dataclasses.replace(samples.frames, forces=nothing), None, kelvin)
        paired.finish()
        return paired

    def _join(self, frames: np.ndarray, pairs: int | None = None) -> Batch:
        return self._data.join(frames, pairs).to(self._device)

    def _take_step(self, batch: Batch, done: float, stopping: bool) -> tuple[float, bool]:
        """Take one optimizer step; return the loss and whether to stop after it, the same in all processes."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate * min(1.0, (done + 1e-3) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * done))
        parameters = dict(self.model.named_parameters())
        gradients, loss = self._loss(parameters, batch, self._draw())
        if self._fabric is not None:
            gradients, loss, stopping = self._mean_over_processes(self._fabric, gradients, loss, stopping)
        if not bool(torch.isfinite(loss)):
            raise FloatingPointError(f"the loss of step {self._step + 1} is {float(loss)}")
        for name, parameter in parameters.items():
            parameter.grad = gradients[name]
        if self._clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters.values(), self._clip)
        self._optimizer.step()
        self._step += 1
        decay = min(self._averaging, self._step / (10 + self._step))
        with torch.no_grad():
            for name, parameter in parameters.items():
                self._average[name].lerp_(parameter, 1 - decay)
                parameter.grad = None
        return float(loss), stopping

    @staticmethod
    def _mean_over_processes(
        fabric: Processes, gradients: dict[str, Tensor], loss: Tensor, stopping: bool
    ) -> tuple[dict[str, Tensor], Tensor, bool]:
        """Average gradients and loss in one message, which also carries the wish of any process to stop."""
        wish = torch.full_like(loss, float(stopping)).reshape(1)
        parts = [*(gradient.reshape(-1) for gradient in gradients.values()), loss.reshape(1), wish]
        mean = fabric.all_reduce(torch.cat(parts), reduce_op="mean")
        sizes = [gradient.numel() for gradient in gradients.values()]
        pieces = mean.split([*sizes, 1, 1])
        averaged = {name: pieces[k].reshape(gradients[name].shape) for k, name in enumerate(gradients)}
        return averaged, pieces[-2].squeeze(0), bool(pieces[-1] > 0)

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


def _training_frames(lengths: Sequence[int], validation_fraction: float) -> int:
    """Return how many frames, from the first on, are trained on."""
    total = sum(lengths)
    if len(lengths) == 1:
        split = total - max(1, round(validation_fraction * total))
    else:
        split = total
        for length in reversed(lengths):
            if total - split >= max(1, validation_fraction * total):
                break
            split -= length
        split = max(split, lengths[0])
    if split < 1:
        raise ValueError(f"{total} frames are too few to train on and to hold one out")
    return split


def _temperatures(temperature: Any, trajectories: Sequence[Trajectory | Frames]) -> list[np.ndarray | None]:
    """Return the temperature of each frame of each trajectory, None without."""
    if temperature is None:
        return [None] * len(trajectories)
    per_trajectory = [temperature] if len(trajectories) == 1 else temperature
    if np.ndim(temperature) == 0:
        per_trajectory = [temperature] * len(trajectories)
    elif len(per_trajectory) != len(trajectories):
        raise ValueError(f"`temperature` has {len(per_trajectory)} values for {len(trajectories)} trajectories")
    found: list[np.ndarray | None] = []
    for trajectory, kelvin in zip(trajectories, per_trajectory, strict=True):
        values = np.asarray(kelvin, dtype=float)
        if values.shape not in ((), (1,), (len(trajectory),)) or not np.all(values > 0):
            raise ValueError(
                f"`temperature` must be one positive number or one for each of {len(trajectory)} frames, got {kelvin}"
            )
        found.append(np.array(np.broadcast_to(values, (len(trajectory),))))
    return found
