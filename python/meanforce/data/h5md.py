# SPDX-License-Identifier: MIT
"""Coarse-grained trajectories as H5MD with units, written in blocks and read lazily.

A file holds the group ``particles/beads`` with ``position`` (nm), ``velocity`` (nm/ps), ``force`` (kJ/mol/nm) and
``box/edges`` (nm), each with ``step``, ``time`` (ps) and ``value``, plus the constant ``mass`` (dalton) and ``species``
(type index); the types' names are under ``parameters/bead_types``, bonds under ``connectivity/bonds``. See
https://www.nongnu.org/h5md/h5md.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .._version import __version__
from ..modelfile import BeadType
from .frames import FRAMES_PER_CHUNK, FrameFile, require_finite

GROUP = "particles/beads"
BONDS = "connectivity/bonds"
COMPLETE = "meanforce_complete_frames"
QUANTITIES = {"position": "nm", "velocity": "nm ps-1", "force": "kJ mol-1 nm-1", "box/edges": "nm"}


class Writer:
    """Appends blocks of frames to an H5MD file.

    Parameters
    ----------
    path
        The file.
    beads
        A mapping: masses, types, bead types and bonds.
    recorded
        Which of ``position``, ``velocity`` and ``force`` the file holds.
    append
        Go on with an existing file of the same contents.

    Attributes
    ----------
    beads : h5py.Group
        The group ``particles/beads``.

    Raises
    ------
    ValueError
        If an appended file is no HDF5 file, or holds other quantities or other beads.
    """

    def __init__(self, path: str | Path, beads: Any, recorded: Sequence[str], append: bool = False) -> None:
        self.recorded = list(recorded)
        self._file = _open_to_append(path) if append and Path(path).exists() else h5py.File(path, "w")
        try:
            if GROUP in self._file:
                self._check_same_contents(beads)
                self._drop_unfinished_block()
            else:
                self._create(beads)
        except ValueError:
            self._file.close()
            raise
        self.beads = self._file[GROUP]

    @property
    def attributes(self) -> Any:
        """Attributes of the file, for what its maker needs to know again."""
        return self._file.attrs

    def __len__(self) -> int:
        return int(self._file[GROUP]["box/edges/step"].shape[0])

    def __bool__(self) -> bool:
        return bool(self._file)

    def truncate(self, frames: int) -> None:
        """Keep only the first `frames` frames."""
        self._resize(frames)
        self._file.attrs[COMPLETE] = frames

    def set_boundary(self, periodic: bool) -> None:
        """Say whether the box is periodic."""
        self.beads["box"].attrs["boundary"] = ["periodic" if periodic else "none"] * 3

    def write(self, steps: Any, times: Any, values: dict[str, np.ndarray]) -> None:
        """Append frames and bring them to the disk.

        Parameters
        ----------
        steps, times : (n_frames,)
            Step numbers, and times in ps.
        values
            ``box/edges`` (n_frames, 3, 3) and what is recorded (n_frames, n_beads, 3).
        """
        old, new = len(self), len(self) + len(steps)
        self._resize(new)
        if new > old:
            self.beads["box/edges/step"][old:], self.beads["box/edges/time"][old:] = steps, times
            for name in ["box/edges", *self.recorded]:
                self.beads[f"{name}/value"][old:] = values[name]
        self._file.flush()
        self._file.attrs[COMPLETE] = new
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _drop_unfinished_block(self) -> None:
        """Forget what a run was writing when it died."""
        self.beads = self._file[GROUP]
        self._resize(int(self._file.attrs.get(COMPLETE, len(self))))

    def _resize(self, frames: int) -> None:
        for name in ["box/edges/step", "box/edges/time", "box/edges/value"]:
            self.beads[name].resize(frames, axis=0)
        for name in self.recorded:
            self.beads[f"{name}/value"].resize(frames, axis=0)

    def _create(self, described: Any) -> None:
        _describe_file(self._file, described.bead_types)
        n = len(described.masses)
        beads = self._file.create_group(GROUP)
        beads["mass"] = described.masses
        beads["mass"].attrs["unit"] = "u"
        beads["species"] = described.types
        bonds = self._file.create_dataset(BONDS, data=np.array(described.bonds, dtype=int).reshape(-1, 2))
        bonds.attrs["particles_group"] = beads.ref
        beads.create_group("box").attrs["dimension"] = 3
        edges = beads.create_group("box/edges")
        for name, kind in (("step", "i8"), ("time", "f8")):
            edges.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(1024,))
        edges["time"].attrs["unit"] = "ps"
        for name in ["box/edges", *self.recorded]:
            rows, kind = (3, "f8") if name == "box/edges" else (n, "f4")
            group = beads.require_group(name)
            group.create_dataset(
                "value", (0, rows, 3), kind, maxshape=(None, rows, 3), chunks=(FRAMES_PER_CHUNK, rows, 3)
            )
            group["value"].attrs["unit"] = QUANTITIES[name]
            if name != "box/edges":  # H5MD lets quantities recorded together share their times
                group["step"], group["time"] = edges["step"], edges["time"]

    def _check_same_contents(self, described: Any) -> None:
        beads = self._file[GROUP]
        recorded = [name for name in ("position", "velocity", "force") if name in beads]
        if recorded != self.recorded:
            raise ValueError(f"{self._file.filename} holds {recorded}, cannot append {self.recorded}")
        if beads["mass"].shape != described.masses.shape or not np.allclose(beads["mass"][:], described.masses):
            raise ValueError(f"the beads in {self._file.filename} differ from those of the mapping")


class Trajectory(FrameFile):
    """A coarse-grained trajectory in an H5MD file, read only where it is sliced.

    `positions`, `velocities`, `forces` and `box` behave like arrays (n_frames, ...) that are read when indexed, None
    where the file has none. ``trajectory[start:stop:step]`` loads those frames as `Frames`.

    Parameters
    ----------
    path
        The file, as written by `CGReporter` or `map_trajectory`.
    check
        Whether to read the whole file once and refuse frames that are not finite.

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

    def __init__(self, path: str | Path, check: bool = True) -> None:
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
        self.bonds = [tuple(pair) for pair in self._file[BONDS][:].tolist()] if BONDS in self._file else []
        offset = None if self.velocities is None else beads["velocity"].attrs.get("velocity_time_offset")
        self.velocity_time_offset = None if offset is None else float(offset)
        for name in ("positions", "velocities", "forces") if check else ():
            require_finite(getattr(self, name), f"{name} of {self.path}")

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
