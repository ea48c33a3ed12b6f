# SPDX-License-Identifier: MIT
"""The CPU platform's vector code is compiled for several instruction sets: each that this processor has is forced."""

from __future__ import annotations

import functools

import numpy as np
import openmm
import pytest

from beads import evaluate, make_positions, make_system, new_context, reference
from conftest import TestPlatform
from families import FAMILIES

VARIABLE = "MEANFORCE_INSTRUCTION_SET"
SETS = ("Baseline", "AVX2", "AVX512")
VECTORISED = [name for name in FAMILIES if name.startswith(("MomentTensor", "SchNet"))]
COUNT = 90
BOX = np.array([[1.31, 0, 0], [0.37, 1.29, 0], [-0.49, 0.26, 1.53]])
CPU = TestPlatform("CPU")


def evaluate_with(monkeypatch: pytest.MonkeyPatch, name: str, instruction_set: str) -> tuple[float, np.ndarray]:
    monkeypatch.setenv(VARIABLE, instruction_set)
    system, positions, _ = beads(name)
    return evaluate(new_context(CPU, system, positions))


@functools.cache
def beads(name: str) -> tuple[openmm.System, np.ndarray, tuple[float, np.ndarray]]:
    """Return a System, positions, and Reference's energy and forces."""
    system = make_system(FAMILIES[name](np.arange(COUNT) % 2, True), COUNT, BOX)
    positions = make_positions(COUNT, BOX, distance=0.15)
    return system, positions, reference(system, positions)


def present_sets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the instruction sets of this processor, the lowest first."""
    found = [SETS[0]]
    for instruction_set in SETS[1:]:
        try:
            evaluate_with(monkeypatch, VECTORISED[0], instruction_set)
        except openmm.OpenMMException as error:
            if "this processor or build has at most" not in str(error):
                raise
        else:
            found.append(instruction_set)
    return found


@pytest.mark.parametrize("name", VECTORISED)
def test_all_instruction_sets_agree_with_reference(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    expected = beads(name)[2]
    scale = np.sqrt(np.mean(expected[1] ** 2))
    assert scale > 10
    different = set()
    present = present_sets(monkeypatch)
    for instruction_set in present:
        energy, forces = evaluate_with(monkeypatch, name, instruction_set)
        assert np.sqrt(np.mean((forces - expected[1]) ** 2)) < 1e-5 * scale
        assert abs(energy - expected[0]) < 1e-5 * scale * COUNT
        different.add(forces.tobytes())
    # The choice is obeyed: the baseline, which has no fused operations, does not round as the others do.
    assert len(different) >= min(2, len(present))


def test_the_best_set_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    name = VECTORISED[0]
    best = evaluate_with(monkeypatch, name, present_sets(monkeypatch)[-1])
    monkeypatch.delenv(VARIABLE)
    system, positions, _ = beads(name)
    np.testing.assert_array_equal(evaluate(new_context(CPU, system, positions))[1], best[1])


@pytest.mark.parametrize("bad", ["", "avx2", "AVX512VL"])
def test_an_unknown_set_is_refused(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    message = f"MEANFORCE_INSTRUCTION_SET must be Baseline, AVX2 or AVX512, found '{bad}'"
    with pytest.raises(openmm.OpenMMException, match=message):
        evaluate_with(monkeypatch, VECTORISED[0], bad)
