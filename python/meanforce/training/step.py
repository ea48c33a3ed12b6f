# SPDX-License-Identifier: MIT
"""The loss of force matching and its gradient, as one function that can be compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..potentials import Potential
from .batches import Batch, forces_on_beads

Parameters = dict[str, Tensor]


class _Energy(torch.nn.Module):
    """The energy of pairs as a module's `forward`, which is what torch.func can call with other parameters."""

    def __init__(self, model: Potential) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, displacements: Tensor, first: Tensor, second: Tensor, types: Tensor, temperature: Tensor | None
    ) -> Tensor:
        more = (temperature,) if self.model.temperature_dependent else ()
        return self.model.bead_energies(displacements, first, second, types, *more).sum()


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
    """

    def __init__(self, model: Potential, scale: float, compiled: bool = False) -> None:
        energy = _Energy(model)
        self._names = [name for name, _ in model.named_parameters()]

        def loss(parameters: Parameters, *batch: Any) -> Tensor:
            displacements, first, second, types, forces, temperature = batch
            named = {f"model.{name}": value for name, value in parameters.items()}

            def total(d: Tensor) -> Tensor:
                result: Tensor = torch.func.functional_call(energy, named, (d, first, second, types, temperature))
                return result

            slope = torch.func.grad(total)(displacements)
            model_forces = forces_on_beads(slope, first, second, types.shape[0])
            return (model_forces - forces).square().sum() * scale

        self._plain: Callable[..., tuple[Parameters, Tensor]] = torch.func.grad_and_value(loss)
        self._function = self._plain
        self._untested = False
        if compiled:
            self._function = torch.compile(self._plain, fullgraph=True, dynamic=False)
            self._untested = True

    def __call__(self, parameters: Parameters, batch: Batch) -> tuple[Parameters, Tensor]:
        """Return the gradient with respect to each parameter, and the loss."""
        arguments = (batch.displacements, batch.first, batch.second, batch.types, batch.forces, batch.temperature)
        values = {name: parameters[name].detach() for name in self._names}
        if self._untested:
            try:
                result = self._function(values, *arguments)
                self._untested = False
                return result
            except Exception as error:  # whatever the compiler raises, training goes on
                reason = str(error).strip().splitlines()
                warnings.warn(
                    f"the training step could not be compiled, it runs uncompiled: {reason[0] if reason else error!r}",
                    RuntimeWarning,
                    stacklevel=2,
                )
                self._function, self._untested = self._plain, False
        return self._function(values, *arguments)
