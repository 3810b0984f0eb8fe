"""What masks add to a training step, what a topology update costs, what cutting channels out brings."""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from s2sam.sparse.chex import CHEX
from s2sam.sparse.controller import Controller
from s2sam.sparse.dynamic import RigL
from s2sam.sparse.flops import flops
from s2sam.sparse.shrink import shrink
from s2sam.sparse.static import RandomMask
from validation.bench.timing import columns, interleaved, machine, seconds
from validation.models import ResNet


def sparse(depth: int = 32, batch: int = 64, repetitions: int = 9) -> dict[str, Any]:
    """Time what masks add to a training step, what a topology update costs, and what cutting channels out brings.

    ResNet of this depth on 3 x 32 x 32 images, SGD with momentum, 90% sparse. An update of RigL exchanges 30% of the
    non-zeros, its largest. Inference: half of the removable channels masked by CHEX, then cut out by `shrink`.
    """
    torch.manual_seed(0)
    x, y = torch.randn(batch, 3, 32, 32), torch.arange(batch) % 10
    plain, masked, moving = (ResNet(depth) for _ in range(3))
    steps = [_step(plain, None, x, y), _step(masked, RandomMask(masked, 0.9), x, y)]
    rigl = RigL(moving, 0.9, total_steps=10**6)
    gradients = [torch.randn_like(w) for w in rigl.weights.values()]

    def refill() -> float:
        for w, g in zip(rigl.weights.values(), gradients, strict=True):
            w.grad = g.clone()  # dense: an update leaves it masked
        return 0.0

    measured = [partial(seconds, step) for step in steps]
    taken = columns(repetitions, *measured, refill, partial(seconds, rigl.update))
    without, with_masks, _, update = map(statistics.median, taken)
    # Neighbours in time are disturbed alike by whatever else the machine does: the median of their ratios.
    overhead = statistics.median(b / a for a, b in zip(*taken[:2], strict=True)) - 1

    half = ResNet(depth).eval()
    CHEX(half, 0.5, total_steps=1, delta0=0.0).finalize()
    small = shrink(half)
    with torch.inference_mode():
        whole, cut = interleaved(repetitions, *(partial(seconds, partial(net, x)) for net in (half, small)))
        off = float((half(x) - small(x)).abs().max())
    return {
        "machine": machine(),
        "network": f"ResNet-{depth}, batch {batch}, {repetitions} repetitions",
        "training step without masks, ms": round(1e3 * without, 2),
        "with a static mask, ms": round(1e3 * with_masks, 2),
        "overhead of masks, %": round(100 * overhead, 2),
        "RigL's topology update, ms": round(1e3 * update, 2),
        "the same in training steps": round(update / without, 4),
        "inference, masked channels, ms": round(1e3 * whole, 2),
        "inference, channels cut out, ms": round(1e3 * cut, 2),
        "speed-up": round(whole / cut, 2),
        "ratio of FLOPs": round(flops(half, x[:1]).dense / flops(small, x[:1]).dense, 2),
        "largest difference of logits": off,
    }


def _step(model: nn.Module, controller: Controller | None, x: Tensor, y: Tensor) -> Callable[[], None]:
    """Return a training step of a network, its controller (if any) attached."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    if controller is not None:
        controller.attach(optimizer)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step
