# SPDX-License-Identifier: MIT
"""CGPotential of models that run in torch: other architectures, and temperature-dependent TorchScript halves."""

import pickle

import numpy as np
import openmm
import pytest
import torch
from openmm import app, unit

import meanforce
from meanforce import _torchscript, modelfile
from meanforce.modelfile import BeadType, ModelFileError
from meanforce.potentials import MomentTensor, SchNet

torch.set_num_threads(1)

STIFFNESS = 500.0


class Springs(torch.nn.Module):
    """Springs between all pairs of beads, stiffer for some types and softer at a higher temperature."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.stiffness = torch.nn.Parameter(torch.tensor([STIFFNESS, 2 * STIFFNESS], dtype=dtype))

    def forward(
        self,
        positions: torch.Tensor,
        types: torch.Tensor,
        box: torch.Tensor | None = None,
        temperature: torch.Tensor | None = None,
    ) -> torch.Tensor:
        i, j = torch.triu_indices(positions.shape[0], positions.shape[0], 1).unbind(0)
        d = positions[j] - positions[i]
        if box is not None:
            d = d - torch.round(d / box.diagonal()) * box.diagonal()
        stiffness = self.stiffness[types[i]]
        if temperature is not None:
            stiffness = stiffness * 300.0 / temperature
        return 0.5 * stiffness * (d.square().sum(1).sqrt() - 0.4).square()


def topology_of(names, box=None):
    topology = app.Topology()
    chain = topology.addChain()
    for name in names:
        topology.addAtom(name, app.element.carbon, topology.addResidue("X", chain))
    if box is not None:
        topology.setPeriodicBoxVectors([openmm.Vec3(*row) * unit.nanometer for row in box])
    return topology


def evaluate(system, positions, **parameters):
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    for name, value in parameters.items():
        context.setParameter(name, value)
    state = context.getState(energy=True, forces=True)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    return energy, state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)


def expected(model, x, types, box=None, temperature=None):
    dtype = model.stiffness.dtype
    positions = torch.tensor(x, dtype=dtype, requires_grad=True)
    energy = model(positions, torch.tensor(types), None if box is None else torch.tensor(box, dtype=dtype), temperature)
    (gradient,) = torch.autograd.grad(energy.sum(), positions)
    return energy.sum().item(), -gradient.numpy()


X = np.array([[0.0, 0.0, 0.0], [0.3, 0.1, 0.0], [0.0, 0.5, 0.2], [1.9, 0.1, 0.1]])
NAMES, TYPES = ["A", "B", "A", "B"], [0, 1, 0, 1]
BOX = np.diag([2.0, 2.1, 2.2])


@pytest.fixture(params=["archive", "scripted module", "module"])
def other(request, tmp_path):
    """Return what CGPotential takes in place of a model.pt."""
    if request.param == "module":
        return Springs()
    scripted = torch.jit.script(Springs())
    if request.param == "scripted module":
        return scripted
    torch.jit.save(scripted, tmp_path / "other.pt")
    return tmp_path / "other.pt"


@pytest.mark.parametrize("box", [None, BOX], ids=["none", "box"])
def test_another_architecture_runs_in_torch_and_says_so(other, box):
    potential = meanforce.CGPotential(other, bead_types=["A", BeadType("B", "", 50.0)], cutoff=0.9)
    assert potential.implementation == "torchscript"
    assert repr(potential).endswith("2 bead types, cutoff 0.9 nm: runs in torch, not natively>")
    with pytest.warns(UserWarning, match="runs in torch, not natively"):
        system = potential.createSystem(topology_of(NAMES, box))
    assert system.getForce(0).getName() == "Torch model through PythonForce"
    assert system.usesPeriodicBoundaryConditions() == (box is not None)
    assert system.getParticleMass(1).value_in_unit(unit.dalton) == 50.0
    energy, forces = evaluate(system, X)
    reference = expected(Springs(), X, TYPES, box)
    assert energy == pytest.approx(reference[0], rel=1e-12)
    assert np.allclose(forces, reference[1], rtol=0, atol=1e-9)


def test_createforces_is_the_same(other):
    potential = meanforce.CGPotential(other, bead_types=["A", "B"])
    system = openmm.System()
    for _ in NAMES:
        system.addParticle(1.0)
    for force in potential.createForces(NAMES):
        system.addForce(force)
    assert evaluate(system, X)[0] == pytest.approx(expected(Springs(), X, TYPES)[0], rel=1e-12)


def test_temperature_is_a_context_parameter(other):
    potential = meanforce.CGPotential(other, bead_types=["A", "B"])
    system = potential.createSystem(topology_of(NAMES), temperature=350.0, implementation="torchscript")
    assert evaluate(system, X)[0] == pytest.approx(expected(Springs(), X, TYPES)[0] * 300 / 350, rel=1e-12)
    energy, _ = evaluate(system, X, MeanForceTemperature=400.0)
    assert energy == pytest.approx(expected(Springs(), X, TYPES)[0] * 300 / 400, rel=1e-12)


def test_a_system_with_a_module_can_be_pickled(other):
    potential = meanforce.CGPotential(other, bead_types=["A", "B"])
    system = potential.createSystem(topology_of(NAMES), implementation="torchscript")
    before = evaluate(system, X)
    assert evaluate(pickle.loads(pickle.dumps(system)), X)[0] == before[0]


def test_a_model_in_single_precision(tmp_path):
    model = Springs(torch.float32)
    system = meanforce.CGPotential(model, bead_types=["A", "B"]).createSystem(
        topology_of(NAMES), implementation="torchscript"
    )
    energy, forces = evaluate(system, X)
    reference = expected(model, X, TYPES)
    assert energy == pytest.approx(reference[0], rel=1e-6)
    assert np.allclose(forces, reference[1], rtol=0, atol=1e-4 * np.abs(reference[1]).max())


def test_torchscript_for_other_programs(other, tmp_path):
    potential = meanforce.CGPotential(other, bead_types=["A", "B"])
    potential.toTorchScript(tmp_path / "bound.pt", NAMES)
    energy = torch.jit.load(tmp_path / "bound.pt")(torch.tensor(X))
    assert energy.item() == pytest.approx(expected(Springs(), X, TYPES)[0], rel=1e-12)


def test_a_potential_of_ours_brings_its_own_bead_types_and_cutoff():
    torch.manual_seed(0)
    model = SchNet(2, 0.6, features=4, filters=4, blocks=1, radial_functions=5).double()
    model.bead_types = [BeadType("A"), BeadType("B")]
    potential = meanforce.CGPotential(model)
    assert potential.cutoff == 0.6
    system = potential.createSystem(topology_of(NAMES), implementation="torchscript")
    assert evaluate(system, X)[0] == pytest.approx(model(torch.tensor(X), torch.tensor(TYPES)).item(), rel=1e-12)


def test_what_is_refused(tmp_path):
    scripted = tmp_path / "other.pt"
    torch.jit.save(torch.jit.script(Springs()), scripted)
    with pytest.raises(ModelFileError, match="CGPotential runs another TorchScript archive if bead_types are given"):
        meanforce.CGPotential(scripted)
    with pytest.raises(FileNotFoundError, match=r"nothing\.pt"):
        meanforce.CGPotential(tmp_path / "nothing.pt", bead_types=["A"])
    (tmp_path / "text.pt").write_text("text")
    with pytest.raises(ModelFileError, match="not a TorchScript archive"):
        meanforce.CGPotential(tmp_path / "text.pt", bead_types=["A"])
    with pytest.raises(ValueError, match="a module needs bead_types, which Springs does not have"):
        meanforce.CGPotential(Springs())
    with pytest.raises(ValueError, match=r"one or more BeadType or names, got \[\]"):
        meanforce.CGPotential(Springs(), bead_types=[])
    with pytest.raises(ValueError, match="cutoff must be a positive length"):
        meanforce.CGPotential(Springs(), bead_types=["A"], cutoff=-1.0)
    with pytest.raises(ValueError, match="together with bead_types only"):
        meanforce.CGPotential(scripted, cutoff=1.0)
    potential = meanforce.CGPotential(Springs(), bead_types=["A", "B"])
    with pytest.raises(ValueError, match=r"not natively.*implementation='torchscript' works"):
        potential.createSystem(topology_of(NAMES), implementation="native")
    with pytest.raises(ValueError, match="in a periodic box the model's cutoff must be given"):
        potential.createSystem(topology_of(NAMES, BOX), implementation="torchscript")


# --------------------------------------------------------------------------- TorchScript halves that need a temperature
FAMILIES = {
    "moments": lambda: MomentTensor(
        2, 0.5, max_l=1, channels=3, radial_functions=8, hidden=(5,), temperature_dependent=True
    ),
    "schnet": lambda: SchNet(
        2, 0.5, features=6, filters=5, blocks=2, radial_functions=7, hidden=(4,), temperature_dependent=True
    ),
}


@pytest.fixture(params=FAMILIES)
def thermal(request, tmp_path):
    """Return a temperature-dependent model and its file, written without the comparison with native kernels."""
    torch.manual_seed(0)
    model = FAMILIES[request.param]().double()
    with torch.no_grad():
        model.layers[-1].weight.normal_()
        model.offset.copy_(torch.tensor([1.0, 0.1, 0.01, 1e-4], dtype=torch.float64))
    model.bead_types = [BeadType("A"), BeadType("B")]
    frozen = _torchscript.frozen_copy(model)
    path = tmp_path / "model.pt"
    path.write_bytes(modelfile.add_native_half(_torchscript.archive(frozen), *modelfile.describe(frozen)))
    return model, path


@pytest.mark.parametrize("box", [None, BOX], ids=["none", "box"])
def test_temperature_of_a_torchscript_half(thermal, tmp_path, box):
    model, path = thermal
    potential = meanforce.CGPotential(path)
    assert potential.isTemperatureDependent
    system = potential.createSystem(
        topology_of(NAMES, box), temperature=300 * unit.kelvin, implementation="torchscript"
    )
    potential.toTorchScript(tmp_path / "bound.pt", TYPES, periodic=box is not None)
    bound = torch.jit.load(tmp_path / "bound.pt")
    vectors = None if box is None else torch.tensor(box)
    arguments = [torch.tensor(X)] if box is None else [torch.tensor(X), vectors]
    for temperature in (300.0, 360.0):
        reference = model(torch.tensor(X), torch.tensor(TYPES), vectors, temperature).item()
        assert evaluate(system, X, MeanForceTemperature=temperature)[0] == pytest.approx(reference, rel=1e-12)
        assert bound(*arguments, torch.tensor(temperature)).item() == pytest.approx(reference, rel=1e-12)
    assert evaluate(system, X)[0] == pytest.approx(evaluate(system, X, MeanForceTemperature=300.0)[0], rel=1e-12)


def test_a_missing_temperature_is_refused(thermal):
    potential = meanforce.CGPotential(thermal[1])
    for implementation in ("native", "torchscript"):
        with pytest.raises(ValueError, match="depends on temperature: give one, in K"):
            potential.createSystem(topology_of(NAMES), implementation=implementation)
