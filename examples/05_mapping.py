# SPDX-License-Identifier: MIT
"""From atoms to beads: which combination of atomic forces is the least noisy force on a bead, in a few seconds.

A chain of five particles, each with two light ones on rigid bonds, in a heat bath. Every second one becomes a bead.
"""

import numpy as np
import openmm
from openmm import app, unit

from meanforce.data import AtomisticTrajectory, Trajectory, check_frames, map_trajectory
from meanforce.mapping import ForceMap, Mapping

TEMPERATURE, GROUPS = 300.0, 5

# Atoms: heavy ones with two rigid arms each, and springs between arms that push and pull at them.
topology, system = app.Topology(), openmm.System()
chain = topology.addChain()
bonds, angles, springs = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), openmm.HarmonicBondForce()
for group in range(GROUPS):
    residue = topology.addResidue("LNK", chain)
    heavy, *arms = range(3 * group, 3 * group + 3)
    for name, mass in (("C", 40.0), ("H1", 2.0), ("H2", 2.0)):
        topology.addAtom(name, None, residue)
        system.addParticle(mass)
    for arm in arms:
        system.addConstraint(heavy, arm, 0.1)
    angles.addAngle(arms[0], heavy, arms[1], 1.9, 200.0)
    if group:
        bonds.addBond(heavy - 3, heavy, 0.35, 3000.0)
        springs.addBond(heavy - 2, heavy + 2, 0.3, 800.0)
    if group > 1:
        angles.addAngle(heavy - 6, heavy - 3, heavy, 2.4, 300.0)
for force in (bonds, angles, springs):
    system.addForce(force)

integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 5.0, 0.002)
integrator.setRandomNumberSeed(1)
context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
start = [[0.35 * g + dx, dy, 0.0] for g in range(GROUPS) for dx, dy in ((0.0, 0.0), (0.06, 0.08), (-0.06, 0.08))]
context.setPositions(start)
context.applyConstraints(1e-6)
context.setVelocitiesToTemperature(TEMPERATURE, 1)
integrator.step(2000)
x, f = [], []
for _ in range(1500):
    integrator.step(20)
    state = context.getState(positions=True, forces=True)
    x.append(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    f.append(state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer))
np.savez("atoms.npz", positions=x, forces=f)

# Beads at every second heavy particle. Constraints come from the System, so that biased force maps are refused.
mapping = Mapping.from_selections(topology, system, {"C": range(0, 3 * GROUPS, 6)})
forces = np.array(f)
training, held_out = forces[:750], forces[750:]
for name, force_map in {
    "slice (biased here)": ForceMap.slice(mapping),
    "constraint-aware": ForceMap.constraint_aware(mapping),
    "optimal": ForceMap.optimal(mapping, training),
}.items():
    print(f"{name:20s} <F^2> = {force_map.mean_square(held_out).mean():8.0f} (kJ/mol/nm)^2 on held-out frames")

# Map the file in blocks, with the optimal forces, and check what came out before anything is trained on it.
mapping.force_map = ForceMap.optimal(mapping, training)
map_trajectory(AtomisticTrajectory("atoms.npz", units="openmm"), mapping, "beads.h5")
with Trajectory("beads.h5") as beads:
    report = check_frames(beads, temperature=TEMPERATURE, topology=mapping.topology(), num_functions=50)
    mapping.write_pdb("beads.pdb", beads.positions[0])
print(f"-<F.v> / kT <div v> = {report.force_ratio:.3f} +- {report.force_ratio_error:.3f}, one where units fit")
