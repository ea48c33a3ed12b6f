# SPDX-License-Identifier: MIT
"""What needs torch about model.pt: making its TorchScript half, checking it, binding it to bead types, running it."""

from __future__ import annotations

import copy
import io
import os
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import openmm
import torch
from openmm import unit

from .cgpotential import CGPotential
from .modelfile import TOLERANCE, ModelFileError
from .potentials.base import Potential
from .potentials.bound import BoundModel, PeriodicBoundModel


@contextmanager
def _torch_jit() -> Iterator[None]:
    """Silence torch.jit's announcement that it is deprecated: model.pt's native half outlives it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        yield


def frozen_copy(model: Potential) -> Potential:
    """Return a copy of the model on the CPU, in float64, whose parameters need no gradients."""
    if not isinstance(model, Potential):
        raise TypeError(f"model must be a meanforce.potentials.Potential, got {type(model).__name__}")
    return copy.deepcopy(model).cpu().double().eval().requires_grad_(False)


def archive(model: torch.nn.Module) -> bytes:
    """Return the TorchScript archive of a module, without the debugging records, which hold paths of source files."""
    buffer, clean = io.BytesIO(), io.BytesIO()
    with _torch_jit():
        torch.jit.save(torch.jit.script(model), buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(clean, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                target.writestr(zipfile.ZipInfo(entry.filename), source.read(entry))
    return clean.getvalue()


def load(source: str | io.BytesIO) -> torch.nn.Module:
    """Load a TorchScript archive."""
    with _torch_jit():
        module: torch.nn.Module = torch.jit.load(source, map_location="cpu")  # type: ignore[no-untyped-call]
    return module


def bind(path: str, types: list[int], periodic: bool) -> torch.nn.Module:
    """Return a module of the positions, and the box vectors if periodic, for beads of given types."""
    kind = PeriodicBoundModel if periodic else BoundModel
    return kind(load(path), torch.tensor(types, dtype=torch.long))


class TorchScriptComputation:
    """The callable of an ``openmm.PythonForce``: energy and forces of a bound TorchScript archive, in float64.

    It holds the archive itself, so a System that contains it can be pickled and sent elsewhere.

    Parameters
    ----------
    content : bytes
        See `bind` and `archive`.
    periodic : bool
    """

    def __init__(self, content: bytes, periodic: bool) -> None:
        self.content = content
        self.periodic = periodic
        self._model: torch.nn.Module | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"content": self.content, "periodic": self.periodic, "_model": None}

    def __call__(self, state: openmm.State) -> tuple[float, np.ndarray]:
        """Return the energy in kJ/mol and the forces, shape (N, 3), in kJ/mol/nm."""
        if self._model is None:
            self._model = load(io.BytesIO(self.content))
        positions = torch.from_numpy(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer).copy())
        arguments = [positions.requires_grad_(True)]
        if self.periodic:
            arguments.append(torch.from_numpy(state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)))
        with torch.enable_grad():
            energy = self._model(*arguments)
        (gradient,) = torch.autograd.grad(energy, positions)
        return energy.item(), -gradient.numpy()


def make_force(path: str, types: list[int], periodic: bool) -> openmm.Force:
    """Return openmm-torch's TorchForce where that is installed, else a PythonForce."""
    bound = bind(path, types, periodic)
    try:
        import openmmtorch  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        force = openmm.PythonForce(TorchScriptComputation(archive(bound), periodic))
    else:
        with _torch_jit():
            force = openmmtorch.TorchForce(torch.jit.script(bound))
    force.setUsesPeriodicBoundaryConditions(periodic)
    force.setName("TorchScript potential")
    return force


def save_bound(path: str, target: str | os.PathLike[str], types: list[int], periodic: bool) -> None:
    """Write a bound model as a TorchScript archive of its own."""
    content = archive(bind(path, types, periodic))
    with open(target, "wb") as file:
        file.write(content)


def check_halves(path: str) -> None:
    """Raise ModelFileError unless both halves of a model file agree on a random cluster of beads."""
    potential = CGPotential(path)
    positions, types = _random_cluster(potential)

    system = openmm.System()
    for _ in types:
        system.addParticle(1.0)
    for force in potential.createForces(types):
        system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    context.setPositions(positions)
    state = context.getState(energy=True, forces=True)
    native = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    native_forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)

    x = torch.from_numpy(positions).requires_grad_(True)
    energy = load(path)(x, torch.tensor(types))
    (gradient,) = torch.autograd.grad(energy, x)
    forces, scripted = -gradient.numpy(), energy.item()

    scale = float(np.sqrt(np.mean(forces**2)))
    energy_error = abs(native - scripted) / max(abs(scripted), scale * potential.cutoff, 1e-300)
    force_error = float(np.abs(native_forces - forces).max()) / max(scale, 1e-300)
    # Written so that nan fails.
    if not (energy_error <= TOLERANCE and force_error <= TOLERANCE):
        raise ModelFileError(
            f"the TorchScript and the native half of the model disagree (limit {TOLERANCE:g}): relative difference of "
            f"energies {energy_error:.3g}, of forces {force_error:.3g}; nothing was written"
        )


def _random_cluster(potential: CGPotential) -> tuple[np.ndarray, list[int]]:
    """Return a noisy lattice with at least two beads of each type, each with about 18 neighbours."""
    side = max(3, int(np.ceil((2 * potential.numTypes) ** (1 / 3))))
    spacing = 0.65 * min(component.cutoff for component in potential.components)
    random = np.random.default_rng(2718)
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    positions = spacing * (grid + random.uniform(-0.15, 0.15, grid.shape))
    return positions, [int(t) for t in random.permutation(len(grid)) % potential.numTypes]
