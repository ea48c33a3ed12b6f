# SPDX-License-Identifier: MIT
"""Structure of a coarse-grained system from its frames: distributions, potentials of mean force, what they can tell.

Frames are positions (n_frames, n, 3) in nm with box vectors (3, 3) or (n_frames, 3, 3) in nm. Standard errors come
from consecutive blocks of frames. Runs side by side, with plots: `meanforce.structure.comparison`.
"""

from .blocks import BLOCKS, ZeroTest, jackknife, zero_test
from .displacement import mean_square_displacement
from .distributions import Distribution, Divergence, common_edges, divergence, jensen_shannon, uniform_edges
from .freeenergy import PMF, pmf
from .internal import angles, dihedrals, distances
from .meanforcefield import IntegratedPMF, MeanForce, curl_test, integrate_mean_force
from .neighbours import angle_distribution, angle_distribution_error
from .radial import (
    ALL_PAIRS_LIMIT,
    GAS_CONSTANT,
    RDF,
    boltzmann_inversion,
    first_peak,
    pairs_within,
    rdf,
    rdf_error,
)
from .representability import Representability, pair_representability
from .ybg import YBG

__all__ = [
    "ALL_PAIRS_LIMIT",
    "BLOCKS",
    "GAS_CONSTANT",
    "PMF",
    "RDF",
    "YBG",
    "Distribution",
    "Divergence",
    "IntegratedPMF",
    "MeanForce",
    "Representability",
    "ZeroTest",
    "angle_distribution",
    "angle_distribution_error",
    "angles",
    "boltzmann_inversion",
    "common_edges",
    "curl_test",
    "dihedrals",
    "distances",
    "divergence",
    "first_peak",
    "integrate_mean_force",
    "jackknife",
    "jensen_shannon",
    "mean_square_displacement",
    "pair_representability",
    "pairs_within",
    "pmf",
    "rdf",
    "rdf_error",
    "uniform_edges",
    "zero_test",
]
