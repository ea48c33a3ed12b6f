# SPDX-License-Identifier: MIT
"""Whether a memory is short enough to be left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.integrate import trapezoid

from ..memorykernel import MemoryKernel
from .correlations import Correlation

#: Memory shorter than this fraction of the velocity's relaxation counts as none.
_SHORT = 0.1


@dataclass(frozen=True)
class MarkovianReport:
    """How the memory compares with the motion.

    Attributes
    ----------
    memory_time : float
        int t |k| dt / (gamma0 + int |k| dt), in ps: the mean age of what the friction remembers.
    relaxation_time : float
        2 int C^2 dt of the normalised velocity autocorrelation, in ps (tau for exp(-t/tau)).
    ratio : float
        memory_time / relaxation_time.
    langevin_is_enough : bool
        Whether the ratio is below 0.1, so that Langevin dynamics with friction int k will do.
    """

    memory_time: float
    relaxation_time: float
    ratio: float
    langevin_is_enough: bool

    def __str__(self) -> str:
        verdict = "Langevin dynamics will do" if self.langevin_is_enough else "memory matters"
        return (
            f"memory {self.memory_time:.3g} ps, velocity relaxation {self.relaxation_time:.3g} ps, "
            f"ratio {self.ratio:.3g}: {verdict}"
        )


def markovian_report(kernel: MemoryKernel, vacf: Correlation | None = None) -> MarkovianReport:
    """Compare the memory time of a kernel with the relaxation time of the velocity.

    Parameters
    ----------
    kernel : MemoryKernel
        The bath.
    vacf : Correlation, optional
        Of the system. Default: of a free particle with this kernel.

    Raises
    ------
    ValueError
        If the kernel has no friction, or never decays.
    """
    if not (np.isfinite(kernel.friction) and np.any(kernel.spectrum(np.logspace(-3, 3, 50)) > 0.0)):
        raise ValueError(f"`kernel` must have a finite friction > 0, got {kernel!r}")
    rates = np.linalg.eigvals(kernel.drift).real
    # From well below the fastest to well above the slowest decay there is.
    t = np.concatenate([[0.0], np.geomspace(1e-3 / np.abs(kernel.drift).max(), 20.0 / rates[rates > 0.0].min(), 4000)])
    size = np.abs(kernel.kernel(t))
    memory = float(trapezoid(t * size, t) / (kernel.white_friction + trapezoid(size, t)))
    if vacf is None:
        relaxation = float(2.0 * trapezoid(kernel.vacf(t, 1.0) ** 2, t))
    else:
        relaxation = float(2.0 * trapezoid(vacf.value**2, vacf.t))
    ratio = memory / relaxation
    return MarkovianReport(memory, relaxation, ratio, ratio < _SHORT)
