# SPDX-License-Identifier: MIT
"""Nonlinear maps, against potentials of mean force that are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from meanforce.mapping import NonlinearMapping  # noqa: E402

T = 300.0
KT = 0.00831446262 * T


def distance(x):
    return torch.linalg.vector_norm(x[1] - x[0])


def pair_distance(x):
    """Distance of the centre of mass of the first two atoms (masses 1 and 3) to the third."""
    return torch.linalg.vector_norm((x[0] + 3 * x[1]) / 4 - x[2])


def angle(x):
    a, b = x[0] - x[1], x[2] - x[1]
    return torch.acos(a @ b / (torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b)))


@pytest.mark.parametrize("masses", [[12.0, 12.0], [1.0, 16.0]])
def test_harmonic_dumbbell(masses):
    """U = k (r - r0)^2 / 2 in three dimensions: A(r) = U - 2 kT ln r, so F = -k (r - r0) + 2 kT / r, frame by frame."""
    k, r0 = 400.0, 0.3
    x = np.random.default_rng(1).standard_normal((20, 2, 3))
    d = x[:, 1] - x[:, 0]
    r = np.linalg.norm(d, axis=1)
    on_second = -k * (r - r0)[:, None] * d / r[:, None]
    forces = np.stack([-on_second, on_second], axis=1)
    mapping = NonlinearMapping(distance, masses, T)
    np.testing.assert_allclose(mapping.map_positions(x), r)
    np.testing.assert_allclose(mapping.map_forces(forces, x), -k * (r - r0) + 2 * KT / r, rtol=1e-10)
    np.testing.assert_allclose(mapping.map_forces(forces[0], x[0]), -k * (r[0] - r0) + 2 * KT / r[0], rtol=1e-10)
    without = mapping.map_forces(forces, x, divergence=False)
    np.testing.assert_allclose(without, -k * (r - r0), rtol=1e-10)  # the Jacobian term is what the divergence brings


def test_mean_over_hidden_atoms_is_the_mean_force():
    """Three atoms on springs: A = kT R^2/(2 s^2) - 2 kT ln R of a distance R from a centre of mass."""
    random, stiffness = np.random.default_rng(2), np.array([[500.0, 300.0], [300.0, 800.0]])
    # U = y^T K y / 2 with y the two bonds, (x1 - x0) and (x2 - x1), each a vector.
    bonds = random.multivariate_normal(np.zeros(2), KT * np.linalg.inv(stiffness), (20_000, 3))
    y1, y2 = bonds[..., 0], bonds[..., 1]
    x = np.stack([np.zeros_like(y1), y1, y1 + y2], axis=1)
    g1, g2 = (-(stiffness[k, 0] * y1 + stiffness[k, 1] * y2) for k in range(2))
    forces = np.stack([-g1, g1 - g2, g2], axis=1)
    mapping = NonlinearMapping(pair_distance, [1.0, 3.0, 5.0], T)
    # x2 - (x0 + 3 x1)/4 = y2 + y1/4
    variance = KT * np.array([0.25, 1.0]) @ np.linalg.inv(stiffness) @ np.array([0.25, 1.0])
    few = slice(0, 2000)
    r, f = mapping.map_positions(x[few]), mapping.map_forces(forces[few], x[few])
    wrong = mapping.map_forces(forces[few], x[few], divergence=False)
    np.testing.assert_allclose(np.mean(np.linalg.norm(y2 + y1 / 4, axis=1) ** 2), 3 * variance, rtol=0.03)
    edges = np.quantile(r, np.linspace(0, 1, 6))
    biased = []
    for low, high in itertools.pairwise(edges):
        inside = (r >= low) & (r <= high)
        expected = -KT * r[inside] / variance + 2 * KT / r[inside]
        for values, errors in ((f[inside] - expected, None), (wrong[inside] - expected, biased)):
            z = abs(values.mean()) / (values.std(ddof=1) / np.sqrt(inside.sum()))
            if errors is None:
                assert z < 4.0
            else:
                errors.append(z)
    assert min(biased) > 4.0


def test_rigid_trimer_has_the_measure_of_constrained_motion():
    """A freely jointed chain: p(theta) ~ sin(theta) sqrt(det Z), Z = grad sigma M^-1 grad sigma^T (Fixman)."""
    m = np.array([1.0, 2.0, 5.0])
    for theta in (0.5, 1.3, 2.4):
        x = np.array([[0.1, 0, 0], [0, 0, 0], 0.15 * np.array([np.cos(theta), np.sin(theta), 0])])
        mapping = NonlinearMapping(angle, m, T, constraints=[(0, 1), (1, 2)])
        found = mapping.map_forces(np.zeros((3, 3)), x)

        def log_density(t):
            det = (1 / m[0] + 1 / m[1]) * (1 / m[1] + 1 / m[2]) - (np.cos(t) / m[1]) ** 2
            return np.log(np.sin(t)) + 0.5 * np.log(det)

        h = 1e-5
        expected = KT * (log_density(theta + h) - log_density(theta - h)) / (2 * h)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        free = NonlinearMapping(angle, m, T).map_forces(np.zeros((3, 3)), x)
        assert abs(free - found) > 0.02 * KT


def test_several_coordinates_and_atoms_that_do_not_matter():
    """Beads as a linear function: the pseudo-inverse gives forces whose divergence vanishes."""
    random = np.random.default_rng(4)
    masses = np.array([1.0, 2.0, 3.0, 4.0, 100.0])
    mapping = NonlinearMapping(lambda x: torch.stack([(x[0] + 2 * x[1]) / 3, x[2]]), masses, T, atoms=[0, 1, 3])
    x, f = random.standard_normal((2, 4, 5, 3))
    np.testing.assert_allclose(mapping.map_positions(x)[:, 0], (x[:, 0] + 2 * x[:, 1]) / 3)
    np.testing.assert_allclose(mapping.map_forces(f, x), np.stack([f[:, 0] + f[:, 1], f[:, 3]], axis=1), atol=1e-12)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="atom 1 has no mass"):
        NonlinearMapping(distance, [1.0, 0.0], T)
    with pytest.raises(ValueError, match=r"indices in 0 \.\. 1, got \[0, 2\]"):
        NonlinearMapping(distance, [1.0, 1.0], T, atoms=[0, 2])
    with pytest.raises(ValueError, match="`temperature` must be positive, got -1"):
        NonlinearMapping(distance, [1.0, 1.0], -1)
    mapping = NonlinearMapping(distance, [1.0, 1.0], T, constraints=[(0, 1)])
    x = np.random.default_rng(5).standard_normal((3, 2, 3))
    with pytest.raises(ValueError, match="Jacobian of the map is singular in frame 0"):
        mapping.map_forces(x, x)
    with pytest.raises(ValueError, match=r"2, 3\), got \(3, 3, 3\)"):
        mapping.map_positions(np.zeros((3, 3, 3)))
