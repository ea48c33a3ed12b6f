# SPDX-License-Identifier: MIT
"""Coarse-grained potentials as torch modules: energies in kJ/mol of positions in nm.

Importing this module imports torch; ``import meanforce`` alone does not.
"""

from ..modelfile import BeadType
from .base import Potential, Sum, neighbor_pairs
from .momenttensor import MomentTensor, spherical_harmonics
from .splines import BSpline, PairSpline
from .stillingerweber import StillingerWeber

__all__ = [
    "BSpline",
    "BeadType",
    "MomentTensor",
    "PairSpline",
    "Potential",
    "StillingerWeber",
    "Sum",
    "neighbor_pairs",
    "spherical_harmonics",
]
