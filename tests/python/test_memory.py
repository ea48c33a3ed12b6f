# SPDX-License-Identifier: MIT
import numpy as np
import pytest
import scipy.linalg
import scipy.special

from meanforce import MemoryKernel
from meanforce.memory import (
    Correlation,
    KernelIteration,
    diffusion_coefficient,
    diffusion_from_displacement,
    fit_kernel,
    fit_vacf,
    markovian_report,
    mean_square_displacement,
    relative_l2_error,
    unwrap,
    velocity_autocorrelation,
    volterra_kernel,
)

# Statistical thresholds, in standard errors that are themselves estimated from few blocks.
SIGMAS = 5.0


def composite() -> MemoryKernel:
    return MemoryKernel.prony([5.0, 1.0], [0.2, 1.5]) + MemoryKernel.damped_cosine(4.0, 0.0, 1.0, 6.0)


def distance(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def ornstein_uhlenbeck(gamma, dt, frames, beads, variance, seed):
    """Velocities and exactly integrated positions of free Langevin particles."""
    rng = np.random.default_rng(seed)
    decay = np.exp(-gamma * dt)
    # joint covariance of (velocity, displacement) over a step
    vv = variance * (1 - decay**2)
    xv = variance / gamma * (1 - decay) ** 2
    xx = variance / gamma**2 * (2 * gamma * dt - 3 + 4 * decay - decay**2)
    root = np.linalg.cholesky([[vv, xv], [xv, xx]])
    v = np.zeros((frames, beads, 3))
    x = np.zeros((frames, beads, 3))
    v[0] = rng.normal(size=(beads, 3)) * np.sqrt(variance)
    for i in range(1, frames):
        noise = root @ rng.normal(size=(2, beads * 3))
        v[i] = decay * v[i - 1] + noise[0].reshape(beads, 3)
        x[i] = x[i - 1] + (1 - decay) / gamma * v[i - 1] + noise[1].reshape(beads, 3)
    return v, x


@pytest.fixture(scope="module")
def trajectory():
    return ornstein_uhlenbeck(gamma=4.0, dt=0.05, frames=4000, beads=30, variance=0.5, seed=3)


# ------------------------------------------------------------------------------------------------ correlations


def test_correlation_equals_direct_sums():
    rng = np.random.default_rng(1)
    v = rng.normal(size=(53, 70, 3))
    masses = rng.uniform(1, 3, size=70)
    c = velocity_autocorrelation(v, 0.1, max_time=0.9, blocks=4, masses=masses)
    w = masses / masses.sum()
    for lag in (0, 1, 9):
        direct = np.einsum("fnc,fnc,n->f", v[: 53 - lag], v[lag:], w).mean() / 3
        assert c.value[lag] * c.zero == pytest.approx(direct, abs=1e-12)
    assert c.t[-1] == pytest.approx(0.9)
    np.testing.assert_allclose((c.weights * c.blocks).sum(axis=0), c.value, atol=1e-12)


def test_correlation_of_ornstein_uhlenbeck_within_standard_errors(trajectory):
    c = velocity_autocorrelation(trajectory[0].astype(np.float32), 0.05, max_time=2.0, blocks=10)
    z = (c.value - np.exp(-4.0 * c.t))[1:] / c.standard_error[1:]
    assert np.abs(z).max() < SIGMAS
    # a wrong rate is seen, so the errors are not too large
    assert np.abs((c.value - np.exp(-4.4 * c.t))[1:] / c.standard_error[1:]).max() > SIGMAS
    # 3 * 30 independent particles over 200 ps: relative error of the variance sqrt(2 tau / T) / sqrt(90)
    assert c.zero == pytest.approx(0.5, rel=SIGMAS * np.sqrt(2 * 0.25 / 200 / 90))


def test_diffusion_of_free_particles(trajectory):
    v, x = trajectory
    exact = 0.5 / 4.0
    c = velocity_autocorrelation(v, 0.05, max_time=2.0, blocks=10)
    for d in (
        diffusion_coefficient(c),
        diffusion_coefficient(v, 0.05, to=2.0),
        diffusion_from_displacement(x, 0.05, 1.0, 4.0),
    ):
        # the trapezoidal rule adds (gamma dt)^2/12
        assert abs(d.value - exact) < SIGMAS * d.standard_error + 0.004 * exact
        assert 0.0 < d.standard_error < 0.1 * exact
    assert d.in_1e9_m2_per_s == pytest.approx(1e3 * d.value)
    assert "1e-9 m^2/s" in str(d)


def test_mean_square_displacement_and_unwrap(trajectory):
    x = trajectory[1][:500]
    t, value, parts = mean_square_displacement(x, 0.05, max_time=2.0)
    for lag in (1, 40):
        direct = ((x[lag:] - x[:-lag]) ** 2).sum(-1).mean()
        assert value[lag] == pytest.approx(direct, rel=1e-9)
    assert parts.shape == (5, len(t))
    box = np.array([1.0, 1.2, 1.5])
    np.testing.assert_allclose(unwrap(x - box * np.floor(x / box), box)[-1] - x[-1], unwrap_offset(x, box), atol=1e-9)


def unwrap_offset(x, box):
    return -box * np.floor(x[0] / box)


def test_relative_error_of_correlations():
    t = np.arange(201) * 0.01
    a, b = Correlation.from_table(t, np.exp(-2 * t)), Correlation.from_table(t, np.exp(-3 * t))
    exact = np.sqrt((1 / 4 + 1 / 6 - 2 / 5) / (1 / 6))
    # the tails beyond 2 ps are exp(-8), squared
    assert relative_l2_error(a, b) == pytest.approx(exact, rel=5e-3)
    assert relative_l2_error(a, a) == 0.0
    with pytest.raises(ValueError, match="must reach `t_max` = 3"):
        relative_l2_error(a, b, 3.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"velocities": np.zeros((10, 3))}, r"shape \(F, N, 3\), got \(10, 3\)"),
        ({"dt": 0.0}, "`dt` must be > 0"),
        ({"max_time": 5.0}, "below the 2 ps of a block, got 5 ps"),
        ({"blocks": 1}, "at least 2, got 1"),
        ({"masses": np.ones(3)}, "must be 2 values"),
        ({"velocities": np.zeros((100, 2, 3))}, "not all zero"),
    ],
)
def test_bad_input_to_correlations(arguments, message):
    with pytest.raises(ValueError, match=message):
        velocity_autocorrelation(**({"velocities": np.ones((100, 2, 3)), "dt": 0.1} | arguments))


# ------------------------------------------------------------------------------------------------ Volterra


@pytest.mark.parametrize(
    ("dt", "bar"),
    # relative L2 error of k on [0, 5] from exact data; without interpolation it is .011, .039, .095
    [(0.02, 0.004), (0.05, 0.012), (0.1, 0.04)],
)
@pytest.mark.parametrize("method", ["G", "midpoint"])
def test_volterra_recovers_the_kernel_from_exact_data(dt, bar, method):
    n = np.arange(round(5 / dt) + 1)
    result = volterra_kernel(n * dt, composite().vacf(n, dt), method)
    assert distance(result.kernel, composite().kernel(n * dt)) < bar
    np.testing.assert_allclose(result.integrated, composite().integrated(n * dt), atol=bar)


def test_plain_quadrature_is_worse():
    n = np.arange(101)
    plain = volterra_kernel(n * 0.05, composite().vacf(n, 0.05), refine=1)
    assert distance(plain.kernel, composite().kernel(n * 0.05)) > 0.02


def test_midpoint_resolves_a_white_part():
    n = np.arange(251)
    kernel = composite() + MemoryKernel.white(2.0)
    result = volterra_kernel(n * 0.02, kernel.vacf(n, 0.02), "midpoint")
    np.testing.assert_allclose(result.integrated, kernel.integrated(n * 0.02), atol=2e-3)


def test_rubin_chain():
    # VACF J0(2 w t) of a bead in an infinite harmonic chain: k(t) = 2 w^2 J1(2 w t)/(w t)
    w, t = 3.0, np.arange(301) * 0.02
    exact = 2 * w**2 * np.divide(scipy.special.j1(2 * w * t), w * t, out=np.ones_like(t), where=t > 0)
    result = volterra_kernel(t, scipy.special.j0(2 * w * t))
    assert distance(result.kernel, exact) < 0.003


def test_bad_input_to_volterra():
    with pytest.raises(ValueError, match="equal steps"):
        volterra_kernel([0.0, 0.1, 0.3, 0.4], np.ones(4))
    with pytest.raises(ValueError, match="positive value, got -1"):
        volterra_kernel([0.0, 0.1, 0.2, 0.3], -np.ones(4))
    with pytest.raises(ValueError, match="got 'fft'"):
        volterra_kernel([0.0, 0.1, 0.2, 0.3], np.ones(4), "fft")


# ------------------------------------------------------------------------------------------------ fits


def test_fits_recover_a_kernel_of_the_same_form():
    n = np.arange(101)
    t, kernel = n * 0.05, composite()
    for fit in (
        fit_kernel(t, kernel.kernel(t), (2, 1)),
        fit_kernel(t, integrated=kernel.integrated(t), modes=4),
        fit_kernel(t, kernel.kernel(t), (2, 1), integrated=kernel.integrated(t)),
        fit_vacf(t, kernel.vacf(n, 0.05), (2, 1)),
    ):
        assert distance(fit.kernel.kernel(t), kernel.kernel(t)) < 1e-5
        assert fit.error < 1e-5


def test_vacf_fit_has_no_bias_at_coarse_sampling():
    n = np.arange(26)
    fit = fit_vacf(n * 0.2, composite().vacf(n, 0.2), (2, 1))
    t = np.arange(251) * 0.02
    assert distance(fit.kernel.kernel(t), composite().kernel(t)) < 1e-3
    rough = volterra_kernel(n * 0.2, composite().vacf(n, 0.2))
    assert distance(rough.kernel, composite().kernel(n * 0.2)) > 0.05


def test_fit_separates_the_white_part():
    t = np.arange(101) * 0.05
    kernel = composite() + MemoryKernel.white(2.0)
    fit = fit_kernel(t, integrated=kernel.integrated(t), modes=(2, 1), white=True)
    assert fit.kernel.white_friction == pytest.approx(2.0, abs=1e-4)


def test_fit_of_noisy_data_is_passive_and_reports_its_error():
    t = np.arange(101) * 0.05
    noise = 0.3 * np.random.default_rng(1).normal(size=len(t))
    fit = fit_kernel(t, composite().kernel(t) + noise)
    assert fit.kernel.is_passive()
    assert fit.kernel.spectrum(np.linspace(0, 200, 2000)).min() >= 0.0
    # the data differ from the truth by 14 %, which is what a good fit has to report; the truth is met better
    assert fit.error == pytest.approx(distance(composite().kernel(t) + noise, composite().kernel(t)), rel=0.2)
    assert distance(fit.kernel.kernel(t), composite().kernel(t)) < 0.5 * fit.error


@pytest.mark.parametrize("shape", [lambda t: -np.exp(-t), lambda t: np.cos(7 * t) - 0.5 * np.exp(-t)])
def test_fit_of_a_kernel_that_is_not_passive(shape):
    t = np.arange(101) * 0.05
    fit = fit_kernel(t, shape(t))
    assert fit.kernel.is_passive()
    assert fit.error > 0.1
    assert fit.error == pytest.approx(distance(fit.kernel.kernel(t), shape(t)))


def test_fit_rates_stay_visible():
    # memory much shorter than the table's step must not become a mode of huge rate
    t = np.arange(51) * 0.1
    fit = fit_kernel(t, integrated=3.0 + MemoryKernel.prony([1.0], [1.0]).integrated(t), modes=(2, 0))
    assert np.abs(fit.kernel.drift[1:, 1:]).max() <= np.pi / 0.1 * (1 + 1e-9)


def test_fits_are_deterministic():
    t = np.arange(101) * 0.05
    k = composite().kernel(t) + 0.3 * np.random.default_rng(2).normal(size=len(t))
    assert fit_kernel(t, k).kernel == fit_kernel(t, k).kernel


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give `k`, `integrated` or both"),
        ({"k": np.ones(3)}, "same length"),
        ({"k": np.ones(10), "modes": (0, 0)}, "at least one exponential or damped cosine"),
        ({"k": np.ones(10), "weights": -np.ones(10)}, "values >= 0"),
        ({"k": np.full(10, np.nan)}, "finite"),
    ],
)
def test_bad_input_to_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_kernel(np.arange(10) * 0.1, **arguments)


# ------------------------------------------------------------------------------------------------ iteration


class Ring:
    """Beads on a ring of springs, each with the same bath: interacting, non-additive and exactly solvable.

    Normal mode q is a harmonic oscillator with this bath; its velocity correlation is an element of a matrix
    exponential, and that of a bead is the mean over the modes.
    """

    def __init__(self, stiffness, friction, beads=24):
        q = 2 * np.pi * np.arange(beads) / beads
        self.squares = 2 * stiffness * (1 - np.cos(q))
        self.own = MemoryKernel.white(friction)

    def vacf(self, kernel, dt=0.02, lags=150):
        drift = (self.own + kernel).drift
        size = len(drift) + 1
        step = np.zeros((len(self.squares), size, size))
        for i, square in enumerate(self.squares):
            flow = np.zeros((size, size))
            flow[1:, 1:] = -drift
            flow[0, 1], flow[1, 0] = 1.0, -square
            step[i] = scipy.linalg.expm(flow * dt)
        c = np.zeros(lags + 1)
        power = np.broadcast_to(np.eye(size), step.shape)
        for n in range(lags + 1):
            c[n] = power[:, 1, 1].mean()
            power = power @ step
        return Correlation.from_table(np.arange(lags + 1) * dt, c)


TRUE_BATH = MemoryKernel.prony([60.0, 20.0], [0.1, 0.5])


@pytest.fixture(scope="module")
def ring():
    model = Ring(stiffness=10.0, friction=1.0)
    iteration = KernelIteration(model.vacf(TRUE_BATH), model.vacf(MemoryKernel.white(0.0)), modes=(2, 1))
    kernel = iteration.initial()
    for _ in range(4):
        kernel = iteration.update(model.vacf(kernel))
    return model, iteration


def test_iteration_converges_to_the_target(ring):
    model, iteration = ring
    target, t = iteration.target, iteration.target.t
    errors = [record.vacf_error for record in iteration.history]
    assert errors[0] > 0.3
    assert errors[-1] < 0.01
    final = iteration.average()
    assert relative_l2_error(model.vacf(final), target) < 0.01
    # the bath that made the target is found again
    assert distance(final.integrated(t), TRUE_BATH.integrated(t)) < 0.03
    assert final.is_passive()
    assert final.modes == 4
    assert iteration.history[-1].diffusion == pytest.approx(diffusion_coefficient(target).value, rel=0.1)


def test_the_first_guess_and_a_bath_that_ignores_the_beads_fail(ring):
    model, iteration = ring
    assert iteration.history[1].vacf_error > 3 * iteration.history[-1].vacf_error
    t, target = iteration.target.t, iteration.target
    g = volterra_kernel(t, target.value).integrated
    everything = fit_kernel(t, integrated=g, modes=(2, 1)).kernel
    assert relative_l2_error(model.vacf(everything), target) > 0.1


def test_iteration_resumes_from_json(ring):
    model, iteration = ring
    again = KernelIteration.from_json(iteration.to_json())
    assert again.kernels == iteration.kernels
    assert again.history == iteration.history
    run = model.vacf(iteration.kernels[-1])
    assert again.update(run) == KernelIteration.from_json(iteration.to_json()).update(run)
    with pytest.raises(ValueError, match="truncated"):
        KernelIteration.from_json(iteration.to_json()[:-5])
    with pytest.raises(ValueError, match="format must be"):
        KernelIteration.from_json("{}")
    with pytest.raises(ValueError, match="reads version 1"):
        KernelIteration.from_json(iteration.to_json().replace('"version": 1', '"version": 2'))


def test_whole_loop_with_a_sampler():
    # free particles: the first guess is right, and the loop must leave it alone within the noise of its runs
    rng = np.random.default_rng(5)

    def sample(kernel, frames=1500, beads=60, dt=0.02):
        size = kernel.modes + 1
        step = scipy.linalg.expm(-dt * kernel.drift)
        spread = scipy.linalg.cholesky(np.eye(size) - step @ step.T + 1e-12 * np.eye(size), lower=True)
        z = rng.normal(size=(size, beads * 3))
        v = np.zeros((frames, beads, 3))
        for i in range(frames):
            z = step @ z + spread @ rng.normal(size=z.shape)
            v[i] = z[0].reshape(beads, 3)
        return v

    n = np.arange(101)
    bath = MemoryKernel.prony([40.0], [0.1])
    target = Correlation.from_table(n * 0.02, bath.vacf(n, 0.02))
    almost_free = Correlation.from_table(n * 0.02, MemoryKernel.prony([0.01], [0.1]).vacf(n, 0.02))
    iteration = KernelIteration(target, almost_free, modes=(1, 0))
    final = iteration.run(sample, 0.02, corrections=2)
    assert final.friction == pytest.approx(4.0, rel=0.1)
    assert len(iteration.history) == 3
    assert iteration.history[-1].vacf_error < 0.05


def test_iteration_refuses_what_it_cannot_do(ring):
    model, iteration = ring
    fresh = KernelIteration(iteration.target, iteration.no_bath)
    with pytest.raises(RuntimeError, match="call `initial` first"):
        fresh.update(iteration.target)
    with pytest.raises(RuntimeError, match="at least two updates, got 0"):
        fresh.average()
    with pytest.raises(ValueError, match="already has more friction than the target"):
        KernelIteration(iteration.no_bath, iteration.target)
    with pytest.raises(ValueError, match="`max_time` must be above"):
        KernelIteration(iteration.target, iteration.no_bath, max_time=100.0)
    with pytest.raises(ValueError, match="`no_bath` must reach 3 ps"):
        KernelIteration(iteration.target, model.vacf(TRUE_BATH, lags=50), max_time=3.0)
    with pytest.raises(TypeError, match="must be a Correlation, got ndarray"):
        KernelIteration(iteration.target.value, iteration.no_bath)


# ------------------------------------------------------------------------------------------------ diagnostics


def test_markovian_report():
    short = markovian_report(MemoryKernel.prony([1.0 / 0.01], [0.01]))
    # k = (c/tau) exp(-t/tau): memory time tau, relaxation close to 1/c
    assert short.memory_time == pytest.approx(0.01, rel=1e-3)
    assert short.relaxation_time == pytest.approx(1.0, rel=0.02)
    assert short.langevin_is_enough
    long = markovian_report(MemoryKernel.prony([1.0], [1.0]))
    assert not long.langevin_is_enough
    assert "memory matters" in str(long)
    white = markovian_report(MemoryKernel.white(2.0))
    assert white.memory_time == 0.0
    assert white.relaxation_time == pytest.approx(0.5, rel=1e-3)
    t = np.arange(401) * 0.01
    assert markovian_report(
        MemoryKernel.white(2.0), Correlation.from_table(t, np.exp(-5 * t))
    ).relaxation_time == pytest.approx(0.2, rel=1e-2)
    with pytest.raises(ValueError, match="finite friction > 0"):
        markovian_report(MemoryKernel.white(0.0))
