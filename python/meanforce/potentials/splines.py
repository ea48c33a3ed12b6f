# SPDX-License-Identifier: MIT
"""Cubic B-splines in a distance, and the pair potential made of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .base import Potential


class BSpline(torch.nn.Module):
    r"""Uniform cubic cardinal B-splines on [0, rc] that vanish smoothly at rc.

    With spacing D = rc / G, function k = 0 .. G - 1 is

        B_k(r) = B((r - rc + (G + 1 - k) D) / D),    B(u) = [relu(2 - \|u\|)^3 - 4 relu(1 - \|u\|)^3] / 6

    that is, it is centred at (k - 1) D. The support of the last one ends at rc, where value, slope and curvature of
    every function are 0. Any cubic spline on the knots n D with these three properties at rc is a sum of them.

    Parameters
    ----------
    cutoff : float
        rc, in nm.
    functions : int
        G, at least 4.
    """

    def __init__(self, cutoff: float, functions: int) -> None:
        super().__init__()
        if int(functions) != functions or functions < 4:
            raise ValueError(f"the number of B-spline functions must be an integer of at least 4, got {functions!r}")
        self.cutoff = float(cutoff)
        self.functions = int(functions)
        self.spacing = self.cutoff / self.functions

    def forward(self, distances: Tensor) -> Tensor:
        """Return the values of all functions, shape (P, G), at `distances`, shape (P,), in nm."""
        knot, local = self.local(distances)
        columns = knot.unsqueeze(1) + torch.arange(4, device=distances.device)
        values = torch.zeros(
            distances.shape[0], self.functions + 4, dtype=distances.dtype, device=distances.device
        ).scatter(1, columns, local)
        return values[:, : self.functions]

    def local(self, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Return the four functions that differ from 0 at each distance.

        Parameters
        ----------
        distances : Tensor
            Shape (P,), in nm.

        Returns
        -------
        knot : Tensor
            Shape (P,), int64: the first of the four, G at and beyond the cutoff. Functions G .. G + 3 do not exist.
        values : Tensor
            Shape (P, 4); those of functions that do not exist are to be ignored.
        """
        scaled = distances / self.spacing
        knot = scaled.detach().floor().clamp(0, self.functions)  # beyond rc everything falls into the columns cut off
        # Between knots n and n + 1, at r = (n + t) D, only functions n .. n + 3 differ from 0.
        t = (scaled - knot).unsqueeze(1)
        s = 1.0 - t
        tt, ss = t * t, s * s
        local = torch.cat([ss * s, 4.0 - 3.0 * tt * (1.0 + s), 4.0 - 3.0 * ss * (1.0 + t), tt * t], 1) / 6.0
        return knot.to(torch.long), local


class PairSpline(Potential):
    """Pair potential U = sum_{i<j} sum_k c_{tt'}[k] B_k(r_ij), the same for types (t, t') and (t', t).

    Parameters
    ----------
    num_types : int
        T.
    cutoff : float
        rc, in nm; the potential, its force and the force's slope vanish there.
    functions : int
        G, the number of B-splines per pair of types; knots lie rc / G apart.
    exclude_bonds : int
        Beads joined by a path of at most so many bonds do not see each other, as where bonded terms say how they
        interact: 0 for no exclusion, 3 if dihedrals have terms of their own. `set_bonds` says which are bonded.

    Attributes
    ----------
    coefficients : Parameter
        Shape (T (T + 1) / 2, G), in kJ/mol, initially 0. Row `pair_index(t, t')`.
    basis : BSpline
    """

    pair_table: Tensor
    excluded: Tensor

    def __init__(self, num_types: int, cutoff: float, functions: int, exclude_bonds: int = 0) -> None:
        super().__init__(num_types, cutoff)
        if int(exclude_bonds) != exclude_bonds or exclude_bonds < 0:
            raise ValueError(f"exclude_bonds must be a whole number >= 0, got {exclude_bonds!r}")
        self.exclude_bonds = int(exclude_bonds)
        self.copy_size = 0
        self.register_buffer("excluded", torch.zeros(0, dtype=torch.long), persistent=False)
        self.basis = BSpline(self.cutoff, functions)
        self.functions = self.basis.functions
        pairs = self.num_types * (self.num_types + 1) // 2
        self.coefficients = torch.nn.Parameter(torch.zeros(pairs, self.functions))
        table = torch.zeros(self.num_types, self.num_types, dtype=torch.long)
        for t in range(self.num_types):
            for s in range(self.num_types):
                table[t, s] = self.pair_index(t, s)
        self.register_buffer("pair_table", table, persistent=False)

    @torch.jit.unused
    def set_bonds(self, types: Sequence[int], bonds: Sequence[Sequence[int]]) -> None:
        """Say which beads are bonded; see Potential.set_bonds."""
        super().set_bonds(types, bonds)
        graph = self.bond_graph
        assert graph is not None
        self.copy_size = len(graph.types)
        keys = [i * self.copy_size + j for i, j in graph.pairs_within(self.exclude_bonds)]  # ascending
        self.excluded = torch.tensor(keys, dtype=torch.long, device=self.excluded.device)

    def is_seen(self, first: Tensor, second: Tensor) -> Tensor:
        """Return for each pair 1, or 0 if it is excluded, shape (P,)."""
        if self.copy_size == 0:
            raise ValueError("the pair potential excludes bonded beads: call set_bonds(types, bonds) first")
        if self.excluded.shape[0] == 0:
            return torch.ones_like(first)
        i, j = torch.remainder(first, self.copy_size), torch.remainder(second, self.copy_size)
        key = torch.minimum(i, j) * self.copy_size + torch.maximum(i, j)
        place = torch.searchsorted(self.excluded, key).clamp(max=self.excluded.shape[0] - 1)
        same_copy = torch.div(first, self.copy_size, rounding_mode="floor") == torch.div(
            second, self.copy_size, rounding_mode="floor"
        )
        return 1 - ((self.excluded.index_select(0, place) == key) & same_copy).to(first.dtype)

    @torch.jit.unused
    def pair_index(self, t: int, s: int) -> int:
        """Return the row of `coefficients` for types t and s: (0,0), (0,1), (1,1), (0,2), (1,2), (2,2), ..."""
        low, high = sorted((t, s))
        if low < 0 or high >= self.num_types:
            raise ValueError(f"types must lie in 0 .. {self.num_types - 1}, got {t} and {s}")
        return high * (high + 1) // 2 + low

    def bead_energies(self, displacements: Tensor, first: Tensor, second: Tensor, types: Tensor) -> Tensor:
        """Return each bead's share of the energy, shape (N,); see Potential.bead_energies."""
        values = self.basis(displacements.to(self.coefficients.dtype).square().sum(1).sqrt())
        if self.num_types == 1:
            energies = values @ self.coefficients[0]
        else:
            pair = self.pair_table[types.index_select(0, first), types.index_select(0, second)]
            energies = (values * self.coefficients.index_select(0, pair)).sum(1)
        if self.exclude_bonds > 0:
            energies = energies * self.is_seen(first, second)
        half = 0.5 * energies
        beads = torch.zeros(types.shape[0], dtype=half.dtype, device=half.device)
        return beads.index_add(0, first, half).index_add(0, second, half)

    @torch.jit.unused
    def knot_values(self, pair: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the spline at its knots, the form in which other programs take it.

        A natural cubic spline through these values is the same function, if the curvature vanishes at r = 0 too.

        Parameters
        ----------
        pair : int
            Row of `coefficients`.

        Returns
        -------
        r : ndarray
            Shape (G + 1,): 0, D, .. rc, in nm.
        u : ndarray
            Shape (G + 1,), in kJ/mol.

        Raises
        ------
        ValueError
            If the curvature at r = 0 differs from 0, that is if the first three coefficients do not lie on a line.
        """
        c = np.concatenate([self.coefficients[pair].detach().cpu().double().numpy(), np.zeros(3)])
        curvature = c[0] - 2 * c[1] + c[2]
        if abs(curvature) > 1e-6 * max(1.0, float(np.abs(c[:3]).max())):
            raise ValueError(
                f"coefficients {c[:3]} of pair {pair} must lie on a line (c0 - 2 c1 + c2 = 0, here {curvature}): "
                "the spline has to be linear in r near r = 0"
            )
        return np.arange(self.functions + 1) * self.basis.spacing, (c[:-2] + 4 * c[1:-1] + c[2:]) / 6

    @torch.jit.unused
    def components(self) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
        """Return the native description; see Potential.components."""
        coefficients = self.coefficients.detach().cpu().double().numpy()
        description: dict[str, Any] = {"kind": "pair-spline", "cutoff": self.cutoff, "functions": self.functions}
        description["exclude_bonds"] = self.exclude_bonds
        return [(description, {"coefficients": coefficients})]
