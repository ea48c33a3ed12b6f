# SPDX-License-Identifier: MIT
"""Kernels extracted from trajectories whose kernel is known: inversion, mean forces, matrices, positions."""

import numpy as np
import openmm
import pytest

from gle_physics import TEMPERATURE, gle, harmonic, normal
from meanforce import MemoryKernel
from meanforce.memory import (
    CorrelationStream,
    ModelForce,
    backward_orthogonal_kernel,
    correlate,
    extract_kernel,
    fit_mean_force,
    fourier_basis,
    hat_basis,
    laplace_kernel,
    laplace_transform,
    position_dependent_kernel,
    velocity_autocorrelation,
    volterra_kernel,
)
from memory_data import (
    BARRIER,
    THREE,
    Springs,
    channel_force,
    channel_friction,
    distance,
    double_well_force,
    free_velocities,
    in_channel,
)

#: Largest deviation in standard errors, that are themselves estimated from few blocks, of about a hundred numbers.
MANY = 5.0


# ------------------------------------------------------------------------------------------------ correlations


def test_stream_equals_direct_sums():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(430, 35, 2, 3)).astype(np.float32)
    b = rng.normal(size=a.shape)
    masses, types = rng.uniform(1, 3, size=2), np.array([0, 1])
    stream = CorrelationStream(0.1, 2.0, masses, types, matrix=True)
    for i in range(0, len(a), 37):
        stream.add(a[i : i + 37], b[i : i + 37])
    found = stream.result()
    whole = correlate(a, b, dt=0.1, max_time=2.0, masses=masses)
    for lag in (0, 3, 20):
        for kind in (0, 1):
            direct = np.einsum("fri,frj->ij", b[lag:, :, kind], a[: 430 - lag, :, kind]) / 35 / (430 - lag)
            np.testing.assert_allclose(found[kind].value[lag], direct, atol=1e-12)
        share = masses / masses.sum() / 35
        direct = np.einsum("frtc,frtc,t->", b[lag:], a[: 430 - lag], share) / (430 - lag) / 3
        assert whole.value[lag] == pytest.approx(direct, abs=1e-12)
    assert np.abs(found[0].value - found[0].value.swapaxes(1, 2)).max() > 0.01  # order of the components matters


def test_stream_has_the_errors_of_long_trajectories_in_little_memory():
    v = free_velocities(THREE, 0.1, 12000, 8, 1)
    stream = CorrelationStream(0.1, 2.0)
    for i in range(0, len(v), 100):
        stream.add(v[i : i + 100])
        assert sum(len(a) for a, _ in stream._held) <= 2 * stream.lags + 100
        assert len(stream._sums) < 64
    found = stream.result()
    assert np.abs((found.value - THREE.vacf(np.arange(21), 0.1)) / found.standard_error).max() < MANY
    assert (
        np.abs((found.value - MemoryKernel.white(THREE.friction).vacf(np.arange(21), 0.1)) / found.standard_error)[
            5:
        ].max()
        > 2 * MANY
    )
    plain = velocity_autocorrelation(np.repeat(v, 3, axis=2), 0.1, 2.0, blocks=20)
    np.testing.assert_allclose(found.normalised().value, plain.value, atol=1e-10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CorrelationStream(0.1, 0.01), "`max_time` must be at least"),
        (lambda: correlate(np.ones((20, 3)), dt=0.1, max_time=1.0), r"shape \(f, N, d\)"),
        (lambda: correlate(np.ones((20, 3, 3)), dt=0.1, max_time=1.0), "10 lags need at least 40 frames"),
        (lambda: correlate(np.full((90, 3, 3), np.nan), dt=0.1, max_time=1.0), "`a` must be finite"),
        (lambda: correlate(np.ones((90, 3, 3)), np.ones((90, 3, 2)), dt=0.1, max_time=1.0), "shape of `a`"),
        (lambda: correlate(np.ones((90, 3, 3)), dt=0.1, max_time=1.0, types=[0, 1]), "one entry for each"),
    ],
)
def test_bad_input_to_streams(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ------------------------------------------------------------------------------------------------ inversion


@pytest.mark.parametrize(
    ("method", "bar"), [("G", 0.012), ("midpoint", 0.012), ("trapezoid", 0.004), ("second", 0.008)]
)
def test_every_method_inverts_exact_data(method, bar):
    n = np.arange(101)
    found = volterra_kernel(0.05 * n, THREE.vacf(n, 0.05), method)
    assert distance(found.kernel, THREE.kernel(0.05 * n)) < bar
    assert found.integrated[-1] == pytest.approx(THREE.integrated(5.0), rel=0.003)
    plain = volterra_kernel(0.05 * n, THREE.vacf(n, 0.05), method, refine=1)
    assert distance(plain.kernel, THREE.kernel(0.05 * n)) > distance(found.kernel, THREE.kernel(0.05 * n))


def test_matrix_kernel():
    kernel = MemoryKernel.matrix(THREE, [[2.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 0.5]])
    kernel = kernel + MemoryKernel.matrix(MemoryKernel.prony([3.0], [0.5]), np.diag([0.0, 1.0, 1.0]))
    n = np.arange(101)
    c = kernel.vacf(n, 0.05)
    assert distance(volterra_kernel(0.05 * n, c).kernel, kernel.kernel(0.05 * n)) < 0.015
    diagonal = c * np.eye(3)  # components taken one by one
    assert distance(volterra_kernel(0.05 * n, diagonal).kernel, kernel.kernel(0.05 * n)) > 0.1


@pytest.mark.parametrize("stiffness", [0.0, 3.0])
def test_laplace_transform_agrees(stiffness):
    """Harmonic force and memory, exactly: <F v(0)>/m = -k/m int_0^t C."""
    drift = np.pad(THREE.drift, (0, 1))
    drift[0, -1], drift[-1, 0] = np.sqrt(stiffness), -np.sqrt(stiffness)
    well = MemoryKernel(drift)
    n, s = np.arange(401), np.array([0.5, 2.0, 10.0, 1.0 + 4.0j])
    t, c = 0.05 * n, well.vacf(n, 0.05)
    fine = well.vacf(np.arange(4001), 0.005)
    force = -stiffness * np.concatenate([[0.0], np.cumsum(0.5 * (fine[1:] + fine[:-1])) * 0.005])[::10]
    exact = [row @ np.linalg.solve(p * np.eye(4) + THREE.drift[1:, 1:], row) for row in [THREE.drift[1:, 0]] for p in s]
    np.testing.assert_allclose(laplace_kernel(t, c, s, force), exact, rtol=2e-3)
    table = volterra_kernel(t, c, mean_force=force)
    np.testing.assert_allclose(laplace_transform(t, table.kernel, s), exact, rtol=1e-2)
    forgotten = volterra_kernel(t, c)
    if stiffness:
        assert np.abs(laplace_transform(t, forgotten.kernel, s) / exact - 1).max() > 0.3


def test_bad_input_to_inversion():
    t = 0.1 * np.arange(10)
    with pytest.raises(ValueError, match="`method` must be one of"):
        volterra_kernel(t, np.exp(-t), "third")
    with pytest.raises(ValueError, match=r"same length"):
        volterra_kernel(t, np.exp(-t), mean_force=np.ones(9))


# ------------------------------------------------------------------------------------------------ mean forces


@pytest.fixture(scope="module")
def springs():
    bath = Springs()
    x, v, a = bath.run(copies=1800, steps=3000, h=0.02, seed=1)
    return bath, x, v, a


def test_springs_in_a_double_well(springs):
    """T6: at most 4 % with the true mean force, 8 % with the estimated one, and what forgetting it does."""
    bath, x, v, _ = springs
    assert np.mean(v**2) == pytest.approx(1.0, abs=0.01)

    def extracted(mean_force):
        return extract_kernel(x, v, 0.02, max_time=5.0, temperature=TEMPERATURE, mean_force=mean_force)

    t = 0.02 * np.arange(251)
    exact = bath.kernel(t)
    true, fitted = extracted(double_well_force), extracted((1, 3, 5))
    print([distance(e.table.kernel, exact) for e in (true, fitted)])
    assert distance(true.table.kernel, exact) < 0.04
    assert distance(fitted.table.kernel, exact) < 0.08
    # the error bars hold, and are not larger than the error by much; the first points have the quadrature's own error
    z = (true.table.kernel - exact)[5:] / true.kernel_error[5:]
    assert np.sqrt(np.mean(z**2)) < 2.0
    assert np.abs(z).max() < MANY
    for wrong in ("linear", "none"):
        assert distance(extracted(wrong).table.kernel, exact) > 3.0


def test_backward_orthogonal_dynamics(springs):
    bath, x, v, a = springs
    random = a - double_well_force(x)
    found = backward_orthogonal_kernel(v[:500], random[:500], 0.02, 3.0)
    exact = bath.kernel(found.t)
    assert distance(found.kernel, exact) < 0.08
    assert distance(backward_orthogonal_kernel(v[:500], a[:500], 0.02, 3.0).kernel, exact) > 1.0


def test_fitted_mean_force(springs):
    x = springs[1][::5]
    found = fit_mean_force(x, TEMPERATURE, (1, 3, 5))
    grid = np.linspace(-1.3, 1.3, 27)
    assert np.abs(found(grid) - double_well_force(grid)).max() < 0.05 * np.abs(double_well_force(grid)).max()
    spring = fit_mean_force(np.random.default_rng(1).normal(3.0, 0.5, 100000), TEMPERATURE, (1,), center=3.0)
    assert spring.coefficients[0] == pytest.approx(-4.0, rel=0.02)
    with pytest.raises(ValueError, match="do not tell the powers"):
        fit_mean_force([1.0, -1.0, 1.0, -1.0], TEMPERATURE)
    with pytest.raises(ValueError, match="different whole numbers"):
        fit_mean_force([1.0, -1.0], TEMPERATURE, (1, 1))


def test_force_of_a_model():
    system, force = openmm.System(), openmm.CustomExternalForce(f"{BARRIER}*((x^2-1)^2+(y^2-1)^2+(z^2-1)^2)")
    for i in range(2):
        system.addParticle(1.0)
        force.addParticle(i)
    system.addForce(force)
    x = np.random.default_rng(1).normal(size=(3, 2, 3))
    np.testing.assert_allclose(ModelForce(system, "Reference")(x), double_well_force(x), rtol=1e-10)


def test_velocities_half_a_step_early():
    """In a stiff well, leapfrog velocities taken for those of the same time spoil the friction."""
    kernel, h = MemoryKernel.prony([40.0, 5.0], [0.2, 2.0]), 0.04
    states = [(x, v) for x, v, _ in gle(kernel, h, harmonic(3.0), normal(600, 1) / 3**0.5, normal(600, 2), 2500, 3)]
    x, v = (np.array(part)[:, :, None] for part in zip(*states, strict=True))
    options = {"max_time": 8.0, "mean_force": lambda y: -3.0 * y}
    found = extract_kernel(x, v, h, velocity_time_offset=-h / 2, **options)
    value, error = found.table.integrated[-1], found.integrated_error[-1]
    exact = kernel.integrated(8.0)
    print(value, error, exact)
    assert abs(value - exact) < 4 * error + 0.01 * exact
    assert error < 0.1 * exact
    assert abs(extract_kernel(x, v, h, **options).table.integrated[-1] - exact) > 0.2 * exact


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean_force": "spline"}, '"none", "linear", powers'),
        ({"mean_force": "linear", "temperature": None}, "`temperature`"),
        ({"mean_force": "linear", "positions": None}, "`positions` are needed"),
        ({"masses": [1.0]}, "`masses` must be 2 values"),
        ({"mean_force": lambda x: x[1:]}, "the mean force must be finite, with the shape"),
        ({"max_time": 5.0}, "need at least 200 frames"),
        ({"mean_force": "linear", "velocity_time_offset": 0.2}, "between -dt and dt = 0.1 ps"),
    ],
)
def test_bad_input_to_extraction(arguments, message):
    data = np.random.default_rng(1).normal(size=(2, 100, 2, 3))
    given = {"positions": data[0], "velocities": data[1], "dt": 0.1, "max_time": 1.0, "temperature": 300.0}
    with pytest.raises(ValueError, match=message):
        extract_kernel(**(given | arguments))


# ------------------------------------------------------------------------------------------------ position


def test_friction_of_a_channel_at_each_place():
    x, v = in_channel(0.02, frames=1500, dofs=1000, seed=1, every=3)
    basis = fourier_basis(2.0, 1)
    found = position_dependent_kernel(x, v, 0.06, basis, max_time=1.2, mean_force=channel_force)
    places = np.linspace(-1.0, 1.0, 9)
    friction, error = found.friction(places, to=0.6)
    print(np.round(friction, 2), np.round(error, 2))
    assert error.max() < 0.1 * friction.max()
    assert np.abs((friction - channel_friction(places)) / error).max() < 4.0
    wrapped = (x + 1.0) % 2.0 - 1.0
    hats = position_dependent_kernel(wrapped, v, 0.06, hat_basis([-1, 0, 1]), max_time=1.2, mean_force=channel_force)
    assert hats.friction(0.0, to=0.6)[0] > hats.friction(1.0, to=0.6)[0] + 2.0
    # the control: one friction for all places is outside of its error bars almost everywhere
    uniform = position_dependent_kernel(x, v, 0.06, fourier_basis(2.0, 0), max_time=1.2, mean_force=channel_force)
    friction, error = uniform.friction(places, to=0.6)
    assert np.abs((friction - channel_friction(places)) / error).max() > 10.0
    with pytest.raises(ValueError, match="must both have shape"):
        position_dependent_kernel(x, v[1:], 0.06, basis, max_time=1.0)
