# SPDX-License-Identifier: MIT
"""No neighbour is ever lost: particles, boxes and the order of atoms are driven against all pairs, in numpy.

The potential is a MomentTensorForce that is a pair potential (L = 0, linear network), strong up to the cutoff, so that
a neighbour lost anywhere shows. Lists that are not rebuilt when they should be are simulated, and must fail that check.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
import openmm
import pytest
from openmm import unit

from conftest import TestPlatform
from meanforce import MomentTensorForce

CUTOFF = 0.5
#: The widest skin of any platform.
SKIN = 0.25 * CUTOFF
SPACING = CUTOFF / 5
COEFFICIENTS = np.array([40.0, 30.0, 20.0, 12.0, 8.0])
SHIFTS = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T


def pair_potential(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return W(r) = sum_k coefficient_k B((r - r_k) / spacing), B the cubic B-spline, and its derivative."""
    energy, slope = np.zeros_like(r), np.zeros_like(r)
    for k, coefficient in enumerate(COEFFICIENTS):
        t = (r - CUTOFF) / SPACING + len(COEFFICIENTS) + 1 - k
        a, inner = np.abs(t), np.maximum(2 - np.abs(t), 0)
        energy += coefficient * np.where(a < 1, 2 / 3 - a**2 + a**3 / 2, inner**3 / 6)
        slope += coefficient * np.sign(t) * np.where(a < 1, 1.5 * a**2 - 2 * a, -(inner**2) / 2) / SPACING
    return energy, slope


@dataclasses.dataclass
class Frame:
    """Positions and box (None without one), and what all pairs of beads of the same replica give."""

    positions: np.ndarray
    box: np.ndarray | None
    replicas: np.ndarray

    @functools.cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """The vectors from i to j at the nearest image (N, N, 3), and distances (N, N), infinite between replicas."""
        delta = self.positions[None] - self.positions[:, None]
        if self.box is not None:
            for k in (2, 1, 0):
                delta = delta - np.round(delta[..., k, None] / self.box[k, k]) * self.box[k]
            # Rounding finds the nearest image of a rectangular box only.
            if np.any(self.box != np.diag(np.diag(self.box))):
                images = delta[:, :, None] + SHIFTS @ self.box
                nearest = np.argmin(np.einsum("ijkx,ijkx->ijk", images, images), axis=2)
                delta = np.take_along_axis(images, nearest[..., None, None], axis=2)[:, :, 0]
        r = np.sqrt(np.einsum("ijx,ijx->ij", delta, delta))
        r[self.replicas[None] != self.replicas[:, None]] = np.inf
        np.fill_diagonal(r, np.inf)
        return delta, r

    def evaluate(self, seen: np.ndarray | bool = True) -> tuple[float, np.ndarray]:
        """Return the energy and forces of all pairs, or only of those that a list has seen."""
        delta, r = self.pairs
        i, j = np.nonzero((r < CUTOFF) & seen)
        energy, slope = pair_potential(r[i, j])
        forces = np.zeros_like(self.positions)
        np.add.at(forces, i, 2 * (slope / r[i, j])[:, None] * delta[i, j])
        return energy.sum(), forces

    @functools.cached_property
    def correct(self) -> tuple[float, np.ndarray]:
        return self.evaluate()


def is_correct(frame: Frame, found: tuple[float, np.ndarray], tolerance: float) -> bool:
    energy, forces = frame.correct
    rms = max(1.0, np.sqrt(np.mean(forces**2)))
    return bool(
        abs(found[0] - energy) < tolerance * max(1.0, abs(energy))
        and np.abs(found[1] - forces).max() < 10 * tolerance * rms
    )


def tolerance(platform: TestPlatform) -> float:
    return 2e-5 if platform.name == "CPU" else platform.tolerance(2e-5, 2e-5, 1e-9)


def make_force(replicas: np.ndarray, periodic: bool) -> MomentTensorForce:
    force = MomentTensorForce(1, CUTOFF, 0, 1)
    force.setFilters(SPACING, COEFFICIENTS.reshape(-1, 1, 1))
    force.setTypeWeights(np.ones((1, 1)))
    force.addLayer(np.array([[[1.0, 0.0]]]), np.zeros((1, 1)))
    for replica in replicas:
        force.addParticle(0, int(replica))
    force.setUsesPeriodicBoundaryConditions(periodic)
    return force


def make_system(frame: Frame) -> openmm.System:
    system = openmm.System()
    for _ in frame.positions:
        system.addParticle(18.0)
    if frame.box is not None:
        system.setDefaultPeriodicBoxVectors(*frame.box)
    system.addForce(make_force(frame.replicas, frame.box is not None))
    return system


def evaluate(context: openmm.Context) -> tuple[float, np.ndarray]:
    state = context.getState(energy=True, forces=True)
    return (
        state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole),
        state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer),
    )


def single(x: np.ndarray) -> np.ndarray:
    """Round to single precision, so that all platforms get the same numbers."""
    return x.astype(np.float32).astype(float)


# ---- particles and boxes driven by hand ----

RECTANGULAR = np.diag([1.5, 1.75, 2.0])
TRICLINIC = np.array([[1.5, 0, 0], [0.5, 1.75, 0], [-0.625, 0.75, 2.0]])


def driven_in_box(box: np.ndarray, num_replicas: int, frames: int) -> Iterator[Frame]:
    """Yield flights, jumps of one bead or all, jumps by box vectors, rests, and boxes changed around resting beads."""
    rng = np.random.default_rng(1)
    count = 48
    replicas = np.arange(count) % num_replicas
    x = single(rng.uniform(size=(count, 3)) @ box)
    base = box
    velocities = rng.normal(size=(count, 3))
    for _ in range(frames):
        kind = rng.choice(["fly", "jump", "image", "rest", "box", "collapse"], p=[0.6, 0.1, 0.08, 0.07, 0.14, 0.01])
        if kind == "fly":
            velocities = 0.98 * velocities + 0.2 * rng.normal(size=x.shape)
            x = x + 0.005 * velocities
        elif kind == "jump":
            x[rng.integers(count)] = rng.uniform(size=3) @ box
        elif kind == "image":
            x[rng.integers(count)] += rng.integers(-1, 2, 3) @ box
        elif kind == "box":
            box = single(base * rng.uniform(0.75, 1.25))
            box[2, 2] = single(base[2, 2] * rng.uniform(0.75, 1.25))
        elif kind == "collapse":
            # More neighbours than rows have room for.
            x = single(rng.uniform(0.25, 0.75, size=(count, 3)))
        x = single(x)
        yield Frame(x.copy(), box.copy(), replicas)


def driven_in_space(frames: int) -> Iterator[Frame]:
    """Yield a cloud of pairs that explodes to the size of micrometres and comes back, while the pairs stay together."""
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(20, 3))
    offsets = 0.2 * rng.normal(size=(20, 3))
    for frame in range(frames):
        size = 0.3 * 10 ** (4 * np.sin(np.pi * frame / frames) ** 2)
        offsets += 0.02 * rng.normal(size=offsets.shape)
        offsets *= np.minimum(1, 0.6 / np.linalg.norm(offsets, axis=1))[:, None]
        x = np.concatenate([size * centres, size * centres + offsets])
        yield Frame(single(x), None, np.zeros(len(x), dtype=int))


DRIVES: dict[str, Callable[[], Iterator[Frame]]] = {
    "rectangular": lambda: driven_in_box(RECTANGULAR, 1, 700),
    "triclinic": lambda: driven_in_box(TRICLINIC, 1, 500),
    "replicas": lambda: driven_in_box(RECTANGULAR, 3, 300),
    "space": lambda: driven_in_space(300),
}


@functools.cache
def drive(name: str) -> list[Frame]:
    return list(DRIVES[name]())


@pytest.mark.parametrize("name", DRIVES)
def test_driven(platform: TestPlatform, name: str) -> None:
    frames = drive(name)
    context = platform.context(make_system(frames[0]), openmm.VerletIntegrator(0.001))
    for number, frame in enumerate(frames):
        if frame.box is not None and (number == 0 or np.any(frame.box != frames[number - 1].box)):
            context.setPeriodicBoxVectors(*frame.box)
        if number == 0 or np.any(frame.positions != frames[number - 1].positions):
            context.setPositions(frame.positions)
        assert is_correct(frame, evaluate(context), tolerance(platform)), f"frame {number}"


def simulate_list(frames: list[Frame], watch_beads: bool, watch_box: bool) -> int:
    """Return in how many frames a Verlet list that is rebuilt for these reasons only gives a wrong energy or force."""
    built, seen, wrong = None, np.zeros(0), 0
    for frame in frames:
        rebuild = built is None
        if built is not None and watch_beads:
            moved = np.linalg.norm(frame.positions - built.positions, axis=1).max()
            rebuild |= bool(moved > SKIN / 2)
        if built is not None and watch_box:
            rebuild |= not np.array_equal(frame.box, built.box)
        if rebuild:
            built, seen = frame, frame.pairs[1] < CUTOFF + SKIN
        wrong += not is_correct(frame, frame.evaluate(seen), 2e-5)
    return wrong


@pytest.mark.parametrize("name", DRIVES)
def test_the_drive_is_hard_enough(name: str) -> None:
    """Lists without one of the checks fail test_driven, and by many frames; with both they pass it."""
    frames = drive(name)
    assert simulate_list(frames, watch_beads=True, watch_box=True) == 0
    assert simulate_list(frames, watch_beads=False, watch_box=True) > 0.05 * len(frames)
    if name != "space":
        assert simulate_list(frames, watch_beads=True, watch_box=False) > 0.02 * len(frames)
    if name in ("rectangular", "triclinic"):  # more neighbours than rows have room for at first
        assert max((frame.pairs[1] < CUTOFF).sum(axis=1).max() for frame in frames) > 32


# ---- dynamics: OpenMM's integrators, barostats and reordering ----


def reordering(count: int) -> openmm.CustomNonbondedForce:
    """OpenMM reorders atoms only if one of its own forces has a cutoff; this one does nothing else."""
    force = openmm.CustomNonbondedForce("0")
    for _ in range(count):
        force.addParticle()
    force.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(CUTOFF)
    return force


@pytest.mark.parametrize("ensemble", ["barostat", "replicas"])
def test_dynamics(platform: TestPlatform, ensemble: str) -> None:
    rng = np.random.default_rng(3)
    count = 90
    replicas = np.arange(count) // 45 if ensemble == "replicas" else np.zeros(count, dtype=int)
    box = np.diag([1.75, 1.75, 1.75])
    start = Frame(single(rng.uniform(size=(count, 3)) @ box), box, replicas)
    system = make_system(start)
    system.addForce(reordering(count))
    if ensemble == "barostat":
        barostat = openmm.MonteCarloBarostat(300.0, 300.0, 3)
        barostat.setRandomNumberSeed(4)
        system.addForce(barostat)
    integrator = openmm.LangevinMiddleIntegrator(300.0, 10.0, 0.01)
    integrator.setRandomNumberSeed(5)
    context = platform.context(system, integrator)
    context.setPositions(start.positions)
    frames = []
    for number in range(200):
        integrator.step(1 + number % 7)
        state = context.getState(positions=True)
        frame = Frame(
            state.getPositions(asNumpy=True)._value,
            np.array([tuple(v) for v in state.getPeriodicBoxVectors()._value]),
            replicas,
        )
        assert is_correct(frame, evaluate(context), max(tolerance(platform), 1e-8)), f"frame {number}"
        frames.append(frame)
    assert simulate_list(frames, watch_beads=False, watch_box=False) > 0.2 * len(frames)
    if ensemble == "barostat":
        assert len({frame.box[0, 0] for frame in frames}) > 20


def test_bits_do_not_depend_on_the_age_of_the_list(platform: TestPlatform) -> None:
    """A list that has followed the beads for a while, and one made for the occasion, give the same numbers."""
    frames = [frame for frame in drive("triclinic") if frame.box is not None][:60]
    context = platform.context(make_system(frames[0]), openmm.VerletIntegrator(0.001))
    for frame in frames:
        context.setPeriodicBoxVectors(*frame.box)
        context.setPositions(frame.positions)
        energy, forces = evaluate(context)
    context.setPositions(frames[-1].positions + 1.0)
    evaluate(context)
    context.setPositions(frames[-1].positions)
    again = evaluate(context)
    assert again[0] == energy
    assert np.array_equal(again[1], forces)
    fresh = platform.context(make_system(frames[-1]), openmm.VerletIntegrator(0.001))
    fresh.setPositions(frames[-1].positions)
    assert evaluate(fresh)[0] == energy
    assert np.array_equal(evaluate(fresh)[1], forces)
