# SPDX-License-Identifier: MIT
"""model.pt: what is written, and what is refused."""

import copy
import hashlib
import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import safetensors.numpy
import torch

import meanforce
from meanforce import modelfile
from meanforce.modelfile import BeadType, ModelFileError
from meanforce.potentials import MomentTensor, PairSpline, Potential, SchNet, Sum

torch.set_num_threads(1)


def make_model():
    torch.manual_seed(7)
    model = Sum(PairSpline(2, 0.4, 8), MomentTensor(2, 0.45, max_l=2, channels=3, radial_functions=9, hidden=(6, 5)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    model.potentials[1].feature_shift.normal_()
    model.potentials[1].feature_scale.uniform_(0.5, 2.0)
    model.bead_types = [BeadType("OW", "HOH", 18.0154), BeadType("C", "", None)]
    return model


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.pt"
    meanforce.export(make_model(), path, kernel={"format": "some kernel"})
    return path


def rewrite(source, target, change):
    """Copy an archive through `change`, a function of the dict of its members."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def edit_description(members, **values):
    description = json.loads(members["archive/extra/meanforce.json"])
    members["archive/extra/meanforce.json"] = json.dumps({**description, **values}).encode()


def set_parameters(members, change):
    """Change the tensors and make the recorded hash fit, as a faulty writer would."""
    tensors = safetensors.numpy.load(members["archive/extra/parameters.safetensors"])
    change(tensors)
    content = safetensors.numpy.save(tensors)
    members["archive/extra/parameters.safetensors"] = content
    hashes = json.loads(members["archive/extra/meanforce.json"])["sha256"]
    edit_description(members, sha256={**hashes, "parameters": hashlib.sha256(content).hexdigest()})


# ------------------------------------------------------------------------------------------------------ what is written
def test_description_and_parameters_come_back(written):
    file, model = modelfile.read(written), make_model()
    assert file.num_types == 2
    assert file.cutoff == model.cutoff
    assert file.bead_types == model.bead_types
    assert json.loads(file.kernel) == {"format": "some kernel"}
    assert file.has_torchscript
    assert [component.kind for component in file.components] == ["pair-spline", "moment-tensor"]
    assert file.description["units"]["length"] == "nm"
    pair, moments = (component.tensors for component in file.components)
    assert np.array_equal(pair["coefficients"], model.potentials[0].coefficients.detach().double())
    assert np.array_equal(moments["filters"], model.potentials[1].filters.detach().double())


def test_first_layer_holds_shift_and_scale(written):
    network, tensors = make_model().double().potentials[1], modelfile.read(written).components[1].tensors
    x = torch.randn(network.feature_shift.shape[0], dtype=torch.float64)
    for t in range(2):
        expected = network.layers[0]((x - network.feature_shift) / network.feature_scale, t).detach()
        found = tensors["layers.0.weight"][t] @ x.numpy() + tensors["layers.0.bias"][t]
        assert np.allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_torchscript_half_is_the_model_in_double(written):
    model = make_model().double()
    x, types = torch.rand(12, 3, dtype=torch.float64), torch.arange(12) % 2
    loaded = torch.jit.load(written)
    assert loaded(x, types).item() == pytest.approx(model(x, types).item(), rel=1e-12)
    assert all(parameter.dtype == torch.float64 for parameter in loaded.parameters())


def test_extra_files_are_visible_to_torch(written):
    extra = {"meanforce.json": "", "parameters.safetensors": "", "kernel.json": ""}
    torch.jit.load(written, _extra_files=extra)
    assert json.loads(extra["meanforce.json"])["format"] == "meanforce-model"
    parameters = extra["parameters.safetensors"]
    assert hashlib.sha256(parameters).hexdigest() == json.loads(extra["meanforce.json"])["sha256"]["parameters"]


def test_forces_do_not_depend_on_what_was_called_before(written):
    # torch.jit optimises for the first calls it sees; see Potential.
    x, types = torch.rand(12, 3, dtype=torch.float64), torch.arange(12) % 2
    first = [
        lambda m: m(x, types),
        lambda m: m(x.float(), types),
        lambda m: m(x, types, 2 * torch.eye(3, dtype=x.dtype)),
    ]
    results = []
    for call in first:
        model = torch.jit.load(written)
        for _ in range(3):
            call(model)
            y = x.clone().requires_grad_(True)
            results.append(torch.autograd.grad(model(y, types), y)[0])
    assert all(torch.allclose(result, results[0], rtol=0, atol=1e-10) for result in results)


def test_the_model_is_left_as_it_is(tmp_path):
    model = make_model()
    state = copy.deepcopy(model.state_dict())
    meanforce.export(model, tmp_path / "model.pt")
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())


def test_the_same_model_gives_the_same_file_without_paths_of_sources(tmp_path, written):
    again = tmp_path / "again.pt"
    meanforce.export(make_model(), again, kernel={"format": "some kernel"})
    assert again.read_bytes() == written.read_bytes()
    assert modelfile.__file__.rsplit("/", 1)[0].encode() not in written.read_bytes()


def test_reading_needs_no_torch(written):
    code = (
        "import sys, meanforce; p = meanforce.CGPotential(sys.argv[1]); p.createForces([0, 1, 'OW'], periodic=True);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(written)], check=True, timeout=60)


def test_a_native_half_alone_is_valid(tmp_path):
    description, tensors = modelfile.describe(make_model())
    path = tmp_path / "native.pt"
    path.write_bytes(modelfile.add_native_half(b"", description, tensors))
    file = modelfile.read(path)
    assert not file.has_torchscript
    assert file.kernel is None
    assert len(meanforce.CGPotential(path).createForces([0, 1])) == 2
    with pytest.raises(ValueError, match="no TorchScript half"):
        meanforce.CGPotential(path).toTorchScript(tmp_path / "bound.pt", [0])


# ------------------------------------------------------------------------------- SchNet, temperature, older versions
def make_schnet(**options):
    torch.manual_seed(8)
    sizes = {"features": 6, "filters": 5, "blocks": 2, "radial_functions": 7, "hidden": (4, 3)}
    return SchNet(2, 0.5, **{**sizes, **options})


def read_native(model, path):
    """Write a native half alone, which no kernel checks, and read it."""
    description, tensors = modelfile.describe(model.double())
    path.write_bytes(modelfile.add_native_half(b"", description, tensors))
    return modelfile.read(path)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"basis": "gaussian", "activation": "ssp", "cutoff_function": "polynomial"},
        {"filter_grid": 32, "cutoff_lower": 0.1, "hidden": ()},
        {"temperature_dependent": True},
    ],
)
def test_schnet_comes_back(tmp_path, options):
    model = make_schnet(**options)
    (component,) = read_native(model, tmp_path / "model.pt").components
    ((architecture, tensors),) = model.components()
    assert component.kind == "schnet"
    assert component.architecture == json.loads(json.dumps(architecture))
    assert component.tensors.keys() == tensors.keys()
    assert all(np.array_equal(component.tensors[name], tensors[name]) for name in tensors)
    # Every parameter is there: a new SchNet takes them all.
    other = make_schnet(**options).double()
    names = {name for name, _ in other.named_parameters()} | {"radial.centers"}
    assert names <= component.tensors.keys()


def test_two_readouts_of_moment_tensors_come_back(tmp_path):
    torch.manual_seed(9)
    model = MomentTensor(2, 0.45, max_l=1, channels=3, radial_functions=9, hidden=(6,), temperature_dependent=True)
    with torch.no_grad():
        model.offset.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    (component,) = read_native(model, tmp_path / "model.pt").components
    assert component.temperature_dependent
    assert component.tensors["offset"].tolist() == [1.0, 2.0, 3.0, 4.0]
    weight = model.layers[-1].weight.detach().numpy()
    assert np.array_equal(component.tensors["layers.1.weight"][:, 0], weight[:, 0])
    assert np.allclose(component.tensors["layers.1.weight"][:, 1], weight[:, 1] / 300.0, rtol=1e-15)


def test_files_of_version_1_are_read(tmp_path):
    model = make_model().double()
    description, tensors = modelfile.describe(model)
    description["version"] = 1
    del description["components"][1]["readouts"]
    path = tmp_path / "old.pt"
    path.write_bytes(modelfile.add_native_half(b"", description, tensors))
    file = modelfile.read(path)
    assert file.components[1].architecture["readouts"] == 1
    assert "readouts" not in file.description["components"][1]
    assert len(meanforce.CGPotential(path).createForces([0, 1])) == 2


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("features", 0, "features in .* must be a whole number >= 1, got 0"),
        ("filters", 2.0, "filters in .* got 2.0"),
        ("blocks", 9, "blocks in .* must be a whole number from 1 to 8, got 9"),
        ("radial_functions", None, "radial_functions in .* got None"),
        ("basis", "bessel", "basis in .* must be one of expnormal, gaussian, got 'bessel'"),
        ("basis_exponent", 0, "basis_exponent in .* must be positive, got 0"),
        ("activation", "relu", "activation in .* must be one of tanh, ssp, silu, got 'relu'"),
        ("cutoff_function", ["cosine"], "cutoff_function in .* must be one of cosine"),
        ("cutoff_lower", 0.5, "cutoff_lower in .* must be >= 0 and less than the cutoff, got 0.5"),
        ("hidden", 4, "hidden in .* must be a list"),
        ("filter_grid", 32, "filter_grid in .* must be null or have the degree 3 .* got 32"),
        ("filter_grid", {"degree": 3, "intervals": 2}, "filter_grid in .* number of intervals >= 4"),
        ("readouts", 3, "readouts in .* must be a whole number from 1 to 2, got 3"),
    ],
)
@pytest.mark.parametrize("drop", [False, True])
def test_impossible_schnets_are_refused(tmp_path, field, value, message, drop):
    description, tensors = modelfile.describe(make_schnet())
    if drop:
        del description["components"][0][field]
    else:
        description["components"][0][field] = value
    path = tmp_path / "odd.pt"
    path.write_bytes(modelfile.add_native_half(b"", description, tensors))
    with pytest.raises(ModelFileError, match=field if drop else message):
        modelfile.read(path)


@pytest.mark.parametrize(
    "name", ["embedding", "radial.betas", "blocks.1.lin3.bias", "blocks.0.filter_table", "layers.2.weight", "offset"]
)
def test_missing_parameters_of_schnet_are_named(tmp_path, name):
    description, tensors = modelfile.describe(make_schnet(temperature_dependent=True, filter_grid=16))
    del tensors[f"components.0.{name}"]
    path = tmp_path / "odd.pt"
    path.write_bytes(modelfile.add_native_half(b"", description, tensors))
    with pytest.raises(ModelFileError, match=rf"lacks the parameter components\.0\.{name}"):
        modelfile.read(path)


# -------------------------------------------------------------------------------------------------- what is not written
def test_halves_that_disagree_are_not_written(tmp_path):
    class Wrong(PairSpline):
        """Its native description is not what it computes."""

        @torch.jit.unused
        def components(self):
            ((architecture, tensors),) = super().components()
            return [(architecture, {"coefficients": tensors["coefficients"] * (1 + 1e-8)})]

    path = tmp_path / "model.pt"
    path.write_text("an older file")
    model = Wrong(1, 0.5, 8)
    with torch.no_grad():
        model.coefficients.normal_()
    with pytest.raises(ModelFileError, match="disagree"):
        meanforce.export(model, path)
    assert path.read_text() == "an older file"
    assert list(tmp_path.iterdir()) == [path]


def test_what_has_no_native_counterpart_is_refused(tmp_path):
    class Mine(Potential):
        def bead_energies(self, displacements, first, second, types):
            return torch.zeros(types.shape[0], dtype=displacements.dtype)

    with pytest.raises(TypeError, match="Mine has no native counterpart"):
        meanforce.export(Mine(1, 0.5), tmp_path / "model.pt")
    with pytest.raises(TypeError, match=r"must be a meanforce\.potentials\.Potential, got Linear"):
        meanforce.export(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(TypeError, match="kernel must have a method to_json"):
        meanforce.export(make_model(), tmp_path / "model.pt", kernel=3.0)


def test_parameters_that_are_not_finite_are_refused(tmp_path):
    model = make_model()
    with torch.no_grad():
        model.potentials[1].filters[2, 1, 0] = float("nan")
    with pytest.raises(ModelFileError, match=r"not finite.*filters"):
        meanforce.export(model, tmp_path / "model.pt")


def test_wrong_targets_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        meanforce.export(make_model(), tmp_path / "nowhere" / "model.pt")
    model = make_model()
    model.bead_types = model.bead_types[:1]
    with pytest.raises(ModelFileError, match="one entry for each of the 2 types"):
        meanforce.export(model, tmp_path / "model.pt")


# ----------------------------------------------------------------------------------------------------- what is not read
def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.pt"):
        meanforce.CGPotential(tmp_path / "nothing.pt")


def test_truncated_files_are_refused(written, tmp_path):
    content = written.read_bytes()
    path = tmp_path / "short.pt"
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match=r"short\.pt' is not a model file, or is truncated"):
            modelfile.read(path)


def test_a_flipped_bit_is_refused_or_harmless(written, tmp_path):
    content = bytearray(written.read_bytes())
    path = tmp_path / "flipped.pt"
    original = modelfile.read(written)
    random = np.random.default_rng(0)
    directory = len(content) - 3000
    places = [*random.integers(0, directory, 100), *random.integers(directory, len(content), 500)]
    for place in places:
        bit = 1 << int(random.integers(0, 8))
        content[place] ^= bit
        path.write_bytes(content)
        content[place] ^= bit
        try:
            file = modelfile.read(path)
        except ModelFileError:
            continue
        # Only in the archive's dates, alignment and the like.
        assert file.description == original.description
        for ours, theirs in zip(file.components, original.components, strict=True):
            assert all(np.array_equal(ours.tensors[name], theirs.tensors[name]) for name in theirs.tensors)


def swap_parameters(members):
    tensors = safetensors.numpy.load(members["archive/extra/parameters.safetensors"])
    tensors["components.0.coefficients"] *= 1.001
    members["archive/extra/parameters.safetensors"] = safetensors.numpy.save(tensors)


def swap_torchscript(members):
    # The longest storage is one of the network's parameters.
    name = max((n for n in members if n.startswith("archive/data/")), key=lambda n: len(members[n]))
    members[name] = members[name][:-8] + np.float64(1.0).tobytes()


def edit_cutoff(members):
    components = json.loads(members["archive/extra/meanforce.json"])["components"]
    components[0]["cutoff"] = 0.41
    edit_description(members, components=components)


def drop(name):
    return lambda members: members.pop(f"archive/extra/{name}")


def tensor(change):
    return lambda members: set_parameters(members, change)


def wrong_shape(tensors):
    tensors["components.1.type_weights"] = tensors["components.1.type_weights"][:1].copy()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("meanforce.json"), "was not written by meanforce.export"),
        (drop("parameters.safetensors"), "holds no extra/parameters.safetensors"),
        (lambda m: m.update({"archive/extra/meanforce.json": b"{"}), "not JSON"),
        (lambda m: m.update({"archive/extra/meanforce.json": b"[]"}), "must have the format 'meanforce-model'"),
        (lambda m: edit_description(m, format="other"), "must have the format 'meanforce-model'"),
        (lambda m: edit_description(m, version=7), "version 7, this meanforce reads up to 3: upgrade meanforce"),
        (lambda m: edit_description(m, version="one"), "format version 'one'; it must be a whole number"),
        (lambda m: edit_description(m, units={"length": "A"}), "has the units"),
        (lambda m: edit_description(m, components=None), "architecture|incomplete"),
        (lambda m: edit_description(m, sha256={}), "incomplete"),
        (lambda m: edit_description(m, bead_types=[]), "must be a list of 2 types"),
        (
            lambda m: edit_description(m, bead_types=[{"name": "A", "residue": "", "mass": -1}] * 2),
            "must be >= 0 dalton",
        ),
        (lambda m: edit_description(m, num_types=0), "num_types in .* must be a whole number >= 1, got 0"),
        (edit_cutoff, "architecture of .* altered"),
        (swap_parameters, "native parameters of .* altered"),
        (swap_torchscript, "TorchScript half of .* altered"),
        (tensor(lambda t: t.pop("components.1.layers.1.bias")), r"lacks the parameter components\.1\.layers\.1\.bias"),
        (tensor(wrong_shape), r"components\.1\.type_weights .* shape \(2, 3\), got float64 of shape \(1, 3\)"),
        (tensor(lambda t: t["components.0.coefficients"].fill(np.inf)), "not finite"),
    ],
)
def test_altered_and_incomplete_files_are_refused(written, tmp_path, change, message):
    path = rewrite(written, tmp_path / "altered.pt", change)
    with pytest.raises(ModelFileError, match=message) as error:
        modelfile.read(path)
    assert "altered.pt" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_new_kind_of_component_is_refused(tmp_path):
    description, tensors = modelfile.describe(make_model())
    description["components"][0]["kind"] = "quantum"
    path = tmp_path / "model.pt"
    path.write_bytes(modelfile.add_native_half(b"", description, tensors))
    with pytest.raises(ModelFileError, match=r"kind 'quantum'; known kinds: pair-spline, .*moment-tensor, schnet"):
        modelfile.read(path)


WRONG_COMPONENTS = [
    (1, "activation", None, "activation in .* must be one of tanh, silu, got None"),
    (1, "activation", "relu", "activation in .* must be one of tanh, silu, got 'relu'"),
    (1, "activation", ["tanh"], "must be one of tanh, silu"),
    (1, "max_l", 5, "max_l in .* must be a whole number from 0 to 4, got 5"),
    (1, "max_l", -1, "max_l in .* got -1"),
    (1, "max_l", True, "max_l in .* got True"),
    (1, "hidden", None, "hidden in .* must be a list of whole numbers >= 1, got None"),
    (1, "hidden", [6, 0], r"hidden in .* got \[6, 0\]"),
    (1, "hidden", [6.0, 5], r"hidden in .* got \[6.0, 5\]"),
    (1, "hidden", "65", "hidden in .* got '65'"),
    (1, "readouts", 0, "readouts in .* must be a whole number from 1 to 2, got 0"),
    (1, "channels", 0, "channels in .* must be a whole number >= 1, got 0"),
    (1, "channels", 3.0, "channels in .* got 3.0"),
    (1, "radial_functions", -4, "radial_functions in .* must be a whole number >= 4, got -4"),
    (0, "functions", None, "functions in .* must be a whole number >= 4, got None"),
    (0, "cutoff", 0, "cutoff of a pair-spline in .* must be a positive length in nm, got 0"),
    (0, "cutoff", -0.4, "cutoff of a pair-spline in .* got -0.4"),
    (0, "cutoff", float("inf"), "cutoff of a pair-spline in .* got inf"),
    (1, "cutoff", float("nan"), "cutoff of a moment-tensor in .* got nan"),
    (1, "cutoff", "0.45", "cutoff of a moment-tensor in .* got '0.45'"),
    (1, "cutoff", True, "cutoff of a moment-tensor in .* got True"),
    (1, "cutoff", 10**400, "cutoff of a moment-tensor in .* must be a positive length"),
    (0, "kind", ["pair-spline"], "known kinds: pair-spline, .*moment-tensor, schnet"),
]


def write_native(path, change):
    """Write a native file whose hashes fit, as a faulty writer would."""
    description, tensors = modelfile.describe(make_model())
    change(description, tensors)
    path.write_bytes(modelfile.add_native_half(b"", description, tensors))
    return path


@pytest.mark.parametrize(("component", "field", "value", "message"), WRONG_COMPONENTS)
@pytest.mark.parametrize("drop", [False, True])
def test_impossible_components_are_refused(tmp_path, component, field, value, message, drop):
    def change(description, tensors):
        entry = description["components"][component]
        if drop:
            del entry[field]
        else:
            entry[field] = value

    path = write_native(tmp_path / "odd.pt", change)
    with pytest.raises(ModelFileError, match=f"{field}|known kinds" if drop else message) as error:
        modelfile.read(path)
    assert "odd.pt" in str(error.value)


@pytest.mark.parametrize(
    ("products", "message"),
    [
        (None, "must be a list of pairs of lists of integers, degrees and shifts, got None"),
        ([[[1, 1], [0, 1.0]]], "must be a list of pairs"),
        ([[[1, 1, 1], [0, 1, 1]]], "must not vanish identically"),
        ([[[2, 2], [0, 3]]], "must have shifts from 0 to 2"),
        ([[[2, 2], [0, 2**40]]], "must be a list of pairs"),
    ],
)
def test_impossible_products_are_refused(tmp_path, products, message):
    path = write_native(
        tmp_path / "odd.pt", lambda description, _: description["components"][1].update(products=products)
    )
    with pytest.raises(ModelFileError, match=rf"products in .*odd\.pt'.* {message}"):
        modelfile.read(path)


def test_a_file_without_products_has_none(tmp_path):
    path = write_native(tmp_path / "older.pt", lambda description, _: description["components"][1].pop("products"))
    assert "products" not in modelfile.read(path).components[1].architecture


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["A", "B"], "must have a name and a residue, two strings, and a mass, got 'A'"),
        ([{"name": 1, "residue": "", "mass": None}] * 2, "two strings, and a mass, got .*'name': 1"),
        ([{"name": "A", "residue": None, "mass": None}] * 2, "two strings"),
        ([{"name": "A", "residue": ""}] * 2, "and a mass, got"),
        ([{"name": "A", "residue": "", "mass": "18"}] * 2, "mass of bead type 'A' .* got '18'"),
        ([{"name": "A", "residue": "", "mass": True}] * 2, "mass of bead type 'A' .* got True"),
        ([{"name": "A", "residue": "", "mass": float("inf")}] * 2, "mass of bead type 'A' .* got inf"),
        ({"A": 1, "B": 2}, "must be a list of 2 types"),
    ],
)
def test_impossible_bead_types_are_refused(tmp_path, rows, message):
    path = write_native(tmp_path / "odd.pt", lambda description, tensors: description.update(bead_types=rows))
    with pytest.raises(ModelFileError, match=message) as error:
        modelfile.read(path)
    assert "odd.pt" in str(error.value)


@pytest.mark.parametrize("components", [[], {}, ["pair-spline"], "moment-tensor"])
def test_components_must_be_a_list_of_objects(tmp_path, components):
    path = write_native(tmp_path / "odd.pt", lambda description, tensors: description.update(components=components))
    with pytest.raises(ModelFileError, match=r"components in .*odd\.pt' must be a list of one or more objects"):
        modelfile.read(path)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_native_parameters_that_are_not_finite_are_refused(tmp_path, value):
    def change(description, tensors):
        tensors["components.1.filters"][2, 1, 0] = value

    with pytest.raises(ModelFileError, match=r"components\.1\.filters in .*odd\.pt' has values that are not finite"):
        modelfile.read(write_native(tmp_path / "odd.pt", change))


def test_rewriting_without_a_change_is_fine(written, tmp_path):
    # The control for the tests above.
    path = rewrite(written, tmp_path / "copy.pt", lambda members: None)
    assert modelfile.read(path).description == modelfile.read(written).description
    torch.jit.load(io.BytesIO(path.read_bytes()))
