"""What S2SAM adds to the update itself, without the network: `perturb + step` against the fused step of plain SGD.

SGD with momentum reads three tensors of the parameters' size and writes two: 5 sizes. Perturbing by a swap reads and
writes two tensors, and so does going back while the new direction is kept: 8 more are the floor for one buffer. Time at
the floor would be 13/5 of SGD's, were memory all that counts.
"""

import statistics
from collections.abc import Callable
from typing import Any

from s2sam import S2SAM
from validation.bench.contenders import RHO, Naive, sgd, tensors
from validation.bench.timing import machine, median_interval, side_by_side
from validation.bench.traffic import traffic


def optimizer(sizes: tuple[int, ...] = (5_000_000, 50_000_000), repetitions: int = 25) -> dict[str, Any]:
    """Time the update of parameters whose gradients are there: rows for each size, ratios to fused SGD in one run.

    "S2SAM" makes the step inside `perturbed()` (or by a closure, or attached), in one pass; in "S2SAM, with block left
    first" the weights go back when the block is left, in a pass of its own. "moved" counts sizes read and written past
    a cache of 4 MiB (`validation.bench.traffic`), on the smallest size. Ratios: medians over the repetitions, each to
    the SGD step beside it, of time on the wall, with a 95% interval, and of processors' time, which other work on the
    machine disturbs less.
    """
    rows: list[dict[str, Any]] = []
    moved = {name: _moved(task, min(sizes)) for name, task in _tasks(min(sizes)).items()}
    for size in sizes:
        table = side_by_side(repetitions, _tasks(size))
        beside = table["SGD, fused"]
        for name, taken in table.items():
            wall = [a / b for (a, _), (b, _) in zip(taken, beside, strict=True)]
            low, middle, high = median_interval(wall)
            floor = 5 if name.startswith("SGD") else 13
            busy = statistics.median(a / b for (_, a), (_, b) in zip(taken, beside, strict=True))
            rows.append(
                {
                    "optimizer": name,
                    "parameters": size,
                    "ms": round(1e3 * statistics.median(a for a, _ in taken), 3),
                    "times SGD": round(middle, 3),
                    "low": round(low, 3),
                    "high": round(high, 3),
                    "times SGD, processors": round(busy, 3),
                    "floor, sizes": floor,
                    "moved, sizes": round(moved[name], 2),
                    "over the floor": round(moved[name] / floor, 2),
                }
            )
        mine, classic = (table[name] for name in ("S2SAM", "naive S2-SAM"))
        for row in rows[-len(table) :]:
            if row["optimizer"] == "naive S2-SAM":
                faster = [a / b for (a, _), (b, _) in zip(classic, mine, strict=True)]
                row["S2SAM is faster by"] = round(statistics.median(faster), 3)
    return {"machine": machine(), "repetitions": repetitions, "rows": rows}


def _tasks(size: int) -> dict[str, Callable[[], Any]]:
    """Return the updates to compare, each on parameters of its own, past its first step."""
    ours, left_first = (S2SAM(sgd(tensors(size)), rho=RHO) for _ in range(2))
    classic, fused = Naive(sgd(tensors(size))), sgd(tensors(size))
    foreach = sgd(tensors(size), fused=False, foreach=True)

    def inside() -> None:
        ours.perturb()
        ours.step()

    def outside() -> None:
        with left_first.perturbed():
            pass
        left_first.step()

    def three_buffers() -> None:
        classic.perturb()
        classic.step()

    tasks = {
        "SGD, fused": fused.step,
        "SGD, foreach": foreach.step,
        "S2SAM": inside,
        "S2SAM, with block left first": outside,
        "naive S2-SAM": three_buffers,
    }
    for task in tasks.values():
        task()
    return tasks


def _moved(task: Callable[[], Any], size: int) -> float:
    """Return how many sizes of the parameters a task reads and writes."""
    return traffic(task).moved / (4 * size)
