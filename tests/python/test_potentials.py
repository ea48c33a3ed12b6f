# SPDX-License-Identifier: MIT
"""The torch potentials: closed forms, invariances, derivatives, TorchScript."""

import copy
import math

import numpy as np
import pytest
import torch

from meanforce.potentials import (
    BSpline,
    MomentTensor,
    PairSpline,
    SchNet,
    Sum,
    neighbor_pairs,
    products,
    spherical_harmonics,
)

torch.set_num_threads(1)

#: Relative agreement of two ways to compute the same thing in float64.
ROUNDING = 1e-11
RECTANGULAR = torch.diag(torch.tensor([1.0, 1.1, 1.2], dtype=torch.float64))
TRICLINIC = torch.tensor([[1.2, 0.0, 0.0], [0.35, 1.1, 0.0], [-0.3, 0.45, 1.0]], dtype=torch.float64)
BOXES = [None, RECTANGULAR, TRICLINIC]


def beads(count=14, side=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    positions = side * torch.rand(count, 3, dtype=torch.float64, generator=generator)
    return positions, torch.arange(count) % 2


def moment_tensor(num_types=2, seed=3, **options):
    torch.manual_seed(seed)
    options = {"max_l": 3, "channels": 3, "radial_functions": 9, "hidden": (6, 5), **options}
    model = MomentTensor(num_types, 0.45, **options).double()
    with torch.no_grad():
        model.layers[-1].weight.normal_()  # an untrained last layer is nearly 0 and would hide errors
        model.layers[0].bias.normal_()
        model.feature_shift.normal_()
        model.feature_scale.uniform_(0.5, 2.0)
    return model


def pair_spline(num_types=2, seed=4, cutoff=0.4):
    torch.manual_seed(seed)
    model = PairSpline(num_types, cutoff, 8).double()
    with torch.no_grad():
        model.coefficients.normal_()
        model.coefficients[:, 0] = 2 * model.coefficients[:, 1] - model.coefficients[:, 2]
    return model


def schnet(num_types=2, seed=5, **options):
    torch.manual_seed(seed)
    options = {"features": 6, "filters": 5, "blocks": 2, "radial_functions": 7, "hidden": (4,), **options}
    model = SchNet(num_types, 0.45, cutoff_function="polynomial", **options).double()
    with torch.no_grad():
        model.layers[-1].weight.normal_()
        model.type_energies.normal_()
        for block in model.blocks:
            block.filter1.bias.normal_()
            block.filter2.bias.normal_()
    return model


MODELS = {
    "pair": pair_spline,
    "moments": moment_tensor,
    "silu, l = 4": lambda: moment_tensor(max_l=4, activation="silu"),
    "one type, l = 0": lambda: moment_tensor(num_types=1, max_l=0, hidden=(4,)),
    "schnet": schnet,
    "schnet, grid": lambda: schnet(filter_grid=16, basis="gaussian", activation="ssp"),
    "products": lambda: moment_tensor(channels=4, products=products(3, 4)),
    "sum": lambda: Sum(pair_spline(), moment_tensor()),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def typed(model, types):
    return types % model.num_types


def forces(model, positions, types, box=None):
    x = positions.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(model(x, types, box), x)
    return -gradient


# ---------------------------------------------------------------------------------------------------------------- pairs
@pytest.mark.parametrize("box", BOXES, ids=["none", "rectangular", "triclinic"])
def test_pairs_are_those_of_a_search_over_all_images(box):
    x, _ = beads(count=12, side=3.0)
    cutoff = 0.5
    images = [torch.zeros(3, dtype=torch.float64)]
    if box is not None:
        # The beads lie up to three boxes away from each other.
        shifts = torch.cartesian_prod(*[torch.arange(-5.0, 6.0, dtype=torch.float64)] * 3)
        images = shifts @ box
    expected = {}
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            for image in images:
                d = x[j] - x[i] + image
                if d.norm() < cutoff:
                    expected[i, j] = d
    first, second, d = neighbor_pairs(x, cutoff, box)
    assert {(int(i), int(j)) for i, j in zip(first, second, strict=True)} == set(expected)
    assert len(expected) == len(first) > 0
    for i, j, displacement in zip(first, second, d, strict=True):
        assert torch.allclose(displacement, expected[int(i), int(j)], rtol=0, atol=1e-12)


def test_a_box_smaller_than_twice_the_cutoff_is_refused():
    x, types = beads()
    with pytest.raises(ValueError, match=r"0\.8 nm .* twice the cutoff, 0\.45 nm"):
        moment_tensor()(x, types, 0.8 * torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("positions", "types", "message"), [((4, 2), (4,), r"\(N, 3\)"), ((4, 3), (3,), r"types must have shape \(4,\)")]
)
def test_wrong_shapes_are_refused(positions, types, message):
    with pytest.raises(ValueError, match=message):
        pair_spline()(torch.rand(positions), torch.zeros(types, dtype=torch.long))


# -------------------------------------------------------------------------------------------------------------- splines
def test_bspline_is_the_cardinal_spline():
    cutoff, functions = 0.9, 7
    spacing = cutoff / functions
    r = torch.linspace(0.0, cutoff, 331, dtype=torch.float64)
    k = torch.arange(functions, dtype=torch.float64)
    u = ((r.unsqueeze(1) - cutoff + (functions + 1 - k) * spacing) / spacing).abs()
    expected = (torch.relu(2 - u) ** 3 - 4 * torch.relu(1 - u) ** 3) / 6
    basis = BSpline(cutoff, functions)
    assert torch.allclose(basis(r), expected, rtol=0, atol=1e-14)
    assert basis(torch.tensor([cutoff, 1.7 * cutoff, 20.0], dtype=torch.float64)).abs().max() < 1e-14


def test_bspline_derivatives():
    basis = BSpline(1.0, 6)
    r = torch.tensor([0.03, 0.21, 0.5, 0.77, 0.999], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(basis, r)
    assert torch.autograd.gradgradcheck(basis, r)


def test_value_force_and_its_slope_vanish_at_the_cutoff(model):
    # Two beads approach from beyond the cutoff: |U - U_inf| must grow as the third power of the depth.
    model = MODELS["pair"]() if isinstance(model, Sum) else model  # a Sum has two cutoffs

    def energy(r):
        x = torch.tensor([[0.0, 0.0, 0.0], [r / math.sqrt(3)] * 3], dtype=torch.float64)
        return model(x, typed(model, torch.tensor([0, 1]))).item()

    far = energy(1.01 * model.cutoff)
    depths = model.cutoff * torch.tensor([0.004, 0.008], dtype=torch.float64)
    shallow, deep = (energy(model.cutoff - float(depth)) - far for depth in depths)
    assert deep != 0
    assert deep / shallow == pytest.approx(8.0, rel=0.1)


def test_pair_spline_energy_is_the_sum_over_pairs():
    model, (x, types) = pair_spline(), beads()
    energy = 0.0
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            pair = model.pair_index(int(types[i]), int(types[j]))
            energy += model.basis((x[i] - x[j]).norm().reshape(1))[0] @ model.coefficients[pair]
    assert model(x, types).item() == pytest.approx(energy.item(), rel=ROUNDING)


def test_pair_index_is_symmetric_and_covers_all_pairs():
    model = PairSpline(3, 0.5, 5)
    rows = [model.pair_index(t, s) for t in range(3) for s in range(t + 1)]
    assert rows == list(range(6))
    assert torch.equal(model.pair_table, model.pair_table.T)


def test_natural_spline_through_the_knot_values_is_the_same_function():
    from scipy.interpolate import CubicSpline

    model = pair_spline()
    for pair in range(3):
        r, u = model.knot_values(pair)
        grid = np.linspace(0, model.cutoff, 200)
        ours = (model.basis(torch.from_numpy(grid)) @ model.coefficients[pair]).detach().numpy()
        assert np.allclose(CubicSpline(r, u, bc_type="natural")(grid), ours, rtol=0, atol=1e-13)


def test_knot_values_refuse_a_spline_curved_at_the_origin():
    model = pair_spline()
    with torch.no_grad():
        model.coefficients[1, 0] += 1.0
    with pytest.raises(ValueError, match="pair 1 must lie on a line"):
        model.knot_values(1)


# -------------------------------------------------------------------------------------------------------------- moments
def test_harmonics_obey_the_addition_theorem():
    u = torch.nn.functional.normalize(torch.randn(40, 3, dtype=torch.float64), dim=1)
    y = spherical_harmonics(u, 4)
    cosine = (u @ u.T).numpy()
    for degree in range(5):
        block = y[:, degree**2 : (degree + 1) ** 2]
        legendre = np.polynomial.legendre.Legendre.basis(degree)(cosine)
        assert np.allclose((block @ block.T).numpy(), legendre, rtol=0, atol=1e-13)
    assert torch.equal(y[:, :4], torch.stack([torch.ones(40, dtype=u.dtype), u[:, 1], u[:, 2], u[:, 0]], 1))


def test_moment_features_by_loops():
    model, (x, types) = moment_tensor(max_l=4), beads()
    first, second, d = neighbor_pairs(x, model.cutoff)
    features = model.features(d, first, second, types)
    for i in range(len(x)):
        moments = torch.zeros(25, model.channels, dtype=torch.float64)
        for j in range(len(x)):
            r = (x[j] - x[i]).norm()
            if i == j or r > model.cutoff:
                continue
            filters = torch.einsum("k,klc->lc", model.basis(r.reshape(1))[0], model.filters)
            y = spherical_harmonics(((x[j] - x[i]) / r).unsqueeze(0), 4)[0]
            for degree in range(5):
                rows = slice(degree**2, (degree + 1) ** 2)
                moments[rows] += y[rows].unsqueeze(1) * filters[degree] * model.type_weights[types[j]]
        expected = [moments[0], *(moments[n**2 : (n + 1) ** 2].square().sum(0) for n in range(5))]
        assert torch.allclose(features[i], torch.cat(expected), rtol=ROUNDING, atol=1e-12)


def test_feature_statistics_standardise_the_features():
    model, (x, types) = moment_tensor(), beads(count=40)
    first, second, d = neighbor_pairs(x, model.cutoff)
    model.set_feature_statistics(d, first, second, types)
    scaled = (model.features(d, first, second, types) - model.feature_shift) / model.feature_scale
    assert torch.allclose(scaled.mean(0), torch.zeros(scaled.shape[1], dtype=torch.float64), atol=1e-12)
    assert torch.allclose(scaled.std(0, correction=0), torch.ones(scaled.shape[1], dtype=torch.float64), atol=1e-12)


def test_an_untrained_network_adds_next_to_no_force():
    torch.manual_seed(0)
    model, (x, types) = MomentTensor(2, 0.45).double(), beads(count=40)
    model.set_feature_statistics(*_pairs(model, x), types)
    assert forces(model, x, types).square().mean().sqrt() < 5.0  # kJ/mol/nm; forces in water are of the order of 100


def _pairs(model, x):
    first, second, d = neighbor_pairs(x, model.cutoff)
    return d, first, second


def product_features(model, x, types):
    """The features that the products add, shape (N, number of products, F)."""
    first, second, d = neighbor_pairs(x, model.cutoff)
    plain = (model.max_l + 2) * model.channels
    return model.features(d, first, second, types)[:, plain:].unflatten(1, (-1, model.channels))


ROTATION = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))[0]
ROTATION = ROTATION * torch.linalg.det(ROTATION)
MIRROR = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))


@pytest.mark.parametrize("max_l", [1, 2, 3, 4])
def test_products_are_scalars_and_pseudoscalars(max_l):
    chosen = products(max_l, 4, odd=True)
    model, (x, types) = moment_tensor(max_l=max_l, channels=4, products=chosen), beads(count=20, side=0.7)
    found = product_features(model, x, types)
    size = found.square().mean((0, 2)).sqrt()
    assert size.min() > 1e-4
    assert torch.all((product_features(model, x @ ROTATION, types) - found).abs().amax((0, 2)) < 1e-11 * size)
    parity = torch.tensor([(-1.0) ** (sum(degrees) if len(degrees) == 3 else 0) for degrees, _ in chosen])
    assert parity.min() == -1
    mirrored = product_features(model, x @ MIRROR, types) - parity.view(-1, 1) * found
    assert torch.all(mirrored.abs().amax((0, 2)) < 1e-11 * size)


def test_products_by_gaunt_integrals_and_determinants():
    """Even couplings are proportional to integrals of three harmonics, (1, 1, 1) is a determinant."""
    chosen = [
        ((1, 1, 2), (0, 2, 1)),
        ((2, 2, 2), (0, 0, 1)),
        ((3, 2, 3), (0, 1, 1)),
        ((1, 1, 1), (0, 2, 1)),
        ((2, 2), (0, 1)),
    ]
    model, (x, types) = moment_tensor(channels=3, products=chosen), beads(count=6, side=0.4)
    found = product_features(model, x, types)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    phi = np.arange(16) * np.pi / 8
    ring = np.sqrt(1 - nodes**2)
    points = np.stack(
        [np.outer(ring, np.cos(phi)), np.outer(ring, np.sin(phi)), np.outer(nodes, np.ones(16))], -1
    ).reshape(-1, 3)
    y = spherical_harmonics(torch.from_numpy(points), 3).numpy()
    w = np.repeat(weights, 16)
    for bead in range(len(x)):
        moments = np.zeros((16, 3))
        for j in range(len(x)):
            r = (x[j] - x[bead]).norm()
            if j == bead or r > model.cutoff:
                continue
            filters = torch.einsum("k,klc->lc", model.basis(r.reshape(1))[0], model.filters).detach().numpy()
            direction = spherical_harmonics(((x[j] - x[bead]) / r).unsqueeze(0), 3)[0].numpy()
            degree = np.sqrt(np.arange(16)).astype(int)
            moments += direction[:, None] * filters[degree] * model.type_weights[types[j]].detach().numpy()
        for number, (degrees, shifts) in enumerate(chosen):
            factors = [
                np.roll(moments[n**2 : (n + 1) ** 2], -shift, 1) for n, shift in zip(degrees, shifts, strict=True)
            ]
            if degrees == (2, 2):
                expected = (factors[0] * factors[1]).sum(0)
            elif degrees == (1, 1, 1):
                # Y_1 = (y, z, x) is an even permutation of (x, y, z); the first entry of K is 1 / sqrt(6).
                expected = np.linalg.det(np.stack(factors, 2).transpose(1, 0, 2)) / np.sqrt(6)
            else:
                rows = [y[:, n**2 : (n + 1) ** 2] for n in degrees]
                gaunt = np.einsum("p,pa,pb,pc->abc", w, *rows)
                gaunt /= np.sqrt((gaunt**2).sum())
                gaunt *= np.sign(gaunt[np.abs(gaunt) > 1e-10][0])
                expected = np.einsum("abc,ax,bx,cx->x", gaunt, *factors)
            assert np.allclose(found[bead, number].detach().numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("typed_by", ["distance", "type"])
def test_only_odd_products_tell_mirror_images_apart(typed_by):
    """A centre with four neighbours that differ in distance alone, or in type alone."""
    corners = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64) / math.sqrt(3)
    lengths = torch.tensor([0.16, 0.18, 0.2, 0.22] if typed_by == "distance" else [0.2] * 4, dtype=torch.float64)
    x = torch.cat([torch.zeros(1, 3, dtype=torch.float64), corners * lengths.unsqueeze(1)])
    types = torch.tensor([0, 0, 0, 0, 0] if typed_by == "distance" else [0, 1, 2, 3, 4])

    def difference(odd):
        torch.manual_seed(1)
        model = MomentTensor(
            5, 0.25, max_l=1, channels=3, hidden=(6,), activation="silu", products=products(1, 3, odd=odd)
        ).double()
        with torch.no_grad():
            model.filters.normal_(std=2.0)
            model.layers[-1].weight.normal_()
        return abs(model(x, types) - model(x @ MIRROR, types)).item()

    # The four are farther from each other than the cutoff, so only the centre's own moments can see it.
    assert torch.pdist(x[1:]).min() > 0.25
    assert difference(odd=False) < 1e-12
    assert difference(odd=True) > 1e-4


def test_products_lists_each_kind_once():
    assert products(1, 3, order=2) == [((0, 0), (0, 1)), ((1, 1), (0, 1))]
    assert products(2, 1) == [((1, 1, 2), (0, 0, 0)), ((2, 2, 2), (0, 0, 0))]
    assert products(2, 3, odd=True)[5:] == [((1, 1, 1), (0, 1, 2)), ((1, 2, 2), (0, 0, 1))]
    with pytest.raises(ValueError, match="with max_l = 1 and 2 channels every product is the same in a mirror"):
        products(1, 2, odd=True)
    with pytest.raises(ValueError, match="order must be 2 or 3, got 4"):
        products(1, 2, order=4)


def test_couplings_survive_single_precision():
    model, (x, types) = moment_tensor(channels=3, products=[((1, 1, 2), (0, 0, 1))]), beads()
    there_and_back = copy.deepcopy(model).float().double()
    with torch.no_grad():
        for ours, theirs in zip(model.state_dict().values(), there_and_back.state_dict().values(), strict=True):
            theirs.copy_(ours)
    assert there_and_back(x, types) == model(x, types)


# ------------------------------------------------------------------------------------------------- laws for all of them
def test_rotation_reflection_translation_and_permutation(model):
    x, types = beads()
    types = typed(model, types)
    energy, force = model(x, types), forces(model, x, types)
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))[0]
    moved = x @ rotation + torch.tensor([0.7, -0.3, 2.0], dtype=torch.float64)
    assert model(moved, types).item() == pytest.approx(energy.item(), rel=ROUNDING)
    assert torch.allclose(forces(model, moved, types), force @ rotation, rtol=0, atol=1e-10)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    assert model(x[order], types[order]).item() == pytest.approx(energy.item(), rel=ROUNDING)
    assert force.sum(0).abs().max() < 1e-10
    assert torch.linalg.cross(x, force).sum(0).abs().max() < 1e-10


@pytest.mark.parametrize("box", BOXES, ids=["none", "rectangular", "triclinic"])
def test_forces_are_minus_the_gradient(model, box):
    x, types = beads()
    types = typed(model, types)
    force = forces(model, x, types, box)
    direction = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    h = 1e-6
    slope = (model(x + h * direction, types, box) - model(x - h * direction, types, box)) / (2 * h)
    assert slope.item() == pytest.approx(-(force * direction).sum().item(), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("box", [RECTANGULAR, TRICLINIC], ids=["rectangular", "triclinic"])
def test_moving_a_bead_by_a_box_vector_changes_nothing(model, box):
    x, types = beads()
    types = typed(model, types)
    moved = x.clone()
    moved[3] += box[2] - 2 * box[0]
    moved[7] -= box[1]
    assert model(moved, types, box).item() == pytest.approx(model(x, types, box).item(), rel=ROUNDING)


def test_double_backward(model):
    x, types = beads(count=5, side=0.45)
    types = typed(model, types)
    parameters = dict(model.named_parameters())
    names = sorted(parameters, key=lambda name: parameters[name].numel())[:3]

    def energy(x, *values):
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x, types))

    inputs = (x.requires_grad_(True), *(parameters[name].detach().clone().requires_grad_(True) for name in names))
    assert torch.autograd.gradcheck(energy, inputs)
    assert torch.autograd.gradgradcheck(energy, inputs)


def test_a_batch_of_frames_is_one_call(model):
    frames = [
        beads(count=9, seed=1),
        beads(count=14, seed=2),
        (torch.zeros(1, 3, dtype=torch.float64), torch.tensor([0])),
    ]
    joined, expected, offset = [], [], 0
    for x, types in frames:
        types = typed(model, types)
        d, first, second = _pairs(model, x)
        joined.append((d, first + offset, second + offset, types))
        expected.append(model.bead_energies(d, first, second, types))
        offset += len(x)
    columns = [torch.cat(column) for column in zip(*joined, strict=True)]
    assert torch.allclose(model.bead_energies(*columns), torch.cat(expected), rtol=ROUNDING, atol=1e-12)
    # The order within a pair does not matter either.
    d, first, second, types = columns
    assert torch.allclose(model.bead_energies(-d, second, first, types), torch.cat(expected), rtol=ROUNDING, atol=1e-12)


@pytest.mark.parametrize("count", [0, 1])
def test_beads_without_neighbours(model, count):
    x = torch.zeros(count, 3, dtype=torch.float64)
    energy = model(x, torch.zeros(count, dtype=torch.long))
    assert energy.shape == ()
    assert torch.isfinite(energy)


@pytest.mark.parametrize("box", BOXES, ids=["none", "rectangular", "triclinic"])
def test_torchscript_is_the_same(model, box):
    scripted = torch.jit.script(model.requires_grad_(False))  # see Potential
    x, types = beads()
    types = typed(model, types)
    for _ in range(3):  # the executor optimises after it has seen a call
        assert scripted(x, types, box).item() == pytest.approx(model(x, types, box).item(), rel=ROUNDING)
        assert torch.allclose(forces(scripted, x, types, box), forces(model, x, types, box), rtol=0, atol=1e-10)
    assert scripted(x, types, box, 300.0).item() == scripted(x, types, box, torch.tensor(300.0)).item()


def test_energy_has_the_dtype_of_the_positions(model):
    x, types = beads()
    types = typed(model, types)
    single = model(x.float(), types)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(model(x, types).item(), rel=1e-4, abs=1e-4)
    assert copy.deepcopy(model).float()(x, types).dtype == torch.float64


def test_a_sum_adds_and_reaches_as_far_as_its_farthest_part():
    x, types = beads()
    pair, moments = pair_spline(), moment_tensor()
    total = Sum(pair, moments)
    assert total.cutoff == moments.cutoff > pair.cutoff
    assert total(x, types).item() == pytest.approx((pair(x, types) + moments(x, types)).item(), rel=ROUNDING)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MomentTensor(0, 0.4), "num_types must be a positive integer, got 0"),
        (lambda: MomentTensor(1, -0.4), r"cutoff must be a positive length in nm, got -0\.4"),
        (lambda: MomentTensor(1, 0.4, max_l=5), "max_l must be an integer from 0 to 4, got 5"),
        (lambda: MomentTensor(1, 0.4, channels=0), "channels must be a positive integer, got 0"),
        (lambda: MomentTensor(1, 0.4, radial_functions=3), "at least 4, got 3"),
        (lambda: MomentTensor(1, 0.4, hidden=()), "hidden must be one or more positive integers"),
        (lambda: MomentTensor(1, 0.4, activation="relu"), "activation must be one of tanh, silu, got 'relu'"),
        (
            lambda: MomentTensor(1, 0.4, products=[((1, 1, 1), (0, 0, 0))]),
            r"not vanish identically.*found the degrees \(1, 1, 1\) with the shifts \(0, 0, 0\)",
        ),
        (lambda: MomentTensor(1, 0.4, products=[((1, 1, 3), (0, 0, 0))]), "must have degrees that form a triangle"),
        (lambda: MomentTensor(1, 0.4, products=[((1, 1), (0, 12))]), "must have shifts from 0 to 11"),
        (lambda: Sum(), "at least one"),
        (lambda: Sum(PairSpline(1, 0.4, 5), PairSpline(2, 0.4, 5)), r"same number of bead types, got \[1, 2\]"),
    ],
)
def test_impossible_architectures_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
