# SPDX-License-Identifier: MIT
"""The benchmark of the integrators runs, and what it compares GLEIntegrator with does the same."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import openmm

import meanforce
from conftest import TestPlatform

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "integrators.py"


def test_custom_integrator_is_the_same_algorithm():
    spec = importlib.util.spec_from_file_location("integrators", SCRIPT)
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


def test_benchmark_runs(tmp_path):
    arguments = ["--quick", "--particles", "216", "--platforms", "Reference", "--no-lammps", "--output", "result"]
    result = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert "LangevinMiddle" in result.stdout
    records = json.loads((tmp_path / "result.json").read_text())["records"]
    assert {(r["integrator"], r["modes"]) for r in records} >= {("GLE", 16), ("Custom", 16), ("LangevinMiddle", 0)}
    assert all(r["milliseconds"] > 0 for r in records)
    assert (tmp_path / "result.png").exists()
