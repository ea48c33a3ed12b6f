# SPDX-License-Identifier: MIT
"""The total energy drifts by at most 1e-3 kT per ns and degree of freedom at 2 fs, for models trained on forces.

Runs are cut into legs kept in build/validation/drift: a stopped run goes on with the next leg. The water is the demo's,
from build/validation/water. Figures of a run stand in docs/validation.md.
"""

from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit
from rich.console import Console

import nve
from meanforce import CGPotential, export

BUILD = Path(__file__).resolve().parents[2] / "build" / "validation"
FOLDER = BUILD / "drift"
INTERVAL = 5  # steps between two energies
LEG = 5000  # energies in a leg, 50 ps

pytestmark = pytest.mark.validation


def measured(name, system, start, platform, legs, turn=None):
    """Return the drift of `legs` legs of dynamics from positions and velocities, and print it."""
    dofs = 3 * system.getNumParticles() - 3
    FOLDER.mkdir(parents=True, exist_ok=True)
    energies = []
    for leg in range(legs):
        path = FOLDER / f"{name}-{leg}.npz"
        if not path.exists():
            integrator = openmm.VerletIntegrator(nve.STEP) if turn is None else nve.velocity_verlet(nve.STEP, turn)
            context = nve.new_context(system, integrator, platform, start())
            found = nve.total_energies(context, LEG, INTERVAL)
            end = context.getState(positions=True, velocities=True)
            np.savez(
                path,
                energies=found,
                positions=end.getPositions(asNumpy=True).value_in_unit(unit.nanometer),
                velocities=end.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond),
            )
        data = np.load(path)
        energies.append(data["energies"])
        start = lambda data=data: (data["positions"], data["velocities"])  # noqa: E731
    drift = nve.fit_drift(np.concatenate(energies), INTERVAL * nve.STEP, dofs)
    print(f"{name}: {drift}, fluctuation {np.std(energies):.2g} kJ/mol in {legs * LEG * INTERVAL * nve.STEP:.0f} ps")
    return drift


# ---------------------------------------------------------------------------------------------------- the demo's water


@pytest.fixture(scope="module")
def water():
    """Return the demo's potential and the positions and box it ends with."""
    pytest.importorskip("torch")
    from meanforce.demo.water import run_demo

    folder = BUILD / "water"
    run_demo(folder, quick=False, molecules=256, seed=1, platform="CPU", console=Console())
    return CGPotential(folder / "model.pt"), app.PDBFile(str(folder / "water-cg.pdb"))


def water_run(potential, pdb, side):
    """Return a System of side^3 beads at the demo's density, and what gives positions and velocities to start with."""
    edge = pdb.topology.getPeriodicBoxVectors()[0][0].value_in_unit(unit.nanometer)
    edge *= side / pdb.topology.getNumAtoms() ** (1 / 3)
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    positions = (grid + np.random.default_rng(1).uniform(-0.1, 0.1, grid.shape)) * (edge / side)
    topology = app.Topology()
    chain = topology.addChain()
    bead = next(pdb.topology.atoms())
    for _ in grid:
        topology.addAtom(bead.name, bead.element, topology.addResidue(bead.residue.name, chain))
    topology.setPeriodicBoxVectors(edge * np.eye(3) * unit.nanometer)
    system = potential.createSystem(topology)
    return system, lambda: nve.equilibrate(system, positions, 10.0)


@pytest.mark.parametrize(("platform", "side", "legs"), [("CPU", 6, 9), ("Reference", 4, 8)])
def test_water(water, platform, side, legs):
    system, start = water_run(*water, side)
    assert measured(f"water-{platform}", system, start, platform, legs).is_below(nve.DRIFT)


def test_water_with_forces_that_are_no_gradient(water):
    system, start = water_run(*water, 4)
    assert not measured("water-turned", system, start, "CPU", 1, nve.TURN).is_below(10 * nve.DRIFT)


# ------------------------------------------------------------------------------------ a stiff molecule with a SchNet


@pytest.fixture(scope="module")
def molecule():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    path = FOLDER / "chain.pt"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        model, unexplained = nve.train_chain(torch, frames=600, epochs=40)
        assert unexplained < 0.15
        export(model, path)
    return CGPotential(path)


def molecule_run(potential, filters):
    system = nve.chain_system(potential.createForces(nve.CHAIN, filters=filters))
    return system, lambda: nve.equilibrate(system, nve.chain_start(), 20.0)


@pytest.mark.parametrize("filters", ["tabulated", "exact"])
@pytest.mark.parametrize(("platform", "legs"), [("CPU", 12), ("Reference", 8)])
def test_molecule(molecule, platform, legs, filters):
    drift = measured(f"molecule-{platform}-{filters}", *molecule_run(molecule, filters), platform, legs)
    assert drift.is_below(nve.DRIFT)


def test_molecule_with_forces_that_are_no_gradient(molecule):
    drift = measured("molecule-turned", *molecule_run(molecule, "tabulated"), "CPU", 1, nve.TURN)
    assert not drift.is_below(10 * nve.DRIFT)
