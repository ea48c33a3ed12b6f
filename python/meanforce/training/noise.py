# SPDX-License-Identifier: MIT
"""Forces and noise: frames of beads moved by Gaussian noise, with the force of least variance on them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from openmm import unit

from .._openmm import strip_units
from ..data import Frames, Trajectory
from ..mapping import GaussianKernel
from ..structure import GAS_CONSTANT


def with_noise(frames: Trajectory | Frames, width: Any, temperature: Any, *, copies: int = 1, seed: int = 0) -> Frames:
    r"""Return frames of noised beads x' = x + width xi, and forces whose mean is that of the density of x'.

    Both the force F on x and the noise force N = kT (x - x') / width^2 have that mean, and so has every
    a F + (1 - a) N. Forces and noise are independent at given x; so a = v / (v + <F^2>), with v = (kT / width)^2, has
    the least variance, bead by bead (doi:10.1038/s41467-026-70818-0, there with more general force maps). Frames
    without forces are trained on noise alone. The potential learned from these frames is that of x', whose density is a
    little broader than that of x: fit the priors on them too. `StochasticMapping` does the same to atoms on their way
    to beads.

    Parameters
    ----------
    frames
        Of beads.
    width : float or (n,)
        Standard deviation of the noise per coordinate, in nm.
    temperature
        In K.
    copies : int
        Noised frames for each frame. They follow one another, so that a part held out has frames of its own.
    seed : int

    Raises
    ------
    ValueError
        If a width is not positive, or the number of copies is not.
    """
    if int(copies) != copies or copies < 1:
        raise ValueError(f"`copies` must be a positive integer, got {copies!r}")
    whole = frames[:]
    kernel = GaussianKernel(width)
    n = whole.positions.shape[1]
    if np.size(kernel.width) not in (1, n):
        raise ValueError(f"`width` must be one number or {n}, got {np.size(kernel.width)}")
    kT = GAS_CONSTANT * float(strip_units(temperature, unit.kelvin))
    x = np.repeat(np.asarray(whole.positions, dtype=float), copies, axis=0)
    noised = kernel.sample(x, np.random.default_rng(seed))
    forces = kT * kernel.score(noised, x)
    if whole.forces is not None:
        variance = (kT / np.broadcast_to(np.asarray(kernel.width), (n,))) ** 2
        share = variance / (variance + np.mean(np.asarray(whole.forces, dtype=float) ** 2, axis=(0, 2)))
        forces += share[:, None] * (np.repeat(whole.forces, copies, axis=0) - forces)
    box = None if whole.box is None else np.repeat(whole.box, copies, axis=0)
    time = None if whole.time is None else np.repeat(whole.time, copies)
    return dataclasses.replace(whole, positions=noised, forces=forces, velocities=None, box=box, time=time)
