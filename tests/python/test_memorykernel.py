# SPDX-License-Identifier: MIT
import copy
import json
import pickle
import zipfile

import numpy as np
import openmm
import pytest
import scipy.integrate
from hypothesis import given, settings
from hypothesis import strategies as st
from openmm import unit

from meanforce import MemoryKernel

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


def test_damped_cosine_beyond_the_boundary_is_refused():
    with pytest.raises(ValueError, match=r"p rate = 1 and .* = 1.01"):
        MemoryKernel.damped_cosine(1.0, 0.101, 1.0, 10.0)
    # such a kernel has a negative spectrum: the rule is not too strict
    omega = np.linspace(0, 1000, 100001)
    laplace = (1.0 * (1j * omega + 1.0) + 0.11 * 10.0) / ((1j * omega + 1.0) ** 2 + 100.0)
    assert laplace.real.min() < 0 or (1.0 - 0.11 * 10.0) < 0


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
    with pytest.raises(ValueError, match=r"`amplitudes` must be >= 0 .* got -1"):
        MemoryKernel.prony([1.0, -1.0], [1.0, 1.0])
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
    assert MemoryKernel.white(1000.0 / unit.nanosecond) == MemoryKernel.white(1.0)
    assert a.kernel(100 * unit.femtosecond) == pytest.approx(float(a.kernel(0.1)))
    assert a.vacf(2, 4 * unit.femtosecond) == pytest.approx(float(a.vacf(2, 0.004)))


def test_langevin_counterpart():
    kernel = composite() + MemoryKernel.white(1.0)
    assert kernel.markovian() == MemoryKernel.white(kernel.friction)
    integrator = kernel.langevin(300 * unit.kelvin, 2 * unit.femtosecond)
    assert isinstance(integrator, openmm.LangevinMiddleIntegrator)
    assert integrator.getFriction().value_in_unit(unit.picosecond**-1) == pytest.approx(kernel.friction)
    assert integrator.getStepSize() == 2 * unit.femtosecond


def test_json_and_files_round_trip_exactly(tmp_path):
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
