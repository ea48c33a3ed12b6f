# SPDX-License-Identifier: MIT
"""Iterative Boltzmann inversion, inverse Monte Carlo, relative entropy: a known potential comes back from its own g(r).

Two beads in a box, whose configurations are drawn exactly, test each formula; small liquids in OpenMM test the whole.
"""

from __future__ import annotations

import numpy as np
import pytest

from meanforce import structure
from meanforce.data import Frames

torch = pytest.importorskip("torch")

from meanforce.potentials import HarmonicBonds, MomentTensor, PairSpline, Sum, energies_and_forces  # noqa: E402
from meanforce.training import (  # noqa: E402
    InverseMonteCarlo,
    IterativeBoltzmannInversion,
    OpenMMSampler,
    RelativeEntropy,
    Sample,
    target_distributions,
)
from meanforce.training.iteration import Seen, pressure_ramp  # noqa: E402
from meanforce.training.splinebasis import with_coefficients  # noqa: E402
from meanforce.training.splinesums import expected_sums, spline_sums  # noqa: E402

TEMPERATURE = 300.0
KT = structure.GAS_CONSTANT * TEMPERATURE
CUTOFF, FUNCTIONS = 0.6, 15
METHODS = {"IBI": IterativeBoltzmannInversion, "IMC": InverseMonteCarlo, "relative entropy": RelativeEntropy}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def lennard_jones(num_types: int = 1, epsilon: float = 2.0) -> PairSpline:
    """Return splines near Lennard-Jones potentials of diameters 0.3 nm and 0.26 nm, with straight cores."""
    potential = PairSpline(num_types, CUTOFF, FUNCTIONS).double()
    for t in range(num_types):
        for s in range(t + 1):
            sigma = 0.3 - 0.02 * (s + t)
            r = np.linspace(0.82 * sigma, CUTOFF, 300, endpoint=False)
            fade = np.clip((r - 0.42) / (CUTOFF - 0.42), 0, 1)
            u = 4 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6) * (1 - fade**3 * (10 - 15 * fade + 6 * fade**2))
            start = int(r[0] / potential.basis.spacing)
            with torch.no_grad():
                values = potential.basis(torch.from_numpy(r)).numpy()[:, start:]
            weights = 1 / (1 + np.abs(u))
            c = np.zeros(FUNCTIONS)
            c[start:] = np.linalg.lstsq(values * weights[:, None], u * weights, rcond=None)[0]
            c[:start] = c[start] + (c[start] - c[start + 1]) * np.arange(start, 0, -1)
            with torch.no_grad():
                potential.coefficients[potential.pair_index(s, t)] = torch.from_numpy(c)
    return potential


def u_of(potential: PairSpline, r: np.ndarray, row: int = 0) -> np.ndarray:
    with torch.no_grad():
        return (potential.basis(torch.from_numpy(r)) @ potential.coefficients[row]).numpy()


# ----------------------------------------------------------------------------------- two beads, exactly sampled
class TwoBeads:
    """A Sampler of two beads in a periodic cube, by exact inversion of the distribution of their distance."""

    def __init__(self, count: int = 2000, edge: float = 1.3, seed: int = 1) -> None:
        self.temperature, self.types, self.box = TEMPERATURE, np.zeros(2, dtype=int), edge * np.eye(3)
        self._count, self._seed, self.samples = count, seed, 0

    def sample(self, model) -> Sample:
        rng = np.random.default_rng((self._seed, self.samples))
        self.samples += 1
        edge = self.box[0, 0]
        grid = np.linspace(0.05, 0.65, 1201)
        x = np.zeros((len(grid), 2, 3))
        x[:, 1, 0] = grid
        energies = energies_and_forces(model, x, self.types, self.box, forces=False)[0]
        density = 4 * np.pi * grid**2 * np.exp(-energies / KT)
        within = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(grid))])
        total = within[-1] + edge**3 - 4 / 3 * np.pi * 0.65**3
        place = total * (np.arange(self._count) + rng.random(self._count)) / self._count  # one in each stratum
        r = np.where(place < within[-1], np.interp(place, within, grid), 0.0)
        positions = np.zeros((self._count, 2, 3))
        positions[:, 1] = np.where(r[:, None] > 0, r[:, None] * [1, 0, 0], edge / 2)  # in a corner: beyond any cutoff
        return Sample(positions[rng.permutation(self._count)], self.box, self.types, TEMPERATURE)

    def state(self):
        return {"samples": np.array(self.samples)}

    def restore(self, state):
        self.samples = int(state["samples"])


@pytest.fixture(scope="module")
def two_beads():
    """The truth, its configurations, and a potential to start from."""
    truth = lennard_jones()
    sample = TwoBeads(count=8000, seed=9).sample(truth)
    frames = Frames(sample.positions, sample.box, types=sample.types)
    start = with_coefficients(truth, truth.coefficients.detach().numpy() * 0.5)
    return truth, frames, start


def mistake(truth, found) -> float:
    """Return the mean error of the potential where beads meet, in kT, per g(r) of the truth."""
    r = np.linspace(0.27, 0.58, 60)
    weights = np.exp(-u_of(truth, r) / KT) * r**2
    return float(np.average(np.abs(u_of(found, r) - u_of(truth, r)), weights=weights) / KT)


@pytest.mark.parametrize("name", METHODS)
def test_two_beads_get_their_potential_back(two_beads, name):
    truth, frames, start = two_beads
    target = frames if name == "relative entropy" else target_distributions(frames, CUTOFF, 60)[0, 0]

    settings = {"r_max": CUTOFF, "bins": 60} if name == "relative entropy" else {}
    before = mistake(truth, start)

    def final(kT, iterations):
        method = METHODS[name](target, TEMPERATURE, **settings)
        method._kT = kT
        return mistake(truth, method.fit(start, TwoBeads(), iterations=iterations).potential)

    assert before > 0.1
    assert final(KT, 3) < 0.2 * before
    # Deliberately wrong: kT forgotten, the sign wrong.
    assert final(1.0, 1) > 0.4 * before
    assert final(-KT, 1) > before


def test_a_network_learns_by_relative_entropy(two_beads):
    """The network starts from nothing beside a wrong pair potential, which stays."""
    truth, frames, start = two_beads
    torch.manual_seed(3)
    network = MomentTensor(1, 0.55, max_l=0, channels=4, radial_functions=10, hidden=(8,)).double()
    settings = {"r_max": CUTOFF, "bins": 60, "learning_rate": 0.01, "updates": 12, "target_batch": 4000}
    method = RelativeEntropy(frames, TEMPERATURE, **settings)
    result = method.fit(network, TwoBeads(count=600), fixed=start, iterations=7)
    assert all(step.details["ess"] > 0.5 for step in result.history)
    reversed_sign = RelativeEntropy(frames, TEMPERATURE, **settings)
    reversed_sign._kT = -KT
    contact = np.array([[[0, 0, 0], [0.32, 0, 0]], [[0, 0, 0], [0.5, 0, 0]]])

    def well(model):
        energies = energies_and_forces(model, contact, [0, 0], forces=False)[0]
        return energies[0] - energies[1]

    assert well(result.history[1].potential) < well(network)  # the target has the deeper well
    assert well(reversed_sign.fit(network, TwoBeads(count=600), fixed=start, iterations=1).potential) > well(network)

    def error(model):
        sample = TwoBeads(count=4000, seed=4).sample(model)
        found = structure.rdf(sample.positions, sample.box, CUTOFF, 60)
        return structure.rdf_error(found, structure.rdf(frames.positions, frames.box, CUTOFF, 60), CUTOFF)

    assert error(Sum(result.potential, start)) < 0.65 * error(Sum(network, start))
    assert error(truth) < 0.3 * error(Sum(network, start))


def test_reweighting_stops_where_the_sample_ends(two_beads):
    _, frames, start = two_beads
    strict, lax = (
        RelativeEntropy(frames, TEMPERATURE, minimum_ess=ess, r_max=CUTOFF, learning_rate=0.05, updates=40)
        for ess in (0.98, 0.5)
    )
    torch.manual_seed(3)
    network = MomentTensor(1, 0.55, max_l=0, channels=4, radial_functions=10, hidden=(8,)).double()
    one = strict.fit(network, TwoBeads(count=1000), fixed=start, iterations=1).history[0].details
    two = lax.fit(network, TwoBeads(count=1000), fixed=start, iterations=1).history[0].details
    assert one["updates"] < two["updates"]
    assert two["ess"] < one["ess"] + 0.5


# ------------------------------------------------------------------------------------------------------- the pieces
def liquid_rdf(shift: float = 0.0) -> structure.RDF:
    r = np.arange(0.0025, 0.9, 0.005)
    core = 1 / (1 + np.exp(-(r - 0.26 - shift) / 0.008))
    return structure.RDF(r, core * (1 + 1.5 * np.exp(-(((r - 0.3) / 0.05) ** 2))), 0 * r)


def repulsive_spline() -> PairSpline:
    """Return a pair potential with a straight core, as force matching makes it."""
    potential = PairSpline(1, 0.9, 45).double()
    k = np.arange(45)
    c = 5 * np.exp(-(((k - 13) / 6.0) ** 2))
    c[:13] = c[13] + (13 - k[:13]) * 60.0
    with torch.no_grad():
        potential.coefficients[0] = torch.from_numpy(c)
    return potential


def test_ibi_leaves_the_right_potential_alone():
    target = liquid_rdf()
    potential = repulsive_spline()
    updated = IterativeBoltzmannInversion(target, 298.0).update(potential, {(0, 0): target})
    np.testing.assert_allclose(
        updated.coefficients.detach().numpy(), potential.coefficients.detach().numpy(), atol=1e-10
    )


def test_ibi_correction_is_kT_ln_of_the_ratio():
    """Where the model has too many pairs the potential must rise, by kT ln(g_model / g_target)."""
    target = liquid_rdf()
    bump = np.exp(-(((target.r - 0.45) / 0.06) ** 2))
    found = structure.RDF(target.r, target.g * np.exp(0.3 * bump), target.standard_error)
    potential = repulsive_spline()
    for alpha in (1.0, 0.5):
        updated = IterativeBoltzmannInversion(target, 298.0, alpha=alpha).update(potential, {(0, 0): found})
        change = (updated.knot_values(0)[1] - potential.knot_values(0)[1])[15:]
        r = updated.knot_values(0)[0][15:]
        expected = alpha * 0.00831446 * 298.0 * 0.3 * np.exp(-(((r - 0.45) / 0.06) ** 2))
        np.testing.assert_allclose(change, expected, atol=0.01)


def test_ibi_keeps_the_core_straight_and_repulsive():
    target, found = liquid_rdf(), liquid_rdf(shift=0.01)
    updated = IterativeBoltzmannInversion(target, 298.0).update(repulsive_spline(), {(0, 0): found})
    r, u = updated.knot_values(0)
    assert np.all(np.diff(u[r < 0.24]) < 0)


def test_sums_of_splines_are_derivatives_of_the_energy():
    rng = np.random.default_rng(2)
    potential = PairSpline(2, 0.5, 8).double()
    x, types, box = rng.uniform(0, 1.2, (3, 20, 3)), rng.integers(0, 2, 20), 1.2 * np.eye(3)
    sums = spline_sums(potential, x, types, box)
    for k in (0, 7, 13, 23):
        with torch.no_grad():
            potential.coefficients.zero_().view(-1)[k] = 1.0
        np.testing.assert_allclose(sums[:, k], energies_and_forces(potential, x, types, box)[0], atol=1e-10)


def test_expected_sums_are_those_of_the_frames():
    rng = np.random.default_rng(3)
    x, types, box = rng.uniform(0, 1.2, (400, 20, 3)), np.arange(20) % 2, 1.2 * np.eye(3)
    potential = PairSpline(2, 0.6, 8).double()
    targets = target_distributions(Frames(x, box, types=types), 0.6, 300)
    expected = expected_sums(potential, targets, types, box)
    np.testing.assert_allclose(expected, spline_sums(potential, x, types, box).mean(axis=0), rtol=2e-3, atol=1e-3)
    with pytest.raises(ValueError, match=r"ends at 0\.5 nm, before the cutoff of 0\.6 nm"):
        expected_sums(potential, target_distributions(Frames(x, box, types=types), 0.5, 100), types, box)


def test_pressure_ramp_takes_the_excess_out():
    """By the virial of the frames: 1 / (3 V) <sum r u'> changes by what was asked for."""
    rng = np.random.default_rng(5)
    x, box = rng.uniform(0, 1.4, (100, 60, 3)), 1.4 * np.eye(3)
    sample = Sample(x, box, np.zeros(60, dtype=int), TEMPERATURE)
    potential = PairSpline(1, 0.65, 40).double()
    targets = {(0, 0): structure.rdf(x, box, 0.65, 130)}
    change = with_coefficients(potential, pressure_ramp(potential, 30.0, targets, sample, KT))
    assert sample.pressure(change)[0] - sample.pressure(potential)[0] == pytest.approx(-30.0, rel=0.05)
    assert np.abs(pressure_ramp(potential, 1e6, targets, sample, KT)).max() < 0.2 * KT


def test_pressure_of_an_ideal_gas_and_of_a_known_virial():
    rng = np.random.default_rng(6)
    box = 1.4 * np.eye(3)
    sample = Sample(rng.uniform(0, 1.4, (50, 30, 3)), box, np.zeros(30, dtype=int), TEMPERATURE)
    blank = PairSpline(1, 0.6, 8).double()
    ideal = 30 * KT / 1.4**3 * 16.6053906717
    assert sample.pressure(blank)[0] == pytest.approx(ideal)
    potential = lennard_jones(epsilon=0.5)
    forces = energies_and_forces(potential, sample.positions, sample.types, box)[1]
    assert np.abs(forces.sum(axis=1)).max() < 1e-6
    virial = []
    for x in sample.positions:
        _, _, d = structure.pairs_within(x, box, CUTOFF)
        r = np.linalg.norm(d, axis=1)
        slopes = (u_of(potential, r + 1e-6) - u_of(potential, r - 1e-6)) / 2e-6
        virial.append(-np.sum(r * slopes))
    expected = (30 * KT + np.mean(virial) / 3) / 1.4**3 * 16.6053906717
    assert sample.pressure(potential)[0] == pytest.approx(expected, rel=1e-3)


# ------------------------------------------------------------------------------------------------- liquids in OpenMM
def liquid_sampler(num_types: int = 1, seed: int = 1, production: float = 8.0) -> OpenMMSampler:
    side, edge = 4, 1.65
    x = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3) * edge / side
    return OpenMMSampler(
        x,
        TEMPERATURE,
        box=edge * np.eye(3),
        types=np.arange(64) % num_types,
        replicas=4,
        time_step=0.005,
        friction=5.0,
        equilibration=1.5,
        production=production,
        interval=0.16,
        platform="CPU",
        threads=1,
        seed=seed,
    )


@pytest.fixture(scope="module", params=[1, 2], ids=["one type", "two types"])
def liquid(request):
    truth = lennard_jones(request.param)
    sampler = liquid_sampler(request.param, seed=77, production=24.0)
    sample = sampler.sample(truth)
    frames = Frames(sample.positions, sample.box, types=sample.types)
    return truth, frames, target_distributions(frames, CUTOFF, 60), sample.pressure(truth, 4)


@pytest.mark.parametrize("name", METHODS)
def test_liquids_get_their_potential_back(liquid, name):
    truth, _, targets, _ = liquid
    start = with_coefficients(truth, 0.5 * truth.coefficients.detach().numpy())
    sampler = liquid_sampler(truth.num_types, production=8.0 * truth.num_types)  # each pair of types has fewer pairs
    result = METHODS[name](targets, TEMPERATURE).fit(start, sampler, iterations=5)
    errors = [step.error for step in result.history]
    noise = np.mean([g.standard_error.mean() for g in result.history[-1].distributions.values()])
    assert errors[0] > 1.5 * noise
    assert errors[-1] < 2 * noise
    r = np.linspace(0.27, 0.5, 50)
    for row in range(len(truth.coefficients)):
        weights = np.exp(-u_of(truth, r, row) / KT) * r**2
        wrong = np.average(np.abs(u_of(result.potential, r, row) - u_of(truth, r, row)), weights=weights)
        assert wrong < 0.2 * KT
        assert wrong < 0.7 * np.average(np.abs(0.5 * u_of(truth, r, row)), weights=weights)
    assert result.best.error == min(errors)


def test_pressure_comes_back_too(liquid):
    """Starting from a potential with the right g(r) but for its tail, whose pressure is wrong."""
    truth, _, targets, (pressure, error) = liquid
    if truth.num_types > 1:
        pytest.skip("one type is enough")
    shifted = truth.coefficients.detach().numpy().copy()
    shifted[0, 8:] -= 0.3 * KT * np.linspace(1, 0, FUNCTIONS - 8)
    start = with_coefficients(truth, shifted)
    method = IterativeBoltzmannInversion(targets, TEMPERATURE, pressure=pressure, pressure_fraction=0.7)
    result = method.fit(start, liquid_sampler(), iterations=5)
    pressures = [step.pressure for step in result.history]
    assert abs(pressures[0] - pressure) > 8 * error
    assert abs(np.mean(pressures[-2:]) - pressure) < 0.4 * abs(pressures[0] - pressure)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("name", METHODS)
def test_a_killed_fit_goes_on_exactly(two_beads, name, tmp_path):
    _, frames, start = two_beads
    target = frames[:1000] if name == "relative entropy" else target_distributions(frames, CUTOFF, 60)
    method = METHODS[name](target, TEMPERATURE, **({"r_max": CUTOFF} if name == "relative entropy" else {}))
    expected = method.fit(start, TwoBeads(500), iterations=4)

    def kill(done, total, step):
        if done == 2:
            raise KilledError

    with pytest.raises(KilledError):
        method.fit(start, TwoBeads(500), iterations=4, state=tmp_path / "run", progress=kill)
    found = method.fit(start, TwoBeads(500), iterations=4, state=tmp_path / "run")
    assert torch.equal(found.potential.coefficients, expected.potential.coefficients)
    assert [step.error for step in found.history] == [step.error for step in expected.history]
    assert torch.equal(found.history[1].potential.coefficients, expected.history[1].potential.coefficients)
    other = METHODS[name](target, TEMPERATURE + 1, **({"r_max": CUTOFF} if name == "relative entropy" else {}))
    sampler = TwoBeads(500)
    sampler.temperature += 1
    with pytest.raises(ValueError, match="holds a run with other settings"):
        other.fit(start, sampler, state=tmp_path / "run")
    with pytest.raises(ValueError, match="the sampler runs at 300"):
        other.fit(start, TwoBeads(500))


def test_a_killed_network_fit_goes_on_exactly(two_beads, tmp_path):
    _, frames, start = two_beads

    def fit(**settings):
        torch.manual_seed(3)
        network = MomentTensor(1, 0.55, max_l=0, channels=2, radial_functions=6, hidden=(4,)).double()
        method = RelativeEntropy(frames[:500], TEMPERATURE, r_max=CUTOFF, learning_rate=0.02, updates=4)
        return method.fit(network, TwoBeads(300), fixed=start, iterations=4, **settings).potential

    def kill(done, total, step):
        if done == 3:
            raise KilledError

    expected = fit()
    with pytest.raises(KilledError):
        fit(state=tmp_path / "run", progress=kill)
    found = fit(state=tmp_path / "run")
    for a, b in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.equal(a, b)


def test_sampler_repeats_itself_from_a_state():
    truth = lennard_jones()
    first = liquid_sampler(production=0.8)
    first.sample(truth)
    state = first.state()
    expected = first.sample(truth)
    second = liquid_sampler(production=0.8)
    second.restore(state)
    assert np.array_equal(second.sample(truth).positions, expected.positions)
    assert expected.positions.shape == (4 * 5, 64, 3)
    with pytest.raises(ValueError, match="not of"):
        OpenMMSampler(np.zeros((3, 3)), 300.0, platform="CPU").restore(state)


def test_sampler_finds_the_width_of_a_bond():
    bond = HarmonicBonds(1, [(0, 0)], [500.0], [0.5])
    sampler = OpenMMSampler(
        [[0, 0, 0], [0.5, 0, 0.0]],
        TEMPERATURE,
        bonds=[(0, 1)],
        replicas=32,
        time_step=0.01,
        production=60.0,
        equilibration=2.0,
        interval=1.0,
        friction=3.0,
        platform="Reference",
    )
    bond.set_bonds([0, 0], [(0, 1)])
    sample = sampler.sample(bond)
    r = np.linalg.norm(sample.positions[:, 1] - sample.positions[:, 0], axis=1)
    grid = np.linspace(0.1, 0.9, 4000)
    p = grid**2 * np.exp(-0.5 * 500 * (grid - 0.5) ** 2 / KT)
    mean = np.sum(p * grid) / p.sum()
    spread = np.sqrt(np.sum(p * (grid - mean) ** 2) / p.sum())
    assert len(r) == 32 * 60
    assert np.mean(r) == pytest.approx(mean, abs=5 * spread / np.sqrt(len(r)))
    assert np.std(r) == pytest.approx(spread, rel=5 / np.sqrt(2 * len(r)))


def test_sampler_refuses_what_it_cannot_run():
    with pytest.raises(ValueError, match=r"`positions` must have shape \(n, 3\) or \(2, n, 3\), got \(3, 4, 3\)"):
        OpenMMSampler(np.zeros((3, 4, 3)), 300.0, replicas=2)
    with pytest.raises(ValueError, match="`friction` must be positive"):
        OpenMMSampler(np.zeros((4, 3)), 300.0, friction=0.0)
    stiff = HarmonicBonds(1, [(0, 0)], [1e6], [0.3])
    stiff.set_bonds([0, 0], [(0, 1)])
    sampler = OpenMMSampler(
        [[0, 0, 0], [0.31, 0, 0]], 300.0, bonds=[(0, 1)], time_step=0.05, equilibration=50.0, platform="Reference"
    )
    with pytest.raises(ValueError, match="became unstable between 0 and 50 ps: a smaller `time_step`"):
        sampler.sample(stiff)


def test_settings_out_of_range_are_refused():
    target = liquid_rdf()
    with pytest.raises(ValueError, match="must lie in"):
        IterativeBoltzmannInversion(target, 298.0, alpha=0.0)
    with pytest.raises(ValueError, match="`minimum_ess` must lie between 0 and 1"):
        RelativeEntropy(target, 298.0, minimum_ess=1.0)
    method = RelativeEntropy(target, 298.0)
    seen = Seen(repulsive_spline(), TwoBeads(10).sample(lennard_jones()), {})
    with pytest.raises(ValueError, match="needs Frames as target"):
        method.correct(MomentTensor(1, 0.5, channels=2), seen)
