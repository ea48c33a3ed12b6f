# SPDX-License-Identifier: MIT
"""Internal coordinates, potentials of mean force and divergences against closed forms."""

import numpy as np
import pytest

from meanforce import structure
from meanforce.structure import Distribution, MeanForce

KT = structure.GAS_CONSTANT * 300.0


def test_a_dihedral_has_the_sign_of_iupac_and_mirror_images_differ():
    phi = 1.1
    x = np.array([[[0.0, 1, 0], [0, 0, 0], [0, 0, 1], [-np.sin(phi), np.cos(phi), 1]]])
    found = structure.dihedrals(x, [[0, 1, 2, 3]])[0, 0]
    assert abs(found) == pytest.approx(phi)
    assert structure.dihedrals(x * [-1, 1, 1], [[0, 1, 2, 3]])[0, 0] == pytest.approx(-found)
    # OpenMM's convention, by its own evaluation of theta.
    import openmm

    system = openmm.System()
    force = openmm.CustomTorsionForce("theta")
    for _ in range(4):
        system.addParticle(1.0)
    force.addTorsion(0, 1, 2, 3, [])
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(1e-3), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(x[0])
    assert context.getState(energy=True).getPotentialEnergy()._value == pytest.approx(found, abs=1e-6)


def test_distances_and_angles_take_nearest_images():
    box = np.array([[2.0, 0, 0], [0.5, 2.1, 0], [-0.4, 0.6, 1.9]])
    x = np.random.default_rng(1).uniform(size=(5, 3, 3)) * 0.4
    moved = x + (np.array([[1, 0, -1], [0, 2, 0], [-1, -1, 1]]) @ box)[None]
    for function, index in ((structure.distances, [[0, 1], [1, 2]]), (structure.angles, [[0, 1, 2]])):
        np.testing.assert_allclose(function(moved, index, box), function(x, index), atol=1e-9)
    assert structure.angles([[[1.0, 0, 0], [0, 0, 0], [0, 1, 0]]], [[0, 1, 2]])[0, 0] == pytest.approx(np.pi / 2)
    with pytest.raises(ValueError, match=r"bead indices must lie in 0 \.\. 2, got 0 \.\. 3"):
        structure.distances(x, [[0, 3]])


def harmonic_vectors(frames, k=2000.0, seed=2):
    return np.random.default_rng(seed).normal(scale=np.sqrt(KT / k), size=(frames, 3))


def test_p_of_r_and_w_of_r_differ_by_2_kT_ln_r():
    """For a vector in an isotropic harmonic well, w(r) = k r^2/2, and -kT ln p(r) is 2 kT ln r less."""
    r = np.linalg.norm(harmonic_vectors(200_000), axis=1)
    edges = structure.uniform_edges(0.01, 0.1, 30)
    w = structure.pmf(r, edges, 300.0, "distance")
    plain = structure.pmf(r, edges, 300.0)
    assert w.definition == "-kT ln [p(x)/(x^2)]"
    assert plain.definition == "-kT ln p(x)"
    (x,) = w.coordinates
    exact = 1000.0 * x**2
    score = ((w.energy - exact) - np.mean(w.energy - exact)) / w.standard_error
    assert np.sqrt(np.mean(score**2)) < 1.6
    difference = w.energy - plain.energy - 2 * KT * np.log(x)
    np.testing.assert_allclose(difference, difference[0], atol=0.02)  # bins are averages, hence not exact
    wrong = (plain.energy - exact) - np.mean(plain.energy - exact)
    assert np.sqrt(np.mean((wrong / plain.standard_error) ** 2)) > 20


def test_pmf_of_an_isotropic_angle_is_flat_only_with_its_measure():
    theta = np.arccos(np.random.default_rng(3).uniform(-1, 1, size=100_000))
    edges = structure.uniform_edges(0.0, np.pi, 20)
    flat = structure.pmf(theta, edges, 300.0, "angle")
    assert np.max(np.abs(flat.energy - flat.energy.mean()) / flat.standard_error) < 6
    assert np.ptp(structure.pmf(theta, edges, 300.0).energy) > 2 * KT


def test_pmf_in_two_dimensions():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 200_000))
    y = 0.5 * x + y
    edges = structure.uniform_edges(-2, 2, 16)
    found = structure.pmf([x, y], [edges, edges], 300.0)
    a, b = np.meshgrid(*found.coordinates, indexing="ij")
    exact = KT * (0.5 * a**2 + 0.5 * (b - 0.5 * a) ** 2)
    error = (found.energy - exact) - np.average(found.energy - exact, weights=np.exp(-exact / KT))
    assert np.sqrt(np.mean((error / found.standard_error)[4:12, 4:12] ** 2)) < 2.0
    with pytest.raises(ValueError, match="`jacobian` must be one of"):
        structure.pmf(x, edges, 300.0, "bond")


def test_integrated_mean_force_is_the_pmf_of_the_samples():
    r"""The force on the vector's length is -k r; with 2 kT/r more it is that of -kT ln p(r)."""
    vectors = harmonic_vectors(100_000)
    r = np.linalg.norm(vectors, axis=1)
    edges = structure.uniform_edges(0.02, 0.09, 28)
    noise = np.random.default_rng(5).normal(scale=50.0, size=len(r))
    w = structure.integrate_mean_force(MeanForce.measure(r, -2000.0 * r + noise, edges))
    (x,) = w.coordinates
    exact = 1000.0 * x**2
    error = (w.energy - w.energy.mean()) - (exact - exact.mean())
    assert np.sqrt(np.mean((error / w.standard_error) ** 2)) < 2.0
    assert w.standard_error.max() < 0.1
    p = structure.integrate_mean_force(MeanForce.measure(r, -2000.0 * r + 2 * KT / r, edges))
    sampled = structure.pmf(r, edges, 300.0)
    shift = p.energy - sampled.energy
    assert np.max(np.abs(shift - shift.mean()) / sampled.standard_error) < 6


def field(curl, seed=6, frames=40_000, bins=12):
    """Samples on a torus with forces of U = cos x + cos(y - x) / 2, noise, and a swirl."""
    rng = np.random.default_rng(seed)
    s = rng.uniform(-np.pi, np.pi, size=(frames, 2))
    x, y = s.T
    f = np.stack([np.sin(x) - 0.5 * np.sin(y - x), 0.5 * np.sin(y - x)], axis=1)
    f += curl * np.stack([np.sin(y), np.zeros_like(y)], axis=1) + rng.normal(scale=1.0, size=s.shape)
    edges = structure.uniform_edges(-np.pi, np.pi, bins)
    return MeanForce.measure(s, f, [edges, edges])


def test_integration_in_two_dimensions_and_its_errors():
    found = structure.integrate_mean_force(field(0.0, bins=24), periodic=(True, True))
    x, y = np.meshgrid(*found.coordinates, indexing="ij")
    exact = np.cos(x) + 0.5 * np.cos(y - x)
    error = (found.energy - found.energy.mean()) - (exact - exact.mean())
    assert np.sqrt(np.mean((error / found.standard_error) ** 2)) < 2.0
    assert np.abs(error).max() < 0.15
    assert np.isclose(found.energy.min(), 0.0)


def test_bins_without_samples_are_left_out():
    edges = structure.uniform_edges(0.0, 1.0, 10)
    x = np.concatenate([np.linspace(0.001, 0.599, 600), np.full(5, 0.95)])
    found = structure.integrate_mean_force(MeanForce.measure(x, np.ones_like(x), edges))
    assert np.isnan(found.energy[6:]).all()
    np.testing.assert_allclose(np.diff(found.energy[:6]), -0.1)


def test_a_curl_is_found_where_there_is_one():
    none, some = structure.curl_test(field(0.0), (True, True)), structure.curl_test(field(0.4), (True, True))
    assert none.passed
    assert 0.5 < none.statistic < 2.0
    assert not some.passed
    assert some.statistic > 2 * none.statistic
    with pytest.raises(ValueError, match="two coordinates"):
        structure.curl_test(MeanForce.measure(np.linspace(0, 1, 50), np.ones(50), np.linspace(0, 1, 5)))


def test_the_curl_test_is_right_as_often_as_it_says():
    p = [structure.curl_test(field(0.0, seed, 4000, 6), (True, True)).p_value for seed in range(40)]
    assert np.mean(np.array(p) < 0.1) < 0.1 + 3 * np.sqrt(0.1 * 0.9 / 40)
    assert 0.3 < np.mean(p) < 0.7


def test_jensen_shannon_closed_forms():
    assert structure.jensen_shannon([1, 0], [0, 1]) == pytest.approx(np.log(2))
    assert structure.jensen_shannon([1, 2, 3], [2, 4, 6]) == 0.0
    p, q = np.array([0.2, 0.8]), np.array([0.6, 0.4])
    m = (p + q) / 2
    assert structure.jensen_shannon(p, q) == pytest.approx(0.5 * np.sum(p * np.log(p / m) + q * np.log(q / m)))
    with pytest.raises(ValueError, match="nonnegative"):
        structure.jensen_shannon([1, -1], [1, 1])


def test_the_sampling_floor_is_what_two_equal_runs_differ_by():
    """Independent runs of one correlated process: the mean divergence is the floor; another process is above it."""

    def run(seed, shift=0.0):
        rng = np.random.default_rng(seed)
        x = np.repeat(rng.normal(size=400), 20) + shift  # 20 frames in a row are the same
        return Distribution.measure(x, structure.uniform_edges(-3, 3, 25))

    found = [structure.divergence(run(2 * k), run(2 * k + 1)) for k in range(12)]
    values, floors = np.array([d.value for d in found]), np.array([d.floor for d in found])
    assert 0.7 < values.mean() / floors.mean() < 1.3
    other = structure.divergence(run(0), run(1, 0.7))
    assert other.value - other.floor > 4 * other.standard_error
    with pytest.raises(ValueError, match="different bins"):
        structure.divergence(run(0), Distribution.measure(np.zeros(10), np.linspace(-1, 1, 26)))


def test_distributions_are_normalised_and_keep_their_errors():
    x = np.random.default_rng(8).normal(size=(1000, 3))
    d = Distribution.measure(x, np.linspace(-6, 6, 61))
    assert np.sum(d.density * d.volumes) == pytest.approx(1.0)
    exact = np.exp(-(d.centers[0] ** 2) / 2) / np.sqrt(2 * np.pi)
    middle = np.abs(d.centers[0]) < 1.99
    score = (d.density - exact)[middle] / d.standard_error[middle]
    assert np.sqrt(np.mean(score**2)) < 1.8
    with pytest.raises(ValueError, match="no sample lies within"):
        Distribution.measure(x, [10.0, 11.0])


def test_the_zero_test_finds_a_mean_that_is_not_zero():
    noise = np.random.default_rng(9).normal(size=(10, 6))
    assert structure.zero_test(noise).passed
    assert not structure.zero_test(noise + 1.5).passed
    with pytest.raises(ValueError, match="at least 8 blocks, got 5"):
        structure.zero_test(noise[:5])
