# SPDX-License-Identifier: MIT
"""Loading: the right OpenMM, a plugin for every platform, and no torch."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import openmm
import pytest
from rich.console import Console

import meanforce
from meanforce import _meanforce, _plugins, selfcheck


def test_every_platform_of_this_openmm_has_our_kernels():
    present = {openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())}
    assert set(meanforce.platforms()) == present & {"Reference", "CPU", "OpenCL", "CUDA", "HIP"}
    assert _plugins.plugin_failures() == {}


@pytest.mark.parametrize("found", ["8.5.2", "8.7.0", "9.0"])
def test_another_openmm_version_is_refused_and_the_right_one_named(found):
    with pytest.raises(ImportError, match=rf"needs OpenMM 8\.6\.x.*found OpenMM {found}"):
        _plugins._check_openmm_version(found)
    _plugins._check_openmm_version("8.6.9")


def test_a_platform_works_if_openmm_alone_can_use_it():
    assert _plugins.platform_works("Reference")
    assert _plugins.platform_works("CPU")
    assert not _plugins.platform_works("Abacus")
    assert not _plugins.platform_works("Reference", "double")  # it has no choice of precisions


@pytest.mark.parametrize(("works", "expected"), [(False, True), (True, False)])
def test_a_precision_that_the_device_lacks_is_no_failure_of_the_check(monkeypatch, works, expected):
    asked = []

    def evaluate(name, precision):
        if precision == "double":
            raise openmm.OpenMMException("this device does not support [bold]double[/bold] precision [/]")
        return np.ones((2, 3)), np.ones((2, 3))

    def platform_works(name, precision):
        asked.append((name, precision))
        return works

    monkeypatch.setattr(selfcheck, "platforms", lambda: ["Reference", "CUDA"])
    monkeypatch.setattr(selfcheck, "_evaluate", evaluate)
    monkeypatch.setattr(selfcheck, "platform_works", platform_works)
    console = Console(record=True, width=200, file=io.StringIO())
    assert selfcheck.run_checks(console) is expected
    assert asked == [("CUDA", "double")]
    assert "does not support [bold]double[/bold] precision [/]" in console.export_text()


def test_the_message_of_a_plugin_that_did_not_load_is_shown_as_it_is(monkeypatch):
    monkeypatch.setattr(selfcheck, "platforms", lambda: ["Reference"])
    monkeypatch.setattr(selfcheck, "plugin_failures", lambda: {"HIP": "undefined symbol [/x]"})
    console = Console(record=True, width=200, file=io.StringIO())
    assert not selfcheck.run_checks(console)
    assert "plugin did not load: undefined symbol [/x]" in console.export_text()


@pytest.mark.parametrize("gpu", ["CUDA", "HIP", "OpenCL"], ids="plugin{}".format)
def test_gpu_plugins_are_built_without_a_vendor_sdk(gpu):
    library = Path(_meanforce.__file__).parent / "lib" / "plugins" / f"libMeanForce{gpu}.so"
    content = library.read_bytes()
    assert f"libOpenMM{gpu}.so".encode() in content  # found at load time beside OpenMM, stub or not
    for vendor in (b"libcuda.so", b"libamdhip64.so", b"libOpenCL.so"):
        assert vendor not in content


def test_type_checkers_are_told_of_the_annotations():
    assert (Path(meanforce.__file__).parent / "py.typed").is_file()


def test_import_does_not_import_torch():
    code = "import meanforce, sys; assert 'torch' not in sys.modules; meanforce.structure; meanforce.memory; "
    code += "meanforce.mapping; meanforce.data; assert 'torch' not in sys.modules"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
