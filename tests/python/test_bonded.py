# SPDX-License-Identifier: MIT
"""Bonded potentials, exclusions and repulsion: torch, model file and OpenMM agree; fits find what made the data."""

import json

import numpy as np
import openmm
import pytest
import torch
from openmm import app, unit

import meanforce
from meanforce.bonds import BondGraph
from meanforce.data import Frames
from meanforce.modelfile import BeadType, ModelFileError
from meanforce.potentials import (
    Dihedrals,
    HarmonicAngles,
    HarmonicBonds,
    Impropers,
    MomentTensor,
    PairSpline,
    Sum,
    are_chiral,
    energies_and_forces,
    is_mirror_blind,
    mirror_asymmetry,
    repulsion,
    smallest_distances,
)
from meanforce.training import fit_bonded
from test_modelfile import edit_description, rewrite, set_parameters

torch.set_num_threads(1)

#: A five-bead backbone with a branch at the middle bead: C N CA(CB) C N
TYPES = [0, 1, 2, 0, 1, 3]
BONDS = [(0, 1), (1, 2), (2, 3), (3, 4), (2, 5)]
BEADS = [BeadType("C", "ALA", 12.011), BeadType("N", "ALA", 14.007), BeadType("CA", "ALA", 13.0)]
BEADS += [BeadType("CB", "ALA", 15.0)]
FORCE_UNIT = unit.kilojoule_per_mole / unit.nanometer
KT = 0.00831446 * 300


def conformations(count, seed=0, box=None):
    """Return random conformations with bonds of about 0.15 nm, some of them torn across a box."""
    random = np.random.default_rng(seed)
    base = np.array(
        [[0, 0, 0], [0.13, 0.05, 0], [0.2, 0.17, 0.05], [0.34, 0.2, 0.02], [0.42, 0.3, 0.1], [0.13, 0.2, 0.18]]
    )
    x = base + 0.02 * random.normal(size=(count, 6, 3))
    return x if box is None else x + random.integers(-1, 2, (count, 6, 3)) @ box


def make_model(seed=0):
    random = np.random.default_rng(seed)
    bonds = HarmonicBonds(4, [(0, 1), (2, 1), (2, 0), (3, 2)], [1e4, 2e4, 3e4, 1e4], [0.13, 0.14, 0.15, 0.16])
    angles = HarmonicAngles(4, [(0, 1, 2), (0, 2, 1), (2, 0, 1)], [100.0, 200.0, 300.0], [2.0, 1.9, 2.1])
    dihedrals = Dihedrals(4, [(0, 1, 2, 0), (1, 2, 0, 1)], 5 * random.normal(size=(2, 3, 2)))
    impropers = Impropers(4, [(2, 3, 0, 1)], 8 * random.normal(size=(1, 2, 2)))
    pairs = PairSpline(4, 0.6, 20, exclude_bonds=2).double()
    with torch.no_grad():
        pairs.coefficients.copy_(torch.from_numpy(20 * random.normal(size=pairs.coefficients.shape)))
    model = Sum(bonds, angles, dihedrals, impropers, pairs)
    model.bead_types = BEADS
    model.set_bonds(TYPES, BONDS)
    return model


def topology(copies=1, box=None):
    result = app.Topology()
    for _ in range(copies):
        residue = result.addResidue("ALA", result.addChain())
        atoms = [result.addAtom(BEADS[t].name, None, residue) for t in TYPES]
        for i, j in BONDS:
            result.addBond(atoms[j], atoms[i])  # either end may come first
    if box is not None:
        result.setPeriodicBoxVectors(box * unit.nanometer)
    return result


def evaluate(system, positions, platform="Reference"):
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(platform))
    context.setPositions(positions.reshape(-1, 3))
    state = context.getState(energy=True, forces=True)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    return energy, state.getForces(asNumpy=True).value_in_unit(FORCE_UNIT)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("bonded") / "model.pt"
    meanforce.export(make_model(), path)
    return path


# ------------------------------------------------------------------------------------------------------ who is bonded
def test_graph_lists_angles_dihedrals_and_impropers():
    graph = BondGraph.create(TYPES, BONDS)
    assert sorted(graph.angles) == [(0, 1, 2), (1, 2, 3), (1, 2, 5), (2, 3, 4), (3, 2, 5)]
    found = {min(d, d[::-1]) for d in graph.dihedrals}
    assert found == {(0, 1, 2, 3), (0, 1, 2, 5), (1, 2, 3, 4), (4, 3, 2, 5)}
    assert graph.impropers == [(2, 1, 3, 5)]
    assert graph.pairs_within(0) == []
    assert graph.pairs_within(1) == sorted(BONDS)
    assert (0, 2) in graph.pairs_within(2)
    assert (0, 3) not in graph.pairs_within(2)
    assert len(graph.pairs_within(4)) == 15


def test_rings_have_no_dihedral_that_bites_its_tail():
    ring = BondGraph.create([0] * 3, [(0, 1), (1, 2), (2, 0)])
    assert ring.dihedrals == []
    assert len(BondGraph.create([0] * 4, [(0, 1), (1, 2), (2, 3), (3, 0)]).dihedrals) == 4


def test_bonds_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"two different beads of 0 .. 2, got \(1, 1\)"):
        BondGraph.create([0, 0, 0], [(1, 1)])
    with pytest.raises(ValueError, match=r"no parameters for the bond of beads \(0, 1\), types \(0, 3\)"):
        make_model().set_bonds([0, 3], [(0, 1)])
    with pytest.raises(ValueError, match="comes twice"):
        HarmonicAngles(2, [(0, 0, 1), (1, 0, 0)], [1.0, 1.0], [2.0, 2.0])
    with pytest.raises(ValueError, match=r"must have 3 types of 0 .. 1 each"):
        HarmonicAngles(2, [(0, 1)], [1.0], [2.0])
    with pytest.raises(ValueError, match=r"lengths must have the shape \(1,\)"):
        HarmonicBonds(2, [(0, 1)], [1.0], [2.0, 3.0])
    with pytest.raises(ValueError, match="call set_bonds"):
        HarmonicBonds(1, [(0, 0)], [1.0], [0.1])(torch.zeros(2, 3), torch.zeros(2))


# -------------------------------------------------------------------------------------------------------- closed forms
def test_energies_are_the_formulas():
    x = torch.tensor([[0.1, 0, 0], [0, 0, 0], [0, 0.2, 0], [-0.3, 0.2, 0.3]], dtype=torch.float64)
    types, bonds = torch.zeros(4, dtype=torch.long), [(0, 1), (1, 2), (2, 3)]

    def energy(term):
        term.set_bonds([0] * 4, bonds)
        return term(x, types).item()

    lengths = [0.1, 0.2, 0.3 * np.sqrt(2)]
    expected = 0.5 * 7.0 * sum((r - 0.15) ** 2 for r in lengths)
    assert energy(HarmonicBonds(1, [(0, 0)], [7.0], [0.15])) == pytest.approx(expected)
    assert energy(HarmonicAngles(1, [(0, 0, 0)], [3.0], [1.0])) == pytest.approx(3.0 * (np.pi / 2 - 1) ** 2)
    # Looking along y from bead 1 to bead 2: bead 0 lies towards +x, bead 3 at -x, +z. The angle is -135 degrees (IUPAC:
    # clockwise is positive).
    phi = np.radians(-135.0)
    c = np.arange(6.0).reshape(1, 3, 2) + 1
    n = np.arange(1, 4)
    expected = float(np.sum(c[0, :, 0] * np.cos(n * phi) + c[0, :, 1] * np.sin(n * phi)))
    assert energy(Dihedrals(1, [(0, 0, 0, 0)], c)) == pytest.approx(expected)
    assert energy(Dihedrals(1, [(0, 0, 0, 0)], c * [1, -1])) != pytest.approx(expected)  # the sign matters


# ------------------------------------------------------------------------------------------------- torch against OpenMM
@pytest.mark.parametrize("edge", [None, 1.5], ids=["open", "periodic"])
def test_openmm_runs_what_torch_says(path, edge, platform):
    box = None if edge is None else np.diag([edge, edge + 0.1, edge + 0.2])
    system = meanforce.CGPotential(path).createSystem(topology(box=box))
    # GPU platforms keep the parameters of OpenMM's bonded forces in single precision, whatever they compute in.
    rounded = 1e-9 if platform.name in ("Reference", "CPU") else 2e-6
    tolerance = platform.tolerance(single=2e-4, mixed=2e-4, double=rounded)
    x = conformations(2, box=box)
    energies, forces = energies_and_forces(make_model(), x, TYPES, box)
    context = platform.context(system, openmm.VerletIntegrator(0.001))
    for k in range(2):
        context.setPositions(x[k])
        state = context.getState(energy=True, forces=True)
        scale = np.sqrt(np.mean(forces[k] ** 2))
        found = state.getForces(asNumpy=True).value_in_unit(FORCE_UNIT)
        np.testing.assert_allclose(found, forces[k], rtol=0, atol=tolerance * scale)
        energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        assert energy == pytest.approx(energies[k], abs=tolerance * scale)


def test_each_term_has_its_own_force(path):
    forces = meanforce.CGPotential(path).createForces(TYPES, bonds=BONDS)
    names = [type(force).__name__ for force in forces]
    assert names == [
        "HarmonicBondForce",
        "HarmonicAngleForce",
        "PeriodicTorsionForce",
        "PeriodicTorsionForce",
        "PairSplineForce",
    ]
    assert forces[4].getNumExclusions() == len(BondGraph.create(TYPES, BONDS).pairs_within(2))
    with pytest.raises(ValueError, match="has bonded terms or exclusions: give bonds"):
        meanforce.CGPotential(path).createForces(TYPES)
    bare = app.Topology()
    residue = bare.addResidue("ALA", bare.addChain())
    bare.addAtom("C", None, residue)
    with pytest.raises(ValueError, match="has bonded terms, but the topology has no bonds"):
        meanforce.CGPotential(path).createSystem(bare)


def test_replicas_and_several_molecules(path):
    """Replicas do not see each other; molecules of one topology do, but for their bonded terms and exclusions."""
    x = conformations(3, seed=4)
    model = make_model()
    apart = energies_and_forces(model, x, TYPES)
    system = meanforce.CGPotential(path).createSystem(topology(), replicas=3)
    energy, forces = evaluate(system, x)
    assert energy == pytest.approx(apart[0].sum(), rel=1e-9)
    np.testing.assert_allclose(forces, apart[1].reshape(-1, 3), atol=1e-6)
    energy, forces = evaluate(meanforce.CGPotential(path).createSystem(topology(copies=3)), x)
    together = energies_and_forces(model, x.reshape(1, -1, 3), TYPES * 3)
    assert energy == pytest.approx(together[0][0], rel=1e-9)
    assert energy != pytest.approx(apart[0].sum(), rel=1e-3)
    np.testing.assert_allclose(forces, together[1][0], atol=1e-6)


def test_forces_are_minus_the_gradient():
    x = conformations(1, seed=2)
    model = make_model()
    forces = energies_and_forces(model, x, TYPES)[1][0]
    h, moved = 1e-5, np.repeat(x, 36, axis=0)
    for k in range(18):
        moved[2 * k].reshape(-1)[k] += h
        moved[2 * k + 1].reshape(-1)[k] -= h
    energies = energies_and_forces(model, moved, TYPES, forces=False)[0]
    np.testing.assert_allclose(forces.reshape(-1), (energies[1::2] - energies[::2]) / (2 * h), rtol=1e-6, atol=1e-3)


def test_torchscript_half_is_for_its_own_molecule(path, tmp_path):
    potential = meanforce.CGPotential(path)
    assert potential.needsBonds
    assert potential.bondGraph == BondGraph.create(TYPES, BONDS)
    x = conformations(1, seed=3)
    expected = energies_and_forces(make_model(), x, TYPES)
    found = evaluate(potential.createSystem(topology(), implementation="torchscript"), x)
    assert found[0] == pytest.approx(expected[0][0], rel=1e-9)
    with pytest.raises(ValueError, match="is for one bonded system of 6 beads with 5 bonds, not for these 12 beads"):
        potential.createSystem(topology(copies=2), implementation="torchscript")
    with pytest.raises(ValueError, match="is for one bonded system"):
        potential.toTorchScript(tmp_path / "bound.pt", [0, 1])
    unbound = make_model()
    for term in (unbound, *unbound.potentials):
        term.bond_graph = None
    with pytest.raises(ModelFileError, match="call set_bonds"):
        meanforce.export(unbound, tmp_path / "unbound.pt")


def test_the_file_gives_the_model_back(path):
    model, components = make_model(), meanforce.CGPotential(path).components
    assert [c.kind for c in components] == ["harmonic-bond", "harmonic-angle", "dihedral", "improper", "pair-spline"]
    assert np.array_equal(components[2].tensors["coefficients"], model.potentials[2].coefficients.detach())
    assert components[4].architecture["exclude_bonds"] == 2
    assert [c.cutoff for c in components] == [0, 0, 0, 0, 0.6]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["components"][0].update(types=[[0, 1, 2]] * 4), "lists of 2 types of 0 .. 3 for a harmonic-bond"),
        (lambda d: d["components"][2].update(order=0), "order in .* must be a whole number >= 1"),
        (lambda d: d["components"][4].update(exclude_bonds=-1), "exclude_bonds in .* must be a whole number >= 0"),
    ],
)
def test_altered_files_are_refused(path, tmp_path, change, message):
    def altered(members):
        description = json.loads(members["archive/extra/meanforce.json"])
        change(description)
        from meanforce import modelfile

        hashes = {**description["sha256"], "components": modelfile._sha256(modelfile._canonical(description))}
        edit_description(members, components=description["components"], sha256=hashes)

    with pytest.raises(ModelFileError, match=message):
        meanforce.CGPotential(rewrite(path, tmp_path / "altered.pt", altered))


def test_missing_parameters_are_refused(path, tmp_path):
    def altered(members):
        set_parameters(members, lambda tensors: tensors.pop("components.1.angles"))

    with pytest.raises(ModelFileError, match=r"lacks the parameter components\.1\.angles"):
        meanforce.CGPotential(rewrite(path, tmp_path / "altered.pt", altered))


# ----------------------------------------------------------------------------------------------------------- repulsion
def test_repulsion_is_its_formula():
    sigmas, epsilon, n = np.array([[0.4, 0.45], [0.45, 0.5]]), 2.0, 12
    potential = repulsion(sigmas, epsilon, n, cutoff=0.9)
    types = torch.tensor([0, 1])
    for r in (0.36, 0.4, 0.5, 0.7, 0.89):
        x = torch.tensor([[0.0, 0, 0], [r, 0, 0]], dtype=torch.float64)
        v = [epsilon * 0.45**n / 0.9**n, -n * epsilon * 0.45**n / 0.9 ** (n + 1)]
        v += [n * (n + 1) * epsilon * 0.45**n / 0.9 ** (n + 2)]
        expected = epsilon * (0.45 / r) ** n - v[0] - v[1] * (r - 0.9) - 0.5 * v[2] * (r - 0.9) ** 2
        assert potential(x, types).item() == pytest.approx(expected, rel=2e-3, abs=2e-3)
    for row in range(3):
        r, u = potential.knot_values(row)  # a straight core
        assert np.all(np.diff(u[r < 0.7]) < 0)
    with pytest.raises(ValueError, match="symmetric matrix"):
        repulsion([[0.4, 0.5], [0.3, 0.4]])
    with pytest.raises(ValueError, match=r"smaller than the cutoff, 0\.3 nm"):
        repulsion(0.4, cutoff=0.3)


def test_excluded_pairs_feel_no_repulsion():
    x = conformations(1)[0]
    free, bound = repulsion(np.full((4, 4), 0.3)), repulsion(np.full((4, 4), 0.3), exclude_bonds=4)
    bound.set_bonds(TYPES, BONDS)
    assert bound(torch.from_numpy(x), torch.tensor(TYPES)).item() == 0.0
    assert free(torch.from_numpy(x), torch.tensor(TYPES)).item() > 100.0


def test_smallest_distances_leave_out_bonded_neighbours():
    x = conformations(20)
    found = smallest_distances(x, TYPES, None, BONDS, exclude_bonds=2)
    expected = np.linalg.norm(x[:, 0] - x[:, 3], axis=-1).min()  # the only pair of C beads
    assert found[0, 0] == pytest.approx(expected)
    assert np.array_equal(found, found.T)
    assert found[2, 2] == 1.0  # a single CA: no pair at all


# -------------------------------------------------------------------------------------------------------------- mirrors
def test_only_signed_terms_tell_mirror_images_apart():
    x = conformations(20, seed=5)
    model = make_model()
    signed = {2, 3}
    blind = Sum(*[p for k, p in enumerate(model.potentials) if k not in signed])
    assert is_mirror_blind(blind, x, TYPES)
    assert not is_mirror_blind(model, x, TYPES)
    for k in signed:
        assert not is_mirror_blind(Sum(blind, model.potentials[k]), x, TYPES)
    cosines = Dihedrals(4, model.potentials[2].types, model.potentials[2].coefficients * torch.tensor([1.0, 0.0]))
    cosines.set_bonds(TYPES, BONDS)
    assert is_mirror_blind(Sum(blind, cosines), x, TYPES)
    torch.manual_seed(0)
    assert is_mirror_blind(MomentTensor(4, 0.5, channels=3).double(), x, TYPES)
    with pytest.raises(ValueError, match="triclinic"):
        mirror_asymmetry(model, x, TYPES, np.array([[2, 0, 0], [0.5, 2, 0], [0, 0, 2.0]]))


def test_chiral_data_are_noticed():
    x = conformations(200)
    mirrored = x * [1, 1, -1]
    assert are_chiral(x, TYPES, BONDS)
    assert are_chiral(mirrored, TYPES, BONDS)
    both = np.stack([x, mirrored], axis=1).reshape(-1, 6, 3)
    assert not are_chiral(both, TYPES, BONDS)


# ----------------------------------------------------------------------------------------------------------------- fits
def sample(weight, low, high, count, random):
    """Return independent samples of a density on an interval."""
    grid = np.linspace(low, high, 20001)
    cumulative = np.concatenate([[0.0], np.cumsum(0.5 * (weight(grid)[1:] + weight(grid)[:-1]))])
    return np.interp(random.random(count), cumulative / cumulative[-1], grid)


@pytest.fixture(scope="module")
def chains():
    """Four beads in a row whose internal coordinates are independent: then Boltzmann inversion is exact."""
    random, count = np.random.default_rng(11), 20000
    r = sample(lambda x: x**2 * np.exp(-0.5 * 4000 * (x - 0.3) ** 2 / KT), 0.05, 0.6, 3 * count, random)
    theta = sample(lambda x: np.sin(x) * np.exp(-0.5 * 40 * (x - 1.8) ** 2 / KT), 0, np.pi, 2 * count, random)
    series = np.array([[2.0, -1.5], [0.5, 1.0], [-1.0, 0.0]])

    def torsion(x):
        n = np.arange(1, 4)
        return np.exp(-(np.cos(np.outer(x, n)) @ series[:, 0] + np.sin(np.outer(x, n)) @ series[:, 1]) / KT)

    phi = sample(torsion, -np.pi, np.pi, count, random)
    r, theta = r.reshape(3, -1), theta.reshape(2, -1)
    a = np.stack([-r[0] * np.sin(theta[0] - np.pi / 2), r[0] * np.cos(theta[0] - np.pi / 2), 0 * r[0]], axis=1)
    x = np.zeros((count, 4, 3))
    x[:, 0] = a  # bead 1 at the origin, bead 2 on the x axis
    x[:, 0, 0] = r[0] * np.cos(theta[0])
    x[:, 0, 1] = r[0] * np.sin(theta[0])
    x[:, 2, 0] = r[1]
    x[:, 3, 0] = r[1] - r[2] * np.cos(theta[1])
    # Seen along the x axis from bead 1 to bead 2, y to z is clockwise.
    x[:, 3, 1] = r[2] * np.sin(theta[1]) * np.cos(phi)
    x[:, 3, 2] = r[2] * np.sin(theta[1]) * np.sin(phi)
    return x, series


def test_fit_finds_the_potentials_of_independent_coordinates(chains):
    x, series = chains
    model = fit_bonded(Frames(x), [(0, 1), (1, 2), (2, 3)], 300.0)
    bonds, angles, dihedrals = model.potentials
    # Standard errors of maximum likelihood: k of n harmonic samples has k sqrt(2 / n), x0 has sqrt(kT / k n).
    n = 3 * len(x)
    assert bonds.force_constants.item() == pytest.approx(4000, abs=4 * 4000 * np.sqrt(2 / n))
    assert bonds.lengths.item() == pytest.approx(0.3, abs=4 * np.sqrt(KT / 4000 / n))
    assert angles.force_constants.item() == pytest.approx(40, abs=4 * 40 * np.sqrt(2.5 / len(x) / 2))
    assert angles.angles.item() == pytest.approx(1.8, abs=4 * np.sqrt(KT / 40 / len(x)))
    found = dihedrals.coefficients.detach().numpy()[0]
    error = np.abs(found - series)
    assert error.max() < 5 * KT * np.sqrt(4 / len(x))
    # Deliberately wrong: without the Jacobian r^2 the bond would be longer; a mirror image has other coefficients.
    assert np.mean(np.linalg.norm(x[:, 2], axis=1)) - 0.3 > 4 * np.sqrt(KT / 4000 / len(x))
    assert np.abs(found * [1, -1] - series).max() > 2.0


def test_fit_groups_by_types_and_refuses_rigid_bonds(chains):
    x, _ = chains
    model = fit_bonded(Frames(x[:500], types=np.array([0, 1, 1, 0])), [(0, 1), (1, 2), (2, 3)], 300.0, num_types=3)
    assert model.potentials[0].types == [[0, 1], [1, 1]]
    assert model.potentials[1].types == [[0, 1, 1]]
    assert model.num_types == 3
    rigid = x[:500].copy()
    rigid[:, 0] = [0, 0.3, 0]
    with pytest.raises(ValueError, match="constrain it instead"):
        fit_bonded(Frames(rigid, types=np.array([1, 0, 2, 3])), [(0, 1)], 300.0)
    with pytest.raises(ValueError, match="no bonds"):
        fit_bonded(Frames(x[:5]), [], 300.0)


def test_fit_of_a_centre_with_three_neighbours():
    x = conformations(300)[:, [2, 1, 3, 5]]
    x[:, 0, 2] -= 0.1  # the centre well out of the plane of the others
    frames = Frames(x, types=np.array([0, 1, 2, 3]))
    model = fit_bonded(frames, [(0, 1), (0, 2), (0, 3)], 300.0, improper_order=2)
    impropers = model.potentials[-1]
    assert isinstance(impropers, Impropers)
    energies = energies_and_forces(impropers, x, frames.types, forces=False)[0]
    mirrored = energies_and_forces(impropers, -x, frames.types, forces=False)[0]
    assert np.mean(mirrored - energies) > 2 * KT  # the other handedness was never seen
