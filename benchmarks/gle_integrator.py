# SPDX-License-Identifier: MIT
"""Time GLEIntegrator against LangevinMiddleIntegrator: ms per step of free particles, and the ratio, on each platform.

python benchmarks/gle_integrator.py [--particles 256 10000] [--platforms CPU ...]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import openmm

import meanforce

MODES = (0, 1, 4, 8)


def gle(modes: int) -> openmm.Integrator:
    """Return an integrator whose kernel has `modes` exponentials, or friction without memory."""
    if modes == 0:
        return meanforce.GLEIntegrator(300, [[1.0]], 0.002)
    times = np.geomspace(0.01, 1.0, modes)
    return meanforce.GLEIntegrator(300, meanforce.MemoryKernel.prony(10.0 / times, times), 0.002)


def milliseconds(particles: int, integrator: openmm.Integrator, platform: openmm.Platform) -> float:
    """Return the time of one step, the minimum of five rounds."""
    system = openmm.System()
    for _ in range(particles):
        system.addParticle(18.0)
    properties = {"Precision": "mixed"} if "Precision" in platform.getPropertyNames() else {}
    context = openmm.Context(system, integrator, platform, properties)
    context.setPositions(np.zeros((particles, 3)))
    integrator.step(10)
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        integrator.step(50)
        context.getState(velocities=True)
        best = min(best, (time.perf_counter() - start) / 50)
    return 1e3 * best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", type=int, nargs="+", default=[256, 10000])
    parser.add_argument("--platforms", nargs="+", default=meanforce.platforms())
    arguments = parser.parse_args()
    columns = "".join(f"{f'GLE {modes}':>18}" for modes in MODES)
    print(f"{'platform':<10}{'particles':>10}{'Langevin (ms)':>15}{columns}   (ms, ratio to Langevin)")
    for name in arguments.platforms:
        platform = openmm.Platform.getPlatformByName(name)
        for particles in arguments.particles:
            langevin = milliseconds(particles, openmm.LangevinMiddleIntegrator(300, 1, 0.002), platform)
            times = [milliseconds(particles, gle(modes), platform) for modes in MODES]
            cells = "".join(f"{f'{t:.3f} {t / langevin:6.2f}x':>18}" for t in times)
            print(f"{name:<10}{particles:>10}{langevin:>15.3f}{cells}")


if __name__ == "__main__":
    main()
