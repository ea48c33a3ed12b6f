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

from .cgpotential import TEMPERATURE_PARAMETER, CGPotential
from .modelfile import TOLERANCE, ModelFileError
from .potentials.base import Potential
from .potentials.bound import BoundModel, PeriodicBoundModel, PeriodicThermalBoundModel, ThermalBoundModel

CHECK_TEMPERATURE = 317.0
"""Temperature in K at which the two halves of a temperature-dependent model are compared."""

BOND_LENGTH = 0.4
"""Spacing in nm of the beads on which a model with bonded terms only is compared."""


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


def load(source: str | io.BytesIO | torch.nn.Module) -> torch.nn.Module:
    """Load a TorchScript archive, or return a module as it is."""
    if isinstance(source, torch.nn.Module):
        return source
    with _torch_jit():
        try:
            module: torch.nn.Module = torch.jit.load(source, map_location="cpu")  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if isinstance(source, str):
                raise ValueError(f"'{source}' is not a TorchScript archive: {error}") from None
            raise
    return module


def is_script(source: str | torch.nn.Module) -> bool:
    """Return whether the source is TorchScript already, so that other programs can run it without our Python."""
    return isinstance(source, str | torch.jit.ScriptModule)


def bind(source: str | torch.nn.Module, types: list[int], periodic: bool, thermal: bool) -> torch.nn.Module:
    """Return a module of the positions, the box vectors if periodic, and the temperature if thermal."""
    kinds = {
        (False, False): BoundModel,
        (True, False): PeriodicBoundModel,
        (False, True): ThermalBoundModel,
        (True, True): PeriodicThermalBoundModel,
    }
    return kinds[periodic, thermal](load(source), torch.tensor(types, dtype=torch.long))


class TorchComputation:
    """The callable of an ``openmm.PythonForce``: energy and forces of a bound model, of positions in float64.

    It holds the model itself, so a System that contains it can be pickled and sent elsewhere.

    Parameters
    ----------
    model : bytes or Module
        See `bind`, and `archive` for the bytes.
    periodic : bool
    parameters : list of str
        Names of the Context parameters that follow the positions and the box.
    """

    def __init__(self, model: bytes | torch.nn.Module, periodic: bool, parameters: list[str]) -> None:
        self.model = model
        self.periodic = periodic
        self.parameters = parameters
        self._loaded: torch.nn.Module | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}

    def __call__(self, state: openmm.State) -> tuple[float, np.ndarray]:
        """Return the energy in kJ/mol and the forces, shape (N, 3), in kJ/mol/nm."""
        if self._loaded is None:
            self._loaded = load(io.BytesIO(self.model) if isinstance(self.model, bytes) else self.model)
        positions = torch.from_numpy(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer).copy())
        arguments = [positions.requires_grad_(True)]
        if self.periodic:
            arguments.append(torch.from_numpy(state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)))
        arguments += [torch.tensor(state.getParameters()[name], dtype=torch.float64) for name in self.parameters]
        with torch.enable_grad():
            energy = self._loaded(*arguments)
        (gradient,) = torch.autograd.grad(energy, positions)
        return energy.item(), -gradient.numpy()


def make_force(
    source: str | torch.nn.Module, types: list[int], periodic: bool, temperature: float | None = None
) -> openmm.Force:
    """Return openmm-torch's TorchForce where that is installed and the source is TorchScript, else a PythonForce.

    Parameters
    ----------
    source : str or Module
        A TorchScript archive or a module, with the arguments of Potential.forward.
    types : list of int
    periodic : bool
    temperature : float, optional
        In K, the default of the Context parameter that the model gets; None if it gets no temperature.
    """
    bound = bind(source, types, periodic, temperature is not None)
    parameters = {} if temperature is None else {TEMPERATURE_PARAMETER: temperature}
    torch_force = _torch_force() if is_script(source) else None
    if torch_force is None:
        model = archive(bound) if is_script(source) else bound
        force = openmm.PythonForce(TorchComputation(model, periodic, list(parameters)), parameters)
        force.setName("Torch model through PythonForce")
    else:
        with _torch_jit():
            force = torch_force(torch.jit.script(bound))
        for name, value in parameters.items():
            force.addGlobalParameter(name, value)
        force.setName("Torch model through TorchForce")
    force.setUsesPeriodicBoundaryConditions(periodic)
    return force


def _torch_force() -> Any:
    """Return openmm-torch's class, or None if it is not installed."""
    try:
        import openmmtorch  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    return openmmtorch.TorchForce


def save_bound(
    source: str | torch.nn.Module, target: str | os.PathLike[str], types: list[int], periodic: bool, thermal: bool
) -> None:
    """Write a bound model as a TorchScript archive of its own."""
    content = archive(bind(source, types, periodic, thermal))
    with open(target, "wb") as file:
        file.write(content)


def check_halves(path: str) -> None:
    """Raise ModelFileError unless both halves of a model file agree on a random cluster of beads."""
    potential = CGPotential(path)
    positions, types = _random_cluster(potential)
    bonds = None if potential.bondGraph is None else potential.bondGraph.bonds
    temperature = CHECK_TEMPERATURE if potential.isTemperatureDependent else None

    system = openmm.System()
    for _ in types:
        system.addParticle(1.0)
    for force in potential.createForces(types, temperature, filters="exact", bonds=bonds):
        system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    context.setPositions(positions)
    state = context.getState(energy=True, forces=True)
    native = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    native_forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)

    x = torch.from_numpy(positions).requires_grad_(True)
    energy = load(path)(x, torch.tensor(types), None, temperature)
    (gradient,) = torch.autograd.grad(energy, x)
    forces, scripted = -gradient.numpy(), energy.item()

    scale = float(np.sqrt(np.mean(forces**2)))
    energy_error = abs(native - scripted) / max(abs(scripted), scale * max(potential.cutoff, BOND_LENGTH), 1e-300)
    force_error = float(np.abs(native_forces - forces).max()) / max(scale, 1e-300)
    # Written so that nan fails.
    if not (energy_error <= TOLERANCE and force_error <= TOLERANCE):
        raise ModelFileError(
            f"the TorchScript and the native half of the model disagree (limit {TOLERANCE:g}): relative difference of "
            f"energies {energy_error:.3g}, of forces {force_error:.3g}; nothing was written"
        )


def _random_cluster(potential: CGPotential) -> tuple[np.ndarray, list[int]]:
    """Return a noisy lattice with at least two beads of each type, each with about 18 neighbours.

    If the model knows a bonded system, the beads are those of that system instead.
    """
    graph = potential.bondGraph
    side = max(3, int(np.ceil((2 * potential.numTypes if graph is None else len(graph.types)) ** (1 / 3))))
    spacing = 0.65 * min((c.cutoff for c in potential.components if c.cutoff > 0), default=BOND_LENGTH)
    random = np.random.default_rng(2718)
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    positions = spacing * (grid + random.uniform(-0.15, 0.15, grid.shape))
    if graph is not None:
        return positions[: len(graph.types)], list(graph.types)
    return positions, [int(t) for t in random.permutation(len(grid)) % potential.numTypes]
