"""The batched runner of trajectories against the Python loop over the literal twin."""

import time
from functools import partial
from typing import Any

import numpy as np
import torch

from validation import twin
from validation.bench.timing import interleaved, machine
from validation.quadratics import Quadratic
from validation.step import dot
from validation.trajectories import record, steps


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

    fast, slow = interleaved(repetitions, batched, loop)
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
