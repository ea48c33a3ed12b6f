# SPDX-License-Identifier: MIT
"""Learned coarse-grained potentials, and the memory that goes with them, in OpenMM.

Importing this package registers the native kernels on every OpenMM platform that is present. It does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ._plugins import platforms
from ._version import __version__
from .cgpotential import CGPotential
from .gle import GLEIntegrator
from .memorykernel import MemoryKernel
from .modelfile import export
from .momenttensor import MomentTensorForce
from .pairspline import PairSplineForce
from .schnet import SchNetForce
from .stillingerweber import StillingerWeberForce

__all__ = [
    "CGPotential",
    "GLEIntegrator",
    "MemoryKernel",
    "MomentTensorForce",
    "PairSplineForce",
    "SchNetForce",
    "StillingerWeberForce",
    "__version__",
    "export",
    "platforms",
]

#: Submodules loaded when they are first used, as ``meanforce.potentials``: some import torch, all take time.
_LAZY = ("data", "identifiability", "mapping", "memory", "potentials", "replicas", "structure", "testing", "training")

if not TYPE_CHECKING:  # else every misspelt attribute would pass for one of these

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
