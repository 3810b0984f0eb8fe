"""S2SAM and SAM beside the same methods of other packages, installed when the bench is run."""

import statistics
from functools import partial
from typing import Any

from validation.bench.contenders import OURS, PEERS, Closure, peer, tensors
from validation.bench.timing import machine, median_interval, side_by_side


def peers(size: int = 5_000_000, repetitions: int = 15) -> dict[str, Any]:
    """Time training steps whose gradients cost nothing, and count the gradients that each asks for.

    So what is left is the optimizer's own work; in training each gradient comes on top. All have fused SGD with
    momentum as their base. A package that is missing has a row that says so.
    """
    steps: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    counts: dict[str, list[int]] = {}
    for name, make in (dict(OURS) | {f"pytorch_optimizer.{name}": peer(name) for name in PEERS}).items():
        if make is None:
            rows.append({"optimizer": name, "note": "not installed; pip install pytorch-optimizer"})
            continue
        parameters = tensors(size)
        counts[name] = [0]
        steps[name] = partial(make(parameters), _counting(parameters, counts[name]))
    for count in counts.values():
        count[0] = 0
    table = side_by_side(repetitions, steps)
    for name, taken in table.items():
        ratios = [a / b for (a, _), (b, _) in zip(taken, table["SGD"], strict=True)]
        low, middle, high = median_interval(ratios)
        rows.append(
            {
                "optimizer": name,
                "gradients a step": round(counts[name][0] / (repetitions + 1), 2),
                "ms": round(1e3 * statistics.median(a for a, _ in taken), 3),
                "times SGD": round(middle, 3),
                "low": round(low, 3),
                "high": round(high, 3),
            }
        )
    return {"machine": machine(), "parameters": size, "repetitions": repetitions, "rows": rows}


def _counting(parameters: list[Any], count: list[int]) -> Closure:
    """Return a closure that leaves the gradients that are there now, and counts."""
    given = [p.grad for p in parameters]

    def closure() -> float:
        count[0] += 1
        for p, g in zip(parameters, given, strict=True):
            p.grad = g
        return 0.0

    return closure
