# SPDX-License-Identifier: MIT
"""Frames of atoms or beads in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from ..modelfile import BeadType

FRAMES_PER_CHUNK = 32
"""Frames collected in memory before they are written and flushed; also the chunk length of a file."""


class FrameSource:
    """Frames that can be sliced and read in blocks, in memory or in a file, with the attributes of `Frames`."""

    positions: Any
    forces: Any

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, frames: slice | np.ndarray) -> Frames:
        return select(self, frames)

    def blocks(self, size: int = 1000) -> Iterator[Frames]:
        """Yield consecutive blocks of at most `size` frames; no more than one need be in memory.

        Raises
        ------
        ValueError
            If `size` is less than 1.
        """
        if size < 1:
            raise ValueError(f"`size` must be at least 1, got {size}")
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def require_forces(self) -> Any:
        """Return the forces (n_frames, n, 3), in kJ/mol/nm; those of a file are read where they are sliced.

        Raises
        ------
        ValueError
            If there are none.
        """
        if self.forces is None:
            raise ValueError(
                f"{self._holder} no forces; force matching needs them: record with CGReporter(..., forces=True),"
                " or use iterative Boltzmann inversion, which needs only positions"
            )
        return self.forces

    @property
    def _holder(self) -> str:
        return "these frames hold"


class FrameFile(FrameSource):
    """Frames in an HDF5 file, which is closed at the end of a `with` block."""

    path: Path
    _file: Any

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _holder(self) -> str:
        return f"{self.path} holds"


@dataclass(frozen=True)
class Frames(FrameSource):
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
    bead_types
        What the type indices mean; empty where it is not known.
    bonds
        Pairs of bonded beads.
    """

    positions: np.ndarray
    box: np.ndarray | None = None
    velocities: np.ndarray | None = None
    forces: np.ndarray | None = None
    types: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    masses: np.ndarray | None = None
    time: np.ndarray | None = None
    bead_types: Sequence[BeadType] = ()
    bonds: Sequence[tuple[int, int]] = ()

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
            require_finite(getattr(self, name), name)


def select(source: Any, frames: slice | np.ndarray) -> Frames:
    """Read some frames of what has the attributes of `Frames`."""

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
        bead_types=source.bead_types,
        bonds=source.bonds,
    )


def require_finite(values: Any, what: str) -> None:
    """Refuse NaN and infinity; read in blocks, so that a file larger than the memory can be checked.

    Raises
    ------
    ValueError
        That names the first such frame and bead.
    """
    for start in range(0, 0 if values is None else len(values), FRAMES_PER_CHUNK):
        finite = np.isfinite(values[start : start + FRAMES_PER_CHUNK]).all(axis=2)
        if not finite.all():
            frame, bead = np.argwhere(~finite)[0]
            raise ValueError(f"frame {start + int(frame)} of the {what} is not finite (bead {int(bead)})")
