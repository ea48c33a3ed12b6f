# SPDX-License-Identifier: MIT
"""One-bead water from the g(r) of TIP4P/2005, where the shared data are present; short. See tests/validation."""

from __future__ import annotations

import numpy as np
import pytest

from meanforce import structure
from shared_data import shared_folder

torch = pytest.importorskip("torch")

from meanforce.potentials import PairSpline  # noqa: E402
from meanforce.training import IterativeBoltzmannInversion, OpenMMSampler  # noqa: E402
from meanforce.training.splinebasis import with_coefficients, with_repulsive_core  # noqa: E402

TEMPERATURE = 298.0
DENSITY = 33.37  # molecules per nm^3, of the box in the shared folder
CUTOFF = 0.84


def target_rdf() -> structure.RDF:
    r, g = np.loadtxt(shared_folder("tip4p2005_water") / "TIP4P-2005_300_COM_RDF.csv").T
    return structure.RDF(r, g, np.zeros_like(g))


def potential_of_mean_force(target: structure.RDF, temperature: float, cutoff: float, functions: int) -> PairSpline:
    """Return -kT ln g as a pair spline, where inversions start."""
    template = PairSpline(1, cutoff, functions).double()
    sampled = (target.g > 0.02) & (target.r < cutoff)
    w = structure.boltzmann_inversion(target, temperature)[sampled]
    start = int(target.r[sampled][0] / template.basis.spacing)
    with torch.no_grad():
        values = template.basis(torch.from_numpy(target.r[sampled])).numpy()[:, start:]
    c = np.zeros(functions)
    c[start:] = np.linalg.lstsq(values, w, rcond=1e-3)[0]
    return with_coefficients(template, with_repulsive_core(c, start)[None])


def water_sampler(molecules: int, replicas: int, production: float, platform: str = "CPU") -> OpenMMSampler:
    edge, side = (molecules / DENSITY) ** (1 / 3), int(np.ceil(molecules ** (1 / 3)))
    lattice = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)[:molecules]
    return OpenMMSampler(
        lattice * edge / side,
        TEMPERATURE,
        box=edge * np.eye(3),
        replicas=replicas,
        time_step=0.004,
        equilibration=3.0,
        production=production,
        interval=0.2,
        platform=platform,
        threads=1,
    )


def test_the_target_is_water():
    height, place = structure.first_peak(target_rdf())
    assert height == pytest.approx(3.184, abs=0.01)
    assert place == pytest.approx(0.2791, abs=0.002)


def test_three_corrections_bring_water_near():
    torch.set_num_threads(1)
    target = target_rdf()
    start = potential_of_mean_force(target, TEMPERATURE, CUTOFF, 42)
    method = IterativeBoltzmannInversion(target, TEMPERATURE)
    history = method.fit(start, water_sampler(176, 2, 4.0), iterations=4).history
    errors = [step.error for step in history]
    assert errors[0] > 0.05  # the potential of mean force is not a pair potential
    assert errors[-1] < 0.04  # 0.02 takes longer runs
    height, place = structure.first_peak(history[-1].distributions[0, 0])
    assert abs(place - 0.2791) < 0.004
    assert abs(height - 3.184) < 0.5
