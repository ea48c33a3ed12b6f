# SPDX-License-Identifier: MIT
"""H5MD trajectories: round trip, append after a restart, and what is refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import openmm
import pytest
from openmm import app, unit

import meanforce
from meanforce.data import CGReporter, Frames, Trajectory
from meanforce.mapping import Mapping

BOX = np.diag([2.0, 2.1, 2.2])
STEP = 0.002


def make_simulation() -> tuple[app.Simulation, Mapping]:
    """Return 20 periodic dimers of which each becomes a bead."""
    topology = app.Topology()
    chain = topology.addChain()
    system = openmm.System()
    bonds = openmm.HarmonicBondForce()
    bonds.setUsesPeriodicBoundaryConditions(True)
    for k in range(20):
        residue = topology.addResidue("DIM", chain)
        atoms = [topology.addAtom(name, app.Element.getBySymbol("C"), residue) for name in ("C1", "C2")]
        topology.addBond(*atoms)
        bonds.addBond(2 * k, 2 * k + 1, 0.12, 5000.0)
        system.addParticle(12.0)
        system.addParticle(14.0)
    system.addForce(bonds)
    system.setDefaultPeriodicBoxVectors(*BOX)
    topology.setPeriodicBoxVectors(BOX * unit.nanometer)
    integrator = openmm.LangevinMiddleIntegrator(300, 1.0, STEP)
    integrator.setRandomNumberSeed(3)
    simulation = app.Simulation(topology, system, integrator, openmm.Platform.getPlatformByName("Reference"))
    centres = np.random.default_rng(4).uniform(0, 2, (20, 3))
    offsets = np.tile([[0, 0, 0], [0.12, 0, 0]], (20, 1))
    simulation.context.setPositions(np.repeat(centres, 2, axis=0) + offsets)
    simulation.context.setVelocitiesToTemperature(300, 5)
    return simulation, Mapping.from_topology(topology, system, names={"DIM": "D"})


def mapped_state(simulation: app.Simulation, mapping: Mapping) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    state = simulation.context.getState(positions=True, velocities=True, forces=True)
    return (
        mapping.map_positions(state.getPositions(asNumpy=True), BOX),
        mapping.map_velocities(state.getVelocities(asNumpy=True)),
        mapping.map_forces(state.getForces(asNumpy=True)),
    )


def test_round_trip(tmp_path):
    simulation, mapping = make_simulation()
    path = tmp_path / "cg.h5"
    expected = []
    with CGReporter(path, 5, mapping) as reporter:
        simulation.reporters.append(reporter)
        for _ in range(40):  # more than one chunk
            simulation.step(5)
            expected.append(mapped_state(simulation, mapping))
    trajectory = Trajectory(path)
    assert len(trajectory) == 40
    for values, reference in zip(
        (trajectory.positions, trajectory.velocities, trajectory.forces), zip(*expected, strict=True), strict=True
    ):
        assert values.dtype == np.float32
        np.testing.assert_allclose(values[:], reference, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(trajectory.box[7], BOX)
    np.testing.assert_array_equal(trajectory.steps, 5 * np.arange(1, 41))
    np.testing.assert_allclose(trajectory.time, STEP * trajectory.steps, rtol=1e-6)
    assert trajectory.time_step == pytest.approx(5 * STEP)
    assert trajectory.velocity_time_offset == pytest.approx(-STEP / 2)
    assert trajectory.bead_types == mapping.bead_types
    np.testing.assert_array_equal(trajectory.types, mapping.types)
    np.testing.assert_allclose(trajectory.masses, 26.0)
    some = trajectory[10:30:5]
    assert isinstance(some, Frames)
    np.testing.assert_array_equal(some.positions, trajectory.positions[10:30:5])
    np.testing.assert_array_equal(some.require_forces(), trajectory.forces[10:30:5])


def test_file_is_h5md(tmp_path):
    simulation, mapping = make_simulation()
    with CGReporter(tmp_path / "cg.h5", 1, mapping) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(2)
    with h5py.File(tmp_path / "cg.h5") as file:
        np.testing.assert_array_equal(file["h5md"].attrs["version"], [1, 1])
        beads = file["particles/beads"]
        units = {name: beads[f"{name}/value"].attrs["unit"] for name in ("position", "velocity", "force", "box/edges")}
        assert units == {"position": "nm", "velocity": "nm ps-1", "force": "kJ mol-1 nm-1", "box/edges": "nm"}
        for name in units:
            assert beads[f"{name}/step"].shape == beads[f"{name}/time"].shape == (2,)
        assert list(beads["box"].attrs["boundary"]) == ["periodic"] * 3


def make_integrators() -> dict[str, openmm.Integrator]:
    """Return integrators without friction, so that on a harmonic bond all that is left is where velocities are."""
    gle = meanforce.GLEIntegrator(300, [[0.0]], STEP)
    compound = openmm.CompoundIntegrator()
    compound.addIntegrator(openmm.VerletIntegrator(STEP))
    return {
        "Verlet": openmm.VerletIntegrator(STEP),
        "Langevin": openmm.LangevinIntegrator(300, 0.0, STEP),
        "LangevinMiddle": openmm.LangevinMiddleIntegrator(300, 0.0, STEP),
        "NoseHoover": openmm.NoseHooverIntegrator(300, 1e-9, STEP),
        "DPD": openmm.DPDIntegrator(300, 0.0, 1.0, STEP),
        "GLE": gle,
        "generic GLE": openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(gle)),
        "VariableVerlet": openmm.VariableVerletIntegrator(1e-4),
        "VariableLangevin": openmm.VariableLangevinIntegrator(300, 1.0, 1e-4),
        "Brownian": openmm.BrownianIntegrator(300, 1.0, STEP),
        "Custom": openmm.CustomIntegrator(STEP),
        "Compound": compound,
    }


UNKNOWN = ("VariableVerlet", "VariableLangevin", "Brownian", "Custom", "Compound")


def make_oscillator(integrator: openmm.Integrator) -> tuple[app.Simulation, Mapping]:
    beads = Mapping([[0], [1]], [18.0] * 2, ["W"] * 2, ["HOH"] * 2)
    system = openmm.System()
    for _ in range(2):
        system.addParticle(18.0)
    bond = openmm.HarmonicBondForce()
    bond.addBond(0, 1, 1.0, 2e4)
    system.addForce(bond)
    reference = openmm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(beads.topology(), system, integrator, reference)
    simulation.context.setPositions([[0, 0, 0], [1.2, 0, 0]])
    return simulation, beads


@pytest.mark.parametrize("name", make_integrators())
def test_velocity_time_offset_is_what_the_integrator_does(tmp_path, name):
    simulation, beads = make_oscillator(make_integrators()[name])
    with CGReporter(tmp_path / "cg.h5", 1, beads) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(10)
    with Trajectory(tmp_path / "cg.h5") as trajectory:
        x, v = trajectory.positions[:].astype(float), trajectory.velocities[:].astype(float)
        offset = trajectory.velocity_time_offset
    if name in UNKNOWN:
        assert offset is None
        return
    assert offset == pytest.approx(-STEP / 2)
    # Velocities of the half step are differences of positions; those of the whole step, central ones, are far from it.
    np.testing.assert_allclose(v[1:-1], (x[1:-1] - x[:-2]) / STEP, atol=2e-3)
    assert np.abs(v[1:-1] - (x[2:] - x[:-2]) / (2 * STEP)).max() > 0.05


def test_an_offset_of_the_run_before_is_not_kept(tmp_path):
    path = tmp_path / "cg.h5"
    for name in ("Verlet", "VariableVerlet"):
        simulation, beads = make_oscillator(make_integrators()[name])
        with CGReporter(path, 1, beads, append=True) as reporter:
            simulation.reporters.append(reporter)
            simulation.step(2)
    with Trajectory(path) as trajectory:
        assert trajectory.velocity_time_offset is None


def test_append_drops_frames_after_the_restart(tmp_path):
    """A run killed after step 80 whose last checkpoint is of step 50 gives the file of an uninterrupted run."""
    path, whole = tmp_path / "cg.h5", tmp_path / "whole.h5"
    simulation, mapping = make_simulation()
    with CGReporter(path, 10, mapping) as reporter, CGReporter(whole, 10, mapping) as other:
        simulation.reporters += [reporter, other]
        simulation.step(50)
        checkpoint = simulation.context.createCheckpoint()
        simulation.step(30)
        reporter.close()
        simulation.reporters.remove(reporter)
        simulation.step(40)
    simulation.reporters.clear()
    simulation.context.loadCheckpoint(checkpoint)
    assert simulation.currentStep == 50
    with CGReporter(path, 10, mapping, append=True) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(70)
    a, b = Trajectory(path), Trajectory(whole)
    np.testing.assert_array_equal(a.steps, 10 * np.arange(1, 13))
    np.testing.assert_array_equal(a.steps, b.steps)
    np.testing.assert_array_equal(a.positions[:], b.positions[:])
    np.testing.assert_array_equal(a.forces[:], b.forces[:])


def test_append_refuses_other_contents(tmp_path):
    _, mapping = make_simulation()
    CGReporter(tmp_path / "cg.h5", 10, mapping, forces=False).close()
    with pytest.raises(ValueError, match="cannot append"):
        CGReporter(tmp_path / "cg.h5", 10, mapping, append=True)
    other = Mapping([[0]], [1.0], ["A"], ["X"])
    with pytest.raises(ValueError, match="differ from those of the mapping"):
        CGReporter(tmp_path / "cg.h5", 10, other, forces=False, append=True)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        CGReporter(tmp_path / "new.h5", 0, mapping)


def test_missing_forces_are_explained(tmp_path):
    simulation, mapping = make_simulation()
    with CGReporter(tmp_path / "cg.h5", 1, mapping, forces=False) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(3)
    trajectory = Trajectory(tmp_path / "cg.h5")
    assert trajectory.forces is None
    with pytest.raises(ValueError, match=r"cg\.h5 holds no forces; .*CGReporter\(..., forces=True\)"):
        trajectory.require_forces()
    with pytest.raises(ValueError, match="these frames hold no forces"):
        trajectory[:2].require_forces()


def test_constraint_between_beads_is_refused_at_once(tmp_path):
    mapping = Mapping([[0], [1]], [1.0, 1.0], ["A", "A"], ["X", "X"], constraints=[(0, 1)])
    with pytest.raises(ValueError, match="joins different beads"):
        CGReporter(tmp_path / "cg.h5", 1, mapping)
    CGReporter(tmp_path / "cg.h5", 1, mapping, forces=False).close()


def test_files_of_other_kinds_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no trajectory at .*missing\.h5"):
        Trajectory(tmp_path / "missing.h5")
    text = Path(tmp_path / "text.h5")
    text.write_text("not HDF5")
    with pytest.raises(ValueError, match="not an HDF5 file"):
        Trajectory(text)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(ValueError, match="not an H5MD file"):
        Trajectory(tmp_path / "other.h5")


def test_frames_that_are_not_finite_are_refused(tmp_path):
    simulation, mapping = make_simulation()
    path = tmp_path / "cg.h5"
    with CGReporter(path, 1, mapping) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(50)
    with h5py.File(path, "r+") as file:
        file["particles/beads/force/value"][41, 3, 0] = np.nan
    with pytest.raises(ValueError, match=r"frame 41 of the forces of .* is not finite"):
        Trajectory(path)
    positions = np.zeros((3, 2, 3))
    positions[1, 0, 0] = np.inf
    with pytest.raises(ValueError, match="frame 1 of the positions is not finite"):
        Frames(positions)


def test_identity_mapping_records_a_coarse_grained_run(tmp_path):
    system = openmm.System()
    for _ in range(3):
        system.addParticle(18.0)
    beads = Mapping([[i] for i in range(3)], [18.0] * 3, ["W"] * 3, ["HOH"] * 3)
    topology = beads.topology()
    integrator = openmm.VerletIntegrator(0.002)
    simulation = app.Simulation(topology, system, integrator, openmm.Platform.getPlatformByName("Reference"))
    simulation.context.setPositions(np.eye(3))
    with CGReporter(tmp_path / "cg.h5", 2, Mapping.identity(topology, system)) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(4)
    trajectory = Trajectory(tmp_path / "cg.h5")
    np.testing.assert_allclose(trajectory.positions[1], np.eye(3))
    assert trajectory.box is None  # the System is not periodic
    assert trajectory[:].box is None
