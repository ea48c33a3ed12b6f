# SPDX-License-Identifier: MIT
"""Time priors against OpenMM's forces that compute the same: ms per step of Verlet dynamics, less that without force.

python benchmarks/priors.py [--beads 256 1000] [--platform CPU] [--threads 1]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import openmm

import meanforce

DENSITY = 33.4  # beads per nm^3, liquid water
PAIR_CUTOFF, FUNCTIONS = 0.6, 30  # nm: 30 neighbours
SIGMA, STRENGTH = 0.23925, 23.15 * 25.87  # mW water, doi:10.1021/jp805227c


def pair_spline(beads: int) -> meanforce.PairSplineForce:
    """Return a soft repulsion as splines."""
    force = meanforce.PairSplineForce(1, PAIR_CUTOFF)
    force.setCoefficients(pair_coefficients()[None])
    return force


def pair_coefficients() -> np.ndarray:
    """Return the coefficients of the repulsion."""
    r = (np.arange(FUNCTIONS) - 1) * PAIR_CUTOFF / FUNCTIONS
    return 100 * (1 - r / PAIR_CUTOFF) ** 3


def custom_pair(beads: int) -> openmm.CustomNonbondedForce:
    """Return the same function as OpenMM computes it, from a table of its values at the knots."""
    c = np.pad(pair_coefficients(), 3)
    spacing = PAIR_CUTOFF / FUNCTIONS
    knots = (c[:-2] + 4 * c[1:-1] + c[2:]) / 6
    force = openmm.CustomNonbondedForce("u(r)")
    table = openmm.Continuous1DFunction(knots, -3 * spacing, (len(knots) - 4) * spacing)
    force.addTabulatedFunction("u", table)
    force.setNonbondedMethod(force.CutoffPeriodic)
    force.setCutoffDistance(PAIR_CUTOFF)
    for _ in range(beads):
        force.addParticle([])
    return force


def stillinger_weber(beads: int) -> meanforce.StillingerWeberForce:
    """Return mW's three-body term."""
    force = meanforce.StillingerWeberForce(1, 1.8 * SIGMA)
    force.setPairParameters(0, 0, 1.8 * SIGMA, 1.2 * SIGMA)
    force.setTripletAngle(0, 0, 0, STRENGTH, -1 / 3)
    return force


def custom_triple(beads: int) -> openmm.CustomManyParticleForce:
    """Return the same term as OpenMM computes it."""
    a, gamma = 1.8 * SIGMA, 1.2 * SIGMA
    force = openmm.CustomManyParticleForce(
        3,
        f"{STRENGTH!r}*(cos(angle(p2,p1,p3))+1/3)^2*exp({gamma!r}/(r12-{a!r})+{gamma!r}/(r13-{a!r}))*step({a!r}-r12)"
        f"*step({a!r}-r13); r12=distance(p1,p2); r13=distance(p1,p3)",
    )
    force.setPermutationMode(force.UniqueCentralParticle)
    force.setNonbondedMethod(force.CutoffPeriodic)
    force.setCutoffDistance(a)
    for _ in range(beads):
        force.addParticle([])
    return force


def milliseconds(make: Callable[[int], openmm.Force] | None, beads: int, platform: str, threads: int) -> float:
    """Return the time of a step with a tiny time step, the minimum of many rounds."""
    rng = np.random.default_rng(1)
    side = (beads / DENSITY) ** (1 / 3)
    system = openmm.System()
    system.setDefaultPeriodicBoxVectors(*np.eye(3) * side)
    for _ in range(beads):
        system.addParticle(18.0)
    if make is not None:
        force = make(beads)
        if isinstance(force, meanforce.PairSplineForce | meanforce.StillingerWeberForce):
            force.setUsesPeriodicBoundaryConditions(True)
            for _ in range(beads):
                force.addParticle(0)
        system.addForce(force)
    cells = int(np.ceil(beads ** (1 / 3)))
    sites = np.stack(np.meshgrid(*[np.arange(cells)] * 3), axis=-1).reshape(-1, 3)
    positions = (rng.choice(sites, beads, replace=False) + rng.uniform(-0.2, 0.2, (beads, 3))) * side / cells
    integrator = openmm.VerletIntegrator(1e-7)
    properties = {"Threads": str(threads)} if platform == "CPU" else {}
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform), properties)
    context.setPositions(positions)
    integrator.step(3)
    context.getState(energy=True)
    best, end = np.inf, time.perf_counter() + 2.0
    while time.perf_counter() < end:
        start = time.perf_counter()
        integrator.step(5)
        context.getState(positions=True)
        best = min(best, (time.perf_counter() - start) / 5)
    return 1000 * float(best)


def main() -> None:
    """Print one line for each number of beads and each prior."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beads", type=int, nargs="+", default=[256])
    parser.add_argument("--platform", default="CPU")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{'beads':>6} {'prior':>22} {'ms':>9} {'OpenMM, ms':>11} {'ratio':>6}")
    for beads in arguments.beads:
        rest = milliseconds(None, beads, arguments.platform, arguments.threads)
        for ours, theirs in ((pair_spline, custom_pair), (stillinger_weber, custom_triple)):
            times = [milliseconds(m, beads, arguments.platform, arguments.threads) - rest for m in (ours, theirs)]
            print(f"{beads:6} {ours.__name__:>22} {times[0]:9.4f} {times[1]:11.3f} {times[1] / times[0]:6.0f}")


if __name__ == "__main__":
    main()
