# SPDX-License-Identifier: MIT
"""PairSplineForce against SciPy's B-splines, finite differences, and platforms against Reference."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import openmm
import pytest
from openmm import unit
from scipy.interpolate import BSpline

import beads
from beads import BOXES, REFERENCE, evaluate, make_positions, make_system, new_context, reference
from conftest import TestPlatform
from meanforce import PairSplineForce

CUTOFF = 0.45
FUNCTIONS = 15


def limit(platform: TestPlatform) -> float:
    """Force error over force RMS: doubles on the CPU platform too."""
    return platform.tolerance(1e-5, 1e-5, 1e-9)


def make_coefficients(num_types: int, seed: int = 1) -> np.ndarray:
    """Random attraction on top of a repulsive core; forces of the order of 100 kJ/mol/nm."""
    rng = np.random.default_rng(seed)
    r = (np.arange(FUNCTIONS) - 1) * CUTOFF / FUNCTIONS
    core = 800 * np.maximum(0, 0.3 - r) ** 2
    return core + rng.normal(size=(num_types * (num_types + 1) // 2, FUNCTIONS))


def make_force(types: Any, periodic: bool, num_types: int = 1, exclusions: Any = ()) -> PairSplineForce:
    force = PairSplineForce(num_types, CUTOFF * unit.nanometer)
    force.setCoefficients(make_coefficients(num_types))
    force.setUsesPeriodicBoundaryConditions(periodic)
    for type in types:
        force.addParticle(type)
    for pair in exclusions:
        force.addExclusion(*pair)
    return force


def make_mixture(types: Any, periodic: bool) -> PairSplineForce:
    return make_force(types, periodic, 3)


def test_pairs_are_the_splines_of_scipy() -> None:
    spacing = CUTOFF / FUNCTIONS
    # Three functions more, with coefficients 0: SciPy continues the polynomials beyond the knots that it knows fully.
    coefficients = np.pad(make_coefficients(3), ((0, 0), (0, 3)))
    # Function k is centred at (k - 1) D: its support begins at the knot (k - 3) D.
    knots = (np.arange(FUNCTIONS + 7) - 3) * spacing
    rows = {(0, 0): 0, (0, 1): 1, (1, 1): 2, (0, 2): 3, (1, 2): 4, (2, 2): 5}
    for (s, t), row in rows.items():
        spline = BSpline(knots, coefficients[row], 3)
        for types in ((s, t), (t, s)):
            context = new_context(REFERENCE, make_system(make_mixture(types, False), 2), np.zeros((2, 3)))
            for r in (1e-7, 0.0123, 0.03, 0.2, 0.31, 0.4499):
                context.setPositions([[0, 0, 0], [0, 0, r]])
                energy, forces = evaluate(context)
                assert energy == pytest.approx(spline(r), rel=1e-9, abs=1e-12)
                assert forces[0, 2] == pytest.approx(spline(r, 1), rel=1e-9, abs=1e-9)
                np.testing.assert_allclose(forces[1], -forces[0])
    # A wrong row is seen.
    assert abs(BSpline(knots, coefficients[2], 3)(0.31) - BSpline(knots, coefficients[3], 3)(0.31)) > 0.1


@pytest.mark.parametrize("box", BOXES)
def test_reference_forces_are_the_gradient(box: str) -> None:
    beads.check_gradient(make_mixture, np.arange(30) % 3, BOXES[box])


@pytest.mark.parametrize("box", BOXES)
def test_platform_equals_reference(platform: TestPlatform, box: str) -> None:
    beads.check_platform(platform, make_mixture, np.arange(40) % 3, BOXES[box], limit(platform))
    beads.check_platform(platform, make_force, [0] * 40, BOXES[box], limit(platform))


def test_each_platform_runs_its_own_kernel(platform: TestPlatform) -> None:
    beads.check_kernel_class(platform, make_force([0, 0], False), 2)


def test_replicas() -> None:
    beads.check_replicas(make_force)


def test_isolated_beads_and_absent_particles(platform: TestPlatform) -> None:
    beads.check_isolated_and_absent(platform, make_force)


def test_coinciding_beads_give_finite_forces(platform: TestPlatform) -> None:
    beads.check_coinciding(platform, make_force)


def test_crowded_rows(platform: TestPlatform) -> None:
    beads.check_crowd(platform, make_force, BOXES["triclinic"])


def test_repeatable(platform: TestPlatform) -> None:
    beads.check_repeatable(platform, make_force)


def test_smooth_at_the_cutoff(platform: TestPlatform) -> None:
    """The force falls to zero with the square of the distance to the cutoff."""
    context = new_context(platform, make_system(make_force([0, 0], False), 2), np.zeros((2, 3)))
    found = {}
    for gap in (0.02, 0.01, 0.0, -0.01):
        context.setPositions([[0, 0, 0], [CUTOFF - gap, 0, 0]])
        found[gap] = evaluate(context)[1][0, 0]
    assert found[0.02] / found[0.01] == pytest.approx(4, rel=1e-2)
    assert abs(found[0.0]) < 1e-6 * abs(found[0.01])
    assert found[-0.01] == 0


def chain(count: int) -> list[tuple[int, int]]:
    """First and second neighbours along a chain, in either order."""
    return [(i, i + 1) for i in range(count - 1)] + [(i + 2, i) for i in range(count - 2)]


def test_exclusions(platform: TestPlatform) -> None:
    """What the exclusions take away is the energy of just those pairs, each alone."""
    count, box = 24, BOXES["triclinic"]
    types = np.arange(count) % 3
    positions = make_positions(count, box)
    pairs = chain(count)
    system = make_system(make_force(types, True, 3, pairs), count, box)
    found, full = (
        evaluate(new_context(platform, s, positions))
        for s in (system, make_system(make_mixture(types, True), count, box))
    )
    energy, forces = 0.0, np.zeros((count, 3))
    for i, j in pairs:
        alone = reference(make_system(make_mixture(types[[i, j]], True), 2, box), positions[[i, j]])
        energy += alone[0]
        forces[[i, j]] += alone[1]
    rms = np.sqrt(np.mean(full[1] ** 2))
    assert np.abs(forces).max() > 0.1 * rms
    assert full[0] - energy == pytest.approx(found[0], rel=max(limit(platform), 1e-6))
    assert np.sqrt(np.mean((full[1] - forces - found[1]) ** 2)) < max(limit(platform), 1e-9) * 3 * rms
    # The same pairs in other words.
    swapped = make_force(types, True, 3, [(j, i) for i, j in reversed(pairs)])
    assert np.array_equal(evaluate(new_context(platform, make_system(swapped, count, box), positions))[1], found[1])


def test_dynamics_of_chains(platform: TestPlatform) -> None:
    """Bonded chains with exclusions, which OpenMM reorders as whole molecules, next to free beads."""
    chains, length, free = 12, 5, 40
    force = make_force([0] * (chains * length + free), True)
    bonds = openmm.HarmonicBondForce()
    for first in range(0, chains * length, length):
        for i, j in chain(length):
            force.addExclusion(first + i, first + j)
        for i in range(first, first + length - 1):
            bonds.addBond(i, i + 1, 0.2, 5000.0)
    bonds.setUsesPeriodicBoundaryConditions(True)
    beads.check_dynamics(platform, force, [bonds], 2.0, limit(platform))


def test_cpu_threads() -> None:
    """Bitwise repeatable for a given number of threads; between numbers sums differ in the last bits only."""
    count, box = 1600, np.diag([3.75, 3.75, 3.75])
    lattice = np.stack(np.meshgrid(*[np.arange(12)] * 3), -1).reshape(-1, 3)[:count] * 0.3125
    positions = lattice + np.random.default_rng(1).normal(scale=0.03, size=lattice.shape)
    system = make_system(make_force([0] * count, True), count, box)
    expected = beads.evaluate_with_threads(system, positions, 1)
    for threads in (2, 3):
        found = beads.evaluate_with_threads(system, positions, threads)
        assert np.abs(found[1] - expected[1]).max() < 1e-11 * np.abs(expected[1]).max()
        assert found[0] == pytest.approx(expected[0], rel=1e-7)
        assert np.array_equal(beads.evaluate_with_threads(system, positions, threads)[1], found[1])


def test_update_parameters_in_context(platform: TestPlatform) -> None:
    count = 25
    positions = make_positions(count, None)
    force = make_force(np.arange(count) % 2, False, 2)
    context = new_context(platform, make_system(force, count), positions)
    before = evaluate(context)
    types = [[1, -1, 0][i % 3] for i in range(count)]
    changed = make_force(types, False, 2)
    for f in (force, changed):
        f.setCoefficients(make_coefficients(2, seed=7))
    for i, type in enumerate(types):
        force.setParticleType(i, type)
    force.updateParametersInContext(context)
    expected = reference(make_system(changed, count), positions)
    beads.assert_same(platform, evaluate(context), expected)
    assert abs(before[0] - expected[0]) > 1
    force.setCoefficients(np.zeros((3, 9)))
    with pytest.raises(openmm.OpenMMException, match="change the number of functions from 15 to 9"):
        force.updateParametersInContext(context)
    force.setCoefficients(np.zeros((3, FUNCTIONS)))
    force.addExclusion(0, 1)
    with pytest.raises(openmm.OpenMMException, match="change the number of exclusions from 0 to 1"):
        force.updateParametersInContext(context)


def test_round_trips() -> None:
    original = make_force([0, -1, 1, 0], True, 2, [(3, 0), (1, 2)])
    for force in beads.round_trips(original):
        assert np.array_equal(force.getCoefficients(), make_coefficients(2))
        assert [force.getExclusionParticles(i) for i in range(force.getNumExclusions())] == [(3, 0), (1, 2)]
        with pytest.raises(ValueError, match="only once"):
            force.addExclusion(0, 3)
    assert pickle.loads(pickle.dumps(PairSplineForce(2, 0.5))).getCoefficients().shape == (3, 0)


def test_bad_arguments() -> None:
    for arguments, message in (
        ((0, 0.5), "number of types must be at least 1, found 0"),
        ((1, -0.5), r"cutoff must be positive \(nm\), found -0.5"),
    ):
        with pytest.raises(ValueError, match=message):
            PairSplineForce(*arguments)
    force = PairSplineForce(2, 0.5)
    with pytest.raises(ValueError, match=r"coefficients must have shape \(3, any\).*found \(2, 8\)"):
        force.setCoefficients(np.zeros((2, 8)))
    with pytest.raises(
        ValueError, match="multiple of the number of pairs of types, 3, and at least 4 times as large, found 9"
    ):
        force.setCoefficients(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="coefficients must be finite, found nan at position 0"):
        force.setCoefficients(np.full((3, 8), np.nan))
    with pytest.raises(ValueError, match="two different particles, with indices of at least 0, found 1 and 1"):
        force.addExclusion(1, 1)
    with pytest.raises(ValueError, match="found -1 and 1"):
        force.addExclusion(-1, 1)
    force.addExclusion(0, 1)
    with pytest.raises(ValueError, match="excluded only once, found 1 and 0"):
        force.addExclusion(1, 0)
    with pytest.raises(ValueError, match="must be at least 0 and less than 1, found 1"):
        force.getExclusionParticles(1)


def test_incomplete_forces_are_refused() -> None:
    def refuse(force: PairSplineForce, message: str, box: Any = None) -> None:
        with pytest.raises(openmm.OpenMMException, match=message):
            REFERENCE.context(make_system(copy.copy(force), 1, box), openmm.VerletIntegrator(0.001))

    force = PairSplineForce(1, CUTOFF)
    refuse(force, "number of particles must be that of the System, 1, found 0")
    force.addParticle(0)
    refuse(force, r"setCoefficients\(\) must be called")
    force.setCoefficients(np.zeros((1, 8)))
    force.addExclusion(0, 1)
    refuse(force, "particles with indices less than 1, found 0 and 1")
    force = make_force([0], True)
    refuse(force, "box must be at least twice the cutoff", np.diag([0.8, 2, 2]))
