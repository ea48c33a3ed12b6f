# SPDX-License-Identifier: MIT
"""Trajectories whose memory kernel is known: free particles, springs as a bath (Kac and Zwanzig), a channel.

Units: kT = 1 kJ/mol, masses of 1 dalton.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gle_physics import LOBES, bath_matrices
from meanforce import MemoryKernel

Array = NDArray[np.float64]

#: Three modes: 5 exp(-t/0.2) + exp(-t/1.5) + 4 exp(-t) cos 6t.
THREE = LOBES
BARRIER = 3.0


def distance(a: Array, b: Array) -> float:
    """Return the relative L2 error."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def free_velocities(kernel: MemoryKernel, dt: float, frames: int, dofs: int, seed: int, white_noise=False) -> Array:
    """Return exactly sampled velocities of free particles, shape (frames, dofs, 1).

    With `white_noise` the friction keeps its memory, but the random force is white, of equal strength.
    """
    rng, n = np.random.default_rng(seed), kernel.modes
    decay, noise = bath_matrices(kernel.drift, dt)
    if white_noise:
        noise = np.zeros_like(noise)
        noise[0, 0] = np.sqrt(2.0 * kernel.friction * dt)
    z = rng.normal(size=(n + 1, dofs))
    record = np.empty((frames, dofs, 1))
    for i in range(frames):
        record[i, :, 0] = z[0]
        z = decay @ z + noise @ rng.normal(size=z.shape)
    return record


def double_well_force(x: Array) -> Array:
    """Return the force of the potential 3 kT (x^2 - 1)^2."""
    return -4.0 * BARRIER * x * (x * x - 1.0)


def double_well_positions(count: int, rng: np.random.Generator) -> Array:
    grid = np.linspace(-2.5, 2.5, 4001)
    weight = np.exp(-BARRIER * (grid**2 - 1.0) ** 2)
    return np.interp(rng.random(count), np.cumsum(weight) / weight.sum(), grid)


class Springs:
    """Particles in a double well, each with its own bath of springs: K(t) = sum_j k_j cos w_j t for any potential.

    R. Zwanzig, J. Stat. Phys. 9, 215 (1973), doi 10.1007/BF01008729.
    """

    def __init__(self, kernel: MemoryKernel = THREE, count: int = 100, top: float = 15.0) -> None:
        width = top / count
        self.w = (np.arange(count) + 0.5) * width
        self.k = 2.0 / np.pi * width * kernel.spectrum(self.w)

    def kernel(self, t: Array) -> Array:
        return np.cos(np.multiply.outer(t, self.w)) @ self.k

    def run(self, copies: int, steps: int, h: float, seed: int) -> tuple[Array, Array, Array]:
        """Return positions, velocities and accelerations (steps, copies, 1) by velocity Verlet from equilibrium."""
        rng = np.random.default_rng(seed)
        x, v = double_well_positions(copies, rng), rng.normal(size=copies)
        q = x[:, None] + rng.normal(size=(copies, len(self.w))) / np.sqrt(self.k)
        u = rng.normal(size=q.shape) * self.w / np.sqrt(self.k)
        records = np.empty((3, steps, copies, 1))
        a = double_well_force(x) + q @ self.k - self.k.sum() * x
        u -= 0.5 * h * self.w**2 * (q - x[:, None])
        for i in range(steps):
            records[:, i, :, 0] = x, v, a
            v += 0.5 * h * a
            x += h * v
            q += h * u
            a = double_well_force(x) + q @ self.k - self.k.sum() * x
            v += 0.5 * h * a
            u -= h * self.w**2 * (q - x[:, None])
        return records[0], records[1], records[2]


def in_double_well(kernel: MemoryKernel, h: float, frames: int, dofs: int, seed: int) -> tuple[Array, Array]:
    """Return positions and velocities (frames, dofs, 1) of the integrator's own steps, B(h) A(h/2) O(h) A(h/2)."""
    rng = np.random.default_rng(seed)
    decay, noise = bath_matrices(kernel.drift, h)
    x = double_well_positions(dofs, rng)
    y = rng.normal(size=(kernel.modes + 1, dofs))
    records = np.empty((2, frames, dofs, 1))
    for i in range(-200, frames):
        if i >= 0:
            records[:, i, :, 0] = x, y[0]
        y[0] += h * double_well_force(x)
        x = x + 0.5 * h * y[0]
        y = decay @ y + noise @ rng.normal(size=y.shape)
        x = x + 0.5 * h * y[0]
    return records[0], records[1]


def channel_friction(x: Array) -> Array:
    """Return the friction at x in a channel of period 2."""
    return 3.0 + 2.0 * np.cos(np.pi * x)


def channel_force(x: Array) -> Array:
    """Return the force of the potential 0.5 cos(pi x)."""
    return 0.5 * np.pi * np.sin(np.pi * x)


def in_channel(h: float, frames: int, dofs: int, seed: int, every: int) -> tuple[Array, Array]:
    """Return positions and velocities (frames, dofs) with the friction `channel_friction` at each place."""
    rng = np.random.default_rng(seed)
    grid = np.linspace(-1.0, 1.0, 2001)
    weight = np.exp(-0.5 * np.cos(np.pi * grid))
    x, v = np.interp(rng.random(dofs), np.cumsum(weight) / weight.sum(), grid), rng.normal(size=dofs)
    records = np.empty((2, frames, dofs))
    for i in range(frames * every):
        if i % every == 0:
            records[:, i // every] = x, v
        v = v + 0.5 * h * channel_force(x)
        x = x + 0.5 * h * v
        decay = np.exp(-h * channel_friction(x))
        v = decay * v + np.sqrt(1.0 - decay**2) * rng.normal(size=dofs)
        x = x + 0.5 * h * v
        v = v + 0.5 * h * channel_force(x)
    return records[0], records[1]
