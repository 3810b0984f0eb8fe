"""What is measured beside S2SAM and SAM: the plain optimizer, the classic design with three buffers, and peers."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from s2sam import S2SAM, SAM
from s2sam.native import library

RHO, LR, MOMENTUM = 0.05, 0.01, 0.9
FUSED, NAIVE = "S2SAM, fused", "naive S2-SAM"
Closure = Callable[[], Any]  # clears gradients, evaluates, runs backward


class Naive:
    """S2-SAM in the classic way of publishing SAM: gradient, weights and perturbation each in a buffer of their own.

    The perturbation is made from the stored gradient by float32 norms, added, and later subtracted again; so the
    weights come back with rounding errors (the copy is kept all the same, as published code does).

    Args:
        base: the optimizer that updates. rho: radius.
    """

    def __init__(self, base: Optimizer, rho: float = RHO) -> None:
        self.base, self.rho = base, rho
        self.state: dict[Tensor, dict[str, Tensor]] = {p: {} for g in base.param_groups for p in g["params"]}

    @torch.no_grad()
    def perturb(self) -> None:
        """Store weights and perturbation, and add it."""
        known = [slots for slots in self.state.values() if "gradient" in slots]
        if not known:
            return
        norm = torch.stack([slots["gradient"].norm() for slots in known]).norm() + 1e-12
        for p, slots in self.state.items():
            slots["weights"] = p.clone()
            slots["perturbation"] = slots["gradient"] * (self.rho / norm)
            p.add_(slots["perturbation"])

    @torch.no_grad()
    def step(self) -> None:
        """Subtract the perturbation, store the gradient, update."""
        for p, slots in self.state.items():
            if "perturbation" in slots:
                p.sub_(slots["perturbation"])
            if p.grad is not None:
                slots["gradient"] = p.grad.clone()
        self.base.step()


def sgd(parameters: Iterable[nn.Parameter], **options: Any) -> torch.optim.SGD:
    """Return SGD with momentum, fused unless told otherwise."""
    return torch.optim.SGD(parameters, lr=LR, momentum=MOMENTUM, **({"fused": True} | options))


def tensors(entries: int) -> list[nn.Parameter]:
    """Return parameters of that many entries, in matrices and vectors like a network's, each with a gradient."""
    generator = torch.Generator().manual_seed(0)
    side = 1024 if entries > 2**20 else 64
    shapes = itertools.cycle([(side, side), (side,), (side // 4, side), (side // 4,)])
    found, left = [], entries
    while left:
        shape = next(shapes)
        size = torch.Size(shape).numel()
        found.append(nn.Parameter(torch.randn(shape if size <= left else (left,), generator=generator)))
        left -= found[-1].numel()
    for p in found:
        p.grad = 1e-3 * torch.randn(p.shape, generator=generator)
    return found


def compiled() -> str:
    """Return why the compiled passes cannot be had here; nothing where they can."""
    try:
        library()
    except RuntimeError as error:
        return str(error)
    return ""


def plain(parameters: Sequence[nn.Parameter]) -> Callable[[Closure], Any]:
    """Return a training step by the plain optimizer: closure -> None."""
    base = sgd(parameters)

    def step(closure: Closure) -> None:
        closure()
        base.step()

    return step


def naive(parameters: Sequence[nn.Parameter]) -> Callable[[Closure], Any]:
    """Return a training step by the classic design of S2-SAM."""
    opt = Naive(sgd(parameters))

    def step(closure: Closure) -> None:
        opt.perturb()
        closure()
        opt.step()

    return step


def peer(name: str) -> Callable[[Sequence[nn.Parameter]], Callable[[Closure], Any]] | None:
    """Return what makes a training step by that optimizer of pytorch_optimizer; None where it is not installed."""
    try:
        kind = getattr(import_module("pytorch_optimizer"), name)
    except ImportError:
        return None

    def make(parameters: Sequence[nn.Parameter]) -> Callable[[Closure], Any]:
        opt = kind(parameters, torch.optim.SGD, rho=RHO, lr=LR, momentum=MOMENTUM, fused=True)

        def step(closure: Closure) -> None:
            closure()  # both take the gradient at w from `p.grad`, the other from the closure
            opt.step(closure)

        return step

    return make


OURS: dict[str, Callable[[Sequence[nn.Parameter]], Callable[[Closure], Any]]] = {
    "SGD": plain,
    "S2SAM": lambda parameters: S2SAM(sgd(parameters), rho=RHO).step,
    "SAM": lambda parameters: SAM(sgd(parameters), rho=RHO).step,
    NAIVE: naive,
}
PEERS = ("SAM", "LookSAM")  # of pytorch_optimizer
