# SPDX-License-Identifier: MIT
"""The full water demo reaches its gates. Resumable: a stopped run goes on in build/validation/water.

Figures of a run stand in docs/validation.md.
"""

from pathlib import Path

import pytest
from rich.console import Console

FOLDER = Path(__file__).resolve().parents[2] / "build" / "validation" / "water"

pytestmark = pytest.mark.validation


@pytest.fixture(scope="module")
def systems():
    pytest.importorskip("torch")
    from meanforce.demo.water import run_demo

    results = run_demo(FOLDER, quick=False, molecules=256, seed=1, platform="CPU", console=Console())
    return {system["key"]: system["quantities"] for system in results["systems"]}


def value(systems, system, quantity):
    return systems[system][quantity]["value"]


def test_force_matching_alone_reproduces_the_structure(systems):
    assert value(systems, "force matching", "rdf_error") < 0.025
    assert value(systems, "force matching", "angle_error") < 0.06
    assert value(systems, "prior alone", "angle_error") > 0.10  # the control: distances alone do not see angles


def test_two_corrections_bring_the_structure_home(systems):
    for system in ("Langevin", "GLE"):
        assert value(systems, system, "rdf_error") < 0.010
        assert value(systems, system, "angle_error") < 0.06
        assert abs(value(systems, system, "peak_height") - value(systems, "atomistic", "peak_height")) < 0.10
        assert abs(value(systems, system, "peak_place") - value(systems, "atomistic", "peak_place")) < 0.001


def test_memory_brings_the_motion_home(systems):
    atomistic = value(systems, "atomistic", "diffusion")
    assert abs(value(systems, "GLE", "diffusion") / atomistic - 1) < 0.12
    assert value(systems, "GLE", "vacf_error") < 0.05
    assert value(systems, "weak friction", "diffusion") > 4 * atomistic  # the controls: no bath, and no memory
    assert value(systems, "weak friction", "vacf_error") > 0.4
    assert value(systems, "Langevin", "vacf_error") > 0.2
