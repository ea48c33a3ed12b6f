# SPDX-License-Identifier: MIT
"""Frames of atoms and of beads: read, mapped, recorded during a run, checked, and kept as H5MD with units."""

from .atomistic import AtomisticTrajectory, read_topology
from .checks import BadFrames, FrameReport, check_frames
from .frames import Frames
from .h5md import Trajectory
from .mapped import map_trajectory
from .mlcg import MlcgTrajectory, write_mlcg
from .reporter import CGReporter
from .units import UNITS, Units

__all__ = [
    "UNITS",
    "AtomisticTrajectory",
    "BadFrames",
    "CGReporter",
    "FrameReport",
    "Frames",
    "MlcgTrajectory",
    "Trajectory",
    "Units",
    "check_frames",
    "map_trajectory",
    "read_topology",
    "write_mlcg",
]
