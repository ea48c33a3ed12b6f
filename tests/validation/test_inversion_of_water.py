# SPDX-License-Identifier: MIT
"""One-bead water from its g(r): TIP4P/2005 (shared data) and SPC/E (the demo's own run). Figures: docs/validation.md.

Resumable: a stopped run goes on in build/validation.
"""

from pathlib import Path

import pytest

from meanforce import structure

torch = pytest.importorskip("torch")

from meanforce.data import Trajectory  # noqa: E402
from meanforce.training import (  # noqa: E402
    IterativeBoltzmannInversion,
    LinearForceMatching,
    OpenMMSampler,
    RelativeEntropy,
)
from test_real_water import CUTOFF, TEMPERATURE, potential_of_mean_force, target_rdf, water_sampler  # noqa: E402

BUILD = Path(__file__).resolve().parents[2] / "build" / "validation"

pytestmark = pytest.mark.validation


@pytest.mark.parametrize("method", [IterativeBoltzmannInversion, RelativeEntropy])
def test_tip4p_2005(method):
    target = target_rdf()
    start = potential_of_mean_force(target, TEMPERATURE, CUTOFF, 42)
    folder = BUILD / f"tip4p2005-{method.__name__}"
    result = method(target, TEMPERATURE).fit(start, water_sampler(256, 4, 10.0), iterations=10, state=folder)
    assert result.history[0].error > 0.05
    assert result.best.error < 0.02
    height, place = structure.first_peak(result.best.distributions[0, 0])
    assert abs(place - 0.2791) < 0.002
    assert abs(height - 3.184) < 0.3


def test_spce_and_what_a_pair_potential_cannot_do():
    """Uses the atomistic run of tests/validation/test_water.py."""
    atomistic = BUILD / "water" / "atomistic.h5"
    if not atomistic.exists():
        pytest.skip("run tests/validation/test_water.py first: it records the atoms")
    with Trajectory(atomistic) as trajectory:
        frames = trajectory[:: max(1, round(0.25 / trajectory.time_step))]
    target = structure.rdf(frames.positions, frames.box, CUTOFF, 168)
    angles = structure.angle_distribution(frames.positions, frames.box)[1]

    def sampler():
        settings = {"time_step": 0.004, "equilibration": 4.0, "production": 10.0, "interval": 0.2}
        return OpenMMSampler.from_frames(frames, TEMPERATURE, replicas=4, platform="CPU", **settings)

    def angle_error(model):
        sample = sampler().sample(model)
        found = structure.angle_distribution(sample.positions[::4], sample.box)[1]
        return structure.angle_distribution_error(found, angles)

    pair = LinearForceMatching(cutoff=CUTOFF).fit(frames[::4])
    both = LinearForceMatching(cutoff=CUTOFF, three_body_range=0.37).fit(frames[::4])
    assert both.unexplained < pair.unexplained - 0.04
    method = IterativeBoltzmannInversion(target, TEMPERATURE)
    result = method.fit(pair.potential, sampler(), iterations=10, tolerance=0.01, state=BUILD / "spce-ibi")
    assert result.best.error < 0.01
    assert angle_error(result.best.potential) > 0.10
    assert angle_error(both.potential) < 0.07
