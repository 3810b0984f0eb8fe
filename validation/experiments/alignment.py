"""What the prior gradient keeps of SAM's direction, along training runs of a small network by the S2SAM class.

Protocol, written before the measurement that is stored.

- Task: `CompactCNN` without norms (so that f is the mean of its samples' losses and a batch's gradient is unbiased) on
  the 1,437 digits for training, width 32, or the first 1,500 images of Fashion-MNIST, width 16; float32.
- Runs: S2SAM around SGD, rho 0.05, weight decay 5e-4 (of the update only: f is the cross-entropy), 200 steps for every
  batch size, learning rate falling as a cosine from alpha (1 - momentum) with alpha = 1, that of `s2sam train`: one
  effective step at every momentum. Batches in epochs without replacement, what is left after the last whole batch
  dropped, as `s2sam train` draws them; or with replacement.
- Sparsity: `RandomMask`, fixed for the run, so that no change of topology lies between the two gradients. ERK, but the
  first convolution dense: it is 1.4 % of the weights, does not count in the sparsity, and would keep 41 of 288 at 98 %.
  A layer's weights are divided by the root of its density, which keeps the variance of its outputs (Evci et al., AAAI
  2022, do it by neuron). Found in a pilot of two seeds at batch 64: without the factor nothing trains at 98 % in 200
  steps; with it the loss late at 98 % was lowest here, beside ERK and beside uniform with the first layer dense.
- Steps measured: drawn beforehand from the seed, two in each stage, one in each half of it: early 2-10 %, middle
  45-55 %, late 90-98 % of the steps. What is measured there: `validation.directions`. Full gradients and the variance
  are exact over all training images. The run does not depend on what is measured.
- Unit: a seed; it gives initial weights, mask, batches and measured steps. A stage's two steps are averaged. The
  intervals are Student's, 95 %, over seeds, without correction for the number of cells.
- Grid, `whole`, batch 16 ... 512 throughout: digits, momentum 0.9, epochs at sparsities 0, 0.9, 0.98 with 10 seeds and
  0.5, 0.8, 0.95 with 5; at 0 and 0.9 with momentum 0, and with replacement, 5 seeds; at 0 with both, 5 seeds;
  Fashion-MNIST, momentum 0.9, epochs, at 0, 0.9, 0.98 with 5 seeds. All that was run is kept.

The stored rows: `python -m validation.alignment DIR --pack`. DIR keeps finished cells, and the same command resumes.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, unfold

from s2sam import S2SAM
from s2sam.sparse import RandomMask
from validation.cells import Cell, Row, experiment
from validation.datasets import load
from validation.directions import Moment, Sampling, measured
from validation.models import CompactCNN
from validation.network_loss import NetworkLoss
from validation.training.config import seed_for

stored_images = functools.lru_cache(maxsize=1)(load)  # reading them takes as long as a run
STAGES = {"early": (0.02, 0.10), "middle": (0.45, 0.55), "late": (0.90, 0.98)}  # parts of the steps
DECAY, CHUNK = 5e-4, 50  # weight decay; images whose gradients are in memory at once
CODE = ("s2sam", *(f"validation/{x}.py" for x in ("datasets", "directions", "models", "network_loss")))


@dataclass(frozen=True)
class MaskedLoss:
    """The loss of a network on its training images as an oracle of masked gradients; flat weights (d,) float32."""

    model: nn.Module
    x: Float[Tensor, "n c h v"]
    y: Int[Tensor, " n"]
    keep: Float[Tensor, " d"]

    def _loss(self, index: Any) -> NetworkLoss:
        return NetworkLoss(self.model, self.x[index], self.y[index], "", torch.float32)

    def batch(self, w: Float[Tensor, " d"], index: Int[Tensor, " b"]) -> Float[Tensor, " d"]:
        """Return the mean gradient of these images at w, 0 outside the mask."""
        return (self._loss(index).grad(w[None])[0] * self.keep).double()

    def full(self, w: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
        """Return the gradient of the loss over all images at w, 0 outside the mask."""
        return (self._loss(slice(None)).grad(w[None])[0] * self.keep).double()

    def loss(self, w: Float[Tensor, " d"]) -> float:
        """Return the loss over all images."""
        with torch.no_grad():
            return float(self._loss(slice(None)).f(w[None]))

    def variance(self, w: Float[Tensor, " d"]) -> float:
        """Return the variance of one image's masked gradient: the mean of the squares less the square of the mean.

        An image's gradient of a layer is the product of the gradient at its outputs and its inputs, summed over places
        for a convolution; so one backward pass over all images gives the squares, a chunk of products at a time. Each
        weight must belong to one Linear or plain Conv2d layer, used once; with batch norm no image has its own.
        """
        loss, seen, squares = self._loss(slice(None)), {}, 0.0
        layers = {name: m for name, m in self.model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
        hooks = [m.register_forward_hook(lambda m, a, out: seen.update({m: (a[0], out)})) for m in layers.values()]
        total = cross_entropy(loss.logits(w[None].requires_grad_(), loss.x), loss.y, reduction="sum")
        for hook in hooks:
            hook.remove()
        slopes = torch.autograd.grad(total, [out for _, out in seen.values()])
        keep = dict(zip(loss.shapes, self.keep.split([shape.numel() for shape in loss.shapes.values()]), strict=True))
        with torch.no_grad():
            for (name, m), (a, _), slope in zip(layers.items(), seen.values(), slopes, strict=True):
                inputs = a[..., None]
                if isinstance(m, nn.Conv2d):
                    inputs = unfold(a, m.kernel_size, 1, m.padding, m.stride)  # type: ignore[arg-type]
                outputs = slope.flatten(2) if slope.ndim > 2 else slope[..., None]
                mask = keep[f"{name}.weight"].view(outputs.shape[1], -1)
                for u, v in zip(outputs.split(CHUNK), inputs.split(CHUNK), strict=True):
                    squares += float(((u @ v.mT) * mask).square().sum(dtype=torch.float64))
                squares += float(outputs.sum(2).square().sum(dtype=torch.float64))
        F = self.full(w)
        return squares / len(self.y) - float(F @ F)


def flat(model: nn.Module) -> Tensor:
    """Return a copy of the weights, (d,)."""
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def batches(sampling: Sampling, seed: int) -> Iterator[tuple[int, Tensor]]:
    """Yield (epoch, indices (b,)) for ever; with replacement every batch is an epoch of its own."""
    draw = torch.Generator().manual_seed(seed)
    epoch = 0
    while True:
        if sampling.replacement:
            yield epoch, torch.randint(sampling.n, (sampling.batch,), generator=draw)
        else:
            order = torch.randperm(sampling.n, generator=draw)
            for part in order.split(sampling.batch)[: sampling.n // sampling.batch]:
                yield epoch, part
        epoch += 1


def chosen(steps: int, count: int, seed: int) -> dict[str, list[int]]:
    """Return the measured steps of each stage, at least 1: `count`, drawn one in each of as many parts of it."""
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for stage, (low, high) in STAGES.items():
        parts = (torch.arange(count) + torch.rand(count, generator=draw)) / count
        found[stage] = sorted({max(1, int(steps * (low + (high - low) * float(p)))) for p in parts})
    return found


def moments(
    loss: MaskedLoss, opt: S2SAM, sampling: Sampling, *, steps: int, at: set[int], seed: int
) -> Iterator[tuple[int, Moment]]:
    """Train by S2SAM and yield each step of `at` (>= 1) before it is made; the learning rate falls as a cosine."""
    model, first = loss.model, [group["lr"] for group in opt.param_groups]
    source, other = (batches(sampling, seed_for(name, seed)) for name in ("batches", "fresh"))
    past: tuple[int, Tensor, dict[str, Tensor]] | None = None
    for t in range(max(at) + 1):
        epoch, index = next(source)
        w = flat(model)
        if past is not None and t in at:
            yield t, Moment(w=w, batch=index, used=past[1], fresh=next(other)[1], joint=epoch == past[0], **past[2])
        for group, lr in zip(opt.param_groups, first, strict=True):
            group["lr"] = lr * (1 + math.cos(math.pi * t / steps)) / 2
        with opt.perturbed():
            y = flat(model)
            cross_entropy(model(loss.x[index]), loss.y[index]).backward()
        opt.step()
        opt.zero_grad()
        held = [opt.direction(p) for p in model.parameters()]
        stale = torch.cat([d.reshape(-1) for d in held if d is not None]).double()
        past = epoch, index, {"before": w, "y": y, "stale": stale}


def _run(
    *, dataset: str, images: int, width: int, batch: int, sparsity: float, alpha: float, momentum: float,
    rho: float, steps: int, replacement: bool, measure: int, seed: int,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Return what is measured in each stage of one run, the mean over its steps."""
    data = stored_images(dataset)
    x, y = data.x_train[:images], data.y_train[:images]
    with torch.random.fork_rng():
        torch.manual_seed(seed_for("init", seed))
        model = CompactCNN(data.classes, channels=data.channels, side=data.side, width=width)
    sparse = RandomMask(model, sparsity, "erk", steps, dense_first=True, seed=seed_for("mask", seed))
    masks = sparse.masks
    with torch.no_grad():
        for name, w in sparse.weights.items():
            w.div_(masks[name].float().mean().sqrt())
    base = torch.optim.SGD(model.parameters(), lr=alpha * (1 - momentum), momentum=momentum, weight_decay=DECAY)
    opt = S2SAM(base, rho=rho)
    sparse.attach(opt)
    parts = [masks[name] if name in masks else torch.ones_like(p) for name, p in model.named_parameters()]
    loss = MaskedLoss(model, x, y, torch.cat([part.reshape(-1).float() for part in parts]))
    sampling, stages = Sampling(len(y), batch, replacement), chosen(steps, measure, seed_for("measured", seed))
    at = {t for found in stages.values() for t in found}
    seen = {
        t: {**measured(loss, m, sampling), "loss": loss.loss(m.w)}
        for t, m in moments(loss, opt, sampling, steps=steps, at=at, seed=seed)
    }
    return {
        stage: {name: sum(seen[t][name] for t in found) / len(found) for name in seen[found[0]]}
        for stage, found in stages.items()
    }


@functools.partial(experiment, runs=CODE)
def network_alignment(*, seeds: int, seed: int, **options: Any) -> Iterator[Row]:
    """Yield one row for each stage of these runs; `values` holds, by name, one number for each seed.

    Args:
        seeds: how many.
        seed: the first.
        **options: dataset, images (the first so many), width (of the network), batch, sparsity, alpha (effective step),
            momentum, rho, steps, replacement, measure (steps of a stage).
    """
    runs = [_run(seed=seed + k, **options) for k in range(seeds)]
    for stage in STAGES:
        values = {name: [float(f"{run[stage][name]:.6g}") for run in runs] for name in runs[0][stage]}
        yield {
            "claim": "A5", "series": "alignment", "problem": options["dataset"], "family": options["dataset"],
            "rule": "S2SAM", "stage": stage, "seed": seed, "seeds": seeds, "at": dict(options), "values": values,
        }  # fmt: skip


TASKS: dict[str, dict[str, Any]] = {
    "digits": {"dataset": "digits", "images": 1437, "width": 32},
    "fashion-mnist": {"dataset": "fashion-mnist", "images": 1500, "width": 16},
}
COMMON: dict[str, Any] = {"alpha": 1.0, "rho": 0.05, "steps": 200, "measure": 2, "seed": 0}
BATCHES, SPARSITIES = (16, 32, 64, 128, 256, 512), (0.0, 0.9, 0.98, 0.5, 0.8, 0.95)


def whole() -> list[Cell]:
    """Return the cells of the stored measurement, what the figure shows first."""
    main = [(0.9, False, "digits", s, 10 if k < 3 else 5) for k, s in enumerate(SPARSITIES)]
    arms = [(m, r, "digits", s, 5) for m, r in ((0.0, False), (0.9, True)) for s in SPARSITIES[:2]]
    other = [(0.9, False, "fashion-mnist", s, 5) for s in SPARSITIES[:3]]
    groups = [*main[:3], *arms, (0.0, True, "digits", 0.0, 5), *other, *main[3:]]
    return [
        Cell.of(
            "network_alignment", **TASKS[task], **COMMON,
            batch=batch, sparsity=sparsity, momentum=momentum, replacement=replacement, seeds=seeds,
        )
        for (momentum, replacement, task, sparsity, seeds), batch in product(groups, BATCHES)
    ]  # fmt: skip
