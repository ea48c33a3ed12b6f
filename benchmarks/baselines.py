# SPDX-License-Identifier: MIT
"""The best that torch can do with a potential, for comparison with the native forces.

python benchmarks/baselines.py [--family schnet|moments] [--beads 10 100 1000] [--neighbors 45] [--threads 1]
                               [--baselines torchscript ...] [--json FILE]

Every measurement runs in a process of its own (`measure`) with settings that make torch fast: the number of threads,
and a malloc that keeps its memory instead of returning it to the system after every large tensor. Each also reports
the error of its forces, so that all compute the same thing.

| baseline | what runs |
|---|---|
| `torchscript` | the frozen TorchScript model with its neighbour list given: each pair's filters once, exact filters |
| `pythonforce` | the same in an OpenMM step of Langevin dynamics, through PythonForce with a Verlet list |
| `aotinductor` | energy and forces traced to one graph, exact filters, compiled ahead of time by AOTInductor |
| `compiled` | the same with tabulated filters, by torch.compile: the strongest |

The last two are compiled for one number of beads and pairs; a real simulation would have to pad its neighbour list.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import openmm
import torch
from openmm import unit
from scipy.interpolate import CubicSpline
from torch import Tensor

from meanforce.potentials import MomentTensor, Potential, SchNet, momenttensor
from meanforce.structure import pairs_within
from meanforce.training.forcematching import pair_forces

#: Keep freed memory: never mmap a tensor, never trim the heap, grow it in large pieces, ask for huge pages.
MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(64 << 20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
INTERVALS = 1024  # of tabulated filters
INDUCTOR = {"cpp_wrapper": True}  # for torch.compile: halves the time of 10 beads; freezing gains nothing more
SKIN = 0.1  # of the Verlet list, as a fraction of the cutoff
ROUNDS = 5


@dataclass(frozen=True)
class Beads:
    """What a potential is evaluated for: positions (N, 3) and box (3, 3) or None in nm, types (N,)."""

    positions: np.ndarray
    types: np.ndarray
    box: np.ndarray | None = None

    def pairs(self, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return first and second, shape (P,), and the image vectors, shape (P, 3), to add to their difference."""
        first, second, displacements = pairs_within(self.positions, self.box, cutoff)
        shifts = displacements - (self.positions[second] - self.positions[first])
        return torch.from_numpy(first).long(), torch.from_numpy(second).long(), torch.from_numpy(shifts)


def liquid(count: int, cutoff: float, neighbors: float, num_types: int = 1, seed: int = 0) -> Beads:
    """Return a disordered lattice with so many neighbours, periodic if its box allows the cutoff."""
    rng = np.random.default_rng(seed)
    side = (count * 4 / 3 * np.pi * cutoff**3 / neighbors) ** (1 / 3)
    cells = int(np.ceil(count ** (1 / 3)))
    sites = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 3)
    sites = (
        sites[rng.permutation(len(sites))[:count]] if count < 1000 else sites[:: max(1, len(sites) // count)][:count]
    )
    positions = (sites + rng.uniform(-0.3, 0.3, (count, 3))) * side / cells
    return Beads(positions, rng.integers(0, num_types, count), np.eye(3) * side if side > 2 * cutoff else None)


class Baseline:
    """One way to evaluate a potential in torch.

    Parameters
    ----------
    model : Potential
        A SchNet, or a MomentTensor with one bead type.
    threads : int
        Of the OpenMM platform; torch's own are set by `measure`.
    """

    def __init__(self, model: Potential, threads: int = 1) -> None:
        self.model = model.float().requires_grad_(False)
        self.threads = threads

    def prepare(self, system: Beads) -> None:
        """Compile, and build the neighbour list."""
        raise NotImplementedError

    def evaluate(self) -> tuple[float, np.ndarray]:
        """Return the energy in kJ/mol and the forces, shape (N, 3), in kJ/mol/nm."""
        raise NotImplementedError

    def run(self, steps: int) -> None:
        """Do `steps` evaluations of energy and forces, or steps of dynamics."""
        for _ in range(steps):
            self.evaluate()

    def time(self, seconds: float = 2.0) -> float:
        """Return the seconds of one evaluation, the minimum of some rounds that take about `seconds` together."""
        self.run(3)
        start = time.perf_counter()
        self.run(1)
        steps = max(1, int(seconds / ROUNDS / (time.perf_counter() - start)))
        best = np.inf
        for _ in range(ROUNDS):
            start = time.perf_counter()
            self.run(steps)
            best = min(best, (time.perf_counter() - start) / steps)
        return best


class PairEnergy(torch.nn.Module):
    """The energy of displacements of given pairs."""

    def __init__(self, model: Potential) -> None:
        super().__init__()
        self.model = model

    def forward(self, displacements: Tensor, first: Tensor, second: Tensor, types: Tensor) -> Tensor:
        """Return the energy in kJ/mol; see Potential.bead_energies."""
        return self.model.bead_energies(displacements, first, second, types).sum()


def frozen(model: Potential) -> torch.jit.ScriptModule:
    """Return the energy of pairs as frozen TorchScript."""
    return torch.jit.freeze(torch.jit.script(PairEnergy(model)).eval())


class TorchScript(Baseline):
    """Frozen, pair-optimised TorchScript with its neighbour list given."""

    def prepare(self, system: Beads) -> None:
        """See Baseline."""
        self.energy = frozen(self.model)
        self.first, self.second, shifts = system.pairs(self.model.cutoff)
        self.shifts = shifts.float()
        self.positions = torch.from_numpy(system.positions).float()
        self.types = torch.from_numpy(system.types).long()

    def evaluate(self) -> tuple[float, np.ndarray]:
        """See Baseline."""
        x = self.positions
        d = x.index_select(0, self.second) - x.index_select(0, self.first) + self.shifts
        return evaluate_pairs(self.energy, d, self.first, self.second, self.types)


def evaluate_pairs(
    energy: Callable[..., Tensor], d: Tensor, first: Tensor, second: Tensor, types: Tensor
) -> tuple[float, np.ndarray]:
    """Return energy and forces by backpropagation to the displacements."""
    d.requires_grad_()
    value = energy(d, first, second, types)
    (slope,) = torch.autograd.grad(value, d)
    forces = torch.zeros(types.shape[0], 3, dtype=slope.dtype)
    return value.item(), forces.index_add_(0, first, slope).index_add_(0, second, slope, alpha=-1).numpy()


class VerletComputation:
    """The callable of a PythonForce: a frozen model with a Verlet list of pairs."""

    def __init__(self, model: Potential, system: Beads) -> None:
        self.energy, self.cutoff, self.system = frozen(model), model.cutoff, system
        self.types = torch.from_numpy(system.types).long()
        self.skin = SKIN * self.cutoff
        if system.box is not None:
            self.skin = min(self.skin, 0.499 * system.box.diagonal().min() - self.cutoff)
        self.listed: np.ndarray | None = None

    def __call__(self, state: openmm.State) -> tuple[float, np.ndarray]:
        """Return the energy in kJ/mol and the forces in kJ/mol/nm."""
        x = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        if self.listed is None or np.square(x - self.listed).sum(1).max() > (0.5 * self.skin) ** 2:
            self.first, self.second, self.shifts = Beads(x, self.system.types, self.system.box).pairs(
                self.cutoff + self.skin
            )
            self.listed = x.copy()
        positions = torch.from_numpy(x)
        d = positions.index_select(0, self.second) - positions.index_select(0, self.first) + self.shifts
        near = (d.square().sum(1) < self.cutoff**2).nonzero().squeeze(1)
        d, first, second = (t.index_select(0, near) for t in (d, self.first, self.second))
        return evaluate_pairs(self.energy, d.float(), first, second, self.types)


class PythonForce(Baseline):
    """The same in an OpenMM step of Langevin dynamics on the CPU platform."""

    def prepare(self, system: Beads) -> None:
        """See Baseline."""
        openmm_system = openmm.System()
        for _ in system.positions:
            openmm_system.addParticle(50.0)
        force = openmm.PythonForce(VerletComputation(self.model, system))
        if system.box is not None:
            openmm_system.setDefaultPeriodicBoxVectors(*system.box)
            force.setUsesPeriodicBoundaryConditions(True)
        openmm_system.addForce(force)
        integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.002)
        platform = openmm.Platform.getPlatformByName("CPU")
        self.context = openmm.Context(openmm_system, integrator, platform, {"Threads": str(self.threads)})
        self.context.setPositions(system.positions)

    def evaluate(self) -> tuple[float, np.ndarray]:
        """See Baseline."""
        state = self.context.getState(energy=True, forces=True)
        forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
        return state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole), forces

    def run(self, steps: int) -> None:
        """See Baseline."""
        self.context.getIntegrator().step(steps)


class Functional(Baseline):
    """Energy and forces as one graph of positions, for a compiler."""

    tabulated = False

    def prepare(self, system: Beads) -> None:
        """See Baseline."""
        if self.tabulated and isinstance(self.model, SchNet):
            tabulate(self.model)
        first, second, shifts = system.pairs(self.model.cutoff)
        types = torch.from_numpy(system.types).long()
        self.positions = torch.from_numpy(system.positions).float()
        self.lists = [first, second, shifts.float(), types]
        if isinstance(self.model, MomentTensor):
            self.lists += momenttensor.neighbor_rows(first, second, len(types))
        traced = torch.fx.experimental.proxy_tensor.make_fx(torch.func.grad_and_value(self._energy))
        with torch.no_grad():
            self.compiled = self.compile(traced(self.positions, *self.lists))
            self.evaluate()

    def _energy(self, x: Tensor, first: Tensor, second: Tensor, shifts: Tensor, types: Tensor, *rows: Tensor) -> Tensor:
        d = x.index_select(0, second) - x.index_select(0, first) + shifts
        # The number of neighbours of a row is data, which no compiler takes: the rows are inputs here.
        with mock.patch.object(momenttensor, "neighbor_rows", return_value=rows):
            return self.model.bead_energies(d, first, second, types).sum()

    def compile(self, graph: torch.fx.GraphModule) -> Callable[..., Any]:
        """Return what evaluates the graph of (gradient, energy)."""
        raise NotImplementedError

    def evaluate(self) -> tuple[float, np.ndarray]:
        """See Baseline."""
        with torch.inference_mode():
            gradient, energy = self.compiled(self.positions, *self.lists)
        return energy.item(), -gradient.numpy()


class AOTInductor(Functional):
    """Compiled ahead of time, exact filters: what can be deployed without Python."""

    def compile(self, graph: torch.fx.GraphModule) -> Callable[..., Any]:
        """See Functional."""
        program = torch.export.export(graph, (self.positions, *self.lists))
        self.folder = tempfile.TemporaryDirectory()
        package = str(pathlib.Path(self.folder.name) / "model.pt2")
        return torch._inductor.aoti_load_package(
            torch._inductor.aoti_compile_and_package(program, package_path=package)
        )


class Compiled(Functional):
    """torch.compile of the functional gradient, tabulated filters."""

    tabulated = True

    def compile(self, graph: torch.fx.GraphModule) -> Callable[..., Any]:
        """See Functional."""
        return torch.compile(graph, fullgraph=True, dynamic=False, options=INDUCTOR)


def tabulate(model: SchNet) -> None:
    """Replace a SchNet's filters by cubic polynomials on a grid, one row of a table for each interval and block."""
    knots = torch.linspace(0.0, model.cutoff, INTERVALS + 1, dtype=torch.float64)
    tables = []
    for filters in model.double().exact_filters(knots):
        polynomials = CubicSpline(knots.numpy(), filters.numpy(), bc_type=("not-a-knot", "clamped")).c
        scales = (model.cutoff / INTERVALS) ** np.arange(3, -1, -1)
        tables.append(torch.from_numpy(polynomials * scales[:, None, None]).float().transpose(0, 1).contiguous())
    model.float()

    def evaluate_filters(distances: Tensor) -> list[Tensor]:
        scaled = distances * (INTERVALS / model.cutoff)
        interval = scaled.detach().floor().clamp(0, INTERVALS - 1)
        u = (scaled - interval).unsqueeze(1)
        filters = []
        for table in tables:
            c3, c2, c1, c0 = table.index_select(0, interval.long()).unbind(1)
            filters.append(((c3 * u + c2) * u + c1) * u + c0)
        return filters

    model.evaluate_filters = evaluate_filters  # type: ignore[method-assign]


BASELINES: dict[str, type[Baseline]] = {
    "torchscript": TorchScript,
    "pythonforce": PythonForce,
    "aotinductor": AOTInductor,
    "compiled": Compiled,
}


def measure(
    name: str,
    model: Potential,
    system: Beads,
    threads: int = 1,
    seconds: float = 2.0,
    environment: dict[str, str] = MALLOC,
) -> dict[str, Any]:
    """Time a baseline in a process of its own.

    Parameters
    ----------
    name : str
        A key of BASELINES.
    model : Potential
    system : Beads
    threads : int
    seconds : float
        About how long to measure.
    environment : dict
        Environment variables to add.

    Returns
    -------
    dict
        ``milliseconds`` of one evaluation, ``prepare_seconds``, ``energy``, and ``force_error``, relative to the root
        mean square of the exact forces in float64.
    """
    with tempfile.TemporaryDirectory() as folder:
        job, result = pathlib.Path(folder) / "job", pathlib.Path(folder) / "result"
        job.write_bytes(pickle.dumps((name, model, system, threads, seconds)))
        variables = {**os.environ, **environment, "OMP_NUM_THREADS": str(threads)}
        subprocess.run(
            [sys.executable, "-W", "ignore", __file__, "--job", str(job), str(result)], check=True, env=variables
        )
        return json.loads(result.read_text())


def do_job(job: pathlib.Path, result: pathlib.Path) -> None:
    """Do what `measure` asks for, in this process."""
    name, model, system, threads, seconds = pickle.loads(job.read_bytes())
    torch.set_num_threads(threads)
    first, second, shifts = system.pairs(model.cutoff)
    positions = torch.from_numpy(system.positions)
    d = positions[second] - positions[first] + shifts
    exact = pair_forces(model.double().requires_grad_(False), d, first, second, torch.from_numpy(system.types)).numpy()
    baseline = BASELINES[name](model, threads)
    start = time.perf_counter()
    baseline.prepare(system)
    prepared = time.perf_counter() - start
    energy, forces = baseline.evaluate()
    error = float(np.sqrt(np.mean(np.square(forces - exact)) / np.mean(np.square(exact))))
    milliseconds = 1e3 * baseline.time(seconds)
    result.write_text(
        json.dumps({"milliseconds": milliseconds, "prepare_seconds": prepared, "energy": energy, "force_error": error})
    )


def make_model(family: str, num_types: int) -> Potential:
    """Return a random network of the usual size."""
    torch.manual_seed(0)
    return SchNet(num_types, 0.9) if family == "schnet" else MomentTensor(1, 0.45)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=["schnet", "moments"], default="schnet")
    parser.add_argument("--beads", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--neighbors", type=float, default=45.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--baselines", nargs="+", choices=BASELINES, default=list(BASELINES))
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--job", type=pathlib.Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        do_job(*arguments.job)
        return
    results = []
    print(f"{'baseline':<14}{'beads':>7}{'pairs':>9}{'ms':>10}{'force error':>13}{'prepare (s)':>13}")
    for count in arguments.beads:
        model = make_model(arguments.family, 3)
        system = liquid(count, model.cutoff, arguments.neighbors, model.num_types)
        pairs = len(system.pairs(model.cutoff)[0])
        for name in arguments.baselines:
            found = measure(name, model, system, arguments.threads)
            results.append({"baseline": name, "family": arguments.family, "beads": count, "pairs": pairs, **found})
            print(
                f"{name:<14}{count:>7}{pairs:>9}{found['milliseconds']:>10.3f}{found['force_error']:>13.1e}"
                f"{found['prepare_seconds']:>13.1f}",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
