# SPDX-License-Identifier: MIT
"""CGPotential: the forces it makes are the model's, in every form."""

import pickle
import sys
import types as python_types

import numpy as np
import openmm
import pytest
import torch
from openmm import app, unit

import meanforce
from meanforce.modelfile import BeadType
from meanforce.potentials import MomentTensor, PairSpline, Sum, products

torch.set_num_threads(1)

#: Of the forces' root mean square, in double precision.
AGREEMENT = 1e-9
BOXES = {
    "none": None,
    "rectangular": np.diag([1.3, 1.25, 1.4]),
    "triclinic": np.array([[1.4, 0.0, 0.0], [0.4, 1.3, 0.0], [-0.5, 0.45, 1.25]]),
}
FORCE_UNIT = unit.kilojoule_per_mole / unit.nanometer


def make_model(num_types):
    """A water-like model: repulsive pairs and a network of forces of some hundred kJ/mol/nm."""
    torch.manual_seed(num_types)
    pair = PairSpline(num_types, 0.5, 16).double()
    network = MomentTensor(
        num_types,
        0.45,
        max_l=3,
        channels=4,
        radial_functions=10,
        hidden=(8, 8),
        products=products(3, 4, odd=True) if num_types == 2 else (),
    ).double()
    with torch.no_grad():
        pair.coefficients.normal_()
        pair.coefficients.add_(20 * torch.relu(8.0 - torch.arange(16.0)))
        network.layers[-1].weight.normal_()
    model = Sum(pair, network)
    names = [("O", "HOH", 18.0), ("C1", "LIP", 72.0), ("C2", "LIP", None)]
    model.bead_types = [BeadType(*row) for row in names[:num_types]]
    return model


@pytest.fixture(scope="module", params=[1, 2, 3], ids=["one type", "two types", "three types"])
def model(request):
    return make_model(request.param)


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.pt"
    meanforce.export(model, path)
    return path


@pytest.fixture(scope="module")
def water(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "water.pt"
    meanforce.export(make_model(1), path)
    return path


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "mixture.pt"
    meanforce.export(make_model(3), path)
    return path


def liquid(num_types, box, side=4, seed=0):
    """Return 64 beads at the density of water and their types, some of them some boxes away."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    vectors = np.diag([1.25] * 3) if box is None else box
    x = (grid + random.uniform(-0.2, 0.2, grid.shape)) / side @ vectors
    if box is not None:
        x += random.integers(-1, 2, x.shape) @ box
    return x, random.integers(0, num_types, len(x))


def topology_of(types, model, box=None):
    topology = app.Topology()
    chain = topology.addChain()
    for t in types:
        bead = model.bead_types[t]
        topology.addAtom(bead.name, app.element.carbon, topology.addResidue(bead.residue, chain))
    if box is not None:
        topology.setPeriodicBoxVectors([openmm.Vec3(*row) * unit.nanometer for row in box])
    return topology


def evaluate(system, positions, platform="Reference"):
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(platform))
    context.setPositions(positions)
    state = context.getState(energy=True, forces=True)
    return (
        state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole),
        state.getForces(asNumpy=True).value_in_unit(FORCE_UNIT),
    )


def exact(model, positions, types, box):
    x = torch.from_numpy(positions).requires_grad_(True)
    energy = model(x, torch.from_numpy(types), None if box is None else torch.from_numpy(box))
    return energy.item(), -torch.autograd.grad(energy, x)[0].numpy()


def assert_same(found, expected, tolerance=AGREEMENT):
    scale = np.sqrt(np.mean(expected[1] ** 2))
    assert scale > 10  # kJ/mol/nm: otherwise this would be no test
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    assert np.abs(found[1] - expected[1]).max() < tolerance * scale


# ----------------------------------------------------------------------------------------------- forces are the model's
@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_native_and_torchscript_systems_are_the_model(path, model, box):
    x, types = liquid(model.num_types, box)
    potential = meanforce.CGPotential(path)
    expected = exact(model, x, types, box)
    for implementation in ("native", "torchscript"):
        system = potential.createSystem(topology_of(types, model, box), implementation=implementation)
        assert system.usesPeriodicBoundaryConditions() == (box is not None)
        assert_same(evaluate(system, x), expected)
    assert not np.allclose(exact(model, x, (types + 1) % model.num_types, box)[1], expected[1]) or model.num_types == 1


def test_native_system_on_the_cpu_platform(path, model):
    box = BOXES["triclinic"]
    x, types = liquid(model.num_types, box)
    system = meanforce.CGPotential(path).createSystem(topology_of(types, model, box))
    # Moments are computed in single precision. What energies cancel to is no measure of their error: kT of a bead is.
    energy, forces = evaluate(system, x, "CPU")
    expected = exact(model, x, types, box)
    assert_same((expected[0], forces), expected, 1e-5)
    assert abs(energy - expected[0]) < 1e-6 * (abs(expected[0]) + 2.5 * len(x))


def test_pair_spline_is_exact_also_where_the_spline_is_curved_at_the_origin(tmp_path):
    model = PairSpline(2, 0.5, 6).double()
    torch.manual_seed(0)
    with torch.no_grad():
        model.coefficients.normal_(std=50.0)
    meanforce.export(model, tmp_path / "model.pt")
    potential = meanforce.CGPotential(tmp_path / "model.pt")
    for pair in ((0, 0), (0, 1), (1, 0), (1, 1)):
        system = openmm.System()
        for _ in pair:
            system.addParticle(1.0)
        for force in potential.createForces(pair):
            system.addForce(force)
        for r in (1e-6, 0.01, 0.08, 0.2503, 0.41):
            x = np.array([[0.0, 0.0, 0.0], [0.0, r, 0.0]])
            assert_same(evaluate(system, x), exact(model, x, np.array(pair), None))


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_bound_torchscript_is_what_torchforce_expects(mixture, tmp_path, box):
    model = make_model(3)
    x, types = liquid(3, box)
    bound = tmp_path / "bound.pt"
    meanforce.CGPotential(mixture).toTorchScript(bound, types, periodic=box is not None)
    loaded = torch.jit.load(bound)
    y = torch.from_numpy(x).requires_grad_(True)
    energy = loaded(y) if box is None else loaded(y, torch.from_numpy(box))
    forces = -torch.autograd.grad(energy, y)[0].numpy()
    assert_same((energy.item(), forces), exact(model, x, types, box))
    assert b".debug_pkl" not in bound.read_bytes()


def test_a_system_with_a_pythonforce_can_be_pickled(water):
    model, box = make_model(1), BOXES["rectangular"]
    x, types = liquid(1, box)
    system = meanforce.CGPotential(water).createSystem(topology_of(types, model, box), implementation="torchscript")
    evaluate(system, x)  # a loaded model must not be pickled along
    again = pickle.loads(pickle.dumps(system))
    assert_same(evaluate(again, x), exact(model, x, types, box))


def test_torchscript_dynamics_keep_the_energy(water):
    model, box = make_model(1), BOXES["triclinic"]
    x, types = liquid(1, box)
    potential, topology = meanforce.CGPotential(water), topology_of(types, model, box)
    ends = []
    for implementation in ("native", "torchscript"):
        context = openmm.Context(
            potential.createSystem(topology, implementation=implementation),
            openmm.VerletIntegrator(0.001),
            openmm.Platform.getPlatformByName("Reference"),
        )
        context.setPositions(x)
        context.getIntegrator().step(20)
        ends.append(context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    assert np.abs(ends[0] - ends[1]).max() < 1e-9


def test_torchforce_is_used_where_openmmtorch_is_installed(water, monkeypatch):
    made = []

    class TorchForce(openmm.CustomExternalForce):
        def __init__(self, module):
            super().__init__("0")
            made.append(module)

        def setUsesPeriodicBoundaryConditions(self, periodic):
            made.append(periodic)

    monkeypatch.setitem(sys.modules, "openmmtorch", python_types.SimpleNamespace(TorchForce=TorchForce))
    system = meanforce.CGPotential(water).createSystem(topology_of([0, 0], make_model(1)), implementation="torchscript")
    assert isinstance(made[0], torch.jit.ScriptModule)
    assert made[1:] == [False]
    assert system.getNumForces() == 1


# ----------------------------------------------------------------------------------------------------- types and masses
def test_masses_come_from_the_model_or_else_from_the_topology(mixture):
    potential = meanforce.CGPotential(mixture)
    system = potential.createSystem(topology_of([0, 1, 2], make_model(3)))
    masses = [system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(3)]
    assert masses == [18.0, 72.0, pytest.approx(12.011, abs=1e-3)]
    topology = topology_of([2], make_model(3))
    next(topology.atoms()).element = None
    with pytest.raises(ValueError, match="bead 0, LIP/C2, has no mass"):
        potential.createSystem(topology)


def test_a_type_is_found_by_residue_and_name_then_by_name(tmp_path):
    model = make_model(3)
    model.bead_types = [BeadType("B", "ALA", 1.0), BeadType("B", "GLY", 2.0), BeadType("S", "CYS", 3.0)]
    meanforce.export(model, tmp_path / "model.pt")
    potential = meanforce.CGPotential(tmp_path / "model.pt")

    def masses(*names):
        topology = app.Topology()
        chain = topology.addChain()
        for residue, name in names:
            topology.addAtom(name, None, topology.addResidue(residue, chain))
        system = potential.createSystem(topology)
        return [system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(len(names))]

    assert masses(("GLY", "B"), ("ALA", "B"), ("CYX", "S")) == [2.0, 1.0, 3.0]
    with pytest.raises(ValueError, match=r"bead 1, TRP/B, fits several types of the model; known: 0: ALA/B, 1: GLY/B"):
        masses(("GLY", "B"), ("TRP", "B"))
    with pytest.raises(ValueError, match="bead 0, GLY/X, is unknown to the model; known: 0: ALA/B"):
        masses(("GLY", "X"))
    with pytest.raises(ValueError, match="'B' stands for several bead types"):
        potential.createForces(["B"])


def test_a_model_without_names(tmp_path):
    for num_types in (1, 2):
        model = make_model(num_types)
        topology = topology_of([0, 0], model)
        for part in (model, *model.potentials):
            part.bead_types = None
        meanforce.export(model, tmp_path / "model.pt")
        potential = meanforce.CGPotential(tmp_path / "model.pt")
        assert potential.beadTypes is None
        if num_types == 1:
            assert potential.createSystem(topology).getNumParticles() == 2
        else:
            with pytest.raises(ValueError, match="2 bead types without names"):
                potential.createSystem(topology)


def test_types_by_index_and_by_name(mixture):
    potential = meanforce.CGPotential(mixture)
    forces = potential.createForces(["O", 1, np.int64(2), "C2"])
    network = next(force for force in forces if isinstance(force, meanforce.MomentTensorForce))
    assert [network.getParticleType(i) for i in range(4)] == [0, 1, 2, 2]


@pytest.mark.parametrize(
    ("types", "error", "message"),
    [
        ([0, 3], ValueError, r"^3 is not a bead type of the model; known: 0: HOH/O, 1: LIP/C1, 2: LIP/C2"),
        ([-1], ValueError, "^-1 is not a bead type"),
        (["N"], ValueError, "^'N' is not a bead type"),
        ([1.5], TypeError, r"index or a name, got 1\.5"),
        ([True], TypeError, "index or a name, got True"),
    ],
)
def test_unknown_types_are_named(mixture, types, error, message):
    with pytest.raises(error, match=message):
        meanforce.CGPotential(mixture).createForces(types)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicas": 0}, "replicas must be a whole number >= 1, got 0"),
        ({"replicas": True}, "replicas must be a whole number >= 1, got True"),
        (
            {"replicas": 2, "implementation": "torchscript"},
            "replicas must be 1 with implementation='torchscript', got 2",
        ),
        ({"temperature": 0}, r"temperature must be positive, got 0\.0 K"),
        ({"temperature": -5 * unit.kelvin}, r"got -5\.0 K"),
        ({"temperature": float("nan")}, "got nan K"),
        ({"implementation": "fortran"}, "one of native, torchscript, got 'fortran'"),
    ],
)
def test_arguments_that_are_not_allowed(water, options, message):
    with pytest.raises(ValueError, match=message):
        meanforce.CGPotential(water).createSystem(topology_of([0], make_model(1)), **options)


def test_a_temperature_is_accepted(water):
    potential = meanforce.CGPotential(water)
    assert potential.createSystem(topology_of([0], make_model(1)), temperature=300 * unit.kelvin).getNumForces() == 2


def test_a_box_smaller_than_twice_the_cutoff_is_refused(water):
    topology = topology_of([0], make_model(1), np.diag([2.0, 0.9, 2.0]))
    with pytest.raises(ValueError, match=r"0\.9 nm on its shortest edge, must be at least twice the cutoff, 0\.5 nm"):
        meanforce.CGPotential(water).createSystem(topology)


# ----------------------------------------------------------------------------------------------------------- properties
def test_properties(mixture):
    potential = meanforce.CGPotential(mixture)
    assert potential.cutoff == 0.5
    assert potential.numTypes == 3
    assert potential.beadTypes == make_model(3).bead_types
    assert potential.memoryKernel is None
    assert potential.description["format"] == "meanforce-model"


def test_a_memory_kernel_comes_back(tmp_path):
    kernels = pytest.importorskip("meanforce.memorykernel")
    kernel = kernels.MemoryKernel.prony([100.0], [0.1])
    meanforce.export(make_model(1), tmp_path / "model.pt", kernel=kernel)
    assert meanforce.CGPotential(tmp_path / "model.pt").memoryKernel == kernel
    assert kernels.MemoryKernel.load(tmp_path / "model.pt") == kernel
