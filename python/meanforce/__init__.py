# SPDX-License-Identifier: MIT
"""Learned coarse-grained potentials, and the memory that goes with them, in OpenMM.

Importing this package registers the native kernels on every OpenMM platform that is present. It does not import torch.
"""

from ._plugins import platforms
from ._version import __version__
from .gle import GLEIntegrator
from .memorykernel import MemoryKernel

__all__ = ["GLEIntegrator", "MemoryKernel", "__version__", "platforms"]
