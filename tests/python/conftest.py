# SPDX-License-Identifier: MIT
"""Fixtures shared by all Python tests: the OpenMM platforms of this machine, and torch on one thread."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import openmm
import pytest

import meanforce
from meanforce._plugins import platform_works

GPU_PLATFORMS = ("CUDA", "HIP")


@dataclasses.dataclass(frozen=True)
class TestPlatform:
    """An OpenMM platform at one precision ("" on Reference and CPU, which compute in double)."""

    __test__ = False

    name: str
    precision: str = ""

    @property
    def properties(self) -> dict[str, str]:
        return {"Precision": self.precision} if self.precision else {}

    def context(self, system: openmm.System, integrator: openmm.Integrator) -> openmm.Context:
        return openmm.Context(system, integrator, openmm.Platform.getPlatformByName(self.name), self.properties)

    def tolerance(self, single: float, mixed: float, double: float) -> float:
        """Return the tolerance for this platform's precision; Reference and CPU count as double."""
        return {"single": single, "mixed": mixed}.get(self.precision, double)

    def __str__(self) -> str:
        return f"{self.name}-{self.precision}" if self.precision else self.name


ALL_PLATFORMS = [
    TestPlatform("Reference"),
    TestPlatform("CPU"),
    *(TestPlatform(name, p) for name in ("OpenCL", *GPU_PLATFORMS) for p in ("single", "mixed", "double")),
]


@functools.cache
def is_usable(platform: TestPlatform) -> bool:
    """Return whether the platform has our plugin, and OpenMM alone can create a Context on it at that precision."""
    return platform.name in meanforce.platforms() and platform_works(platform.name, platform.precision)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-gpu", action="store_true", help="fail where a test marked gpu would be skipped")
    parser.addoption(
        "--cuda-platform", help="folder that holds OpenMM's libOpenMMCUDA.so, to compile all kernels as CUDA"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `platform` once per platform and precision of this machine."""
    if "platform" not in metafunc.fixturenames:
        return
    present = [p for p in ALL_PLATFORMS if is_usable(p)]
    if metafunc.config.getoption("--require-gpu") and not any(p.name in GPU_PLATFORMS for p in present):
        present += [p for p in ALL_PLATFORMS if p.name == "CUDA"]
    marks = {name: [pytest.mark.gpu] for name in GPU_PLATFORMS}
    metafunc.parametrize(
        "platform", [pytest.param(p, marks=marks.get(p.name, []), id=str(p)) for p in present], scope="session"
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Turn the skip of a GPU test into a failure where a GPU is required."""
    report = (yield).get_result()
    if report.skipped and "gpu" in item.keywords and item.config.getoption("--require-gpu"):
        report.outcome = "failed"
        report.longrepr = f"--require-gpu was given, but the test was skipped: {report.longrepr}"


@pytest.fixture
def torch() -> Any:
    """The torch module, on one thread: small problems get slower with more, and CI machines are shared."""
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module
