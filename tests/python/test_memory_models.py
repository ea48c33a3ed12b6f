# SPDX-License-Identifier: MIT
"""Passive state-space fits, the likelihood of velocities with its error bars, fluctuation-dissipation tests."""

import numpy as np
import openmm
import pytest

import gle_physics as physics
from gle_physics import TEMPERATURE
from meanforce import GLEIntegrator, MemoryKernel
from meanforce.memory import extract_kernel, fdt_test, fit_kernel, markovian_report, volterra_kernel
from memory_data import THREE, distance, double_well_force, free_velocities, in_double_well

torch = pytest.importorskip("torch")

from meanforce.memory import (  # noqa: E402
    VelocityRecord,
    expected_information,
    fit_likelihood,
    fit_vacf,
    fold_fast_modes,
    log_likelihood,
)

#: Largest deviation in standard errors of about a hundred numbers, most of which are not independent.
MANY = 4.5
FINE = 0.02 * np.arange(251)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def coarse():
    """1e6 velocities at intervals of 0.2, three times the fastest mode's own time being 0.6."""
    return free_velocities(THREE, 0.2, 2000, 500, 1)


@pytest.fixture(scope="module")
def record(coarse):
    return VelocityRecord.from_velocities(coarse, 0.2, memory=10.0)


# ------------------------------------------------------------------------------------------------ fits


def test_fits_of_coarse_data(record):
    """GLE_NOTES' three modes at the sampling interval 0.2: at most 1.5 % by least squares, 1 % by the likelihood."""
    t = 0.2 * np.arange(26)
    c = record.products[0, :26]
    fitted = fit_vacf(t, c, (2, 1)).kernel
    likely = fit_likelihood(record, (2, 1))
    print(distance(fitted.kernel(FINE), THREE.kernel(FINE)), distance(likely.kernel.kernel(FINE), THREE.kernel(FINE)))
    assert distance(fitted.kernel(FINE), THREE.kernel(FINE)) < 0.015
    assert distance(likely.kernel.kernel(FINE), THREE.kernel(FINE)) < 0.01
    for method in ("G", "midpoint"):
        assert distance(volterra_kernel(t, c, method, refine=1).kernel, THREE.kernel(t)) > 0.1


def test_error_bars_of_the_likelihood(record):
    found = fit_likelihood(record, (2, 1))
    z = (found.kernel.kernel(FINE) - THREE.kernel(FINE)) / found.kernel_error(FINE)
    assert 0.1 < np.abs(z).max() < MANY
    assert abs(found.kernel.friction - THREE.friction) < 4 * found.friction_error
    assert found.friction_error < 0.02 * THREE.friction
    assert (
        np.abs((found.kernel.integrated(FINE) - THREE.integrated(FINE))[1:] / found.integrated_error(FINE)[1:]).max()
        < MANY
    )
    # bars of the truth, planned beforehand, are those found; fourfold data halve them
    planned = expected_information(THREE, 0.2, record.count, memory=10.0)
    np.testing.assert_allclose(planned.kernel_error(FINE), found.kernel_error(FINE), rtol=0.2)
    more = expected_information(THREE, 0.2, 4 * record.count, memory=10.0)
    np.testing.assert_allclose(2 * more.kernel_error(FINE), planned.kernel_error(FINE), rtol=1e-6)
    assert found.sloppy == 0
    assert "friction 2.6" in str(found)


def test_error_bars_are_those_of_repeated_measurements():
    found = []
    for seed in range(12):
        data = VelocityRecord.from_velocities(free_velocities(THREE, 0.2, 400, 100, seed), 0.2, memory=6.0)
        found.append(fit_likelihood(data, (2, 1), start=THREE).kernel.kernel([0.1, 0.5, 1.0]))
    bars = expected_information(THREE, 0.2, 12 * 394 * 100 / 12, memory=6.0).kernel_error([0.1, 0.5, 1.0])
    ratio = np.std(found, axis=0, ddof=1) / bars
    assert np.all((ratio > 0.5) & (ratio < 1.7))  # chi-square of 11, with four standard errors
    assert np.all(np.abs(np.mean(found, axis=0) - THREE.kernel([0.1, 0.5, 1.0])) < 4 * bars / np.sqrt(12))


def test_identifiability_of_modes_that_data_cannot_show():
    """Two nearly equal times: the kernel is known, its parts are not; a rate far above 1/dt is white friction."""
    close = MemoryKernel.prony([5.0, 5.0], [0.5, 0.51])
    assert expected_information(close, 0.1, 1e5).sloppy >= 1
    apart = MemoryKernel.prony([5.0, 5.0], [0.1, 2.0])
    assert expected_information(apart, 0.1, 1e5).sloppy == 0


def test_filter_without_edges_is_the_exact_one():
    """Differences of log-likelihood by the constant gain are those of the filter that goes frame by frame."""
    from meanforce.memory.likelihood import _score
    from meanforce.memory.statespace import StateSpace, as_parameters

    x, v = in_double_well(THREE, 0.05, 600, 60, 3)
    forces = double_well_force(x)
    data = VelocityRecord.from_velocities(v, 0.05, memory=7.0, temperature=TEMPERATURE, forces=forces)
    family, values = StateSpace(4, False, 0.1), []
    other = MemoryKernel.prony([6.0, 1.2], [0.2, 1.5]) + MemoryKernel.damped_cosine(4.0, 0.0, 1.2, 6.0)
    for kernel in (THREE, other):
        exact = [
            log_likelihood(kernel, v[:n], 0.05, temperature=TEMPERATURE, forces=forces[:n]) for n in (len(v), data.lags)
        ]
        steady = _score(data, family, as_parameters(family.parameters(kernel)), derivatives=False)[0]
        values.append((exact[0] - exact[1], steady))
    difference = values[0][0] - values[1][0]
    assert difference > 20.0
    assert values[0][1] - values[1][1] == pytest.approx(difference, rel=0.02)


def test_likelihood_in_a_double_well():
    """The mean force is nonlinear, and the filter exact nevertheless."""
    x, v = in_double_well(THREE, 0.05, 1200, 300, 3)
    forces = double_well_force(x)
    rough = extract_kernel(x, v, 0.05, max_time=5.0, mean_force=forces, velocity_time_offset=-0.025).table
    start = fit_kernel(rough.t, integrated=rough.integrated, modes=(2, 1)).kernel

    def fitted(f):
        data = VelocityRecord.from_velocities(v, 0.05, memory=5.0, temperature=TEMPERATURE, forces=f)
        return fit_likelihood(data, start=start)

    found = fitted(forces)
    error = distance(found.kernel.kernel(FINE), THREE.kernel(FINE))
    assert error < 0.04
    assert error < distance(start.kernel(FINE), THREE.kernel(FINE))
    assert np.abs((found.kernel.kernel(FINE) - THREE.kernel(FINE)) / found.kernel_error(FINE)).max() < MANY
    assert distance(fitted(0.0 * forces).kernel.kernel(FINE), THREE.kernel(FINE)) > 1.0


def test_vacf_of_an_oscillator():
    """In a harmonic well the coordinate is one more variable, and the fit as exact as without."""
    n, stiffness = np.arange(26), 3.0
    drift = np.pad(THREE.drift, (0, 1))
    drift[0, -1], drift[-1, 0] = np.sqrt(stiffness), -np.sqrt(stiffness)
    c = MemoryKernel(drift).vacf(n, 0.2)
    found = fit_vacf(0.2 * n, c, (2, 1), stiffness=stiffness)
    assert distance(found.kernel.kernel(FINE), THREE.kernel(FINE)) < 0.01
    assert distance(fit_vacf(0.2 * n, c, (2, 1)).kernel.kernel(FINE), THREE.kernel(FINE)) > 0.3


def test_modes_that_are_too_fast_become_white_friction():
    kernel = THREE + MemoryKernel.prony([4000.0], [0.001])
    folded = fold_fast_modes(kernel, np.pi / 0.05)
    assert folded.modes == 4
    assert folded.white_friction == pytest.approx(4.0, rel=0.01)
    assert folded.friction == pytest.approx(kernel.friction)
    assert folded.is_passive()
    assert distance(folded.kernel(FINE), THREE.kernel(FINE)) < 0.02
    found = fit_vacf(0.05 * np.arange(101), kernel.vacf(np.arange(101), 0.05), (3, 1), white=True).kernel
    assert np.abs(np.linalg.eigvals(found.drift[1:, 1:])).max() <= np.pi / 0.05
    assert found.friction == pytest.approx(kernel.friction, rel=0.02)


def test_no_friction_beyond_the_longest_lag():
    """A kernel with a slow tail, seen for a time only: what lies beyond is not made up."""
    t = 0.02 * np.arange(101)
    kernel = MemoryKernel.prony([20.0, 0.5], [0.1, 50.0])
    fit = fit_kernel(t, integrated=kernel.integrated(t) + 0.05 * np.sin(9.0 * t), modes=(2, 1)).kernel
    rates = np.linalg.eigvals(fit.drift[1:, 1:]).real
    assert rates.min() > 0.0999 / t[-1]
    assert fit.friction < 2.0 * kernel.integrated(t[-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"memory": 100.0}, "a quarter of the trajectory"),
        ({"forces": np.zeros((40, 2, 3))}, "`temperature`"),
        ({"masses": [1.0, -1.0]}, "`masses` must be 2 values > 0"),
        ({"temperature": 0.0}, "`temperature` must be > 0"),
    ],
)
def test_bad_input_to_the_likelihood(arguments, message):
    with pytest.raises(ValueError, match=message):
        VelocityRecord.from_velocities(**({"velocities": np.ones((40, 2, 3)), "dt": 0.1, "memory": 0.5} | arguments))


# ------------------------------------------------------------------------------------------------ diagnostics


def run_of_gle(h, frames, dofs):
    """Return positions and velocities of GLEIntegrator in a double well."""
    well = physics.Potential("3*((x^2-1)^2+(y^2-1)^2+(z^2-1)^2)", double_well_force)
    x0, v0 = np.sign(physics.normal(dofs, 1)), physics.normal(dofs, 2)
    states = [(x, v) for x, v, _ in physics.gle(THREE, h, well, x0, v0, frames + 200, 3)][200:]
    return (np.array(part)[:, :, None] for part in zip(*states, strict=True))


def test_fluctuation_dissipation_of_a_run():
    x, v = run_of_gle(0.05, 1000, 150)
    forces = double_well_force(x)
    report = fdt_test(THREE, v, 0.05, temperature=TEMPERATURE, max_time=3.0, forces=forces)
    print(report)
    assert report.passed, str(report)
    assert report.relative_error < 0.06
    np.testing.assert_allclose(report.expected[1:], THREE.kernel(report.t[1:]), atol=0.07 * THREE.kernel(0.0))
    assert "holds" in str(report)
    # controls: the mean force forgotten, a temperature that is 10 % off, another kernel
    for wrong in (
        fdt_test(THREE, v, 0.05, temperature=TEMPERATURE, max_time=3.0),
        fdt_test(THREE, v, 0.05, temperature=1.1 * TEMPERATURE, max_time=3.0, forces=forces),
        fdt_test(MemoryKernel.white(2.6), v, 0.05, temperature=TEMPERATURE, max_time=3.0, forces=forces),
    ):
        assert not wrong.passed
        assert "BROKEN" in str(wrong)


def test_white_noise_of_equal_strength_breaks_fluctuation_dissipation():
    def report(v):
        return fdt_test(THREE, v, 0.05, temperature=TEMPERATURE, max_time=3.0)

    assert report(free_velocities(THREE, 0.05, 1000, 200, 3)).passed
    white = report(free_velocities(THREE, 0.05, 1000, 200, 3, white_noise=True))
    assert np.abs(white.z).max() > 20
    print(white)
    langevin = report(free_velocities(MemoryKernel.white(THREE.friction), 0.05, 1000, 200, 3))
    print(langevin)
    assert np.abs(langevin.z).max() > 20
    assert np.abs(langevin.velocity_z).max() > MANY  # its random force does remember
    with pytest.raises(ValueError, match="leave 20 records"):
        fdt_test(THREE, np.ones((50, 2, 1)), 0.05, temperature=TEMPERATURE, max_time=2.0)


def test_error_of_the_limit_without_memory():
    short, long = (markovian_report(MemoryKernel.prony([2.0 / tau], [tau])) for tau in (0.004, 0.5))
    assert short.langevin_is_enough
    assert short.friction == pytest.approx(2.0)
    assert short.vacf_error < 0.02
    assert not long.langevin_is_enough
    assert long.vacf_error > 0.3


def test_extracted_kernel_runs_in_the_integrator(record):
    integrator = GLEIntegrator(300.0, fit_likelihood(record, (2, 1)).kernel, 0.01)
    system = openmm.System()
    system.addParticle(1.0)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(np.zeros((1, 3)))
    integrator.step(10)
