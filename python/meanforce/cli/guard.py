# SPDX-License-Identifier: MIT
"""What every command shares: the consoles, and how a mistake of the user ends."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

import openmm
import typer
from rich.console import Console
from rich.markup import escape

console = Console()
errors = Console(stderr=True)
P = ParamSpec("P")


def guarded(after_stop: str = "") -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Turn Ctrl-C and the errors that a user can cause into one line and an exit status.

    Other exceptions are mistakes of ours and show their traceback.

    Parameters
    ----------
    after_stop : str
        What Ctrl-C adds to "Stopped."
    """

    def guard(command: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                command(*args, **kwargs)
            except KeyboardInterrupt:
                console.print(f"[yellow]Stopped.[/yellow] {after_stop}".rstrip())
                raise typer.Exit(130) from None
            except (ValueError, OSError, ImportError, openmm.OpenMMException) as error:
                errors.print(f"[red]meanforce:[/red] {escape(str(error))}", highlight=False)
                raise typer.Exit(2) from None

        return run

    return guard
