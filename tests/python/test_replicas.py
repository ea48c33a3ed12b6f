# SPDX-License-Identifier: MIT
"""CGPotential.createSystem(replicas=R): copies in one Context are what each would be alone, on every platform."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm
import pytest
from openmm import app, unit

from beads import evaluate, make_positions
from conftest import TestPlatform
from meanforce import CGPotential, export, replicas

COUNT, REPLICAS, TEMPERATURE = 24, 5, 300.0
KT = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin) * TEMPERATURE
MASSES = (18.0, 40.0)
BOXES = {"none": None, "triclinic": np.array([[1.3, 0, 0], [0.375, 1.25, 0], [-0.25, 0.25, 1.5]])}


@pytest.fixture(scope="module")
def potential(tmp_path_factory: pytest.TempPathFactory) -> CGPotential:
    """Return repulsive pairs, a moment tensor and a SchNet that depends on the temperature, in one file."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    torch.manual_seed(1)
    from meanforce.modelfile import BeadType
    from meanforce.potentials import MomentTensor, PairSpline, SchNet, Sum, products

    pairs = PairSpline(2, 0.45, 16).double()
    moments = MomentTensor(2, 0.4, channels=4, hidden=(8,), products=products(3, 4)[:3]).double()
    network = SchNet(2, 0.4, 8, 8, 2, 12, hidden=(8,), temperature_dependent=True).double()
    with torch.no_grad():
        pairs.coefficients.add_(20 * torch.relu(8.0 - torch.arange(16.0)))
        moments.layers[-1].weight.normal_()
        network.layers[-1].weight.normal_(std=3.0)
        network.layers[-1].weight[1] *= 1e-2
    model = Sum(pairs, moments, network)
    model.bead_types = [BeadType("AB"[t], "BEAD", MASSES[t]) for t in range(2)]
    path = tmp_path_factory.mktemp("model") / "model.pt"
    export(model, path)
    return CGPotential(path)


def make_topology(box: Any) -> app.Topology:
    topology = app.Topology()
    chain = topology.addChain()
    for i in range(COUNT):
        topology.addAtom("AB"[i % 2], None, topology.addResidue("BEAD", chain))
    if box is not None:
        topology.setPeriodicBoxVectors([openmm.Vec3(*row) * unit.nanometer for row in box])
    return topology


def place(box: Any) -> np.ndarray:
    """Return different positions for each replica, on top of one another, shape (R, N, 3)."""
    return np.array([make_positions(COUNT, box, seed=seed) for seed in range(REPLICAS)])


def limit(platform: TestPlatform) -> float:
    return 1e-5 if platform.name == "CPU" else platform.tolerance(1e-5, 1e-5, 1e-9)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_energies_and_forces_are_those_of_single_systems(platform: TestPlatform, potential: Any, box: Any) -> None:
    topology, places = make_topology(box), place(box)
    together = potential.createSystem(topology, TEMPERATURE, replicas=REPLICAS)
    assert together.getNumParticles() == REPLICAS * COUNT
    assert [together.getParticleMass(i)._value for i in (0, COUNT + 1)] == list(MASSES)
    assert together.usesPeriodicBoundaryConditions() == (box is not None)
    context = platform.context(together, openmm.VerletIntegrator(0.001))
    context.setPositions(places.reshape(-1, 3))
    total, forces = evaluate(context)
    energies = replicas.getEnergies(context)
    assert energies.shape == (REPLICAS,)
    assert energies.sum() == pytest.approx(total, rel=1e-6)

    single = platform.context(potential.createSystem(topology, TEMPERATURE), openmm.VerletIntegrator(0.001))
    for replica, positions in enumerate(places):
        single.setPositions(positions)
        energy, expected = evaluate(single)
        assert energies[replica] == pytest.approx(energy, rel=limit(platform))
        assert rms(forces[replica * COUNT : (replica + 1) * COUNT] - expected) < limit(platform) * rms(expected)

    if box is not None:
        return
    # The control: the same beads in one replica see one another.
    blind = potential.createSystem(replicas.copyTopology(topology, REPLICAS), TEMPERATURE)
    mixed = platform.context(blind, openmm.VerletIntegrator(0.001))
    mixed.setPositions(places.reshape(-1, 3))
    assert rms(evaluate(mixed)[1] - forces) > rms(forces)


def test_a_replica_moves_as_it_would_alone(platform: TestPlatform, potential: Any) -> None:
    """Whatever the others do: one of them starts hot."""
    box = BOXES["triclinic"]
    topology, start = make_topology(box), make_positions(COUNT, box, distance=0.28)
    velocities = 0.3 * np.random.default_rng(2).normal(size=(3, COUNT, 3))
    velocities[2] *= 2.0
    ends = []
    for copies in (3, 1):
        context = platform.context(
            potential.createSystem(topology, TEMPERATURE, replicas=copies), openmm.VerletIntegrator(0.002)
        )
        context.setPositions(replicas.copyPositions(start, copies))
        context.setVelocities(velocities[:copies].reshape(-1, 3))
        context.getIntegrator().step(100)
        ends.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    assert rms(ends[0][:COUNT] - start) > 0.03
    assert rms(ends[0][:COUNT] - ends[1]) < platform.tolerance(1e-4, 1e-4, 1e-5 if platform.name == "CPU" else 1e-9)


@pytest.mark.parametrize("box", BOXES)
def test_langevin_trajectories_are_uncorrelated(platform: TestPlatform, potential: Any, box: str) -> None:
    """Replicas that start in the same place at rest forget it: the noise of each is its own."""
    topology, start = make_topology(BOXES[box]), make_positions(COUNT, BOXES[box], distance=0.28)
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 20.0, 0.004)
    integrator.setRandomNumberSeed(3)
    system = potential.createSystem(topology, TEMPERATURE, replicas=REPLICAS)
    if box == "none":  # beads would evaporate
        well = openmm.CustomExternalForce("50*(x^2+y^2+z^2)")
        for i in range(system.getNumParticles()):
            well.addParticle(i)
        system.addForce(well)
        start = start - start.mean(0)
    context = platform.context(system, integrator)
    context.setPositions(replicas.copyPositions(start, REPLICAS))
    forces = context.getState(forces=True).getForces(asNumpy=True)._value.reshape(REPLICAS, -1)
    assert np.corrcoef(forces).min() > 0.999  # what copies are that do the same
    integrator.step(100)
    frames = []
    for _ in range(40):
        integrator.step(15)
        state = context.getState(velocities=True, forces=True)
        frames.append([state.getVelocities(asNumpy=True)._value, state.getForces(asNumpy=True)._value])
    velocities, forces = np.reshape(frames, (len(frames), 2, REPLICAS, COUNT, 3)).swapaxes(0, 1)
    scaled = np.sqrt(np.tile(MASSES, COUNT // 2) / KT)[:, None] * velocities
    assert np.mean(scaled**2) == pytest.approx(1.0, abs=8 / np.sqrt(scaled.size))
    for found in (scaled, forces / rms(forces)):
        different, standard_error = correlate_replicas(found)
        assert standard_error < 0.04
        assert np.abs(different).max() < 4.5 * standard_error  # of ten pairs
        # The control: noise of which a quarter is shared.
        shared = found + 0.5 * found[:, :1]
        different, standard_error = correlate_replicas(shared / rms(shared))
        assert np.abs(different).max() > 4.5 * standard_error


def correlate_replicas(values: np.ndarray, blocks: int = 8) -> tuple[np.ndarray, float]:
    """Return the correlation of each pair of replicas, from values of shape (frames, R, N, 3), and its standard error.

    The error is that of blocks of frames, and the mean over pairs. Values of one frame are not as many samples: the
    forces on neighbours are opposite, and large forces come together. With the error of independent samples, the
    correlations of forces of ten systems in Contexts of their own scatter by 1.33 errors, up to 3.5.
    """
    products = np.einsum("frnx,fsnx->frs", values, values) / values[0, 0].size
    pairs = products[:, *np.triu_indices(REPLICAS, 1)]
    means = pairs.reshape(blocks, -1, pairs.shape[1]).mean(1)
    return means.mean(0), float(np.sqrt(np.mean(means.var(0, ddof=1)) / blocks))
