# SPDX-License-Identifier: MIT
"""``meanforce check``."""

from __future__ import annotations

import typer

from .guard import console, guarded


@guarded()
def check() -> None:
    """Print versions and platforms, and compare each platform with Reference on a small system."""
    from ..selfcheck import run_checks

    if not run_checks(console):
        raise typer.Exit(1)
