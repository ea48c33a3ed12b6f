# SPDX-License-Identifier: MIT
"""Maps from atoms to beads: positions, velocities, forces, and the coarse-grained topology that goes with them.

`Mapping` is linear, `NonlinearMapping` any differentiable function of the atoms, `StochasticMapping` draws the beads
from a Markov kernel around a linear map. A `ForceMap` says which combination of atomic forces is the force on a bead.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .constraints import constraints_of_bonds, constraints_of_system
from .forcemap import ForceMap
from .linear import Mapping, Projected
from .periodic import minimum_image
from .stochastic import GaussianKernel, StochasticMapping

if TYPE_CHECKING:
    from .nonlinear import NonlinearMapping

__all__ = [
    "ForceMap",
    "GaussianKernel",
    "Mapping",
    "NonlinearMapping",
    "Projected",
    "StochasticMapping",
    "constraints_of_bonds",
    "constraints_of_system",
    "minimum_image",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name == "NonlinearMapping":  # imports torch
            return importlib.import_module(f"{__name__}.nonlinear").NonlinearMapping
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
