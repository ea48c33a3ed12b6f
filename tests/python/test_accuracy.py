# SPDX-License-Identifier: MIT
"""How well platforms agree with Reference, and tables with exact filters, in a box of a few hundred beads.

``pytest -s`` prints the table that stands in docs/validation.md.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import openmm
import pytest

from beads import evaluate, make_positions, make_system, new_context, reference
from conftest import TestPlatform
from families import FAMILIES
from test_schnet import Model as SchNet

COUNT = 200
BOX = np.array([[1.875, 0, 0], [0.5, 1.875, 0], [-0.375, 0.625, 1.75]])  # sums of powers of two: images are exact
SINGLE, DOUBLE, TABLES = 1e-5, 1e-9, 1e-6
"""Largest error of forces, of their root mean square: platforms in single and double, and tables by default."""


@dataclass(frozen=True)
class Errors:
    """Root mean square and largest error of forces, of their RMS; error of the energy per bead, of that times 1 nm."""

    rms: float
    largest: float
    energy: float

    def __str__(self) -> str:
        return f"{self.rms:.1e} | {self.largest:.1e} | {self.energy:.1e}"


def errors(found: tuple[float, np.ndarray], exact: tuple[float, np.ndarray]) -> Errors:
    scale = np.sqrt(np.mean(exact[1] ** 2))
    assert scale > 10
    difference = (found[1] - exact[1]) / scale
    return Errors(
        float(np.sqrt(np.mean(difference**2))),
        float(np.abs(difference).max()),
        abs(found[0] - exact[0]) / COUNT / scale,
    )


@functools.cache
def liquid(name: str) -> tuple[openmm.System, np.ndarray, tuple[float, np.ndarray]]:
    """Return a System, positions that are exact in single precision, and Reference's energy and forces."""
    system = make_system(FAMILIES[name](np.arange(COUNT) % 2, True), COUNT, BOX)
    positions = make_positions(COUNT, BOX, distance=0.18)
    return system, positions, reference(system, positions)


@pytest.mark.parametrize("name", FAMILIES)
def test_platforms_agree(platform: TestPlatform, name: str) -> None:
    if platform.name == "Reference":
        pytest.skip("compares with Reference")
    system, positions, exact = liquid(name)
    found = errors(evaluate(new_context(platform, system, positions)), exact)
    print(f"\n| {name} | {platform} | {found} |")
    limit = SINGLE if platform.name == "CPU" else platform.tolerance(SINGLE, SINGLE, DOUBLE)
    assert found.rms < limit
    assert found.energy < limit


@pytest.mark.parametrize("basis", ["expnormal", "gaussian"])
def test_tables_agree_with_exact_filters(basis: str) -> None:
    """On configurations other than those that the grid was chosen with."""
    model = SchNet(basis=basis)
    positions = make_positions(COUNT, BOX, distance=0.18)
    exact = reference(make_system(model(np.arange(COUNT) % 2, True), COUNT, BOX), positions)
    force = model(np.arange(COUNT) % 2, True)
    reported = force.tabulateFilters()
    degree, intervals = force.getFilterGrid()
    system = make_system(force, COUNT, BOX)
    found = errors(reference(system, positions), exact)
    print(f"\n| tables of {intervals} intervals, degree {degree}, {basis}; reported {reported:.1e} | {found} |")
    assert found.rms < TABLES
    assert found.energy < TABLES
    # The control: too coarse a grid.
    force.setFilterGrid(degree, intervals // 8)
    assert errors(reference(system, positions), exact).rms > TABLES
