"""What the commands share: the console, one-line refusals, and checks of folder and device."""

import sys
from pathlib import Path
from typing import NoReturn

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

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


def progress_bar() -> Progress:
    """Return a progress bar on stderr that goes when it is done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)
