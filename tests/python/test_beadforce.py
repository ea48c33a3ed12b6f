# SPDX-License-Identifier: MIT
"""What all potentials share: dependence on temperature, replicas, checks."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import openmm
import pytest
from openmm import unit

import meanforce
from meanforce import replicas

T = 310.0
CUTOFF = 0.5
PARAMETER = meanforce.MomentTensorForce.TemperatureParameter()
KJ = unit.kilojoule_per_mole


def network_force(outputs: int, seed: int = 1) -> meanforce.MomentTensorForce:
    """Return a MomentTensorForce of two types without particles, with random parameters."""
    rng = np.random.default_rng(seed)
    force = meanforce.MomentTensorForce(2, CUTOFF, 2, 3)
    force.setFilters(CUTOFF / 8, rng.normal(size=(8, 3, 3)))
    force.setTypeWeights(rng.normal(size=(2, 3)))
    for inputs, out in itertools.pairwise((force.getNumFeatures(), 9, outputs)):
        force.addLayer(rng.normal(size=(2, out, inputs)) / np.sqrt(inputs), rng.normal(size=(2, out)))
    return force


def temperature_dependent(types: list[int]) -> meanforce.MomentTensorForce:
    force = network_force(2)
    force.setTemperatureDependent(True)
    force.setDefaultTemperature(T)
    force.setOffset([3.0, -0.02, 0.004, 1e-5])
    force.addEnergyParameterDerivative(PARAMETER)
    for bead_type in types:
        force.addParticle(bead_type)
    return force


def cluster(count: int, seed: int = 2) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)[:count]
    return 0.28 * (grid + rng.uniform(-0.2, 0.2, grid.shape)), [int(t) for t in rng.integers(0, 2, count)]


def system_of(force, box=None) -> openmm.System:
    system = openmm.System()
    for _ in range(force.getNumParticles()):
        system.addParticle(20.0)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*np.diag([box] * 3))
    system.addForce(force)
    return system


def context_of(force, platform, integrator=None, box=None) -> openmm.Context:
    return platform.context(system_of(force, box), integrator or openmm.VerletIntegrator(0.001))


def test_two_readouts_are_two_potentials(platform):
    """U(x; T) = A - T B + C(T), where A and B are potentials with the weights of one readout each."""
    positions, types = cluster(20)
    force = temperature_dependent(types)
    parts = []
    for readout in range(2):
        part = network_force(2)
        weights, biases = part.getLayerParameters(1)
        single = network_force(1)
        single.setLayerParameters(0, *part.getLayerParameters(0))
        single.setLayerParameters(1, weights[:, readout : readout + 1], biases[:, readout : readout + 1])
        for bead_type in types:
            single.addParticle(bead_type)
        context = context_of(single, platform)
        context.setPositions(positions)
        state = context.getState(energy=True, forces=True)
        parts.append((state.getPotentialEnergy() / KJ, state.getForces(asNumpy=True)._value))
    context = context_of(force, platform)
    context.setPositions(positions)
    for temperature in (T, 250.0):
        context.setParameter(PARAMETER, temperature)
        state = context.getState(energy=True, forces=True, parameterDerivatives=True)
        offset = 3.0 - 0.02 * temperature + 0.004 * temperature * np.log(temperature) + 1e-5 * temperature**2
        slope = -0.02 + 0.004 * (np.log(temperature) + 1) + 2e-5 * temperature
        (a, force_a), (b, force_b) = parts
        scale = abs(a) + temperature * abs(b)
        assert state.getPotentialEnergy() / KJ == pytest.approx(a - temperature * b + offset, abs=2e-5 * scale)
        assert state.getEnergyParameterDerivatives()[PARAMETER] == pytest.approx(-b + slope, abs=2e-5 * abs(b))
        expected = force_a - temperature * force_b
        rms = np.sqrt(np.mean(expected**2))
        assert np.abs(state.getForces(asNumpy=True)._value - expected).max() < 5e-5 * rms
        # A wrong sign of T B would be seen.
        assert np.abs(force_a + temperature * force_b - expected).max() > 0.1 * rms


def test_derivative_by_finite_differences(platform):
    positions, types = cluster(20)
    context = context_of(temperature_dependent(types), platform)
    context.setPositions(positions)
    derivative = context.getState(parameterDerivatives=True, energy=True).getEnergyParameterDerivatives()[PARAMETER]
    energies = []
    for temperature in (T - 20, T + 20):
        context.setParameter(PARAMETER, temperature)
        energies.append(context.getState(energy=True).getPotentialEnergy() / KJ)
    # C(T) is all that is not linear, and its third derivative is 1e-8.
    assert (energies[1] - energies[0]) / 40 == pytest.approx(derivative, rel=1e-4)


def test_dynamics_at_another_temperature_is_an_error(platform):
    positions, types = cluster(20)
    integrator = openmm.LangevinMiddleIntegrator(T + 10, 1.0, 0.001)
    context = context_of(temperature_dependent(types), platform, integrator)
    context.setPositions(positions)
    context.getState(energy=True)  # an energy at any temperature is fine
    with pytest.raises(
        openmm.OpenMMException, match=r"must run at the temperature of the potential.*310 K, found 320 K"
    ):
        integrator.step(1)
    integrator.setTemperature(T)
    integrator.step(1)
    context.setParameter(PARAMETER, -1.0)
    with pytest.raises(openmm.OpenMMException, match="must be positive"):
        integrator.step(1)


def test_gle_and_compound_integrators_are_checked(platform):
    positions, types = cluster(20)
    kernel = meanforce.MemoryKernel.prony([10.0], [0.5])
    for make in (
        lambda temperature: meanforce.GLEIntegrator(temperature, kernel, 0.001),
        lambda temperature: _compound(temperature),
    ):
        for temperature, allowed in ((T, True), (T + 1, False)):
            integrator = make(temperature)
            context = context_of(temperature_dependent(types), platform, integrator)
            context.setPositions(positions)
            if allowed:
                integrator.step(1)
            else:
                with pytest.raises(openmm.OpenMMException, match="temperature of the potential"):
                    integrator.step(1)


def _compound(temperature: float) -> openmm.CompoundIntegrator:
    compound = openmm.CompoundIntegrator()
    compound.addIntegrator(openmm.BrownianIntegrator(temperature, 1.0, 1e-5))
    return compound


def test_bad_temperatures(platform):
    _, types = cluster(20)
    force = network_force(2)
    force.setTemperatureDependent(True)
    for bead_type in types:
        force.addParticle(bead_type)
    with pytest.raises(openmm.OpenMMException, match=r"setDefaultTemperature\(\) must be called"):
        context_of(copy.deepcopy(force), platform)
    for bad in (0.0, -5.0, np.nan):
        with pytest.raises(ValueError, match="temperature must be positive"):
            force.setDefaultTemperature(bad)
    with pytest.raises(ValueError, match="only parameter with a derivative"):
        force.addEnergyParameterDerivative("lambda")
    with pytest.raises(ValueError, match="shape"):
        force.setOffset([1.0, 2.0])
    force.setTemperatureDependent(False)
    with pytest.raises(openmm.OpenMMException, match="must have 1 output"):
        context_of(force, platform)


def test_xml_keeps_everything():
    _, types = cluster(10)
    force = temperature_dependent(types)
    force.addParticle(1, 3)
    other = meanforce.MomentTensorForce.cast(openmm.XmlSerializer.clone(force))
    assert other.isTemperatureDependent()
    assert other.getDefaultTemperature() == T * unit.kelvin
    assert np.array_equal(other.getOffset(), force.getOffset())
    assert other.getNumReplicas() == 4
    assert [other.getParticleReplica(i) for i in (0, 10)] == [0, 3]
    assert openmm.XmlSerializer.serialize(other) == openmm.XmlSerializer.serialize(force)


@pytest.mark.parametrize("box", [None, 1.2])
def test_replicas_do_not_see_one_another(platform, box):
    """Each of three copies in the same place has the energy and forces it has alone."""
    count = 20
    force = network_force(1)
    copies = [cluster(count, seed) for seed in (2, 3, 4)]
    for replica, (_, types) in enumerate(copies):
        for bead_type in types:
            force.addParticle(bead_type, replica)
    force.setUsesPeriodicBoundaryConditions(box is not None)
    together = context_of(force, platform, box=box)
    together.setPositions(np.concatenate([positions for positions, _ in copies]))
    forces = together.getState(forces=True).getForces(asNumpy=True)._value
    energies = replicas.getEnergies(together)
    assert energies.shape == (3,)
    assert energies.sum() == pytest.approx(together.getState(energy=True).getPotentialEnergy() / KJ, rel=1e-6)
    for replica, (positions, types) in enumerate(copies):
        single = network_force(1)
        for bead_type in types:
            single.addParticle(bead_type)
        single.setUsesPeriodicBoundaryConditions(box is not None)
        alone = context_of(single, platform, box=box)
        alone.setPositions(positions)
        state = alone.getState(energy=True, forces=True)
        expected = state.getForces(asNumpy=True)._value
        rms = np.sqrt(np.mean(expected**2))
        assert np.abs(forces[replica * count : (replica + 1) * count] - expected).max() < 1e-5 * rms
        assert energies[replica] == pytest.approx(state.getPotentialEnergy() / KJ, rel=1e-5)
    # Without replicas the copies, which lie in the same place, would see each other.
    blind = network_force(1)
    for _, types in copies:
        for bead_type in types:
            blind.addParticle(bead_type)
    blind.setUsesPeriodicBoundaryConditions(box is not None)
    mixed = context_of(blind, platform, box=box)
    mixed.setPositions(np.concatenate([positions for positions, _ in copies]))
    wrong = mixed.getState(forces=True).getForces(asNumpy=True)._value
    assert np.abs(wrong - forces).max() > 0.1 * np.sqrt(np.mean(forces**2))


def test_replicas_refuse_a_barostat(platform):
    force = network_force(1)
    force.addParticle(0, 0)
    force.addParticle(0, 1)
    force.setUsesPeriodicBoundaryConditions(True)
    system = system_of(force, box=2.0)
    system.addForce(openmm.MonteCarloBarostat(1.0, T))
    with pytest.raises(openmm.OpenMMException, match="replicas share one box"):
        platform.context(system, openmm.VerletIntegrator(0.001))


def test_replica_numbers_are_checked():
    force = network_force(1)
    with pytest.raises(ValueError, match="replica must be at least 0, found -1"):
        force.addParticle(0, -1)
    with pytest.raises(ValueError, match="index of a particle"):
        force.getParticleReplica(0)


def test_energies_of_other_forces_can_not_be_divided():
    force = network_force(1)
    force.addParticle(0)
    system = system_of(force)
    other = openmm.NonbondedForce()
    other.addParticle(0, 1, 0)
    system.addForce(other)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    context.setPositions(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="NonbondedForce can't be divided"):
        replicas.getEnergies(context)
