# SPDX-License-Identifier: MIT
"""What data determine of a model's parameters, and what they cannot: see docs/theory/identifiability.md.

Importing this module imports torch; ``import meanforce`` alone does not.
"""

from .design import Candidate, rank_candidates
from .fisher import Identifiability, analyse, from_information
from .forces import ForceSensitivity, NetworkSpectrum, analyse_forces, network_spectrum
from .kernels import analyse_kernel, prony_model
from .noise import CorrelatedNoise, ForceNoise, WhiteNoise
from .parameters import Parameters
from .profile import Profile, profile_likelihood
from .report import write_report

__all__ = [
    "Candidate",
    "CorrelatedNoise",
    "ForceNoise",
    "ForceSensitivity",
    "Identifiability",
    "NetworkSpectrum",
    "Parameters",
    "Profile",
    "WhiteNoise",
    "analyse",
    "analyse_forces",
    "analyse_kernel",
    "from_information",
    "network_spectrum",
    "profile_likelihood",
    "prony_model",
    "rank_candidates",
    "write_report",
]
