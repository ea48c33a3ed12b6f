# SPDX-License-Identifier: MIT
"""Coarse-grained trajectories: recorded inside an OpenMM run, kept as H5MD, read lazily.

A file holds the group ``particles/beads`` with ``position`` (nm), ``velocity`` (nm/ps), ``force`` (kJ/mol/nm) and
``box/edges`` (nm), each with ``step``, ``time`` (ps) and ``value``, plus the constant ``mass`` (dalton) and ``species``
(type index); the types' names are under ``parameters/bead_types``. See https://www.nongnu.org/h5md/h5md.html.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import openmm
from openmm import unit

from ._version import __version__
from .gle import GLEIntegrator
from .mapping import Mapping
from .modelfile import BeadType

GROUP = "particles/beads"
QUANTITIES = {"position": "nm", "velocity": "nm ps-1", "force": "kJ mol-1 nm-1", "box/edges": "nm"}
FRAMES_PER_CHUNK = 32
"""Frames collected in memory before they are written and flushed; also the chunk length of the file."""

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
        From the simulated particles to the recorded beads; `Mapping.identity` records a coarse-grained run as it is.
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
        mapping: Mapping,
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
            mapping.require_exact_forces()
        self._mapping = mapping
        self._pending: list[dict[str, np.ndarray]] = []
        self._started = False
        self._file = _open_to_append(path) if append and Path(path).exists() else h5py.File(path, "w")
        try:
            if GROUP in self._file:
                self._check_same_contents()
            else:
                self._create()
        except ValueError:
            self._file.close()
            raise

    def describeNextReport(self, simulation: Any) -> dict[str, Any]:
        """Say when the next frame is due and what it needs (OpenMM's reporter protocol)."""
        if not self._started:
            self._start(simulation)
        steps = self._interval - simulation.currentStep % self._interval
        include = {"position": "positions", "velocity": "velocities", "force": "forces"}
        # Unwrapped, so that molecules stay whole and displacements can be followed.
        return {"steps": steps, "periodic": False, "include": [include[name] for name in self._recorded]}

    def report(self, simulation: Any, state: Any) -> None:
        """Record one frame (OpenMM's reporter protocol).

        Raises
        ------
        ValueError
            If a position, velocity or force is not finite.
        """
        box = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)
        frame = {"box/edges": box}
        if "position" in self._recorded:
            frame["position"] = self._mapping.map_positions(
                state.getPositions(asNumpy=True), box if self._periodic(simulation) else None
            )
        if "velocity" in self._recorded:
            frame["velocity"] = self._mapping.map_velocities(state.getVelocities(asNumpy=True))
        if "force" in self._recorded:
            frame["force"] = self._mapping.map_forces(state.getForces(asNumpy=True))
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
        beads = self._file[GROUP]
        old, new = self._num_frames(), self._num_frames() + len(self._pending)
        for name in ["step", "time"] + [f"{quantity}/value" for quantity in ["box/edges", *self._recorded]]:
            dataset = beads[f"box/edges/{name}" if name in ("step", "time") else name]
            dataset.resize(new, axis=0)
            if self._pending:
                dataset[old:] = np.stack([frame[name.removesuffix("/value")] for frame in self._pending])
        self._pending.clear()
        self._file.flush()

    def close(self) -> None:
        """Write what is left and close the file."""
        if self._file:
            self.flush()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_file", None):
            self.close()

    def _num_frames(self) -> int:
        return int(self._file[GROUP]["box/edges/step"].shape[0])

    @staticmethod
    def _periodic(simulation: Any) -> bool:
        return bool(simulation.system.usesPeriodicBoundaryConditions())

    def _create(self) -> None:
        _describe_file(self._file, self._mapping.bead_types)
        beads = self._file.create_group(GROUP)
        beads["mass"] = self._mapping.masses
        beads["mass"].attrs["unit"] = "u"
        beads["species"] = self._mapping.types
        beads.create_group("box").attrs["dimension"] = 3
        edges = beads.create_group("box/edges")
        for name, kind in (("step", "i8"), ("time", "f8")):
            edges.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(1024,))
        edges["time"].attrs["unit"] = "ps"
        for name in ["box/edges", *self._recorded]:
            rows, kind = (3, "f8") if name == "box/edges" else (self._mapping.num_beads, "f4")
            group = beads.require_group(name)
            group.create_dataset(
                "value", (0, rows, 3), kind, maxshape=(None, rows, 3), chunks=(FRAMES_PER_CHUNK, rows, 3)
            )
            group["value"].attrs["unit"] = QUANTITIES[name]
            if name != "box/edges":  # H5MD lets quantities recorded together share their times
                group["step"], group["time"] = edges["step"], edges["time"]

    def _check_same_contents(self) -> None:
        beads = self._file[GROUP]
        recorded = [name for name in ("position", "velocity", "force") if name in beads]
        if recorded != self._recorded:
            raise ValueError(f"{self._file.filename} holds {recorded}, cannot append {self._recorded}")
        if beads["mass"].shape != self._mapping.masses.shape or not np.allclose(beads["mass"][:], self._mapping.masses):
            raise ValueError(f"the beads in {self._file.filename} differ from those of the mapping")

    def _start(self, simulation: Any) -> None:
        """Drop frames of an abandoned future and note what only the simulation knows."""
        self._started = True
        beads = self._file[GROUP]
        keep = int(np.searchsorted(beads["box/edges/step"][:], simulation.currentStep, side="right"))
        for name in ["step", "time", "value"]:
            beads[f"box/edges/{name}"].resize(keep, axis=0)
        for name in self._recorded:
            beads[f"{name}/value"].resize(keep, axis=0)
        beads["box"].attrs["boundary"] = ["periodic" if self._periodic(simulation) else "none"] * 3
        if "velocity" in self._recorded:
            attributes = beads["velocity"].attrs
            offset = _velocity_time_offset(simulation.integrator)
            if offset is not None:
                attributes["velocity_time_offset"] = offset
            elif "velocity_time_offset" in attributes:  # of the run that is continued
                del attributes["velocity_time_offset"]


@dataclass(frozen=True)
class Frames:
    """Frames in memory, with the attributes of a `Trajectory`.

    Attributes
    ----------
    positions : (n_frames, n, 3)
        In nm.
    box : (n_frames, 3, 3) or None
        Box vectors in nm; (3, 3) is repeated for every frame. None for open boundaries.
    velocities, forces : (n_frames, n, 3) or None
        In nm/ps and kJ/mol/nm.
    types : (n,)
        Type index of each bead, zero for all by default.
    masses : (n,) or None
        In dalton.
    time : (n_frames,) or None
        In ps.
    """

    positions: np.ndarray
    box: np.ndarray | None = None
    velocities: np.ndarray | None = None
    forces: np.ndarray | None = None
    types: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    masses: np.ndarray | None = None
    time: np.ndarray | None = None

    def __post_init__(self) -> None:
        positions = np.asarray(self.positions)
        if positions.ndim != 3 or positions.shape[-1] != 3:
            raise ValueError(f"`positions` must have shape (n_frames, n, 3), got {positions.shape}")
        object.__setattr__(self, "positions", positions)
        frames, n = positions.shape[:2]
        if np.size(self.types) == 0:
            object.__setattr__(self, "types", np.zeros(n, dtype=int))
        if self.box is not None:
            object.__setattr__(self, "box", np.broadcast_to(np.asarray(self.box, dtype=float), (frames, 3, 3)))
        for name, shape in (("velocities", positions.shape), ("forces", positions.shape), ("types", (n,))):
            values = getattr(self, name)
            if values is not None and np.shape(values) != shape:
                raise ValueError(f"`{name}` must have shape {shape}, got {np.shape(values)}")
        for name in ("positions", "velocities", "forces"):
            _require_finite(getattr(self, name), name)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, frames: slice | np.ndarray) -> Frames:
        return _select(self, frames)

    def require_forces(self) -> Any:
        """Return the forces (n_frames, n, 3).

        Raises
        ------
        ValueError
            If there are none.
        """
        return _require_forces(self.forces, "these frames hold")


class Trajectory:
    """A coarse-grained trajectory in an H5MD file, read only where it is sliced.

    `positions`, `velocities`, `forces` and `box` behave like arrays (n_frames, ...) that are read when indexed, None
    where the file has none. ``trajectory[start:stop:step]`` loads those frames as `Frames`.

    Parameters
    ----------
    path
        The file, as written by `CGReporter`.

    Attributes
    ----------
    velocity_time_offset : float or None
        Time of the velocities minus time of the positions of the same frame, in ps: -h/2 for integrators of leapfrog
        type with a fixed step h, None where it is not known (other integrators) or no velocities were recorded.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not an H5MD file with beads, or has a frame that is not finite (the message gives its number).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"no trajectory at {self.path}")
        if not h5py.is_hdf5(self.path):
            raise ValueError(f"{self.path} is not an HDF5 file; a trajectory is H5MD as written by CGReporter")
        self._file = h5py.File(self.path, "r")
        if "h5md" not in self._file or f"{GROUP}/position/value" not in self._file:
            self._file.close()
            raise ValueError(f"{self.path} is not an H5MD file with positions under {GROUP}")
        beads = self._file[GROUP]
        self.positions = beads["position/value"]
        self.velocities = beads["velocity/value"] if "velocity" in beads else None
        self.forces = beads["force/value"] if "force" in beads else None
        boundary = beads["box"].attrs.get("boundary", ["periodic"])
        self.box = beads["box/edges/value"] if boundary[0] in ("periodic", b"periodic") else None
        self.time: np.ndarray = beads["position/time"][:]
        self.steps: np.ndarray = beads["position/step"][:]
        self.masses: np.ndarray = beads["mass"][:]
        self.types: np.ndarray = beads["species"][:]
        self.bead_types = _read_bead_types(self._file)
        offset = None if self.velocities is None else beads["velocity"].attrs.get("velocity_time_offset")
        self.velocity_time_offset = None if offset is None else float(offset)
        for name in ("positions", "velocities", "forces"):
            _require_finite(getattr(self, name), f"{name} of {self.path}")

    @property
    def time_step(self) -> float:
        """Time between frames in ps.

        Raises
        ------
        ValueError
            If there are fewer than two frames or they are not equally spaced.
        """
        gaps = np.diff(self.steps)
        if len(gaps) == 0 or np.any(gaps != gaps[0]):
            raise ValueError(f"{self.path} does not hold two or more equally spaced frames")
        return float((self.time[-1] - self.time[0]) / len(gaps))

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, frames: slice | np.ndarray) -> Frames:
        return _select(self, frames)

    def require_forces(self) -> Any:
        """Return the forces (n_frames, n, 3), to be read where sliced.

        Raises
        ------
        ValueError
            If the file has none.
        """
        return _require_forces(self.forces, f"{self.path} holds")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _velocity_time_offset(integrator: openmm.Integrator) -> float | None:
    """Return the time of an integrator's velocities minus that of its positions, in ps; None if it is not known."""
    if isinstance(integrator, HALF_STEP_EARLY) or GLEIntegrator.isinstance(integrator):
        return -0.5 * float(integrator.getStepSize().value_in_unit(unit.picosecond))
    return None


def _open_to_append(path: str | Path) -> h5py.File:
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is not an HDF5 file, cannot append to it")
    return h5py.File(path, "r+")


def _describe_file(file: h5py.File, bead_types: list[BeadType]) -> None:
    header = file.create_group("h5md")
    header.attrs["version"] = np.array([1, 1])
    header.create_group("author").attrs["name"] = "unknown"
    creator = header.create_group("creator")
    creator.attrs["name"], creator.attrs["version"] = "meanforce", __version__
    types = file.create_group("parameters/bead_types")
    types["name"] = [t.name for t in bead_types]
    types["residue"] = [t.residue for t in bead_types]
    types["mass"] = np.array([t.mass for t in bead_types])


def _read_bead_types(file: h5py.File) -> list[BeadType]:
    if "parameters/bead_types" not in file:
        return []
    types = file["parameters/bead_types"]
    names, residues = (types[key].asstr()[:] for key in ("name", "residue"))
    return [BeadType(str(n), str(r), float(m)) for n, r, m in zip(names, residues, types["mass"][:], strict=True)]


def _select(source: Any, frames: slice | np.ndarray) -> Frames:
    def take(values: Any) -> Any:
        return None if values is None else np.asarray(values[frames])

    return Frames(
        positions=take(source.positions),
        box=take(source.box),
        velocities=take(source.velocities),
        forces=take(source.forces),
        types=source.types,
        masses=source.masses,
        time=take(source.time),
    )


def _require_finite(values: Any, what: str) -> None:
    """Read in blocks, so that a file larger than the memory can be checked."""
    for start in range(0, 0 if values is None else len(values), FRAMES_PER_CHUNK):
        finite = np.isfinite(values[start : start + FRAMES_PER_CHUNK]).all(axis=(1, 2))
        if not finite.all():
            raise ValueError(f"frame {start + int(np.argmin(finite))} of the {what} is not finite")


def _require_forces(forces: Any, where: str) -> Any:
    if forces is None:
        raise ValueError(
            f"{where} no forces; force matching needs them: record with CGReporter(..., forces=True),"
            " or use iterative Boltzmann inversion, which needs only positions"
        )
    return forces
