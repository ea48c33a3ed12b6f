# SPDX-License-Identifier: MIT
"""A potential with its bead types filled in, called as openmm-torch's TorchForce calls its module."""

import torch
from torch import Tensor


class BoundModel(torch.nn.Module):
    """Energy of the positions of beads of fixed types, without periodic boundaries.

    Parameters
    ----------
    model : Module
        ``model(positions, types, box, temperature)``, see Potential.forward. It is called in the precision of its own
        parameters, in float64 if it has none.
    types : Tensor
        Shape (N,), int64.
    """

    types: Tensor
    like: Tensor

    def __init__(self, model: torch.nn.Module, types: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("types", types)
        values = [v for v in [*model.parameters(), *model.buffers()] if v.is_floating_point()]
        self.register_buffer("like", torch.empty(0, dtype=values[0].dtype if values else torch.float64))

    def energy(self, positions: Tensor, box: Tensor | None, temperature: Tensor | None) -> Tensor:
        """Return the energy in kJ/mol, in the precision of the positions."""
        if box is not None:
            box = box.to(self.like)
        energy: Tensor = self.model(positions.to(self.like), self.types, box, temperature)
        return energy.sum().to(positions.dtype)

    def forward(self, positions: Tensor) -> Tensor:
        """Return the energy in kJ/mol of positions in nm, shape (N, 3)."""
        return self.energy(positions, None, None)


class PeriodicBoundModel(BoundModel):
    """Energy of the positions of beads of fixed types in a periodic box."""

    def forward(self, positions: Tensor, boxvectors: Tensor) -> Tensor:  # type: ignore[override]
        """Return the energy in kJ/mol of positions in nm, shape (N, 3), in a box, shape (3, 3)."""
        return self.energy(positions, boxvectors, None)


class ThermalBoundModel(BoundModel):
    """Energy of the positions of beads of fixed types at a temperature, without periodic boundaries."""

    def forward(self, positions: Tensor, temperature: Tensor) -> Tensor:  # type: ignore[override]
        """Return the energy in kJ/mol of positions in nm, shape (N, 3), at a temperature in K."""
        return self.energy(positions, None, temperature)


class PeriodicThermalBoundModel(BoundModel):
    """Energy of the positions of beads of fixed types in a periodic box at a temperature."""

    def forward(self, positions: Tensor, boxvectors: Tensor, temperature: Tensor) -> Tensor:  # type: ignore[override]
        """Return the energy in kJ/mol of positions in nm, in a box, shape (3, 3), at a temperature in K."""
        return self.energy(positions, boxvectors, temperature)
