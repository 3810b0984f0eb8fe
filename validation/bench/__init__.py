"""Speed and memory, measured side by side in one process: medians of interleaved repetitions, on a named machine.

A bench returns one dictionary: facts, and under "rows", where it has them, a list of dictionaries, one for each line of
its table. `s2sam bench NAME --json` prints it as it is.
"""

from collections.abc import Callable
from typing import Any

from validation.bench.batched import trajectories
from validation.bench.masks import sparse
from validation.bench.others import peers
from validation.bench.throughput import training
from validation.bench.timing import machine
from validation.bench.update import optimizer
from validation.bench.weight import memory

BENCHES: dict[str, Callable[[], dict[str, Any]]] = {
    "trajectories": trajectories,
    "sparse": sparse,
    "optimizer": optimizer,
    "memory": memory,
    "training": training,
    "peers": peers,
}

__all__ = ["BENCHES", "machine", "memory", "optimizer", "peers", "sparse", "training", "trajectories"]
