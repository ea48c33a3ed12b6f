# SPDX-License-Identifier: MIT
"""Maps from atoms to beads, on a small box of rigid water and on hand-made molecules."""

from __future__ import annotations

import sys

import numpy as np
import openmm
import pytest
from openmm import app, unit

from meanforce.mapping import Mapping, minimum_image


def water_box(sites: str = "spce") -> tuple[app.Topology, openmm.System, np.ndarray, np.ndarray]:
    """Return topology, rigid System, positions and box of about 50 waters."""
    force_field = app.ForceField(f"{sites}.xml")
    modeller = app.Modeller(app.Topology(), [] * unit.nanometer)
    model = "tip4pew" if sites == "tip4pew" else "spce"
    modeller.addSolvent(force_field, model=model, boxSize=openmm.Vec3(1.3, 1.3, 1.3) * unit.nanometer)
    system = force_field.createSystem(
        modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.6 * unit.nanometer, rigidWater=True
    )
    positions = np.array(modeller.positions.value_in_unit(unit.nanometer))
    box = np.array(modeller.topology.getPeriodicBoxVectors().value_in_unit(unit.nanometer))
    return modeller.topology, system, positions, box


@pytest.fixture(scope="module")
def water() -> tuple[app.Topology, openmm.System, np.ndarray, np.ndarray]:
    return water_box()


def test_water_beads_are_centres_of_mass(water):
    topology, system, positions, _ = water
    mapping = Mapping.from_topology(topology, system)
    n = topology.getNumResidues()
    assert (mapping.num_beads, mapping.num_atoms) == (n, 3 * n)
    assert [(t.name, t.residue) for t in mapping.bead_types] == [("W", "HOH")]
    masses = np.array([system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(3)])
    np.testing.assert_allclose(mapping.masses, masses.sum())
    expected = np.einsum("a,nax->nx", masses / masses.sum(), positions.reshape(n, 3, 3))
    np.testing.assert_allclose(mapping.map_positions(positions), expected, atol=1e-12)
    np.testing.assert_allclose(mapping.map_velocities(positions), expected, atol=1e-12)
    np.testing.assert_allclose(mapping.weights.sum(axis=1), 1.0)
    frames = np.stack([positions, 2 * positions])
    np.testing.assert_allclose(mapping.map_positions(frames)[1], 2 * expected, atol=1e-12)


def test_broken_molecules_are_made_whole(water):
    topology, system, positions, box = water
    mapping = Mapping.from_topology(topology, system)
    whole = mapping.map_positions(positions, box)
    shifts = np.random.default_rng(1).integers(-2, 3, positions.shape) @ box
    first_of_molecule = np.repeat(shifts[::3], 3, axis=0)[::3]
    broken = mapping.map_positions(positions + shifts, box)
    np.testing.assert_allclose(broken, whole + first_of_molecule, atol=1e-10)
    assert np.abs(mapping.map_positions(positions + shifts) - whole).max() > 0.1  # without the box it must differ
    per_frame = mapping.map_positions(np.stack([positions + shifts] * 2), np.stack([box] * 2))
    np.testing.assert_allclose(per_frame[1], broken, atol=1e-12)


def test_minimum_image_in_a_triclinic_box():
    box = np.array([[2.0, 0, 0], [0.6, 1.8, 0], [-0.5, 0.7, 1.7]])
    rng = np.random.default_rng(2)
    near = rng.uniform(-0.4, 0.4, (200, 3))
    np.testing.assert_allclose(minimum_image(near + rng.integers(-3, 4, (200, 3)) @ box, box), near, atol=1e-12)


def test_mapped_force_is_mass_times_bead_acceleration(water):
    """With rigid molecules the summed atomic force is the exact centre-of-mass force: slope one, and no residue."""
    topology, system, positions, _ = water
    mapping = Mapping.from_topology(topology, system)
    step = 1e-4
    integrator = openmm.VerletIntegrator(step)
    integrator.setConstraintTolerance(1e-10)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    context.setVelocitiesToTemperature(300, 1)
    context.applyConstraints(1e-10)
    integrator.step(1)
    before = context.getState(velocities=True, forces=True)
    integrator.step(1)
    after = context.getState(velocities=True)
    velocities = [mapping.map_velocities(s.getVelocities(asNumpy=True)) for s in (before, after)]
    inertial = mapping.masses[:, None] * (velocities[1] - velocities[0]) / step
    mapped = mapping.map_forces(before.getForces(asNumpy=True))
    slope = np.sum(mapped * inertial) / np.sum(inertial**2)
    assert abs(slope - 1) < 1e-6
    np.testing.assert_allclose(mapped, inertial, atol=1e-5 * np.abs(inertial).max())


def test_virtual_sites_belong_to_their_molecule_and_carry_no_force():
    topology, system, positions, _ = water_box("tip4pew")
    mapping = Mapping.from_topology(topology, system)
    assert mapping.num_beads == topology.getNumResidues()
    forces = np.ones((system.getNumParticles(), 3))
    np.testing.assert_allclose(mapping.map_forces(forces), 3.0)  # three massive atoms of four
    assert mapping.map_positions(positions).shape == (mapping.num_beads, 3)


def dimer(by: str) -> Mapping:
    """Return the mapping of two bonded residues, one of one atom and one of two."""
    topology = app.Topology()
    chain = topology.addChain()
    carbon = app.Element.getBySymbol("C")
    glycine, alanine = topology.addResidue("GLY", chain), topology.addResidue("ALA", chain)
    atoms = [topology.addAtom(name, carbon, r) for name, r in (("CA", glycine), ("CA", alanine), ("CB", alanine))]
    topology.addBond(atoms[0], atoms[1])
    topology.addBond(atoms[1], atoms[2])
    return Mapping.from_topology(topology, [12.0, 13.0, 14.0], by=by, names={"GLY": "G", "ALA": "A"})


def test_by_residue_molecule_and_chain():
    residues = dimer("residue")
    assert [(t.name, t.residue, t.mass) for t in residues.bead_types] == [("G", "GLY", 12.0), ("A", "ALA", 27.0)]
    np.testing.assert_array_equal(residues.types, [0, 1])
    assert [(t.name, t.mass) for t in dimer("molecule").bead_types] == [("G", 39.0)]
    assert dimer("chain").num_beads == 1
    with pytest.raises(ValueError, match="'molecule', 'residue' or 'chain', got 'atom'"):
        dimer("atom")
    with pytest.raises(ValueError, match="type X:A has mass 2, but the same type has mass 1"):
        Mapping([[0], [1]], [1.0, 2.0], ["A", "A"], ["X", "X"])


def test_constraint_between_beads_is_refused_for_forces_only():
    mapping = Mapping([[0, 1], [2, 3]], [12.0] * 4, ["A", "B"], ["X", "X"], constraints=[(0, 1), (1, 2)])
    mapping.map_positions(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="constraint between atoms 1 and 2 joins different beads"):
        mapping.map_forces(np.zeros((4, 3)))
    within = Mapping([[0, 1], [2, 3]], [12.0] * 4, ["A", "B"], ["X", "X"], constraints=[(0, 1), (2, 3)])
    assert within.map_forces(np.ones((4, 3)))[0, 0] == 2.0


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="an atom belongs to two beads"):
        Mapping([[0, 1], [1]], [1.0, 1.0], ["A", "A"], ["X", "X"])
    with pytest.raises(ValueError, match="bead 1 has no mass"):
        Mapping([[0], [1]], [1.0, 0.0], ["A", "A"], ["X", "X"])
    with pytest.raises(ValueError, match=r"must have shape .*2, 3.*got \(3, 3\)"):
        Mapping([[0], [1]], [1.0, 1.0], ["A", "A"], ["X", "X"]).map_positions(np.zeros((3, 3)))


def test_topology_and_pdb_round_trip(water, tmp_path):
    topology, system, positions, box = water
    mapping = Mapping.from_topology(topology, system)
    beads = mapping.map_positions(positions, box)
    path = tmp_path / "beads.pdb"
    mapping.write_pdb(path, beads, box)
    pdb = app.PDBFile(str(path))
    assert pdb.topology.getNumResidues() == pdb.topology.getNumAtoms() == mapping.num_beads
    assert {(a.name, a.residue.name) for a in pdb.topology.atoms()} == {("W", "HOH")}
    np.testing.assert_allclose(pdb.getPositions(asNumpy=True).value_in_unit(unit.nanometer), beads, atol=6e-5)
    read_box = pdb.topology.getPeriodicBoxVectors().value_in_unit(unit.nanometer)
    np.testing.assert_allclose(read_box, box, atol=1e-4)
    coarse = Mapping.identity(mapping.topology(box), mapping.masses)
    assert coarse.bead_types == mapping.bead_types
    np.testing.assert_array_equal(coarse.map_positions(beads), beads)


def peptide() -> tuple[app.Topology, np.ndarray]:
    """Return the topology and masses of ACE-GLY-PRO-NME without hydrogens, and a water."""
    residues = {
        "ACE": ["CH3", "C", "O"],
        "GLY": ["N", "CA", "C", "O"],
        "PRO": ["N", "CA", "CB", "CG", "CD", "C", "O"],
        "NME": ["N", "C"],
    }
    topology = app.Topology()
    chain = topology.addChain("A")
    for k, (name, atoms) in enumerate(residues.items(), 1):
        residue = topology.addResidue(name, chain, str(k))
        for atom in atoms:
            topology.addAtom(atom, app.Element.getBySymbol(atom[0]), residue)
    topology.createStandardBonds()
    water = topology.addResidue("HOH", topology.addChain("B"), "9")
    for atom in ("O", "H1", "H2"):
        topology.addAtom(atom, app.Element.getBySymbol(atom[0]), water)
    masses = np.array([atom.element.mass.value_in_unit(unit.dalton) for atom in topology.atoms()])
    return topology, masses


def named(mapping: Mapping) -> list[str]:
    return [f"{a.residue.name}:{a.name}" for a in mapping.topology().atoms()]


def test_c_alpha_beads_are_bonded_along_the_chain():
    topology, masses = peptide()
    mapping = Mapping.c_alpha(topology)
    assert named(mapping) == ["GLY:CA", "PRO:CA"]
    assert mapping.bonds == [(0, 1)]  # through atoms that are in no bead
    np.testing.assert_allclose(mapping.masses, 12.01078, atol=1e-3)
    np.testing.assert_allclose(mapping.map_forces(np.arange(57.0).reshape(19, 3))[0], [12, 13, 14])
    np.testing.assert_allclose(mapping.atom_masses, masses)


def test_five_beads_and_glycine_without_its_fifth():
    mapping = Mapping.five_bead(peptide()[0])
    assert named(mapping) == [f"GLY:{a}" for a in ("N", "CA", "C", "O")] + [
        f"PRO:{a}" for a in ("N", "CA", "CB", "C", "O")
    ]
    names = named(mapping)
    bonds = {tuple(sorted((names[i], names[j]))) for i, j in mapping.bonds}
    assert ("GLY:C", "PRO:N") in bonds
    assert ("PRO:CB", "PRO:N") in bonds  # proline's ring
    assert len(bonds) == 9
    topology = mapping.topology()
    assert [(r.name, len(list(r.atoms()))) for r in topology.residues()] == [("GLY", 4), ("PRO", 5)]
    assert topology.getNumBonds() == 9
    with pytest.raises(ValueError, match="no amino acid in the topology"):
        Mapping.five_bead(water_box()[0])


def test_selections_by_function_string_and_index():
    topology, masses = peptide()

    def is_backbone(atom):
        return atom.name in ("N", "CA", "C", "O") and atom.residue.name in ("GLY", "PRO")

    by_function = {"BB": is_backbone, "SC": [9, 10, 11]}
    mapping = Mapping.from_selections(topology, masses, by_function, weights="geometry")
    assert named(mapping) == ["GLY:BB", "PRO:BB", "PRO:SC"]
    assert mapping.bonds == [(0, 1), (1, 2)]
    x = np.random.default_rng(1).standard_normal((19, 3))
    np.testing.assert_allclose(mapping.map_positions(x)[2], x[9:12].mean(axis=0))
    np.testing.assert_allclose(mapping.masses[2], 1 / np.sum((1 / 3) ** 2 / masses[9:12]))
    whole = Mapping.from_selections(topology, masses, {"ALL": range(16)}, per="all")
    np.testing.assert_allclose(whole.masses, masses[:16].sum())
    pytest.importorskip("MDAnalysis")
    strings = {"BB": "name N CA C O and resname GLY PRO", "SC": "name CB CG CD"}
    same = Mapping.from_selections(topology, masses, strings, weights="geometry")
    np.testing.assert_array_equal(same.weights.toarray(), mapping.weights.toarray())
    with pytest.raises(ValueError, match="the selection of the beads 'X' finds no atom"):
        Mapping.from_selections(topology, masses, {"X": "name XX"})
    with pytest.raises(ValueError, match="an atom belongs to two beads"):
        Mapping.from_selections(topology, masses, {"A": [0], "B": [0]})


def test_selection_strings_without_mdanalysis_say_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "MDAnalysis", None)
    with pytest.raises(ImportError, match=r"pip install 'meanforce\[data\]'.*lambda atom: atom\.name == 'CA'"):
        Mapping.from_selections(*peptide(), {"A": "name CA"})


def test_explicit_weights():
    masses = [2.0, 4.0, 8.0, 0.0]
    mapping = Mapping([[0, 1], [2, 3]], masses, ["A", "B"], ["X", "Y"], weights=[[0.25, 0.75], [1.0, 0.0]])
    np.testing.assert_allclose(mapping.masses, [1 / (0.25**2 / 2 + 0.75**2 / 4), 8.0])
    x = np.arange(12.0).reshape(4, 3)
    np.testing.assert_allclose(mapping.map_positions(x), [0.25 * x[0] + 0.75 * x[1], x[2]])
    np.testing.assert_allclose(mapping.map_forces(x), [x[0] + x[1], x[2]])
    for weights, message in (
        ([[0.5, 0.6], [1.0, 0.0]], "weights of bead 0 sum to 1.1, not to one"),
        ([[0.5, 0.5], [0.5, 0.5]], "atom 3 of bead 1 has no mass and can carry no weight"),
        ([[1.0], [1.0, 0.0]], "one weight for each of its atoms"),
        ("volume", "'mass', 'geometry' or numbers for each bead, got 'volume'"),
    ):
        with pytest.raises(ValueError, match=message):
            Mapping([[0, 1], [2, 3]], masses, ["A", "B"], ["X", "Y"], weights=weights)


def test_a_map_is_saved_and_read_again(tmp_path):
    topology, _ = peptide()
    mapping = Mapping.five_bead(topology, constraints=[(0, 1)])
    mapping.force_map  # noqa: B018
    mapping.save(tmp_path / "map.json")
    read = Mapping.load(tmp_path / "map.json")
    np.testing.assert_array_equal(read.weights.toarray(), mapping.weights.toarray())
    np.testing.assert_array_equal(read.force_map.weights.toarray(), mapping.force_map.weights.toarray())
    assert named(read) == named(mapping)
    assert (read.bonds, read.constraints) == (mapping.bonds, mapping.constraints)
    assert read.bead_types == mapping.bead_types
