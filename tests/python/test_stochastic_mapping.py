# SPDX-License-Identifier: MIT
"""Stochastic maps: their forces against the exact density of noised beads, and their random stream."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from openmm import app

from meanforce.data import CGReporter, Trajectory
from meanforce.mapping import GaussianKernel, Mapping, StochasticMapping

T = 300.0
KT = 0.00831446262 * T
K, WIDTH = 900.0, 0.04
SIGMA2 = KT / K


def pair_mapping() -> Mapping:
    return Mapping([[0], [1]], [12.0, 12.0], ["A", "B"], ["X", "X"])


def harmonic_frames(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and forces of two atoms, each in a harmonic well at the origin."""
    x = np.random.default_rng(1).standard_normal((count, 2, 3)) * np.sqrt(SIGMA2)
    return x, -K * x


@pytest.mark.parametrize("mixing", [0.0, 1.0, 0.4, [0.2, 0.9]])
def test_force_is_that_of_the_noised_density(mixing):
    """x' is Gaussian with variance s^2 + w^2, so that its mean force is -kT x' / (s^2 + w^2)."""
    x, forces = harmonic_frames(6_000)
    mapping = StochasticMapping(pair_mapping(), WIDTH, T, seed=5, mixing=mixing)
    beads = mapping.project(x, forces=forces, frames=np.arange(len(x)))
    np.testing.assert_allclose(np.var(beads.positions), SIGMA2 + WIDTH**2, rtol=0.05)
    slope = np.mean(beads.forces * beads.positions, axis=(0, 2)) / np.mean(beads.positions**2, axis=(0, 2))
    residual = beads.forces - slope[:, None] * beads.positions
    error = residual.std() / beads.positions.std() / np.sqrt(3 * len(x))
    expected = -KT / (SIGMA2 + WIDTH**2)
    assert np.all(np.abs(slope - expected) < 4 * error)
    assert np.all(np.abs(slope - -K) > 10 * error)  # the force of x itself is another
    outer = np.abs(beads.positions[..., 0]) > 1.5 * np.sqrt(SIGMA2 + WIDTH**2)
    np.testing.assert_allclose(residual[..., 0][outer].mean(), 0.0, atol=4 * residual.std() / np.sqrt(outer.sum()))


def test_best_mixing_has_the_least_noise():
    x, forces = harmonic_frames(8_000)
    mapping = StochasticMapping(pair_mapping(), GaussianKernel([0.02, 0.2]), T, seed=6)
    fitted = mapping.fit_mixing(forces[:4_000])
    noise = (KT / np.array([0.02, 0.2])) ** 2
    np.testing.assert_allclose(fitted, noise / (noise + KT * K), rtol=0.05)
    squares = []
    for mixing in (fitted, fitted - 0.1, fitted + 0.1):
        mapping.mixing = np.clip(mixing, 0, 1)
        beads = mapping.project(x[4_000:], forces=forces[4_000:], frames=np.arange(4_000))
        squares.append(np.mean(beads.forces**2, axis=(0, 2)))
    assert np.all(squares[0] <= squares[1])
    assert np.all(squares[0] <= squares[2])


def test_noise_belongs_to_the_frame_and_the_seed():
    x, _ = harmonic_frames(20)
    one, other = (StochasticMapping(pair_mapping(), WIDTH, T, seed=s) for s in (1, 2))
    whole = one.project(x, frames=np.arange(20)).positions
    np.testing.assert_array_equal(whole[7:12], one.project(x[7:12], frames=np.arange(7, 12)).positions)
    assert np.abs(whole - other.project(x, frames=np.arange(20)).positions).min() > 0
    fresh = [StochasticMapping(pair_mapping(), WIDTH, T).seed for _ in range(2)]
    assert fresh[0] != fresh[1]


class Flip:
    """Moves every bead to -x with probability one half: a kernel that is not translational."""

    translational = False

    def sample(self, positions, random):
        return positions * (1 if random.random() < 0.5 else -1)

    def score(self, noised, positions):
        return np.zeros_like(noised)


def test_another_kernel_and_wrong_input():
    x, forces = harmonic_frames(50)
    mapping = StochasticMapping(pair_mapping(), Flip(), T, seed=1)
    beads = mapping.project(x, frames=range(50))
    np.testing.assert_allclose(np.abs(beads.positions), np.abs(x))
    with pytest.raises(ValueError, match="only with a kernel"):
        mapping.mixing = 0.5
    with pytest.raises(ValueError, match="Gaussian kernel only"):
        mapping.fit_mixing(forces)
    with pytest.raises(ValueError, match="`width` must be positive"):
        StochasticMapping(pair_mapping(), 0.0, T)
    with pytest.raises(ValueError, match="one number or 2, got 3"):
        StochasticMapping(pair_mapping(), GaussianKernel([0.1] * 3), T)
    with pytest.raises(ValueError, match="between 0"):
        StochasticMapping(pair_mapping(), WIDTH, T, mixing=1.5)
    gaussian = StochasticMapping(pair_mapping(), WIDTH, T, mixing=1.0)
    with pytest.raises(ValueError, match="the frames have no forces"):
        gaussian.project(x, frames=range(50))
    with pytest.raises(ValueError, match="have no velocities"):
        gaussian.project(x, velocities=x, forces=forces, frames=range(50))
    with pytest.raises(ValueError, match="`frames` give each frame's number"):
        gaussian.project(x, forces=forces)


def test_recorded_in_a_run(tmp_path):
    system = openmm.System()
    well = openmm.CustomExternalForce("0.5*900*(x^2+y^2+z^2)")
    for particle in range(2):
        system.addParticle(12.0)
        well.addParticle(particle)
    system.addForce(well)
    mapping = StochasticMapping(pair_mapping(), WIDTH, T, seed=3, mixing=0.5)
    integrator = openmm.LangevinMiddleIntegrator(T, 1.0, 0.002)
    reference = openmm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(mapping.topology(), system, integrator, reference)
    simulation.context.setPositions(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="give velocities=False"):
        CGReporter(tmp_path / "beads.h5", 5, mapping)
    with CGReporter(tmp_path / "beads.h5", 5, mapping, velocities=False) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(20)
    state = simulation.context.getState(positions=True, forces=True)
    last = mapping.project(
        state.getPositions(asNumpy=True)[None], forces=state.getForces(asNumpy=True)[None], frames=[20]
    )
    with Trajectory(tmp_path / "beads.h5") as trajectory:
        np.testing.assert_allclose(trajectory.positions[-1], last.positions[0], atol=1e-6)
        np.testing.assert_allclose(trajectory.forces[-1], last.forces[0], rtol=1e-5)
