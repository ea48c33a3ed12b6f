# SPDX-License-Identifier: MIT
"""Liquids of one type of bead with a known potential, sampled with OpenMM."""

import numpy as np
import openmm

import meanforce
from meanforce.structure import GAS_CONSTANT

EPSILON, SIGMA, CUTOFF, TEMPERATURE, MASS = 1.0, 0.34, 0.8, 150.0, 39.95
KT = GAS_CONSTANT * TEMPERATURE


def lj_force(r):
    """Return -du/dr of u = LJ times the switch (1 - (r/rc)^2)^2, in kJ/mol/nm."""
    x = (SIGMA / r) ** 6
    s, t = 1 - (r / CUTOFF) ** 2, -2 * r / CUTOFF**2
    return -(4 * EPSILON * (6 * x - 12 * x * x) / r * s * s + 4 * EPSILON * (x * x - x) * 2 * s * t)


def lj_system(n, edge):
    system = openmm.System()
    system.setDefaultPeriodicBoxVectors(*(edge * np.eye(3)))
    force = openmm.CustomNonbondedForce(f"4*{EPSILON}*(x^2-x)*(1-(r/{CUTOFF})^2)^2; x=({SIGMA}/r)^6")
    force.setNonbondedMethod(force.CutoffPeriodic)
    force.setCutoffDistance(CUTOFF)
    for _ in range(n):
        system.addParticle(MASS)
        force.addParticle([])
    system.addForce(force)
    return system


def add_three_body(system, strength):
    """Add a Stillinger-Weber term that favours angles of 109.5 degrees."""
    n = system.getNumParticles()
    force = meanforce.StillingerWeberForce(1, 0.6)
    force.setPairParameters(0, 0, 0.6, 0.15)
    force.setTripletAngle(0, 0, 0, strength, -1 / 3)
    for _ in range(n):
        force.addParticle(0)
    force.setUsesPeriodicBoundaryConditions(True)
    system.addForce(force)
    return system


def sample(system, side, edge, frames, interval, equilibration=1500, seed=1):
    """Return positions and forces of frames of Langevin dynamics from a lattice."""
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 5.0, 0.004)
    integrator.setRandomNumberSeed(seed)
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(system, integrator, platform, {"Threads": "1"})
    axis = (np.arange(side) + 0.5) * edge / side
    lattice = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    context.setPositions(lattice[: system.getNumParticles()])
    context.setVelocitiesToTemperature(TEMPERATURE, seed)
    integrator.step(equilibration)
    positions, forces = [], []
    for _ in range(frames):
        integrator.step(interval)
        state = context.getState(positions=True, forces=True)
        positions.append(state.getPositions(asNumpy=True)._value)
        forces.append(state.getForces(asNumpy=True)._value)
    return np.array(positions), np.array(forces)
