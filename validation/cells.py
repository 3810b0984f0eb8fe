"""An experiment is a list of cells; a cell is a frozen configuration that yields rows, and is never run twice.

Rows go to DIR/rows.jsonl, one JSON object a line, written cell by cell in one piece. A cell is known by the hash of its
configuration and of the code that it runs, so the same command resumes after Ctrl-C or kill, and changed code re-runs:
that of all packages, or of those that an experiment names because it runs no other.
"""

import functools
import gzip
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]

Row = dict[str, Any]
Experiment = Callable[..., Iterable[Row]]
EXPERIMENTS: dict[str, Experiment] = {}
PACKAGES = ("s2sam", "theory", "validation")
RUNS: dict[str, tuple[str, ...]] = {}  # what an experiment runs, where that is less than all packages


def experiment(function: Experiment, *, runs: Iterable[str] = PACKAGES) -> Experiment:
    """Register a function of keyword options (JSON values) that yields rows, under its own name.

    Args:
        function: the experiment.
        runs: the packages, folders or files, below the root of the code, whose code it runs. Its own file is added.
    """
    EXPERIMENTS[function.__name__] = function
    own = Path(sys.modules[function.__module__].__file__ or "").resolve()
    if tuple(runs) != PACKAGES and own.is_relative_to(_ROOT):
        RUNS[function.__name__] = (*runs, own.relative_to(_ROOT).as_posix())
    return function


@dataclass(frozen=True)
class Cell:
    """One configuration of one experiment.

    Args:
        name: the experiment's name. options: its keyword arguments, JSON values only.
    """

    name: str
    options: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, name: str, **options: Any) -> "Cell":
        """Return the cell of that experiment with these options, whatever their order."""
        return cls(name, tuple(sorted(options.items())))

    @property
    def key(self) -> str:
        """Content hash of the configuration and of the code it runs."""
        text = json.dumps([self.name, self.options, code_version(RUNS.get(self.name, PACKAGES))], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def rows(self) -> list[Row]:
        """Run the experiment; every row gets the cell's key, the number of the cell's rows, and its provenance."""
        rows = list(EXPERIMENTS[self.name](**dict(self.options)))
        device = f"{dict(self.options).get('device', 'cpu')}: {platform.machine()}"
        stamp = {"cell": self.key, "cell_rows": len(rows), "experiment": self.name, **provenance(), "device": device}
        return [{**stamp, **row} for row in rows]


@functools.cache
def code_version(parts: tuple[str, ...] = PACKAGES) -> str:
    """Return a hash of the source of these packages, folders or files (drawing and command line apart)."""
    drawing = {"figures.py", "report.py", "cli.py", "cells.py", "readme.py", "plots.py"}
    digest = hashlib.sha256()
    for part in parts:
        for path in sorted((_ROOT / part).rglob("*.py")) or [_ROOT / part]:
            if path.name not in drawing:
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@functools.cache
def provenance() -> Row:
    """Return versions, commit (of the checkout the code lies in, if any) and code hash."""
    versions = [f"python {platform.python_version()}"]
    for name in ("s2sam", "torch", "numpy", "scipy", "scikit-learn"):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"{name} not installed")
    here = Path(__file__).parent
    git = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    tracked = subprocess.run(
        ["git", "-C", str(here), "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True, check=False
    )
    commit = git.stdout.strip() if git.returncode == 0 and tracked.returncode == 0 else "installed"
    return {
        "versions": ", ".join(versions),
        "commit": commit,
        "code": code_version(),
    }


def read(path: Path) -> list[Row]:
    """Return the rows of all complete cells in a rows file; a line cut short by a kill, and its cell, are left out."""
    rows: list[Row] = []
    if not path.exists():
        return rows
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    for line in text.decode(errors="replace").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    found = Counter(row["cell"] for row in rows)
    return [row for row in rows if found[row["cell"]] == row["cell_rows"]]


def write(path: Path, rows: Iterable[Row]) -> None:
    """Replace a rows file in one step, so that no moment leaves half a file."""
    temporary = path.with_suffix(".tmp")
    data = "".join(map(_line, rows)).encode()
    temporary.write_bytes(gzip.compress(data, 9, mtime=0) if path.suffix == ".gz" else data)
    os.replace(temporary, path)


def _line(row: Row) -> str:
    return json.dumps(_plain(row), separators=(",", ":")) + "\n"


def _plain(value: Any) -> Any:
    """Round to 12 digits (what figures and tables can use) and name what JSON cannot say."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.12g}") if abs(value) < float("inf") else str(value)
    return value


def run_cells(
    cells: list[Cell],
    path: Path,
    progress: Callable[[Iterable[Cell]], Iterable[Cell]] = iter,
    executor: Executor | None = None,
    *,
    keep: bool = False,
    recompute: bool = False,
) -> list[Row]:
    """Run the cells that the rows file does not hold yet, and return the rows of all the cells, in their order.

    Rows of other cells, of older code say, stay out of the result and leave the file, unless `keep`. A cell that is
    named twice is run once. This process alone writes, whoever computes: a cell's rows, in one piece, when it is done.

    Args:
        cells: what to run.
        path: the rows file.
        progress: wraps the iterator over the cells that remain; with an executor, where they finish in another order,
            it counts them.
        executor: what the cells run on (`validation.executors`); this process by default.
        keep: whether the file keeps the rows of other cells, where several lists of cells share it.
        recompute: whether no row of these cells is taken from the file.

    Raises:
        RuntimeError: when another process is writing in the folder, or a worker has other code.
    """
    with _alone(path.parent):
        keys = {cell.key for cell in cells}
        stored = [row for row in read(path) if not recompute or row["cell"] not in keys]
        write(path, stored if keep else [row for row in stored if row["cell"] in keys])
        done = {row["cell"] for row in stored}
        todo = list({cell.key: cell for cell in cells if cell.key not in done}.values())
        with path.open("a") as file:
            for rows in _computed(todo, progress, executor):
                file.write("".join(map(_line, rows)))
                file.flush()
                os.fsync(file.fileno())
    by_cell: dict[str, list[Row]] = {}
    for row in read(path):
        by_cell.setdefault(row["cell"], []).append(row)
    return [row for key in dict.fromkeys(cell.key for cell in cells) for row in by_cell.get(key, [])]


def _computed(
    todo: list[Cell], progress: Callable[[Iterable[Cell]], Iterable[Cell]], executor: Executor | None
) -> Iterator[list[Row]]:
    """Yield the rows of one cell after another."""
    if executor is None:
        yield from (cell.rows() for cell in progress(todo))
        return
    from validation.executors import outcomes

    finished = outcomes(executor, [(EXPERIMENTS[cell.name].__module__, cell) for cell in todo])
    for _ in progress(todo):
        yield next(finished)[1]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder, which the system takes back however this process ends."""
    if os.name != "posix":  # elsewhere it is left to the user
        yield
        return
    import fcntl

    place = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RuntimeError(f"out must be free, got {folder}, where another run writes; wait or name another") from None
    else:
        yield
    finally:
        os.close(place)
