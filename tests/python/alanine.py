# SPDX-License-Identifier: MIT
"""The example on alanine dipeptide as a module, and where its frames are."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("alanine_dipeptide", ROOT / "examples" / "07_alanine_dipeptide.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def data_folder() -> Path:
    """Return the folder of the frames, in a folder `shared` beside the checkout or above it; skip without it."""
    for parent in ROOT.parents:
        if (parent / "shared" / "data" / "cgnet_ala2" / "ala2_coordinates.npy").exists():
            return parent / "shared" / "data" / "cgnet_ala2"
    pytest.skip("the frames of alanine dipeptide are not here (shared/data/cgnet_ala2)")
