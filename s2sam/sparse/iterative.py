"""Iterative magnitude pruning, where each round of training ends with a cut: LRR and lottery tickets."""

import copy
import math
from typing import Any

import torch

from s2sam.sparse.distributions import count, require
from s2sam.sparse.ranked import Ranked


class LRR(Ranked):
    """Learning-rate rewinding (Renda, Frankle, Carbin, ICLR 2020): prune, keep the weights, restart the schedule.

    Each round, 0 with the dense network, has `total_steps`; if None, the caller knows when it is complete. Of n weights
    left, a cut takes the count(fraction n) of smallest magnitude, with `fraction` in (0, 1] and never so small that it
    takes none; the last cut lands on the exact budget. A new round goes back to `rewind_step` completed steps. There
    are `rounds` cuts, of which `round` are made, and a training more. Other arguments: `Ranked`.

        train(sparse)  # until sparse.step == total_steps, at the learning rate of step number sparse.step
        while sparse.next_round():
            train(sparse)
    """

    start: dict[str, Any] | None = None  # tensors that a new round goes back to, where the method does
    saves = ("round", "start")

    def __init__(self, *args: Any, rewind_step: int = 0, fraction: float = 0.2, **options: Any) -> None:
        require(0 < fraction <= 1, f"fraction must be in (0, 1], got {fraction}; give the share of what is left to cut")
        self.rewind_step, self.fraction, self.round = rewind_step, fraction, 0
        super().__init__(*args, **options)

    def _guard_weights(self) -> None:
        good = 0 <= self.rewind_step < (self.total_steps or math.inf)
        require(good, f"rewind_step must be in [0, total_steps), got {self.rewind_step} of {self.total_steps}")
        left, self.rounds = [sum(math.prod(self.shapes[name]) for name in names) for names, _ in self._groups()], -1
        while left:
            left, self.rounds = self._cut(left), self.rounds + 1
        super()._guard_weights()

    def _cut(self, left: list[int]) -> list[int]:
        """Return how many of each group's weights the next cut leaves; an empty list when nothing has to go."""
        pairs = [(n, k) for n, (_, k) in zip(left, self._groups(), strict=True)]
        after = [max(n - count(self.fraction * n), min(n, k)) for n, k in pairs]
        good = after != left or all(n <= k for n, k in pairs)
        require(good, f"fraction must cut at least one weight a round, got {self.fraction} of {left}; raise it")
        return [] if after == left else after

    def next_round(self) -> bool:
        """Cut, go back to `rewind_step`, clear the optimizer's state; the learning rate is the caller's to set back.

        Returns False and changes nothing at the final sparsity; RuntimeError when the round is not complete.
        """
        self._refuse_perturbed()
        if self.step < (length := self.total_steps or self.rewind_step + 1):
            raise RuntimeError(f"a round must be complete before the next, got step {self.step} of {length}; train on")
        after = self._cut([sum(int(self.masks[name].sum()) for name in names) for names, _ in self._groups()])
        if not after:
            return False
        self._keep({name: w.detach().abs() for name, w in self.weights.items()}, after)
        if self.start is not None:
            self.model.load_state_dict(self.start | {f"{name}_mask": mask for name, mask in self.masks.items()})
        if self.optimizer is not None:
            self.optimizer.state.clear()
        self.round, self.step = self.round + 1, self.rewind_step
        self.apply()
        self._report_empty()
        return True


class LotteryTicket(LRR):
    """Lottery tickets (Frankle, Carbin, ICLR 2019; late rewinding: Frankle et al., ICML 2020): the weights go back too.

    Everything in `model.state_dict()` but the masks is saved when round 0 has completed `rewind_step` steps; if 0, by
    `attach`, and the first step refuses weights loaded after that. Arguments, attributes and errors: `LRR`.
    """

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Act around the steps of an optimizer, as in `Controller`."""
        super().attach(optimizer)
        self._save()

    def _after_step(self, *args: Any) -> None:
        super()._after_step(*args)
        self._save()

    def _save(self) -> None:
        if self.round == 0 and self.step == self.rewind_step:
            masks = {f"{name}_mask" for name in self.masks}
            self.start = copy.deepcopy({k: v for k, v in self.model.state_dict().items() if k not in masks})

    def _take_gradients(self) -> bool:
        if self.round == self.step == self.rewind_step == 0:
            saved, now = self.start or {}, dict(self.model.named_parameters())
            if not saved or not all(torch.equal(saved[name].to(now[name]), now[name]) for name in saved.keys() & now):
                raise RuntimeError("weights must be the saved ones, got others; call attach() again after loading them")
        return super()._take_gradients()
