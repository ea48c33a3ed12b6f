# SPDX-License-Identifier: MIT
"""``meanforce map``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .guard import console, guarded

if TYPE_CHECKING:
    import numpy as np
    import openmm
    from openmm import app

    from ..data import AtomisticTrajectory
    from ..mapping import ForceMap, Mapping

TRAINING_SHARE = 0.8
"""Share of the frames that the optimal force map is fitted to; the rest tells what it gains."""


class ForceChoice(StrEnum):
    """What becomes of the forces."""

    constraint_aware = "constraint-aware"
    optimal = "optimal"
    slice = "slice"
    none = "none"


class Constrained(StrEnum):
    """What a run constrained, where there is no System to ask."""

    none = "none"
    hbonds = "hbonds"
    allbonds = "allbonds"


@guarded(after_stop="The same command with --resume goes on after the last frame written.")
def map_command(
    trajectory: Annotated[list[Path], typer.Argument(help="Atomistic trajectory, in one file or several.")],
    topology: Annotated[Path, typer.Option(help="Its topology: PDB, mmCIF, prmtop, or what MDAnalysis reads.")],
    output: Annotated[Path, typer.Option(help="The H5MD file of beads to write; a PDB and the map come beside it.")],
    by: Annotated[
        str,
        typer.Option(help="What becomes a bead: molecule, residue, chain, c-alpha, five-bead, or a map's JSON file."),
    ] = "molecule",
    select: Annotated[
        list[str] | None, typer.Option(help="Beads by selection, NAME=SELECTION, one per residue; repeat it.")
    ] = None,
    center: Annotated[str, typer.Option(help="Beads at the centre of 'mass' or 'geometry' of their atoms.")] = "mass",
    system: Annotated[Path | None, typer.Option(help="System XML: masses, constraints, virtual sites.")] = None,
    constraints: Annotated[
        Constrained | None, typer.Option(help="What the run constrained (rigid water too), if there is no System.")
    ] = None,
    forces: Annotated[ForceChoice, typer.Option(help="How forces are mapped.")] = ForceChoice.constraint_aware,
    units: Annotated[
        str | None, typer.Option(help="Units of npz, npy and LAMMPS files: openmm, mdanalysis, real, metal, mlcg.")
    ] = None,
    forces_file: Annotated[Path | None, typer.Option(help="Forces that go with positions in a .npy file.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of the run in K, to check the mapped forces with.")] = None,
    start: Annotated[int, typer.Option(help="First frame.", min=0)] = 0,
    stop: Annotated[int | None, typer.Option(help="Frame to stop before.")] = None,
    stride: Annotated[int, typer.Option(help="Every how many frames.", min=1)] = 1,
    time_step: Annotated[float | None, typer.Option(help="Of LAMMPS dumps: the MD step in ps.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the output of a stopped run.")] = False,
) -> None:
    """Map an atomistic trajectory to beads: positions, velocities, forces, topology and starting positions."""
    from ..data import AtomisticTrajectory, map_trajectory, read_topology

    if output.exists() and not resume:
        raise ValueError(f"{output} exists; give --resume to go on with it, or another --output")
    atoms = read_topology(topology)
    mapping = _mapping(atoms, by, select, center, _system(system), constraints, forces)
    source = AtomisticTrajectory(
        trajectory, units=units, num_atoms=mapping.num_atoms, forces=forces_file, time_step=time_step
    )
    if forces is not ForceChoice.none:
        source.require_forces()
        _choose_force_map(mapping, source, forces, (start, stop, stride), output, resume)
    with Progress(
        TextColumn("mapping frames"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    ) as bar:
        task = bar.add_task("", total=None)
        count = map_trajectory(
            source,
            mapping,
            output,
            forces=forces is not ForceChoice.none,
            start=start,
            stop=stop,
            stride=stride,
            resume=resume,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    mapping.save(output.with_suffix(".map.json"))
    _write_pdb(mapping, output)
    console.print(f"{count} frames of {mapping.num_beads} beads of {len(mapping.bead_types)} types in {output}")
    _check(output, mapping, temperature, forces is not ForceChoice.none)


def _mapping(
    atoms: app.Topology,
    by: str,
    select: list[str] | None,
    center: str,
    system: openmm.System | None,
    constraints: Constrained | None,
    forces: ForceChoice,
) -> Mapping:
    from ..mapping import Mapping, constraints_of_bonds

    if by.endswith(".json"):
        return Mapping.load(by)
    if system is None and constraints is None and forces is not ForceChoice.none:
        raise ValueError(
            "constraints bias mapped forces, so they must be known: give --system, or --constraints none, hbonds or"
            " allbonds; or map positions alone with --forces none"
        )
    pairs = None if constraints is None else constraints_of_bonds(atoms, constraints.value)
    if select:
        split = [entry.partition("=") for entry in select]
        if not all(name and rule for name, _, rule in split):
            raise ValueError(f"--select must be NAME=SELECTION, got {' and '.join(map(repr, select))}")
        selections = {name.strip(): rule.strip() for name, _, rule in split}
        return Mapping.from_selections(atoms, system, selections, weights=center, constraints=pairs)
    if by == "c-alpha":
        return Mapping.c_alpha(atoms, system, constraints=pairs)
    if by == "five-bead":
        return Mapping.five_bead(atoms, system, constraints=pairs)
    if by not in ("molecule", "residue", "chain"):
        raise ValueError(f"--by must be molecule, residue, chain, c-alpha, five-bead or a .json file, got {by!r}")
    return Mapping.from_topology(atoms, system, by, weights=center, constraints=pairs)


def _system(path: Path | None) -> openmm.System | None:
    import openmm

    if path is None:
        return None
    system = openmm.XmlSerializer.deserialize(path.read_text(encoding="utf-8"))
    if not isinstance(system, openmm.System):
        raise ValueError(f"{path} holds a {type(system).__name__}, not a System")
    return system


def _choose_force_map(
    mapping: Mapping,
    source: AtomisticTrajectory,
    choice: ForceChoice,
    frames: tuple[int, int | None, int],
    output: Path,
    resume: bool,
) -> None:
    from ..mapping import ForceMap, Mapping

    saved = output.with_suffix(".map.json")
    if choice is ForceChoice.slice:
        mapping.force_map = ForceMap.slice(mapping)
    elif choice is ForceChoice.optimal and resume and saved.exists():
        mapping.force_map = Mapping.load(saved).force_map  # frames may have come since it was fitted
    elif choice is ForceChoice.optimal:
        start, stop, stride = frames
        numbers = range(*slice(start, stop, stride).indices(len(source)))
        border = numbers[int(TRAINING_SHARE * len(numbers))] if len(numbers) > 1 else None
        if border is None:
            raise ValueError("an optimal force map needs at least two frames, one to fit and one to report")

        def forces_of(first: int, last: int | None) -> Iterator[Any]:
            for block in source.blocks(None, first, last, stride, velocities=False):
                yield block.frames.forces

        mapping.force_map = ForceMap.optimal(mapping, forces_of(start, border))
        mapping.save(saved)
        _report_gain(mapping, lambda force_map: force_map.mean_square(forces_of(border, stop)))


def _report_gain(mapping: Mapping, mean_square: Callable[[ForceMap], np.ndarray]) -> None:
    from ..mapping import ForceMap

    table = Table("force map", "mean F² per component [(kJ/mol/nm)²]", title="on frames it was not fitted to")
    maps = {"slice": ForceMap.slice, "constraint-aware": ForceMap.constraint_aware}
    for name, make in maps.items():
        try:
            table.add_row(name, f"{mean_square(make(mapping)).mean():.5g}")
        except ValueError:
            table.add_row(name, "impossible: constraints join two beads")
    table.add_row("optimal", f"{mean_square(mapping.force_map).mean():.5g}")
    console.print(table)


def _write_pdb(mapping: Mapping, output: Path) -> None:
    from ..data import Trajectory

    with Trajectory(output, check=False) as beads:
        box = None if beads.box is None else beads.box[0]
        mapping.write_pdb(output.with_suffix(".pdb"), beads.positions[0], box)


def _check(output: Path, mapping: Mapping, temperature: float | None, forces: bool) -> None:
    from ..data import Trajectory, check_frames
    from ..data.checks import explain

    with Trajectory(output, check=False) as beads:
        report = check_frames(beads, temperature=temperature, topology=mapping.topology(), forces=forces)
    for line in explain(report):
        console.print(line)
