"""A toy experiment that worker processes can import, and a sweep of it as a script for tests that kill it."""

import sys
import time
from pathlib import Path

from validation.cells import Cell, experiment, run_cells
from validation.executors import executor

COUNT = 40


@experiment
def toy_sweep(*, k, seconds=0.0, log=None):
    """Yield k % 3 + 1 rows after a while; note in a file that it was begun."""
    if log is not None:
        with Path(log).open("a") as file:
            file.write(f"{k}\n")
    time.sleep(seconds)
    for part in range(k % 3 + 1):
        yield {"k": k, "part": part, "value": k / (part + 1)}


def sweep(seconds=0.0, log=None):
    """Return the cells of the sweep."""
    return [Cell.of("toy_sweep", k=k, seconds=seconds, log=log) for k in range(COUNT)]


if __name__ == "__main__":
    with executor(int(sys.argv[2])) as pool:
        run_cells(sweep(float(sys.argv[3]), sys.argv[4]), Path(sys.argv[1]) / "rows.jsonl", executor=pool)
