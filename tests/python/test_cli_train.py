# SPDX-License-Identifier: MIT
"""``meanforce train``: configurations, run folders, resumption, the warning about mirror images."""

import json
import tomllib
from types import SimpleNamespace

import numpy as np
import pytest

import meanforce
from meanforce import cli
from meanforce.data.h5md import Writer
from meanforce.modelfile import BeadType

torch = pytest.importorskip("torch")

from meanforce.potentials import (  # noqa: E402
    Dihedrals,
    HarmonicAngles,
    HarmonicBonds,
    PairSpline,
    Sum,
    energies_and_forces,
)
from meanforce.training import OpenMMSampler, run  # noqa: E402

BONDS = [(0, 1), (1, 2), (2, 3)]


def write(path, positions, forces, types, bead_types, bonds=(), box=None):
    beads = SimpleNamespace(
        masses=np.full(len(types), 20.0), types=np.asarray(types), bead_types=bead_types, bonds=list(bonds)
    )
    writer = Writer(path, beads, ["position", "force"])
    writer.set_boundary(box is not None)
    edges = np.broadcast_to(np.eye(3) if box is None else box, (len(positions), 3, 3))
    steps = np.arange(len(positions))
    writer.write(steps, 0.1 * steps, {"box/edges": edges, "position": positions, "force": forces})
    writer.close()


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Frames of a chiral chain of four beads."""
    folder = tmp_path_factory.mktemp("chain")
    model = Sum(
        HarmonicBonds(1, [(0, 0)], [2e4], [0.2]),
        HarmonicAngles(1, [(0, 0, 0)], [100.0], [1.9]),
        Dihedrals(1, [(0, 0, 0, 0)], [[[0.0, 6.0]]]),
    )
    model.set_bonds([0] * 4, BONDS)
    start = np.array([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0], [0.26, 0.19, 0.0], [0.4, 0.2, -0.15]])
    sampler = OpenMMSampler(
        start,
        300,
        types=[0] * 4,
        masses=20.0,
        bonds=BONDS,
        replicas=50,
        production=10.0,
        interval=1.0,
        platform="CPU",
        threads=1,
    )
    x = sampler.sample(model).positions
    write(
        folder / "frames.h5", x, energies_and_forces(model, x, [0] * 4)[1], [0] * 4, [BeadType("B", "CHN", 20.0)], BONDS
    )
    return folder


@pytest.fixture(scope="module")
def liquid(tmp_path_factory):
    """Frames of soft particles in a box."""
    folder = tmp_path_factory.mktemp("liquid")
    model = PairSpline(1, 0.8, 20).double()
    with torch.no_grad():
        model.coefficients[0] = 400.0 * torch.exp(-0.7 * torch.arange(20.0))
    grid = np.stack(np.meshgrid(*3 * [np.arange(4)], indexing="ij"), -1).reshape(-1, 3) * 0.45 + 0.1
    sampler = OpenMMSampler(grid, 300, box=1.8 * np.eye(3), production=20.0, interval=0.2, platform="CPU", threads=1)
    x = sampler.sample(model).positions
    forces = energies_and_forces(model, x, [0] * 64, 1.8 * np.eye(3))[1]
    write(folder / "frames.h5", x, forces, [0] * 64, [BeadType("W", "WAT", 18.0)], box=1.8 * np.eye(3))
    return folder


def command(*arguments):
    with cli.console.capture() as printed, cli.errors.capture() as mistakes, pytest.raises(SystemExit) as status:
        cli.app(["train", *map(str, arguments)])
    return status.value.code, printed.get(), mistakes.get()


def config(folder, method, *changes):
    text = run.template(method)
    for old, new in (("epochs = 50", "epochs = 3"), ("hidden = [32, 32]", "hidden = [8]"), *changes):
        text = text.replace(old, new)
    path = folder / f"{method}.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("method", run.METHODS)
def test_templates_are_whole(method, capsys):
    assert command("--template", method)[0] == 0
    text = capsys.readouterr().out
    assert tomllib.loads(text)["method"] == method
    assert all("#" in part for part in text.split("\n\n"))


@pytest.mark.parametrize("method", ["force-matching", "forces-and-noise"])
def test_network(chain, tmp_path, method):
    path = config(chain, method)
    status, _, mistakes = command(path, "--output", tmp_path / "run")
    assert (status, mistakes) == (0, "")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["unexplained"] <= 1.01 * results["unexplained_prior"] < 0.5
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    assert described["config"]["seed"] == 1
    assert len(next(iter(described["data"].values()))) == 64
    assert "torch" in described["versions"]
    assert meanforce.CGPotential(tmp_path / "run" / "model.pt")
    # The same command finds everything done.
    assert command(path, "--output", tmp_path / "run")[0] == 0
    again = json.loads((tmp_path / "run" / "results.json").read_text())
    assert again["unexplained"] == results["unexplained"]
    config(chain, method, ("seed = 1 ", "seed = 2 "))
    status, _, mistakes = command(path, "--output", tmp_path / "run")
    assert status == 2
    assert "holds a run with another config" in " ".join(mistakes.split())


def test_warning_about_mirror_images(chain, tmp_path):
    blind = (
        ("dihedral_order = 3", "dihedral_order = 0"),
        ("odd_products = true", "odd_products = false"),
        ("epochs = 3", "epochs = 1"),
    )
    path = config(chain, "force-matching", *blind)
    status, _, mistakes = command(path, "--output", tmp_path / "run")
    assert status == 0
    assert "visit both hands" in " ".join(mistakes.split())


def test_linear(liquid, tmp_path):
    path = config(liquid, "linear", ("cutoff = 0.9", "cutoff = 0.8"), ("spacing = 0.02", "spacing = 0.04"))
    assert command(path, "--output", tmp_path / "run")[::2] == (0, "")
    assert json.loads((tmp_path / "run" / "results.json").read_text())["unexplained"] < 1e-3


@pytest.mark.parametrize("method", ["ibi", "imc", "relative-entropy"])
def test_iterations(liquid, tmp_path, method):
    changes = [
        ("cutoff = 0.9", "cutoff = 0.8"),
        ("spacing = 0.02", "spacing = 0.04"),
        ("iterations = 10", "iterations = 2"),
        ('"auto"', '"CPU"'),
    ]
    path = config(liquid, method, *changes)
    status, _, mistakes = command(path, "--output", tmp_path / "run")
    assert (status, mistakes) == (0, "")
    found = json.loads((tmp_path / "run" / "results.json").read_text())["errors"]
    assert len(found) == 2
    assert max(found) < 0.1
    assert (tmp_path / "run" / "model.pt").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("method = ", "methods = "), "`method` in"),
        (("stride = 1", "strides = 1"), "[data] has no 'strides'"),
        (("temperature = 300.0", "temperature = 1200.0"), "temperature"),
        (("batch_size = 64", "batchsize = 64"), "batchsize"),
        (('"moment-tensor"', '"mace"'), "'moment-tensor' or 'schnet'"),
        (("frames.h5", "none.h5"), "none.h5"),
        (("seed = 1", "seed = = 1"), "is not TOML"),
    ],
)
def test_mistakes_are_named(chain, tmp_path, change, message):
    status, _, mistakes = command(config(chain, "force-matching", change), "--output", tmp_path / "run")
    assert status == 2
    assert message in " ".join(mistakes.split())
