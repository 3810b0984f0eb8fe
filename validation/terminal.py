"""What the commands share: the console, one-line refusals, and checks of folder and device."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 140)  # tables in a file


def refuse(message: str) -> NoReturn:
    """End with one line on stderr and exit code 2."""
    print(f"s2sam: {message}", file=sys.stderr)
    raise typer.Exit(2)


def writable(out: Path) -> Path:
    """Return the folder, made if need be; refuse it where nothing can be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        refuse(f"--out must be a folder that can be written, got {out} ({error.strerror}); name another with --out")
    return out


def usable(device: str) -> str:
    """Return the device; refuse one that torch cannot use here."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        refuse(f"--device must be one that torch can use here, got {device}; use --device cpu")
    return device


class _Logged(Progress):
    """A bar on a terminal; where stderr is a file, a line a minute instead, so that a night's log says how far."""

    EVERY = 60.0  # seconds from line to line
    _told = None

    def advance(self, task_id: TaskID, advance: int | float = 1) -> None:
        super().advance(task_id, advance)
        self._tell()

    def update(self, task_id: TaskID, **state: Any) -> None:
        super().update(task_id, **state)
        self._tell()

    def _tell(self) -> None:
        now = self.get_time()
        if self._told is None:
            self._told = now
        if not self.console.is_terminal and now - self._told >= self.EVERY:
            self._told = now
            self.console.print(self.make_tasks_table(self.tasks))


def progress_bar(get_time: Callable[[], float] | None = None) -> Progress:
    """Return a progress bar on stderr that goes when it is done, or lines where stderr is no terminal.

    Args:
        get_time: the clock, seconds.
    """
    stderr = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        *([BarColumn()] if stderr.is_terminal else []),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # rich's window of 30 s knows no speed of runs that take longer each
    return _Logged(*columns, console=stderr, transient=True, get_time=get_time, speed_estimate_period=900)
