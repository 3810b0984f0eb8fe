"""What S2SAM adds to the update itself, without the network: `perturb + step` against the fused step of plain SGD.

SGD with momentum reads three tensors of the parameters' size and writes two: 5 sizes. Perturbing by a swap reads and
writes two tensors, and so does going back while the new direction is kept: 8 more are the floor for one buffer. Time at
the floor would be 13/5 of SGD's, were memory all that counts.
"""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

from s2sam import S2SAM
from validation.bench.contenders import FUSED, NAIVE, RHO, Naive, compiled, sgd, tensors
from validation.bench.timing import machine, median_interval, side_by_side
from validation.bench.traffic import CACHE, traffic


def optimizer(sizes: tuple[int, ...] = (20_800, 5_000_000, 50_000_000), repetitions: int = 25) -> dict[str, Any]:
    """Time the update of parameters whose gradients are there: rows for each size, ratios to fused SGD in one run.

    The smallest has 16 tensors, as small networks do: there calls cost more than memory. "S2SAM" makes the step inside
    `perturbed()` (or by a closure, or attached), in one pass; in "S2SAM, with block left first" the weights go back
    when the block is left, in a pass of its own. "moved" counts sizes read and written past a cache of 4 MiB
    (`validation.bench.traffic`), on the first size that does not fit there; it sees torch's operations alone, so not
    those of "S2SAM, fused", the compiled passes. Ratios: medians over the repetitions, each to the SGD step beside it,
    of time on the wall, with a 95% interval, and of processors' time, which other work on the machine disturbs less.
    """
    rows: list[dict[str, Any]] = []
    large = min((size for size in sizes if 4 * size > CACHE), default=0)
    moved = {name: _moved(task, large) for name, task in _tasks(large).items() if name != FUSED} if large else {}
    for size in sizes:
        table = side_by_side(repetitions, _tasks(size))
        beside = table["SGD, fused"]
        for name, taken in table.items():
            wall = [a / b for (a, _), (b, _) in zip(taken, beside, strict=True)]
            low, middle, high = median_interval(wall)
            floor = 5 if name.startswith("SGD") else 13
            busy = statistics.median(a / b for (_, a), (_, b) in zip(taken, beside, strict=True))
            row = {
                "optimizer": name,
                "parameters": size,
                "ms": round(1e3 * statistics.median(a for a, _ in taken), 3),
                "times SGD": round(middle, 3),
                "low": round(low, 3),
                "high": round(high, 3),
                "times SGD, processors": round(busy, 3),
                "floor, sizes": floor,
            }
            counted = name in moved and size >= large
            parts = {"moved, sizes": moved[name], "over the floor": moved[name] / floor} if counted else {}
            rows.append(row | {part: round(value, 2) for part, value in parts.items()})
        for row in rows[-len(table) :]:
            if row["optimizer"] in ("S2SAM", FUSED):
                both = zip(table[NAIVE], table[row["optimizer"]], strict=True)
                row["faster than naive by"] = round(statistics.median(a / b for (a, _), (b, _) in both), 3)
    return {"machine": machine(), "repetitions": repetitions, "fused": compiled() or "compiled", "rows": rows}


def _tasks(size: int) -> dict[str, Callable[[], Any]]:
    """Return the updates to compare, each on parameters of its own, past its first step."""
    ours, left_first = (S2SAM(sgd(tensors(size)), rho=RHO) for _ in range(2))
    classic, fused = Naive(sgd(tensors(size))), sgd(tensors(size))
    foreach = sgd(tensors(size), fused=False, foreach=True)

    def outside() -> None:
        with left_first.perturbed():
            pass
        left_first.step()

    tasks: dict[str, Callable[[], Any]] = {
        "SGD, fused": fused.step,
        "SGD, foreach": foreach.step,
        "S2SAM": partial(_step, ours),
        "S2SAM, with block left first": outside,
        NAIVE: partial(_step, classic),
    }
    if not compiled():
        fast = S2SAM(sgd(tensors(size)), rho=RHO, fused=True)
        tasks[FUSED] = partial(_step, fast)
    for task in tasks.values():
        task()
    return tasks


def _step(optimizer: S2SAM | Naive) -> None:
    optimizer.perturb()
    optimizer.step()


def _moved(task: Callable[[], Any], size: int) -> float:
    """Return how many sizes of the parameters a task reads and writes."""
    return traffic(task).moved / (4 * size)
