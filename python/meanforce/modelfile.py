# SPDX-License-Identifier: MIT
"""model.pt: one file with a TorchScript potential and its native description."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BeadType:
    """A type of bead: what a topology calls it, and its mass.

    Parameters
    ----------
    name : str
        Atom name in the topology.
    residue : str
        Name of the residue it belongs to; empty if it doesn't matter.
    mass : float or None
        In dalton; None if the model doesn't fix it.
    """

    name: str
    residue: str = ""
    mass: float | None = None
