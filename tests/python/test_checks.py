# SPDX-License-Identifier: MIT
"""Bad frames are named, with frame and bead, and good ones pass."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import openmm
import pytest
from openmm import app, unit

from meanforce.data import BadFrames, Frames, MlcgTrajectory, check_frames, write_mlcg
from meanforce.mapping import Mapping
from meanforce.modelfile import BeadType
from shared_data import shared_folder

T = 120.0
EDGE, BEADS = 2.4, 216


@pytest.fixture(scope="module")
def liquid() -> Frames:
    """Return frames of a Lennard-Jones liquid, argon at 120 K."""
    system, topology = openmm.System(), app.Topology()
    lj = openmm.NonbondedForce()
    lj.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    lj.setCutoffDistance(0.9)
    lj.setUseSwitchingFunction(True)
    lj.setSwitchingDistance(0.75)
    lj.setUseDispersionCorrection(False)
    chain = topology.addChain()
    for _ in range(BEADS):
        system.addParticle(39.9)
        lj.addParticle(0, 0.34, 0.996)
        topology.addAtom("AR", app.element.argon, topology.addResidue("AR", chain))
    system.addForce(lj)
    system.setDefaultPeriodicBoxVectors(*(EDGE * np.eye(3)))
    integrator = openmm.LangevinMiddleIntegrator(T, 2.0, 0.01)
    integrator.setRandomNumberSeed(1)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"})
    grid = (np.arange(6) + 0.5) * EDGE / 6
    context.setPositions(np.stack(np.meshgrid(grid, grid, grid), axis=-1).reshape(-1, 3))
    context.setVelocitiesToTemperature(T, 1)
    integrator.step(1000)
    x, v, f = [], [], []
    for _ in range(60):
        integrator.step(30)
        state = context.getState(positions=True, velocities=True, forces=True)
        x.append(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
        v.append(state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond))
        f.append(state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer))
    types = np.zeros(BEADS, dtype=int)
    masses = np.full(BEADS, 39.9)
    return Frames(
        np.array(x), EDGE * np.eye(3), np.array(v), np.array(f), types, masses, bead_types=[BeadType("AR", "AR", 39.9)]
    )


def argon_topology(names=None) -> app.Topology:
    names = ["AR"] * BEADS if names is None else names
    return Mapping([[i] for i in range(len(names))], [39.9] * len(names), names, names).topology()


@functools.cache
def chain_frames(frames: int = 400, n: int = 6) -> Frames:
    """Return frames of a chain of repelling beads with bonds of 0.38 nm, without a box, at 300 K."""
    system = openmm.System()
    bonds, repulsion = openmm.HarmonicBondForce(), openmm.CustomNonbondedForce("4*(0.35/r)^12")
    for i in range(n):
        system.addParticle(50.0)
        repulsion.addParticle([])
        if i:
            bonds.addBond(i - 1, i, 0.38, 5000.0)
            repulsion.addExclusion(i - 1, i)
    system.addForce(bonds)
    system.addForce(repulsion)
    integrator = openmm.LangevinMiddleIntegrator(300, 5.0, 0.01)
    integrator.setRandomNumberSeed(2)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(0.38 * np.arange(n)[:, None] * [1.0, 0, 0])
    context.setVelocitiesToTemperature(300, 2)
    integrator.step(1000)
    x, f = [], []
    for _ in range(frames):
        integrator.step(50)
        state = context.getState(positions=True, forces=True)
        x.append(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
        f.append(state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer))
    return Frames(np.array(x), forces=np.array(f), masses=np.full(n, 50.0))


def test_good_frames_pass(liquid):
    report = check_frames(liquid, temperature=T, topology=argon_topology(), num_functions=40)
    assert abs(report.force_ratio - 1) < 4.5 * report.force_ratio_error < 0.3
    assert report.temperature == pytest.approx(T, rel=0.05)
    assert report.notes == ()
    assert 0.3 < report.smallest_distance < report.neighbour_distance < 0.4
    chain = check_frames(chain_frames(), temperature=300)
    assert abs(chain.force_ratio - 1) < 4.5 * chain.force_ratio_error < 0.5


@pytest.mark.parametrize(
    ("length", "force", "message"),
    [
        (10, 1, "frame [0-9]+, bead [0-9]+: .* positions in angstrom were read as nm"),
        (0.1, 1, "frame 0, bead [0-9]+: .* positions in nm were read as angstrom"),
        (10, 0.1, "positions in angstrom were read as nm"),
        (10, 1 / 41.84, "positions in angstrom were read as nm"),
        (1, 10, r"forces do not fit .* bead [0-9]+, as in frame [0-9]+\); near 10,"),
        (1, 0.1, "near 0.1,"),
        (1, 4.184, "near 4.18, as from forces in kJ/mol/length read as kcal"),
        (1, 1 / 4.184, "near 0.239, as from forces in kcal/mol/length read as kJ"),
        (1, 41.84, "near 41.8,"),
        (1, -1, "near -1, as from forces with the wrong sign"),
    ],
)
@pytest.mark.parametrize("which", ["liquid", "chain"])
def test_wrong_units_are_named(liquid, which, length, force, message):
    good = liquid if which == "liquid" else chain_frames()
    box = None if good.box is None else length * good.box
    bad = replace(good, positions=length * good.positions, forces=force * good.forces, box=box)
    with pytest.raises(BadFrames, match=message):
        check_frames(bad, temperature=T if which == "liquid" else 300)
    check_frames(bad, temperature=300, ignore=["units", "overlap"])


def test_wrong_velocities_are_named(liquid):
    for factor in (10, 0.1, np.sqrt(4.184)):
        with pytest.raises(BadFrames, match=rf"another unit \(a factor of {factor:.2g}"):
            check_frames(replace(liquid, velocities=factor * liquid.velocities), temperature=T)


def test_one_frame_in_another_unit_is_named():
    good = chain_frames()
    x = good.positions.copy()
    x[37] *= 10
    with pytest.raises(BadFrames, match=r"frame 37, bead [0-9]: distances in this frame are 1[0-9.]* times"):
        check_frames(replace(good, positions=x), temperature=300)


class Raw:
    """Frames that nobody has looked at, as arrays of a file."""

    def __init__(self, frames: Frames, **changed):
        for name in ("positions", "velocities", "forces", "box", "types", "masses", "time", "bead_types", "bonds"):
            setattr(self, name, changed.get(name, getattr(frames, name)))

    def __len__(self):
        return len(self.positions)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["positions", "forces", "velocities"])
def test_numbers_that_are_not_finite_are_named(liquid, name, value):
    values = getattr(liquid, name).copy()
    values[41, 17, 2] = value
    with pytest.raises(BadFrames, match=rf"frame 41, bead 17: the {name} are not finite \({value}\)"):
        check_frames(Raw(liquid, **{name: values}), temperature=T)


def test_overlap_is_named(liquid):
    x = liquid.positions.copy()
    x[23, 5] = x[23, 100] + [EDGE + 0.004, 0, -EDGE]  # across the box
    with pytest.raises(BadFrames, match=r"frame 23, bead 5: it lies on bead 100, 0\.004 nm away"):
        check_frames(replace(liquid, positions=x))
    triclinic = np.array([[EDGE, 0, 0], [0.6, EDGE, 0], [0, -0.5, EDGE]])
    few = liquid.positions[:2, :40] * 0.7
    few[1, 3] = few[1, 30] + triclinic[2] + [0, 0.01, 0]
    with pytest.raises(BadFrames, match=r"frame 1, bead 3: it lies on bead 30, 0\.01 nm away"):
        check_frames(Frames(few, triclinic), forces=False, ignore=["units"])


def test_mismatched_topology_is_named(liquid):
    with pytest.raises(BadFrames, match=r"have 216 beads .*, the topology 215"):
        check_frames(liquid, topology=argon_topology(["AR"] * 215))
    names = ["AR"] * BEADS
    names[7] = "KR"
    with pytest.raises(BadFrames, match="bead 7: the frames have a AR:AR, the topology a KR:KR there"):
        check_frames(liquid, topology=argon_topology(names))
    good = chain_frames()
    bonds = [(i, i + 1) for i in range(5)]
    right = Mapping([[i] for i in range(6)], [50.0] * 6, ["B"] * 6, ["X"] * 6, bonds=bonds)
    check_frames(good, topology=right.topology(), temperature=300)
    cut = good.positions.copy()
    cut[12, 3:] += [6.0, 0, 0]
    with pytest.raises(BadFrames, match=r"frame 12, bead 2: it is bonded to bead 3, but .* nm away"):
        check_frames(replace(good, positions=cut), topology=right.topology())


def test_too_few_frames_are_named(liquid):
    with pytest.raises(BadFrames, match=r"4 frames .* are too few for 40 basis functions; at least 10 are needed"):
        check_frames(liquid[:4], num_functions=40)
    with pytest.raises(BadFrames, match="at least 160 are needed"):
        check_frames(chain_frames(100), temperature=300, num_functions=1200)
    with pytest.raises(BadFrames, match="there are no frames"):
        check_frames(liquid[:0])
    with pytest.raises(BadFrames, match="there are no forces; map a trajectory that has them"):
        check_frames(replace(liquid, forces=None))


def test_what_could_not_be_checked_is_said(liquid):
    assert "no temperature was given" in check_frames(liquid).notes[0]
    assert "too noisy" in check_frames(liquid[:3], temperature=T).notes[0]
    single = Frames(np.zeros((20, 1, 3)), forces=np.ones((20, 1, 3)))
    assert "a single bead has no neighbours" in check_frames(single, temperature=T).notes[0]
    with pytest.raises(ValueError, match=r"`ignore` must be of .*got \['unit'\]"):
        check_frames(liquid, ignore=["unit"])
    with pytest.raises(ValueError, match="`temperature` must be positive, got -3"):
        check_frames(liquid, temperature=-3)


def test_frames_of_mlcg(tmp_path):
    write_mlcg(tmp_path / "a.h5", chain_frames(), "g/m")
    with MlcgTrajectory(tmp_path / "a.h5") as frames:
        report = check_frames(frames, temperature=300)
    assert abs(report.force_ratio - 1) < 4.5 * report.force_ratio_error


def test_real_frames_of_alanine_dipeptide():
    """Every wrong factor is found in noisy forces, of a slice map; in the right units the ratio is 1.052(11)."""
    folder = shared_folder("cgnet_ala2")
    x = np.load(folder / "ala2_coordinates.npy")[::4] / 10
    f = np.load(folder / "ala2_forces.npy")[::4] * 41.84
    masses = np.array([12.01, 14.01, 12.01, 12.01, 14.01])
    report = check_frames(Frames(x, forces=f, masses=masses), temperature=300, num_functions=200)
    assert report.force_ratio == pytest.approx(1.0, abs=0.15)
    for length, force in [(1, 10), (1, 0.1), (1, 4.184), (1, 1 / 4.184), (10, 1), (0.1, 1), (10, 1 / 41.84), (10, 0.1)]:
        with pytest.raises(BadFrames, match=r"forces do not fit|were read as"):
            check_frames(Frames(length * x, forces=force * f, masses=masses), temperature=300)
