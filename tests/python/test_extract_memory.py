# SPDX-License-Identifier: MIT
"""The command ``meanforce extract-memory``: a kernel from a file, and data that cannot give one."""

import json
import shutil

import h5py
import numpy as np
import openmm
import pytest
from openmm import app

from gle_physics import TEMPERATURE
from meanforce import GLEIntegrator, MemoryKernel, cli
from meanforce.data import CGReporter
from meanforce.mapping import Mapping
from memory_data import THREE, distance


def run(arguments):
    """Return exit status, output and what is said about mistakes."""
    with cli.console.capture() as output, cli.errors.capture() as mistakes, pytest.raises(SystemExit) as status:
        cli.app([str(a) for a in arguments])
    return status.value.code, output.get(), " ".join(mistakes.get().split())


def recorded(path, integrator, spring=0.0, frames=3000, every=1, beads=100):
    """Record free or tethered beads."""
    topology = app.Topology()
    chain = topology.addChain()
    system = openmm.System()
    force = openmm.CustomExternalForce(f"{spring / 2}*(x^2+y^2+z^2)")
    for i in range(beads):
        topology.addAtom("B", None, topology.addResidue("B", chain))
        system.addParticle(1.0)
        force.addParticle(i)
    if spring:
        system.addForce(force)
    simulation = app.Simulation(topology, system, integrator, openmm.Platform.getPlatformByName("Reference"))
    rng = np.random.default_rng(5)
    width = 1.0 / np.sqrt(spring) if spring else 0.0
    simulation.context.setPositions(width * rng.normal(size=(beads, 3)))
    simulation.context.setVelocities(rng.normal(size=(beads, 3)))
    reporter = CGReporter(path, every, Mapping.identity(topology, system), forces=False)
    simulation.reporters.append(reporter)
    simulation.step(frames * every)
    reporter.close()
    return path


def gle(kernel=THREE, h=0.05):
    integrator = GLEIntegrator(TEMPERATURE, kernel, h)
    integrator.setRandomNumberSeed(3)
    return integrator


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("free") / "free.h5", gle())


def test_kernel_of_free_beads(free, tmp_path):
    status, output, mistakes = run(
        ["extract-memory", free, "--max-time", 5, "--exponentials", 2, "--cosines", 1, "--output", tmp_path]
    )
    assert status == 0, mistakes
    assert not mistakes
    kernel = MemoryKernel.load(tmp_path / "kernel.json")
    t = 0.05 * np.arange(101)
    print(distance(kernel.kernel(t), THREE.kernel(t)), output)
    assert distance(kernel.kernel(t), THREE.kernel(t)) < 0.06
    found = json.loads((tmp_path / "memory.json").read_text())
    assert abs(found["integrated_at_longest_lag"] - THREE.integrated(5.0)) < 5 * found["integrated_error"]
    assert found["temperature"] == pytest.approx(TEMPERATURE, rel=0.02)
    assert "memory matters" in output
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 4
    for name in ("vacf", "kernel", "friction", "spectrum"):
        assert (tmp_path / f"{name}.svg").stat().st_size > 1000


def test_mean_force_of_tethered_beads(tmp_path):
    path = recorded(tmp_path / "tethered.h5", gle(), spring=3.0)
    t, errors = 0.05 * np.arange(101), {}
    for force in ("linear", "polynomial", "none"):
        status, _, mistakes = run(
            [
                "extract-memory",
                path,
                "--max-time",
                5,
                "--cosines",
                1,
                "--mean-force",
                force,
                "--output",
                tmp_path / force,
            ]
        )
        assert status == 0, mistakes
        table = json.loads((tmp_path / force / "memory.json").read_text())
        errors[force] = distance(np.array(table["kernel"])[1:-1], THREE.kernel(t)[1:-1])
    print(errors)
    assert errors["linear"] < 0.04
    assert errors["polynomial"] < 0.04
    assert errors["none"] > 0.5


def test_a_thermostat_is_noticed(tmp_path):
    path = recorded(tmp_path / "langevin.h5", gle(THREE + MemoryKernel.white(0.5)))
    status, _, mistakes = run(["extract-memory", path, "--max-time", 5, "--output", tmp_path / "out"])
    assert status == 0
    assert "the reference is thermostatted: 0." in mistakes
    options = ["--white", "--method", "midpoint", "--cosines", 1, "--output", tmp_path / "white"]
    status, _, _ = run(["extract-memory", path, "--max-time", 5, *options])
    assert status == 0
    assert MemoryKernel.load(tmp_path / "white" / "kernel.json").white_friction == pytest.approx(0.5, abs=0.2)


def test_a_drift_is_refused_or_removed(free, tmp_path):
    path = shutil.copy(free, tmp_path / "drift.h5")
    with h5py.File(path, "r+") as file:
        file["particles/beads/velocity/value"][:] += np.array([0.5, 0.0, 0.0])
    arguments = ["extract-memory", path, "--max-time", 5, "--cosines", 1, "--output", tmp_path]
    status, _, mistakes = run(arguments)
    assert status == 2
    assert "all beads drift with (0." in mistakes
    assert "--remove-drift" in mistakes
    status, _, mistakes = run([*arguments, "--remove-drift"])
    assert status == 0, mistakes
    t = 0.05 * np.arange(101)
    assert distance(MemoryKernel.load(tmp_path / "kernel.json").kernel(t), THREE.kernel(t)) < 0.06


def test_bad_data_are_named(free, tmp_path):
    coarse = recorded(tmp_path / "coarse.h5", gle(), every=12, frames=400, beads=20)
    for arguments, message in (
        ([free, "--max-time", 100], "but 3000 frames allow 4 to 750"),
        ([coarse, "--max-time", 4], "sampling interval of 0.6 ps is too coarse"),
        ([free, "--max-time", 5, "--type", "W"], "there is no bead type 'W'"),
        ([free, "--max-time", 5, "--method", "fft"], "`method` must be one of"),
        ([free, "--max-time", 5, "--mean-force", "model"], "`model` is needed"),
        ([tmp_path / "none.h5", "--max-time", 5], "no trajectory"),
    ):
        status, _, mistakes = run(["extract-memory", *arguments, "--output", tmp_path / "out"])
        assert status == 2
        assert message in mistakes
