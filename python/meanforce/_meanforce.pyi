# SPDX-License-Identifier: MIT
"""The extension module holds free functions only, which the classes that gle.py, beadforce.py and others wrap."""

from typing import Any

def __getattr__(name: str) -> Any: ...
