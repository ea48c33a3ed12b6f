# SPDX-License-Identifier: MIT
"""Where real data for checks lie: $MEANFORCE_SHARED, or a folder `shared` in, beside or above the repository."""

import os
from pathlib import Path

import pytest


def shared_folder(name: str) -> Path:
    """Return a folder of shared data, or skip the test that asks for it."""
    repository = Path(__file__).resolve().parents[2]
    roots = [Path(os.environ["MEANFORCE_SHARED"])] if "MEANFORCE_SHARED" in os.environ else []
    for root in [*roots, *(folder / "shared" for folder in (repository, *repository.parents))]:
        if (root / "data" / name).is_dir():
            return root / "data" / name
    pytest.skip(f"there is no shared/data/{name}; set MEANFORCE_SHARED to the folder that has data/{name}")
