# SPDX-License-Identifier: MIT
"""``meanforce demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .guard import console, guarded

demo = typer.Typer(help="Run a whole path, from atomistic input to a coarse-grained simulation.", no_args_is_help=True)


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
    from ..demo.water import run_demo

    run_demo(output, quick=quick, molecules=molecules, seed=seed, platform=platform, console=console)
