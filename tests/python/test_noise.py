# SPDX-License-Identifier: MIT
"""Forces and noise on a bond whose noised density is known."""

import numpy as np
import pytest

from meanforce.data import Frames

pytest.importorskip("torch")

from meanforce.training import with_noise

TEMPERATURE, SPREAD, WIDTH = 300.0, 0.05, 0.03
kT = 0.00831446 * TEMPERATURE


def independent_beads(count: int, force_noise: float) -> Frames:
    """Return beads in harmonic wells about the origin: F = -kT x / SPREAD^2, with noise that averages out."""
    rng = np.random.default_rng(1)
    x = SPREAD * rng.normal(size=(count, 2, 3))
    return Frames(x, forces=-kT * x / SPREAD**2 + force_noise * rng.normal(size=x.shape))


@pytest.mark.parametrize("force_noise", [0.0, 200.0])
def test_mean_force_is_that_of_the_noised_density(force_noise):
    frames = independent_beads(20000, force_noise)
    left = []
    bare = Frames(frames.positions)
    for data in (with_noise(frames, WIDTH, TEMPERATURE, seed=2), with_noise(bare, WIDTH, TEMPERATURE, seed=2)):
        x, f = data.positions.reshape(-1), data.forces.reshape(-1)
        slope = (x @ f) / (x @ x)
        error = np.std(f - slope * x) / np.sqrt(x @ x)
        # The density of x' has the variance SPREAD^2 + WIDTH^2.
        assert abs(slope + kT / (SPREAD**2 + WIDTH**2)) < 4 * error
        assert abs(slope + kT / SPREAD**2) > 10 * error  # the density of x is another
        left.append(np.var(f - slope * x))
    assert left[0] < left[1]  # forces help the noise
    noised = frames.positions + WIDTH * np.random.default_rng(2).standard_normal(frames.positions.shape)
    x, f = noised.reshape(-1), frames.forces.reshape(-1)
    assert left[0] < np.var(f - (x @ f) / (x @ x) * x)  # and noise helps the forces


def test_copies_follow_their_frame():
    frames = independent_beads(5, 0.0)
    data = with_noise(frames, [0.01, 0.02], TEMPERATURE, copies=3)
    assert len(data) == 15
    distances = np.abs(data.positions - np.repeat(frames.positions, 3, axis=0))
    assert distances.max() < 0.1
    assert len(np.unique(data.positions[:3, 0, 0])) == 3
    np.testing.assert_array_equal(data.positions, with_noise(frames, [0.01, 0.02], TEMPERATURE, copies=3).positions)
    for width, copies, message in ((0.0, 1, "positive"), ([0.1] * 3, 1, "one number or 2"), (0.1, 0, "copies")):
        with pytest.raises(ValueError, match=message):
            with_noise(frames, width, TEMPERATURE, copies=copies)
