# SPDX-License-Identifier: MIT
"""What the iterative methods sample with: a model in, configurations of its equilibrium out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import openmm
from numpy.typing import ArrayLike
from openmm import unit

from .. import modelfile
from .._openmm import strip_units
from .._plugins import find_platform
from .._torchscript import frozen_copy
from ..cgpotential import CGPotential
from ..data import Frames, Trajectory
from ..potentials import Potential, energies_and_forces
from ..structure import GAS_CONSTANT

VOLUME_STEP = 1e-4
"""Relative change of lengths by which the derivative of the energy with respect to volume is taken."""

PRESSURE_UNIT = 16.6053906717
"""1 kJ/mol/nm^3 in bar."""


@dataclass(frozen=True)
class Sample:
    """Configurations of one model, copy after copy, each copy in the order of time.

    Attributes
    ----------
    positions : (n_frames, n, 3)
        In nm.
    box : (3, 3) or None
        Box vectors in nm.
    types : (n,)
    temperature : float
        In K.
    """

    positions: np.ndarray
    box: np.ndarray | None
    types: np.ndarray
    temperature: float

    def pressure(self, model: Potential, every: int = 1) -> tuple[float, float]:
        """Return the virial pressure of a model on these configurations and its standard error, in bar.

        P V = n kT - <dU/dln V>, the derivative by scaling all positions with the box.

        Parameters
        ----------
        model
            The whole model that was sampled.
        every
            Use every so many configurations.

        Raises
        ------
        ValueError
            If there is no box.
        """
        if self.box is None:
            raise ValueError("without a periodic box there is no pressure")
        x = self.positions[::every]
        scaled = [
            energies_and_forces(model, s * x, self.types, s * self.box, self.temperature, forces=False)[0]
            for s in (1 + VOLUME_STEP, 1 - VOLUME_STEP)
        ]
        slopes = (scaled[0] - scaled[1]) / (2 * VOLUME_STEP) / 3  # dU/dln V
        volume = float(np.linalg.det(self.box))
        kT = GAS_CONSTANT * self.temperature
        values = (x.shape[1] * kT - slopes) / volume * PRESSURE_UNIT
        means = np.array([part.mean() for part in np.array_split(values, min(10, len(values)))])
        error = means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else np.nan
        return float(values.mean()), float(error)


class Sampler(Protocol):
    """Draws configurations from exp(-U/kT) of any model; the iterative methods know no more of it."""

    temperature: float
    box: np.ndarray | None
    types: np.ndarray

    def sample(self, model: Potential) -> Sample:
        """Return configurations of a model."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Return what the next sample depends on besides the model."""
        ...

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `state` returned."""
        ...


class OpenMMSampler:
    """Langevin dynamics in OpenMM with the model's native forces, many copies of the system in one Context.

    Each sample goes on from the last configurations of the one before, with new velocities. Its random numbers depend
    on the seed and on how many samples came before, so a run that was stopped and restored repeats itself.

    Parameters
    ----------
    positions : array_like
        Starting positions, shape (n, 3), or (replicas, n, 3) for a start of each copy, in nm.
    temperature : float or Quantity
        In K.
    box : array_like, optional
        Box vectors, shape (3, 3), in nm; without it the system is open.
    types : array_like, optional
        Type of each bead, shape (n,); 0 by default.
    masses : array_like or float
        Of the beads, in dalton. They have no influence on what is sampled, only on how fast.
    bonds : sequence of (int, int)
        The bonded beads of one copy.
    replicas : int
        Copies that are simulated together.
    time_step, friction : float
        In ps and 1/ps.
    equilibration, production, interval : float
        In ps: what is thrown away of each sample, what is kept, and the time between its configurations.
    platform : str
        Name of an OpenMM platform, ``"auto"`` for the fastest.
    threads : int, optional
        Of the CPU platform.
    seed : int
        Of velocities and of the integrator.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes disagree.
    """

    def __init__(
        self,
        positions: ArrayLike,
        temperature: Any,
        *,
        box: ArrayLike | None = None,
        types: ArrayLike | None = None,
        masses: ArrayLike = 18.015,
        bonds: Sequence[Sequence[int]] = (),
        replicas: int = 1,
        time_step: float = 0.002,
        friction: float = 2.0,
        equilibration: float = 5.0,
        production: float = 20.0,
        interval: float = 0.1,
        platform: str = "auto",
        threads: int | None = None,
        seed: int = 1,
    ) -> None:
        x = np.asarray(strip_units(positions, unit.nanometer), dtype=float)
        if x.ndim not in (2, 3) or x.shape[-1] != 3 or (x.ndim == 3 and len(x) != replicas):
            raise ValueError(f"`positions` must have shape (n, 3) or ({replicas}, n, 3), got {x.shape}")
        if replicas < 1:
            raise ValueError(f"`replicas` must be at least 1, got {replicas}")
        for name, value in (("time_step", time_step), ("friction", friction), ("interval", interval)):
            if not value > 0:
                raise ValueError(f"`{name}` must be positive, got {value}")
        if not (production >= interval >= time_step and equilibration >= 0):
            raise ValueError(
                f"`time_step` <= `interval` <= `production` and `equilibration` >= 0 must hold, got {time_step}, "
                f"{interval}, {production} and {equilibration} ps"
            )
        self._positions = np.array(np.broadcast_to(x, (replicas, *x.shape[-2:])))
        n = x.shape[-2]
        self.temperature = float(strip_units(temperature, unit.kelvin))
        self.box = None if box is None else np.asarray(strip_units(box, unit.nanometer), dtype=float)
        self.types = np.zeros(n, dtype=int) if types is None else np.asarray(types, dtype=int)
        if self.types.shape != (n,):
            raise ValueError(f"`types` must have shape ({n},), got {self.types.shape}")
        self.masses = np.array(np.broadcast_to(np.asarray(strip_units(masses, unit.dalton), dtype=float), (n,)))
        self.bonds = [(int(i), int(j)) for i, j in bonds]
        self.replicas, self.time_step, self.friction = int(replicas), float(time_step), float(friction)
        self.equilibration, self.production, self.interval = float(equilibration), float(production), float(interval)
        self._platform = find_platform(platform)
        self._threads, self._seed = threads, int(seed)
        self._samples = 0

    @classmethod
    def from_frames(cls, frames: Frames | Trajectory, temperature: Any, replicas: int = 1, **settings: Any) -> Self:
        """Return a sampler of the beads of a trajectory, each copy starting from another of its frames.

        Parameters
        ----------
        frames
            With the box of its first frame, the types and, if there are any, the masses.
        temperature, replicas, settings
            As for the class.
        """
        chosen = np.linspace(0, len(frames) - 1, replicas).astype(int) if replicas > 1 else np.array([len(frames) - 1])
        starts = np.stack([np.asarray(frames.positions[int(k)], dtype=float) for k in chosen])
        if frames.box is not None:
            settings.setdefault("box", np.asarray(frames.box[0]))
        if frames.masses is not None:
            settings.setdefault("masses", np.asarray(frames.masses))
        return cls(starts, temperature, types=np.asarray(frames.types), replicas=replicas, **settings)

    def sample(self, model: Potential) -> Sample:
        """Return configurations of a model.

        Raises
        ------
        ValueError
            If the simulation becomes unstable; the message says after how long.
        """
        context = self._context(model)
        context.setPositions(self._positions.reshape(-1, 3))
        if self._samples == 0:  # the start may be a lattice, or frames of a softer model
            openmm.LocalEnergyMinimizer.minimize(context, 100.0, 100)
        context.setVelocitiesToTemperature(self.temperature, self._seed_of(0))
        between = max(1, round(self.interval / self.time_step))
        self._advance(context, round(self.equilibration / self.time_step), 0.0)
        frames = []
        for k in range(round(self.production / self.interval)):
            self._advance(context, between, self.equilibration + k * self.interval)
            frames.append(_positions(context).reshape(self._positions.shape))
        self._positions = frames[-1]
        self._samples += 1
        copies_first = np.swapaxes(np.array(frames), 0, 1)
        return Sample(copies_first.reshape(-1, *copies_first.shape[2:]), self.box, self.types, self.temperature)

    def state(self) -> dict[str, np.ndarray]:
        """Return what the next sample depends on besides the model."""
        return {"positions": self._positions.copy(), "samples": np.array(self._samples)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `state` returned.

        Raises
        ------
        ValueError
            If it is the state of another system.
        """
        if np.shape(state["positions"]) != self._positions.shape:
            raise ValueError(
                f"the state is that of {np.shape(state['positions'])} positions, not of {self._positions.shape}"
            )
        self._positions, self._samples = np.array(state["positions"]), int(state["samples"])

    def _context(self, model: Potential) -> openmm.Context:
        system = openmm.System()
        for mass in np.tile(self.masses, self.replicas):
            system.addParticle(mass)
        if self.box is not None:
            system.setDefaultPeriodicBoxVectors(*(openmm.Vec3(*row) for row in self.box))
        potential = native_potential(model)
        forces = potential.createForces(
            self.types.tolist(), self.temperature, self.box is not None, replicas=self.replicas, bonds=self.bonds
        )
        for force in forces:
            system.addForce(force)
        integrator = openmm.LangevinMiddleIntegrator(self.temperature, self.friction, self.time_step)
        integrator.setRandomNumberSeed(self._seed_of(1))
        names = self._platform.getPropertyNames()
        properties = {"Precision": "mixed"} if "Precision" in names else {}
        if self._threads is not None and "Threads" in names:
            properties["Threads"] = str(self._threads)
        return openmm.Context(system, integrator, self._platform, properties)

    def _seed_of(self, stream: int) -> int:
        """Return a seed between 1 and 2^31 - 1: to OpenMM 0 is a fresh one."""
        return 1 + int(np.random.SeedSequence((self._seed, self._samples, stream)).generate_state(1)[0]) % (2**31 - 2)

    def _advance(self, context: openmm.Context, steps: int, start: float) -> None:
        try:
            context.getIntegrator().step(steps)
            unstable = not np.all(np.isfinite(_positions(context)))
        except openmm.OpenMMException as error:
            if "NaN" not in str(error) and "finite" not in str(error):
                raise
            unstable = True
        if unstable:
            raise ValueError(
                f"the simulation of the model became unstable between {start:.3g} and "
                f"{start + steps * self.time_step:.3g} ps: a smaller `time_step` than {self.time_step} ps, or a model "
                "with a steeper core"
            )


def native_potential(model: Potential) -> CGPotential:
    """Return a torch model as a CGPotential with its native half only, without the checks and time of an export."""
    description, tensors = modelfile.describe(frozen_copy(model))
    handle, name = tempfile.mkstemp(suffix=".pt")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(modelfile.add_native_half(b"", description, tensors))
        return CGPotential(name)
    finally:
        Path(name).unlink()


def _positions(context: openmm.Context) -> np.ndarray:
    return np.asarray(context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer))
