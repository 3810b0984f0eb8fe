"""Runs of the optimizer classes themselves, seen as Steps: what is validated is what ships.

One torch parameter, one torch.optim.SGD and one S2SAM (or SAM) per instance, driven by the loop that README shows; the
gradient comes from autograd through the problem's f. Slow, so a few instances stand beside the batch of thousands.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from s2sam import S2SAM, SAM
from validation.step import Step

SHIPPED = {"S2SAM": "s2sam", "SAM": "sam"}  # class -> the rule whose claims it must satisfy


def optimizer_steps(
    problem,
    rule: str,
    w: Float[Tensor, "n d"],
    *,
    eta: Float[Tensor, " n"],
    rho: Float[Tensor, " n"],
    count: int,
    beta: float = 0.0,
) -> Iterator[Step]:
    """Yield the steps t = 0 .. count of `rule` ("S2SAM" or "SAM") run through its class, like `trajectories.steps`."""
    singles = [problem.take(torch.tensor([i])) for i in range(len(w))]
    parameters = [torch.nn.Parameter(row[None].clone()) for row in w]
    kind, advance = (S2SAM, _s2sam_step) if rule == "S2SAM" else (SAM, _sam_step)
    optimizers: list[Any] = [
        kind(torch.optim.SGD([p], lr=float(e), momentum=beta), rho=float(r))
        for p, e, r in zip(parameters, eta, rho, strict=True)
    ]
    previous, v = None, torch.zeros_like(w) if beta else None
    for t in range(count):
        at = torch.cat([p.detach().clone() for p in parameters])
        seen = [advance(opt, p, one.f) for opt, p, one in zip(optimizers, parameters, singles, strict=True)]
        y, g = (torch.cat(column) for column in zip(*seen, strict=True))
        step = Step(problem, SHIPPED[rule], t, at, y - at, g, eta=eta, rho=rho, beta=beta, v=v, previous=previous)
        yield step
        v = None if v is None else torch.cat([opt.base.state[p]["momentum_buffer"].clone()
                                              for opt, p in zip(optimizers, parameters, strict=True)])  # fmt: skip
        step.previous, previous = None, step
    at, zero = torch.cat([p.detach().clone() for p in parameters]), torch.zeros_like(w)
    yield Step(problem, SHIPPED[rule], count, at, zero, zero, eta=eta, rho=rho, beta=beta, v=v, previous=previous)


Objective = Callable[[Tensor], Tensor]


def _gradient(p: torch.nn.Parameter) -> Tensor:
    assert p.grad is not None
    return p.grad.clone()


def _s2sam_step(opt: S2SAM, p: torch.nn.Parameter, f: Objective) -> tuple[Tensor, Tensor]:
    with opt.perturbed():
        y = p.detach().clone()
        f(p).sum().backward()
    g = _gradient(p)
    opt.step()
    opt.zero_grad()
    return y, g


def _sam_step(opt: SAM, p: torch.nn.Parameter, f: Objective) -> tuple[Tensor, Tensor]:
    seen: list[tuple[Tensor, Tensor]] = []

    def closure() -> Tensor:
        opt.zero_grad()
        loss = f(p).sum()
        loss.backward()
        seen.append((p.detach().clone(), _gradient(p)))
        return loss

    opt.step(closure)
    return seen[-1]
