# SPDX-License-Identifier: MIT
import copy
import json
import pickle
import re
import zipfile

import numpy as np
import openmm
import pytest
import scipy.integrate
from hypothesis import given, settings
from hypothesis import strategies as st
from openmm import unit

from meanforce import GLEIntegrator, MemoryKernel

T = np.linspace(0.0, 5.0, 251)
# rounding of an eigendecomposition of matrices of order 10
ROUNDING = 1e-10


def composite() -> MemoryKernel:
    return MemoryKernel.prony([5.0, 1.0], [0.2, 1.5]) + MemoryKernel.damped_cosine(4.0, 0.3, 1.0, 6.0)


def composite_formula(t):
    return 5 * np.exp(-t / 0.2) + np.exp(-t / 1.5) + np.exp(-t) * (4 * np.cos(6 * t) + 0.3 * np.sin(6 * t))


def single_exponential_vacf(t, c, tau):
    """VACF of a free particle, K/m = (c/tau) exp(-t/tau), overdamped or not."""
    root = np.sqrt(1 - 4 * c * tau + 0j)
    fast, slow = (1 + root) / (2 * tau), (1 - root) / (2 * tau)
    return ((fast * np.exp(-slow * t) - slow * np.exp(-fast * t)) / (fast - slow)).real


def test_prony_and_damped_cosine_follow_their_formulas():
    np.testing.assert_allclose(composite().kernel(T), composite_formula(T), atol=ROUNDING)


@pytest.mark.parametrize("kernel", [composite(), composite() + MemoryKernel.white(2.0), MemoryKernel.white(3.0)])
def test_friction_and_integrated_kernel_are_the_integral(kernel):
    t = np.linspace(0.0, 30.0, 60001)
    numerical = kernel.white_friction + scipy.integrate.simpson(kernel.kernel(t), x=t)
    # kernels have decayed to exp(-20); Simpson's rule at h = 5e-4
    assert kernel.friction == pytest.approx(numerical, abs=1e-7)
    assert kernel.integrated(30.0) == pytest.approx(numerical, abs=1e-9)
    assert kernel.integrated(0.0) == pytest.approx(kernel.white_friction, abs=ROUNDING)


def test_a_memory_that_never_decays_has_infinite_friction():
    constant = MemoryKernel([[0.0, -1.0], [1.0, 0.0]])
    assert constant.friction == np.inf
    np.testing.assert_allclose(constant.integrated(T), T, atol=ROUNDING)


def test_critical_damping_has_no_eigenvectors_but_a_kernel():
    # Jordan block: exp(-t) (1 + t) is the limit of a damped cosine
    kernel = MemoryKernel.block(1.0, 0.0, 2.0, 1.0)
    np.testing.assert_allclose(kernel.kernel(T), np.exp(-T) * (1 + T), atol=1e-7)
    assert kernel.friction == pytest.approx(2.0, abs=1e-7)


@pytest.mark.parametrize(("c", "tau"), [(2.0, 0.05), (2.0, 0.5), (5.0, 5.0)])
@pytest.mark.parametrize("step", [0.01, 0.2])
def test_free_vacf_of_an_exponential_memory(c, tau, step):
    kernel = MemoryKernel.prony([c / tau], [tau])
    n = np.arange(50)
    np.testing.assert_allclose(kernel.vacf(n, step), single_exponential_vacf(n * step, c, tau), atol=ROUNDING)
    assert kernel.vacf(3, step) == pytest.approx(single_exponential_vacf(3 * step, c, tau), abs=ROUNDING)
    # a kernel without its feedback on the velocity is another one
    assert np.abs(np.exp(-c * n * step) - kernel.vacf(n, step)).max() > 0.01


def test_white_kernel_is_ornstein_uhlenbeck():
    np.testing.assert_allclose(MemoryKernel.white(2.0).vacf(np.arange(20), 0.1), np.exp(-0.2 * np.arange(20)))


@settings(deadline=None, max_examples=60)
@given(
    p=st.floats(0.1, 50),
    rate=st.floats(0.1, 20),
    frequency=st.floats(0.1, 50),
    share=st.floats(-1, 1),
    t=st.floats(0, 3),
)
def test_damped_cosine_up_to_the_passivity_boundary(p, rate, frequency, share, t):
    q = share * p * rate / frequency
    kernel = MemoryKernel.damped_cosine(p, q, rate, frequency)
    expected = np.exp(-rate * t) * (p * np.cos(frequency * t) + q * np.sin(frequency * t))
    assert kernel.kernel(t) == pytest.approx(expected, abs=1e-6 * p)
    assert kernel.is_passive()
    assert kernel.spectrum(np.linspace(0, 200, 200)).min() >= -1e-9 * p


@pytest.mark.parametrize("q", [0.101, -0.101])
def test_damped_cosine_beyond_the_boundary_is_not_passive(q):
    kernel = MemoryKernel.damped_cosine(1.0, q, 1.0, 10.0)
    np.testing.assert_allclose(kernel.kernel(T), np.exp(-T) * (np.cos(10 * T) + q * np.sin(10 * T)), atol=ROUNDING)
    assert not kernel.is_passive()
    with pytest.raises(ValueError, match=r"not passive: .* at the frequency") as error:
        _ = kernel.drift
    # the frequency that the message names has a negative spectrum, by the closed form
    value, omega = (float(x) for x in re.search(r"is (\S+) 1/ps at the frequency (\S+) rad", str(error.value)).groups())
    s = 1j * omega + 1.0
    assert ((s + 10 * q) / (s**2 + 100)).real == pytest.approx(value, rel=1e-4)
    assert value < 0
    with pytest.raises(ValueError, match="not passive"):
        GLEIntegrator(300, kernel, 0.002)
    # on the boundary it is passive
    assert MemoryKernel.damped_cosine(1.0, 0.1 * np.sign(q), 1.0, 10.0).is_passive()


def test_parts_may_be_not_passive_if_the_sum_is():
    cosine, tail = MemoryKernel.damped_cosine(1.0, -0.3, 1.0, 10.0), MemoryKernel.prony([0.5, -0.05], [1.0, 0.2])
    assert not cosine.is_passive()
    total = cosine + MemoryKernel.prony([1.2], [0.5]) + tail
    omega = np.linspace(0, 200, 4001)
    assert total.spectrum(omega).min() > 0
    assert total.is_passive()
    drift = total.drift
    assert np.linalg.eigvalsh(drift + drift.T)[0] > -1e-9
    expected = np.exp(-T) * (np.cos(10 * T) - 0.3 * np.sin(10 * T)) + 1.2 * np.exp(-T / 0.5)
    expected += 0.5 * np.exp(-T) - 0.05 * np.exp(-T / 0.2)
    np.testing.assert_allclose(total.kernel(T), expected, atol=ROUNDING)
    np.testing.assert_allclose(MemoryKernel(drift).kernel(T), expected, atol=1e-8)
    GLEIntegrator(300, total, 0.002)
    # with less of the exponential the sum has a negative spectrum below the cosine's frequency
    with pytest.raises(ValueError, match=r"is -[0-9.]+ 1/ps at the frequency [0-9.]+ rad/ps"):
        _ = (cosine + MemoryKernel.prony([0.02], [0.5])).drift


def random_drift(n, dimension, white, seed):
    rng = np.random.default_rng(seed)
    size = n + dimension
    root, skew = rng.normal(size=(size, size)), rng.normal(size=(size, size))
    drift = root @ root.T / size
    if not white:
        drift[:dimension] = drift[:, :dimension] = 0.0
    return drift + skew - skew.T


@pytest.mark.parametrize("dimension", [1, 3])
@pytest.mark.parametrize("white", [True, False])
@pytest.mark.parametrize("n", [1, 4, 9])
def test_any_basis_of_the_auxiliary_variables_is_brought_to_canonical_form(dimension, white, n):
    drift = random_drift(n, dimension, white, seed=n)
    basis = np.eye(n + dimension)
    basis[dimension:, dimension:] = np.random.default_rng(7).normal(size=(n, n))
    strange = np.linalg.inv(basis) @ drift @ basis
    with pytest.raises(ValueError, match=r"negative eigenvalue .* see MemoryKernel.from_drift"):
        MemoryKernel(strange, dimension)
    kernel, expected = MemoryKernel.from_drift(strange, dimension), MemoryKernel(drift, dimension)
    np.testing.assert_allclose(kernel.kernel(T), expected.kernel(T), atol=1e-6 * np.abs(expected.kernel(0.0)).max())
    np.testing.assert_allclose(kernel.white_friction, expected.white_friction, atol=1e-6)
    assert np.linalg.eigvalsh(kernel.drift + kernel.drift.T)[0] > -1e-9 * np.abs(kernel.drift).max()
    assert MemoryKernel.from_drift(drift, dimension) == expected


def test_drift_without_a_bath_is_refused_with_its_frequency():
    # a spectrum that is negative around one frequency only: a resonance of negative amplitude on white friction
    gamma, rate, frequency = 0.9, 0.5, 7.0
    drift = [[gamma, 1.0, 0.0], [1.0, rate, -frequency], [0.0, frequency, rate]]
    with pytest.raises(ValueError, match=r"is -0\.101\d* 1/ps at the frequency (7\.0\d*|6\.99\d*) rad/ps"):
        MemoryKernel.from_drift(drift)
    drift[0][0] = 1.01  # enough white friction makes it passive, not as it stands but in another basis
    kernel = MemoryKernel.from_drift(drift)
    np.testing.assert_allclose(kernel.kernel(T), -np.exp(-rate * T) * np.cos(frequency * T), atol=1e-6)
    assert kernel.spectrum(7.0) == pytest.approx(0.0087, abs=1e-4)
    with pytest.raises(ValueError, match=r"`dimension` must be 1 or 3, got 2"):
        MemoryKernel.from_drift(drift, 2)
    with pytest.raises(ValueError, match="never decays"):
        MemoryKernel.from_drift([[1.0, -2.0], [1.0, 0.0]])


def test_32_modes():
    times = np.geomspace(0.01, 100.0, 32)
    kernel = MemoryKernel.prony(1.0 / times, times)
    np.testing.assert_allclose(kernel.kernel(T), np.exp(-T[:, None] / times) @ (1.0 / times), rtol=1e-9)
    assert MemoryKernel.from_json(kernel.to_json()) == kernel
    assert GLEIntegrator(300, kernel, 0.002).getNumModes() == 32
    with pytest.raises(ValueError, match="34 x 34"):
        GLEIntegrator(300, kernel + MemoryKernel.prony([1.0], [1.0]), 0.002)


FILM = MemoryKernel.matrix(composite() + MemoryKernel.white(0.5), np.diag([1.0, 1.0, 0.0])) + MemoryKernel.matrix(
    MemoryKernel.prony([30.0], [0.3]), np.diag([0.0, 0.0, 1.0])
)


def test_matrix_valued_kernels():
    assert (FILM.dimension, FILM.modes, FILM.drift.shape) == (3, 9, (12, 12))
    k = FILM.kernel(T)
    assert k.shape == (len(T), 3, 3)
    expected = np.zeros_like(k)
    expected[:, 0, 0] = expected[:, 1, 1] = composite_formula(T)
    expected[:, 2, 2] = 30 * np.exp(-T / 0.3)
    np.testing.assert_allclose(k, expected, atol=ROUNDING)
    np.testing.assert_allclose(FILM.friction, np.diag([composite().friction + 0.5] * 2 + [9.0]), atol=ROUNDING)
    np.testing.assert_allclose(FILM.white_friction, np.diag([0.5, 0.5, 0.0]), atol=ROUNDING)
    np.testing.assert_allclose(FILM.integrated(50.0), FILM.friction, atol=1e-8)
    vacf = FILM.vacf(np.arange(30), 0.02)
    np.testing.assert_allclose(vacf[:, 1, 1], (composite() + MemoryKernel.white(0.5)).vacf(np.arange(30), 0.02))
    np.testing.assert_allclose(vacf[:, 0, 1], 0, atol=ROUNDING)
    # turned by 45 degrees about z nothing changes in the plane; about x, the axes mix
    c, s = np.cos(0.7), np.sin(0.7)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    turned = MemoryKernel.matrix(composite(), turn @ np.diag([1.0, 1.0, 0.0]) @ turn.T)
    flat = MemoryKernel.matrix(composite(), np.diag([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(turned.kernel(T), turn @ flat.kernel(T) @ turn.T, atol=ROUNDING)
    isotropic = MemoryKernel.matrix(composite(), np.eye(3))
    both = FILM + composite()
    np.testing.assert_allclose(both.kernel(T), FILM.kernel(T) + isotropic.kernel(T), atol=ROUNDING)
    np.testing.assert_allclose((composite() + FILM).kernel(T), both.kernel(T), atol=ROUNDING)


def test_spectrum_of_a_matrix_is_positive_semidefinite():
    omega = np.linspace(0, 100, 501)
    kernel = MemoryKernel(random_drift(5, 3, False, seed=3), 3)
    spectrum = kernel.spectrum(omega)
    assert spectrum.shape == (501, 3, 3)
    np.testing.assert_allclose(spectrum, spectrum.conj().swapaxes(1, 2))
    assert np.linalg.eigvalsh(spectrum).min() > -1e-12
    assert kernel.is_passive()
    # the control: each element passive, but not the matrix
    wrong = kernel.drift
    wrong[0, 3:] *= -1
    with pytest.raises(ValueError, match="not passive: its spectrum"):
        MemoryKernel.from_drift(wrong, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MemoryKernel.matrix(composite(), np.diag([1.0, 1.0, -0.1])), "smallest eigenvalue -0.1"),
        (lambda: MemoryKernel.matrix(composite(), [[0, 1, 0], [0, 0, 0], [0, 0, 0]]), "asymmetry 1"),
        (lambda: MemoryKernel.matrix(composite(), np.eye(2)), r"shape \(3, 3\), got shape \(2, 2\)"),
        (lambda: MemoryKernel.matrix(FILM, np.eye(3)), "dimension 1, got 3"),
        (lambda: MemoryKernel.white(np.diag([1.0, 1.0, -1.0])), "negative eigenvalue -1"),
        (lambda: MemoryKernel(np.eye(2), 3), r"\(n\+3, n\+3\), got shape \(2, 2\)"),
        (lambda: MemoryKernel.from_absolute(T, composite_formula(T), 0.0), r"`mass` must be > 0 \(dalton\), got 0"),
        (lambda: MemoryKernel.white(0.0).diffusion(300, 18), "friction > 0 .* got 0"),
        (lambda: MemoryKernel.matrix(composite(), np.diag([1.0, 1.0, 0.0])).diffusion(300, 18, 0.01), "all directions"),
        (lambda: composite().diffusion(-1, 18), r"`temperature` must be >= 0 \(K\), got -1"),
        (lambda: composite().diffusion(300, 18, -0.1), "`step` must be >= 0, got -0.1"),
        (lambda: composite().kernel([0.0, -1.0]), "`t` must be >= 0, got -1"),
        (lambda: composite().integrated(-1.0), "`t` must be >= 0, got -1"),
        (lambda: composite().vacf(3, -0.1), "`step` must be >= 0, got -0.1"),
        (lambda: MemoryKernel.block(3.0, -1.0, 2.0, 5.0), "eigenvalue -1 1/ps"),
        (lambda: MemoryKernel.prony([1.0], [1.0]).to_lammps_gld(18.0, seed=0), "`seed` must be > 0, got 0"),
        (lambda: MemoryKernel.prony([1.0], [1.0]).to_lammps_gld(18.0, -3), "`temperature` must be >= 0"),
        (lambda: FILM.langevin(300, 0.002), "same in all directions"),
        (lambda: FILM.to_lammps_gld(18.0), "dimension 1 only"),
        (lambda: MemoryKernel.white(0.0).brownian(300, 0.002), "friction > 0"),
        (lambda: MemoryKernel([[0.0, -1.0], [1.0, 0.0]]).langevin(300, 0.002), "never decays"),
        (lambda: MemoryKernel.white(0.0).markovian(), "finite friction > 0"),
        (lambda: MemoryKernel([[1.0, -1.0, 0], [1.0, 0.0, -3], [0, 3, 0]]).markovian(), "never decays"),
    ],
)
def test_bad_arguments_of_matrices_and_limits(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_spectrum_is_the_cosine_transform():
    kernel = composite() + MemoryKernel.white(0.5)
    t = np.linspace(0, 30, 60001)
    for omega in (0.0, 1.0, 6.0, 20.0):
        expected = 0.5 + scipy.integrate.simpson(kernel.kernel(t) * np.cos(omega * t), x=t)
        assert kernel.spectrum(omega) == pytest.approx(expected, abs=1e-6)
    assert kernel.spectrum(0.0) == pytest.approx(kernel.friction)


def test_addition_adds_kernels():
    a, b = composite(), MemoryKernel.damped_cosine(2.0, -0.1, 3.0, 9.0) + MemoryKernel.white(1.5)
    both = a + b
    assert both.modes == a.modes + b.modes
    assert both.white_friction == 1.5
    np.testing.assert_allclose(both.kernel(T), a.kernel(T) + b.kernel(T), atol=ROUNDING)
    with pytest.raises(TypeError):
        a + 1.0


@pytest.mark.parametrize(
    ("drift", "message"),
    [
        ([[0.0, 1.0]], r"square matrix .* got shape \(1, 2\)"),
        ([[0.0, np.nan], [0.0, 1.0]], "finite, got nan"),
        ([[0.0, 1.0], [1.0, 1.0]], "passive.* eigenvalue -0.618034"),
        ([[-0.1]], "passive.* eigenvalue -0.1"),
    ],
)
def test_bad_drift_is_refused(drift, message):
    with pytest.raises(ValueError, match=message):
        MemoryKernel(drift)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`amplitudes` must be finite .* got inf"):
        MemoryKernel.prony([1.0, np.inf], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"`times` must be > 0 .* got 0"):
        MemoryKernel.prony([1.0], [0.0])
    with pytest.raises(ValueError, match="same length"):
        MemoryKernel.prony([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"`rate` must be > 0 .* got -1"):
        MemoryKernel.damped_cosine(1.0, 0.0, -1.0, 1.0)
    with pytest.raises(ValueError, match=r"`friction` must be >= 0 .* got -2"):
        MemoryKernel.white(-2.0)


def test_arguments_may_carry_units():
    per_ns2 = unit.nanosecond**-2
    a = MemoryKernel.prony([5e6] * per_ns2, [200.0] * unit.femtosecond)
    np.testing.assert_allclose(a.drift, MemoryKernel.prony([5.0], [0.2]).drift)
    b = MemoryKernel.damped_cosine(
        4.0 * unit.picosecond**-2, 0.3 / unit.picosecond**2, 1.0 / unit.picosecond, 6.0 * unit.radian / unit.picosecond
    )
    assert b == MemoryKernel.damped_cosine(4.0, 0.3, 1.0, 6.0)
    block = MemoryKernel.block(3 / unit.picosecond, 1000 / unit.nanosecond, 2 / unit.picosecond, 5.0)
    assert block == MemoryKernel.block(3.0, 1.0, 2.0, 5.0)
    assert MemoryKernel.white(1000.0 / unit.nanosecond) == MemoryKernel.white(1.0)
    assert a.kernel(100 * unit.femtosecond) == pytest.approx(float(a.kernel(0.1)))
    assert a.vacf(2, 4 * unit.femtosecond) == pytest.approx(float(a.vacf(2, 0.004)))


def test_langevin_counterpart():
    kernel = composite() + MemoryKernel.white(1.0)
    assert kernel.markovian().kernel == MemoryKernel.white(kernel.friction)
    integrator = kernel.langevin(300 * unit.kelvin, 2 * unit.femtosecond)
    assert isinstance(integrator, openmm.LangevinMiddleIntegrator)
    assert integrator.getFriction().value_in_unit(unit.picosecond**-1) == pytest.approx(kernel.friction)
    assert integrator.getStepSize() == 2 * unit.femtosecond
    brownian = kernel.brownian(300 * unit.kelvin, 0.1)
    assert isinstance(brownian, openmm.BrownianIntegrator)
    assert brownian.getFriction().value_in_unit(unit.picosecond**-1) == pytest.approx(kernel.friction)
    assert brownian.getTemperature() == 300 * unit.kelvin
    film = MemoryKernel.matrix(kernel, np.eye(3))
    assert film.langevin(300, 0.002).getFriction()._value == pytest.approx(kernel.friction)


def test_the_markovian_limit_says_where_it_holds():
    # k = (gamma/tau) exp(-t/tau): int_0^t k = gamma (1 - exp(-t/tau)), Laplace transform gamma / (1 + i omega tau)
    gamma, tau = 2.0, 0.03
    limit = MemoryKernel.prony([gamma / tau], [tau]).markovian()
    assert limit.memory_time == pytest.approx(tau, rel=1e-3)
    assert limit.shortest_time == pytest.approx(tau * np.log(10), rel=0.01)
    # |1/(1 + i x) - 1| = x / sqrt(1 + x^2) = 0.1
    assert limit.highest_frequency == pytest.approx(0.1 / np.sqrt(1 - 0.01) / tau, rel=0.01)
    assert limit.ratio == pytest.approx(gamma * tau, rel=1e-3)
    assert limit.langevin_is_enough
    assert "Langevin dynamics will do" in str(limit)
    long = MemoryKernel.prony([gamma / 3.0], [3.0]).markovian()
    assert not long.langevin_is_enough
    assert "memory matters" in str(long)
    # the claim: at ratio 0.06 the velocity correlation is that of Langevin dynamics to a few per cent, not at ratio 6
    n, h = np.arange(200), 0.01
    for white, kernel_time, close in ((limit.kernel, tau, True), (long.kernel, 3.0, False)):
        exact = MemoryKernel.prony([gamma / kernel_time], [kernel_time]).vacf(n, h)
        assert (np.abs(exact - white.vacf(n, h)).max() < 0.06) == close
    none = MemoryKernel.white(1.0).markovian()
    assert (none.memory_time, none.shortest_time, none.highest_frequency) == (0, 0, np.inf)
    film = FILM.markovian()
    np.testing.assert_allclose(film.kernel.drift, FILM.friction)


def test_diffusion_of_the_discrete_dynamics():
    kernel, mass = composite() + MemoryKernel.white(1.0), 18.0
    kt = (unit.MOLAR_GAS_CONSTANT_R * 300 * unit.kelvin).value_in_unit(unit.kilojoule_per_mole)
    assert kernel.diffusion(300, mass) == pytest.approx(kt / (mass * kernel.friction))
    # Green-Kubo with the trapezoidal rule is what displacements in steps of h sum up to
    n, h = np.arange(20000), 0.05
    assert kernel.diffusion(300, mass, h) == pytest.approx(
        kt / mass * scipy.integrate.trapezoid(kernel.vacf(n, h), dx=h), rel=1e-9
    )
    white, h = MemoryKernel.white(4.0), 0.25
    expected = 0.5 / np.tanh(0.5)  # (gamma h / 2) coth(gamma h / 2)
    assert white.diffusion(300 * unit.kelvin, mass * unit.dalton, h * unit.picosecond) == pytest.approx(
        expected * white.diffusion(300, mass)
    )
    np.testing.assert_allclose(
        MemoryKernel.matrix(kernel, np.eye(3)).diffusion(300, mass, 0.05),
        kernel.diffusion(300, mass, 0.05) * np.eye(3),
        atol=1e-15,
    )


def test_json_and_files_round_trip_exactly(tmp_path):
    assert MemoryKernel.from_json(FILM.to_json()) == FILM
    kernel = composite() + MemoryKernel.white(0.1)
    assert MemoryKernel.from_json(kernel.to_json()) == kernel
    kernel.save(tmp_path / "kernel.json")
    assert MemoryKernel.load(tmp_path / "kernel.json") == kernel
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/extra/meanforce.json", "{}")
        archive.writestr("model/extra/kernel.json", kernel.to_json())
    assert MemoryKernel.load(str(tmp_path / "model.pt")) == kernel


def test_bad_files_give_one_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no kernel file"):
        MemoryKernel.load(tmp_path / "absent.json")
    text = composite().to_json()
    for content, message in [
        (text[:-20], "truncated"),
        ("[1, 2]", "its format must be"),
        (json.dumps(json.loads(text) | {"version": 99}), "version 99, .* upgrade meanforce"),
        (json.dumps(json.loads(text) | {"version": "x"}), "version 'x'"),
        (json.dumps(json.loads(text) | {"units": {"drift": "1/fs"}}), "1/fs"),
        (json.dumps(json.loads(text) | {"version": True}), "version True"),
        (json.dumps(json.loads(text) | {"dimension": 2}), "must be 1 or 3, got 2"),
        (json.dumps(json.loads(text) | {"dimension": True}), "must be 1 or 3, got True"),
        (json.dumps(json.loads(text) | {"dimension": 3, "drift": [[1.0]]}), r"got shape \(1, 1\)"),
        (json.dumps(json.loads(text) | {"drift": [[1.0, 2.0]]}), "square"),
        (json.dumps(json.loads(text) | {"drift": {"0": [1.0]}}), "square"),
        (json.dumps(json.loads(text) | {"drift": [[1.0, 0.0], [0.0]]}), "square"),
        (json.dumps(json.loads(text) | {"drift": []}), "shape"),
        (json.dumps(json.loads(text) | {"drift": [["1.0"]]}), "must consist of numbers, got '1.0'"),
        (json.dumps(json.loads(text) | {"drift": [[[1.0]]]}), r"must consist of numbers, got \[1.0\]"),
        (json.dumps(json.loads(text) | {"drift": [[float("nan")]]}), "finite"),
        (json.dumps(json.loads(text) | {"drift": [[10**400]]}), "holds no memory kernel that can be used"),
        (json.dumps(json.loads(text) | {"drift": [[-1.0]]}), "passive"),
    ]:
        path = tmp_path / "bad.json"
        path.write_text(content)
        with pytest.raises(ValueError, match=message) as error:
            MemoryKernel.load(path)
        assert "bad.json" in str(error.value)
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/extra/meanforce.json", "{}")
    with pytest.raises(ValueError, match="carries no memory kernel"):
        MemoryKernel.load(tmp_path / "model.pt")


def test_files_of_version_1_are_read():
    text = (
        '{"format": "meanforce-kernel", "version": 1, "units": {"drift": "1/ps"}, "drift": [[0.0, -1.0], [1.0, 2.0]]}'
    )
    assert MemoryKernel.from_json(text) == MemoryKernel([[0.0, -1.0], [1.0, 2.0]])


def test_damaged_archives_give_one_clear_error(tmp_path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/extra/kernel.json", composite().to_json())
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    for place in (0, 40, 100, directory, len(content) - 10):
        damaged = bytearray(content)
        damaged[place] ^= 0x7F
        path.write_bytes(damaged)
        with pytest.raises(
            ValueError, match=r"model\.pt' is (not a memory kernel, or is truncated|truncated or damaged)"
        ):
            MemoryKernel.load(path)
    for end in (len(content) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"model\.pt.* truncated"):
            MemoryKernel.load(path)


def test_kernels_are_values():
    kernel = composite()
    assert kernel != MemoryKernel.white(1.0)
    assert kernel != "kernel"
    assert hash(kernel) == hash(composite())
    assert copy.deepcopy(kernel) == kernel
    assert pickle.loads(pickle.dumps(kernel)) == kernel
    assert repr(MemoryKernel.white(2.0)) == "MemoryKernel(modes=0, friction=2/ps, white=2/ps)"
    kernel.drift[0, 0] = 7.0
    assert kernel == composite()


def test_fit_recovers_a_kernel_of_the_same_form():
    fitted = MemoryKernel.fit(T * unit.picosecond, composite_formula(T) * unit.picosecond**-2, modes=(2, 1))
    np.testing.assert_allclose(fitted.kernel(T), composite_formula(T), atol=1e-6)
    assert fitted.fit_error < 1e-6
    assert "fit_error=" in repr(fitted)
    rough = MemoryKernel.fit(T, composite_formula(T), modes=1)
    found = np.linalg.norm(rough.kernel(T) - composite_formula(T)) / np.linalg.norm(composite_formula(T))
    assert rough.fit_error == pytest.approx(found)
    assert found > 0.1
    assert composite().fit_error is None


def test_absolute_kernels_are_divided_by_the_mass():
    mass = 18.0
    in_dalton = mass * composite_formula(T) * unit.dalton / unit.picosecond**2
    in_kilojoules = mass * composite_formula(T) * unit.kilojoule_per_mole / unit.nanometer**2
    for values in (mass * composite_formula(T), in_dalton, in_kilojoules):
        fitted = MemoryKernel.from_absolute(T, values, mass * unit.dalton, (2, 1))
        np.testing.assert_allclose(fitted.kernel(T), composite_formula(T), atol=1e-6)
    assert fitted.fit_error < 1e-6
    with pytest.raises(TypeError, match="not compatible with"):
        MemoryKernel.from_absolute(T, composite_formula(T) * unit.kelvin, mass)


def test_kernels_with_a_margin_are_brought_to_canonical_form():
    """Sums of exponentials with both signs and cosines, made passive by white friction 10 % above the limit."""
    hard = MemoryKernel.prony(
        [32.014, -20.311, 7.5287, -3.4279, -0.4751, -0.2806, 0.0629],
        [0.0165, 0.0333, 0.09, 0.1407, 0.5279, 5.1144, 7.6389],
    )
    hard += MemoryKernel.damped_cosine(-18.362526, 20.652281, 24.235758, 0.563366)
    hard += MemoryKernel.damped_cosine(0.997595, 0.953078, 1.197232, 0.375463)
    sums = [hard + MemoryKernel.white(friction) for friction in (1.01, 1.02, 1.05, 1.1)]
    rng = np.random.default_rng(5)
    omega = np.concatenate([[0.0], np.geomspace(1e-3, 1e3, 2000)])
    for _ in range(30):
        n = rng.integers(1, 5)
        kernel = MemoryKernel.prony(rng.normal(size=n) * 10, np.exp(rng.uniform(-3, 1, n)))
        kernel += MemoryKernel.damped_cosine(*rng.normal(size=2) * 5, rng.uniform(1, 10), rng.uniform(0.3, 10))
        lacking = max(0.0, -kernel.spectrum(omega).min()) / MemoryKernel.white(1.0).spectrum(0.0)
        sums.append(kernel + MemoryKernel.white(1e-3 + 1.1 * float(lacking)))
    for kernel in sums:
        if not kernel.is_passive():
            continue  # the grid missed the lowest point
        drift = kernel.drift
        assert np.linalg.eigvalsh(drift + drift.T).min() >= -1e-12 * np.abs(drift).max()
    assert sum(kernel.is_passive() for kernel in sums) >= 30


def test_a_kernel_that_cannot_be_saved_leaves_the_file(tmp_path):
    path = tmp_path / "kernel.json"
    MemoryKernel.white(2.0).save(path)
    with pytest.raises(ValueError, match="not passive"):
        MemoryKernel.damped_cosine(1, 0.5, 1, 10).save(path)
    assert MemoryKernel.load(path).friction == 2.0
    assert list(tmp_path.iterdir()) == [path]


def test_lists_may_hold_quantities():
    ps = unit.picosecond
    kernel = MemoryKernel.prony([5 / ps**2, 1 / ps**2], [200 * unit.femtosecond, 1.5 * ps])
    assert kernel == MemoryKernel.prony([5.0, 1.0], [0.2, 1.5])
    np.testing.assert_allclose(kernel([100 * unit.femtosecond, 1 * ps]), kernel.kernel([0.1, 1.0]))
    assert GLEIntegrator(300, [[2 / ps]], 0.001).getNumModes() == 0
    with pytest.raises(TypeError, match="compatible"):
        MemoryKernel.prony([5 / ps], [0.2])
    with pytest.raises(TypeError, match="compatible"):
        MemoryKernel.matrix(kernel, np.diag([1.0, 1.0, 0.0]) * unit.nanometer)


def test_kernels_can_be_summed():
    parts = [MemoryKernel.white(1.0), MemoryKernel.prony([4.0], [0.5])]
    assert sum(parts) == parts[0] + parts[1]
