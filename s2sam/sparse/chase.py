"""Chase (Yin et al., NeurIPS 2023): dynamic sparse training that turns into a network with fewer channels."""

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from s2sam.sparse.distributions import count, require
from s2sam.sparse.dynamic import Dynamic
from s2sam.sparse.select import highest, join, lowest, split
from s2sam.sparse.structured import Structured


class Chase(Structured, Dynamic):
    """Chase (Yin et al., NeurIPS 2023): entries are exchanged over all layers at once, and weak channels go for good.

    A channel's score is the mean of |w| over all entries of its filter, zeros included. Of all channels that may go,
    those of lowest score leave as their removed share follows c(t) = S_c (1 - (1 - t/T)^3) up to T = end_fraction
    total_steps. Of all weights, N, the B largest stay at each exchange, B being the budget of the distribution. Before
    T (the soft bound) entries of alive channels of largest |gradient| are grown up to B + delta(t) N, delta(t) = delta0
    (1 + cos(pi t/T))/2. From T on the smallest share rho(t), a cosine from 0.5 to 0.005, gives way, growing back to B.
    Grown entries start from 0, just-dropped ones too; no layer loses its largest weight in an exchange.

    Args:
        args, options: those of `Dynamic`; the distribution is ERK, as in the paper. Errors: `Structured`.
        channel_sparsity: S_c, in [0, 1). delta0: first width of the soft bound, a share of all weights, in [0, 1].
        least: share of the channels it would have at S_c that a layer keeps, in [0, 1]; the paper's code has 0.5 for
            ResNet-50, 0.2 for VGG-19. end_fraction: where removals and the soft bound end, in (0, 1].
        interval: steps between exchanges; by default 1/80 of the training (the code's 1,000 of 80,000).
        channel_interval: steps between removals, half an `interval` before exchanges; the same by default.
    """

    own_distribution, needs_gradient = "erk", True

    def __init__(
        self,
        *args: Any,
        channel_sparsity: float = 0.5,
        least: float = 0.5,
        delta0: float = 0.05,
        interval: int | None = None,
        channel_interval: int | None = None,
        end_fraction: float = 130 / 160,
        **options: Any,
    ) -> None:
        for name, value in {"least": least, "delta0": delta0}.items():
            require(0 <= value <= 1, f"{name} must be in [0, 1], got {value}; give a share")
        got = f"got {channel_sparsity}; give the share to remove"
        require(0 <= channel_sparsity < 1, f"channel_sparsity must be in [0, 1), {got}")
        require(0 < end_fraction <= 1, f"end_fraction must be in (0, 1], got {end_fraction}; 1 is the whole training")
        got = f"got {interval}, {channel_interval}; give optimizer steps"
        require(all(n is None or n >= 1 for n in (interval, channel_interval)), f"intervals must be >= 1, {got}")
        self.channel_sparsity, self.least, self.delta0 = channel_sparsity, least, delta0
        super().__init__(*args, interval=interval, end_fraction=end_fraction, **options)
        self.interval = interval or max(1, (self.total_steps or 0) // 80)
        self.channel_interval = channel_interval or self.interval

    def channel_fraction(self, step: int) -> float:
        """Return c(t), the share of channels that is gone after `step` steps."""
        return self.channel_sparsity * (1 - max(0.0, 1 - step / self.end) ** 3)

    def soft_bound(self, step: int) -> float:
        """Return delta(t), the share of all weights that may be grown beyond the budget after `step` steps."""
        return self.delta0 * (1 + math.cos(math.pi * min(1.0, step / self.end))) / 2

    def exchange(self, step: int) -> float:
        """Return rho(t), the share of the non-zeros that is exchanged once the soft bound has ended."""
        return 0.005 + 0.495 * (1 + math.cos(math.pi * step / (self.total_steps or 1))) / 2

    def _due(self, step: int) -> bool:
        return self._removes(step) or self._exchanges(step)

    def _removes(self, step: int) -> bool:
        return 0 < step < self.end and (step + self.interval // 2) % self.channel_interval == 0

    def _exchanges(self, step: int) -> bool:
        return 0 < step < (self.total_steps or 0) and step % self.interval == 0

    def _update(self, gradients: dict[str, Tensor]) -> None:
        if self._removes(self.step) or not self._exchanges(self.step):  # by hand, between the two: both
            self._remove_channels()
        if self._exchanges(self.step) or not self._removes(self.step):
            self._exchange(gradients)

    def _remove_channels(self) -> None:
        """Remove the channels of lowest score, over all layers, until the share c(t) is gone."""
        scores = {name: w.abs().double().mean(1) for name, w in self._filters().items()}
        alive, share = join(self.alive), (1 - self.channel_sparsity) * self.least
        least = {name: max(1, count(len(mask) * share)) for name, mask in self.alive.items()}
        best = join({name: highest(scores[name], mask, least[name]) for name, mask in self.alive.items()})
        excess = int(alive.sum()) - len(alive) * (1 - self.channel_fraction(self.step))
        self.alive = split(alive & ~lowest(join(scores), alive & ~best, count(excess)), self.alive)
        room = self._room()
        for name, mask in self.masks.items():
            self._set(name, mask & room.get(name, mask))

    def _exchange(self, gradients: dict[str, Tensor]) -> None:
        """Drop the smallest weights of all layers, grow those of largest gradient in alive channels."""
        masks, weights, room = {name: self.masks[name] for name in self.shapes}, self.weights, self._room()
        active, alive = join(masks), join({name: room.get(name, torch.ones_like(mask)) for name, mask in masks.items()})
        budget, n = sum((self.budget or {}).values()), int(active.sum())
        share = self.exchange(self.step) if self.step >= self.end else 0.0
        largest = join({name: highest(weights[name].abs(), mask, 1) for name, mask in masks.items()})
        kept = active & ~lowest(join(weights).abs(), active & ~largest, max(n - budget, count(share * n)))
        if (capacity := int(alive.sum())) < budget:
            advice = "lower channel_sparsity"
            warnings.warn(f"alive channels hold {capacity} of {budget} weights; {advice}", RuntimeWarning, stacklevel=2)
        total = budget + count(self.soft_bound(self.step) * len(active))
        grown = highest(join(gradients).abs(), alive & ~kept, total - int(kept.sum()))
        for name, part in split(kept, masks).items():
            self._clear(name, ~part)
        for name, part in split(kept | grown, masks).items():
            self._set(name, part)
