# SPDX-License-Identifier: MIT
"""The best that torch can do with a potential: what potentials.py compares the native forces with.

| baseline | what runs |
|---|---|
| `torchscript` | the frozen TorchScript model with its neighbour list given: each pair's filters once, exact filters |
| `pythonforce` | the same in an OpenMM step of Langevin dynamics, through PythonForce with a Verlet list |
| `aotinductor` | energy and forces traced to one graph, exact filters, compiled ahead of time by AOTInductor |
| `compiled` | the same with tabulated filters, by torch.compile: the strongest |

They are meant for a process of their own, with `ENVIRONMENT` and torch's number of threads set. The last two are
compiled for one number of beads and pairs; a real simulation would have to pad its neighbour list.
"""

from __future__ import annotations

import pathlib
import tempfile
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

#: Keep freed memory: never mmap a tensor, never trim the heap, grow it in large pieces, ask for huge pages.
ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(64 << 20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
INTERVALS = 1024  # of tabulated filters
INDUCTOR = {"cpp_wrapper": True}  # for torch.compile: halves the time of 10 beads; freezing gains nothing more
SKIN = 0.1  # of the Verlet list, as a fraction of the cutoff
TEMPERATURE, FRICTION, STEP, MASS = 300.0, 1.0, 0.002, 50.0  # of Langevin dynamics, in OpenMM's units


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
    """Return a disordered lattice with so many neighbours per bead, periodic if its box allows the cutoff.

    A smaller system is a droplet, whose beads have so many neighbours on average, or all others if they are too few.
    """
    rng = np.random.default_rng(seed)
    types = rng.integers(0, num_types, count)
    side = (count * 4 / 3 * np.pi * cutoff**3 / neighbors) ** (1 / 3)
    periodic = side > 2 * cutoff
    cells = int(np.ceil(count ** (1 / 3) - 1e-9))
    sites = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 3)
    # In the order of the lattice, so that neighbours lie near each other in memory.
    chosen = np.sort(rng.permutation(len(sites))[:count])
    if not periodic:
        chosen = np.argsort(np.square(sites - (cells - 1) / 2).sum(1), kind="stable")[:count]
    positions = (sites[chosen] + rng.uniform(-0.3, 0.3, (count, 3))) * side / cells
    if periodic:
        return Beads(positions, types, np.eye(3) * side)
    first, second = np.triu_indices(count, 1)
    distances = np.sort(np.linalg.norm(positions[second] - positions[first], axis=1))
    last = min(round(count * neighbors / 2), len(distances)) - 1
    return Beads(positions * (0.9999 * cutoff / distances[last]), types)


class Baseline:
    """One way to evaluate a potential in torch.

    Parameters
    ----------
    model : Potential
        A SchNet, or a MomentTensor with one bead type.
    threads : int
        Of the OpenMM platform.
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

    def reset(self) -> None:
        """Go back to the first positions."""


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
            openmm_system.addParticle(MASS)
        force = openmm.PythonForce(VerletComputation(self.model, system))
        if system.box is not None:
            openmm_system.setDefaultPeriodicBoxVectors(*system.box)
            force.setUsesPeriodicBoundaryConditions(True)
        openmm_system.addForce(force)
        integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, STEP)
        platform = openmm.Platform.getPlatformByName("CPU")
        self.context = openmm.Context(openmm_system, integrator, platform, {"Threads": str(self.threads)})
        self.positions = system.positions
        self.reset()

    def reset(self) -> None:
        """See Baseline."""
        self.context.setPositions(self.positions)
        self.context.setVelocitiesToTemperature(TEMPERATURE, 1)

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
