# SPDX-License-Identifier: MIT
"""Learning a coarse-grained potential: force matching, linear and by gradients, and iterative Boltzmann inversion.

Importing this module imports torch.
"""

from .batches import pair_forces
from .bondedfit import fit_bonded
from .forcematching import ForceMatching, ForceMatchingResult, Monitor
from .ibi import IBIStep, IterativeBoltzmannInversion
from .pairfit import PairFit, PairForceMatching, fit_pair_spline, fit_pair_spline_with_errors
from .step import PriorSamples

__all__ = [
    "ForceMatching",
    "ForceMatchingResult",
    "IBIStep",
    "IterativeBoltzmannInversion",
    "Monitor",
    "PairFit",
    "PairForceMatching",
    "PriorSamples",
    "fit_bonded",
    "fit_pair_spline",
    "fit_pair_spline_with_errors",
    "pair_forces",
]
