# SPDX-License-Identifier: MIT
"""Learning a coarse-grained potential: force matching, iterative inversion of g(r), relative entropy.

Importing this module imports torch.
"""

from .batches import pair_forces
from .bondedfit import fit_bonded
from .forcematching import ForceMatching, ForceMatchingResult, Monitor
from .ibi import IterativeBoltzmannInversion
from .imc import InverseMonteCarlo
from .iteration import Iteration, IterationResult, target_distributions
from .linear import LinearFit, LinearForceMatching, fit_linear, fit_pair_spline
from .noise import with_noise
from .relativeentropy import RelativeEntropy
from .sampler import OpenMMSampler, Sample, Sampler
from .step import PriorSamples

__all__ = [
    "ForceMatching",
    "ForceMatchingResult",
    "InverseMonteCarlo",
    "Iteration",
    "IterationResult",
    "IterativeBoltzmannInversion",
    "LinearFit",
    "LinearForceMatching",
    "Monitor",
    "OpenMMSampler",
    "PriorSamples",
    "RelativeEntropy",
    "Sample",
    "Sampler",
    "fit_bonded",
    "fit_linear",
    "fit_pair_spline",
    "pair_forces",
    "target_distributions",
    "with_noise",
]
