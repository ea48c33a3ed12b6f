# SPDX-License-Identifier: MIT
"""Runs side by side, from Python and from the command line."""

import json

import numpy as np
import openmm
import pytest
from openmm import app, unit

from liquids import TEMPERATURE, lj_system
from meanforce import MemoryKernel, cli, export
from meanforce.data import CGReporter, Frames
from meanforce.mapping import Mapping
from meanforce.structure.comparison import Coordinates, compare


def chain(seed, angle=1.9, frames=400):
    """Frames of five beads with fluctuating bonds, angles and a dihedral that prefers one sign."""
    rng = np.random.default_rng(seed)
    x = np.zeros((frames, 5, 3))
    phi = rng.normal(1.0, 0.5, size=frames)
    theta = rng.normal(angle, 0.1, size=frames)
    x[:, 1, 0] = 0.38
    x[:, 2] = x[:, 1] + 0.38 * np.stack([-np.cos(theta), np.sin(theta), 0 * theta], axis=1)
    x[:, 3] = x[:, 2] + 0.38 * np.stack([0.5 + 0 * phi, np.cos(phi), np.sin(phi)], axis=1)
    x[:, 4] = x[:, 3] + rng.normal(0.3, 0.05, size=(frames, 3))
    return Frames(x + rng.normal(scale=0.01, size=x.shape))


def test_a_chain_is_compared_along_itself(tmp_path):
    results = compare({"atoms": chain(1), "same": chain(2), "other": chain(3, 2.4)}, tmp_path)
    atoms, same, other = (system["quantities"] for system in results["systems"])
    assert "js angle 0-1-2" not in atoms
    for key in ("distance 0-1", "angle 0-1-2", "dihedral 0-1-2-3"):
        floor = same[f"floor {key}"]["value"]
        assert 0.5 * floor < same[f"js {key}"]["value"] < 2 * floor
    assert other["js angle 0-1-2"]["value"] > 5 * other["floor angle 0-1-2"]["value"]
    assert json.loads((tmp_path / "results.json").read_text()) == results
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 4 + 3 + 2
    assert "<script" not in page


def test_runs_that_cannot_be_compared_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'b' does not have the beads of the reference"):
        compare({"a": chain(1), "b": Frames(np.zeros((20, 4, 3)))}, tmp_path)
    with pytest.raises(ValueError, match="'b' has 5 frames; at least 10"):
        compare({"a": chain(1), "b": chain(2, frames=5)}, tmp_path)
    with pytest.raises(ValueError, match="must both have a box"):
        compare({"a": chain(1), "b": Frames(chain(2).positions, 3 * np.eye(3))}, tmp_path)


def test_only_the_coordinates_asked_for(tmp_path):
    results = compare({"a": chain(1), "b": chain(2)}, tmp_path, Coordinates(distances=((0, 4),)))
    assert set(results["curves"]) == {"distance 0-4"}


@pytest.fixture(scope="module")
def argon(tmp_path_factory):
    """Two runs of 64 argon atoms as H5MD files."""
    folder = tmp_path_factory.mktemp("argon")
    edge, side = 1.7, 4
    system = lj_system(side**3, edge)
    topology = app.Topology()
    chain_ = topology.addChain()
    for _ in range(side**3):
        topology.addAtom("AR", None, topology.addResidue("AR", chain_))
    topology.setPeriodicBoxVectors(edge * np.eye(3) * unit.nanometer)
    axis = np.arange(side) * edge / side
    lattice = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    paths = []
    for seed in (1, 2):
        integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 5.0, 0.004)
        integrator.setRandomNumberSeed(seed)
        platform = openmm.Platform.getPlatformByName("CPU")
        simulation = app.Simulation(topology, system, integrator, platform, {"Threads": "1"})
        simulation.context.setPositions(lattice)
        simulation.context.setVelocitiesToTemperature(TEMPERATURE, seed)
        simulation.step(500)
        paths.append(str(folder / f"run{seed}.h5"))
        with CGReporter(paths[-1], 25, Mapping.identity(topology, system)) as reporter:
            simulation.reporters.append(reporter)
            simulation.step(25 * 120)
    return paths


def invoke(arguments):
    with cli.console.capture() as out, cli.errors.capture() as err, pytest.raises(SystemExit) as status:
        cli.app(arguments)
    return status.value.code, " ".join((out.get() + err.get()).split())


def test_the_command_compares_liquids_and_judges_pair_potentials(argon, tmp_path):
    output = str(tmp_path / "analysis")
    code, text = invoke(["analyse", *argon, "--output", output, "--temperature", str(TEMPERATURE), "--pair"])
    assert code == 0, text
    assert "YBG balance at 150.0 K closes" in text
    assert "A pair potential can reproduce these distributions." in text
    results = json.loads((tmp_path / "analysis" / "results.json").read_text())
    assert [system["name"] for system in results["systems"]] == ["run1", "run2"]
    assert results["systems"][1]["quantities"]["error g(r)"]["value"] < 0.1
    assert "g(r)" in results["curves"]


def test_mistakes_on_the_command_line_are_one_line(argon, tmp_path):
    code, text = invoke(["analyse", argon[0], "--angle", "0-1", "--output", str(tmp_path)])
    assert code == 2
    assert "bead numbers of one angle are given as 0-1-2" in text
    code, text = invoke(["analyse", str(tmp_path / "none.h5")])
    assert code == 2
    assert "no trajectory at" in text


def test_check_takes_a_kernel_or_a_model(tmp_path):
    MemoryKernel.prony([30.0], [0.2]).save(tmp_path / "kernel.json")
    code, text = invoke(["check", str(tmp_path / "kernel.json")])
    assert code == 0
    assert "ok passive" in text
    torch = pytest.importorskip("torch")
    from meanforce.potentials import PairSpline

    spline = PairSpline(1, 0.9, 20)
    export(spline, tmp_path / "flat.pt")
    with torch.no_grad():
        spline.coefficients[0, :6] = -200.0  # a hole at short distance
        spline.coefficients[0, 6:9] = 5.0
    export(spline, tmp_path / "hole.pt")
    code, text = invoke(["check", str(tmp_path / "hole.pt")])
    assert code == 1
    assert "FAILED no hole at short distance" in text
    code, text = invoke(["check", str(tmp_path / "missing.pt")])
    assert code == 2
