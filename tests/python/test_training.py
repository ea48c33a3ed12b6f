# SPDX-License-Identifier: MIT
"""Force matching of networks on models whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from meanforce import structure
from meanforce.data import Frames

torch = pytest.importorskip("torch")

from meanforce.potentials import MomentTensor, PairSpline, Sum  # noqa: E402
from meanforce.training import (  # noqa: E402
    ForceMatching,
    pair_forces,
)

BOX = 2.0 * np.eye(3)
CUTOFF = 0.8
STANDARD_ERRORS = 4.0


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def random_frames(count: int, n: int = 60, seed: int = 1, smallest: float = 0.2) -> np.ndarray:
    """Return random positions without pairs nearer than `smallest`."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        x = np.empty((0, 3))
        while len(x) < n:
            candidate = rng.uniform(0, 2.0, (1, 3))
            d = x - candidate
            d -= 2.0 * np.round(d / 2.0)
            if len(x) == 0 or np.linalg.norm(d, axis=1).min() > smallest:
                x = np.concatenate([x, candidate])
        frames.append(x)
    return np.array(frames)


def known_pair_spline(num_types: int = 1) -> PairSpline:
    potential = PairSpline(num_types, CUTOFF, 20).double()
    rng = np.random.default_rng(7)
    with torch.no_grad():
        for row in range(len(potential.coefficients)):
            wiggles = np.cos(0.6 * np.arange(20) + rng.uniform(0, 6)) * np.exp(-0.1 * np.arange(20))
            potential.coefficients[row] = torch.from_numpy(3 * wiggles)
    return potential


def forces_of(model, positions: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Return forces by differentiating the energy of positions, not by the code under test."""
    forces = []
    for frame in positions:
        x = torch.from_numpy(frame).requires_grad_()
        energy = model(x, torch.from_numpy(types), torch.from_numpy(BOX))
        forces.append(-torch.autograd.grad(energy, x)[0].numpy())
    return np.array(forces)


def pair_frames(num_types: int = 1, count: int = 20, noise: float = 0.0) -> tuple[PairSpline, Frames]:
    potential = known_pair_spline(num_types)
    x = random_frames(count)
    types = np.arange(x.shape[1]) % num_types
    f = forces_of(potential, x, types)
    f += noise * np.random.default_rng(3).normal(size=f.shape)
    return potential, Frames(x, BOX, forces=f, types=types)


def test_force_matching_without_forces_is_refused():
    with pytest.raises(ValueError, match="no forces; force matching needs them"):
        ForceMatching(MomentTensor(1, 0.5), Frames(random_frames(3), BOX))


def small_network(seed: int) -> MomentTensor:
    torch.manual_seed(seed)
    return MomentTensor(1, 0.6, max_l=2, channels=4, radial_functions=10, hidden=(16,))


def many_body_frames(count: int = 40) -> tuple[PairSpline, Frames]:
    """Return frames whose forces are a known pair part and a known many-body part."""
    teacher = small_network(11).double()
    with torch.no_grad():
        teacher.layers[-1].weight.mul_(300.0)
    pair = known_pair_spline()
    x = random_frames(count, n=50)
    types = np.zeros(50, dtype=int)
    return pair, Frames(x, BOX, forces=forces_of(Sum(pair, teacher), x, types), types=types)


def test_pair_forces_are_minus_the_gradient():
    pair, frames = many_body_frames(1)
    first, second, displacements = (torch.from_numpy(a) for a in structure.pairs_within(frames.positions[0], BOX, 0.8))
    forces = pair_forces(pair, displacements, first.long(), second.long(), torch.zeros(50, dtype=torch.long))
    np.testing.assert_allclose(forces.detach().numpy(), forces_of(pair, frames.positions, frames.types)[0], atol=1e-10)


def test_gradient_training_learns_a_many_body_model():
    pair, frames = many_body_frames()
    training = ForceMatching(small_network(0), frames, prior=pair, learning_rate=0.02)
    before = training.unexplained()
    losses = []
    result = training.train(epochs=25, progress=lambda step, total, loss: losses.append((step, total, loss)))
    assert before == pytest.approx(result.unexplained_prior, rel=0.05)  # an untrained network adds next to nothing
    assert result.unexplained < 0.5 * result.unexplained_prior
    assert [step for step, _, _ in losses] == list(range(1, result.steps + 1))
    assert {total for _, total, _ in losses} == {result.steps}
    # The loss is in units of the mean squared force: it starts at what the prior leaves.
    assert losses[0][2] == pytest.approx(result.unexplained_prior, rel=0.3)


def test_time_budget_is_kept():
    pair, frames = many_body_frames(12)
    result = ForceMatching(small_network(0), frames, prior=pair).train(max_seconds=1.0)
    assert 1.0 <= result.seconds < 2.0
    assert result.steps > 5
    with pytest.raises(ValueError, match="either `epochs` or `max_seconds`"):
        ForceMatching(small_network(0), frames).train()


class KilledError(Exception):
    pass


def test_killed_training_goes_on_to_the_same_result(tmp_path):
    pair, frames = many_body_frames(20)
    whole = small_network(0)
    expected = ForceMatching(whole, frames, prior=pair, seed=5).train(epochs=6)

    def kill(step: int, total: int, loss: float) -> None:
        if step == 10:
            raise KilledError

    path = tmp_path / "training.pt"
    first = ForceMatching(small_network(0), frames, prior=pair, seed=5)
    with pytest.raises(KilledError):
        first.train(epochs=6, progress=kill, checkpoint=path, checkpoint_seconds=0.0)
    resumed = small_network(1)  # other weights: all must come from the file
    second = ForceMatching(resumed, frames, prior=pair, seed=5)
    second.load(path)
    found = second.train(epochs=6)
    assert found.steps == expected.steps
    assert found.unexplained == expected.unexplained
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    other = small_network(0)
    ForceMatching(other, frames, prior=pair, seed=6).train(epochs=6)
    assert not torch.equal(other.filters, whole.filters)


def test_state_of_another_training_is_refused(tmp_path):
    pair, frames = many_body_frames(12)
    path = tmp_path / "training.pt"
    ForceMatching(small_network(0), frames, prior=pair).save(path)
    with pytest.raises(ValueError, match="other parameters"):
        ForceMatching(MomentTensor(1, 0.6, channels=3), frames).load(path)
    with pytest.raises(ValueError, match="was trained on 11 frames, not 7"):
        ForceMatching(small_network(0), frames[:8]).load(path)
