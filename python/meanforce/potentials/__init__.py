# SPDX-License-Identifier: MIT
"""Coarse-grained potentials as torch modules: energies in kJ/mol of positions in nm.

Importing this module imports torch; ``import meanforce`` alone does not.
"""

from ..modelfile import BeadType
from .base import NetworkPotential, Potential, Sum, neighbor_pairs
from .momenttensor import MomentTensor, products, spherical_harmonics
from .schnet import SchNet
from .splines import BSpline, PairSpline
from .stillingerweber import StillingerWeber

__all__ = [
    "BSpline",
    "BeadType",
    "MomentTensor",
    "NetworkPotential",
    "PairSpline",
    "Potential",
    "SchNet",
    "StillingerWeber",
    "Sum",
    "neighbor_pairs",
    "products",
    "spherical_harmonics",
]
