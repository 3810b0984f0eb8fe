"""Clocks for work done side by side: interleaved repetitions, so that neighbours in time are disturbed alike."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from math import comb
from typing import Any

import torch


def machine() -> str:
    """Return one line about this machine."""
    return f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {torch.get_num_threads()} threads"


def interleaved(repetitions: int, *tasks: Callable[[], float]) -> list[float]:
    """Run the tasks in turn, once to warm up, and return the median of what each reports."""
    return [statistics.median(column) for column in columns(repetitions, *tasks)]


def columns(repetitions: int, *tasks: Callable[[], float]) -> list[tuple[float, ...]]:
    """Run the tasks in turn, once to warm up, and return all that each reports."""
    for task in tasks:
        task()
    return list(zip(*([task() for task in tasks] for _ in range(repetitions)), strict=True))


def seconds(task: Callable[[], Any]) -> float:
    """Return how long a task takes by the clock on the wall."""
    begin = time.perf_counter()
    task()
    return time.perf_counter() - begin


def clocked(task: Callable[[], Any]) -> tuple[float, float]:
    """Return how long a task takes, in seconds on the wall and of processors' time (all threads of this process)."""
    wall, busy = time.perf_counter(), time.process_time()
    task()
    return time.perf_counter() - wall, time.process_time() - busy


def side_by_side(repetitions: int, tasks: Mapping[str, Callable[[], Any]]) -> dict[str, list[tuple[float, float]]]:
    """Run the tasks in turn, once to warm up, then `repetitions` times; return what `clocked` has for each."""
    for task in tasks.values():
        task()
    table: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
    for _ in range(repetitions):
        for name, task in tasks.items():
            table[name].append(clocked(task))
    return table


def median_interval(values: list[float], level: float = 0.95) -> tuple[float, float, float]:
    """Return the median of independent values and an interval of order statistics that has the true one in it.

    Each value is below the true median with probability 1/2, so the k-th smallest is above it with the probability that
    fewer than k heads fall in n tosses. The interval's level is at least `level`, or the highest that n values allow.
    """
    ordered, n = sorted(values), len(values)
    k, tail = 0, 0.0
    while k < n // 2 and 2 * (tail + comb(n, k) / 2**n) <= 1 - level:
        tail += comb(n, k) / 2**n
        k += 1
    low = max(k - 1, 0)
    return ordered[low], statistics.median(ordered), ordered[n - 1 - low]
