# SPDX-License-Identifier: MIT
"""Bonded priors of a chiral chain: fitted to its distributions, run in OpenMM, and what its mirror image costs."""

import numpy as np
import torch
from openmm import app

import meanforce
from meanforce.data import Frames
from meanforce.modelfile import BeadType
from meanforce.potentials import Dihedrals, HarmonicAngles, HarmonicBonds, Sum, is_mirror_blind
from meanforce.training import OpenMMSampler, fit_bonded

torch.set_num_threads(1)
types, bonds = [0, 0, 0, 0], [(0, 1), (1, 2), (2, 3)]

# The "data": a chain whose dihedral prefers -60 degrees, sampled with 64 copies in one Context.
truth = Sum(
    HarmonicBonds(1, [(0, 0)], [4000.0], [0.3]),
    HarmonicAngles(1, [(0, 0, 0)], [50.0], [1.9]),
    Dihedrals(1, [(0, 0, 0, 0)], [[[-3.0, 5.0]]]),
)
truth.set_bonds(types, bonds)
start = [[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.4, 0.28, 0.0], [0.6, 0.3, -0.2]]
sampler = OpenMMSampler(
    start, 300, bonds=bonds, replicas=64, time_step=0.005, production=40.0, interval=0.5, platform="Reference"
)
frames = Frames(sampler.sample(truth).positions)

prior = fit_bonded(frames, bonds, 300, dihedral_order=2)
distances_only = Sum(*prior.potentials[:2])
for name, model in (("bonds and angles", distances_only), ("with signed dihedrals", prior)):
    blind = is_mirror_blind(model, frames.positions[:50], types)
    print(f"{name}: {'cannot' if blind else 'can'} tell the chain from its mirror image")

topology = app.Topology()
residue = topology.addResidue("CHN", topology.addChain())
beads = [topology.addAtom("B", None, residue) for _ in types]
for i, j in bonds:
    topology.addBond(beads[i], beads[j])
prior.bead_types = [BeadType("B", "CHN", 18.0)]
meanforce.export(prior, "chain.pt")
system = meanforce.CGPotential("chain.pt").createSystem(topology)
print("OpenMM forces:", ", ".join(type(force).__name__ for force in system.getForces()))
coefficients = np.round(prior.potentials[2].coefficients.detach().numpy()[0, 0], 1)
print(f"A_1 and B_1: {coefficients} kJ/mol, in the data -3.0 and 5.0")
