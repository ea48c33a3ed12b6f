# SPDX-License-Identifier: MIT
"""Time MomentTensorForce: ms per evaluation of energy and forces on each platform, for one-bead water.

python benchmarks/moment_tensor.py [--beads 256 1000] [--platforms CPU ...] [--threads N] [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib
import time

import numpy as np
import openmm

import meanforce

DENSITY = 33.4  # beads per nm^3, liquid water
CUTOFF = 0.45  # nm
MAX_L, CHANNELS, FUNCTIONS, HIDDEN = 3, 12, 20, (64, 64)


def water(beads: int, rng: np.random.Generator) -> tuple[openmm.System, np.ndarray]:
    """Return a System with the force alone, and positions on a disordered lattice."""
    side = (beads / DENSITY) ** (1 / 3)
    force = meanforce.MomentTensorForce(1, CUTOFF, MAX_L, CHANNELS)
    force.setFilters(CUTOFF / FUNCTIONS, rng.normal(size=(FUNCTIONS, MAX_L + 1, CHANNELS)) / 5)
    force.setTypeWeights(np.ones((1, CHANNELS)))
    widths = (force.getNumFeatures(), *HIDDEN, 1)
    for inputs, outputs in itertools.pairwise(widths):
        force.addLayer(rng.normal(size=(1, outputs, inputs)) / np.sqrt(inputs), np.zeros((1, outputs)))
    force.setUsesPeriodicBoundaryConditions(True)
    system = openmm.System()
    system.setDefaultPeriodicBoxVectors(*np.eye(3) * side)
    system.addForce(force)
    for _ in range(beads):
        system.addParticle(18.0)
        force.addParticle(0)
    cells = int(np.ceil(beads ** (1 / 3)))
    sites = np.stack(np.meshgrid(*[np.arange(cells)] * 3), axis=-1).reshape(-1, 3)
    chosen = rng.choice(sites, beads, replace=False)
    return system, (chosen + rng.uniform(-0.3, 0.3, (beads, 3))) * side / cells


def milliseconds(
    system: openmm.System, positions: np.ndarray, platform: openmm.Platform, properties: dict[str, str]
) -> float:
    """Return the time of one step of Verlet dynamics with a tiny time step, the minimum of five rounds."""
    integrator = openmm.VerletIntegrator(1e-6)
    context = openmm.Context(system, integrator, platform, properties)
    context.setPositions(positions)
    integrator.step(3)
    context.getState(energy=True)
    start = time.perf_counter()
    integrator.step(1)
    context.getState(energy=True)
    steps = max(1, int(0.2 / (time.perf_counter() - start)))
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        integrator.step(steps)
        context.getState(energy=True)
        best = min(best, (time.perf_counter() - start) / steps)
    return 1e3 * best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--beads", type=int, nargs="+", default=[256, 1000])
    parser.add_argument("--platforms", nargs="+", default=meanforce.platforms())
    parser.add_argument("--threads", default="1", help="threads of the CPU platform")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    results = []
    print(f"L {MAX_L}, {CHANNELS} channels, hidden layers {HIDDEN}, cutoff {CUTOFF} nm, {DENSITY} beads/nm^3")
    print(f"{'platform':<16}" + "".join(f"{f'{n} beads (ms)':>18}" for n in arguments.beads))
    for name in arguments.platforms:
        precisions = ["single", "mixed"] if name in ("OpenCL", "CUDA", "HIP") else [""]
        for precision in precisions:
            properties = {"Precision": precision} if precision else {}
            if name == "CPU":
                properties = {"Threads": arguments.threads}
            times = []
            for beads in arguments.beads:
                system, positions = water(beads, np.random.default_rng(1))
                times.append(milliseconds(system, positions, openmm.Platform.getPlatformByName(name), properties))
                results.append({"platform": name, **properties, "beads": beads, "milliseconds": times[-1]})
            print(f"{' '.join([name, *properties.values()]):<16}" + "".join(f"{t:>18.3f}" for t in times))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
