# SPDX-License-Identifier: MIT
"""Force maps: their algebra for all inputs, and their bias and noise on a real constrained run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openmm import app

from meanforce.data import Frames, check_frames
from meanforce.mapping import ForceMap, Mapping, constraints_of_bonds, constraints_of_system
from peptide import TEMPERATURE, alanine_dipeptide, sample

KT = 0.00831446262 * TEMPERATURE
BEADS = {
    "C": ("ACE", "C"),
    "N": ("ALA", "N"),
    "CA": ("ALA", "CA"),
    "CB": ("ALA", "CB"),
    "C2": ("ALA", "C"),
    "N2": ("NME", "N"),
}


def six_beads(topology: app.Topology, system) -> Mapping:
    place = {(atom.residue.name, atom.name): atom.index for atom in topology.atoms()}
    return Mapping.from_selections(topology, system, {name: [place[atom]] for name, atom in BEADS.items()})


@pytest.fixture(scope="module")
def run():
    """Return mapping, and bead positions and atomic forces of 16 ps with the bonds to hydrogen constrained."""
    topology, system, start = alanine_dipeptide()
    mapping = six_beads(topology, system)
    positions, forces = sample(system, start, frames=1600, interval=10)
    return mapping, positions, forces


def z_scores(values: np.ndarray, blocks: int = 20) -> np.ndarray:
    """Return means in standard errors, from the scatter of consecutive blocks of frames (axis 0)."""
    means = np.array([part.mean(axis=0) for part in np.array_split(values, blocks)])
    return means.mean(axis=0) / (means.std(axis=0, ddof=1) / np.sqrt(blocks))


def directions(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors (n_frames, n, n, 3) from bead J to bead I, and distances with ones on the diagonal."""
    d = x[:, :, None] - x[:, None]
    r = np.linalg.norm(d, axis=-1) + np.eye(x.shape[1])
    return d / r[..., None], r


def test_the_optimal_map_has_the_least_noise_on_frames_it_has_not_seen(run):
    mapping, _, forces = run
    training, held_out = forces[:800], forces[800:]
    makers = {
        "slice": ForceMap.slice(mapping),
        "aware": ForceMap.constraint_aware(mapping),
        "optimal": ForceMap.optimal(mapping, training),
    }
    noise = {name: force_map.mean_square(held_out).mean() for name, force_map in makers.items()}
    assert noise["aware"] < 0.95 * noise["slice"]  # 0.91 in a longer run
    assert noise["optimal"] < 0.75 * noise["aware"]  # 0.69
    per_bead = makers["optimal"].mean_square(held_out) / makers["aware"].mean_square(held_out)
    assert per_bead.max() < 1.02
    blocks = ForceMap.optimal(mapping, iter([training[:300], training[300:]]))
    np.testing.assert_allclose(blocks.weights.todense(), makers["optimal"].weights.todense(), atol=1e-8)


def test_mean_forces_are_unbiased_and_those_of_a_slice_are_not(run):
    """<F_I . n_IJ> = -kT <2 / r_IJ> holds for the mean force of every pair of beads."""
    mapping, positions, forces = run
    x = mapping.map_positions(positions)
    n, r = directions(x)
    pairs = ~np.eye(len(BEADS), dtype=bool)
    projected = {}
    for name, force_map in (
        ("slice", ForceMap.slice(mapping)),
        ("aware", ForceMap.constraint_aware(mapping)),
        ("optimal", ForceMap.optimal(mapping, forces[:800])),
    ):
        projected[name] = np.einsum("fix,fijx->fij", force_map.apply(forces), n)[:, pairs]
    for name in ("aware", "optimal"):
        assert np.abs(z_scores(projected[name] + 2 * KT / r[:, pairs])).max() < 4.5, name
    # The noise that both have in common drops out of the difference of two maps.
    assert np.mean(z_scores(projected["optimal"] - projected["aware"]) ** 2) < 2.5
    difference = projected["slice"] - projected["aware"]
    constrained = np.abs(difference).max(axis=0) > 0  # the carbonyl carbons have no hydrogen
    assert constrained.sum() == 20
    assert np.mean(z_scores(difference[:, constrained]) ** 2) > 5.0  # about 10; 27 in a longer run


def test_mapped_forces_pass_the_check_of_units(run):
    mapping, positions, forces = run
    frames = Frames(mapping.map_positions(positions), forces=mapping.map_forces(forces), masses=mapping.masses)
    report = check_frames(frames, temperature=TEMPERATURE, topology=mapping.topology(), num_functions=100)
    assert abs(report.force_ratio - 1) < 4.5 * report.force_ratio_error < 0.3
    assert report.notes == ()


def test_constraints_come_from_the_system_or_from_bonds():
    topology, system, _ = alanine_dipeptide()
    from_system = {tuple(sorted(pair)) for pair in constraints_of_system(system)}
    assert len(from_system) == 12
    assert {tuple(sorted(pair)) for pair in constraints_of_bonds(topology, "hbonds")} == from_system
    assert len(constraints_of_bonds(topology, "allbonds")) == topology.getNumBonds()
    assert constraints_of_bonds(topology, "none") == []
    with pytest.raises(ValueError, match="'none', 'hbonds' or 'allbonds', got 'bonds'"):
        constraints_of_bonds(topology, "bonds")


def test_constraint_aware_map_takes_the_hydrogens_along():
    topology, system, _ = alanine_dipeptide()
    mapping = six_beads(topology, system)
    names = np.array([atom.name for atom in topology.atoms()])
    row = ForceMap.constraint_aware(mapping).weights.toarray()[3]
    assert set(names[row != 0]) == {"CB", "HB1", "HB2", "HB3"}
    assert set(row[row != 0]) == {1.0}
    np.testing.assert_array_equal(mapping.force_map.weights.toarray()[3], row)  # it is the default


def test_all_bonds_leave_no_unbiased_map():
    topology, system, _ = alanine_dipeptide(app.AllBonds)
    mapping = six_beads(topology, system)
    with pytest.raises(ValueError, match=r"constraint between atoms .* joins different beads"):
        mapping.require_forces()
    with pytest.raises(ValueError, match="no unbiased force for each of the 6 beads"):
        ForceMap.optimal(mapping, np.ones((2, mapping.num_atoms, 3)))


def test_weights_that_would_be_biased_are_refused():
    mapping = Mapping([[0, 1], [2]], [1.0] * 4, ["A", "B"], ["X", "X"], constraints=[(2, 3)])
    with pytest.raises(ValueError, match=r"not orthogonal .* beads 1 and 1 is off by 0\.5"):
        ForceMap([[1, 1, 0, 0], [0, 0, 0.5, 0.5]], mapping)
    with pytest.raises(ValueError, match="constrained atoms 2 and 3 different weights"):
        ForceMap([[1, 1, 0, 0], [0, 0, 1, 0]], mapping)
    with pytest.raises(ValueError, match=r"must have shape \(2, 4\), got \(1, 4\)"):
        ForceMap(np.ones((1, 4)), mapping)
    assert not ForceMap.slice(mapping).constraints_cancel
    assert ForceMap.constraint_aware(mapping).constraints_cancel


def test_input_of_the_fit_is_checked():
    mapping = Mapping([[0, 1], [2]], [1.0] * 4, ["A", "B"], ["X", "X"])
    with pytest.raises(ValueError, match="needs frames with forces, got none"):
        ForceMap.optimal(mapping, iter([]))
    with pytest.raises(ValueError, match=r"\[n_frames,\] 4, 3\), got \(5, 3, 3\)"):
        ForceMap.optimal(mapping, np.ones((5, 3, 3)))
    with pytest.raises(ValueError, match="these atoms leave no unbiased force"):
        ForceMap.optimal(mapping, np.ones((5, 4, 3)), atoms=[0])


def test_two_noisy_atoms_are_weighted_by_their_noise():
    """One bead between two atoms of unequal noise: the weights go as the inverse variances."""
    random = np.random.default_rng(3)
    forces = random.standard_normal((20_000, 2, 3)) * np.array([1.0, 2.0])[:, None]
    mapping = Mapping([[0, 1]], [1.0, 1.0], ["A"], ["X"])  # b_0 / 2 + b_1 / 2 = 1
    found = ForceMap.optimal(mapping, forces).weights.toarray()[0]
    # minimise b_0^2 + 4 b_1^2 with b_0 + b_1 = 2
    np.testing.assert_allclose(found, [1.6, 0.4], atol=0.03)


@st.composite
def mappings(draw: st.DrawFn) -> Mapping:
    """Draw disjoint beads with random weights, masses and constraints, some of which leave a bead."""
    n = draw(st.integers(4, 12))
    order = draw(st.permutations(range(n)))
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3).filter(lambda s: sum(s) < n))
    beads = [order[sum(sizes[:k]) : sum(sizes[: k + 1])] for k in range(len(sizes))]
    unmapped = order[sum(sizes) :]
    masses = draw(st.lists(st.floats(1.0, 100.0), min_size=n, max_size=n))
    constraints = []
    for atom in unmapped:  # a tree: every free atom hangs on at most one other
        if draw(st.booleans()):
            constraints.append((atom, draw(st.sampled_from(beads[draw(st.integers(0, len(beads) - 1))]))))
    raw = [draw(st.lists(st.floats(0.1, 1.0), min_size=len(bead), max_size=len(bead))) for bead in beads]
    weights = draw(st.sampled_from(["mass", "geometry", [np.divide(w, np.sum(w)) for w in raw]]))
    names = [f"B{k}" for k in range(len(beads))]
    return Mapping(beads, masses, names, ["X"] * len(beads), constraints, weights=weights)


@settings(max_examples=60, deadline=None)
@given(mappings(), st.integers(0, 2**31))
def test_every_map_obeys_its_laws(mapping, seed):
    np.testing.assert_allclose(mapping.weights.sum(axis=1), 1.0, atol=1e-12)
    # Equipartition: the variance of a bead's velocity is kT over its mass, with atoms' velocities independent.
    np.testing.assert_allclose(
        mapping.masses * ((mapping.weights.toarray() ** 2) / mapping.atom_masses).sum(axis=1), 1.0, atol=1e-12
    )
    x = np.random.default_rng(seed).standard_normal((mapping.num_atoms, 3))
    shifted = mapping.map_positions(x + np.array([1.0, -2.0, 3.0])) - mapping.map_positions(x)
    np.testing.assert_allclose(shifted, np.tile([1.0, -2.0, 3.0], (mapping.num_beads, 1)), atol=1e-10)
    forces = np.random.default_rng(seed + 1).standard_normal((50, mapping.num_atoms, 3))
    aware, optimal = ForceMap.constraint_aware(mapping), ForceMap.optimal(mapping, forces)
    for force_map in (aware, optimal):
        b = force_map.weights.toarray()
        np.testing.assert_allclose(b @ mapping.weights.toarray().T, np.eye(mapping.num_beads), atol=1e-6)
        for i, j in mapping.constraints:
            np.testing.assert_allclose(b[:, i], b[:, j], atol=1e-9)
    assert np.all(optimal.mean_square(forces) <= aware.mean_square(forces) * (1 + 1e-4))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1.0, 50.0), min_size=2, max_size=8), st.integers(0, 2**31))
def test_centres_of_mass_conserve_momentum(masses, seed):
    """Total momentum of beads is that of the atoms, and so is the total force."""
    half = len(masses) // 2
    atoms = list(range(len(masses)))
    mapping = Mapping([atoms[:half], atoms[half:]], masses, ["A", "B"], ["X", "Y"])
    values = np.random.default_rng(seed).standard_normal((len(masses), 3))
    np.testing.assert_allclose(mapping.masses @ mapping.map_velocities(values), np.array(masses) @ values, atol=1e-9)
    np.testing.assert_allclose(mapping.map_forces(values).sum(axis=0), values.sum(axis=0), atol=1e-9)
