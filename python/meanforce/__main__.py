# SPDX-License-Identifier: MIT
"""``python -m meanforce`` is the command ``meanforce``."""

from .cli import main

main()
