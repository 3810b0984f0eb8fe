"""Runs of small networks trained side by side: one stacked step in the place of one step each.

The runs differ in seed, rho and lr. Every tensor of theirs becomes a view into a stack (first axis: the run), so that
masks, topology updates, evaluation and rows stay what `Training` does with each; here is only the step: losses and
gradients by `torch.func`, perturbations by `s2sam.rules` with one norm for each network. A small network's step is
mostly the overhead of its many calls, which the stack pays once. Up to rounding the result is that of each run alone.

Where every round of training ends with a cut (lottery tickets, LRR), a run to 95 % sparsity makes all rounds of one to
80 %, but for the last: one ranking of all weights is cut, and only the last cut lands on a budget. So they are trained
once.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy

from s2sam.rules import ascent, global_norm
from s2sam.sparse import LRR
from s2sam.wrapper import BUFFER
from validation.datasets import Images
from validation.training.config import SCHEDULES, Config, seed_for
from validation.training.loop import Training
from validation.training.methods import FRACTION

MODELS = ("mlp", "compact")  # small, and without random numbers in their forward
METHODS = ("dense", "random", "snip", "grasp", "set", "dsr", "mest", "mest-s", *FRACTION)  # by weights alone
APART = ("seed", "rho", "lr")  # in what the runs may differ


class SideBySide:
    """Runs with one step.

    Args:
        configs: equal but for `APART`; of `MODELS` and `METHODS`.
        data: their images.

    Attributes:
        runs: one `Training` each; their rows are the result.
    """

    def __init__(self, configs: Sequence[Config], data: Images) -> None:
        self.data, self.runs = data, [Training(config, data) for config in configs]
        for run in self.runs:
            run.prepare()
        self.config, self.device = configs[0], self.runs[0].x.device
        self.rho = torch.tensor([c.rho for c in configs], dtype=torch.float64, device=self.device)
        self.lr = [c.lr for c in configs]
        named = [dict(run.model.named_parameters()) for run in self.runs]
        self.names = list(named[0])
        self.w = [torch.stack([own[name].detach() for own in named]) for name in self.names]
        for i, own in enumerate(named):
            for name, w in zip(self.names, self.w, strict=True):
                own[name].data = w[i]
        self.statistics = self._stack_statistics()
        self._begin_round()

    def _begin_round(self) -> None:
        """Begin with slots of zeros, as a fresh optimizer does, and with the masks there are."""
        self.v, self.direction = ([torch.zeros_like(w) for w in self.w] for _ in range(2))
        for i, run in enumerate(self.runs):
            for p, v, g in zip(run.model.parameters(), self.v, self.direction, strict=True):
                run.optimizer.state[p] = {"momentum_buffer": v[i], BUFFER: g[i]}
            run._forward_cost = run.flops.forward(run.sparse.masks)
            run._clock = time.monotonic()
            run.model.train()
        self._stack_masks()

    def _stack_statistics(self) -> dict[str, Tensor]:
        """Return the stacked buffers, BatchNorm's, that a forward changes; each network's become views."""
        own = [dict(run.model.named_buffers()) for run in self.runs]
        names = [name for name in own[0] if not name.endswith("_mask")]
        stacked = {name: torch.stack([buffers[name] for buffers in own]) for name in names}
        for i, run in enumerate(self.runs):
            for name, values in stacked.items():
                path, _, last = name.rpartition(".")
                run.model.get_submodule(path)._buffers[last] = values[i]
        return stacked

    def _stack_masks(self) -> None:
        masks = [run.sparse.masks for run in self.runs]
        self.off = {name: ~torch.stack([own[name] for own in masks]) for name in masks[0]}

    def train(self, lesser: Sequence[float] = ()) -> list[Training]:
        """Train to the end; return the runs, with their rows, and those that part from them on the way.

        Args:
            lesser: sparsities below the runs' own, of a method in `FRACTION`, that each is trained to as well. These
                runs come first, in this order; their cost, evaluations and seconds are those of all their rounds.
        """
        parting = [SideBySide([replace(run.config, sparsity=s) for run in self.runs], self.data) for s in lesser]
        self._train_round()
        while True:
            for other in parting:
                if max(0, cast(LRR, other.runs[0].sparse).rounds - 1) == self.runs[0].round:  # its last cut comes next
                    other._part_from(self)
                    other._next_round()
            if not self._next_round():
                return [run for stack in (*parting, self) for run in stack.runs]

    def _part_from(self, other: "SideBySide") -> None:
        """Go on from where another stack stands, between two rounds."""
        for run, its in zip(self.runs, other.runs, strict=True):
            run.load_state_dict(its.state_dict())
            run.rows = [row | {"promised": run.method.promise(run.sparse)[1]} for row in run.rows]

    def _next_round(self) -> bool:
        """Cut and train; return whether there was a round to come."""
        if not all([run.sparse.next_round() for run in self.runs]):  # all or none: cuts depend on numbers alone
            return False
        for run in self.runs:
            run.round, run.batch = run.round + 1, run.sparse.step
        self._begin_round()
        self._train_round()
        return True

    def _train_round(self) -> None:
        first = self.runs[0]
        while first.batch < first.total:
            self._step()
            if first.batch % first.per_epoch == 0:
                for run in self.runs:
                    run._end_epoch()
                    run.model.train()
                    run._clock = time.monotonic()

    def _step(self) -> None:
        c, first = self.config, self.runs[0]
        epoch, i = divmod(first.batch, first.per_epoch)
        index = [run._permutation(epoch)[i * c.batch : (i + 1) * c.batch] for run in self.runs]
        x = torch.stack([run.shown(own, epoch) for run, own in zip(self.runs, index, strict=True)])
        y = torch.stack([run.y[own] for run, own in zip(self.runs, index, strict=True)])
        begins = not first.sums["batches"] and c.optimizer != "sgd"
        at_w = None
        if begins and c.optimizer != "sam":  # claim A5's cosine needs it, once an epoch; the statistics stay
            kept = {name: b.clone() for name, b in self.statistics.items()}
            at_w = self._masked(self._gradients(self.w, x, y, kept)[0])
        if c.optimizer == "sgd":
            dense, loss, logits = self._gradients(self.w, x, y, self.statistics)
        else:
            direction = self.direction
            if c.optimizer == "sam":
                direction, *seen = self._gradients(self.w, x, y, self.statistics)
                direction = at_w = self._masked(direction)
            away = ascent(self._finite(direction), self.rho, batched=True)
            points = [w + p for w, p in zip(self.w, away, strict=True)]
            dense, loss, logits = self._gradients(points, x, y, self.statistics)
            if c.optimizer == "sam":
                loss, logits = seen
            if begins:
                assert at_w is not None
                cosines = _cosine([p - w for p, w in zip(points, self.w, strict=True)], at_w)
                for run, cosine in zip(self.runs, cosines, strict=True):
                    run.sums["cosine"] = cosine
        masked = self._masked([g.clone() for g in dense])
        self._update(masked)
        self._direct(masked, dense)
        correct = (logits.argmax(2) == y).sum(1)
        for run, its_loss, hits in zip(self.runs, loss, correct, strict=True):
            run.sums["loss"] += its_loss
            run.sums["correct"] += hits
            run.sums["batches"] += 1
            run.batch += 1
        self._topology()

    def _gradients(
        self, points: list[Tensor], x: Tensor, y: Tensor, statistics: dict[str, Tensor]
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return the gradients at stacked weights, the losses (runs,) and the logits (runs, batch, classes)."""
        model = self.runs[0].model

        def loss(weights: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor) -> tuple[Any, Any]:
            logits = functional_call(model, (weights, buffers), (x,))
            return cross_entropy(logits, y), logits

        leaves = [p.detach().requires_grad_() for p in points]
        losses, logits = vmap(loss)(dict(zip(self.names, leaves, strict=True)), statistics, x, y)
        gradients = torch.autograd.grad(losses.sum(), leaves)
        return list(gradients), losses.detach(), logits.detach()

    def _masked(self, gradients: list[Tensor]) -> list[Tensor]:
        for name, g in zip(self.names, gradients, strict=True):
            if name in self.off:
                g.masked_fill_(self.off[name], 0)
        return gradients

    @torch.no_grad()
    def _update(self, gradients: list[Tensor]) -> None:
        """Make the step of SGD with momentum and weight decay."""
        c, done = self.config, self.runs[0].batch / self.runs[0].total
        rates = [lr * SCHEDULES[c.schedule](done) for lr in self.lr]
        scale = torch.tensor(rates, dtype=torch.float64, device=self.device)
        for w, v, g in zip(self.w, self.v, gradients, strict=True):
            v.mul_(c.momentum).add_(g.add(w, alpha=c.weight_decay))
            w.sub_(v * scale.to(w).view(-1, *[1] * (w.ndim - 1)))

    @torch.no_grad()
    def _direct(self, masked: list[Tensor], dense: list[Tensor]) -> None:
        """Set the directions of the next step: what `arms` sets for each run."""
        if self.config.optimizer == "random":
            for i, run in enumerate(self.runs):
                generator = torch.Generator(self.device)
                generator.manual_seed(seed_for("direction", run.config.seed, run.round, run.sparse.step))
                for direction in self.direction:
                    direction[i].normal_(generator=generator)
            self._masked(self.direction)
        elif self.config.optimizer in ("s2sam", "unmasked"):
            chosen = masked if self.config.optimizer == "s2sam" else dense
            for direction, g in zip(self.direction, self._finite(chosen), strict=True):
                direction.copy_(g)

    def _finite(self, gradients: list[Tensor]) -> list[Tensor]:
        """Return the gradients, 0 for a network with an entry that is not finite."""
        good = torch.isfinite(global_norm(gradients, batched=True))
        zero = torch.zeros((), device=self.device)
        return [torch.where(good.view(-1, *[1] * (g.ndim - 1)), g, zero.to(g)) for g in gradients]

    def _topology(self) -> None:
        """Count the step in every run, and let those change their masks that are due."""
        changed = False
        for run in self.runs:
            run.sparse.step += 1
            due = run.sparse._due(run.sparse.step)
            if due:
                run.sparse.last_update = run.sparse.step
                kept = [g.clone() for g in self.direction] if self.config.optimizer == "unmasked" else None
                run.sparse.update()
                for direction, before in zip(self.direction, kept or (), strict=False):
                    direction.copy_(before)  # an unmasked direction is the dense gradient, whatever the masks
                changed = True
            run._count(self.config.batch, due)
        if changed:
            self._stack_masks()


def side_by_side(config: Config) -> bool:
    """Whether a configuration can be trained in a stack."""
    return config.model in MODELS and config.method in METHODS


def _cosine(one: list[Tensor], other: list[Tensor]) -> Tensor:
    """Return the cosines (runs,) of stacked vectors in float64, nan where one of them is 0."""
    a, b = (torch.cat([t.double().flatten(1) for t in tensors], 1) for tensors in (one, other))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
