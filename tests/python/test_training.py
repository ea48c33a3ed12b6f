# SPDX-License-Identifier: MIT
"""Force matching and iterative Boltzmann inversion on models whose answer is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from meanforce import structure
from meanforce.data import Frames

torch = pytest.importorskip("torch")

from meanforce.potentials import MomentTensor, PairSpline, Sum  # noqa: E402
from meanforce.training import (  # noqa: E402
    ForceMatching,
    IterativeBoltzmannInversion,
    PairForceMatching,
    fit_pair_spline,
    fit_pair_spline_with_errors,
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


@pytest.mark.parametrize("num_types", [1, 2])
def test_pair_fit_is_exact_without_noise(num_types):
    potential, frames = pair_frames(num_types, count=20 * num_types**2)
    fit = fit_pair_spline_with_errors(frames, CUTOFF, 0.04, num_types, regularization=0.0)
    difference = (fit.potential.coefficients - potential.coefficients).detach().numpy()
    # Below 0.2 nm = 5 knots there are no data; functions 5 and later are determined.
    np.testing.assert_allclose(difference[:, 6:], 0, atol=1e-6)
    assert fit.unexplained < 1e-10
    by_default = fit_pair_spline(frames, CUTOFF, 0.04, num_types)
    np.testing.assert_allclose(forces_of(by_default, frames.positions, frames.types), frames.forces, atol=0.02)


def test_pair_fit_agrees_within_its_error_bars_with_noise():
    potential, frames = pair_frames(count=60, noise=20.0)
    fit = fit_pair_spline_with_errors(frames, CUTOFF, 0.04)
    scores = ((fit.potential.coefficients - potential.coefficients).detach().numpy() / fit.standard_errors)[0, 6:]
    assert np.sqrt(np.mean(scores**2)) < 1.8
    assert np.sqrt(np.mean(scores**2)) > 0.4
    variance = np.mean(frames.forces**2)
    assert fit.unexplained == pytest.approx(20.0**2 / variance, rel=0.03)


def test_core_is_a_straight_repulsive_line():
    _, frames = pair_frames()
    potential = fit_pair_spline(frames, CUTOFF, 0.04)
    c = potential.coefficients.detach().numpy()[0]
    np.testing.assert_allclose(np.diff(c[:6], 2), 0, atol=1e-9)
    assert c[0] - c[1] >= np.max(-np.diff(c[5:])) - 1e-9
    assert c[0] - c[1] > 0
    r, u = potential.knot_values(0)  # raises if the curvature at r = 0 does not vanish
    assert np.all(np.diff(u[:5]) < 0)
    assert len(r) == 21


def test_blocks_add_up():
    _, frames = pair_frames()
    whole, parts = PairForceMatching(CUTOFF, 0.04), PairForceMatching(CUTOFF, 0.04)
    whole.add_block(frames)
    parts.add_block(frames[:5])
    parts.add_block(frames[5:])
    a, b = whole.solve(), parts.solve()
    np.testing.assert_allclose(
        a.potential.coefficients.detach().numpy(), b.potential.coefficients.detach().numpy(), atol=1e-8
    )
    assert np.all(np.isnan(a.standard_errors))
    assert np.all(np.isfinite(b.standard_errors[0, 6:]))


def test_force_matching_without_forces_is_refused():
    frames = Frames(random_frames(3), BOX)
    for attempt in (lambda: fit_pair_spline(frames), lambda: ForceMatching(MomentTensor(1, 0.5), frames)):
        with pytest.raises(ValueError, match="no forces; force matching needs them"):
            attempt()
    with pytest.raises(ValueError, match="fewer than 50 pairs"):
        fit_pair_spline(dataclasses.replace(frames[:1], forces=frames.positions[:1]), 0.05, 0.01)


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


def liquid_rdf(shift: float = 0.0) -> structure.RDF:
    r = np.arange(0.0025, 0.9, 0.005)
    core = 1 / (1 + np.exp(-(r - 0.26 - shift) / 0.008))
    return structure.RDF(r, core * (1 + 1.5 * np.exp(-(((r - 0.3) / 0.05) ** 2))), 0 * r)


def repulsive_spline() -> PairSpline:
    """Return a pair potential with a straight core, as force matching makes it."""
    potential = PairSpline(1, 0.9, 45).double()
    k = np.arange(45)
    c = 5 * np.exp(-(((k - 13) / 6.0) ** 2))
    c[:13] = c[13] + (13 - k[:13]) * 60.0
    with torch.no_grad():
        potential.coefficients[0] = torch.from_numpy(c)
    return potential


def test_ibi_leaves_the_right_potential_alone():
    target = liquid_rdf()
    ibi = IterativeBoltzmannInversion(target, 298.0)
    potential = repulsive_spline()
    updated = ibi.update(potential, {(0, 0): target})
    np.testing.assert_allclose(
        updated.coefficients.detach().numpy(), potential.coefficients.detach().numpy(), atol=1e-10
    )


def test_ibi_correction_is_kT_ln_of_the_ratio():
    """Where the model has too many pairs the potential must rise, by kT ln(g_model / g_target)."""
    target = liquid_rdf()
    bump = np.exp(-(((target.r - 0.45) / 0.06) ** 2))
    found = structure.RDF(target.r, target.g * np.exp(0.3 * bump), target.standard_error)
    potential = repulsive_spline()
    for alpha in (1.0, 0.5):
        ibi = IterativeBoltzmannInversion(target, 298.0, alpha=alpha)
        updated = ibi.update(potential, {(0, 0): found})
        change = (updated.knot_values(0)[1] - potential.knot_values(0)[1])[15:]
        r = updated.knot_values(0)[0][15:]
        expected = alpha * 0.00831446 * 298.0 * 0.3 * np.exp(-(((r - 0.45) / 0.06) ** 2))
        np.testing.assert_allclose(change, expected, atol=0.01)


def test_ibi_keeps_the_core_straight_and_repulsive():
    target, found = liquid_rdf(), liquid_rdf(shift=0.01)
    ibi = IterativeBoltzmannInversion(target, 298.0)
    updated = ibi.update(repulsive_spline(), {(0, 0): found})
    r, u = updated.knot_values(0)
    assert np.all(np.diff(u[r < 0.24]) < 0)


def test_ibi_samples_the_whole_model_each_step():
    x = random_frames(30, n=60)
    target = structure.rdf(x, BOX, 0.9, 90)
    network = small_network(0)
    models = []

    def sampler(model):
        models.append(model)
        return x, BOX

    pair = repulsive_spline()
    ibi = IterativeBoltzmannInversion(target, 298.0)
    history = ibi.run(pair, sampler, fixed=network, steps=2)
    assert [step.error for step in history] == [0.0, 0.0]
    assert models[0].potentials[0] is pair
    assert models[1].potentials[0] is history[0].potential
    assert all(model.potentials[1] is network for model in models)
    with pytest.raises(ValueError, match="half the smallest width"):
        ibi.run(pair, lambda model: (x[:2] * 0.5, BOX * 0.5))
