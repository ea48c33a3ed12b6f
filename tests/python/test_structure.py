# SPDX-License-Identifier: MIT
"""Structure functions against closed forms: ideal gases, lattices, known walks."""

from __future__ import annotations

import numpy as np
import pytest

from meanforce import structure
from meanforce.structure import RDF

STANDARD_ERRORS = 4.0
"""Allowed deviation of a mean over many independent bins."""

TRICLINIC = np.array([[2.0, 0, 0], [0.5, 2.1, 0], [-0.4, 0.6, 1.9]])


def ideal_gas(frames: int, n: int, box: np.ndarray, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(frames, n, 3)) @ box


@pytest.mark.parametrize("n", [30, structure.ALL_PAIRS_LIMIT + 50])
@pytest.mark.parametrize("box", [np.diag([2.0, 2.2, 2.4]), TRICLINIC], ids=["rectangular", "triclinic"])
def test_rdf_of_an_ideal_gas_is_one(n, box):
    r_max = 0.8
    found = structure.rdf(ideal_gas(300, n, box), box, r_max=r_max, bins=20)
    # Standard errors come from ten blocks, so that (g - 1) / error follows Student's t with 9 degrees of freedom.
    scores = (found.g - 1)[2:] / found.standard_error[2:]
    assert np.abs(scores).max() < 6.0
    assert np.sqrt(np.mean(scores**2)) < 2.0
    assert np.sqrt(np.mean(scores**2)) > 0.5  # the errors are not merely large


def test_rdf_of_a_simple_cubic_lattice():
    spacing, cells = 0.25, 8
    axis = spacing * np.arange(cells)
    lattice = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(1, -1, 3)
    box = spacing * cells * np.eye(3)
    found = structure.rdf(lattice, box, r_max=0.6, bins=120)
    shells = 4 / 3 * np.pi * np.diff(np.linspace(0, 0.6, 121) ** 3)
    n = lattice.shape[1]
    neighbours = found.g * shells * (n - 1) / (spacing * cells) ** 3
    expected = {0.25: 6, 0.25 * np.sqrt(2): 12, 0.25 * np.sqrt(3): 8, 0.5: 6, 0.25 * np.sqrt(5): 24}
    for distance, count in expected.items():
        near = np.abs(found.r - distance) < 0.006
        assert neighbours[near].sum() == pytest.approx(count)
    assert neighbours.sum() == pytest.approx(sum(expected.values()))


def test_partial_rdf_counts_only_its_pairs():
    box = 2.0 * np.eye(3)
    x = ideal_gas(200, 40, box)
    types = np.arange(40) % 2
    x[:, 1::2] = np.round(x[:, 1::2] / 0.5) * 0.5  # type 1 sits on a lattice, type 0 does not
    mixed = structure.rdf(x, box, 0.9, 9, types=types, pair=(0, 1))
    assert np.abs((mixed.g - 1)[1:] / mixed.standard_error[1:]).max() < 6.0
    same = structure.rdf(x, box, 0.9, 9, types=types, pair=(1, 1))
    assert same.g.max() > 3.0
    with pytest.raises(ValueError, match="no pairs of types"):
        structure.rdf(x, box, 0.9, 9, types=types, pair=(0, 2))


def test_search_tree_and_distance_matrix_find_the_same_pairs(monkeypatch):
    box = np.diag([2.0, 2.2, 2.4])
    x = ideal_gas(1, 300, box)[0] + 3 * np.diagonal(box)
    found = []
    for limit in (10, 1000):
        monkeypatch.setattr(structure.radial, "ALL_PAIRS_LIMIT", limit)
        first, second, displacements = structure.pairs_within(x, box, 0.5)
        order = np.lexsort((second, first))
        found.append((first[order], second[order], displacements[order]))
    for tree, matrix in zip(*found, strict=True):
        np.testing.assert_allclose(tree, matrix, atol=1e-12)
    assert np.all(found[0][0] < found[0][1])


def test_cutoff_beyond_half_the_box_is_refused():
    box = np.array([[2.0, 0, 0], [1.0, 2.0, 0], [0, 0, 2.0]])  # smallest width 2 sin(63 deg) = 1.789 nm
    with pytest.raises(ValueError, match=r"cutoff 0\.95 nm exceeds half the smallest width of the box, 0\.8944 nm"):
        structure.rdf(ideal_gas(1, 5, box), box, r_max=0.95)
    with pytest.raises(ValueError, match=r"`box` must have shape \(3, 3\) or \(2, 3, 3\), got \(3,\)"):
        structure.rdf(ideal_gas(2, 5, box), np.ones(3))


def test_angles_in_a_simple_cubic_lattice():
    axis = 0.3 * np.arange(6)
    lattice = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(1, -1, 3)
    theta, p, _ = structure.angle_distribution(lattice, 1.8 * np.eye(3), cutoff=0.35, bins=45)
    weights = p * np.pi / 45
    # Six neighbours: 12 pairs at a right angle, 3 opposite. 90 degrees is the middle of bin 22, 180 the end of bin 44.
    assert weights[22] == pytest.approx(12 / 15)
    assert weights[44] == pytest.approx(3 / 15)
    assert weights.sum() == pytest.approx(1.0)
    assert theta[22] == pytest.approx(np.pi / 2)


def test_angles_of_an_ideal_gas_are_isotropic():
    box = 2.0 * np.eye(3)
    theta, p, error = structure.angle_distribution(ideal_gas(100, 100, box), box, cutoff=0.5, bins=18)
    edges = np.linspace(0, np.pi, 19)
    expected = 0.5 * -np.diff(np.cos(edges)) / np.diff(edges)
    assert np.abs((p - expected) / error).max() < 6.0
    assert len(theta) == 18


def test_mean_square_displacement_of_a_random_walk():
    steps = np.random.default_rng(5).normal(scale=0.1, size=(500, 200, 3))
    msd, error = structure.mean_square_displacement(np.cumsum(steps, axis=0), 50)
    expected = 3 * 0.01 * np.arange(51)
    assert np.abs((msd - expected)[1:] / error[1:]).max() < STANDARD_ERRORS
    walk = np.cumsum(steps, axis=0)
    direct = np.mean(np.sum((walk[7:] - walk[:-7]) ** 2, axis=-1))
    assert msd[7] == pytest.approx(direct, rel=1e-9)
    with pytest.raises(ValueError, match=r"0 \.\. 499 for 500 frames, got 500"):
        structure.mean_square_displacement(walk, 500)


def test_boltzmann_inversion_closed_form():
    """For g = exp(-a exp(-(r/s)^2)), w = a kT exp(-(r/s)^2)."""
    r = np.linspace(0.01, 1.0, 50)
    a, s, temperature = 2.0, 0.3, 310.0
    g = np.exp(-a * np.exp(-((r / s) ** 2)))
    w = structure.boltzmann_inversion(RDF(r, g, np.zeros_like(r)), temperature)
    np.testing.assert_allclose(w, a * 0.00831446261815324 * temperature * np.exp(-((r / s) ** 2)), rtol=1e-10)
    # The distance's own distribution p(r) ~ r^2 g(r) gives another function.
    assert np.abs(-0.0083145 * temperature * np.log(r**2 * g) - w).max() > 1.0
    assert structure.boltzmann_inversion(RDF(r, 0 * g, 0 * g), temperature)[0] == np.inf


def test_first_peak_of_a_parabola_is_exact():
    r = np.arange(0.0025, 0.9, 0.005)
    g = 3.1 - 400 * (r - 0.2771) ** 2
    height, place = structure.first_peak(RDF(r, g, 0 * r))
    assert (height, place) == (pytest.approx(3.1), pytest.approx(0.2771))
    with pytest.raises(ValueError, match="no peak"):
        structure.first_peak(RDF(r, r, 0 * r))


def test_error_metrics():
    r = np.linspace(0.0, 1.2, 121)
    a, b = RDF(r, np.ones(121), 0 * r), RDF(r, np.where(r < 0.95, 1.1, 9.0), 0 * r)
    assert structure.rdf_error(b, a) == pytest.approx(0.1)
    assert structure.angle_distribution_error(np.array([1.0, 3.0]), np.array([2.0, 2.0])) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="different bins"):
        structure.rdf_error(a, RDF(r + 0.1, r, r))


def test_block_errors_shrink_with_the_number_of_frames():
    box = 2.0 * np.eye(3)
    errors = [structure.rdf(ideal_gas(f, 50, box), box, 0.9, 9).standard_error[3:].mean() for f in (50, 800)]
    assert 2.5 < errors[0] / errors[1] < 6.5  # sqrt(16) = 4
