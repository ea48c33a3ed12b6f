# SPDX-License-Identifier: MIT
"""The command ``meanforce``. A mistake of the user gives one line and exit status 2, never a traceback."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec

import openmm
import typer
from rich.console import Console
from rich.markup import escape

app = typer.Typer(
    help="Learned coarse-grained potentials, and the memory that goes with them, in OpenMM.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
demo = typer.Typer(help="Run a whole path, from atomistic input to a coarse-grained simulation.", no_args_is_help=True)
app.add_typer(demo, name="demo")
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


@app.command()
@guarded()
def check() -> None:
    """Print versions and platforms, and compare each platform with Reference on a small system."""
    from .selfcheck import run_checks

    if not run_checks(console):
        raise typer.Exit(1)


@demo.command()
@guarded(after_stop="The same command goes on from the last finished stage.")
def water(
    output: Annotated[Path, typer.Option(help="Folder for results; a stopped run in it goes on where it was.")] = Path(
        "meanforce-demo"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="Less data: minutes instead of a quarter of an hour.")] = False,
    molecules: Annotated[int, typer.Option(help="Number of SPC/E water molecules.", min=216)] = 256,
    seed: Annotated[int, typer.Option(help="Seed of every random stream of the run.", min=1)] = 1,
    platform: Annotated[str, typer.Option(help="OpenMM platform: CPU, OpenCL, CUDA, HIP, Reference or auto.")] = "auto",
) -> None:
    """Atomistic SPC/E water becomes one-bead water: learned many-body potential, memory kernel, three CG runs."""
    from .demo.water import run_demo

    run_demo(output, quick=quick, molecules=molecules, seed=seed, platform=platform, console=console)


def main() -> None:
    """Run the command line; the entry point of the program ``meanforce``."""
    app()
