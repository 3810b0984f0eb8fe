"""The sparse-training methods by name, each with its paper's settings fitted to the length of the training."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from s2sam.sparse import CHEX, DSR, LRR, MEST, SET, SNIP, Chase, Controller, GraSP, LotteryTicket, RandomMask, RigL
from s2sam.sparse.distributions import ones
from s2sam.sparse.flops import grasp, snip

Build = Callable[[nn.Module, float, int, int, int], Controller]
FRACTION = {"lt": 0.2, "lt-30": 0.3, "lt-40": 0.4, "lrr": 0.2}  # of what is left, cut after every round
GRASP_SAMPLES = 10  # of each class (Wang et al., ICLR 2020, for CIFAR-10)


@dataclass(frozen=True)
class Method:
    """How a method is built, and what it scores the weights on before training.

    Attributes:
        build: (model, sparsity, batches of a round, batches of an epoch, seed) -> its controller, not attached yet.
        scoring: (x, y, batch) -> the images and labels for `prepare`; None where nothing is scored.
        cost: (f_D, samples) -> operations of the scoring.
        promise: how many are kept of what the sparsity counts, and how many it promises at the end of the training.
    """

    build: Build
    scoring: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]] | None = None
    cost: Callable[[float, int], float] | None = None
    promise: Callable[[Controller], tuple[int, int]] = lambda sparse: _weights(sparse)


def _one_batch(x: Tensor, y: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """Return the first batch."""
    return x[:batch], y[:batch]


def _each_class(x: Tensor, y: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """Return the first images of every class, mixed as they come."""
    del batch
    places = torch.cat([(y == label).nonzero().squeeze(1)[:GRASP_SAMPLES] for label in y.unique()]).sort().values
    return x[places], y[places]


def _weights(sparse: Controller) -> tuple[int, int]:
    """Return how many weights there are that are not pruned, and how many of all should be at the end."""
    return sparse.nonzeros, ones(sparse.sparsity, sum(w.numel() for w in sparse.weights.values()))


def _channels(sparse: Any) -> tuple[int, int]:
    """Return how many removable channels are alive, and how many should be at the end: one of each layer at least."""
    sizes = [len(alive) for alive in sparse.alive.values()]
    return sum(int(alive.sum()) for alive in sparse.alive.values()), max(ones(sparse.sparsity, sum(sizes)), len(sizes))


def _short(total: int) -> int:
    """Return RigL's 100 steps between updates, or a twentieth of a training that is short for that."""
    return min(100, max(1, total // 20))


def _ticket(name: str, model: nn.Module, sparsity: float, total: int, seed: int) -> LotteryTicket:
    return LotteryTicket(model, sparsity, None, total, seed=seed, fraction=FRACTION[name])


METHODS: dict[str, Method] = {
    "dense": Method(lambda m, s, total, epoch, seed: Controller(m, 0.0, None, total, seed=seed)),
    "random": Method(lambda m, s, total, epoch, seed: RandomMask(m, s, "erk", total, seed=seed)),
    "snip": Method(lambda m, s, total, epoch, seed: SNIP(m, s, None, total, seed=seed), _one_batch, snip),
    "grasp": Method(lambda m, s, total, epoch, seed: GraSP(m, s, None, total, seed=seed), _each_class, grasp),
    "lt": Method(lambda m, s, total, epoch, seed: _ticket("lt", m, s, total, seed)),
    "lt-30": Method(lambda m, s, total, epoch, seed: _ticket("lt-30", m, s, total, seed)),
    "lt-40": Method(lambda m, s, total, epoch, seed: _ticket("lt-40", m, s, total, seed)),
    "lrr": Method(lambda m, s, total, epoch, seed: LRR(m, s, None, total, seed=seed, fraction=FRACTION["lrr"])),
    "set": Method(lambda m, s, total, epoch, seed: SET(m, s, None, total, interval=epoch, seed=seed)),
    "dsr": Method(lambda m, s, total, epoch, seed: DSR(m, s, None, total, interval=epoch, seed=seed)),
    "rigl": Method(lambda m, s, total, epoch, seed: RigL(m, s, None, total, interval=_short(total), seed=seed)),
    "mest": Method(lambda m, s, total, epoch, seed: MEST(m, s, None, total, seed=seed)),
    "mest-s": Method(lambda m, s, total, epoch, seed: MEST(m, s, None, total, soft=True, seed=seed)),
    "chex": Method(lambda m, s, total, epoch, seed: CHEX(m, s, None, total, seed=seed), promise=_channels),
    "chase": Method(lambda m, s, total, epoch, seed: Chase(m, s, None, total, seed=seed)),
}
ASIDE = ("dense", "random", "lt-30", "lt-40")  # references, and a method's variants
FAMILIES = [name for name in METHODS if name not in ASIDE]  # what `all` means
