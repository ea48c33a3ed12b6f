# SPDX-License-Identifier: MIT
"""``meanforce extract-memory``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .guard import console, errors, guarded


@guarded()
def extract_memory(
    trajectory: Annotated[Path, typer.Argument(help="H5MD file with velocities, as CGReporter writes it.")],
    max_time: Annotated[float, typer.Option(help="Longest lag, in ps: longer than the memory.")],
    output: Annotated[Path, typer.Option(help="Folder for kernel.json, memory.json and plots.")] = Path("memory"),
    exponentials: Annotated[int, typer.Option(help="Exponential modes of the kernel.", min=0)] = 2,
    cosines: Annotated[int, typer.Option(help="Damped cosines of the kernel.", min=0)] = 3,
    white: Annotated[
        bool, typer.Option("--white", help="Allow friction without memory; use --method midpoint.")
    ] = False,
    method: Annotated[str, typer.Option(help="Inversion: G, midpoint, trapezoid or second.")] = "G",
    bead_type: Annotated[
        str | None, typer.Option("--type", help="Beads of this type; needed if there are several.")
    ] = None,
    mean_force: Annotated[str, typer.Option(help="none, linear, polynomial (x, x^3, x^5), or model.")] = "none",
    model: Annotated[Path | None, typer.Option(help="The model.pt whose forces are the mean force.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="K, for a fitted mean force; else of the velocities.")
    ] = None,
    remove_drift: Annotated[
        bool, typer.Option("--remove-drift", help="Take the mean velocity of all beads away.")
    ] = False,
) -> None:
    """Find the memory kernel of a trajectory: correlations, inversion, passive fit, plots."""
    from ..memory.fromtrajectory import kernel_of_trajectory, write_result

    result = kernel_of_trajectory(
        trajectory,
        max_time=max_time,
        modes=(exponentials, cosines),
        white=white,
        method=method,  # type: ignore[arg-type]  # checked there
        bead_type=bead_type,
        mean_force=mean_force,
        model=model,
        temperature=temperature,
        remove_drift=remove_drift,
    )
    write_result(result, output)
    for text in result.warnings:
        errors.print(f"[yellow]warning:[/yellow] {text}", highlight=False)
    integrated, error = result.extraction.table.integrated[-1], result.extraction.integrated_error[-1]
    console.print(f"integrated friction at {max_time:.4g} ps: {integrated:.4g} +- {error:.2g} / ps", highlight=False)
    console.print(f"passive fit: {result.kernel!r}, relative error of k {result.fit.error:.2g}", highlight=False)
    console.print(str(result.markovian), highlight=False)
    console.print(f"wrote kernel.json, memory.json and report.html to {output}", highlight=False)
