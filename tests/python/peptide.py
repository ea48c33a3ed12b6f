# SPDX-License-Identifier: MIT
"""Alanine dipeptide in implicit solvent: the constrained run that force maps are checked with."""

from __future__ import annotations

import numpy as np
import openmm
from openmm import app, unit

TEMPERATURE = 300.0
HEAVY = {
    "ACE": {"CH3": (0.0, 0.0, 0.0), "C": (0.152, 0.0, 0.0), "O": (0.2135, 0.1065, 0.0)},
    "ALA": {
        "N": (0.2118, -0.1194, 0.0),
        "CA": (0.3572, -0.1329, 0.0),
        "C": (0.4139, -0.1133, -0.1402),
        "O": (0.4106, -0.2049, -0.2222),
        "CB": (0.3957, -0.2702, 0.0552),
    },
    "NME": {"N": (0.4659, 0.0066, -0.1674), "C": (0.523, 0.0377, -0.2971)},
}
"""Heavy atoms in nm, phi near -80 and psi near 100 degrees."""


def alanine_dipeptide(constraints: object = app.HBonds) -> tuple[app.Topology, openmm.System, np.ndarray]:
    """Return topology, System (amber14 with OBC2) and positions in nm."""
    topology = app.Topology()
    chain = topology.addChain()
    positions = []
    for k, (residue_name, atoms) in enumerate(HEAVY.items(), 1):
        residue = topology.addResidue(residue_name, chain, str(k))
        for name, x in atoms.items():
            topology.addAtom(name, app.Element.getBySymbol(name[0]), residue)
            positions.append(x)
    topology.createStandardBonds()
    force_field = app.ForceField("amber14/protein.ff14SB.xml", "implicit/obc2.xml")
    modeller = app.Modeller(topology, np.array(positions) * unit.nanometer)
    reference = openmm.Platform.getPlatformByName("Reference")
    modeller.addHydrogens(force_field, platform=reference)
    system = force_field.createSystem(modeller.topology, constraints=constraints, removeCMMotion=False)
    return modeller.topology, system, np.array(modeller.positions.value_in_unit(unit.nanometer))


def sample(
    system: openmm.System,
    positions: np.ndarray,
    frames: int,
    interval: int = 20,
    seed: int = 1,
    equilibration: int = 2000,
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and forces (n_frames, n_atoms, 3) of a Langevin run with 2 fs steps."""
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 5.0, 0.002)
    integrator.setRandomNumberSeed(seed)
    integrator.setConstraintTolerance(1e-8)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"})
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context)
    context.setVelocitiesToTemperature(TEMPERATURE, seed)
    integrator.step(equilibration)
    x, f = [], []
    for _ in range(frames):
        integrator.step(interval)
        state = context.getState(positions=True, forces=True)
        x.append(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
        f.append(state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer))
    return np.array(x), np.array(f)
