# SPDX-License-Identifier: MIT
"""The loss of force matching and its gradient, as one function that can be compiled."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data import Frames
from ..potentials import Potential
from ..structure import GAS_CONSTANT
from .batches import Batch, forces_on_beads

Parameters = dict[str, Tensor]
Arguments = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor]


@dataclass(frozen=True)
class PriorSamples:
    r"""Frames that the prior alone sampled, from which training learns how likely conformations are.

    Forces say how the free energy changes from one conformation to the next, but say little about two basins with a
    barrier between them that is seldom crossed. The relative entropy of the model to the data does: with x from the
    data and y from the prior it is, for U = U_prior + U_model and up to a constant,

        S = <U_model(x)> / kT + ln <exp(-U_model(y) / kT)>

    (Shell, doi:10.1063/1.2992060). It joins the loss with a weight. That is exact as long as the prior's frames cover
    the model's; `ForceMatching.effective_fraction` says what part of them still counts.

    Parameters
    ----------
    frames : Frames
        Of the same beads; independent enough that each batch of them covers the prior.
    temperature : float
        Of data and samples, in K.
    weight : float
        Of S, in units of the loss. Per frame, the forces of n beads carry a log-likelihood of about 3 n / 2 times the
        loss, so 2 / (3 n) would weigh forces and conformations by what each knows if the noise were white.
    batch_size : int
        Samples for each optimizer step.
    """

    frames: Frames
    temperature: float
    weight: float = 0.1
    batch_size: int = 512

    def __post_init__(self) -> None:
        if not self.temperature > 0 or not self.weight > 0:
            raise ValueError(f"`temperature` and `weight` must be positive, got {self.temperature} K and {self.weight}")
        if not 1 <= self.batch_size <= len(self.frames):
            raise ValueError(f"`batch_size` must lie between 1 and {len(self.frames)} samples, got {self.batch_size}")


class _Energy(torch.nn.Module):
    """The beads' energies as a module's `forward`, which is what torch.func can call with other parameters."""

    def __init__(self, model: Potential) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, displacements: Tensor, first: Tensor, second: Tensor, types: Tensor, temperature: Tensor | None
    ) -> Tensor:
        more = (temperature,) if self.model.temperature_dependent else ()
        return self.model.bead_energies(displacements, first, second, types, *more)


class ForceLoss:
    r"""Sum of \|F - F_model\|^2 over a batch, times a scale, and its gradient with respect to the parameters.

    The forces inside are themselves a gradient. Written with torch.func, one inside the other, both can be compiled
    as one graph, which autograd's double backward can't (pytorch issue 91469). Each number of pairs is compiled once,
    which takes about a minute; where that fails, for instance without a C++ compiler, a warning says so and the same
    function runs as it is.

    Parameters
    ----------
    model : Potential
    scale : float
        Factor of the squared differences.
    compiled : bool
    samples : PriorSamples, optional
        Their relative entropy joins the loss.
    """

    def __init__(
        self, model: Potential, scale: float, compiled: bool = False, samples: PriorSamples | None = None
    ) -> None:
        energy = _Energy(model)
        self._names = [name for name, _ in model.named_parameters()]

        def energies(named: Parameters, d: Tensor, *others: Any) -> Tensor:
            result: Tensor = torch.func.functional_call(energy, named, (d, *others))
            return result

        def loss(parameters: Parameters, data: Arguments, drawn: Arguments | None) -> Tensor:
            displacements, first, second, types, temperature, forces = data
            named = {f"model.{name}": value for name, value in parameters.items()}

            def total(d: Tensor) -> Tensor:
                return energies(named, d, first, second, types, temperature).sum()

            slope, total_energy = torch.func.grad_and_value(total)(displacements)
            model_forces = forces_on_beads(slope, first, second, types.shape[0])
            value: Tensor = (model_forces - forces).square().sum() * scale
            if samples is not None and drawn is not None:
                value = value + samples.weight * relative_entropy(named, samples, drawn, total_energy / types.shape[0])
            return value

        def relative_entropy(named: Parameters, samples: PriorSamples, drawn: Arguments, mean: Tensor) -> Tensor:
            """Return S from the energy per bead of the data."""
            kT, n = GAS_CONSTANT * samples.temperature, len(samples.frames.types)
            reference = energies(named, *drawn[:-1]).view(-1, n).sum(1) / kT
            entropy: Tensor = n * mean / kT + torch.logsumexp(-reference, 0) - math.log(reference.shape[0])
            return entropy

        self._plain: Callable[..., tuple[Parameters, Tensor]] = torch.func.grad_and_value(loss)
        self._function = self._plain
        self._untested = False
        if compiled:
            self._function = torch.compile(self._plain, fullgraph=True, dynamic=False)
            self._untested = True

    def __call__(
        self, parameters: Mapping[str, Tensor], batch: Batch, drawn: Batch | None = None
    ) -> tuple[Parameters, Tensor]:
        """Return the gradient with respect to each parameter, and the loss; `drawn` are frames of the samples."""
        arguments = (_arguments(batch), None if drawn is None else _arguments(drawn))
        values = {name: parameters[name].detach() for name in self._names}
        if self._untested:
            try:
                result = self._function(values, *arguments)
                self._untested = False
                return result
            except Exception as error:  # whatever the compiler raises, training goes on
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                warnings.warn(
                    f"the training step could not be compiled, it runs uncompiled: {reason}",
                    RuntimeWarning,
                    stacklevel=2,
                )
                self._function, self._untested = self._plain, False
        return self._function(values, *arguments)


def _arguments(batch: Batch) -> Arguments:
    return batch.displacements, batch.first, batch.second, batch.types, batch.temperature, batch.forces
