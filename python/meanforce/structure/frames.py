# SPDX-License-Identifier: MIT
"""What every structure function asks of positions and boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
from openmm import unit

from .._openmm import strip_units


def checked_positions(positions: Any) -> np.ndarray:
    """Return positions as an array (n_frames, n, 3) in nm."""
    x = np.asarray(strip_units(positions, unit.nanometer), dtype=float)
    if x.ndim != 3 or x.shape[-1] != 3 or len(x) == 0:
        raise ValueError(f"`positions` must have shape (n_frames, n, 3) with at least one frame, got {x.shape}")
    return x


def checked_frames(positions: Any, box: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (n_frames, n, 3) and boxes (n_frames, 3, 3) in nm."""
    x = checked_positions(positions)
    boxes = np.asarray(strip_units(box, unit.nanometer), dtype=float)
    if boxes.shape not in ((3, 3), (len(x), 3, 3)):
        raise ValueError(f"`box` must have shape (3, 3) or ({len(x)}, 3, 3), got {boxes.shape}")
    return x, np.broadcast_to(boxes, (len(x), 3, 3))
