# SPDX-License-Identifier: MIT
"""Who is bonded to whom, and what follows from it: angles, dihedrals, impropers, excluded pairs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class BondGraph:
    """The beads of one copy of a system: their types, and the bonds between them.

    Parameters
    ----------
    types : tuple of int
        The type of each bead.
    bonds : tuple of (int, int)
        Each bond once, smaller index first.
    """

    types: tuple[int, ...]
    bonds: tuple[tuple[int, int], ...]

    @classmethod
    def create(cls, types: Iterable[int], bonds: Iterable[Sequence[int]]) -> BondGraph:
        """Return a checked graph; bonds may come in any order and twice.

        Raises
        ------
        ValueError
            If a bond joins a bead to itself or names one that does not exist.
        """
        beads = tuple(int(t) for t in types)
        pairs = set()
        for bond in bonds:
            i, j = sorted(int(b) for b in bond)
            if i == j or i < 0 or j >= len(beads):
                raise ValueError(f"a bond must join two different beads of 0 .. {len(beads) - 1}, got {tuple(bond)}")
            pairs.add((i, j))
        return cls(beads, tuple(sorted(pairs)))

    @cached_property
    def neighbors(self) -> list[list[int]]:
        """The beads bonded to each bead, ascending."""
        rows: list[list[int]] = [[] for _ in self.types]
        for i, j in self.bonds:
            rows[i].append(j)
            rows[j].append(i)
        return [sorted(row) for row in rows]

    @cached_property
    def angles(self) -> list[tuple[int, int, int]]:
        """All (i, j, k) with bonds i-j and j-k, each once."""
        return [(i, j, k) for j, row in enumerate(self.neighbors) for i, k in itertools.combinations(row, 2)]

    @cached_property
    def dihedrals(self) -> list[tuple[int, int, int, int]]:
        """All (i, j, k, l) with bonds i-j, j-k and k-l, each once."""
        return [
            (i, j, k, m)
            for j, k in self.bonds
            for i in self.neighbors[j]
            for m in self.neighbors[k]
            if i != k and m not in (i, j)
        ]

    @cached_property
    def impropers(self) -> list[tuple[int, int, int, int]]:
        """All (centre, i, j, k) with bonds from the centre to three others, each once."""
        return [(c, *three) for c, row in enumerate(self.neighbors) for three in itertools.combinations(row, 3)]

    def pairs_within(self, bonds: int) -> list[tuple[int, int]]:
        """Return the pairs of beads joined by a path of at most `bonds` bonds, each once, in ascending order."""
        found = set()
        for start in range(len(self.types)):
            seen, front = {start}, {start}
            for _ in range(bonds):
                front = {j for i in front for j in self.neighbors[i]} - seen
                seen |= front
            found |= {(start, j) for j in seen if j > start}
        return sorted(found)

    def terms(self, name: str, rows: Sequence[Sequence[int]]) -> tuple[list[tuple[int, ...]], list[int]]:
        """Return the tuples of beads that a bonded term acts on, and the row of its parameters for each.

        Parameters
        ----------
        name : str
            ``"bonds"``, ``"angles"``, ``"dihedrals"`` or ``"impropers"``.
        rows : sequence of tuples of int
            For each row of parameters the types of the beads it is meant for. A bond, angle or dihedral may be read
            from either end. In an improper the centre comes first; its three neighbours are put into the order of the
            row, those of the same type in ascending order of their index.

        Raises
        ------
        ValueError
            If there are no parameters for a bond. Angles, dihedrals and impropers may be left free.
        """
        number = {tuple(row): n for n, row in enumerate(rows)}
        beads: list[tuple[int, ...]] = []
        found: list[int] = []
        for candidate in getattr(self, name):
            for order in _orders(name, candidate):
                row = number.get(tuple(self.types[i] for i in order))
                if row is not None:
                    beads.append(order)
                    found.append(row)
                    break
            else:
                if name == "bonds":
                    kinds = tuple(self.types[i] for i in candidate)
                    raise ValueError(
                        f"the potential has no parameters for the bond of beads {candidate}, types {kinds}; "
                        f"it has them for {sorted(number)}"
                    )
        return beads, found


def _orders(name: str, beads: tuple[int, ...]) -> Iterable[tuple[int, ...]]:
    if name == "impropers":
        return [(beads[0], *three) for three in itertools.permutations(beads[1:])]
    return [beads, beads[::-1]]
