# SPDX-License-Identifier: MIT
"""A run made of stages that can be stopped at any moment and goes on from the last finished stage."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openmm
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .._files import write_text
from .._version import __version__

#: What a stage calls to say which fraction (0 to 1) of it is done.
Advance = Callable[[float], None]


_WAY_OUT = "choose another --output, or remove that folder"


class Run:
    """The folder of a run: its settings, the versions it runs with, and the result of every stage that has finished.

    Parameters
    ----------
    folder : Path
        Created if absent.
    settings : dict
        Everything the results depend on. JSON types only.
    console : rich.console.Console

    Raises
    ------
    ValueError
        If the folder holds a run that was started with other settings or other versions of meanforce or OpenMM, or
        its stages.json is damaged.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], console: Console) -> None:
        self.folder = folder
        self.console = console
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "stages.json"
        versions = {"meanforce": __version__, "openmm": openmm.Platform.getOpenMMVersion()}
        self._state: dict[str, Any] = {"versions": versions, "settings": settings, "stages": {}}
        if self._file.exists():
            self._state = self._read()
            self._check_same("versions", versions)
            self._check_same("settings", settings)

    def _read(self) -> dict[str, Any]:
        problem = "it is not what a run writes"
        try:
            state = json.loads(self._file.read_text(encoding="utf-8"))
        except ValueError as error:  # JSON and Unicode errors alike
            problem = str(error)
        else:
            if _is_state(state):
                return dict(state)
        raise ValueError(f"{self._file} is damaged ({problem}); {_WAY_OUT}")

    def _check_same(self, what: str, now: dict[str, Any]) -> None:
        old = self._state[what]
        changed = [f"{key}: {old.get(key)} -> {now.get(key)}" for key in {**old, **now} if old.get(key) != now.get(key)]
        if changed:
            raise ValueError(f"{self.folder} holds a run with other {what} ({', '.join(sorted(changed))}); {_WAY_OUT}")

    def stage(self, name: str, title: str, work: Callable[[Advance], dict[str, Any]]) -> dict[str, Any]:
        """Return the result of a stage, doing its work only if it has not finished before.

        Parameters
        ----------
        name : str
            Unique within the run.
        title : str
            Shown to the user.
        work : callable
            Takes an `Advance` callback, leaves its files in the folder and returns a JSON-serialisable dict.
        """
        finished = self._state["stages"].get(name)
        if finished is not None:
            self.console.print(f"[dim]{title}: done before ({finished['seconds']:.0f} s)[/dim]")
            result: dict[str, Any] = finished["result"]
            return result
        start = time.perf_counter()
        with self._progress(title) as advance:
            result = work(advance)
        seconds = time.perf_counter() - start
        self._state["stages"][name] = {"seconds": seconds, "result": result}
        write_text(self._file, json.dumps(self._state, indent=1))
        self.console.print(f"{title}: {seconds:.0f} s")
        return result

    def result(self, name: str) -> dict[str, Any]:
        """Return the result of a finished stage."""
        result: dict[str, Any] = self._state["stages"][name]["result"]
        return result

    @contextmanager
    def _progress(self, title: str) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(title, total=1.0)
            yield lambda fraction: progress.update(task, completed=min(fraction, 1.0))

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time of each finished stage."""
        return {name: stage["seconds"] for name, stage in self._state["stages"].items()}


def _is_state(state: Any) -> bool:
    """Return whether the content of a stages.json has the form that `Run` writes."""
    return (
        isinstance(state, dict)
        and all(isinstance(state.get(key), dict) for key in ("versions", "settings", "stages"))
        and all(
            isinstance(stage, dict)
            and isinstance(stage.get("seconds"), int | float)
            and isinstance(stage.get("result"), dict)
            for stage in state["stages"].values()
        )
    )


def part(advance: Advance, start: float, end: float) -> Advance:
    """Return an `Advance` that covers the fractions from `start` to `end` of another."""
    return lambda fraction: advance(start + (end - start) * fraction)
