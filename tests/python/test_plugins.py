# SPDX-License-Identifier: MIT
"""Loading: the right OpenMM, a plugin for every platform, and no torch."""

import subprocess
import sys
from pathlib import Path

import openmm
import pytest

import meanforce
from meanforce import _meanforce, _plugins


def test_every_platform_of_this_openmm_has_our_kernels():
    present = {openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())}
    assert set(meanforce.platforms()) == present & {"Reference", "CPU", "OpenCL", "CUDA", "HIP"}
    assert _plugins.plugin_failures() == {}


@pytest.mark.parametrize("found", ["8.5.2", "8.7.0", "9.0"])
def test_another_openmm_version_is_refused_and_the_right_one_named(found):
    with pytest.raises(ImportError, match=rf"needs OpenMM 8\.6\.x.*found OpenMM {found}"):
        _plugins._check_openmm_version(found)
    _plugins._check_openmm_version("8.6.9")


@pytest.mark.parametrize("gpu", ["CUDA", "HIP", "OpenCL"])
def test_gpu_plugins_are_built_without_a_vendor_sdk(gpu):
    library = Path(_meanforce.__file__).parent / "lib" / "plugins" / f"libMeanForce{gpu}.so"
    content = library.read_bytes()
    assert f"libOpenMM{gpu}.so".encode() in content  # found at load time beside OpenMM, stub or not
    for vendor in (b"libcuda.so", b"libamdhip64.so", b"libOpenCL.so"):
        assert vendor not in content


def test_import_does_not_import_torch():
    code = "import meanforce, sys; assert 'torch' not in sys.modules; meanforce.structure; meanforce.memory; "
    code += "meanforce.mapping; meanforce.data; assert 'torch' not in sys.modules"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
