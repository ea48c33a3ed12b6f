# SPDX-License-Identifier: MIT
"""Atomistic input in every format, and the mapping of files: units, blocks, memory, restarts."""

from __future__ import annotations

import json
import tracemalloc
import warnings

import h5py
import numpy as np
import openmm
import pytest
from openmm import app, unit

from meanforce.cli import app as cli
from meanforce.data import (
    AtomisticTrajectory,
    Frames,
    MlcgTrajectory,
    Trajectory,
    Units,
    map_trajectory,
    read_topology,
    write_mlcg,
)
from meanforce.mapping import ForceMap, Mapping, StochasticMapping
from peptide import alanine_dipeptide

FRAMES, ATOMS = 7, 6
BOX = np.array([[2.0, 0, 0], [0.5, 2.2, 0], [-0.3, 0.4, 2.4]])


@pytest.fixture
def atoms():
    """Return positions (nm), velocities (nm/ps) and forces (kJ/mol/nm)."""
    random = np.random.default_rng(7)
    return tuple(scale * random.standard_normal((FRAMES, ATOMS, 3)) for scale in (0.5, 0.6, 300.0))


def two_beads() -> Mapping:
    return Mapping([[0, 1, 2], [3, 4]], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], ["A", "B"], ["X", "Y"], bonds=[(0, 1)])


def write_with_mdanalysis(path, x, v, f, box=BOX):
    mda = pytest.importorskip("MDAnalysis")
    universe = mda.Universe.empty(ATOMS, trajectory=True, velocities=True, forces=True)
    units = {"lengthunit": "Angstrom", "timeunit": "ps", "velocityunit": "Angstrom/ps"}
    options = {
        ".h5md": {**units, "forceunit": "kJ/(mol*Angstrom)"},
        ".ncdf": {"velocities": True, "forces": True},
    }.get(path.suffix, {})
    with warnings.catch_warnings(), mda.Writer(str(path), ATOMS, n_frames=FRAMES, **options) as writer:
        warnings.simplefilter("ignore")
        for k in range(FRAMES):
            ts = universe.trajectory.ts
            ts.positions, ts.velocities, ts.forces = 10 * x[k], 10 * v[k], f[k] / 10
            ts.dimensions = None if box is None else mda.lib.mdamath.triclinic_box(*(10 * box))
            ts.time = 2.0 * k
            ts.frame = k
            writer.write(universe.atoms)


@pytest.mark.parametrize("ending", ["trr", "h5md", "ncdf"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_formats_with_forces(tmp_path, atoms, ending):
    path = tmp_path / f"atoms.{ending}"
    write_with_mdanalysis(path, *atoms)
    source = AtomisticTrajectory(path)
    assert (len(source), source.num_atoms, source.has_forces, source.has_velocities) == (FRAMES, ATOMS, True, True)
    ((numbers, frames),) = source.blocks()
    np.testing.assert_array_equal(numbers, np.arange(FRAMES))
    for found, expected in zip((frames.positions, frames.velocities, frames.forces), atoms, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(frames.time, 2.0 * np.arange(FRAMES), atol=1e-6)
    np.testing.assert_allclose(frames.box[3], BOX, atol=1e-5)
    blocks = list(source.blocks(2, start=1, stride=2))
    assert [block.numbers.tolist() for block in blocks] == [[1, 3], [5]]
    np.testing.assert_array_equal(blocks[1].frames.forces[0], frames.forces[5])


def lammps_dump(path, x, v, f):
    """Write a dump in real units: angstrom, fs, kcal/mol."""
    with path.open("w") as file:
        for k in range(FRAMES):
            file.write(f"ITEM: TIMESTEP\n{100 * k}\nITEM: NUMBER OF ATOMS\n{ATOMS}\nITEM: BOX BOUNDS pp pp pp\n")
            file.write("0 30\n0 30\n0 30\nITEM: ATOMS id type x y z vx vy vz fx fy fz\n")
            for atom in reversed(range(ATOMS)):  # LAMMPS doesn't sort
                row = np.concatenate([10 * x[k, atom], 0.01 * v[k, atom], f[k, atom] / 41.84])
                file.write(f"{atom + 1} 1 " + " ".join(f"{value:.9g}" for value in row) + "\n")


def test_lammps_dump_needs_its_units(tmp_path, atoms):
    pytest.importorskip("MDAnalysis")
    path = tmp_path / "run.lammpstrj"
    lammps_dump(path, *atoms)
    with pytest.raises(ValueError, match="does not say its units; give `units`"):
        AtomisticTrajectory(path)
    ((_, frames),) = AtomisticTrajectory(path, units="real", time_step=0.001).blocks()
    for found, expected in zip((frames.positions, frames.velocities, frames.forces), atoms, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(frames.box[0], 3.0 * np.eye(3))
    np.testing.assert_allclose(frames.time, 0.1 * np.arange(FRAMES))


def test_arrays_with_units(tmp_path, atoms):
    x, v, f = atoms
    np.savez(
        tmp_path / "a.npz", positions=10 * x, velocities=10 * v, forces=f / 41.84, box=10 * BOX, time=np.arange(7.0)
    )
    ((_, frames),) = AtomisticTrajectory(tmp_path / "a.npz", units="mlcg").blocks()
    for found, expected in zip((frames.positions, frames.velocities, frames.forces), atoms, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(frames.box, np.tile(BOX, (FRAMES, 1, 1)))
    np.save(tmp_path / "x.npy", 10 * x)
    np.save(tmp_path / "f.npy", f / 964.8533212)
    electron = AtomisticTrajectory(tmp_path / "x.npy", forces=tmp_path / "f.npy", units="metal")
    np.testing.assert_allclose(next(electron.blocks()).frames.forces, f, rtol=1e-8)
    assert not electron.has_velocities
    mine = Units(unit.angstrom, unit.kilojoule_per_mole)
    assert (mine.position_factor, mine.force_factor, mine.velocity_factor) == pytest.approx((0.1, 10.0, 0.1))


def test_several_files_are_one_trajectory(tmp_path, atoms):
    for k in range(2):
        np.savez(tmp_path / f"{k}.npz", positions=atoms[0] + k, forces=atoms[2])
    source = AtomisticTrajectory([tmp_path / "0.npz", tmp_path / "1.npz"], units="openmm")
    assert len(source) == 2 * FRAMES
    whole = np.concatenate([block.frames.positions for block in source.blocks(3, start=5, stop=9)])
    np.testing.assert_allclose(whole, np.concatenate([atoms[0][5:], atoms[0][:2] + 1]))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # MDAnalysis's reader of TRR
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: AtomisticTrajectory(d / "none.trr"), r"no trajectory at .*none\.trr"),
        (lambda d: AtomisticTrajectory(d / "text.trr"), r"text\.trr cannot be read by MDAnalysis"),
        (lambda d: AtomisticTrajectory(d / "a.npz"), "does not say its units"),
        (lambda d: AtomisticTrajectory(d / "a.npz", units="feet"), r"`units` must be one of .*got 'feet'"),
        (lambda d: AtomisticTrajectory(d / "a.npz", units="openmm", num_atoms=9), r"has 6 atoms, but 9 are expected"),
        (
            lambda d: AtomisticTrajectory(d / "bad.npz", units="openmm"),
            r"must hold an array 'positions', found \['x'\]",
        ),
        (lambda d: AtomisticTrajectory(d / "shape.npz", units="openmm"), r"must have shape \(n_frames, n_atoms, 3\)"),
        (lambda d: AtomisticTrajectory(d / "odd.npz", units="openmm"), r"forces .* must have shape \(7, 6, 3\)"),
        (
            lambda d: AtomisticTrajectory(d / "a.npz", forces=d / "a.npz", units="openmm"),
            r"go with positions in a \.npy",
        ),
        (
            lambda d: list(AtomisticTrajectory(d / "nan.npz", units="openmm").blocks()),
            "frame 4 .* forces of atom 2 are",
        ),
        (lambda d: list(AtomisticTrajectory(d / "a.npz", units="openmm").blocks(0)), "at least 1, got 0 and 1"),
        (lambda d: AtomisticTrajectory(d / "a.npz", units="openmm").require_forces(), r"no forces.*nstfout.*inversion"),
        (lambda d: read_topology(d / "none.pdb"), r"no topology at .*none\.pdb"),
        (lambda d: read_topology(d / "text.pdb"), r"cannot be read as a topology"),
    ],
)
def test_mistakes_are_named(tmp_path, atoms, make, message):
    pytest.importorskip("MDAnalysis")
    x, _, f = atoms
    broken = f.copy()
    broken[4, 2, 1] = np.nan
    (tmp_path / "text.trr").write_text("no trajectory")
    (tmp_path / "text.pdb").write_text("HETATM nonsense")
    np.savez(tmp_path / "a.npz", positions=x)
    np.savez(tmp_path / "bad.npz", x=x)
    np.savez(tmp_path / "shape.npz", positions=x[0])
    np.savez(tmp_path / "odd.npz", positions=x, forces=f[:3])
    np.savez(tmp_path / "nan.npz", positions=x, forces=broken)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        make(tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_format_without_forces_is_refused(tmp_path, atoms):
    mda = pytest.importorskip("MDAnalysis")
    universe = mda.Universe.empty(ATOMS, trajectory=True)
    with mda.Writer(str(tmp_path / "a.xtc"), ATOMS) as writer:
        for frame in atoms[0]:
            universe.atoms.positions = 10 * frame
            universe.dimensions = [50, 50, 50, 90, 90, 90]
            writer.write(universe.atoms)
    source = AtomisticTrajectory(tmp_path / "a.xtc")
    with pytest.raises(ValueError, match=r"a\.xtc holds no forces, .* write them during the run \(TRR, H5MD"):
        map_trajectory(source, two_beads(), tmp_path / "b.h5")
    assert map_trajectory(source, two_beads(), tmp_path / "b.h5", forces=False) == FRAMES
    with Trajectory(tmp_path / "b.h5") as beads:
        np.testing.assert_allclose(beads.box[0], 5.0 * np.eye(3))
        assert beads.forces is None


def npz_source(tmp_path, atoms) -> AtomisticTrajectory:
    x, v, f = atoms
    np.savez(tmp_path / "a.npz", positions=x, velocities=v, forces=f, time=0.5 * np.arange(FRAMES), box=BOX * 10)
    return AtomisticTrajectory(tmp_path / "a.npz", units="openmm")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mapped_file_is_read_by_mdanalysis_with_units(tmp_path, atoms):
    pytest.importorskip("MDAnalysis")
    from MDAnalysis.coordinates.H5MD import H5MDReader

    source, mapping = npz_source(tmp_path, atoms), two_beads()
    map_trajectory(source, mapping, tmp_path / "beads.h5md", velocity_time_offset=-0.001)
    reader = H5MDReader(str(tmp_path / "beads.h5md"))
    expected = mapping.project(atoms[0], np.tile(10 * BOX, (FRAMES, 1, 1)), atoms[1], atoms[2])
    assert (reader.n_frames, reader.n_atoms) == (FRAMES, 2)
    for k, ts in enumerate(reader):  # angstrom, angstrom/ps, kJ/mol/angstrom
        np.testing.assert_allclose(ts.positions, 10 * expected.positions[k], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(ts.velocities, 10 * expected.velocities[k], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(ts.forces, expected.forces[k] / 10, rtol=1e-5, atol=1e-4)
        assert ts.time == pytest.approx(0.5 * k)
    with Trajectory(tmp_path / "beads.h5md") as beads:
        assert beads.velocity_time_offset == -0.001
        assert beads.bonds == [(0, 1)]
        assert [len(block) for block in beads.blocks(3)] == [3, 3, 1]
        assert beads[2:4].bead_types == mapping.bead_types


def count_into(calls: list):
    return lambda done, total: calls.append((done, total))


def test_a_stopped_mapping_goes_on(tmp_path, atoms):
    source, mapping = npz_source(tmp_path, atoms), two_beads()
    noisy = StochasticMapping(mapping, 0.05, 300, seed=9, mixing=0.5)
    for name, one in (("linear", mapping), ("noisy", noisy)):
        whole, stopped = tmp_path / f"{name}.h5", tmp_path / f"{name}-stopped.h5"
        map_trajectory(source, one, whole, block=2)

        def stop(done, total):
            if done == 4:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            map_trajectory(source, one, stopped, block=2, progress=stop)
        with h5py.File(stopped, "r+") as file:  # as a run killed while it wrote the next block leaves it
            file["particles/beads/box/edges/step"].resize(6, axis=0)
        calls = []
        assert map_trajectory(source, one, stopped, block=2, resume=True, progress=count_into(calls)) == FRAMES
        assert calls == [(6, 7), (7, 7)]
        with Trajectory(whole) as a, Trajectory(stopped) as b:
            np.testing.assert_array_equal(a.positions[:], b.positions[:])
            np.testing.assert_array_equal(a.forces[:], b.forces[:])
            np.testing.assert_array_equal(b.steps, np.arange(FRAMES))
    with pytest.raises(ValueError, match="made of other frames or by another mapping"):
        map_trajectory(source, mapping, tmp_path / "linear-stopped.h5", start=1, resume=True)
    other = Mapping([[0, 2, 1], [3, 4]], mapping.atom_masses, ["A", "B"], ["X", "Y"], weights="geometry")
    with pytest.raises(ValueError, match=r"another mapping|differ from those of the mapping"):
        map_trajectory(source, other, tmp_path / "linear-stopped.h5", resume=True)
    with pytest.raises(ValueError, match="the trajectory has 6 atoms, but the mapping is one of 1"):
        map_trajectory(source, Mapping([[0]], [1.0], ["A"], ["X"]), tmp_path / "c.h5")
    with pytest.raises(ValueError, match="no frames to map"):
        map_trajectory(source, mapping, tmp_path / "c.h5", start=20)


def test_memory_is_bounded(tmp_path):
    """96 MB of positions and forces are mapped, and read again, in less than a tenth of that."""
    frames, n = 400, 10_000
    for name in "xf":
        array = np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.float32, (frames, n, 3))
        array[::50] = np.random.default_rng(1).standard_normal((n, 3))
        del array
    mapping = Mapping(np.arange(n).reshape(-1, 10), np.ones(n), ["A"] * (n // 10), ["X"] * (n // 10))
    source = AtomisticTrajectory(tmp_path / "x.npy", forces=tmp_path / "f.npy", units="openmm")
    tracemalloc.start()
    try:
        map_trajectory(source, mapping, tmp_path / "beads.h5", block=4)
        with Trajectory(tmp_path / "beads.h5") as beads:
            total = sum(float(block.forces.sum()) for block in beads.blocks(20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 9.6e6
    expected = 8 * np.random.default_rng(1).standard_normal((n, 3)).astype(np.float32).sum()
    np.testing.assert_allclose(total, expected, rtol=1e-3, atol=0.5)


def test_mlcg_layout_round_trip(tmp_path):
    random = np.random.default_rng(8)
    x, f = random.standard_normal((2, 5, 3, 3))
    frames = Frames(x, forces=f, types=np.array([0, 2, 1]))
    path = tmp_path / "mlcg.h5"
    write_mlcg(path, frames, "train/ala")
    with h5py.File(path) as file:
        group = file["train/ala"]
        assert group["cg_coords"].dtype == group["cg_forces"].dtype == np.float32
        np.testing.assert_allclose(group["cg_coords"][:], 10 * frames.positions, rtol=1e-6)  # angstrom
        np.testing.assert_allclose(group["cg_forces"][:], frames.forces / 41.84, rtol=1e-6)  # kcal/mol/angstrom
        np.testing.assert_array_equal(group.attrs["cg_embeds"], [1, 3, 2])
    with MlcgTrajectory(path) as read:
        assert not read.delta
        np.testing.assert_allclose(read[1:3].positions, frames.positions[1:3], rtol=1e-6)
        np.testing.assert_allclose(read.require_forces()[:], frames.forces, rtol=1e-6)
        assert [len(block) for block in read.blocks(2)] == [2, 2, 1]
    write_mlcg(path, frames, "train/gly", embeds=[4, 5, 6], delta=True)
    with pytest.raises(ValueError, match="train/ala, train/gly; got None"):
        MlcgTrajectory(path)
    with MlcgTrajectory(path, "train/gly") as delta:
        assert delta.delta
    with pytest.raises(ValueError, match="has a molecule 'train/ala' already"):
        write_mlcg(path, frames, "train/ala")
    with pytest.raises(ValueError, match=r"has \['cg_delta_forces'\], not 'cg_forces'"):
        MlcgTrajectory(path, "train/gly", forces="cg_forces")


@pytest.fixture
def peptide_files(tmp_path):
    """Return the folder with topology, System and eight frames of alanine dipeptide."""
    topology, system, x = alanine_dipeptide()
    with (tmp_path / "ala.pdb").open("w") as file:
        app.PDBFile.writeFile(topology, x * unit.nanometer, file)
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    random = np.random.default_rng(10)
    positions = x + 0.005 * random.standard_normal((8, *x.shape))
    np.savez(tmp_path / "run.npz", positions=positions, forces=100 * random.standard_normal(positions.shape))
    return tmp_path


def run_cli(folder, *arguments, status=0):
    base = ["map", str(folder / "run.npz"), "--topology", str(folder / "ala.pdb"), "--units", "openmm"]
    with pytest.raises(SystemExit) as stopped:
        cli([*base, *arguments])
    assert stopped.value.code == status


def test_map_command(peptide_files, capsys):
    out = peptide_files / "five.h5"
    system = ["--system", str(peptide_files / "system.xml")]
    run_cli(peptide_files, "--output", str(out), "--by", "five-bead", *system, "--forces", "optimal")
    printed = capsys.readouterr().out
    assert "8 frames of 5 beads of 5 types" in printed
    assert "constraint-aware" in printed
    mapping = Mapping.load(peptide_files / "five.map.json")
    pdb = app.PDBFile(str(peptide_files / "five.pdb"))
    assert [atom.name for atom in pdb.topology.atoms()] == ["N", "CA", "CB", "C", "O"]
    with Trajectory(out) as beads, np.load(peptide_files / "run.npz") as file:
        assert len(beads) == 8
        np.testing.assert_allclose(beads.positions[:], mapping.map_positions(file["positions"]), atol=1e-6)
        np.testing.assert_allclose(beads.forces[:], mapping.map_forces(file["forces"]), rtol=1e-4, atol=1e-3)
    run_cli(peptide_files, "--output", str(out), "--by", "five-bead", *system, status=2)
    assert "give --resume" in " ".join(capsys.readouterr().err.split())
    run_cli(peptide_files, "--output", str(out), "--by", "five-bead", *system, "--forces", "optimal", "--resume")
    by_file = [
        "--output",
        str(peptide_files / "again.h5"),
        "--by",
        str(peptide_files / "five.map.json"),
        "--stride",
        "2",
    ]
    run_cli(peptide_files, *by_file)
    with Trajectory(peptide_files / "again.h5") as beads:
        np.testing.assert_array_equal(beads.steps, [0, 2, 4, 6])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--by", "residue"), "constraints bias mapped forces, so they must be known"),
        (("--by", "sausage", "--constraints", "hbonds"), "--by must be molecule, residue, chain, c-alpha"),
        (("--select", "CA", "--constraints", "hbonds"), "--select must be NAME=SELECTION, got 'CA'"),
        (("--select", "CA=name XX", "--constraints", "hbonds"), "the beads 'CA' finds no atom"),
        (
            ("--select", "CA=nome CA", "--constraints", "hbonds"),
            "MDAnalysis does not understand the selection 'nome CA'",
        ),
        (("--by", "missing.json", "--constraints", "hbonds"), "No such file"),
        (("--by", "five-bead", "--constraints", "allbonds"), "joins different beads"),
        (("--by", "c-alpha", "--constraints", "hbonds", "--start", "8"), "no frames"),
    ],
)
def test_map_command_says_one_clear_thing(peptide_files, capsys, arguments, message):
    pytest.importorskip("MDAnalysis")
    run_cli(peptide_files, "--output", str(peptide_files / "o.h5"), *arguments, status=2)
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_map_written_by_hand_is_read_and_checked(tmp_path):
    content = {
        "format": "meanforce mapping 1",
        "masses": [1.0, 3.0, 5.0],
        "beads": [{"name": "A", "residue": "X", "atoms": [0, 1], "weights": [0.25, 0.75]}],
    }
    path = tmp_path / "map.json"
    path.write_text(json.dumps(content))
    assert Mapping.load(path).masses == pytest.approx([4.0])
    content["beads"][0]["weights"] = [0.5, 0.75]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"map\.json is not a mapping .*weights of bead 0 sum to 1\.25"):
        Mapping.load(path)
    del content["masses"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="'masses' is missing"):
        Mapping.load(path)


def test_a_biased_force_map_survives_saving(tmp_path):
    mapping = Mapping([[0], [1]], [1.0] * 3, ["A", "B"], ["X", "X"], constraints=[(1, 2)])
    mapping.force_map = ForceMap.slice(mapping)
    mapping.save(tmp_path / "m.json")
    read = Mapping.load(tmp_path / "m.json")
    assert not read.force_map.constraints_cancel
    np.testing.assert_array_equal(read.force_map.weights.toarray(), np.eye(2, 3))
