# SPDX-License-Identifier: MIT
"""Memory kernels from trajectories: correlations, Volterra inversion, passive fits, the iterative correction."""

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
from .diagnostics import MarkovianReport, markovian_report
from .fit import KernelFit, fit_kernel
from .iteration import IterationRecord, KernelIteration
from .volterra import TabulatedKernel, volterra_kernel

__all__ = [
    "Correlation",
    "Diffusion",
    "IterationRecord",
    "KernelFit",
    "KernelIteration",
    "MarkovianReport",
    "TabulatedKernel",
    "diffusion_coefficient",
    "diffusion_from_displacement",
    "fit_kernel",
    "fit_vacf",
    "markovian_report",
    "mean_square_displacement",
    "relative_l2_error",
    "unwrap",
    "velocity_autocorrelation",
    "volterra_kernel",
]
