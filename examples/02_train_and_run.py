# SPDX-License-Identifier: MIT
"""Learn a potential from forces and run it in OpenMM, in half a minute.

The "atomistic" system is a Lennard-Jones liquid, each atom its own bead: the force is known and the fit can be judged.
"""

import numpy as np
import openmm
import torch
from openmm import app, unit

import meanforce
from meanforce.data import CGReporter, Trajectory
from meanforce.mapping import Mapping
from meanforce.training import fit_pair_spline

torch.set_num_threads(1)
rng = np.random.default_rng(1)
side, edge = 6, 2.2  # 216 argon atoms in a cube, nm

topology = app.Topology()
chain = topology.addChain()
system = openmm.System()
system.setDefaultPeriodicBoxVectors(*(edge * np.eye(3)))
force = openmm.NonbondedForce()
force.setNonbondedMethod(force.CutoffPeriodic)
force.setCutoffDistance(0.9)
force.setUseSwitchingFunction(True)
force.setSwitchingDistance(0.7)
force.setUseDispersionCorrection(False)
for _ in range(side**3):
    topology.addAtom("AR", app.Element.getBySymbol("Ar"), topology.addResidue("AR", chain))
    system.addParticle(39.95)
    force.addParticle(0.0, 0.34, 0.996)
system.addForce(force)
topology.setPeriodicBoxVectors(edge * np.eye(3) * unit.nanometer)
lattice = np.stack(np.meshgrid(*3 * [np.arange(side)], indexing="ij"), axis=-1).reshape(-1, 3) * (edge / side)

integrator = openmm.LangevinMiddleIntegrator(150, 2.0, 0.004)
integrator.setRandomNumberSeed(1)
simulation = app.Simulation(topology, system, integrator, openmm.Platform.getPlatformByName("CPU"))
simulation.context.setPositions(lattice)
simulation.context.setVelocitiesToTemperature(150, 1)
simulation.step(1000)
mapping = Mapping.identity(topology, system)
with CGReporter("argon.h5", 50, mapping) as reporter:
    simulation.reporters.append(reporter)
    simulation.step(1000)

with Trajectory("argon.h5") as trajectory:
    frames = trajectory[:]
    potential = fit_pair_spline(frames, cutoff=0.9, spacing=0.03)
    potential.bead_types = trajectory.bead_types
meanforce.export(potential, "argon.pt")

learned = meanforce.CGPotential("argon.pt").createSystem(mapping.topology(edge * np.eye(3)))
context = openmm.Context(learned, openmm.VerletIntegrator(0.004), openmm.Platform.getPlatformByName("CPU"))
context.setPositions(frames.positions[-1])
found = context.getState(forces=True).getForces(asNumpy=True)._value
exact = frames.forces[-1]
print(f"force error: {np.sqrt(np.mean((found - exact) ** 2) / np.mean(exact**2)):.4f} of the force RMS")
