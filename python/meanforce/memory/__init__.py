# SPDX-License-Identifier: MIT
"""Memory kernels from trajectories: correlations, inversion, passive fits, likelihood, diagnostics, the iteration.

What needs torch (`fit_vacf` and the likelihood) is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .correlations import (
    Correlation,
    Diffusion,
    diffusion_coefficient,
    diffusion_from_displacement,
    mean_square_displacement,
    relative_l2_error,
    unwrap,
    velocity_autocorrelation,
)
from .diagnostics import FDTReport, MarkovianReport, fdt_test, markovian_report
from .extraction import Extraction, ModelForce, PolynomialForce, extract_kernel, fit_mean_force, invert
from .fit import KernelFit, fit_kernel
from .iteration import IterationRecord, KernelIteration
from .positional import PositionKernel, fourier_basis, hat_basis, position_dependent_kernel
from .streaming import CorrelationStream, CrossCorrelation, correlate
from .volterra import (
    TabulatedKernel,
    backward_orthogonal_kernel,
    laplace_kernel,
    laplace_transform,
    volterra_kernel,
)

if TYPE_CHECKING:
    from .likelihood import LikelihoodFit, VelocityRecord, expected_information, fit_likelihood, log_likelihood
    from .statespace import StateSpace, fit_vacf, fold_fast_modes

_LAZY = {
    **dict.fromkeys(
        ("LikelihoodFit", "VelocityRecord", "expected_information", "fit_likelihood", "log_likelihood"), "likelihood"
    ),
    **dict.fromkeys(("StateSpace", "fit_vacf", "fold_fast_modes"), "statespace"),
}

__all__ = [
    "Correlation",
    "CorrelationStream",
    "CrossCorrelation",
    "Diffusion",
    "Extraction",
    "FDTReport",
    "IterationRecord",
    "KernelFit",
    "KernelIteration",
    "LikelihoodFit",
    "MarkovianReport",
    "ModelForce",
    "PolynomialForce",
    "PositionKernel",
    "StateSpace",
    "TabulatedKernel",
    "VelocityRecord",
    "backward_orthogonal_kernel",
    "correlate",
    "diffusion_coefficient",
    "diffusion_from_displacement",
    "expected_information",
    "extract_kernel",
    "fdt_test",
    "fit_kernel",
    "fit_likelihood",
    "fit_mean_force",
    "fit_vacf",
    "fold_fast_modes",
    "fourier_basis",
    "hat_basis",
    "invert",
    "laplace_kernel",
    "laplace_transform",
    "log_likelihood",
    "markovian_report",
    "mean_square_displacement",
    "position_dependent_kernel",
    "relative_l2_error",
    "unwrap",
    "velocity_autocorrelation",
    "volterra_kernel",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
