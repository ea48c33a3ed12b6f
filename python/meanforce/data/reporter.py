# SPDX-License-Identifier: MIT
"""Mapping to beads inside an OpenMM run."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import openmm
from openmm import unit

from ..gle import GLEIntegrator
from ..mapping import Mapping, StochasticMapping
from .frames import FRAMES_PER_CHUNK
from .h5md import Writer

HALF_STEP_EARLY = (
    openmm.VerletIntegrator,
    openmm.LangevinIntegrator,
    openmm.LangevinMiddleIntegrator,
    openmm.NoseHooverIntegrator,
    openmm.DPDIntegrator,
)
"""OpenMM's integrators of leapfrog type with a fixed step h: with positions at time t they hold velocities at t - h/2.

GLEIntegrator is another. Of integrators whose steps vary or are made of others (VariableVerlet, VariableLangevin,
Custom, Compound) nothing is assumed.
"""


class CGReporter:
    """OpenMM reporter that maps positions, velocities and forces to beads during a run and writes H5MD.

    Parameters
    ----------
    path
        The file. Frames reach it in blocks; `flush` (call it next to saving a checkpoint) or `close` writes the rest.
    reportInterval
        Steps between frames.
    mapping
        From the simulated particles to the recorded beads, with the force map that it carries. `Mapping.identity`
        records a coarse-grained run as it is; the noise of a `StochasticMapping` depends on its seed and the step.
    positions, velocities, forces
        What to record.
    append
        Go on with the file of an interrupted run. Frames later than the step the simulation restarts from are dropped,
        so no frame is recorded twice.

    Raises
    ------
    ValueError
        If nothing is to be recorded, a constraint biases the mapped forces, or an appended file does not fit.
    """

    def __init__(
        self,
        path: str | Path,
        reportInterval: int,
        mapping: Mapping | StochasticMapping,
        positions: bool = True,
        velocities: bool = True,
        forces: bool = True,
        append: bool = False,
    ) -> None:
        self._interval = int(reportInterval)
        if self._interval < 1:
            raise ValueError(f"`reportInterval` must be at least 1, got {reportInterval}")
        wanted = {"position": positions, "velocity": velocities, "force": forces}
        self._recorded = [name for name, flag in wanted.items() if flag]
        if not self._recorded:
            raise ValueError("nothing to record: positions, velocities and forces are all False")
        if forces:
            mapping.require_forces()
        if velocities and isinstance(mapping, StochasticMapping):
            raise ValueError("beads with noise have no velocities; give velocities=False")
        self._mapping = mapping
        self._pending: list[dict[str, np.ndarray]] = []
        self._started = False
        self._writer = Writer(path, mapping, self._recorded, append)

    def describeNextReport(self, simulation: Any) -> dict[str, Any]:
        """Say when the next frame is due and what it needs (OpenMM's reporter protocol)."""
        if not self._started:
            self._start(simulation)
        steps = self._interval - simulation.currentStep % self._interval
        # Positions always: forces of beads may depend on them. Unwrapped, so that molecules stay whole and
        # displacements can be followed.
        include = {"position": "positions", "velocity": "velocities", "force": "forces"}
        wanted = {"positions", *(include[name] for name in self._recorded)}
        return {"steps": steps, "periodic": False, "include": sorted(wanted)}

    def report(self, simulation: Any, state: Any) -> None:
        """Record one frame (OpenMM's reporter protocol).

        Raises
        ------
        ValueError
            If a position, velocity or force is not finite.
        """
        box = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)
        x = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        velocities = forces = None
        if "velocity" in self._recorded:
            velocities = state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond)[None]
        if "force" in self._recorded:
            forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)[None]
        boxes = box[None] if self._periodic(simulation) else None
        beads = self._mapping.project(x[None], boxes, velocities, forces, [simulation.currentStep])
        found = {"position": beads.positions, "velocity": beads.velocities, "force": beads.forces}
        frame = {"box/edges": box, **{name: np.asarray(found[name])[0] for name in self._recorded}}
        for name, values in frame.items():
            if not np.all(np.isfinite(values)):
                raise ValueError(f"the {name} of the frame at step {simulation.currentStep} is not finite")
        frame["step"] = np.array(simulation.currentStep)
        frame["time"] = np.array(state.getTime().value_in_unit(unit.picosecond))
        self._pending.append(frame)
        if len(self._pending) >= FRAMES_PER_CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write all frames recorded so far to the disk."""
        names = ["step", "time", "box/edges", *self._recorded]
        stacked = {name: np.array([frame[name] for frame in self._pending]) for name in names}
        self._writer.write(stacked.pop("step"), stacked.pop("time"), stacked)
        self._pending.clear()

    def close(self) -> None:
        """Write what is left and close the file."""
        if self._writer:
            self.flush()
            self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_writer", None):
            self.close()

    @staticmethod
    def _periodic(simulation: Any) -> bool:
        return bool(simulation.system.usesPeriodicBoundaryConditions())

    def _start(self, simulation: Any) -> None:
        """Drop frames of an abandoned future and note what only the simulation knows."""
        self._started = True
        steps = self._writer.beads["box/edges/step"][:]
        self._writer.truncate(int(np.searchsorted(steps, simulation.currentStep, side="right")))
        self._writer.set_boundary(self._periodic(simulation))
        if "velocity" in self._recorded:
            attributes = self._writer.beads["velocity"].attrs
            offset = _velocity_time_offset(simulation.integrator)
            if offset is not None:
                attributes["velocity_time_offset"] = offset
            elif "velocity_time_offset" in attributes:  # of the run that is continued
                del attributes["velocity_time_offset"]


def _velocity_time_offset(integrator: openmm.Integrator) -> float | None:
    """Return the time of an integrator's velocities minus that of its positions, in ps; None if it is not known."""
    if isinstance(integrator, HALF_STEP_EARLY) or GLEIntegrator.isinstance(integrator):
        return -0.5 * float(integrator.getStepSize().value_in_unit(unit.picosecond))
    return None
