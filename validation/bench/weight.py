"""Memory that optimizers hold between steps, and what a step needs for a while, counted in sizes of the parameters."""

from typing import Any

from torch import Tensor

from validation.bench.contenders import OURS, PEERS, Closure, peer, tensors
from validation.bench.timing import machine
from validation.bench.traffic import Traffic


def memory(size: int = 2_000_000) -> dict[str, Any]:
    """Count, in the third step on given gradients, the memory that was there before it and the most that came on top.

    "held": alive after two steps and allocated in them, so momentum is 1 of it for each. "for a while": the most of
    new memory that was alive at once inside the third step. Gradients themselves and a network's activations are not
    there.
    """
    rows: list[dict[str, Any]] = []
    makers: dict[str, Any] = dict(OURS) | {f"pytorch_optimizer.{name}": peer(name) for name in PEERS}
    for name, make in makers.items():
        if make is None:
            rows.append({"optimizer": name, "note": "not installed; pip install pytorch-optimizer"})
            continue
        parameters = tensors(size)
        given: list[Tensor | None] = [p.grad for p in parameters]
        step, closure = make(parameters), _given(parameters, given)
        with Traffic(cache=0) as before:
            step(closure)
            step(closure)
            held = before.alive
        with Traffic(cache=0) as during:
            step(closure)
        rows.append(
            {
                "optimizer": name,
                "held, sizes": round(held / (4 * size), 3),
                "for a while, sizes": round(during.peak / (4 * size), 3),
            }
        )
    plain = rows[0]["held, sizes"]
    for row in rows:
        if "held, sizes" in row:
            row["more than SGD"] = round(row["held, sizes"] - plain, 3)
    return {"machine": machine(), "parameters": size, "rows": rows}


def _given(parameters: list[Any], gradients: list[Tensor | None]) -> Closure:
    """Return a closure that leaves given gradients; some peers replace or edit them."""

    def closure() -> float:
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = g
        return 0.0

    return closure
