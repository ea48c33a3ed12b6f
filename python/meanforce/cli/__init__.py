# SPDX-License-Identifier: MIT
"""The command ``meanforce``. A mistake of the user gives one line and exit status 2, never a traceback.

Each command has a module of its name; this one puts them together.
"""

from __future__ import annotations

import typer

from .analyse import analyse
from .check import check
from .demo import demo
from .extractmemory import extract_memory
from .guard import console, errors
from .map import map_command
from .train import train

__all__ = ["app", "console", "errors", "main"]

app = typer.Typer(
    help="Learned coarse-grained potentials, and the memory that goes with them, in OpenMM.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(analyse)
app.command()(check)
app.command()(extract_memory)
app.add_typer(demo, name="demo")
app.command("map")(map_command)
app.command()(train)


def main() -> None:
    """Run the command line; the entry point of the program ``meanforce``."""
    app()
