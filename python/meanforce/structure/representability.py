# SPDX-License-Identifier: MIT
"""Whether a pair potential can be the potential of mean force of a liquid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from openmm import unit

from .._openmm import strip_units
from .blocks import BLOCKS
from .distributions import Divergence
from .frames import checked_frames
from .radial import pairs_within, rdf
from .ybg import Hats

RANGES = (1.5, 1.8)
"""Ranges of the three-body terms, in units of the distance at which g(r) first reaches 1, within the cutoff."""

DECAY = 0.3
"""Their gamma, in units of the range."""

NEGLIGIBLE = 0.01
"""Three-body forces below this share of what can be explained at all count as none."""

SURE = 3.0
"""Standard errors by which a verdict must be clear of `NEGLIGIBLE`."""


@dataclass(frozen=True)
class Representability:
    """What pair forces and pair + three-body forces explain of the forces on held-out blocks.

    Attributes
    ----------
    unexplained_pair, unexplained_many_body : float
        Share of the mean squared force that the best pair force leaves, and the best sum of pair and three-body forces
        (quadratic in the cosine, two ranges). Instantaneous forces on coarse beads are noisy: most of both is noise.
    gain, gain_error : float
        Three-body share of the explained force: their difference over 1 - `unexplained_many_body`.
    verdict : str
        ``"can"``, ``"cannot"`` or ``"undecided"``: whether a pair potential can represent the mean forces.
    angles : Divergence or None
        Of the neighbour angles in a simulation of the pair model from those of the reference, if one was given.
    """

    unexplained_pair: float
    unexplained_many_body: float
    gain: float
    gain_error: float
    verdict: str
    angles: Divergence | None = None

    def __str__(self) -> str:
        lines = [
            f"A pair potential {self.verdict.replace('undecided', 'may or may not')} reproduce these distributions.",
            f"  pair forces leave unexplained            {self.unexplained_pair:.4f} of the squared force",
            f"  pair and three-body forces leave         {self.unexplained_many_body:.4f}",
            f"  three-body share of the explained force  {self.gain:.4f} +- {self.gain_error:.4f}"
            f" (none: below {NEGLIGIBLE})",
        ]
        if self.angles is not None:
            lines.append(
                f"  angles of the pair model: {self.angles.value:.4f} nats from the reference, floor"
                f" {self.angles.floor:.4f}"
            )
        return "\n".join(lines)


def pair_representability(
    positions: Any,
    box: Any,
    forces: Any,
    cutoff: float = 0.9,
    spacing: float = 0.01,
    blocks: int = BLOCKS,
    angles: Divergence | None = None,
) -> Representability:
    """Judge from frames with forces whether a pair potential suffices for a liquid of one type of bead.

    By Henderson's theorem some pair potential gives almost any g(r), so g(r) cannot tell. The potential of mean force
    is a sum over pairs only if no other function of the positions explains more of the mean force; the least costly one
    that could is a three-body term. Both are fitted by linear least squares on all blocks but one and judged on that
    one (doi:10.1063/1.2938860 for the many-body view of force matching).

    Parameters
    ----------
    positions : (n_frames, n, 3)
        In nm.
    box : (3, 3) or (n_frames, 3, 3)
        In nm.
    forces : (n_frames, n, 3)
        In kJ/mol/nm.
    cutoff, spacing
        Of the pair force, a piecewise linear function with nodes `spacing` apart, in nm.
    blocks
        Number of consecutive blocks of frames.
    angles : Divergence, optional
        Of a simulated pair model's neighbour angles, shown beside the verdict; at ten times its floor, the verdict
        cannot be "can".

    Raises
    ------
    ValueError
        If shapes disagree or there are fewer than three blocks of frames.
    ImportError
        If torch, which evaluates the three-body terms, is missing.
    """
    x, boxes = checked_frames(positions, box)
    f = np.asarray(strip_units(forces, unit.kilojoule_per_mole / unit.nanometer), dtype=float)
    if f.shape != x.shape:
        raise ValueError(f"`forces` must have the shape {x.shape} of the positions, got {f.shape}")
    if min(blocks, len(x)) < 3:
        raise ValueError(f"at least three blocks of frames are needed, got {min(blocks, len(x))}")
    hats = Hats(cutoff, round(cutoff / spacing))
    g = rdf(x, boxes, cutoff, hats.nodes.size)
    if g.g.max() < 1:
        raise ValueError(f"g(r) does not reach 1 within the cutoff of {cutoff} nm")
    contact = float(g.r[np.argmax(g.g >= 1)])
    three_body = _three_body_terms(sorted({min(r * contact, cutoff) for r in RANGES}))
    m = len(hats.nodes)
    normal, right, square = [], [], []
    for part in np.array_split(np.arange(len(x)), min(blocks, len(x))):
        n, b, s = 0.0, 0.0, 0.0
        for k in part:
            first, second, displacements = pairs_within(x[k], boxes[k], cutoff)
            pair = hats.design(x.shape[1], first, second, displacements).toarray()
            design = np.concatenate([pair, three_body(x[k], boxes[k])], axis=1)
            n, b, s = n + design.T @ design, b + design.T @ f[k].reshape(-1), s + np.sum(f[k] ** 2)
        normal.append(n)
        right.append(b)
        square.append(s)
    matrix, vector, total = (np.array(v) for v in (normal, right, square))
    pair_left = _held_out(matrix[:, :m, :m], vector[:, :m], total, m)
    many_left = _held_out(matrix, vector, total, m)
    u_pair, u_many = pair_left.mean(), many_left.mean()
    explained = max(1.0 - u_many, 1e-12)
    gains = (pair_left - many_left) / explained
    gain, error = float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains)))
    if gain - SURE * error > NEGLIGIBLE:
        verdict = "cannot"
    elif gain + SURE * error < NEGLIGIBLE:
        verdict = "can"
    else:
        verdict = "undecided"
    if verdict == "can" and angles is not None and angles.value > 10 * angles.floor:
        verdict = "undecided"
    return Representability(float(u_pair), float(u_many), gain, error, verdict, angles)


def _held_out(normal: np.ndarray, right: np.ndarray, square: np.ndarray, pairs: int) -> np.ndarray:
    """Return the unexplained share of each block by the fit to all others."""
    size = normal.shape[1]
    bending = np.zeros((size, size))
    second = np.diff(np.eye(pairs), 2, axis=0)
    left = []
    for k in range(len(normal)):
        matrix, vector = normal.sum(0) - normal[k], right.sum(0) - right[k]
        # Columns differ in scale by many orders of magnitude; a node that no pair visits has none.
        scale = np.sqrt(np.where(np.diag(matrix) > 0, np.diag(matrix), 1.0))
        bending[:pairs, :pairs] = 1e-6 * np.trace(matrix[:pairs, :pairs]) / pairs * second.T @ second
        c = np.linalg.lstsq((matrix + bending) / np.outer(scale, scale), vector / scale, rcond=1e-12)[0] / scale
        left.append((square[k] - 2 * c @ right[k] + c @ normal[k] @ c) / square[k])
    return np.array(left)


def _three_body_terms(ranges: list[float]) -> Any:
    """Return a function of positions and box that gives the forces of each three-body term, (3 n, 3 len(ranges))."""
    try:
        import torch
    except ImportError:
        raise ImportError("three-body terms are evaluated by torch: pip install 'meanforce[train]'") from None
    from ..potentials import StillingerWeber

    terms = []
    for a in ranges:
        for power in range(3):
            term = StillingerWeber(1, a, DECAY * a).double().requires_grad_(False)
            term.coefficients[0, 0, power] = 1.0
            terms.append(term)

    def forces(x: np.ndarray, box: np.ndarray) -> np.ndarray:
        vectors = torch.from_numpy(np.array(box))
        types = torch.zeros(len(x), dtype=torch.long)
        columns = []
        for term in terms:
            positions = torch.from_numpy(np.array(x)).requires_grad_(True)
            (gradient,) = torch.autograd.grad(term(positions, types, vectors), positions)
            columns.append(-gradient.numpy().reshape(-1))
        return np.stack(columns, axis=1)

    return forces
