# SPDX-License-Identifier: MIT
"""Files that survive whatever stops a training, and signals that stop it between two steps."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import torch

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def save_atomically(state: dict[str, Any], path: str | Path) -> None:
    """Write a state for `torch.load`; the file is either the old or the new one, whenever the program dies."""
    temporary = Path(f"{path}.part")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


class StopSignals:
    """While entered, Ctrl-C and SIGTERM wait for the end of a step instead of tearing it apart.

    The second signal of a kind acts at once. Outside Python's main thread, where no handler can be set, nothing
    changes.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def act(self) -> None:
        """Stop as the signal would have done.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C.
        SystemExit
            After SIGTERM, with the shell's exit status for it.
        """
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + int(self.received or signal.SIGTERM))

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        signal.signal(number, self._before[self.received])
