"""Dynamic sparse training: SET, DSR, RigL and MEST drop weak weights and grow others every so many optimizer steps.

Exact counts replace the thresholds and coin flips of the authors' codes, whose numbers of non-zeros drift.
"""

import math
from typing import Any

import torch
from torch import Tensor

from s2sam.sparse.controller import Controller
from s2sam.sparse.distributions import count, ones, require
from s2sam.sparse.select import drop_grow, highest, lowest


class Dynamic(Controller):
    """What the four share: a random first mask of the exact budgets, an update every `interval` steps up to an end.

    Arguments of `Controller`: total_steps is needed; layers that the distribution fills are left alone. `end_fraction`,
    in [0, 1], is the fraction of the training from which nothing changes any more. Both are the method's own if None.
    """

    own_distribution, own_end, magnitude_first = "uniform", 1.0, False
    own_interval: int | None = 100  # None for 1/32 of the training

    def __init__(
        self, *args: Any, interval: int | None = None, end_fraction: float | None = None, **options: Any
    ) -> None:
        interval = self.own_interval if interval is None else interval
        end_fraction = self.own_end if end_fraction is None else end_fraction
        require(interval is None or interval >= 1, f"interval must be >= 1, got {interval}; give optimizer steps")
        require(0 <= end_fraction <= 1, f"end_fraction must be in [0, 1], got {end_fraction}; 1 is the whole training")
        super().__init__(*args, **options)
        steps = self.total_steps or 0
        self.interval, self.end = interval or max(1, steps // 32), end_fraction * steps
        self._sparse = {name: k for name, k in (self.budget or {}).items() if k < math.prod(self.shapes[name])}
        for name, k in self._sparse.items():
            score = self.weights[name].detach().abs() if self.magnitude_first else self._random(name)
            self._set(name, highest(score, self.masks[name], k))
        self.apply()

    def _guard_weights(self) -> None:
        require(self.total_steps, "total_steps must be given, got None; give the optimizer steps of the training")
        super()._guard_weights()

    def _due(self, step: int) -> bool:
        return 0 < step < self.end and step % self.interval == 0

    def _regrow(self, name: str, kept: Tensor, k: int, among: Tensor | None = None) -> Tensor:
        """Keep `kept`, grow k of all others (or `among`) uniformly, anew even where just dropped; return the grown."""
        grown = highest(self._random(name), ~kept if among is None else among, k)
        self._clear(name, ~kept)
        self._set(name, kept | grown)
        return grown


class SET(Dynamic):
    """SET, Sparse Evolutionary Training (Mocanu et al., Nature Communications 2018): drop by magnitude, grow at random.

    In each layer the fraction `alpha` in [0, 1] (the paper's zeta) of the positive weights and that of the negative
    ones, closest to 0, is dropped (0 is positive); as many are grown anywhere, just-dropped places included, and start
    from 0 or, as in the paper's code with 0.1, normal with standard deviation `init_std`. The paper does so after every
    epoch but the last, with its ER distribution and a dense output layer (`dense=`). Other arguments: `Dynamic`.
    """

    own_distribution = "er"

    def __init__(self, *args: Any, alpha: float = 0.3, init_std: float = 0.0, **options: Any) -> None:
        require(0 <= alpha <= 1, f"alpha must be in [0, 1], got {alpha}; give the fraction to exchange")
        require(0 <= init_std < math.inf, f"init_std must be finite and >= 0, got {init_std}; 0 grows zeros")
        self.alpha, self.init_std = alpha, init_std
        super().__init__(*args, **options)

    def _update(self, gradients: dict[str, Tensor]) -> None:
        weights, masks = self.weights, self.masks
        for name, total in self._sparse.items():
            w, kept = weights[name], masks[name]
            for pool in (kept & (w < 0), kept & ~(w < 0)):  # nan in the second
                kept = kept & ~lowest(w.abs(), pool, count(self.alpha * int(pool.sum())))
            grown = self._regrow(name, kept, total - int(kept.sum()))
            if self.init_std:
                normal = torch.randn(int(grown.sum()), generator=self.generator)
                w[grown] = self.init_std * normal.to(w)


class DSR(Dynamic):
    """DSR, Dynamic Sparse Reparameterization (Mostafa and Wang, ICML 2019): weights move between layers.

    All weights below one global `threshold` (H; the attribute is the present one) are dropped, but for the largest of a
    layer, and as many are grown at random where nothing was before, divided among the layers in proportion to what
    survived there. The threshold is halved when more than (1 + tolerance) target were dropped, doubled when less than
    (1 - tolerance) target, with `tolerance` (delta) in [0, 1) and `target` (N_p) by default 13% of the non-zeros, close
    to the paper's. This project: shares by largest remainder; what a layer has no room for goes to others and, if they
    lack it too, to places just emptied; doubling stops at the largest weight. Other arguments: `Dynamic`, end_fraction
    0.95. (The paper's interval of 100 doubles three times.)
    """

    own_end, saves = 0.95, ("threshold",)

    def __init__(
        self, *args: Any, threshold: float = 1e-3, target: int | None = None, tolerance: float = 0.1, **options: Any
    ) -> None:
        require(0 < threshold < math.inf, f"threshold must be finite and > 0, got {threshold}; it adapts: try 1e-3")
        require(target is None or target >= 1, f"target must be >= 1, got {target}; give weights to drop an update")
        require(0 <= tolerance < 1, f"tolerance must be in [0, 1), got {tolerance}; give a fraction of the target")
        super().__init__(*args, **options)
        self.threshold, self.tolerance = threshold, tolerance
        self.target = target or max(1, count(0.13 * sum(self._sparse.values())))

    def _update(self, gradients: dict[str, Tensor]) -> None:
        masks, weights, kept = self.masks, self.weights, {}
        for name in self._sparse:
            size, mask = weights[name].abs(), masks[name]
            kept[name] = highest(size, mask, max(1, int((mask & (size >= self.threshold)).sum())))  # nan is weak
        room = {name: ~masks[name] for name in kept}
        dropped = sum(int((masks[name] & ~mask).sum()) for name, mask in kept.items())
        if sum(int(free.sum()) for free in room.values()) < dropped:
            room = {name: ~mask for name, mask in kept.items()}
        for name, k in _shares(dropped, kept, room).items():
            self._regrow(name, kept[name], k, room[name])
        if dropped > (1 + self.tolerance) * self.target:
            self.threshold /= 2
        elif dropped < (1 - self.tolerance) * self.target:
            largest = max((float(weights[name].abs().max()) for name in kept), default=0.0)
            self.threshold = max(self.threshold, min(2 * self.threshold, largest))


class RigL(Dynamic):
    """RigL, Rigging the Lottery (Evci et al., ICML 2020): drop by magnitude, grow by gradient.

    In each layer the fraction f(t) = (alpha/2)(1 + cos(pi t/T)) of the weights, the smallest, gives way to as many of
    largest |gradient|, up to step T = end_fraction total_steps (0.75 of them), `alpha` in [0, 1]. Weights just dropped
    are candidates and keep value and slots when they win; new ones start from 0. With `skip_step_on_update`, as in the
    authors' code, an update takes a batch and is no step; else it follows a step. Other arguments: `Dynamic`.
    """

    own_distribution, own_end, needs_gradient = "erk", 0.75, True

    def __init__(self, *args: Any, alpha: float = 0.3, skip_step_on_update: bool = True, **options: Any) -> None:
        require(0 <= alpha <= 1, f"alpha must be in [0, 1], got {alpha}; give the fraction to exchange")
        self.alpha, self.skip_step_on_update = alpha, skip_step_on_update
        super().__init__(*args, **options)

    def fraction(self, step: int) -> float:
        """Return f(t), the fraction of each layer's weights exchanged after `step` steps."""
        return self.alpha / 2 * (1 + math.cos(math.pi * step / self.end)) if step < self.end else 0.0

    def _update(self, gradients: dict[str, Tensor]) -> None:
        weights, masks, f = self.weights, self.masks, self.fraction(self.step)
        for name, total in self._sparse.items():
            score, growth = weights[name].abs(), gradients[name].abs()
            self._set(name, drop_grow(masks[name], score, growth, count(f * total), regrow=True))


class MEST(Dynamic):
    """MEST (Yuan et al., NeurIPS 2021): drop by |w| + lam |gradient|, grow at random, at a sparsity that swings.

    With a mutation mu, EM prunes each layer to sparsity S + mu and grows it back to S; EM&S (`soft`, the soft memory
    bound) prunes to S and grows to S - mu, so it trains more weights until mu is 0. Both end at exactly S (the layer's
    own, of its exact budget): the step at which the last stage begins has the last update. The first mask keeps the
    largest initial weights; the first update follows at once (with the gradients there are, if any).

    Args:
        args, options: those of `Dynamic`, without end_fraction; interval is None (the authors' 5 of 160 epochs).
        soft: EM&S instead of EM. lam: weight of the gradient, >= 0; 0 in the authors' scripts.
        mutation: mu by fraction of the training from which it holds, 0 at last. By default m, m/2 from 90/160 and 0
            from 120/160, with m = 0.05 in EM&S, (1 - S)/5 in EM (the authors' 0.02 at S = 0.9, 0.01 at 0.95).
    """

    own_interval = None

    def __init__(
        self, *args: Any, soft: bool = False, mutation: dict[float, float] | None = None, lam: float = 0, **options: Any
    ) -> None:
        stages = mutation or {0.0: 1.0, 90 / 160: 0.5, 120 / 160: 0.0}
        good = 0 in stages and stages[max(stages)] == 0 and all(0 <= mu <= 1 for mu in stages.values())
        require(good, f"mutation must be in [0, 1] from fraction 0 on, 0 at last, got {mutation}; add what lacks")
        require(0 <= lam < math.inf, f"lam must be finite and >= 0, got {lam}; 0 ranks by magnitude")
        self.soft, self.lam, self.needs_gradient, self.magnitude_first = soft, lam, lam > 0, True
        super().__init__(*args, end_fraction=max(stages), **options)
        unit = 1.0 if mutation else 0.05 if soft else (1 - self.sparsity) / 5
        self.mutation = {start: unit * mu for start, mu in stages.items()}
        self.update()

    def _due(self, step: int) -> bool:
        return super()._due(step) or step == math.ceil(self.end - 1e-6)

    def _update(self, gradients: dict[str, Tensor]) -> None:
        weights, masks, done = self.weights, self.masks, (self.step + 1e-6) / (self.total_steps or 1)
        mu = self.mutation[max(start for start in self.mutation if start <= done)]
        for name, total in self._sparse.items():
            size, n, s = weights[name].abs(), masks[name].numel(), 1 - total / masks[name].numel()
            score = size + self.lam * gradients[name].abs() if self.lam else size
            low, high = (total, ones(s - mu, n)) if self.soft else (max(1, ones(s + mu, n)), total)
            self._regrow(name, highest(score, masks[name], low), high - low)


def _shares(total: int, kept: dict[str, Tensor], room: dict[str, Tensor]) -> dict[str, int]:
    """Return whole numbers of that total, in proportion to the kept and at most the room, by largest remainder."""
    shares, rest = ({name: int(mask.sum()) for name, mask in masks.items()} for masks in (room, kept))
    while full := [name for name, r in rest.items() if total * r >= shares[name] * sum(rest.values())]:
        total -= sum(shares[name] for name in full)
        rest = {name: r for name, r in rest.items() if name not in full}
    whole = sum(rest.values())
    shares |= {name: total * r // whole for name, r in rest.items()}
    for name in sorted(rest, key=lambda n: -(total * rest[n] % whole))[: total - sum(shares[n] for n in rest)]:
        shares[name] += 1
    return shares
