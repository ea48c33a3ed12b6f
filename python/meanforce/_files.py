# SPDX-License-Identifier: MIT
"""Files that a kill leaves whole."""

from __future__ import annotations

import os
from pathlib import Path


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a file so that a kill leaves either the old one or the new one, never a part."""
    temporary = Path(f"{os.fspath(path)}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
