# SPDX-License-Identifier: MIT
"""A TorchScript potential with its bead types filled in, as openmm-torch's TorchForce calls it."""

import torch
from torch import Tensor


class BoundModel(torch.nn.Module):
    """Energy of the positions of beads of fixed types, without periodic boundaries."""

    types: Tensor

    def __init__(self, model: torch.nn.Module, types: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("types", types)

    def forward(self, positions: Tensor) -> Tensor:
        """Return the energy in kJ/mol of positions in nm, shape (N, 3)."""
        energy: Tensor = self.model(positions, self.types, None, None)
        return energy


class PeriodicBoundModel(BoundModel):
    """Energy of the positions of beads of fixed types in a periodic box."""

    def forward(self, positions: Tensor, boxvectors: Tensor) -> Tensor:  # type: ignore[override]
        """Return the energy in kJ/mol of positions in nm, shape (N, 3), in a box, shape (3, 3)."""
        energy: Tensor = self.model(positions, self.types, boxvectors, None)
        return energy
