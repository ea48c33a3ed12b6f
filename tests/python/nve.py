# SPDX-License-Identifier: MIT
"""How well dynamics without a thermostat keep the energy; and a stiff bonded molecule with a SchNet trained for it.

tests/python/test_energy_conservation.py takes small samples, tests/validation/test_energy_drift.py large ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import openmm
from openmm import unit

KB = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
TEMPERATURE = 300.0  # K
STEP = 0.002  # ps, at which the drift is asked for
DRIFT = 1e-3
"""Largest drift of the total energy, in kT per ns and degree of freedom."""
TURN = 1e-3
"""Angle of the control's forces with the gradient, in rad."""


# ------------------------------------------------------------------------------------------------------------- measures


@dataclass(frozen=True)
class Drift:
    """The slope of the total energy and its standard error, in kT per ns and degree of freedom."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.2e} +- {self.error:.1e} kT/ns/dof"

    def is_below(self, limit: float) -> bool:
        """Whether the slope is below a limit, and known to half of it."""
        return abs(self.value) < limit and self.error < limit / 2


def fit_drift(energies: np.ndarray, interval: float, dofs: int, blocks: int = 40) -> Drift:
    """Return the slope of the energy, by linear regression of its means over blocks.

    A time-reversible integrator lets the energy wander without direction. The standard error is that of a random walk
    with the steps from block to block: 6/5 of the steps' variance over the run's time and a block's. If the means only
    scatter, it is too large rather than too small.

    Parameters
    ----------
    energies : ndarray, shape (samples,)
        In kJ/mol.
    interval : float
        Between two samples, in ps.
    """
    length = len(energies) // blocks
    means = energies[: blocks * length].reshape(blocks, length).mean(1)
    span = length * interval
    times = span * (np.arange(blocks) - (blocks - 1) / 2)
    slope = times @ means / (times @ times)
    error = np.sqrt(6 / 5 * np.mean(np.diff(means) ** 2) / (span * times[-1] * 2))
    scale = 1000 / (KB * TEMPERATURE * dofs)
    return Drift(slope * scale, error * scale)


def total_energies(context: openmm.Context, samples: int, interval: int) -> np.ndarray:
    """Step, and return the potential and kinetic energy of every `interval`-th step, in kJ/mol, shape (samples,).

    The kinetic energy of OpenMM's VerletIntegrator, a leapfrog, is that of velocities brought forward by half a step:
    the sum is the energy of velocity Verlet.
    """
    energies = np.empty(samples)
    for sample in range(samples):
        context.getIntegrator().step(interval)
        state = context.getState(energy=True)
        energies[sample] = (state.getPotentialEnergy() + state.getKineticEnergy()) / unit.kilojoule_per_mole
    return energies


def velocity_verlet(step: float, turn: float = 0.0) -> openmm.CustomIntegrator:
    """Velocity Verlet; with each force turned about z by a small angle (rad), which is the gradient of no energy."""
    integrator = openmm.CustomIntegrator(step)
    force = f"(f+{turn}*cross(f,vector(0,0,1)))" if turn else "f"
    integrator.addComputePerDof("v", f"v+0.5*dt*{force}/m")
    integrator.addComputePerDof("x", "x+dt*v")
    integrator.addComputePerDof("v", f"v+0.5*dt*{force}/m")
    return integrator


def new_context(
    system: openmm.System, integrator: openmm.Integrator, platform: str, start: tuple[np.ndarray, np.ndarray]
) -> openmm.Context:
    """Return a Context with given positions and velocities; on the CPU platform with one thread."""
    properties = {"Threads": "1"} if platform == "CPU" else {}
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform), properties)
    context.setPositions(start[0])
    context.setVelocities(start[1])
    return context


def equilibrate(
    system: openmm.System, positions: np.ndarray, time: float, seed: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and velocities after Langevin dynamics on the CPU platform, without total momentum."""
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 5.0, STEP)
    integrator.setRandomNumberSeed(seed)
    context = new_context(system, integrator, "CPU", (positions, np.zeros_like(positions)))
    openmm.LocalEnergyMinimizer.minimize(context, 10, 100)
    context.setVelocitiesToTemperature(TEMPERATURE, seed)
    integrator.step(round(time / STEP))
    state = context.getState(positions=True, velocities=True)
    velocities = state.getVelocities(asNumpy=True)._value
    masses = np.array([system.getParticleMass(i)._value for i in range(len(velocities))])
    return state.getPositions(asNumpy=True)._value, velocities - masses @ velocities / masses.sum()


# ---------------------------------------------------------------------------------------------------- a bonded molecule

CHAIN = (0, 1, 2, 0, 1, 0, 2, 1, 0, 2)
"""Bead types along the chain."""
CHAIN_MASSES = (57.0, 71.0, 99.0)  # dalton, glycine, alanine and valine
CHAIN_DOFS = 3 * len(CHAIN) - 3
CHAIN_CUTOFF = 1.1  # nm
BOND = (0.38, 1e5)  # nm, kJ/mol/nm^2: a width of 0.005 nm, as between carbon atoms C-alpha
ANGLE = (1.85, 150.0)  # rad, kJ/mol/rad^2


def chain_priors() -> list[openmm.Force]:
    """Return bonds, angles and the repulsion of beads further apart along the chain, as OpenMM forces."""
    bonds, angles, repulsion = (
        openmm.HarmonicBondForce(),
        openmm.HarmonicAngleForce(),
        openmm.CustomBondForce("(0.42/r)^8"),
    )
    for i, j in itertools.combinations(range(len(CHAIN)), 2):
        if j - i == 1:
            bonds.addBond(i, j, *BOND)
        elif j - i == 2:
            angles.addAngle(i, i + 1, j, *ANGLE)
        else:
            repulsion.addBond(i, j)
    return [bonds, angles, repulsion]


def chain_truth() -> list[openmm.Force]:
    """Return what a network is to learn: attraction that depends on types, and torsions."""
    attraction = openmm.CustomBondForce("-e*exp(-((r-0.55)/0.12)^2)")
    attraction.addPerBondParameter("e")
    for i, j in itertools.combinations(range(len(CHAIN)), 2):
        if j - i > 2:
            attraction.addBond(i, j, [4.0 + 3.0 * ((CHAIN[i] + CHAIN[j]) % 3)])
    torsions = openmm.PeriodicTorsionForce()
    for i in range(len(CHAIN) - 3):
        torsions.addTorsion(i, i + 1, i + 2, i + 3, 1, 0.9, 4.0)
    return [attraction, torsions]


def chain_system(forces: Iterable[openmm.Force]) -> openmm.System:
    """Return the chain with its priors in force group 1, and more forces in group 0."""
    system = openmm.System()
    for bead_type in CHAIN:
        system.addParticle(CHAIN_MASSES[bead_type])
    for force in chain_priors():
        force.setForceGroup(1)
        system.addForce(force)
    for force in forces:
        system.addForce(force)
    return system


def chain_start() -> np.ndarray:
    """Return positions of a stretched helix, shape (N, 3)."""
    turn = 1.9 * np.arange(len(CHAIN))
    return np.stack([0.2 * np.cos(turn), 0.2 * np.sin(turn), 0.2 * np.arange(len(CHAIN))], axis=1)


def train_chain(torch: Any, frames: int, epochs: int) -> tuple[Any, float]:
    """Return a SchNet trained on the forces of `chain_truth`, and the fraction of them that it does not explain."""
    from meanforce.data import Frames
    from meanforce.modelfile import BeadType
    from meanforce.potentials import SchNet
    from meanforce.training.forcematching import ForceMatching

    system = chain_system(chain_truth())
    start = equilibrate(system, chain_start(), 20.0)
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE + 50.0, 5.0, STEP)
    integrator.setRandomNumberSeed(2)
    context = new_context(system, integrator, "CPU", start)
    x, f = [], []
    for _ in range(frames):
        integrator.step(250)
        state = context.getState(positions=True, forces=True, groups={0})
        x.append(state.getPositions(asNumpy=True)._value)
        f.append(state.getForces(asNumpy=True)._value)
    torch.manual_seed(1)
    model = SchNet(3, CHAIN_CUTOFF, features=24, filters=24, blocks=2, radial_functions=20, hidden=(16,))
    data = Frames(positions=np.array(x), forces=np.array(f), types=np.array(CHAIN))
    result = ForceMatching(model, data, batch_size=16, learning_rate=1e-2).train(epochs=epochs)
    model.bead_types = [BeadType("ABC"[t], "BEAD", CHAIN_MASSES[t]) for t in range(3)]
    return model.double(), result.unexplained
