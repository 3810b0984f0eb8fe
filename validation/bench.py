"""Speed, measured side by side in one process: medians of interleaved repetitions, and the machine they come from."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from s2sam.sparse.chex import CHEX
from s2sam.sparse.controller import Controller
from s2sam.sparse.dynamic import RigL
from s2sam.sparse.flops import flops
from s2sam.sparse.shrink import shrink
from s2sam.sparse.static import RandomMask
from validation import twin
from validation.models import ResNet
from validation.quadratics import Quadratic
from validation.step import dot
from validation.trajectories import record, steps


def machine() -> str:
    """Return one line about this machine."""
    return f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {torch.get_num_threads()} threads"


def trajectories(instances: int = 10_000, dim: int = 8, count: int = 50, repetitions: int = 5) -> dict[str, Any]:
    """Time the batched runner against the Python loop over the literal twin: dense Hessians, S2-SAM, records included.

    Both keep f(w_t), ||grad f(w_t)||^2, ||g_t||^2 and ||p_t||^2 at every step. The twin runs on float64 numpy arrays,
    for as many instances as fill about a second, and is scaled by instance-steps.
    """
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(instances, dim, dim, generator=generator, dtype=torch.float64)
    problem = Quadratic.of(
        root.mT @ root / dim + 0.1 * torch.eye(dim, dtype=torch.float64), torch.zeros(instances, dim).double()
    )
    w = problem.start(generator, 1.0)
    fixed = {"eta": 0.5 / problem.L, "rho": torch.full_like(problem.L, 0.1)}
    probes = {
        "f": lambda s: s.f_w,
        "a_sq": lambda s: dot(s.a, s.a),
        "b_sq": lambda s: dot(s.b, s.b),
        "p_sq": lambda s: dot(s.p, s.p),
    }
    few = 400

    def batched() -> float:
        begin = time.perf_counter()
        record(steps(problem, "s2sam", w, count=count, **fixed), probes)
        return (time.perf_counter() - begin) / (instances * count)

    def loop() -> float:
        begin = time.perf_counter()
        for i in range(few):
            H, table = problem.H[i].numpy(), []
            path = twin.s2sam(partial(_product, H), w[i].numpy(), eta=float(fixed["eta"][i]), rho=0.1, steps=count)
            for at, p, g in path:
                a = H @ at
                table.append((at @ a / 2, a @ a, 0.0 if g is None else g @ g, 0.0 if p is None else p @ p))
            np.array(table)
        return (time.perf_counter() - begin) / (few * count)

    fast, slow = _interleaved(repetitions, batched, loop)
    return {
        "machine": machine(),
        "instances": instances,
        "dim": dim,
        "steps": count,
        "batched, ns per instance-step": round(1e9 * fast, 1),
        "twin loop, ns per instance-step": round(1e9 * slow, 1),
        "ratio": round(slow / fast, 1),
    }


def _product(H: Any, x: Any, t: int) -> Any:
    """The gradient H x of <x, H x>/2."""
    return H @ x


def _interleaved(repetitions: int, *tasks: Callable[[], float]) -> list[float]:
    """Run the tasks in turn, once to warm up, and return the median of what each reports."""
    return [statistics.median(column) for column in _columns(repetitions, *tasks)]


def _columns(repetitions: int, *tasks: Callable[[], float]) -> list[tuple[float, ...]]:
    """Run the tasks in turn, once to warm up, and return all that each reports."""
    for task in tasks:
        task()
    return list(zip(*([task() for task in tasks] for _ in range(repetitions)), strict=True))


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

    measured = [partial(_seconds, step) for step in steps]
    columns = _columns(repetitions, *measured, refill, partial(_seconds, rigl.update))
    without, with_masks, _, update = map(statistics.median, columns)
    # Neighbours in time are disturbed alike by whatever else the machine does: the median of their ratios.
    overhead = statistics.median(b / a for a, b in zip(*columns[:2], strict=True)) - 1

    half = ResNet(depth).eval()
    CHEX(half, 0.5, total_steps=1, delta0=0.0).finalize()
    small = shrink(half)
    with torch.inference_mode():
        whole, cut = _interleaved(repetitions, *(partial(_seconds, partial(net, x)) for net in (half, small)))
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


def _seconds(task: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    task()
    return time.perf_counter() - begin


BENCHES: dict[str, Callable[[], dict[str, Any]]] = {"trajectories": trajectories, "sparse": sparse}
