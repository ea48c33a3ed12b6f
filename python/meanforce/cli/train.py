# SPDX-License-Identifier: MIT
"""``meanforce train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .guard import console, errors, guarded


@guarded(after_stop="The same command goes on from the last step.")
def train(
    config: Annotated[Path | None, typer.Argument(help="What to train, as TOML; see --template.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the run; a stopped run in it goes on where it was.")] = Path(
        "meanforce-run"
    ),
    template: Annotated[
        str | None,
        typer.Option(
            help="Print a commented configuration and stop: force-matching, forces-and-noise, linear, ibi, imc or "
            "relative-entropy."
        ),
    ] = None,
) -> None:
    """Learn a coarse-grained potential from beads: model.pt, and everything needed to repeat it."""
    from ..training import run

    if template is not None:
        print(run.template(template), end="")
        return
    if config is None:
        raise ValueError("a configuration is needed; --template force-matching prints one to start from")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("starting", total=None)

        def advance(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        def warn(sentence: str) -> None:
            errors.print(f"[yellow]warning:[/yellow] {sentence}")

        results = run.run(config, output, advance, warn)
    for name, value in results.items():
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)
        console.print(f"{name.replace('_', ' ')}: {shown}")
    console.print(f"model: {output / 'model.pt'}")
