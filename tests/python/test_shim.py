# SPDX-License-Identifier: MIT
"""The kernel text, compiled as C++ behind tests/shim/shim.h, gives what its driver expects, and no sanitizer objects.

A kernel file x.cc is tested by a driver tests/shim/x.cpp and the rows of CASES that name it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIM = ROOT / "tests" / "shim"
KERNELS = ROOT / "platforms" / "common" / "kernels"
SANITIZERS = ("address,undefined", "thread")
SINGLE, MIXED, DOUBLE = ("-DPRECISION=1",), ("-DPRECISION=2",), ("-DPRECISION=3",)
CASES = [
    ("neighborList", (*SINGLE, "-DWIDTH=1")),
    ("neighborList", (*SINGLE, "-DWIDTH=8", "-DUSE_PERIODIC")),
    ("neighborList", (*MIXED, "-DWIDTH=8", "-DUSE_PERIODIC")),
    ("momentTensor", DOUBLE),
    ("schNet", DOUBLE),
    ("schNet", (*DOUBLE, "-DEXACT")),
]


def run(folder: Path, name: str, defines: tuple[str, ...], sanitizer: str) -> subprocess.CompletedProcess[str]:
    """Compile a driver and run it."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    program = folder / name
    command = [
        compiler,
        "-std=c++20",
        "-O1",
        "-g",
        "-Wall",
        "-Wextra",
        "-Wno-unused-parameter",
        "-Wno-psabi",
        "-Wno-unknown-pragmas",
        "-Werror",
    ]
    command += [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", *defines, f"-I{SHIM}", f"-I{KERNELS}"]
    subprocess.run([*command, str(SHIM / f"{name}.cpp"), "-o", str(program)], check=True)
    return subprocess.run([str(program)], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize(("name", "defines"), CASES)
def test_kernel_text(tmp_path: Path, name: str, defines: tuple[str, ...], sanitizer: str) -> None:
    result = run(tmp_path, name, defines, sanitizer)
    assert result.returncode == 0, result.stdout + result.stderr


def test_errors_are_seen(tmp_path: Path) -> None:
    """A kernel without its barriers, and one that is told of more room than there is."""
    races = run(tmp_path, "momentTensor", (*DOUBLE, "-DWITHOUT_BARRIERS"), "thread")
    assert "data race" in races.stderr
    overflow = run(tmp_path, "neighborList", (*SINGLE, "-DWIDTH=1", "-DOUT_OF_BOUNDS"), "address,undefined")
    assert "heap-buffer-overflow" in overflow.stderr
