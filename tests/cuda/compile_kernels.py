# SPDX-License-Identifier: MIT
"""Compile every kernel text as OpenMM's CUDA platform would (NVRTC, then ptxas where there is one), without a GPU.

OpenMM puts its own definitions before a kernel's text; they are read out of the libOpenMMCUDA.so of the wheel, so that
what is compiled here is what a CUDA machine compiles. Run as a program it prints a table, given a folder with the
wheels openmm-cuda-13 and nvidia-cuda-nvrtc:

    python tests/cuda/compile_kernels.py --cuda-platform FOLDER
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

KERNELS = Path(__file__).resolve().parents[2] / "platforms" / "common" / "kernels"
PRECISIONS = ("single", "mixed", "double")
BOXES = ("none", "rectangular", "triclinic")
ARCHITECTURES = ("75", "80", "90", "120")
FUNCTIONS = (
    "sqrt",
    "rsqrt",
    "exp",
    "log",
    "pow",
    "cos",
    "sin",
    "tan",
    "acos",
    "asin",
    "atan",
    "erf",
    "erfc",
    "fma",
    "fabs",
)
#: The definitions that the host code passes with each kernel text; a text without a row here is an error.
DEFINES_FILE = Path(__file__).with_name("defines.json")


class Nvrtc:
    """The few NVRTC calls needed, through ctypes."""

    def __init__(self, folder: Path) -> None:
        libraries = sorted(folder.rglob("libnvrtc.so.*"))
        if not libraries:
            raise FileNotFoundError(f"no libnvrtc.so under {folder}: pip install --target it nvidia-cuda-nvrtc")
        # The NVRTC wheel does not find its own builtins library: load it first.
        for builtins in libraries[0].parent.glob("libnvrtc-builtins.so.*"):
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
        self._lib = ctypes.CDLL(str(libraries[0]))

    def compile(self, source: str, options: list[str]) -> tuple[str, bytes]:
        """Return (log, PTX); the PTX is empty when the text does not compile."""
        lib, program = self._lib, ctypes.c_void_p()
        if lib.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None) != 0:
            raise RuntimeError("nvrtcCreateProgram failed")
        arguments = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        failed = lib.nvrtcCompileProgram(program, len(options), arguments) != 0
        size = ctypes.c_size_t()
        lib.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        lib.nvrtcGetProgramLog(program, log)
        ptx = b""
        if not failed:
            lib.nvrtcGetPTXSize(program, ctypes.byref(size))
            buffer = ctypes.create_string_buffer(size.value)
            lib.nvrtcGetPTX(program, buffer)
            ptx = buffer.value
        lib.nvrtcDestroyProgram(ctypes.byref(program))
        return log.value.decode(), ptx


def openmm_definitions(cuda_platform: Path) -> tuple[str, str]:
    """Return the texts that OpenMM puts before (common) and after (vector operations) a kernel's own definitions."""
    libraries = sorted(cuda_platform.rglob("libOpenMMCUDA.so"))
    if not libraries:
        raise FileNotFoundError(f"no libOpenMMCUDA.so under {cuda_platform}: pip install --target it openmm-cuda-13")
    data = libraries[0].read_bytes()

    def literal(marker: bytes) -> str:
        at = data.find(marker)
        if at < 0:
            raise RuntimeError(f"{libraries[0]} holds no text with {marker!r}: OpenMM's kernel sources have changed")
        return data[data.rfind(b"\0", 0, at) + 1 : data.find(b"\0", at)].decode()

    return literal(b"#define KERNEL extern"), literal(b"This file defines vector operations")


def prelude(precision: str, box: str) -> str:
    """Return the macros and types that OpenMM's CudaContext defines for one precision and box shape."""
    double, mixed = precision == "double", precision != "single"
    macros = {
        "SYNC_WARPS": "__syncwarp();",
        "SHFL(var, srcLane)": "__shfl_sync(0xffffffff, var, srcLane);",
        "BALLOT(var)": "__ballot_sync(0xffffffff, var);",
        "RECIP": "1.0/" if double else "1.0f/",
    }
    if double:
        macros["USE_DOUBLE_PRECISION"] = "1"
    if precision == "mixed":
        macros["USE_MIXED_PRECISION"] = "1"
    for width in "234":
        macros["make_real" + width] = f"make_{'double' if double else 'float'}{width}"
        macros["make_mixed" + width] = f"make_{'double' if mixed else 'float'}{width}"
    for function in FUNCTIONS:
        macros[function.upper()] = function if double else function + "f"
    if box == "triclinic":
        macros["APPLY_PERIODIC_TO_DELTA(delta)"] = (
            "{real scale3 = floor(delta.z*invPeriodicBoxSize.z+0.5f); delta.x -= scale3*periodicBoxVecZ.x; "
            "delta.y -= scale3*periodicBoxVecZ.y; delta.z -= scale3*periodicBoxVecZ.z; "
            "real scale2 = floor(delta.y*invPeriodicBoxSize.y+0.5f); delta.x -= scale2*periodicBoxVecY.x; "
            "delta.y -= scale2*periodicBoxVecY.y; "
            "real scale1 = floor(delta.x*invPeriodicBoxSize.x+0.5f); delta.x -= scale1*periodicBoxVecX.x;}"
        )
    else:
        macros["APPLY_PERIODIC_TO_DELTA(delta)"] = (
            "{"
            + " ".join(f"delta.{k} -= floor(delta.{k}*invPeriodicBoxSize.{k}+0.5f)*periodicBoxSize.{k};" for k in "xyz")
            + "}"
        )
    text = define(macros)
    for name, base in (("real", "double" if double else "float"), ("mixed", "double" if mixed else "float")):
        text += "".join(f"typedef {base}{width} {name}{width};\n" for width in ("", "2", "3", "4"))
    return text + "typedef unsigned int tileflags;\n"


def define(macros: dict[str, str]) -> str:
    """Return one #define line for each macro."""
    return "".join(f"#define {name} {value}\n" for name, value in macros.items())


def programs() -> Iterator[tuple[str, str, str, dict[str, str]]]:
    """Yield (text name, precision, box, definitions) for everything that a Context could compile."""
    rows = json.loads(DEFINES_FILE.read_text())
    for path in sorted(KERNELS.glob("*.cc")):
        if path.stem not in rows:
            raise KeyError(f"{path.name} has no row in {DEFINES_FILE.name}: add the definitions its host code passes")
        row = rows[path.stem]
        boxes = BOXES if row["uses_box"] else ("none",)
        for variant, precision, box in itertools.product(row["variants"], PRECISIONS, boxes):
            periodic = {"USE_PERIODIC": "1"} if box != "none" else {}
            yield path.stem, precision, box, {**row["defines"], **variant, **periodic}


def compile_all(cuda_platform: Path, architectures: tuple[str, ...] = ARCHITECTURES) -> list[dict[str, object]]:
    """Compile every program for every architecture; return one row each with ``error``, registers and spills."""
    nvrtc = Nvrtc(cuda_platform)
    common, vector_operations = openmm_definitions(cuda_platform)
    rows: list[dict[str, object]] = []
    for (name, precision, box, defines), architecture in itertools.product(programs(), architectures):
        text = (KERNELS / f"{name}.cc").read_text()
        source = prelude(precision, box) + common + "\n" + define(defines) + vector_operations + text
        # --use_fast_math in every precision: that is what OpenMM's CudaContext passes.
        log, ptx = nvrtc.compile(source, [f"-arch=compute_{architecture}", "--use_fast_math"])
        row: dict[str, object] = {"kernel": name, "precision": precision, "box": box, "architecture": architecture}
        row["error"] = "" if ptx else log
        if ptx and shutil.which("ptxas"):
            row.update(_assemble(ptx, architecture))
        rows.append(row)
    return rows


def _assemble(ptx: bytes, architecture: str) -> dict[str, object]:
    with tempfile.NamedTemporaryFile(suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        run = subprocess.run(
            ["ptxas", "-v", f"-arch=sm_{architecture}", file.name, "-o", os.devnull], capture_output=True, text=True
        )
    if run.returncode:
        return {"error": "ptxas: " + run.stderr.strip()}
    return {
        "registers": [int(n) for n in re.findall(r"Used (\d+) registers", run.stderr)],
        "spill_bytes": sum(int(n) for n in re.findall(r"(\d+) bytes spill stores", run.stderr)),
    }


def main() -> int:
    """Print one line for each program of the newest architecture and all failures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuda-platform", type=Path, required=True, help="folder of libOpenMMCUDA.so and NVRTC")
    rows = compile_all(parser.parse_args().cuda_platform)
    failed = [row for row in rows if row["error"]]
    for row in rows:
        if row["error"] or row["architecture"] == ARCHITECTURES[-1]:
            print(" ".join(f"{key}={value}" for key, value in row.items() if value != ""))
    print(f"{len(rows)} compilations, {len(failed)} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
