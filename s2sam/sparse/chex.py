"""CHEX, channel exploration (Hou et al., CVPR 2022): prune channels by column subset selection, regrow some, repeat."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from s2sam.sparse.channels import Group
from s2sam.sparse.distributions import count, ones, require
from s2sam.sparse.select import highest, join, lowest, split
from s2sam.sparse.structured import Structured


class CHEX(Structured):
    """CHEX (Hou et al., CVPR 2022): channels of convolutions leave and come back until a share S of them is gone.

    Every `interval` steps up to t_max: (1) all channels ranked by |scale| of their norm say how many of each layer stay
    at S and at S - delta(t), delta(t) = delta0 (1 + cos(pi t/t_max))/2; (2) those that stay at S are those of highest
    leverage; (3) channels that were gone take the values they had when they went; (4) as many as make S - delta(t) are
    regrown, sampled by the distance of their filter from the span of those that stay; (5) the rest goes. From t_max on
    the small network is simply trained. At the start each layer keeps its filters of largest L1 norm, at S - delta0. No
    layer loses its last channel. Optimizer slots of regrown channels start from 0.

    Args:
        args, options: those of `Controller`; errors: `Structured`. The model has a BatchNorm (with scale) after each
            convolution whose channels may go; sparsity is S, 0.7 in the paper; distribution is None; total_steps is
            needed for the defaults of the next two, the paper's 2 and 180 of 250 epochs.
        interval: steps between updates. t_max: the last step with one. delta0: first share regrown, in [0, 1].
    """

    own_distribution, saves = None, ("alive", "_values")

    def __init__(
        self, *args: Any, delta0: float = 0.3, interval: int | None = None, t_max: int | None = None, **options: Any
    ) -> None:
        require(0 <= delta0 <= 1, f"delta0 must be in [0, 1], got {delta0}; give the share to regrow at first")
        self.delta0, self._asked = delta0, (interval, t_max)
        super().__init__(*args, **options)
        live = self.model.state_dict()
        self._values = {name: live[name].clone() for name in self._room()}
        for name, w in self._filters().items():
            k = max(1, ones(max(0.0, self.sparsity - delta0), len(w)))
            self.alive[name] = highest(w.abs().sum(1), self.alive[name], k)
        self._cut()
        self.apply()

    def _guard_weights(self) -> None:
        got = f"got {self.distribution!r}; CHEX ranks the channels of all layers"
        require(self.distribution is None, f"distribution must be None, {got}")
        (interval, t_max), steps = self._asked, self.total_steps
        known = steps or (interval is not None and t_max is not None)
        require(known, "total_steps must be given, got None; or give interval and t_max")
        self.interval = max(1, count((steps or 0) * 2 / 250)) if interval is None else interval
        self.t_max = max(1, count((steps or 0) * 180 / 250)) if t_max is None else t_max
        good = self.interval >= 1 and 1 <= self.t_max <= (steps or math.inf)
        got = f"got interval {self.interval}, t_max {self.t_max}; leave them out"
        require(good, f"interval must be >= 1 and t_max in [1, total_steps], {got}")
        super()._guard_weights()

    def regrowth(self, step: int) -> float:
        """Return delta(t), the share of channels that is regrown after `step` steps."""
        return self.delta0 * (1 + math.cos(math.pi * min(1.0, step / self.t_max))) / 2

    def _may_go(self, group: Group) -> bool:
        free = super()._may_go(group) and isinstance(self.model.get_submodule(group.producer), nn.Conv2d)
        if free and (not group.norms or self.model.get_submodule(group.norms[0]).weight is None):
            rule = "a BatchNorm with scale after each convolution whose channels may go"
            raise ValueError(f"model must have {rule}, got none after {group.producer}; leave that out of `layers`")
        return free

    def _due(self, step: int) -> bool:
        return 0 < step <= self.t_max and (step % self.interval == 0 or step == self.t_max)

    def _update(self, gradients: dict[str, Tensor]) -> None:
        live, filters, alive = self.model.state_dict(), self._filters(), {}
        self._values = {name: torch.where(mask, live[name], self._values[name]) for name, mask in self._room().items()}
        staying, left = self._left(self.sparsity), self._left(max(0.0, self.sparsity - self.regrowth(self.step)))
        for name, k in staying.items():
            stay = select(filters[name], self.alive[name], k)
            distance = residuals(self._values[f"{name}.weight"].flatten(1), stay)
            alive[name] = stay | sample(distance, ~stay, left[name] - k, self.generator)
        self.alive = alive
        for name, t in self._values.items():
            live[name].copy_(t)
        self._cut()

    def _left(self, sparsity: float) -> dict[str, int]:
        """Return how many channels of each layer stay when a share of all, of smallest |scale|, is cut."""
        scales = {n: self.model.get_parameter(f"{g.norms[0]}.weight").detach().abs() for n, g in self._groups.items()}
        ranked = {name: scales[name].masked_fill(~alive, -1) for name, alive in self.alive.items()}
        best = join({name: highest(part, self.alive[name], 1) for name, part in ranked.items()})
        cut = lowest(join(ranked), ~best, count(sparsity * len(best)))
        return {name: int((~part).sum()) for name, part in split(cut, ranked).items()}

    def _cut(self) -> None:
        room = self._room()
        for name, mask in self.masks.items():
            self._set(name, room.get(name, mask))


def leverage(filters: Tensor, k: int) -> Tensor:
    """Return the leverage scores of filters (c, d) in the span of their k leading singular directions, (c,) float64.

    psi_j = ||V[j, :k]||^2 for X = U Sigma V' whose columns are the filters (Hou et al. 2022, Section 3.1); k is at most
    the rank of X. They lie in [0, 1] and sum to k. Where singular values k and k + 1 are equal they are not unique.
    """
    v, _ = _directions(filters)
    return v[:, :k].square().sum(1)


def select(filters: Tensor, among: Tensor, k: int) -> Tensor:
    """Return the mask (c,) of the k filters of highest leverage; within 1e-9 the larger one, then the first."""
    order = filters.detach().norm(dim=1).sort(descending=True, stable=True).indices
    chosen = torch.zeros_like(among)
    chosen[order] = highest(leverage(filters, k).round(decimals=9)[order], among[order], k)
    return chosen


def residuals(filters: Tensor, kept: Tensor) -> Tensor:
    """Return the distance of each filter, a row of (c, d), from the span of those kept, (c,) float64 (Section 3.3)."""
    x = filters.detach().double().nan_to_num(0.0, 0.0, 0.0)
    _, basis = _directions(x[kept])
    return (x - x @ basis.T @ basis).norm(dim=1)


def sample(score: Tensor, among: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Return the mask (c,) of k entries drawn without replacement with probabilities softmax(score) (Section 3.3)."""
    draw = torch.rand(len(score), generator=generator, dtype=torch.float64).to(score.device)
    gumbel = -(-draw.log()).log()  # the k highest of score + Gumbel noise are such a sample (Kool et al., ICML 2019)
    return highest(score + gumbel, among, k)


def _directions(filters: Tensor) -> tuple[Tensor, Tensor]:
    """Return V (c, r) and U' (r, d) of filters X' = V Sigma U' (c, d) of rank r; nan and inf are taken as 0."""
    v, sigma, u = torch.linalg.svd(filters.detach().double().nan_to_num(0.0, 0.0, 0.0), full_matrices=False)
    rank = int((sigma > sigma.max() * max(filters.shape) * torch.finfo(torch.float64).eps).sum())
    return v[:, :rank], u[:rank]
