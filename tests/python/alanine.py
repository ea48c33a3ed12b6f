# SPDX-License-Identifier: MIT
"""The example on alanine dipeptide as a module."""

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("alanine_dipeptide", ROOT / "examples" / "07_alanine_dipeptide.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
