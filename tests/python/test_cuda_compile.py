# SPDX-License-Identifier: MIT
"""All kernel text compiles as CUDA, in every precision, box shape and for every architecture we name."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cuda"))
import compile_kernels


@pytest.fixture(scope="module")
def cuda_platform(request):
    folder = request.config.getoption("--cuda-platform")
    if folder is None or not all(list(Path(folder).rglob(name)) for name in ("libOpenMMCUDA.so", "libnvrtc.so.*")):
        pytest.skip("needs --cuda-platform=FOLDER with openmm-cuda-13 and nvidia-cuda-nvrtc (make test fills one)")
    return Path(folder)


@pytest.fixture(scope="module")
def rows(cuda_platform):
    return compile_kernels.compile_all(cuda_platform)


def test_every_kernel_compiles(rows):
    failures = [
        f"{r['kernel']} {r['precision']} {r['box']} sm_{r['architecture']}: {r['error']}" for r in rows if r["error"]
    ]
    assert not failures, "\n".join(failures)
    kernels = {path.stem for path in compile_kernels.KERNELS.glob("*.cc")}
    assert {r["kernel"] for r in rows} == kernels
    assert {r["architecture"] for r in rows} == set(compile_kernels.ARCHITECTURES)


def test_a_broken_kernel_is_seen(cuda_platform):
    common, vector_operations = compile_kernels.openmm_definitions(cuda_platform)
    source = compile_kernels.prelude("single", "none") + common + vector_operations
    good = source + "KERNEL void copy(GLOBAL real4* RESTRICT a) { a[GLOBAL_ID] = make_real4(0, 0, 0, 0); }"
    nvrtc = compile_kernels.Nvrtc(cuda_platform)
    assert nvrtc.compile(good, ["-arch=compute_80"])[1]
    assert not nvrtc.compile(good.replace("make_real4", "(real4)"), ["-arch=compute_80"])[1]  # OpenCL-only syntax
