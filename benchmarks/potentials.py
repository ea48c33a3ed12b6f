# SPDX-License-Identifier: MIT
"""Time the native potentials against the best of torch, and against what the machine can do.

python benchmarks/potentials.py [--quick] [--only GROUP ...] [--beads N ...] [--threads 1 2] [--baselines NAME ...]
    [--platforms CPU OpenCL CUDA] [--rounds N] [--seconds S] [--cpu-time] [--json FILE] [--plot FILE]

| group | what is compared |
|---|---|
| `schnet` | 128 features, 64 radial functions, 3 blocks: 10 to 5000 beads with 45 neighbours, 269 beads with 180 |
| `moments` | L = 3, 12 and 32 channels, 20 and 45 neighbours, 256 to 10,000 beads |
| `scaling` | the cost per bead from 1000 to 100,000 beads |
| `replicas` | the cost per bead with many replicas in one Context |
| `priors` | the pair spline and Stillinger-Weber against OpenMM's forces that compute the same |

`native` is a step of VerletIntegrator so short that no bead moves: forces, the check of the neighbour list and what
OpenMM does about it, but no rebuild of the list. `native step` is a step of Langevin dynamics of 2 fs at 300 K with all
rebuilds, from the same positions in every burst. The baselines are explained in baselines.py; `pythonforce` is such a
step of dynamics too and is compared with `native step`, all others with `native` on the CPU platform with as many
threads. PoCL is given the same number of threads.

Each contender is a process of its own, with an environment that is good for torch. They take turns in short bursts, and
the shortest time of each counts, so that what else the machine does hits all alike; the quartiles of the ratios of
single rounds show how much it did.

`share` is the part of the machine's limit that `native` reaches on the CPU platform: the time that floating-point
operations and the traffic of all beads' features, whichever is slower, must take, over the measured time. Both are
counted by formula (`schnet_work`, `moment_work`); the peaks are those of torch's matrix product and of a copy of so
much memory with as many threads, which take their turns with the others. `forces` is the difference of forces from
those of `torchscript`, in single precision, relative to their root mean square.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import itertools
import json
import os
import pathlib
import pickle
import platform as machine
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import baselines
import numpy as np
import openmm
import torch
from baselines import BASELINES, Beads, liquid
from openmm import unit

import meanforce
from meanforce._plugins import platform_works
from meanforce.potentials import MomentTensor, Potential, SchNet

SCHNET_CUTOFF, WATER_CUTOFF = 0.9, 0.45  # nm
MAX_DYNAMICS = 200  # steps of dynamics in a burst, so that a droplet does not evaporate
MATRIX = 1024  # rows of the matrices whose product gives the peak
GROUPS = ("schnet", "moments", "scaling", "replicas", "priors")


# What takes part


@dataclass
class Native:
    """A System on a platform, with a tiny time step or Langevin dynamics."""

    xml: str
    positions: np.ndarray
    platform: str = "CPU"
    threads: int = 1
    dynamics: bool = False

    def prepare(self) -> None:
        """Create the Context."""
        system = openmm.XmlSerializer.deserialize(self.xml)
        for _ in self.positions:
            system.addParticle(baselines.MASS)
        langevin = (baselines.TEMPERATURE, baselines.FRICTION, baselines.STEP)
        self.integrator = openmm.LangevinMiddleIntegrator(*langevin) if self.dynamics else openmm.VerletIntegrator(1e-6)
        properties = {"Threads": str(self.threads)} if self.platform == "CPU" else {"Precision": "single"}
        device = openmm.Platform.getPlatformByName(self.platform)
        self.context = openmm.Context(system, self.integrator, device, properties)
        self.context.setPositions(self.positions)

    def reset(self) -> None:
        """Go back to the first positions, if beads move."""
        if self.dynamics:
            self.context.setPositions(self.positions)
            self.context.setVelocitiesToTemperature(baselines.TEMPERATURE, 1)
            self.run(1)

    def forces(self) -> np.ndarray:
        """Return the forces in kJ/mol/nm, shape (N, 3)."""
        forces = self.context.getState(forces=True).getForces(asNumpy=True)
        return forces.value_in_unit(unit.kilojoule_per_mole / unit.nanometer)

    def run(self, steps: int) -> None:
        """Make steps, and wait for the last."""
        self.integrator.step(steps)
        if self.platform != "CPU":
            self.context.getState(velocities=True)


@dataclass
class Torch:
    """A baseline."""

    name: str
    model: Potential
    beads: Beads
    threads: int = 1
    dynamics: bool = False

    def prepare(self) -> None:
        """Compile."""
        self.baseline = BASELINES[self.name](self.model, self.threads)
        self.baseline.prepare(self.beads)

    def reset(self) -> None:
        """Go back to the first positions."""
        self.baseline.reset()
        if self.dynamics:
            self.run(1)

    def forces(self) -> np.ndarray:
        """Return the forces in kJ/mol/nm, shape (N, 3)."""
        return self.baseline.evaluate()[1]

    def run(self, steps: int) -> None:
        """Evaluate energy and forces, or make steps."""
        self.baseline.run(steps)


@dataclass
class Product:
    """A product of square matrices in single precision."""

    threads: int = 1
    dynamics: bool = False

    def prepare(self) -> None:
        """Allocate the matrices."""
        self.matrices = [torch.rand(MATRIX, MATRIX) for _ in range(3)]

    def reset(self) -> None:
        """Nothing moves."""

    def forces(self) -> None:
        """Return nothing."""

    def run(self, steps: int) -> None:
        """Multiply."""
        for _ in range(steps):
            torch.mm(self.matrices[0], self.matrices[1], out=self.matrices[2])


@dataclass
class Copy(Product):
    """A copy of memory."""

    size: int = 0

    def prepare(self) -> None:
        """Allocate half of `size` bytes twice."""
        self.arrays = [torch.rand(self.size // 8) for _ in range(2)]

    def run(self, steps: int) -> None:
        """Copy."""
        for _ in range(steps):
            self.arrays[1].copy_(self.arrays[0])


Contender = Native | Torch | Product


class Worker:
    """A process with a contender, which does a burst of steps when it is asked for one."""

    def __init__(self, contender: Contender, seconds: float, cpu_time: bool) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = pathlib.Path(self.folder.name)
        (path / "job").write_bytes(pickle.dumps((contender, seconds, cpu_time)))
        threads = str(contender.threads)
        variables = baselines.ENVIRONMENT | {"OMP_NUM_THREADS": threads, "POCL_MAX_PTHREAD_COUNT": threads}
        command = [sys.executable, "-W", "ignore", __file__, "--worker", self.folder.name]
        self.process = subprocess.Popen(
            command, env=os.environ | variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.prepare_seconds = self._answer()
        self.forces = pickle.loads((path / "forces").read_bytes())

    def burst(self) -> float:
        """Return the seconds of one step."""
        assert self.process.stdin is not None
        self.process.stdin.write("burst\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self.process.communicate()
        self.folder.cleanup()

    def _answer(self) -> float:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a contender ended before its time; its error is printed above")
        return float(line)


def work(folder: pathlib.Path) -> None:
    """Be the process of a Worker: one line with the seconds of preparation, then one for each line that is read."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries write to standard output too
    contender, seconds, cpu_time = pickle.loads((folder / "job").read_bytes())
    clock = time.process_time if cpu_time else time.perf_counter
    torch.set_num_threads(contender.threads)
    start = time.perf_counter()
    contender.prepare()
    prepared = time.perf_counter() - start
    (folder / "forces").write_bytes(pickle.dumps(contender.forces()))
    contender.run(3)  # TorchScript optimises itself in its first runs
    start = time.perf_counter()
    contender.run(1)
    steps = max(1, round(seconds / (time.perf_counter() - start)))
    print(prepared, file=answers, flush=True)
    for _ in sys.stdin:
        contender.reset()
        count = min(steps, MAX_DYNAMICS) if contender.dynamics else steps
        start = clock()
        contender.run(count)
        print((clock() - start) / count, file=answers, flush=True)


# What is compared


@dataclass
class Limit:
    """What an evaluation must do at least: floating-point operations, and bytes of features read and written.

    Each pass counts the features of each bead once; a neighbour's, and the tables, are expected in a cache.
    """

    flops: float
    traffic: float
    memory: int  # bytes that are in use, so that their traffic is that of a copy of the same size


@dataclass
class Case:
    """Contenders that take turns; the first is what the others' `ratio` refers to, unless `versus` names another."""

    group: str
    title: str
    beads: int
    neighbors: float
    threads: int
    contenders: dict[str, Contender]
    versus: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)  # beads of a contender, where they differ
    limit: Limit | None = None


def schnet_work(model: SchNet, degree: int, beads: int, pairs: int) -> Limit:
    """Count a SchNet with tabulated filters; activations, geometry and tables' weights are neglected."""
    block = model.blocks[0]
    H, F, blocks = block.lin1.in_features, block.lin1.out_features, len(model.blocks)
    # Features of the first block are those of a type: its lin1 needs no evaluation, and no gradient.
    dense = (blocks - 1) * H * F + blocks * (F * H + H * H) + sum(x.in_features * x.out_features for x in model.layers)
    lookup, message = 2 * (degree + 1), 4  # of a filter or its slope; a filter times features, both ways
    slope = lookup + 3  # contracted with y_j g_i + y_i g_j
    per_pair = blocks * (lookup + message + slope) + (blocks - 1) * (lookup + message)
    flops = beads * 4.0 * dense + pairs * F * per_pair
    return Limit(flops, beads * blocks * 4.0 * (4 * F + 6 * H), 4 * beads * (3 * F + 2 * H))


def moment_work(model: MomentTensor, beads: int, pairs: int) -> Limit:
    """Count a moment-tensor potential; activations, harmonics and the tables, which fit the L1 cache, are neglected."""
    radial, moments = (model.max_l + 1) * model.channels, (model.max_l + 1) ** 2 * model.channels
    dense = sum(layer.weight[0].numel() for layer in model.layers)
    forward = 8 * radial + 4 * moments  # four splines to a filter; moments of both beads
    backward = 16 * radial + 3 * moments + 2 * radial + 2 * moments  # filters and slopes, G_i +- G_j, dU/dr, dU/dY
    flops = beads * (4.0 * dense + 4 * moments) + pairs * (forward + backward)
    return Limit(flops, beads * 4.0 * 4 * moments, 4 * beads * 2 * moments)


class Model:
    """A random network of a family, its native form, and its place in a folder."""

    def __init__(self, model: Potential, folder: pathlib.Path) -> None:
        self.model = model
        path = folder / "model.pt"
        meanforce.export(model, path)
        self.native = meanforce.CGPotential(path)

    def system(self, beads: Beads, replicas: int = 1) -> str:
        """Return a System without particles as XML."""
        (force,) = self.native.createForces(beads.types.tolist(), periodic=beads.box is not None, replicas=replicas)
        return as_xml(force, beads.box)

    def limit(self, beads: Beads) -> Limit:
        """Return what an evaluation must do at least."""
        count, pairs = len(beads.types), count_pairs(beads, self.model.cutoff)
        if isinstance(self.model, MomentTensor):
            return moment_work(self.model, count, pairs)
        (force,) = self.native.createForces([0])
        return schnet_work(self.model, force.getFilterGrid()[0], count, pairs)


def as_xml(force: openmm.Force, box: np.ndarray | None) -> str:
    """Return a System with a copy of a force as XML."""
    system = openmm.System()
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*box)
    system.addForce(copy.deepcopy(force))
    return openmm.XmlSerializer.serialize(system)


def schnet(folder: pathlib.Path) -> Model:
    """Return the SchNet that protein models use."""
    torch.manual_seed(0)
    return Model(SchNet(3, SCHNET_CUTOFF), folder)


def moment_tensor(folder: pathlib.Path, channels: int) -> Model:
    """Return the network that liquids use."""
    torch.manual_seed(0)
    return Model(MomentTensor(1, WATER_CUTOFF, channels=channels), folder)


def count_pairs(beads: Beads, cutoff: float) -> int:
    """Return the number of pairs within the cutoff."""
    return len(beads.pairs(cutoff)[0])


def network_cases(
    group: str, title: str, model: Model, count: int, neighbors: float, options: argparse.Namespace
) -> Iterable[Case]:
    """Yield a case for each number of threads: all that can evaluate a network."""
    beads = liquid(count, model.model.cutoff, neighbors, model.model.num_types)
    mean = 2 * count_pairs(beads, model.model.cutoff) / count
    xml, limit = model.system(beads), model.limit(beads)
    for threads in options.threads:
        contenders: dict[str, Contender] = {
            "native": Native(xml, beads.positions, threads=threads),
            "native step": Native(xml, beads.positions, threads=threads, dynamics=True),
        }
        if threads != options.threads[0]:
            fewer = options.threads[0]
            contenders[f"native, threads: {fewer}"] = Native(xml, beads.positions, threads=fewer)
        for name in options.platforms:
            if name != "CPU":
                contenders[f"native {name}"] = Native(xml, beads.positions, name, threads)
        for name in options.baselines:
            contenders[name] = Torch(name, model.model, beads, threads, dynamics=name == "pythonforce")
        contenders |= {"peak": Product(threads), "copy": Copy(threads, size=limit.memory)}
        versus = {"pythonforce": "native step"}
        yield Case(group, title, count, mean, threads, contenders, versus, limit=limit)


def schnet_cases(folder: pathlib.Path, options: argparse.Namespace) -> Iterable[Case]:
    """Yield the cases of SchNet."""
    model = schnet(folder)
    sizes = [(100, 45)] if options.quick else [(10, 45), (100, 45), (1000, 45), (5000, 45), (269, 180)]
    for count, neighbors in sizes:
        yield from network_cases("schnet", f"SchNet, {neighbors} neighbours", model, count, neighbors, options)


def moment_cases(folder: pathlib.Path, options: argparse.Namespace) -> Iterable[Case]:
    """Yield the cases of the moment tensors."""
    for channels in (12,) if options.quick else (12, 32):
        model = moment_tensor(folder, channels)
        for neighbors, count in [(20, 256)] if options.quick else itertools.product((20, 45), (256, 1000, 10000)):
            title = f"moments, F = {channels}, {neighbors} neighbours"
            yield from network_cases("moments", title, model, count, neighbors, options)


def scaling_cases(folder: pathlib.Path, options: argparse.Namespace) -> Iterable[Case]:
    """Yield a case for each family: larger and larger liquids."""
    sizes = (1000, 4000) if options.quick else (1000, 10000, 100000)
    threads = options.threads[0]
    for title, model, neighbors in (
        ("SchNet, 45 neighbours", schnet(folder), 45),
        ("moments, F = 12, 20 neighbours", moment_tensor(folder, 12), 20),
    ):
        contenders: dict[str, Contender] = {}
        for count in sizes:
            beads = liquid(count, model.model.cutoff, neighbors, model.model.num_types)
            contenders[f"{count} beads"] = Native(model.system(beads), beads.positions, threads=threads)
        named = dict(zip(contenders, sizes, strict=True))
        yield Case("scaling", title, sizes[0], neighbors, threads, contenders, sizes=named)


def replica_cases(folder: pathlib.Path, options: argparse.Namespace) -> Iterable[Case]:
    """Yield a case for each system: more and more replicas."""
    threads = options.threads[0]
    for model, count, neighbors, numbers in (
        (schnet(folder), 10, 45, (1, 8, 64)),
        (schnet(folder), 100, 45, (1, 8)),
        (moment_tensor(folder, 12), 256, 20, (1, 8)),
    ):
        beads = liquid(count, model.model.cutoff, neighbors, model.model.num_types)
        contenders: dict[str, Contender] = {}
        for number in numbers:
            xml = model.system(beads, number)
            contenders[f"{number} replicas"] = Native(xml, np.tile(beads.positions, (number, 1)), threads=threads)
        named = {name: number * count for name, number in zip(contenders, numbers, strict=True)}
        mean = 2 * count_pairs(beads, model.model.cutoff) / count
        title = f"{type(model.model).__name__}, {count} beads"
        yield Case("replicas", title, count, mean, threads, contenders, sizes=named)


# Priors: a soft repulsion of 0.6 nm, and the three-body term of mW water, doi:10.1021/jp805227c
PAIR_CUTOFF, FUNCTIONS = 0.6, 30
SIGMA, STRENGTH, WATER_DENSITY = 0.23925, 23.15 * 25.87, 33.4  # nm, kJ/mol, beads per nm^3


def pair_forces() -> tuple[Any, openmm.CustomNonbondedForce]:
    """Return a pair spline, and the same function as OpenMM computes it from its values at the knots."""
    c = 100 * (1 - (np.arange(FUNCTIONS) - 1) / FUNCTIONS) ** 3
    ours = meanforce.PairSplineForce(1, PAIR_CUTOFF)
    ours.setCoefficients(c[None])
    padded, spacing = np.pad(c, 3), PAIR_CUTOFF / FUNCTIONS
    knots = (padded[:-2] + 4 * padded[1:-1] + padded[2:]) / 6
    theirs = openmm.CustomNonbondedForce("u(r)")
    ends = (-3 * spacing, (len(knots) - 4) * spacing)
    theirs.addTabulatedFunction("u", openmm.Continuous1DFunction(knots, *ends))
    theirs.setCutoffDistance(PAIR_CUTOFF)
    return ours, theirs


def triple_forces() -> tuple[Any, openmm.CustomManyParticleForce]:
    """Return mW's three-body term, and the same as OpenMM computes it."""
    a, gamma = 1.8 * SIGMA, 1.2 * SIGMA
    ours = meanforce.StillingerWeberForce(1, a)  # type: ignore[attr-defined,unused-ignore]
    ours.setPairParameters(0, 0, a, gamma)
    ours.setTripletAngle(0, 0, 0, STRENGTH, -1 / 3)
    theirs = openmm.CustomManyParticleForce(
        3,
        f"{STRENGTH!r}*(cos(angle(p2,p1,p3))+1/3)^2*exp({gamma!r}/(r12-{a!r})+{gamma!r}/(r13-{a!r}))*step({a!r}-r12)"
        f"*step({a!r}-r13); r12=distance(p1,p2); r13=distance(p1,p3)",
    )
    theirs.setPermutationMode(theirs.UniqueCentralParticle)
    theirs.setCutoffDistance(a)
    return ours, theirs


def prior_cases(folder: pathlib.Path, options: argparse.Namespace) -> Iterable[Case]:
    """Yield the cases of the priors."""
    priors = {"PairSplineForce": (pair_forces, PAIR_CUTOFF), "StillingerWeberForce": (triple_forces, 1.8 * SIGMA)}
    for name, (make, cutoff) in priors.items():
        neighbors = WATER_DENSITY * 4 / 3 * np.pi * cutoff**3
        for count in (256,) if options.quick else (256, 1000, 10000):
            ours, theirs = make()
            beads = liquid(count, cutoff, neighbors)
            ours.setUsesPeriodicBoundaryConditions(True)
            theirs.setNonbondedMethod(theirs.CutoffPeriodic)
            for _ in range(count):
                ours.addParticle(0)
                theirs.addParticle([])
            for threads in options.threads:
                contenders: dict[str, Contender] = {
                    "native": Native(as_xml(ours, beads.box), beads.positions, threads=threads),
                    "openmm": Native(as_xml(theirs, beads.box), beads.positions, threads=threads),
                }
                mean = 2 * count_pairs(beads, cutoff) / count
                yield Case("priors", name, count, mean, threads, contenders)


MAKERS = dict(zip(GROUPS, (schnet_cases, moment_cases, scaling_cases, replica_cases, prior_cases), strict=True))


# What is found


def measure(case: Case, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a record for each contender."""
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name, contender in case.contenders.items():
            workers[name] = Worker(contender, options.seconds, options.cpu_time)
            stack.callback(workers[name].close)
        rounds = [{name: worker.burst() for name, worker in workers.items()} for _ in range(options.rounds)]
    best = {name: min(times[name] for times in rounds) for name in workers}
    referee = next((workers[name].forces for name in ("torchscript", "native") if name in workers), None)
    records = []
    for name, worker in workers.items():
        base = case.versus.get(name, next(iter(workers)))
        beads, base_beads = case.sizes.get(name, case.beads), case.sizes.get(base, case.beads)
        scale = base_beads / beads
        record = {
            "group": case.group,
            "case": case.title,
            "beads": beads,
            "neighbors": case.neighbors,
            "threads": case.threads,
            "contender": name,
            "milliseconds": 1e3 * best[name],
            "microseconds_per_bead": 1e6 * best[name] / beads,
            "versus": base,
            "ratio": scale * best[name] / best[base],
            "ratio_quartiles": np.quantile([scale * t[name] / t[base] for t in rounds], [0.25, 0.75]).tolist(),
            "prepare_seconds": worker.prepare_seconds,
        }
        if referee is not None and worker.forces is not None:
            difference = np.square(worker.forces - referee).mean() / np.square(referee).mean()
            record["force_difference"] = float(np.sqrt(difference))
        records.append(record)
    if case.limit is not None:
        peak, bandwidth = 2.0 * MATRIX**3 / best["peak"], case.limit.memory / best["copy"]
        seconds = max(case.limit.flops / peak, case.limit.traffic / bandwidth)
        records[0] |= {
            "gigaflops": 1e-9 * case.limit.flops / best["native"],
            "peak_gigaflops": 1e-9 * peak,
            "gigabytes": 1e-9 * case.limit.traffic / best["native"],
            "peak_gigabytes": 1e-9 * bandwidth,
            "share": seconds / best["native"],
        }
    return [record for record in records if record["contender"] not in ("peak", "copy")]


def table(records: list[dict[str, Any]]) -> str:
    """Return a line for each record; ratios are times over that of `versus`, its quartiles in brackets."""
    lines = []
    for record in records:
        low, high = record["ratio_quartiles"]
        line = (
            f"{record['beads']:>7}{record['neighbors']:>6.0f}{record['threads']:>4} {record['contender']:<20}"
            f"{record['milliseconds']:>11.4f}{record['microseconds_per_bead']:>10.3f}{record['ratio']:>8.2f}"
            f"{f'[{low:.2f}, {high:.2f}]':>18}"
        )
        line += f"{record['force_difference']:>9.0e}" if "force_difference" in record else " " * 9
        if "share" in record:
            line += f"  {record['share']:.0%} of {record['peak_gigaflops']:.0f} GFLOP/s and "
            line += f"{record['peak_gigabytes']:.0f} GB/s"
        lines.append(line)
    return "\n".join(lines)


HEADER = (
    f"{'beads':>7}{'nbrs':>6}{'thr':>4} {'contender':<20}{'ms':>11}{'us/bead':>10}{'ratio':>8}{'quartiles':>18}"
    f"{'forces':>9}  share"
)


def plot(records: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Draw the time per bead against the number of beads, a panel for each kind of system and number of threads."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    panels = list(dict.fromkeys((r["group"], r["case"], r["threads"]) for r in records))
    rows = int(np.ceil(len(panels) / 3))
    figure, axes = pyplot.subplots(rows, min(3, len(panels)), figsize=(15, 4.2 * rows), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, panel in zip(axes.flat, panels, strict=False):
        found = [r for r in records if (r["group"], r["case"], r["threads"]) == panel]
        lines: dict[str, list[tuple[int, float]]] = {}
        for r in found:
            label = "native" if panel[0] in ("scaling", "replicas") else r["contender"]
            lines.setdefault(label, []).append((r["beads"], r["microseconds_per_bead"]))
        for label, points in lines.items():
            axis.plot(*zip(*sorted(points), strict=True), "o-", label=label, linewidth=2 if label == "native" else 1)
        axis.set(xscale="log", yscale="log", xlabel="beads", ylabel="µs per bead and evaluation")
        axis.set_title(f"{panel[0]}: {panel[1]}, {panel[2]} thread{'s' if panel[2] > 1 else ''}", fontsize=10)
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small system of each kind, and nothing to compile")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS)
    parser.add_argument("--beads", type=int, nargs="+", help="only systems of these sizes")
    parser.add_argument("--threads", type=int, nargs="+")
    parser.add_argument("--baselines", nargs="*", choices=BASELINES)
    works = [name for name in meanforce.platforms() if name != "Reference" and platform_works(name)]
    parser.add_argument("--platforms", nargs="+", default=works, help="those of native networks")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, default=0.1, help="of a burst, at least one step")
    parser.add_argument(
        "--cpu-time", action="store_true", help="count processor time: on a busy machine, with one thread and no GPU"
    )
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--plot", type=pathlib.Path)
    options = parser.parse_args(arguments)
    options.threads = options.threads or ([1] if options.quick else [1, 2])
    if options.baselines is None:
        options.baselines = ["torchscript", "pythonforce"] if options.quick else list(BASELINES)
    options.rounds = options.rounds or (5 if options.quick else 15)
    if options.cpu_time and (options.threads != [1] or options.platforms != ["CPU"]):
        parser.error("--cpu-time needs --threads 1 --platforms CPU")
    return options


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        work(pathlib.Path(sys.argv[2]))
        return
    options = parse()
    records = []
    print(HEADER)
    with tempfile.TemporaryDirectory() as folder:
        for group in options.only:
            title = ""
            for case in MAKERS[group](pathlib.Path(folder), options):
                if options.beads and case.beads not in options.beads:
                    continue
                if case.title != title:
                    title = case.title
                    print(f"{group}: {title}")
                found = measure(case, options)
                print(table(found), flush=True)
                records += found
    report = {
        "machine": machine.processor() or machine.machine(),
        "cores": os.cpu_count(),
        "clock": "processor" if options.cpu_time else "wall",
        "openmm": openmm.version.version,
        "torch": torch.__version__,
        "meanforce": meanforce.__version__,
        "records": records,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.plot:
        plot(records, options.plot)


if __name__ == "__main__":
    main()
