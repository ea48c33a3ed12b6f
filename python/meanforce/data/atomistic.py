# SPDX-License-Identifier: MIT
"""Atomistic trajectories of other programs, read in blocks and turned into OpenMM's units."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from openmm import app

from .frames import Frames
from .h5md import GROUP, Trajectory
from .units import UNITS, Units, units_named

ARRAY_NAMES = ("positions", "velocities", "forces", "box", "time")
BLOCK_NUMBERS = 6_000_000
"""Numbers that a block holds at most unless its size is given: 48 MB for each of positions, velocities and forces."""
WITH_FORCES = "TRR, H5MD, LAMMPS dump (fx fy fz), AMBER NetCDF, npz or npy"


class Block(NamedTuple):
    """Consecutive frames of a file, and their numbers in it."""

    numbers: np.ndarray
    frames: Frames


class Frame(NamedTuple):
    """One frame in nm, nm/ps, kJ/mol/nm and ps."""

    positions: np.ndarray
    velocities: np.ndarray | None
    forces: np.ndarray | None
    box: np.ndarray | None
    time: float


class Source(Protocol):
    """One file."""

    num_atoms: int
    has_velocities: bool
    has_forces: bool

    def __len__(self) -> int:
        """Return the number of frames."""

    def frame(self, number: int) -> Frame:
        """Read one frame."""


class AtomisticTrajectory:
    """Frames of atoms in one file, or in several that follow one another, read when they are asked for.

    ``.npz`` files hold the arrays `positions` and, where there are, `velocities`, `forces`, `box` and `time`; ``.npy``
    files one array each, of which `forces` and the like are given as further paths, and are read from the disk as
    needed. H5MD files of `CGReporter` are read directly, all else by MDAnalysis (``pip install 'meanforce[data]'``).

    Parameters
    ----------
    path
        The file, or several.
    units : str or Units
        Units of a file that does not say them: npz, npy and LAMMPS dumps, where it must be given. One of ``openmm``
        (nm, kJ/mol, ps), ``mdanalysis`` (angstrom, kJ/mol, ps), ``real`` (angstrom, kcal/mol, fs), ``metal`` (angstrom,
        eV, ps), ``mlcg`` (angstrom, kcal/mol, ps), or `Units`.
    num_atoms
        Needed by formats that do not hold it, and compared with the file by all others.
    velocities, forces, box
        Paths of ``.npy`` files that go with a path of positions.
    format
        MDAnalysis's name of the format, where the ending of the file is not enough.
    time_step
        Of LAMMPS dumps, which count steps: the step in ps.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file cannot be read, its units are unknown, or files do not fit together.
    ImportError
        If MDAnalysis is needed and missing.
    """

    def __init__(
        self,
        path: str | Path | Sequence[str | Path],
        *,
        units: str | Units | None = None,
        num_atoms: int | None = None,
        velocities: str | Path | None = None,
        forces: str | Path | None = None,
        box: str | Path | None = None,
        format: str | None = None,
        time_step: float | None = None,
    ) -> None:
        self.paths = [Path(p) for p in ([path] if isinstance(path, str | Path) else path)]
        if not self.paths:
            raise ValueError("an atomistic trajectory needs at least one file")
        extra = {"velocities": velocities, "forces": forces, "box": box}
        if len(self.paths) > 1 and any(extra.values()):
            raise ValueError("`velocities`, `forces` and `box` are paths of arrays that go with one file of positions")
        for file in [*self.paths, *(Path(p) for p in extra.values() if p is not None)]:
            if not file.exists():
                raise FileNotFoundError(f"no trajectory at {file}")
        self._sources = [_open(p, units, num_atoms, extra, format, time_step) for p in self.paths]
        self.num_atoms = self._sources[0].num_atoms
        for file, source in zip(self.paths, self._sources, strict=True):
            if source.num_atoms != (self.num_atoms if num_atoms is None else num_atoms):
                expected = f"{self.paths[0]} has {self.num_atoms}" if num_atoms is None else f"{num_atoms} are expected"
                raise ValueError(f"{file} has {source.num_atoms} atoms, but {expected}")
        self.has_forces = all(source.has_forces for source in self._sources)
        self.has_velocities = all(source.has_velocities for source in self._sources)
        self._ends = np.cumsum([len(source) for source in self._sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def require_forces(self) -> None:
        """Check that there are forces.

        Raises
        ------
        ValueError
            If there are none, with what to do about it.
        """
        for path, source in zip(self.paths, self._sources, strict=True):
            if not source.has_forces:
                raise ValueError(
                    f"{path} holds no forces, and force matching needs them: write them during the run ({WITH_FORCES}"
                    " can hold forces; in GROMACS set nstfout), compute them again for the saved frames (gmx mdrun"
                    " -rerun, or OpenMM), or map positions only and use a method that needs no forces, as iterative"
                    " Boltzmann inversion"
                )

    def blocks(
        self,
        size: int | None = None,
        start: int = 0,
        stop: int | None = None,
        stride: int = 1,
        forces: bool = True,
        velocities: bool = True,
    ) -> Iterator[Block]:
        """Yield every `stride`-th frame from `start` to before `stop`, in blocks of at most `size` frames.

        One block at a time is in memory; by default it has at most 48 MB of positions.

        Raises
        ------
        ValueError
            If a number is not finite, with its frame and atom, or a frame has a box and another has none.
        """
        numbers = np.arange(*slice(start, stop, stride).indices(len(self)))
        size = max(1, BLOCK_NUMBERS // (3 * self.num_atoms)) if size is None else size
        if size < 1 or stride < 1:
            raise ValueError(f"`size` and `stride` must be at least 1, got {size} and {stride}")
        for first in range(0, len(numbers), size):
            chosen = numbers[first : first + size]
            yield Block(chosen, self._read(chosen, forces and self.has_forces, velocities and self.has_velocities))

    def _read(self, numbers: np.ndarray, forces: bool, velocities: bool) -> Frames:
        arrays: dict[str, list[Any]] = {name: [] for name in ARRAY_NAMES}
        for number in numbers:
            which = int(np.searchsorted(self._ends, number, side="right"))
            frame = self._sources[which].frame(int(number - (self._ends[which - 1] if which else 0)))
            for name, values in zip(ARRAY_NAMES, (frame.positions, frame.velocities, frame.forces), strict=False):
                if values is not None and not np.isfinite(values).all():
                    atom = int(np.argmin(np.isfinite(values).all(axis=1)))
                    raise ValueError(f"frame {number} of {self.paths[which]}: the {name} of atom {atom} are not finite")
            for name in ARRAY_NAMES:
                arrays[name].append(getattr(frame, name))
            for name, wanted in (("velocities", velocities), ("forces", forces)):
                if wanted and getattr(frame, name) is None:
                    raise ValueError(
                        f"frame {number} of {self.paths[which]} holds no {name}, as the first frame does; choose frames"
                        " that do with `start` and `stride`"
                    )
            if (frame.box is None) != (arrays["box"][0] is None):
                raise ValueError(f"frame {number} of {self.paths[which]}: some frames have a periodic box, others none")
        return Frames(
            positions=np.stack(arrays["positions"]),
            box=None if arrays["box"][0] is None else np.stack(arrays["box"]),
            velocities=np.stack(arrays["velocities"]) if velocities else None,
            forces=np.stack(arrays["forces"]) if forces else None,
            time=np.array(arrays["time"]),
        )


class ArraySource:
    """Arrays with one entry per frame; those of ``.npy`` files stay on the disk."""

    def __init__(self, path: Path, arrays: dict[str, Any], units: Units) -> None:
        if "positions" not in arrays:
            raise ValueError(f"{path} must hold an array 'positions', found {sorted(arrays)}")
        shape = np.shape(arrays["positions"])
        if len(shape) != 3 or shape[2] != 3:
            raise ValueError(f"the positions in {path} must have shape (n_frames, n_atoms, 3), got {shape}")
        expected = {"velocities": shape, "forces": shape, "time": shape[:1]}
        for name, wanted in expected.items():
            if name in arrays and np.shape(arrays[name]) != wanted:
                raise ValueError(f"{name} that go with {path} must have shape {wanted}, got {np.shape(arrays[name])}")
        self._arrays, self._units = arrays, units
        self._box = _boxes(arrays["box"], shape[0]) if "box" in arrays else None
        self.num_atoms = int(shape[1])
        self.has_velocities, self.has_forces = "velocities" in arrays, "forces" in arrays

    def __len__(self) -> int:
        return len(self._arrays["positions"])

    def frame(self, number: int) -> Frame:
        """Read one frame."""
        u = self._units

        def scaled(name: str, factor: float) -> np.ndarray | None:
            return np.asarray(self._arrays[name][number], dtype=float) * factor if name in self._arrays else None

        time = self._arrays["time"][number] * u.time_factor if "time" in self._arrays else np.nan
        positions = np.asarray(self._arrays["positions"][number], dtype=float) * u.position_factor
        box = None if self._box is None else self._box[number] * u.position_factor
        velocities, forces = scaled("velocities", u.velocity_factor), scaled("forces", u.force_factor)
        return Frame(positions, velocities, forces, box, float(time))


class BeadSource:
    """An H5MD file of ours, whose particles are taken for atoms."""

    def __init__(self, path: Path) -> None:
        self._trajectory = Trajectory(path, check=False)
        self.num_atoms = int(self._trajectory.positions.shape[1])
        self.has_velocities = self._trajectory.velocities is not None
        self.has_forces = self._trajectory.forces is not None

    def __len__(self) -> int:
        return len(self._trajectory)

    def frame(self, number: int) -> Frame:
        """Read one frame."""
        t = self._trajectory

        def row(values: Any) -> np.ndarray | None:
            return None if values is None else np.asarray(values[number], dtype=float)

        x = np.asarray(t.positions[number], dtype=float)
        return Frame(x, row(t.velocities), row(t.forces), row(t.box), float(t.time[number]))


class MDAnalysisSource:
    """A file that MDAnalysis reads."""

    def __init__(self, path: Path, reader: Any, units: Units) -> None:
        self._path, self._reader, self._units = path, reader, units
        self.num_atoms = int(reader.n_atoms)
        self.has_velocities = bool(reader.ts.has_velocities)
        self.has_forces = bool(reader.ts.has_forces)

    def __len__(self) -> int:
        return len(self._reader)

    def frame(self, number: int) -> Frame:
        """Read one frame."""
        u = self._units
        try:
            ts = self._reader[number]
        except (OSError, EOFError, ValueError) as error:
            raise ValueError(f"frame {number} of {self._path} cannot be read: {error}") from error
        box = ts.triclinic_dimensions
        return Frame(
            np.asarray(ts.positions, dtype=float) * u.position_factor,
            np.asarray(ts.velocities, dtype=float) * u.velocity_factor if ts.has_velocities else None,
            np.asarray(ts.forces, dtype=float) * u.force_factor if ts.has_forces else None,
            None if box is None else _reduced(np.asarray(box, dtype=float) * u.position_factor),
            float(ts.time),
        )


def read_topology(path: str | Path) -> app.Topology:
    """Read the topology of atoms: PDB, mmCIF and AMBER prmtop by OpenMM, all else by MDAnalysis.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read.
    """
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(f"no topology at {file}")
    text_readers = {".pdb": app.PDBFile, ".cif": app.PDBxFile}
    suffix = file.suffix.lower()
    try:
        if suffix in text_readers:
            with file.open(encoding="utf-8") as text:
                return text_readers[suffix](text).topology
        if suffix in (".prmtop", ".parm7"):
            return app.AmberPrmtopFile(str(file)).topology
        return _topology_of_universe(file)
    except ImportError:
        raise
    except Exception as error:  # every reader has its own kinds
        raise ValueError(f"{file} cannot be read as a topology: {error}") from error


def _open(
    path: Path,
    units: str | Units | None,
    num_atoms: int | None,
    extra: dict[str, Any],
    format: str | None,
    time_step: float | None,
) -> Source:
    if path.suffix == ".npy":
        arrays = {name: np.load(p, mmap_mode="r") for name, p in {"positions": path, **extra}.items() if p is not None}
        return ArraySource(path, arrays, _required_units(path, units))
    if any(extra.values()):
        raise ValueError(f"`velocities`, `forces` and `box` go with positions in a .npy file, not with {path}")
    if path.suffix == ".npz":
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files if name in ARRAY_NAMES}
            if "positions" not in arrays:
                raise ValueError(f"{path} must hold an array 'positions', found {sorted(file.files)}")
        return ArraySource(path, arrays, _required_units(path, units))
    if _is_ours(path):
        return BeadSource(path)
    return _open_with_mdanalysis(path, units, num_atoms, format, time_step)


def _is_ours(path: Path) -> bool:
    import h5py

    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path, "r") as file:
        return f"{GROUP}/position/value" in file


def _open_with_mdanalysis(
    path: Path, units: str | Units | None, num_atoms: int | None, format: str | None, time_step: float | None
) -> MDAnalysisSource:
    try:
        from MDAnalysis.coordinates.core import reader as open_reader
    except ImportError as error:
        raise ImportError(f"reading {path} needs MDAnalysis: pip install 'meanforce[data]'") from error
    if format is None and path.suffix in (".lammpstrj", ".dump"):
        format = "LAMMPSDUMP"
    options: dict[str, Any] = {} if num_atoms is None else {"n_atoms": num_atoms}
    if format == "LAMMPSDUMP":
        # MDAnalysis leaves the numbers of a dump as they are, its unit style being in another file.
        found, options = _required_units(path, units), {"dt": 1.0 if time_step is None else float(time_step)}
    elif units is not None:
        raise ValueError(f"{path} is of a format that says its units; give no `units`")
    else:
        found = UNITS["mdanalysis"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about missing time steps and titles, which do not concern forces
            reader = open_reader(str(path), format=format, **options)
    except Exception as error:  # every reader has its own kinds
        raise ValueError(f"{path} cannot be read by MDAnalysis: {error}") from error
    return MDAnalysisSource(path, reader, found)


def _required_units(path: Path, units: str | Units | None) -> Units:
    if units is None:
        raise ValueError(f"{path} does not say its units; give `units`, one of {sorted(UNITS)} or meanforce.data.Units")
    return units_named(units)


def _boxes(box: Any, frames: int) -> np.ndarray:
    """Return box vectors (n_frames, 3, 3) of edges (3,), vectors (3, 3), or one of these per frame."""
    array = np.asarray(box, dtype=float)
    if array.shape in ((3,), (frames, 3)) and array.shape != (3, 3):
        array = array[..., None] * np.eye(3)
    if array.shape not in ((3, 3), (frames, 3, 3)):
        raise ValueError(f"`box` must be edges or vectors, for all frames or each, got shape {array.shape}")
    return np.broadcast_to(_reduced(array), (frames, 3, 3))


def _reduced(box: np.ndarray) -> np.ndarray:
    """Return box vectors (..., 3, 3) of a lower triangular box in OpenMM's reduced form."""
    reduced = np.array(box)
    for row, by in ((2, 1), (2, 0), (1, 0)):
        count = np.round(reduced[..., row, by] / reduced[..., by, by])
        reduced[..., row, :] -= count[..., None] * reduced[..., by, :]
    return reduced


def _topology_of_universe(path: Path) -> app.Topology:
    try:
        import MDAnalysis
    except ImportError as error:
        raise ImportError(f"reading {path} needs MDAnalysis: pip install 'meanforce[data]'") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about attributes that the file lacks
        universe = MDAnalysis.Universe(str(path), to_guess=("elements",))
    topology, atoms = app.Topology(), []
    elements = getattr(universe.atoms, "elements", [""] * len(universe.atoms))
    for segment in universe.segments:
        chain = topology.addChain(segment.segid)
        for residue in segment.residues:
            added = topology.addResidue(getattr(residue, "resname", "UNK"), chain, str(residue.resid))
            for atom in residue.atoms:
                symbol = str(elements[atom.index]).capitalize()
                element = app.Element.getBySymbol(symbol) if symbol in app.element.Element._elements_by_symbol else None
                atoms.append((atom.index, topology.addAtom(getattr(atom, "name", symbol), element, added)))
    if [index for index, _ in atoms] != list(range(len(atoms))):
        raise ValueError("its atoms are not ordered by residue")
    for i, j in getattr(universe, "bonds", MDAnalysis.core.topologyobjects.TopologyGroup([])).indices:
        topology.addBond(atoms[i][1], atoms[j][1])
    return topology
