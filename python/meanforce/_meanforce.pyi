# SPDX-License-Identifier: MIT
"""The extension module holds free functions only, which the classes in gle.py, beadforce.py and the like wrap with types."""

from typing import Any

def __getattr__(name: str) -> Any: ...
