# SPDX-License-Identifier: MIT
"""Learned coarse-grained potentials, and the memory that goes with them, in OpenMM.

Importing this package registers the native kernels on every OpenMM platform that is present. It does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ._plugins import platforms
from ._version import __version__
from .cgpotential import CGPotential
from .modelfile import export
from .momenttensor import MomentTensorForce

__all__ = ["CGPotential", "MomentTensorForce", "__version__", "export", "platforms"]

#: Submodules that import torch: loaded when they are first used, as ``meanforce.potentials``.
_LAZY = ("potentials",)

if not TYPE_CHECKING:  # else every misspelt attribute would pass for one of these

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
