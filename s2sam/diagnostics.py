"""What an optimizer did in its last step, measured on request: `watch = opt.diagnostics()`.

A watch is a gradient hook: it runs at the one moment of a step when the perturbation y - w and the new gradient are
both there, so no buffer is kept for it. Without a watch nothing is called and nothing is measured. With one, a step
makes a few more passes, with temporaries of the parameters' size in float32; numbers leave the device on `read()` only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from s2sam.rules import global_norm, scales
from s2sam.shards import combined, local, placed_like

if TYPE_CHECKING:
    from s2sam.wrapper import Wrapper


@dataclass(frozen=True)
class Reading:
    """The last step in numbers.

    Attributes:
        perturbation: ||y - w||, in the units of the weights, as it survived in the parameters' format; 0 for a step
            without perturbation (the first one of S2SAM, say).
        direction: norm of the gradient at y, which S2SAM perturbs along in its next step; not finite where an entry of
            it was not.
        cosine: between the gradient at y and the one perturbed along: of successive gradients for S2SAM, of the two of
            the step for SAM. With `adaptive`, and in half types, of the gradient at y with y - w. nan where one is 0.
        skipped: gradients with an entry that was not finite, so far; they perturb nothing.
        state_bytes: memory of the optimizer's state now, the base's included, on this process.
    """

    perturbation: float
    direction: float
    cosine: float
    skipped: int
    state_bytes: int


class Diagnostics:
    """A watch on an optimizer: every step is measured until `remove()`; also a context manager that removes it on exit.

    Gradient hooks that edit gradients (masks) must be registered before it, to be seen.

    Args:
        optimizer: the one to measure.
    """

    def __init__(self, optimizer: "Wrapper") -> None:
        self._optimizer = optimizer
        self._last: list[Tensor] | None = None
        self._handle = optimizer.register_gradient_hook(self._measure)

    def read(self) -> Reading:
        """Return the last step's numbers (this waits for the device).

        Raises:
            RuntimeError: before the first step.
        """
        if self._last is None:
            raise RuntimeError("diagnostics must be read after a step, got none since they began; call step() first")
        slots = [x for state in self._optimizer.state.values() for x in state.values() if isinstance(x, Tensor)]
        size = sum(local(x).numel() * x.element_size() for x in slots)
        perturbation, direction, cosine = (float(x) for x in self._last)
        return Reading(perturbation, direction, cosine, int(self._optimizer.skipped_perturbations), size)

    def remove(self) -> None:
        """Measure no more; the last numbers can still be read."""
        self._handle.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    @torch.no_grad()
    def _measure(self) -> None:
        opt = self._optimizer
        members = [p for group in opt.param_groups for p in group["params"] if p.grad is not None]
        gradients = {p: placed_like(p.grad, p) for p in members if p.grad.layout is torch.strided}  # others are refused
        if not gradients:
            return
        applied = opt._applied()
        both = [(gradients[p], e, radius, sign) for sign, radius, p, e in applied if p in gradients]
        device = next(iter(gradients)).device
        numbers = (global_norm([e for *_, e in applied]), global_norm(list(gradients.values())), _cosine(both))
        self._last = [x.to(device) for x in numbers]


def _cosine(items: Sequence[tuple[Tensor, Tensor, Any, float]]) -> Tensor:
    """Return the cosine between g and sign e/radius as 1 - ||n(g) - n(sign e/radius)||^2/2; a norm: `shards` has it."""
    if not items:
        return torch.tensor(torch.nan)
    gradients, first = [g for g, *_ in items], items[0][2]
    same = all(r is first or (not isinstance(r, Tensor) and r == first) for *_, r, _ in items)
    others = [e if same else e / r for _, e, r, _ in items]
    (s, a), (t, b) = scales(gradients, 1.0), scales(others, 1.0)
    gaps = [
        (local(g).to(s.dtype) * s).mul_(f).sub_((local(e).to(t.dtype) * t).mul_(h), alpha=sign)
        for g, f, e, h, (*_, sign) in zip(gradients, a, others, b, items, strict=True)
    ]
    distance = combined(gradients, gaps, global_norm, "norm")
    defined = (global_norm(gradients) > 0) & (global_norm(others) > 0)
    return torch.where(defined, 1 - distance.square() / 2, torch.nan)
