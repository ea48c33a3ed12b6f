# SPDX-License-Identifier: MIT
"""Dynamics without a thermostat keep the energy: forces are gradients all along a path, on Reference and CPU."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import openmm
import pytest

import nve
from beads import Maker, make_positions, make_system, repulsion
from families import FAMILIES
from meanforce import CGPotential, export

COUNT, BOX = 40, np.diag([1.25, 1.25, 1.5])
PLATFORMS = ("Reference", "CPU")


def error_growth(make: Maker, platform: str, turn: float = 0.0) -> float:
    """Return how many times larger the energy's error gets along one path if the step is doubled."""
    system = make_system(make(np.arange(COUNT) % 2, True), COUNT, BOX)
    system.addForce(repulsion(COUNT))
    start = nve.equilibrate(system, make_positions(COUNT, BOX), 1.0)
    errors = []
    for step in (0.002, 0.001):
        context = nve.new_context(copy.deepcopy(system), nve.velocity_verlet(step, turn), platform, start)
        # A tenth of a picosecond: paths with different steps stay together.
        errors.append(np.std(nve.total_energies(context, 50, round(0.002 / step))))
    return float(errors[0] / errors[1])


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)
def test_velocity_verlet_is_of_second_order(make: Maker, name: str) -> None:
    assert error_growth(make, name) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)
def test_forces_that_are_no_gradient_do_not_conserve_energy(make: Maker) -> None:
    assert error_growth(make, "CPU", turn=0.03) < 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> CGPotential:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    model, unexplained = nve.train_chain(torch, frames=120, epochs=12)
    assert unexplained < 0.6
    path = tmp_path_factory.mktemp("model") / "chain.pt"
    export(model, path)
    return CGPotential(path)


@pytest.mark.parametrize("filters", ["tabulated", "exact"])
@pytest.mark.parametrize("name", PLATFORMS)
def test_a_stiff_molecule_with_a_trained_network_keeps_its_energy(trained: Any, name: str, filters: str) -> None:
    """Over 5 to 15 ps; tests/validation/test_energy_drift.py has the longer runs that the real limit needs."""
    samples = 500 if (name, filters) == ("Reference", "exact") else 1500
    system = nve.chain_system(trained.createForces(nve.CHAIN, filters=filters))
    start = nve.equilibrate(system, nve.chain_start(), 10.0)

    def is_small(integrator: openmm.Integrator, samples: int) -> bool:
        energies = nve.total_energies(nve.new_context(system, integrator, name, start), samples, 5)
        drift = nve.fit_drift(energies, 5 * nve.STEP, nve.CHAIN_DOFS, blocks=20)
        print(name, filters, drift)
        return drift.is_below(80 * nve.DRIFT)

    assert is_small(openmm.VerletIntegrator(nve.STEP), samples)
    assert not is_small(nve.velocity_verlet(nve.STEP, nve.TURN), 500)
