# SPDX-License-Identifier: MIT
"""Identifiability against exact answers: the harmonic example, linear models, and dense linear algebra."""

import numpy as np
import pytest
import torch

from meanforce import MemoryKernel, identifiability
from meanforce.data import Frames
from meanforce.identifiability import CorrelatedNoise, ForceNoise, ForceSensitivity, Parameters, WhiteNoise
from meanforce.potentials import MomentTensor, PairSpline, SchNet, StillingerWeber, Sum

KT, K, GAMMA, SIGMA = 2.5, 2.0, 3.0, 0.01
HARMONIC = {"k": K, "gamma": GAMMA}


def normalised(t):
    t = torch.as_tensor(t)
    return lambda p: torch.exp(-p["k"] / p["gamma"] * t)


def unnormalised(t):
    t = torch.as_tensor(t)
    return lambda p: KT / p["k"] * torch.exp(-p["k"] / p["gamma"] * t)


TIMES = np.linspace(0.0, 3.0, 31)


def test_only_k_over_gamma_from_the_normalised_autocorrelation(tmp_path):
    found = identifiability.analyse(normalised(TIMES), HARMONIC, SIGMA, logarithmic=True)
    assert found.rank == 1
    assert found.determined == ["k / gamma"]
    assert found.ridges == ["k -> k c, gamma -> gamma c"]
    assert found.ridges_straight == (True,)
    assert found.status == {"k": "not identifiable", "gamma": "not identifiable"}
    assert found.standard_errors == {"k": np.inf, "gamma": np.inf}
    # Exact: with x = k/gamma, dR/dln x = -x t exp(-x t), and ln x is z_k - z_gamma.
    x = K / GAMMA
    information = np.sum((x * TIMES * np.exp(-x * TIMES)) ** 2) / SIGMA**2
    assert found.standard_error_of([1, -1]) == pytest.approx(information**-0.5, rel=1e-10)
    assert found.standard_error_of([1, 1]) == np.inf
    np.testing.assert_allclose(found.null_space[:, 0] / found.null_space[0, 0], [1, 1], atol=1e-9)
    text = str(found)
    assert "ridge: k -> k c, gamma -> gamma c changes no observation (for any c)" in text
    profile = identifiability.profile_likelihood(
        normalised(TIMES), HARMONIC, SIGMA, "k", np.geomspace(1, 4, 7), logarithmic=True
    )
    assert np.abs(profile.chi2).max() < 1e-9
    assert profile.interval() == (-np.inf, np.inf)
    path = tmp_path / "report.html"
    further = identifiability.rank_candidates(found, {"C(0)": (lambda p: KT / p["k"].reshape(1), 0.1)})
    identifiability.write_report(path, found, [profile], further)
    page = path.read_text()
    assert "gamma -&gt; gamma c" in page
    assert page.count("<svg") == 3
    assert "http" not in page.replace("http://www.w3.org", "").replace("https://matplotlib.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "")


def exact_bars(t, sigma):
    """Cramer-Rao bars of ln k and ln gamma for C(t) = kT/k exp(-k t/gamma), written out."""
    c = KT / K * np.exp(-K / GAMMA * t)
    by_k, by_gamma = c * (-1 - K / GAMMA * t), c * (K / GAMMA * t)
    a, b, d = (np.sum(u * v) / sigma**2 for u, v in ((by_k, by_k), (by_k, by_gamma), (by_gamma, by_gamma)))
    return np.sqrt(d / (a * d - b * b)), np.sqrt(a / (a * d - b * b))


def test_both_parameters_from_the_unnormalised_autocorrelation():
    found = identifiability.analyse(unnormalised(TIMES), HARMONIC, SIGMA, logarithmic=True)
    assert found.rank == 2
    assert found.ridges == []
    bars = exact_bars(TIMES, SIGMA)
    assert found.standard_errors == pytest.approx({"k": K * bars[0], "gamma": GAMMA * bars[1]}, rel=1e-9)
    assert set(found.status.values()) == {"determined"}


def test_gamma_is_sloppy_at_short_times_with_the_right_bar():
    t, sigma = TIMES / 300, 0.05  # all t much shorter than gamma/k = 1.5
    found = identifiability.analyse(unnormalised(t), HARMONIC, sigma, logarithmic=True)
    bars = exact_bars(t, sigma)
    assert found.standard_errors == pytest.approx({"k": K * bars[0], "gamma": GAMMA * bars[1]}, rel=1e-9)
    assert found.status == {"k": "determined", "gamma": "sloppy"}
    name, _, bar = found.spectrum()[-1]
    assert name == "gamma"
    assert bar > 1.0
    assert "SLOPPY" in str(found)


def test_linear_parameters_keep_their_units_and_names():
    """y = a t + 2 b t: only a + 2 b; with an offset c, its bar is that of linear regression."""
    t = torch.linspace(0, 1, 20, dtype=torch.float64)
    found = identifiability.analyse(lambda p: (p["a"] + 2 * p["b"]) * t + p["c"], {"a": 3.0, "b": 5.0, "c": 0.0}, 0.1)
    assert sorted(found.determined) == ["b + 1/2 a", "c"]
    assert found.status["c"] == "determined"
    x = t.numpy()
    bar = 0.1 * np.sqrt(np.mean(x**2) / (len(x) * np.var(x)))
    assert found.standard_errors["c"] == pytest.approx(bar, rel=1e-9)
    null = found.null_space[:, 0] * found.parameters.units
    assert null[0] == pytest.approx(-2 * null[1])


def test_cramer_rao_bars_are_the_scatter_of_fits():
    rng = np.random.default_rng(1)
    t = np.linspace(0.0, 3.0, 31)
    covariance = 0.01**2 * 0.8 ** np.abs(np.subtract.outer(np.arange(31), np.arange(31)))
    noise = CorrelatedNoise(covariance)
    model = unnormalised(t)
    found = identifiability.analyse(model, HARMONIC, noise, logarithmic=True)
    jacobian = noise.whiten(found.jacobian)
    draws = rng.multivariate_normal(np.zeros(31), covariance, size=4000)
    fits = np.linalg.lstsq(jacobian, noise.whiten(draws.T), rcond=None)[0]  # linear for small noise
    bars = np.array(list(found.standard_errors.values())) / found.parameters.units
    np.testing.assert_allclose(fits.std(axis=1), bars, rtol=4 / np.sqrt(2 * 4000))
    # White noise of the same size is a wrong answer.
    white = identifiability.analyse(model, HARMONIC, 0.01, logarithmic=True)
    assert abs(white.standard_errors["k"] / found.standard_errors["k"] - 1) > 0.2


def test_profile_of_a_linear_parameter_is_the_parabola_of_its_bar():
    found = identifiability.analyse(unnormalised(TIMES), HARMONIC, 1e-3, logarithmic=True)
    bar = found.standard_errors["k"]
    profile = identifiability.profile_likelihood(
        unnormalised(TIMES), HARMONIC, 1e-3, "k", K + bar * np.linspace(-2, 2, 9), logarithmic=True
    )
    np.testing.assert_allclose(profile.chi2, np.linspace(-2, 2, 9) ** 2, atol=0.05)
    assert profile.interval() == pytest.approx((K - bar, K + bar), rel=1e-3)


def test_the_best_further_data_remove_the_ridge():
    found = identifiability.analyse(normalised(TIMES), HARMONIC, SIGMA, logarithmic=True)
    direction, ranking = identifiability.rank_candidates(
        found,
        {
            "R(t) again": (normalised(TIMES), SIGMA),
            "C(0), 10 %": (lambda p: KT / p["k"].reshape(1), 0.1 * KT / K),
            "C(0), 1 %": (lambda p: KT / p["k"].reshape(1), 0.01 * KT / K),
        },
    )
    assert direction == "k gamma"
    assert [c.name for c in ranking] == ["C(0), 1 %", "C(0), 10 %", "R(t) again"]
    assert ranking[-1].standard_error == np.inf
    # (ln k + ln gamma)/sqrt(2) = sqrt(2) ln k - (ln k - ln gamma)/sqrt(2)
    assert ranking[1].standard_error == pytest.approx(np.sqrt(2) * 0.1, rel=0.01)


def test_an_accidental_zero_is_no_ridge():
    """d(a^2)/da vanishes at a = 0, though a^2 depends on a."""
    found = identifiability.analyse(lambda p: (p["a"] ** 2).reshape(1), {"a": 0.0}, 1.0)
    assert found.ridges == []


def test_noise_is_estimated_from_blocks_and_residuals():
    rng = np.random.default_rng(2)
    truth = 0.5 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    blocks = rng.multivariate_normal(np.zeros(8), truth, size=400)
    whitened = CorrelatedNoise.from_blocks(blocks).whiten(np.linalg.cholesky(truth / 400))
    np.testing.assert_allclose(whitened @ whitened.T, np.eye(8), atol=0.35)
    CorrelatedNoise.from_blocks(blocks[:4])  # positive definite with fewer blocks than observations
    stationary = CorrelatedNoise.stationary(0.5 ** np.arange(8)).whiten(np.eye(8))
    np.testing.assert_allclose(stationary.T @ stationary, np.linalg.inv(truth), atol=1e-9)
    steps = rng.normal(size=(20000, 2, 3))
    residuals = np.zeros_like(steps)
    for k in range(1, len(steps)):
        residuals[k] = 0.8 * residuals[k - 1] + steps[k]
    noise = ForceNoise.from_residuals(residuals)
    assert noise.inefficiency == pytest.approx((1 + 0.8) / (1 - 0.8), rel=0.15)
    np.testing.assert_allclose(noise.whitener, np.sqrt(1 - 0.64), rtol=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Parameters.of({}), "no parameters"),
        (lambda: Parameters.of({"a": -1.0}, True), "must be positive, got a = -1"),
        (lambda: Parameters.of({"a": 1.0}, ["b"]), "no parameter 'b' among a"),
        (lambda: Parameters.of({"a": np.nan}), "'a' must be finite"),
        (lambda: WhiteNoise(0.0), "must be positive"),
        (lambda: CorrelatedNoise([[1.0, 2.0], [2.0, 1.0]]), "not positive definite"),
        (lambda: ForceNoise(1.0, 0.5), "at least 1, got 0.5"),
        (lambda: identifiability.analyse(lambda p: p["a"], {"a": 1.0}, 1.0), r"shape \(m,\), got \(\)"),
        (lambda: identifiability.analyse(lambda p: p["a"].log().reshape(1), {"a": -1.0}, 1.0), "not finite"),
        (lambda: identifiability.prony_model([1.0], "force"), "observable must be one of"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ------------------------------------------------------------------------------------------------------------- kernels


def test_two_equal_prony_times_cannot_be_told_apart():
    t = np.linspace(0.0, 5.0, 40)
    model = identifiability.prony_model(t, "kernel")
    found = identifiability.analyse(model, {"amplitude": [3.0, 1.0], "time": [0.5, 0.5]}, 0.1, logarithmic=True)
    assert found.jacobian is not None
    near = identifiability.analyse(model, {"amplitude": [3.0, 1.0], "time": [0.5, 0.55]}, 0.1, logarithmic=True)
    apart = identifiability.analyse(model, {"amplitude": [3.0, 1.0], "time": [0.1, 2.0]}, 0.1, logarithmic=True)
    assert near.spectrum()[-1][2] > 30 * apart.spectrum()[-1][2]


def test_kernel_models_agree_with_memory_kernels():
    t = np.linspace(0.0, 2.0, 9)
    kernel = MemoryKernel.prony([30.0, 4.0], [0.1, 0.8])
    p = {"amplitude": torch.tensor([30.0, 4.0]).double(), "time": torch.tensor([0.1, 0.8]).double()}
    expected = {"kernel": kernel.kernel(t), "integrated": kernel.integrated(t)}
    for observable, value in expected.items():
        np.testing.assert_allclose(identifiability.prony_model(t, observable)(p).numpy(), value, rtol=1e-6)
    step = 0.25
    np.testing.assert_allclose(
        identifiability.prony_model(t, "vacf")(p).numpy(), kernel.vacf(np.arange(9), step), atol=1e-7
    )
    found = identifiability.analyse_kernel(kernel, t, 0.1)
    # Four numbers make this kernel; the other elements of the drift matrix are a choice of basis.
    assert found.rank == 4


# ---------------------------------------------------------------------------------------------------------- potentials


def cluster(frames=12, n=6, seed=0):
    x = np.random.default_rng(seed).uniform(0, 0.7, (frames, n, 3))
    return Frames(x, types=np.arange(n) % 2)


def random_parameters(model, std=0.3):
    generator = torch.Generator().manual_seed(4)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=std, generator=generator)
    return model.double()


MODELS = {
    "spline": lambda: PairSpline(2, 0.8, 10),
    "three-body": lambda: Sum(PairSpline(2, 0.8, 6), StillingerWeber(2, 0.7, 0.2)),
    "moments": lambda: MomentTensor(2, 0.8, max_l=2, channels=3, radial_functions=6, hidden=(8, 8)),
    "schnet": lambda: SchNet(2, 0.8, features=16, filters=16, blocks=2, radial_functions=8),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("periodic", [False, True])
def test_products_are_those_of_the_jacobian_by_differences(name, periodic):
    model, frames = random_parameters(MODELS[name]()), cluster(3)
    box = 1.7 * torch.eye(3, dtype=torch.float64) if periodic else None
    if periodic:
        frames = Frames(frames.positions, box.numpy(), types=frames.types)
    covariance = np.diag(np.linspace(1.0, 4.0, 18)) + 0.3
    s = ForceSensitivity(model, frames, ForceNoise(covariance, 2.0))
    direction = np.random.default_rng(5).normal(size=(s.size, 2))
    found = s.times(direction)
    step = torch.from_numpy(direction[:, 0] * s.coordinates.units)
    base = torch.nn.utils.parameters_to_vector(model.parameters()).detach()

    def forces(h):
        torch.nn.utils.vector_to_parameters(base + h * step, model.parameters())
        rows = []
        for x in frames.positions:
            x = torch.tensor(x, requires_grad=True)
            rows.append(-torch.autograd.grad(model(x, torch.tensor(frames.types), box), x)[0].numpy().reshape(-1))
        return np.array(rows)

    h = 1e-4
    change = (8 * (forces(h) - forces(-h)) - (forces(2 * h) - forces(-2 * h))) / (12 * h)
    torch.nn.utils.vector_to_parameters(base, model.parameters())
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), change.T).T / np.sqrt(2.0)
    np.testing.assert_allclose(found[:, 0], whitened.reshape(-1), atol=1e-6 * np.abs(whitened).max())
    np.testing.assert_allclose(direction.T @ s.squared_times(direction), found.T @ found, rtol=1e-9)


def test_a_spline_is_determined_where_pairs_are():
    frames = cluster(40)
    spline = random_parameters(PairSpline(1, 1.6, 16))
    frames = Frames(frames.positions)
    found = identifiability.analyse_forces(spline, frames, 1.0)
    i, j = np.triu_indices(6, 1)
    r = np.linalg.norm(frames.positions[:, i] - frames.positions[:, j], axis=-1)
    # Between knots n and n + 1 functions n .. n + 3 differ from zero.
    seen = np.unique((r / 0.1).astype(int)[..., None] + np.arange(4))
    unseen = np.setdiff1d(np.arange(16), seen)
    assert len(unseen) > 0
    # Besides, no force feels a constant on all distances that occur: functions beyond them take it back to zero.
    assert found.null_space.shape[1] == len(unseen) + 1
    assert np.isinf(list(found.standard_errors.values())).all()
    spline = random_parameters(PairSpline(1, 0.8, 8))
    found = identifiability.analyse_forces(spline, frames, 1.0)
    bars = np.array(list(found.standard_errors.values()))
    assert np.isfinite(bars[3:]).all()
    # Frames of which four are worth one double the bars.
    more = identifiability.analyse_forces(spline, frames, ForceNoise(1.0, 4.0))
    ratio = np.array(list(more.standard_errors.values()))[3:] / bars[3:]
    np.testing.assert_allclose(ratio, 2.0)


def test_both_ends_of_a_network_spectrum_against_dense_algebra():
    model, frames = random_parameters(MODELS["moments"]()), cluster(12)
    s = ForceSensitivity(model, frames, 1.0)
    exact = np.linalg.eigvalsh(s.dense())[::-1]
    found = identifiability.network_spectrum(model, frames, 1.0, top=20, bottom=20, steps=80)
    np.testing.assert_allclose(found.top[:10], exact[:10], rtol=1e-6)
    assert np.all(np.abs(found.top - exact[:20]) <= found.top_error + 1e-9 * exact[0])
    # 12 frames of 6 beads: 12 (18 - 6) = 144 numbers, so at least 430 - 144 directions are null.
    assert found.rank_bound == 144
    assert found.null_dimension == s.size - 144
    assert np.sum(exact > 1e-12 * exact[0]) <= 144
    # Upper bounds on the 20 smallest, which are zero here, and attained well below what matters.
    assert np.all(found.bottom >= 0)
    assert found.bottom[-1] < exact[100]
    images = s.times(found.bottom_directions)
    np.testing.assert_allclose(np.sum(images**2, axis=0), found.bottom, rtol=1e-6, atol=1e-20)
    np.testing.assert_allclose(found.bottom_directions.T @ found.bottom_directions, np.eye(20), atol=1e-9)
    assert sum(found.shares(found.top_directions[:, 0]).values()) == pytest.approx(1.0)
    assert "rank at most 144" in str(found)


def test_bounds_hold_where_all_directions_are_determined():
    model = random_parameters(PairSpline(1, 0.9, 24))
    frames = Frames(cluster(60).positions)
    exact = np.sort(np.linalg.eigvalsh(ForceSensitivity(model, frames, 1.0).dense()))
    found = identifiability.network_spectrum(model, frames, 1.0, top=5, bottom=5, steps=12)
    assert np.all(found.bottom >= exact[:5] - 1e-9 * exact[-1])
    assert found.bottom[0] < 1e-2 * exact[-1]
    with pytest.raises(ValueError, match="cannot find 20 \\+ 20 directions of 24"):
        identifiability.network_spectrum(model, frames, 1.0, top=20, bottom=20)
