# SPDX-License-Identifier: MIT
"""Coarse-grained potentials as torch modules: energies in kJ/mol of positions in nm.

Importing this module imports torch; ``import meanforce`` alone does not.
"""

from ..modelfile import BeadType
from .base import NetworkPotential, Potential, Sum, neighbor_pairs
from .bonded import Dihedrals, HarmonicAngles, HarmonicBonds, Impropers
from .evaluate import are_chiral, energies_and_forces, is_mirror_blind, mirror_asymmetry
from .momenttensor import MomentTensor, products, spherical_harmonics
from .repulsion import repulsion, smallest_distances
from .schnet import SchNet
from .splines import BSpline, PairSpline
from .stillingerweber import StillingerWeber

__all__ = [
    "BSpline",
    "BeadType",
    "Dihedrals",
    "HarmonicAngles",
    "HarmonicBonds",
    "Impropers",
    "MomentTensor",
    "NetworkPotential",
    "PairSpline",
    "Potential",
    "SchNet",
    "StillingerWeber",
    "Sum",
    "are_chiral",
    "energies_and_forces",
    "is_mirror_blind",
    "mirror_asymmetry",
    "neighbor_pairs",
    "products",
    "repulsion",
    "smallest_distances",
    "spherical_harmonics",
]
