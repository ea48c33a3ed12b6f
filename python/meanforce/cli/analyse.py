# SPDX-License-Identifier: MIT
"""``meanforce analyse``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .guard import console, guarded


def _indices(texts: list[str], beads: int, kind: str) -> tuple[tuple[int, ...], ...]:
    found = []
    for text in texts:
        parts = text.split("-")
        if len(parts) != beads or not all(part.isdigit() for part in parts):
            example = "-".join(map(str, range(beads)))
            raise ValueError(f"bead numbers of one {kind} are given as {example}, counted from 0; got {text!r}")
        found.append(tuple(int(part) for part in parts))
    return tuple(found)


@guarded()
def analyse(
    reference: Annotated[Path, typer.Argument(help="H5MD file of the reference: atomistic frames mapped to beads.")],
    models: Annotated[list[Path] | None, typer.Argument(help="H5MD files of coarse-grained runs.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for results.json and report.html.")] = Path("analysis"),
    distance: Annotated[list[str] | None, typer.Option(help="Two beads, as 0-1; may be repeated.")] = None,
    angle: Annotated[list[str] | None, typer.Option(help="Three beads, as 0-1-2; may be repeated.")] = None,
    dihedral: Annotated[list[str] | None, typer.Option(help="Four beads, as 0-1-2-3; may be repeated.")] = None,
    neighbours: Annotated[float | None, typer.Option(help="Cutoff in nm for angles between neighbours.")] = None,
    stride: Annotated[int, typer.Option(help="Use every so many frames.", min=1)] = 1,
    temperature: Annotated[
        float | None, typer.Option(help="In K: also test the YBG balance of the reference's forces (liquids).")
    ] = None,
    pair: Annotated[
        bool, typer.Option("--pair", help="Also judge whether a pair potential can represent the reference (liquids).")
    ] = False,
) -> None:
    """Put the structure of runs side by side, with the sampling floor of every difference."""
    from ..data import Trajectory
    from ..report import Quantity, terminal_table
    from ..structure import YBG, pair_representability
    from ..structure.comparison import Coordinates, compare

    given = (
        _indices(distance or [], 2, "distance"),
        _indices(angle or [], 3, "angle"),
        _indices(dihedral or [], 4, "dihedral"),
    )
    paths = [reference, *(models or [])]
    names = [path.stem for path in paths]
    names = [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]
    runs = {name: Trajectory(path) for name, path in zip(names, paths, strict=True)}
    results = compare(runs, output, Coordinates(*given) if any(given) else None, neighbours, stride)
    keys = dict.fromkeys(key for system in results["systems"] for key in system["quantities"])
    console.print(terminal_table("Structure", [Quantity(k, k, "") for k in keys], results["systems"]))
    console.print(f"Plots and settings: {output / 'report.html'}")
    if temperature is None and not pair:
        return
    frames = runs[names[0]][slice(None, None, stride)]
    if frames.box is None or len(set(frames.types.tolist())) > 1:
        raise ValueError("the YBG balance and the verdict on pair potentials are for liquids of one type in a box")
    cutoff = min(0.9, 0.499 * float(frames.box[:, range(3), range(3)].min()))
    if temperature is not None:
        balance = YBG.measure(
            frames.positions, frames.box, temperature, cutoff, 0.01, forces=frames.require_forces()
        ).balance()
        word = "closes" if balance.passed else "does NOT close"
        console.print(
            f"YBG balance at {temperature} K {word}: mean squared imbalance {balance.statistic:.2f} error bars squared,"
            f" p = {balance.p_value:.3f}"
        )
    if pair:
        console.print(str(pair_representability(frames.positions, frames.box, frames.require_forces(), cutoff)))
