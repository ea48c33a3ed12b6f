# SPDX-License-Identifier: MIT
"""Learned coarse-grained potentials, and the memory that goes with them, in OpenMM.

Importing this package registers the native kernels on every OpenMM platform that is present. It does not import torch.
"""

from ._plugins import platforms
from ._version import __version__
from .cgpotential import CGPotential
from .gle import GLEIntegrator
from .memorykernel import MemoryKernel
from .modelfile import export
from .momenttensor import MomentTensorForce

__all__ = [
    "CGPotential",
    "GLEIntegrator",
    "MemoryKernel",
    "MomentTensorForce",
    "__version__",
    "export",
    "platforms",
]
