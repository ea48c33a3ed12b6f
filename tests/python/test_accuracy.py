# SPDX-License-Identifier: MIT
"""How well platforms agree with Reference, and tables with exact filters, in boxes of a few hundred beads.

``pytest -s`` prints the table that stands in docs/validation.md.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import openmm
import pytest

from beads import evaluate, make_positions, make_system, reference
from conftest import TestPlatform
from families import FAMILIES
from test_schnet import Model as SchNet

COUNT = 200
BOX = np.array([[1.875, 0, 0], [0.5, 1.875, 0], [-0.375, 0.625, 1.75]])
#: Boxes, and seeds of positions that are exact in single precision. Only the first box is exact, too. With L = 4,
#: displacements from rounded box vectors, or from positions boxes apart, made errors of up to 3e-5 of what is 5e-6 now.
LIQUIDS = ((BOX, 2), (BOX, 4), (1.0123 * BOX, 4), (1.1391 * BOX, 3), (np.diag([1.9123, 2.0345, 1.8777]), 4))
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
def liquids(name: str) -> tuple[openmm.System, list[tuple[float, np.ndarray]]]:
    """Return a System, and Reference's energies and forces in each box."""
    system = make_system(FAMILIES[name](np.arange(COUNT) % 2, True), COUNT, BOX)
    return system, evaluate_liquids(TestPlatform("Reference"), system)


@functools.cache
def places() -> list[np.ndarray]:
    return [make_positions(COUNT, box, seed=seed, distance=0.18) for box, seed in LIQUIDS]


def evaluate_liquids(platform: TestPlatform, system: openmm.System) -> list[tuple[float, np.ndarray]]:
    context = platform.context(system, openmm.VerletIntegrator(0.001))
    found = []
    for (box, _), positions in zip(LIQUIDS, places(), strict=True):
        context.setPeriodicBoxVectors(*box)
        context.setPositions(positions)
        found.append(evaluate(context))
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_platforms_agree(platform: TestPlatform, name: str) -> None:
    if platform.name == "Reference":
        pytest.skip("compares with Reference")
    system, exact = liquids(name)
    limit = SINGLE if platform.name == "CPU" else platform.tolerance(SINGLE, SINGLE, DOUBLE)
    all_found = [errors(*both) for both in zip(evaluate_liquids(platform, system), exact, strict=True)]
    worst = max(all_found, key=lambda found: found.rms)
    print(f"\n| {name} | {platform} | {worst} |")
    assert worst.rms < limit
    assert max(found.energy for found in all_found) < limit


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
