# SPDX-License-Identifier: MIT
"""Many copies of a small system in one Context, with the energy of each, in a few seconds.

The system is a pair of beads bound by 35 kJ/mol, so the mean energy is known from an integral. All copies lie in the
same place; they do not see one another.
"""

import numpy as np
import openmm
import torch
from openmm import app

import meanforce
from meanforce import replicas
from meanforce.modelfile import BeadType
from meanforce.potentials import PairSpline

COPIES, CUTOFF, TEMPERATURE = 64, 0.6, 300.0

# A potential to run: B-splines that follow a well with its bottom at 0.3 nm.
r = torch.linspace(0.01, CUTOFF, 600, dtype=torch.float64)
well = 35 * ((1 - torch.exp(-15 * (r - 0.3))) ** 2 - 1) * (1 - (r / CUTOFF) ** 4) ** 3
pair = PairSpline(1, CUTOFF, 30).double()
with torch.no_grad():
    pair.coefficients[0] = torch.linalg.lstsq(pair.basis(r), well).solution
    energy = (pair.basis(r) @ pair.coefficients[0]).numpy()
pair.bead_types = [BeadType("B", "PAIR", 18.0)]
meanforce.export(pair, "pair.pt")

topology = app.Topology()
residue = topology.addResidue("PAIR", topology.addChain())
for _ in range(2):
    topology.addAtom("B", None, residue)
system = meanforce.CGPotential("pair.pt").createSystem(topology, replicas=COPIES)

integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 10.0, 0.004)
integrator.setRandomNumberSeed(1)
context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"))
context.setPositions(replicas.copyPositions([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]], COPIES))
context.setVelocitiesToTemperature(TEMPERATURE, 1)
integrator.step(500)
samples = []
for _ in range(400):
    integrator.step(25)
    samples.append(replicas.getEnergies(context))
means = np.mean(samples, axis=0)

boltzmann = r.numpy() ** 2 * np.exp(-energy / (0.00831446 * TEMPERATURE))
exact = np.sum(energy * boltzmann) / np.sum(boltzmann)
print(f"mean energy: {means.mean():.2f} +- {means.std(ddof=1) / np.sqrt(COPIES):.2f} kJ/mol, exact {exact:.2f}")
