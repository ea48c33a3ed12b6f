# SPDX-License-Identifier: MIT
"""The YBG balance and the verdict on pair potentials, for liquids whose potential is known."""

import numpy as np
import pytest

from liquids import CUTOFF, KT, TEMPERATURE, add_three_body, lj_force, lj_system, sample
from meanforce import structure
from meanforce.structure import YBG

SIDE = 5
EDGES = {"thin": 3.4, "middle": 2.4, "dense": 1.95}


@pytest.fixture(scope="module")
def lj():
    return {name: (edge, *sample(lj_system(SIDE**3, edge), SIDE, edge, 200, 40)) for name, edge in EDGES.items()}


@pytest.fixture(scope="module")
def tetrahedral():
    edge = EDGES["dense"]
    return edge, *sample(add_three_body(lj_system(SIDE**3, edge), 60.0), SIDE, edge, 120, 40)


def measure(run, **options):
    edge, x, _ = run
    return YBG.measure(x, edge * np.eye(3), TEMPERATURE, CUTOFF, 0.02, lj_force, **options)


@pytest.mark.parametrize("density", EDGES)
def test_the_balance_closes_for_a_pair_liquid(lj, density):
    found = measure(lj[density])
    balance = found.balance()
    assert balance.passed, (balance.statistic, balance.p_value)
    assert 0.3 < balance.statistic < 3.0
    # A control: without the third particles, or at another temperature, it does not.
    if density != "thin":
        wrong = structure.zero_test((found.direct - found.mean)[:, found.sampled] / found.pairs.mean(0)[found.sampled])
        assert not wrong.passed
    hot = YBG.measure(lj[density][1], lj[density][0] * np.eye(3), 1.5 * TEMPERATURE, CUTOFF, 0.02, lj_force)
    assert not hot.balance().passed


def test_the_three_body_part_grows_with_density(lj):
    parts = []
    for name in EDGES:
        found = measure(lj[name])
        force, _ = found.three_body_force()
        direct, _ = found.direct_force()
        keep = found.sampled & (found.r > 0.35)
        parts.append(np.sqrt(np.mean(force[keep] ** 2) / np.mean(direct[keep] ** 2)))
    assert parts[0] < parts[1] < parts[2]


def test_mean_force_is_the_slope_of_ln_g(lj):
    edge, x, _ = lj["dense"]
    found = measure(lj["dense"])
    force, error = found.mean_force()
    g = structure.rdf(x, edge * np.eye(3), CUTOFF, 40)
    w = -KT * np.log(np.where(g.g > 0, g.g, np.nan))
    slope = -np.diff(w) / np.diff(g.r)  # at the nodes between bins
    keep = (found.r[1:] > 0.34) & (found.r[1:] < 0.75)
    assert np.abs(force[1:] - slope)[keep].max() < 1.5 + 5 * error[1:][keep].max()


def test_the_measured_g3_gives_the_three_body_force_of_any_pair_force(lj):
    """A force that is itself made of hats: G f is then exact, frame by frame."""
    edge, x, _ = lj["dense"]
    nodes = 0.02 * np.arange(40)
    values = np.where(nodes > 0.3, np.sin(9 * nodes) * (CUTOFF - nodes), 0.0)

    def hat_force(r):
        return np.interp(r, np.append(nodes, CUTOFF), np.append(values, 0.0))

    found = YBG.measure(x[:40], edge * np.eye(3), TEMPERATURE, CUTOFF, 0.02, hat_force)
    three_body, _ = found.three_body_force()
    keep = found.sampled
    np.testing.assert_allclose((found.three_body_correlation()[keep] @ values), three_body[keep], atol=1e-9)


def test_structure_alone_returns_the_pair_force(lj):
    found = measure(lj["dense"])
    force, error = found.pair_force()
    # At the wall the force bends too much for hats 0.02 nm wide.
    keep = found.sampled & (found.r > 0.35) & (found.r < 0.7)
    exact = lj_force(found.r[keep])
    assert np.sqrt(np.mean(((force[keep] - exact) / error[keep]) ** 2)) < 2.0
    inverted, _ = found.mean_force()  # what inverting g(r) alone would give
    assert np.mean((inverted[keep] - exact) ** 2) > 4 * np.mean((force[keep] - exact) ** 2)


def test_recorded_forces_close_where_pair_forces_do_not(tetrahedral):
    f = tetrahedral[2]
    assert measure(tetrahedral, forces=f).balance().passed
    assert not measure(tetrahedral).balance().passed
    three_body, error = measure(tetrahedral, forces=f).three_body_force()
    assert np.nanmax(np.abs(three_body / error)) > 10


def test_a_pair_potential_can_represent_lennard_jones_and_cannot_stillinger_weber(lj, tetrahedral):
    edge, x, f = lj["dense"]
    can = structure.pair_representability(x[::4], edge * np.eye(3), f[::4], CUTOFF, 0.02)
    assert can.verdict == "can", str(can)
    edge, x, f = tetrahedral
    cannot = structure.pair_representability(x[::3], edge * np.eye(3), f[::3], CUTOFF, 0.02)
    assert cannot.verdict == "cannot", str(cannot)
    assert cannot.gain > 10 * cannot.gain_error
    assert "cannot reproduce" in str(cannot)
    with pytest.raises(ValueError, match="at least three blocks"):
        structure.pair_representability(x[:2], edge * np.eye(3), f[:2], CUTOFF)


def test_noise_of_the_forces_does_not_change_the_verdict(lj):
    edge, x, f = lj["dense"]
    noisy = f[::4] + np.random.default_rng(1).normal(scale=2 * f.std(), size=f[::4].shape)
    found = structure.pair_representability(x[::4], edge * np.eye(3), noisy, CUTOFF, 0.02)
    assert found.verdict != "cannot"
    assert found.unexplained_pair > 0.7


def test_what_was_not_measured_is_refused(lj):
    edge, x, _ = lj["thin"]
    bare = YBG.measure(x[:10], edge * np.eye(3), TEMPERATURE, CUTOFF, 0.02)
    with pytest.raises(ValueError, match="needs `pair_force`"):
        bare.direct_force()
    with pytest.raises(ValueError, match="`forces` must have the shape"):
        YBG.measure(x[:10], edge * np.eye(3), TEMPERATURE, CUTOFF, 0.02, forces=x[:5])
