# SPDX-License-Identifier: MIT
"""SchNet in torch: its equations by loops, other programs' conventions, filters on a grid."""

import itertools
import math

import numpy as np
import openmm
import pytest
import torch
from openmm import unit

import meanforce
from meanforce.potentials import SchNet, neighbor_pairs
from meanforce.potentials.schnet import cutoff_function
from meanforce.training.forcematching import pair_forces

torch.set_num_threads(1)

#: Relative agreement of two ways to compute the same thing in float64.
ROUNDING = 1e-11
SIZES = {"features": 6, "filters": 5, "blocks": 2, "radial_functions": 7, "hidden": (4, 3)}


def make(num_types=2, cutoff=0.5, seed=0, **options):
    """Return a small SchNet in which every parameter matters."""
    torch.manual_seed(seed)
    model = SchNet(num_types, cutoff, **{**SIZES, **options}).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or name == "type_energies":
                parameter.normal_()
        model.layers[-1].weight.normal_()
    return model


def beads(count=14, side=0.9, seed=0):
    x = side * torch.rand(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x, torch.arange(count) % 2


ACTIVATIONS = {
    "tanh": np.tanh,
    "ssp": lambda x: np.log(0.5 * np.exp(x) + 0.5),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def by_loops(model, x, types):
    """Return the energy as the equations of docs/theory/schnet.md say, one pair after another."""
    ((description, p),) = model.components()
    act = ACTIVATIONS[description["activation"]]
    rc, r0 = description["cutoff"], description["cutoff_lower"]

    def basis(r):
        if description["basis"] == "gaussian":
            return np.exp(-description["basis_exponent"] * (r - p["radial.centers"]) ** 2)
        u = np.exp(-description["basis_exponent"] * r)
        return 0.5 * (np.cos(np.pi * r / rc) + 1) * np.exp(-p["radial.betas"] * (u - p["radial.centers"]) ** 2)

    def ending(r):
        kind = description["cutoff_function"]
        if kind == "polynomial":
            return 1 - 10 * (r / rc) ** 3 + 15 * (r / rc) ** 4 - 6 * (r / rc) ** 5
        if kind == "shifted_cosine":
            return 1.0 if r < r0 else 0.5 + 0.5 * np.cos(np.pi * (r - r0) / (rc - r0))
        if r0 > 0:
            return 0.0 if r < r0 else 0.5 * (np.cos(np.pi * (2 * (r - r0) / (rc - r0) + 1)) + 1)
        return 0.5 * (np.cos(np.pi * r / rc) + 1)

    y = p["embedding"][types]
    for b in range(description["blocks"]):
        q = {name.removeprefix(f"blocks.{b}."): values for name, values in p.items()}
        messages = np.zeros((len(x), description["filters"]))
        for i, j in itertools.permutations(range(len(x)), 2):
            r = np.linalg.norm(x[i] - x[j])
            if r < rc:
                inner = act(q["filter1.weight"] @ basis(r) + q["filter1.bias"])
                filters = (q["filter2.weight"] @ inner + q["filter2.bias"]) * ending(r)
                messages[i] += filters * (q["lin1.weight"] @ y[j])
        y = y + act(messages @ q["lin2.weight"].T + q["lin2.bias"]) @ q["lin3.weight"].T + q["lin3.bias"]
    for n in range(len(description["hidden"]) + 1):
        y = (act(y) if n else y) @ p[f"layers.{n}.weight"].T + p[f"layers.{n}.bias"]
    return (y[:, 0] + p["type_energies"][types]).sum()


VARIANTS = {
    "default": {},
    "gaussian, ssp": {"basis": "gaussian", "activation": "ssp"},
    "silu, polynomial": {"activation": "silu", "cutoff_function": "polynomial"},
    "cosine from a lower cutoff": {"cutoff_lower": 0.15},
    "shifted cosine": {"cutoff_function": "shifted_cosine", "cutoff_lower": 0.35},
    "one block, no hidden layer": {"blocks": 1, "hidden": ()},
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_energy_by_loops(options):
    model, (x, types) = make(**options), beads()
    energy = model(x, types).item()
    assert energy == pytest.approx(by_loops(model, x.numpy(), types.numpy()), rel=ROUNDING)
    with torch.no_grad():
        model.blocks[0].filter2.bias[0] += 1e-3
    assert model(x, types).item() != pytest.approx(energy, rel=1e-8)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_forces_are_continuous_at_the_cutoffs(options):
    model = make(**options)

    def force(r):
        d = torch.tensor([[r, 0.0, 0.0]], dtype=torch.float64)
        return pair_forces(model, d, torch.tensor([0]), torch.tensor([1]), torch.tensor([0, 1]))[0, 0].item()

    for r in (model.cutoff, model.cutoff_lower):
        if r > 0:
            assert force(r + 1e-9) == pytest.approx(force(r - 1e-9), abs=1e-5)
    assert force(1.001 * model.cutoff) == 0.0
    assert abs(force(0.7 * model.cutoff)) > 1e-3


# ---------------------------------------------------------------------------------------- conventions of other programs
ANGSTROM, KCAL = 0.1, 4.184  # nm, kJ/mol


def torchmd_cutoff(r, lower, upper):
    """TorchMD-Net's and mlcg's CosineCutoff."""
    if lower > 0:
        values = 0.5 * (torch.cos(math.pi * (2 * (r - lower) / (upper - lower) + 1.0)) + 1.0)
        return values * (r < upper) * (r > lower)
    return 0.5 * (torch.cos(r * math.pi / upper) + 1.0) * (r < upper)


def mlcg_shifted_cutoff(r, upper, width):
    """mlcg's ShiftedCosineCutoff."""
    inner = 0.5 + 0.5 * torch.cos(math.pi * (r - upper + width) / width)
    return torch.where(r > upper - width, inner, torch.ones_like(r)) * (r < upper)


def test_cutoff_functions_of_other_programs():
    r = torch.linspace(0, 16, 300, dtype=torch.float64)
    for lower in (0.0, 3.0):
        ours = cutoff_function(r * ANGSTROM, 1.5, "cosine", lower * ANGSTROM)
        assert torch.allclose(ours, torchmd_cutoff(r, lower, 15.0), rtol=0, atol=1e-13)
    ours = cutoff_function(r * ANGSTROM, 1.5, "shifted_cosine", 1.1)
    assert torch.allclose(ours, mlcg_shifted_cutoff(r, 15.0, 4.0), rtol=0, atol=1e-13)


@pytest.mark.parametrize("lower", [0.0, 2.0])
def test_a_network_of_torchmd_net_in_angstrom_and_kcal(lower):
    """TorchMD-Net's graph network and mlcg's SchNet, written as there, over directed edges."""
    cutoff, (x, types) = 6.0, beads(side=0.9)
    model = make(cutoff=cutoff * ANGSTROM, cutoff_lower=lower * ANGSTROM)
    R = SIZES["radial_functions"]
    start = math.exp(-cutoff + lower)
    means, beta = torch.linspace(start, 1, R, dtype=torch.float64), (2 / R * (1 - start)) ** -2
    alpha = 5.0 / (cutoff - lower)

    # Their parameters in our units; the basis begins at their lower cutoff.
    scale = math.exp(alpha * lower)
    model.basis.alpha = alpha / ANGSTROM
    model.basis.centers.copy_(means / scale)
    model.basis.betas.fill_(beta * scale**2)
    with torch.no_grad():
        model.type_energies.zero_()
        last = model.layers[-1]
        theirs = (last.weight / KCAL, last.bias / KCAL)

    r_all = torch.cdist(x, x) / ANGSTROM
    target, source = ((r_all < cutoff) & ~torch.eye(len(x), dtype=torch.bool)).nonzero().T
    r = r_all[target, source]
    expansion = torchmd_cutoff(r, 0.0, cutoff)[:, None] * torch.exp(
        -beta * (torch.exp(alpha * (lower - r[:, None])) - means) ** 2
    )
    y = model.embedding[types]
    for block in model.blocks:
        filters = block.filter2(torch.tanh(block.filter1(expansion))) * torchmd_cutoff(r, lower, cutoff)[:, None]
        messages = torch.zeros(len(x), SIZES["filters"], dtype=torch.float64)
        messages = messages.index_add(0, target, filters * block.lin1(y)[source])
        y = y + block.lin3(torch.tanh(block.lin2(messages)))
    for layer in model.layers[:-1]:
        y = torch.tanh(layer(y))
    energy = torch.nn.functional.linear(y, *theirs).sum()
    assert model(x, types).item() == pytest.approx(energy.item() * KCAL, rel=1e-9)


def test_initial_basis():
    basis = make(basis="gaussian", radial_functions=11, cutoff=0.5).basis
    assert basis.gamma == pytest.approx(0.5 / 0.05**2)
    assert basis(torch.tensor([0.2], dtype=torch.float64))[0, 4].item() == pytest.approx(1.0)
    basis = make(radial_functions=8, cutoff=0.5).basis
    assert basis.alpha == pytest.approx(10.0)
    assert [basis.centers[0].item(), basis.centers[-1].item()] == pytest.approx([math.exp(-5), 1.0], rel=1e-6)


# --------------------------------------------------------------------------------------------------- native counterpart
@pytest.mark.parametrize(
    "options",
    [*VARIANTS.values(), {"filter_grid": 32}, {"temperature_dependent": True}],
    ids=[*VARIANTS, "grid", "temperature"],
)
def test_native_force_is_the_model(tmp_path, options):
    model, (x, types) = make(**options), beads()
    meanforce.export(model, tmp_path / "model.pt")  # compares with exact filters, to 1e-9
    temperature = 340.0 if model.temperature_dependent else None
    positions = x.clone().requires_grad_(True)
    energy = model(positions, types, None, temperature)
    expected = -torch.autograd.grad(energy, positions)[0].numpy()
    system = openmm.System()
    for _ in types:
        system.addParticle(1.0)
    for force in meanforce.CGPotential(tmp_path / "model.pt").createForces(types.tolist(), temperature):
        system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(x.numpy())
    state = context.getState(energy=True, forces=True)
    found = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    scale = np.sqrt(np.mean(expected**2))
    assert scale > 0.1
    # Where filters are tabulated by default: 1e-6 on average over packings, 1e-5 with a kink.
    tolerance = 1e-9 if model.filter_grid else 1e-4
    assert np.abs(found - expected).max() < tolerance * scale
    assert state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) == pytest.approx(energy.item(), rel=1e-5)


# --------------------------------------------------------------------------------------------------------- filter grids
def test_filters_on_a_grid_are_the_documented_splines():
    model = make(filter_grid=12)
    rc, intervals = model.cutoff, 12
    spacing = rc / intervals
    r = torch.linspace(0.0, 1.05 * rc, 200, dtype=torch.float64)
    rows = torch.arange(intervals + 3.0, dtype=torch.float64)  # row m is centred at rc - (m - 1) D
    centers = rc - (rows - 1) * spacing
    u = ((r[:, None] - centers) / spacing).abs()
    splines = (torch.relu(2 - u) ** 3 - 4 * torch.relu(1 - u) ** 3) / 6
    found, (_, tensors) = model.evaluate_filters(r), model.components()[0]
    for block, exact in enumerate(model.exact_filters(centers)):
        coefficients = exact * (rows >= 3)[:, None]
        assert np.allclose(tensors[f"blocks.{block}.filter_table"], coefficients.detach(), rtol=0, atol=1e-13)
        expected = (splines @ coefficients) * (r < rc)[:, None]
        assert torch.allclose(found[block], expected, rtol=0, atol=1e-13)


def test_a_fine_grid_approaches_the_exact_filters():
    errors = []
    for intervals in (64, 128, 256):
        model = make(filter_grid=intervals)
        r = torch.linspace(0.1, 0.9, 101, dtype=torch.float64) * model.cutoff
        pairs = zip(model.evaluate_filters(r), model.exact_filters(r), strict=True)
        errors.append(max((a - b).abs().max().item() for a, b in pairs))
    # Values of a function as coefficients of cubic B-splines: an error of second order.
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("filter_grid", [None, 64])
def test_force_matching_gradients_are_those_of_finite_differences(filter_grid):
    model, (x, types) = make(filter_grid=filter_grid), beads(count=8, side=0.7)
    first, second, d = neighbor_pairs(x, model.cutoff)
    parameter = model.blocks[0].filter1.weight

    def loss():
        return pair_forces(model, d, first, second, types, differentiable=True).square().sum()

    (gradient,) = torch.autograd.grad(loss(), parameter)
    direction = torch.randn(parameter.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    values, h = parameter.detach().clone(), 1e-6
    ends = []
    for step in (h, -h):
        with torch.no_grad():
            parameter.copy_(values + step * direction)
        ends.append(loss().item())
    assert (gradient * direction).sum().item() == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6)


def test_an_untrained_network_adds_next_to_no_force():
    torch.manual_seed(0)
    model, (x, types) = SchNet(2, 0.5), beads(count=40, side=1.0)
    first, second, d = neighbor_pairs(x.float(), model.cutoff)
    assert pair_forces(model, d, first, second, types).square().mean().sqrt() < 5.0  # kJ/mol/nm


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": 0}, "features must be an integer of at least 1, got 0"),
        ({"filters": 2.5}, r"filters must be an integer of at least 1, got 2\.5"),
        ({"blocks": 9}, "blocks must be an integer from 1 to 8, got 9"),
        ({"radial_functions": 1}, "radial_functions must be an integer of at least 2, got 1"),
        ({"hidden": (4, 0)}, "hidden must be an integer of at least 1, got 0"),
        ({"basis": "bessel"}, "basis must be one of expnormal, gaussian, got 'bessel'"),
        ({"activation": "relu"}, "activation must be one of tanh, ssp, silu, got 'relu'"),
        ({"cutoff_function": "step"}, "cutoff_function must be one of cosine, shifted_cosine, polynomial, got 'step'"),
        ({"cutoff_lower": 0.5}, r"cutoff_lower must lie between 0 and the cutoff, 0\.5 nm, got 0\.5"),
        ({"cutoff_lower": 0.1, "cutoff_function": "polynomial"}, "no meaning for the cutoff function 'polynomial'"),
        ({"filter_grid": 3}, "filter_grid must be an integer of at least 4, got 3"),
    ],
)
def test_impossible_architectures_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
