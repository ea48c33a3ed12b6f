# SPDX-License-Identifier: MIT
"""The benchmarks run, and what they compare ours with does the same."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import openmm

import meanforce
from conftest import TestPlatform

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def test_custom_integrator_is_the_same_algorithm():
    spec = importlib.util.spec_from_file_location("integrators", FOLDER / "integrators.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    kernel, h = benchmark.kernel(4, benchmark.TIME), 0.02
    positions, edge = benchmark.lattice(216)
    found = []
    for integrator in (benchmark.custom_gle(0.0, kernel.drift, h), meanforce.GLEIntegrator(0.0, kernel, h)):
        context = TestPlatform("Reference").context(benchmark.liquid(216, edge), integrator)
        context.setPositions(positions * benchmark.SIGMA + 0.01 * np.random.default_rng(1).normal(size=(216, 3)))
        context.setVelocities(np.random.default_rng(2).normal(size=(216, 3)) * 0.1)
        integrator.step(10)
        found.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    np.testing.assert_allclose(found[0], found[1], atol=1e-10)
    # without memory it is another trajectory
    context = TestPlatform("Reference").context(benchmark.liquid(216, edge), openmm.VerletIntegrator(h))
    context.setPositions(positions * benchmark.SIGMA + 0.01 * np.random.default_rng(1).normal(size=(216, 3)))
    context.setVelocities(np.random.default_rng(2).normal(size=(216, 3)) * 0.1)
    context.getIntegrator().step(10)
    other = context.getState(positions=True).getPositions(asNumpy=True)._value
    assert np.abs(other - found[0]).max() > 1e-4


def run(script: str, folder: Path, *arguments: str) -> str:
    command = [sys.executable, str(FOLDER / script), *arguments]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_integrators(tmp_path):
    arguments = ["--quick", "--particles", "216", "--platforms", "Reference", "--no-lammps", "--output", "result"]
    assert "LangevinMiddle" in run("integrators.py", tmp_path, *arguments)
    records = json.loads((tmp_path / "result.json").read_text())["records"]
    assert {(r["integrator"], r["modes"]) for r in records} >= {("GLE", 16), ("Custom", 16), ("LangevinMiddle", 0)}
    assert all(r["milliseconds"] > 0 for r in records)
    assert (tmp_path / "result.png").exists()


def test_potentials(tmp_path):
    arguments = ["--quick", "--only", "moments", "--platforms", "CPU", "--rounds", "2", "--seconds", "0.01"]
    printed = run("potentials.py", tmp_path, *arguments, "--json", "result.json", "--plot", "result.png")
    records = json.loads((tmp_path / "result.json").read_text())["records"]
    found = {record["contender"]: record for record in records}
    assert set(found) == {"native", "native step", "torchscript", "pythonforce"}
    for name, record in found.items():
        assert name in printed
        assert record["milliseconds"] > 0
        assert record["force_difference"] < 1e-4  # all compute the same
    assert found["pythonforce"]["versus"] == "native step"
    assert found["torchscript"]["ratio"] > 1
    assert found["native"]["share"] > 0
    assert (tmp_path / "result.png").exists()


def test_memory(tmp_path):
    run("memory.py", tmp_path, "--quick", "--output", "memory.json")
    records = json.loads((tmp_path / "memory.json").read_text())
    found = {record["contender"]: record for record in records}
    assert found["direct sum"]["difference"] < 1e-10  # all compute the same
    assert found["meanforce G"]["error"] < 0.5
    assert found["meanforce, 100 beads x 1000 frames, 100 lags"]["peak_megabytes"] > 0
