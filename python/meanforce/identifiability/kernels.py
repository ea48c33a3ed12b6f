# SPDX-License-Identifier: MIT
"""Memory kernels as functions of their parameters, and what they predict."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..memorykernel import MemoryKernel
from .fisher import Identifiability, analyse
from .noise import NoiseLike

#: What a memory kernel can be observed through.
OBSERVABLES = ("kernel", "integrated", "vacf")


def prony_model(t: Any, observable: str = "kernel") -> Any:
    """Return a model of the amplitudes and times of K(t)/m = sum_n (amplitude_n) exp(-t/time_n).

    Parameters
    ----------
    t : (m,)
        In ps.
    observable
        ``"kernel"`` k(t) in 1/ps^2; ``"integrated"``, its integral from 0 to t in 1/ps; ``"vacf"``, the normalised
        velocity autocorrelation of a free particle.

    Returns
    -------
    callable
        For `analyse`, of the parameters ``amplitude`` (modes,) in 1/ps^2 and ``time`` (modes,) in ps, and for
        the observables other than the kernel itself optionally ``white``, the friction without memory in 1/ps.
    """
    if observable not in OBSERVABLES:
        raise ValueError(f"observable must be one of {', '.join(OBSERVABLES)}, got {observable!r}")
    times = torch.as_tensor(np.asarray(t, dtype=float)).reshape(-1)

    def observe(p: dict[str, Tensor]) -> Tensor:
        amplitude, time = p["amplitude"], p["time"]
        white = p.get("white", torch.zeros((), dtype=torch.float64))
        decay = torch.exp(-times[:, None] / time)
        if observable == "kernel":
            return decay @ amplitude
        if observable == "integrated":
            return (1 - decay) @ (amplitude * time) + white
        # The velocity and one auxiliary variable for each mode: d(v, s)/dt = -A (v, s).
        coupling = torch.sqrt(amplitude)
        top = torch.cat([white.reshape(1), coupling]).reshape(1, -1)
        bottom = torch.cat([-coupling.reshape(-1, 1), torch.diag(1 / time)], dim=1)
        drift = torch.cat([top, bottom])
        vacf: Tensor = torch.linalg.matrix_exp(-times[:, None, None] * drift)[:, 0, 0]
        return vacf

    return observe


def analyse_kernel(
    kernel: MemoryKernel, t: Any, noise: NoiseLike, observable: str = "kernel", tolerance: float = 1.0
) -> Identifiability:
    """Analyse what observations determine of a scalar memory kernel's own parameters.

    The parameters are the elements of its drift matrix in canonical form that are not zero: the couplings of velocity
    and auxiliary variables, and the auxiliary variables' own decay, a change of order one being their size. Different
    drift matrices give the same kernel, so that null directions are to be expected; bars of what the kernel is used
    for, such as its friction, come from `Identifiability.standard_error_of` with the gradient of that.

    Parameters
    ----------
    kernel : MemoryKernel
    t : (m,)
        In ps.
    noise
        Of the observations; see `analyse`.
    observable
        See `prony_model`.
    tolerance
        See `analyse`.

    Raises
    ------
    ValueError
        If the kernel is matrix-valued.
    """
    if kernel.dimension != 1:
        raise ValueError(f"only scalar kernels can be analysed, this one has dimension {kernel.dimension}")
    if observable not in OBSERVABLES:
        raise ValueError(f"observable must be one of {', '.join(OBSERVABLES)}, got {observable!r}")
    drift = np.asarray(kernel.drift, dtype=float)
    where = np.argwhere(drift != 0)
    times = torch.as_tensor(np.asarray(t, dtype=float)).reshape(-1)
    rows, columns = torch.from_numpy(where[:, 0]), torch.from_numpy(where[:, 1])

    def observe(p: dict[str, Tensor]) -> Tensor:
        elements = torch.stack([p[f"A[{i},{j}]"] for i, j in where])
        a = torch.zeros(drift.shape, dtype=torch.float64).index_put((rows, columns), elements)
        if observable == "vacf":
            vacf: Tensor = torch.linalg.matrix_exp(-times[:, None, None] * a)[:, 0, 0]
            return vacf
        bath = a[1:, 1:]
        decay = torch.linalg.matrix_exp(-times[:, None, None] * bath)
        if observable == "kernel":
            return -torch.einsum("i,tij,j->t", a[0, 1:], decay, a[1:, 0])
        rest = torch.linalg.solve(bath, torch.eye(len(bath), dtype=torch.float64) - decay)
        return a[0, 0] - torch.einsum("i,tij,j->t", a[0, 1:], rest, a[1:, 0])

    parameters = {f"A[{i},{j}]": drift[i, j] for i, j in where}
    return analyse(observe, parameters, noise, tolerance=tolerance)
