# SPDX-License-Identifier: MIT
"""U(x; T) = A(x) - T B(x) + C(T), for the families that have it."""

import math

import pytest
import torch

from meanforce.potentials import MomentTensor, PairSpline, SchNet, Sum, neighbor_pairs

torch.set_num_threads(1)

#: Relative agreement of two ways to compute the same thing in float64.
ROUNDING = 1e-11
FAMILIES = {
    "moments": lambda **options: MomentTensor(2, 0.5, max_l=2, channels=3, radial_functions=8, hidden=(5,), **options),
    "schnet": lambda **options: SchNet(
        2, 0.5, features=6, filters=5, blocks=2, radial_functions=7, hidden=(4,), **options
    ),
}
OFFSET = (3.0, -0.02, 0.004, 1e-5)


@pytest.fixture(params=FAMILIES)
def model(request):
    torch.manual_seed(1)
    model = FAMILIES[request.param](temperature_dependent=True).double()
    with torch.no_grad():
        model.layers[-1].weight.normal_()
        model.layers[-1].bias.normal_()
        model.offset.copy_(torch.tensor(OFFSET, dtype=torch.float64))
    return model


@pytest.fixture
def beads():
    x = torch.rand(10, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return x, torch.arange(10) % 2


def offset(t):
    return OFFSET[0] + OFFSET[1] * t + OFFSET[2] * t * math.log(t) + OFFSET[3] * t**2


def parts(model, x, types):
    """Return A and B from the last layer as the file has it, for A and B models with one output."""
    ((description, tensors),) = model.components()
    assert description["readouts"] == 2
    values = []
    for row in range(2):
        family = MomentTensor if isinstance(model, MomentTensor) else SchNet
        single = FAMILIES["moments" if family is MomentTensor else "schnet"]().double()
        state = {k: v for k, v in model.state_dict().items() if k in single.state_dict() and "layers.1" not in k}
        single.load_state_dict(state, strict=False)
        with torch.no_grad():
            single.layers[-1].weight.copy_(torch.from_numpy(tensors["layers.1.weight"][..., row : row + 1, :].copy()))
            single.layers[-1].bias.copy_(torch.from_numpy(tensors["layers.1.bias"][..., row : row + 1].copy()))
        values.append(single(x, types).item())
    return values


@pytest.mark.parametrize("temperature", [250.0, 300.0, torch.tensor(412.0)])
def test_energy_is_a_minus_tb_plus_c(model, beads, temperature):
    a, b = parts(model, *beads)
    t = float(temperature)
    assert abs(b * t) > 0.1
    assert model(*beads, None, temperature).item() == pytest.approx(a - t * b + offset(t), rel=1e-10)


def test_derivative_with_respect_to_temperature(model, beads):
    t = torch.tensor(320.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(model(*beads, None, t), t)
    _, b = parts(model, *beads)
    expected = -b + OFFSET[1] + OFFSET[2] * (math.log(320.0) + 1) + 2 * OFFSET[3] * 320.0
    assert slope.item() == pytest.approx(expected, rel=1e-10)


def test_type_energies_are_energetic(beads):
    model = FAMILIES["schnet"](temperature_dependent=True).double()
    low, high = (model(*beads, None, t).item() for t in (100.0, 400.0))
    with torch.no_grad():
        model.type_energies.copy_(torch.tensor([1.0, 2.0]))
    for before, t in ((low, 100.0), (high, 400.0)):
        assert model(*beads, None, t).item() == pytest.approx(before + 15.0, rel=ROUNDING)


def test_frames_at_different_temperatures_in_one_call(model, beads):
    x, types = beads
    first, second, d = neighbor_pairs(x, model.cutoff)
    joined = model.bead_energies(
        torch.cat([d, d]),
        torch.cat([first, first + 10]),
        torch.cat([second, second + 10]),
        torch.cat([types, types]),
        torch.tensor([280.0] * 10 + [340.0] * 10, dtype=torch.float64),
    )
    for frame, t in enumerate((280.0, 340.0)):
        energy = joined[10 * frame : 10 * frame + 10].sum().item() + offset(t)
        assert model(x, types, None, t).item() == pytest.approx(energy, rel=ROUNDING)


def test_a_missing_temperature_is_an_error(model, beads):
    x, types = beads
    with pytest.raises(ValueError, match="depends on temperature: the argument temperature, in K, is missing"):
        model(x, types)
    first, second, d = neighbor_pairs(x, model.cutoff)
    with pytest.raises(ValueError, match="depends on temperature"):
        model.bead_energies(d, first, second, types)
    with pytest.raises(torch.jit.Error, match="depends on temperature"):
        torch.jit.script(model.requires_grad_(False))(x, types)


def test_torchscript_is_the_same(model, beads):
    x, types = beads
    total = Sum(PairSpline(2, 0.4, 6).double(), model).requires_grad_(False)
    assert total.temperature_dependent
    scripted = torch.jit.script(total)
    for t in (300.0, torch.tensor(350.0)):
        expected = model(x, types, None, t).item()
        assert total(x, types, None, t).item() == pytest.approx(expected, rel=ROUNDING)
        for _ in range(3):
            assert scripted(x, types, None, t).item() == pytest.approx(expected, rel=ROUNDING)


def test_an_untrained_network_adds_next_to_nothing_at_room_temperature(beads):
    for family in FAMILIES.values():
        torch.manual_seed(0)
        model = family(temperature_dependent=True).double()
        assert abs(model(*beads, None, 300.0).item()) < 2.0  # kJ/mol, of 10 beads
