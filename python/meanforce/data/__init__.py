# SPDX-License-Identifier: MIT
"""Frames of atoms and of beads: read, mapped, recorded during a run, checked, and kept as H5MD with units."""

from .frames import Frames
from .h5md import Trajectory
from .reporter import CGReporter

__all__ = ["CGReporter", "Frames", "Trajectory"]
