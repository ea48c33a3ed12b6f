# SPDX-License-Identifier: MIT
"""Run OpenMM for a stretch of time, recording beads, and measure what the demo's tables show."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from .. import memory, structure
from ..data import CGReporter, Trajectory
from ..mapping import Mapping
from ..report import Value, measured
from .stages import Advance

_CHUNK = 50  # steps between two looks at the progress bar and at Ctrl-C
BLOCKS = 5  # consecutive parts of a run, whose scatter gives standard errors
RDF_RANGE = 0.9  # nm
RDF_BINS = 180
VACF_RANGE = 2.0  # ps, over which velocity autocorrelations are compared


def make_simulation(
    topology: app.Topology, system: openmm.System, integrator: openmm.Integrator, platform: openmm.Platform
) -> app.Simulation:
    """Return a Simulation, in mixed precision where the platform has a choice."""
    properties = {"Precision": "mixed"} if "Precision" in platform.getPropertyNames() else {}
    return app.Simulation(topology, system, integrator, platform, properties)


def run_steps(simulation: app.Simulation, steps: int, advance: Advance) -> float:
    """Run `steps` steps and return the wall time in ms per step."""
    start = time.perf_counter()
    done = 0
    while done < steps:
        simulation.step(min(_CHUNK, steps - done))
        done = min(done + _CHUNK, steps)
        advance(done / steps)
    return 1e3 * (time.perf_counter() - start) / max(steps, 1)


def record(
    simulation: app.Simulation,
    mapping: Mapping,
    path: Path,
    picoseconds: float,
    interval: float,
    advance: Advance,
    forces: bool,
) -> float:
    """Record beads every `interval` ps for `picoseconds` ps and return the wall time in ms per step."""
    step = simulation.integrator.getStepSize().value_in_unit(unit.picosecond)
    with CGReporter(path, round(interval / step), mapping, forces=forces) as reporter:
        simulation.reporters.append(reporter)
        ms = run_steps(simulation, round(picoseconds / step), advance)
        simulation.reporters.remove(reporter)
    return ms


def jackknife(blocks: np.ndarray, quantity: Callable[[np.ndarray], float]) -> Value:
    """Return a quantity of the mean over blocks, with its jackknife standard error.

    Parameters
    ----------
    blocks : (n_blocks, ...)
        The same curve measured in consecutive blocks of a run.
    quantity : callable
        Maps such a curve to a number, linearly or not.
    """
    value, error = structure.jackknife(blocks, quantity)
    return measured(float(value), float(error))


@dataclass(frozen=True)
class Structure:
    """g(r) and the distribution of the angles between neighbours, each in `BLOCKS` consecutive blocks of a run.

    Attributes
    ----------
    r, theta : (bins,)
        Distances in nm and angles in radian.
    rdf_blocks, angle_blocks : (BLOCKS, bins)
        g(r), and the angle density per radian.
    """

    r: np.ndarray
    rdf_blocks: np.ndarray
    theta: np.ndarray
    angle_blocks: np.ndarray

    @classmethod
    def measure(cls, path: Path, interval: float = 0.1) -> Structure:
        """Measure the structure of a recorded run, using a frame about every `interval` ps."""
        with Trajectory(path) as trajectory:
            every = max(1, round(interval / trajectory.time_step))
            frames = trajectory[slice(None, None, every)]
        parts = [frames[part] for part in np.array_split(np.arange(len(frames)), BLOCKS)]
        rdfs = [structure.rdf(part.positions, part.box, RDF_RANGE, RDF_BINS) for part in parts]
        angles = [structure.angle_distribution(part.positions, part.box) for part in parts]
        return cls(rdfs[0].r, np.array([x.g for x in rdfs]), angles[0][0], np.array([p for _, p, _ in angles]))

    @property
    def rdf(self) -> structure.RDF:
        """g(r) of the whole run, with the standard error from the blocks."""
        return structure.RDF(self.r, self.rdf_blocks.mean(axis=0), _block_error(self.rdf_blocks))

    @property
    def angles(self) -> np.ndarray:
        """The angle density of the whole run, per radian."""
        return np.asarray(self.angle_blocks.mean(axis=0))

    @property
    def angles_error(self) -> np.ndarray:
        """Standard error of `angles`."""
        return _block_error(self.angle_blocks)

    def quantities(self, reference: Structure) -> dict[str, Value]:
        """Return peak, g(r) error and angle error against `reference`, with standard errors."""

        def as_rdf(g: np.ndarray) -> structure.RDF:
            return structure.RDF(self.r, g, np.zeros_like(g))

        found = {
            "peak_height": jackknife(self.rdf_blocks, lambda g: structure.first_peak(as_rdf(g))[0]),
            "peak_place": jackknife(self.rdf_blocks, lambda g: structure.first_peak(as_rdf(g))[1]),
        }
        if self is not reference:
            target = reference.rdf
            found["rdf_error"] = jackknife(self.rdf_blocks, lambda g: structure.rdf_error(as_rdf(g), target))
            found["angle_error"] = jackknife(
                self.angle_blocks, lambda p: structure.angle_distribution_error(p, reference.angles)
            )
        return found


def velocity_correlation(path: Path, max_time: float) -> memory.Correlation:
    """Return the normalised velocity autocorrelation of a recorded run, up to `max_time` ps."""
    with Trajectory(path) as trajectory:
        velocities = np.asarray(trajectory.velocities)
        return memory.velocity_autocorrelation(velocities, trajectory.time_step, max_time, BLOCKS)


def dynamic_quantities(found: memory.Correlation, reference: memory.Correlation) -> dict[str, Value]:
    """Return the diffusion coefficient (1e-9 m^2/s) and the relative L2 error of the velocity autocorrelation."""
    diffusion = memory.diffusion_coefficient(found)
    quantities = {"diffusion": measured(diffusion.in_1e9_m2_per_s, diffusion.error_in_1e9_m2_per_s)}
    if found is not reference:
        quantities["vacf_error"] = jackknife(
            found.blocks, lambda c: memory.relative_l2_error(replace(found, value=c), reference, VACF_RANGE)
        )
    return quantities


def _block_error(blocks: np.ndarray) -> np.ndarray:
    return np.asarray(blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks)))
