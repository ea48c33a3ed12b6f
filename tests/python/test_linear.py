# SPDX-License-Identifier: MIT
"""Linear force matching: exact without noise, and with error bars that cover the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from meanforce.data import Frames

torch = pytest.importorskip("torch")

from meanforce.potentials import Dihedrals, HarmonicBonds, PairSpline, StillingerWeber, Sum  # noqa: E402
from meanforce.training import LinearForceMatching, fit_linear, fit_pair_spline  # noqa: E402
from meanforce.training.linear import correlation_time, pair_design  # noqa: E402
from test_training import BOX, CUTOFF, forces_of, known_pair_spline, pair_frames, random_frames  # noqa: E402

REPETITIONS = 200


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("num_types", [1, 2])
def test_known_splines_come_back(num_types):
    potential, frames = pair_frames(num_types, count=20 * num_types**2)
    fit = LinearForceMatching(cutoff=CUTOFF, spacing=0.04, regularization=0.0).fit(frames)
    assert fit.potential.num_types == num_types
    difference = (fit.potential.coefficients - potential.coefficients).detach().numpy()
    # Below 0.2 nm = 5 knots there are no data; the functions above are determined.
    np.testing.assert_allclose(difference[:, 6:], 0, atol=1e-8)
    assert fit.unexplained < 1e-12
    by_default = fit_pair_spline(frames, CUTOFF, 0.04)
    np.testing.assert_allclose(forces_of(by_default, frames.positions, frames.types), frames.forces, atol=0.02)
    # Deliberately wrong: with other types the same frames don't fit.
    if num_types == 2:
        shuffled = Frames(frames.positions, BOX, forces=frames.forces, types=np.sort(frames.types))
        assert LinearForceMatching(cutoff=CUTOFF, spacing=0.04).fit(shuffled).unexplained > 0.1


def test_pair_and_three_body_terms_come_back():
    pair, three = known_pair_spline(), StillingerWeber(1, 0.5, 0.1).double()
    with torch.no_grad():
        three.coefficients.copy_(torch.tensor([[[9.0, -30.0, 40.0]]]))
    x = random_frames(12)
    types = np.zeros(x.shape[1], dtype=int)
    frames = Frames(x, BOX, forces=forces_of(Sum(pair, three), x, types), types=types)
    method = LinearForceMatching(
        cutoff=CUTOFF, spacing=0.04, three_body_range=0.5, three_body_gamma=0.1, regularization=0.0
    )
    fit = method.fit(frames)
    assert isinstance(fit.potential, Sum)
    np.testing.assert_allclose(fit.coefficients[-3:], [9.0, -30.0, 40.0], atol=1e-7)
    np.testing.assert_allclose(fit.coefficients[6:20], pair.coefficients.detach().numpy()[0, 6:], atol=1e-7)
    assert fit.unexplained < 1e-12
    only_pairs = LinearForceMatching(cutoff=CUTOFF, spacing=0.04).fit(frames)
    assert only_pairs.unexplained > 0.01  # a pair potential can't do it
    prior = three
    np.testing.assert_allclose(
        LinearForceMatching(cutoff=CUTOFF, spacing=0.04, regularization=0.0).fit(frames, prior=prior).coefficients[6:],
        pair.coefficients.detach().numpy()[0, 6:],
        atol=1e-7,
    )


def test_dihedrals_with_excluded_neighbours_come_back():
    rng = np.random.default_rng(5)
    bonds, types = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)], [0] * 6
    x = np.cumsum(0.2 * np.array([[1, 0, 0], [0, 1, 0], [0, 0.5, 1], [1, 0, 0.3], [0, -1, 0.4], [0.2, 0, 1]]), axis=0)
    x = x + 0.04 * rng.normal(size=(200, 6, 3))
    truth = Dihedrals(1, [(0, 0, 0, 0)], [[[2.0, -1.0], [0.5, 3.0]]])
    pairs = PairSpline(1, 0.7, 14, exclude_bonds=3).double()
    with torch.no_grad():
        pairs.coefficients[0] = torch.linspace(20, 0, 14, dtype=torch.float64)
    model = Sum(truth, pairs, HarmonicBonds(1, [(0, 0)], [500.0], [0.2]))
    model.set_bonds(types, bonds)
    forces = []
    for frame in x:
        y = torch.from_numpy(frame).requires_grad_()
        forces.append(-torch.autograd.grad(model(y, torch.tensor(types)), y)[0].numpy())
    blank = Dihedrals(1, truth.types, np.zeros((1, 2, 2)))
    blank_pairs = PairSpline(1, 0.7, 14, exclude_bonds=3).double()
    for term in (blank, blank_pairs):
        term.set_bonds(types, bonds)
    frames = Frames(x, forces=np.array(forces))
    fit = fit_linear([blank, blank_pairs], frames, prior=model.potentials[2], regularization=0.0)
    np.testing.assert_allclose(fit.coefficients[:4], [2.0, -1.0, 0.5, 3.0], atol=1e-7)
    assert fit.unexplained < 1e-12


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


def test_what_cannot_be_fitted_is_refused():
    frames = Frames(random_frames(3), BOX)
    with pytest.raises(ValueError, match="no forces; force matching needs them"):
        fit_pair_spline(frames)
    with pytest.raises(ValueError, match="no pair of beads comes within the cutoff"):
        fit_pair_spline(Frames(frames.positions, BOX, forces=frames.positions), 0.05, 0.01)
    with pytest.raises(ValueError, match=r"`spacing` must lie between 0 and the cutoff of 0\.5 nm"):
        LinearForceMatching(cutoff=0.5, spacing=0.5)


# ---------------------------------------------------------------------------------------------------------- error bars
def autoregressive(shape, rho, rng):
    """Return a stationary process along the first axis with unit variance and correlation rho^k."""
    x = rng.normal(size=shape)
    for k in range(1, len(x)):
        x[k] = rho * x[k - 1] + np.sqrt(1 - rho**2) * x[k]
    return x


def test_correlation_time_of_a_known_process():
    x = autoregressive((20000, 1), 0.8, np.random.default_rng(0))
    assert correlation_time(x) == pytest.approx(9.0, rel=0.2)  # (1 + rho) / (1 - rho)
    assert correlation_time(np.random.default_rng(1).normal(size=(20000, 1))) == pytest.approx(1.0, abs=0.1)


def naive_errors(frames, fit, inverse):
    """Standard errors as if every force component were independent of every other."""
    left = fit.unexplained * np.sum(frames.forces**2) / (frames.forces.size - len(inverse))
    return np.sqrt(np.diagonal(inverse) * left)


@pytest.mark.parametrize(("rho", "count"), [(0.0, 80), (0.6, 300)], ids=["white", "correlated"])
def test_error_bars_cover_the_truth_at_their_nominal_rate(rho, count):
    rng = np.random.default_rng(17)
    truth = PairSpline(1, 0.6, 6).double()
    with torch.no_grad():
        truth.coefficients[0] = torch.tensor([60.0, 45.0, 30.0, 16.0, 5.0, -2.0], dtype=torch.float64)
    # Beads that hardly leave their places: as in a trajectory, neighbouring frames have nearly the same design.
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3) * 0.35 + 0.03 * rng.normal(
        size=(8, 3)
    )
    x = grid + 0.03 * autoregressive((count, 8, 3), 0.98 if rho else 0.0, rng)
    clean = np.array(
        [
            -torch.autograd.grad(truth(y, torch.zeros(8)), y)[0].numpy()
            for y in (torch.from_numpy(frame).requires_grad_() for frame in x)
        ]
    )
    method = LinearForceMatching(cutoff=0.6, spacing=0.1, regularization=0.0)
    designs = [pair_design(truth, frame, np.zeros(8, dtype=int), None) for frame in x]
    inverse = np.linalg.pinv(sum(design.T @ design for design in designs))
    determined, covered, covered_naively = None, [], []
    for repetition in range(REPETITIONS):
        frames = Frames(x, forces=clean + 20.0 * autoregressive(clean.shape, rho, np.random.default_rng(repetition)))
        fit = method.fit(frames)
        determined = np.arange(6) >= np.flatnonzero(fit.determined)[0] + 2
        miss = np.abs(fit.coefficients - truth.coefficients.detach().numpy()[0])[determined]
        covered.append(miss < fit.half_width(0.9)[determined])
        covered_naively.append(miss < stats.norm.ppf(0.95) * naive_errors(frames, fit, inverse)[determined])
    assert determined.sum() >= 2
    low, high = stats.binom.ppf([0.0005, 0.9995], REPETITIONS, 0.9)
    for hits in np.array(covered).sum(axis=0):
        assert low <= hits <= high
    naive = np.array(covered_naively).sum(axis=0)
    assert np.all(naive < low) if rho else np.all((naive >= low) & (naive <= high))


def test_unexplained_is_the_noise():
    potential, frames = pair_frames(count=60, noise=20.0)
    fit = LinearForceMatching(cutoff=CUTOFF, spacing=0.04).fit(frames)
    assert fit.unexplained == pytest.approx(20.0**2 / np.mean(frames.forces**2), rel=0.03)
    scores = (fit.coefficients - potential.coefficients.detach().numpy()[0])[6:] / fit.standard_errors[6:]
    assert 0.4 < np.sqrt(np.mean(scores**2)) < 1.8
    assert np.all(np.isnan(fit.standard_errors[:5]))
