# SPDX-License-Identifier: MIT
"""Displacements at their nearest periodic images."""

from __future__ import annotations

import numpy as np


def minimum_image(displacements: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return displacements ([n_frames,] n, 3) at their nearest images.

    `box` is ([n_frames,] 3, 3) in OpenMM's reduced form. The result is exact for displacements shorter than half the
    box's smallest width.
    """
    d = np.array(displacements)
    for k in (2, 1, 0):
        vector = box[..., k, :][..., None, :]
        d -= np.round(d[..., k : k + 1] / vector[..., k : k + 1]) * vector
    return d
