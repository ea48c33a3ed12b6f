# SPDX-License-Identifier: MIT
"""The HDF5 layout of mlcg: group/molecule with cg_coords, cg_forces or cg_delta_forces, and the attribute cg_embeds.

Positions are in angstrom, forces in kcal/mol/angstrom, both (n_frames, n_beads, 3) in single precision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .frames import FrameFile, require_finite
from .units import UNITS

MLCG = UNITS["mlcg"]


class Scaled:
    """An array in a file, multiplied with a factor where it is read."""

    def __init__(self, values: Any, factor: float) -> None:
        self._values, self._factor = values, factor
        self.shape = values.shape

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self._values[index]) * self._factor


class MlcgTrajectory(FrameFile):
    """One molecule of an mlcg file, with the attributes of a `Trajectory`; read where it is sliced.

    Parameters
    ----------
    path
        The HDF5 file.
    molecule
        ``group/molecule``; may be left out where the file has only one.
    forces
        ``cg_forces``, ``cg_delta_forces`` (those that priors leave), or the one that is there.

    Attributes
    ----------
    types : (n,)
        mlcg's embeddings, which start at one.
    delta : bool
        Whether the forces are what priors leave.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it has another layout, no such molecule, or numbers that are not finite.
    """

    velocities = box = masses = time = None
    bead_types: tuple[()] = ()
    bonds: tuple[()] = ()

    def __init__(self, path: str | Path, molecule: str | None = None, forces: str | None = None) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"no trajectory at {self.path}")
        if not h5py.is_hdf5(self.path):
            raise ValueError(f"{self.path} is not an HDF5 file")
        self._file = h5py.File(self.path, "r")
        try:
            self._read(self._molecule(molecule), forces)
        except ValueError:
            self._file.close()
            raise

    def _molecule(self, wanted: str | None) -> Any:
        found = molecules(self._file)
        if wanted is None and len(found) == 1:
            return self._file[found[0]]
        if wanted not in found:
            shown = ", ".join(found[:10]) + (", ..." if len(found) > 10 else "")
            raise ValueError(f"`molecule` must be one of those in {self.path}: {shown or 'none'}; got {wanted!r}")
        return self._file[wanted]

    def _read(self, group: Any, forces: str | None) -> None:
        present = [name for name in ("cg_forces", "cg_delta_forces") if name in group]
        if forces is not None and forces not in present:
            raise ValueError(f"{self.path}:{group.name} has {present or 'no forces'}, not {forces!r}")
        name = forces or (present[0] if present else None)
        self.delta = name == "cg_delta_forces"
        self.positions = Scaled(group["cg_coords"], MLCG.position_factor)
        self.forces = None if name is None else Scaled(group[name], MLCG.force_factor)
        self.types = np.asarray(group.attrs["cg_embeds"], dtype=int)
        if self.positions.shape[1:] != (len(self.types), 3):
            shape = self.positions.shape
            raise ValueError(f"{self.path}:{group.name} has {len(self.types)} cg_embeds but cg_coords of shape {shape}")
        for what in ("positions", "forces"):
            require_finite(getattr(self, what), f"{what} of {self.path}:{group.name}")


def molecules(file: Any) -> list[str]:
    """Return what an open mlcg file holds, as ``group/molecule``."""
    found: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and "cg_coords" in item and "cg_embeds" in item.attrs:
            found.append(name)

    file.visititems(visit)
    return found


def write_mlcg(path: str | Path, frames: Any, molecule: str, embeds: Any = None, delta: bool = False) -> None:
    """Add frames of beads to an mlcg file.

    Parameters
    ----------
    path
        The HDF5 file; made if it does not exist.
    frames : Frames or Trajectory
        Written in blocks.
    molecule
        ``group/molecule``, which must be new.
    embeds : (n,)
        mlcg's embeddings; the type indices plus one by default.
    delta
        Whether the forces are what priors leave.

    Raises
    ------
    ValueError
        If the molecule is there already.
    """
    name = "cg_delta_forces" if delta else "cg_forces"
    with h5py.File(path, "a") as file:
        if molecule in file:
            raise ValueError(f"{path} has a molecule {molecule!r} already")
        group = file.create_group(molecule)
        embeddings = np.asarray(frames.types) + 1 if embeds is None else np.asarray(embeds)
        group.attrs["cg_embeds"] = embeddings.astype(np.int64)
        shape = (len(frames), len(embeddings), 3)
        group.create_dataset("cg_coords", shape, "f4")
        if frames.forces is not None:
            group.create_dataset(name, shape, "f4")
        start = 0
        for block in frames.blocks():
            end = start + len(block)
            group["cg_coords"][start:end] = block.positions / MLCG.position_factor
            if frames.forces is not None:
                group[name][start:end] = block.forces / MLCG.force_factor
            start = end
