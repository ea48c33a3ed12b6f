# SPDX-License-Identifier: MIT
"""From a file of atoms to a file of beads, in bounded memory and resumable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..mapping import Mapping, StochasticMapping
from .atomistic import AtomisticTrajectory
from .h5md import Writer

SOURCE = "meanforce_source"
"""Attribute of a mapped file: what it was made of, so that another mapping or file is not appended by mistake."""


def map_trajectory(
    source: AtomisticTrajectory,
    mapping: Mapping | StochasticMapping,
    path: str | Path,
    *,
    forces: bool = True,
    velocities: bool = True,
    start: int = 0,
    stop: int | None = None,
    stride: int = 1,
    block: int | None = None,
    resume: bool = False,
    velocity_time_offset: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Map a trajectory of atoms to an H5MD file of beads, block by block.

    Parameters
    ----------
    source
        The atoms.
    mapping
        The map, with the force map that it carries.
    path
        The file of beads, which `Trajectory` reads; its steps are the numbers of the frames in the source.
    forces, velocities
        Whether to map them. Forces are required to be there, velocities are taken where there are.
    start, stop, stride
        Which frames.
    block
        Frames in memory at once.
    resume
        Go on after the last frame of an existing file, which must come from the same source and mapping.
    velocity_time_offset
        Time of the velocities minus time of the positions of the same frame in ps, if known: -h/2 for leapfrog
        integrators as GROMACS's md with step h.
    progress
        Called with the number of frames done and of all after each block.

    Returns
    -------
    frames
        Number of frames in the file.

    Raises
    ------
    ValueError
        If atoms and mapping do not fit, forces are missing or biased by constraints, or a resumed file is another's.
    """
    if source.num_atoms != mapping.num_atoms:
        raise ValueError(f"the trajectory has {source.num_atoms} atoms, but the mapping is one of {mapping.num_atoms}")
    velocities = velocities and source.has_velocities and not isinstance(mapping, StochasticMapping)
    if forces:
        mapping.require_forces()
        if not isinstance(mapping, StochasticMapping) or np.any(mapping.mixing > 0):
            source.require_forces()
    recorded = ["position", *(["velocity"] if velocities else []), *(["force"] if forces else [])]
    total = len(range(*slice(start, stop, stride).indices(len(source))))
    if total == 0:
        raise ValueError(f"no frames to map: start {start}, stop {stop}, stride {stride} of {len(source)} frames")
    origin = _origin(source, mapping, (start, stride), forces)
    writer = Writer(path, mapping, recorded, append=resume)
    try:
        done = len(writer)
        if done and writer.attributes.get(SOURCE) != origin:
            raise ValueError(f"{path} was made of other frames or by another mapping; remove it, or map to a new file")
        writer.attributes[SOURCE] = origin
        if velocities and velocity_time_offset is not None:
            writer.beads["velocity"].attrs["velocity_time_offset"] = velocity_time_offset
        for numbers, frames in source.blocks(block, start + done * stride, stop, stride, forces, velocities):
            beads = mapping.project(frames.positions, frames.box, frames.velocities, frames.forces, numbers)
            values = {"position": beads.positions, "velocity": beads.velocities, "force": beads.forces}
            kept = {name: np.asarray(values[name]) for name in recorded}
            writer.set_boundary(frames.box is not None)
            kept["box/edges"] = np.zeros((len(numbers), 3, 3)) if frames.box is None else frames.box
            times = numbers if frames.time is None or np.isnan(frames.time).any() else frames.time
            writer.write(numbers, times, kept)
            if progress is not None:
                progress(len(writer), total)
        return len(writer)
    finally:
        writer.close()


def _origin(
    source: AtomisticTrajectory, mapping: Mapping | StochasticMapping, frames: tuple[int, int], forces: bool
) -> str:
    """Return a fingerprint of what decides the content of each frame. More frames at the end change nothing."""
    linear = mapping.linear if isinstance(mapping, StochasticMapping) else mapping
    digest = hashlib.sha256(repr(([p.name for p in source.paths], frames, linear.weights.shape)).encode())
    weights = [linear.weights, *([linear.force_map.weights] if forces else [])]
    for matrix in weights:
        for part in (matrix.data.round(12), matrix.indices, matrix.indptr):
            digest.update(np.ascontiguousarray(part).tobytes())
    if isinstance(mapping, StochasticMapping):
        digest.update(repr((mapping.seed, mapping.mixing.tolist())).encode())
    return digest.hexdigest()
