# SPDX-License-Identifier: MIT
"""``meanforce check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .guard import console, guarded


@guarded()
def check(
    model: Annotated[
        Path | None, typer.Argument(help="A model.pt or kernel.json to check; without it, this installation.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="In K, of a temperature-dependent model.")] = 300.0,
    chiral: Annotated[
        bool, typer.Option("--chiral", help="Fail if the model cannot tell mirror images apart.")
    ] = False,
) -> None:
    """Check the installation (each platform against Reference), or the laws that a potential or kernel must obey."""
    if model is None:
        from ..selfcheck import run_checks

        if not run_checks(console):
            raise typer.Exit(1)
        return
    from ..memorykernel import MemoryKernel
    from ..testing import check_kernel, check_potential

    if model.suffix == ".json":
        report = check_kernel(MemoryKernel.load(model))
    else:
        report = check_potential(model, temperature=temperature, chiral=chiral)
    console.print(str(report), highlight=False)
    if not report.passed:
        raise typer.Exit(1)
