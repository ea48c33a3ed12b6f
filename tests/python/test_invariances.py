# SPDX-License-Identifier: MIT
"""Laws that hold for every force at all positions, on random systems: what moving, renumbering and turning change."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import openmm
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beads import Maker, evaluate, make_system
from conftest import TestPlatform
from families import FAMILIES

COUNT = 26
CELL = np.array([[1.25, 0, 0], [0.375, 1.25, 0], [-0.25, 0.5, 1.0]])
"""Box vectors (nm); the cutoff of all families is 0.45 nm."""


@dataclasses.dataclass
class Beads:
    """Random beads without a box, or in a triclinic one, some of them boxes away."""

    positions: np.ndarray
    types: np.ndarray
    box: np.ndarray | None
    rng: np.random.Generator


@st.composite
def random_beads(draw: Any, periodic: bool) -> Beads:
    """Beads at densities up to 50 per nm^3, none closer to another than 0.1 nm: forces stay of one size."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.floats(0.8, 1.6))
    frame = np.round(CELL * max(1.0, scale), 3) if periodic else np.eye(3) * scale
    shifts = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T @ frame * periodic
    found: list[np.ndarray] = []
    while len(found) < COUNT:
        trial = rng.uniform(size=3) @ frame
        if all(np.linalg.norm(trial - other + shifts, axis=1).min() > 0.1 for other in found):
            found.append(trial)
    positions = np.array(found)
    if periodic:
        positions = positions + rng.integers(-2, 3, (COUNT, 3)) @ frame
    types = rng.integers(0, 2, COUNT)
    return Beads(positions, types, frame if periodic else None, rng)


class Model:
    """Evaluates one force on a platform. A Context is kept: types and box are changed in it."""

    def __init__(self, platform: TestPlatform, make: Maker, periodic: bool, other: openmm.Force | None = None) -> None:
        self.force = make(np.arange(COUNT) % 2, periodic)
        system = make_system(self.force, COUNT, 2 * CELL if periodic else None)
        if other is not None:
            system.addForce(other)
        self.context = platform.context(system, openmm.VerletIntegrator(0.001))
        # Positions of single precision are rounded: an error of the force's slope times 1e-7 nm.
        self.rounding = 3e-4 if platform.precision in ("single", "mixed") else 2e-5 if platform.name == "CPU" else 1e-9

    def __call__(self, positions: np.ndarray, types: np.ndarray, box: np.ndarray | None) -> tuple[float, np.ndarray]:
        for i, bead_type in enumerate(types):
            self.force.setParticleType(i, int(bead_type))
        self.force.updateParametersInContext(self.context)
        if box is not None:
            self.context.setPeriodicBoxVectors(*box)
        self.context.setPositions(positions)
        return evaluate(self.context)

    def assert_same(self, found: tuple[float, np.ndarray], expected: tuple[float, np.ndarray]) -> None:
        scale = np.abs(expected[1]).max()
        assert np.abs(found[1] - expected[1]).max() <= self.rounding * scale
        assert abs(found[0] - expected[0]) <= self.rounding * scale


def check_translation(model: Model, beads: Beads, expected: tuple[float, np.ndarray]) -> None:
    moved = beads.positions + beads.rng.uniform(-3, 3, 3)
    model.assert_same(model(moved, beads.types, beads.box), expected)


def check_permutation(model: Model, beads: Beads, expected: tuple[float, np.ndarray]) -> None:
    """Equal beads in another order, and then all of them with their types."""
    order = np.arange(COUNT)
    for bead_type in (0, 1):
        equal = np.flatnonzero(beads.types == bead_type)
        order[equal] = beads.rng.permutation(equal)
    for shuffled in (order, beads.rng.permutation(COUNT)):
        found = model(beads.positions[shuffled], beads.types[shuffled], beads.box)
        model.assert_same(found, (expected[0], expected[1][shuffled]))


def check_sum_of_forces(model: Model, beads: Beads, expected: tuple[float, np.ndarray]) -> None:
    assert np.abs(expected[1].sum(0)).max() <= model.rounding * np.abs(expected[1]).max()


def check_images(model: Model, beads: Beads, expected: tuple[float, np.ndarray]) -> None:
    """Only with a box: a bead may be replaced by any of its images."""
    if beads.box is not None:
        moved = beads.positions + beads.rng.integers(-2, 3, (COUNT, 3)) @ beads.box
        model.assert_same(model(moved, beads.types, beads.box), expected)


def check_rotation(model: Model, beads: Beads, expected: tuple[float, np.ndarray]) -> None:
    """Only without a box: forces turn with the beads, and give no torque."""
    if beads.box is None:
        torque = np.cross(beads.positions, expected[1]).sum(0)
        assert np.abs(torque).max() <= model.rounding * np.abs(expected[1]).max()
        turn = np.linalg.qr(beads.rng.normal(size=(3, 3)))[0]
        turn *= np.linalg.det(turn)  # a rotation, not a reflection: odd products know the difference
        found = model(beads.positions @ turn.T, beads.types, None)
        model.assert_same(found, (expected[0], expected[1] @ turn.T))


LAWS = (check_translation, check_permutation, check_sum_of_forces, check_images, check_rotation)


@functools.cache
def kept_model(platform: TestPlatform, name: str, periodic: bool) -> Model:
    return Model(platform, FAMILIES[name], periodic)


@pytest.mark.parametrize("periodic", [False, True], ids=["no box", "box"])
@pytest.mark.parametrize("name", FAMILIES)
def test_laws(platform: TestPlatform, name: str, periodic: bool) -> None:
    model = kept_model(platform, name, periodic)

    @settings(
        max_examples=25 if platform.name in ("Reference", "CPU") else 3,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(beads=random_beads(periodic))
    def laws_hold(beads: Beads) -> None:
        expected = model(beads.positions, beads.types, beads.box)
        assert np.abs(expected[1]).max() > 1.0
        for check in LAWS:
            check(model, beads, expected)

    laws_hold()


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("check_"))
def test_a_weak_force_that_breaks_every_law_is_noticed(law: Any) -> None:
    periodic = law is check_images
    other = openmm.CustomExternalForce("g*(x+2*y-z^2)")
    other.addPerParticleParameter("g")
    for i in range(COUNT):
        other.addParticle(i, [0.02 * i])
    model = Model(TestPlatform("Reference"), FAMILIES["PairSplineForce"], periodic, other)

    @settings(max_examples=2, deadline=None, database=None, derandomize=True)
    @given(beads=random_beads(periodic))
    def law_is_broken(beads: Beads) -> None:
        with pytest.raises(AssertionError):
            law(model, beads, model(beads.positions, beads.types, beads.box))

    law_is_broken()
