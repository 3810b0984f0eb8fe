"""One training run in memory. Nothing in it waits for the device but the end of an epoch.

Initial weights depend on the seed alone, the order of the images on seed and epoch; the learning rate follows its
schedule over the batches of a round.
"""

import copy
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from s2sam import S2SAM
from s2sam.sparse.flops import flops, training
from validation.cells import Row
from validation.datasets import Images
from validation.models import MODELS
from validation.training import arms
from validation.training.augment import AUGMENTATIONS
from validation.training.checkpoint import moved
from validation.training.config import SCHEDULES, Config, seed_for
from validation.training.data import carved
from validation.training.methods import METHODS

SAVE_EVERY = 60.0  # seconds between checkpoints within an epoch
CHUNK = 1000  # images evaluated at once
COUNTERS = ("round", "batch", "cost", "evaluations", "seconds", "rows", "finished")
KEYS = frozenset([*COUNTERS, "sums", "model", "optimizer", "controller", "config", "rng"])
Tick = Callable[[int, int, int], object]  # round, batches done in it, batches of a round -> whether to stop


class Training:
    """One run in memory: network, masks, optimizer, where it stands, and what it has measured.

    Args:
        config: of the run. data: its images; what is used of them is brought to the device once.

    Raises:
        ValueError: when the batch is larger than the data, the data are fewer than the configuration asks for, or the
            method refuses the network.
    """

    def __init__(self, config: Config, data: Images) -> None:
        self.config, device = config, torch.device(config.device)
        parts = [[t.to(device) for t in part or ()] for part in carved(data, config)]
        (self.x, self.y), self.held_out, self.test = parts
        self.shown = AUGMENTATIONS[config.augment](self.x, config.seed)
        self.per_epoch = len(self.x) // config.batch
        if not self.per_epoch:
            raise ValueError(f"batch must be <= {len(self.x)}, all training images, got {config.batch}; take a smaller")
        self.total = self.per_epoch * config.epochs
        torch.manual_seed(seed_for("init", config.seed))
        self.model = MODELS[config.model](classes=data.classes, channels=data.channels, side=data.side).to(device)
        self.flops = flops(self.model, self.x[:1])
        self.method = METHODS[config.method]
        self.sparse = self.method.build(self.model, config.sparsity, self.total, self.per_epoch, config.seed)
        torch.manual_seed(seed_for("train", config.seed))
        self.optimizer = arms.optimizer(config, self.sparse)
        self.round, self.batch, self.cost, self.evaluations, self.seconds, self.finished = 0, 0, 0.0, 0, 0.0, False
        self.rows: list[Row] = []
        self._order = (-1, torch.empty(0))
        self._begin_epoch()

    def prepare(self) -> None:
        """Let the method score the weights, where it does so before training."""
        if self.method.scoring and self.method.cost:
            order = self._permutation(0)
            batch = self.method.scoring(self.x[order], self.y[order], self.config.batch)
            self.sparse.prepare(self.model, [batch], cross_entropy)
            self.cost += self.method.cost(self.flops.dense, len(batch[1]))

    def train(self, save: Callable[[], None], tick: Tick | None) -> None:
        """Go on to the end; save after each epoch, now and then within one, and where `tick` says stop.

        Raises:
            KeyboardInterrupt: when `tick` said stop; everything is saved.
        """
        while not self.finished:
            self._train_round(save, tick)
            if self.sparse.next_round():
                self.round, self.batch = self.round + 1, self.sparse.step
                self.optimizer = arms.optimizer(self.config, self.sparse)
            else:
                self.finished = True
        save()

    def _train_round(self, save: Callable[[], None], tick: Tick | None) -> None:
        self._forward_cost = self.flops.forward(self.sparse.masks)
        saved = self._clock = time.monotonic()
        while self.batch < self.total:
            self._train_batch()
            ended = self.batch % self.per_epoch == 0
            stop = tick is not None and tick(self.round, self.batch, self.total)
            if ended:
                self._end_epoch()
            if ended or stop or time.monotonic() - saved > SAVE_EVERY:
                self._lap()
                save()
                saved = self._clock = time.monotonic()
            if stop:
                raise KeyboardInterrupt

    def _train_batch(self) -> None:
        """Make one step. Nothing here waits for the device: sums stay there."""
        epoch, i = divmod(self.batch, self.per_epoch)
        index = self._permutation(epoch)[i * self.config.batch : (i + 1) * self.config.batch]
        x, y = self.shown(index, epoch), self.y[index]
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * SCHEDULES[self.config.schedule](self.batch / self.total)
        self.model.train()
        sums, seen, base = self.sums, [], None
        if not sums["batches"] and self.config.optimizer != "sgd":
            base = self._at_w(x, y)

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            logits = self.model(x)
            loss = cross_entropy(logits, y)
            loss.backward()
            seen.append((loss.detach(), logits.detach()))
            if base is not None:  # SAM comes twice, the second time at y
                sums["cosine"] = self._cosine(*base)
            return loss

        topology = self.sparse.last_update
        if self.config.optimizer == "sam":
            self.optimizer.step(closure)
        else:
            with self.optimizer.perturbed() if isinstance(self.optimizer, S2SAM) else nullcontext():
                closure()
            self.optimizer.step()
        loss, logits = seen[0]
        sums["loss"] += loss
        sums["correct"] += (logits.argmax(1) == y).sum()
        sums["batches"] += 1
        self.batch += 1
        self._count(len(y), self.sparse.last_update != topology)

    def _count(self, images: int, updated: bool) -> None:
        """Add the cost of a step; an update by gradient needs it dense, in SAM in the second evaluation only.

        S2-SAM unmasked makes both passes dense: the weights are, where it evaluates, and it wants the dense gradient.
        """
        dense = self.flops.dense if updated and self.sparse.needs_gradient else None
        first = training(self._forward_cost) if self.config.optimizer == "sam" else 0.0
        once = self.flops.dense if self.config.optimizer == "unmasked" else self._forward_cost
        self.cost += images * (first + training(once, dense))
        self.evaluations += 2 if self.config.optimizer == "sam" else 1
        if updated:
            self._forward_cost = self.flops.forward(self.sparse.masks)

    def _at_w(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return copies of the weights, and the masked gradient at them; buffers, `p.grad` and generators stay."""
        named = dict(self.model.named_parameters())
        buffers = {name: b.clone() for name, b in self.model.named_buffers()}
        with torch.random.fork_rng():
            loss = cross_entropy(torch.func.functional_call(self.model, buffers, (x,)), y)
            gradients = torch.autograd.grad(loss, list(named.values()))
        masks = self.sparse.masks
        masked = [g * masks[name] if name in masks else g for name, g in zip(named, gradients, strict=True)]
        return [p.detach().clone() for p in named.values()], masked

    @torch.no_grad()
    def _cosine(self, weights: list[Tensor], gradients: list[Tensor]) -> Tensor:
        """Return claim A5's cosine, between the way from w to where the weights are now and the gradient at w."""
        away = torch.cat([(p - w).flatten() for p, w in zip(self.model.parameters(), weights, strict=True)]).double()
        gradient = torch.cat([g.flatten() for g in gradients]).double()
        return away @ gradient / (away.norm() * gradient.norm())  # nan where one of them is 0

    def _begin_epoch(self) -> None:
        zero = torch.zeros((), dtype=torch.float64, device=self.x.device)
        self.sums: dict[str, Any] = {"loss": zero, "correct": zero.clone(), "cosine": zero + torch.nan, "batches": 0}
        self.seconds = 0.0

    def _lap(self) -> None:
        """Add the time since the last call to the epoch's."""
        now = time.monotonic()
        self.seconds, self._clock = self.seconds + now - self._clock, now

    def _end_epoch(self) -> None:
        c, sums, sparse = self.config, self.sums, self.sparse
        seen = sums["batches"]
        train_loss, train_accuracy, cosine = (float(sums[k]) for k in ("loss", "correct", "cosine"))
        self._lap()
        test_loss, test_accuracy = self._evaluate(self.test)
        held_out = self._evaluate(self.held_out)[1] if self.held_out else None
        kept, promised = self.method.promise(sparse)
        row = {"method": c.method, "optimizer": c.optimizer, "seed": c.seed, "round": self.round}
        row |= {"epoch": self.batch // self.per_epoch, "step": sparse.step}
        row |= {"train_loss": train_loss / seen, "loss_at": "w" if c.optimizer in ("sgd", "sam") else "y"}
        row |= {"train_accuracy": train_accuracy / (seen * c.batch)}
        row |= {"validation_accuracy": held_out, "test_loss": test_loss, "test_accuracy": test_accuracy}
        row |= {"nonzeros": sparse.nonzeros, "prunable": sum(w.numel() for w in sparse.weights.values())}
        row |= {"kept": kept, "promised": promised, "cost": self.cost, "evaluations": self.evaluations}
        row |= {"relative_cost": self.cost / (self.total * c.batch * training(self.flops.dense))}
        row |= {"relative_inference": self.flops.forward(sparse.masks) / self.flops.dense}
        self.rows.append({**row, "cos": None if math.isnan(cosine) else cosine, "seconds": self.seconds})
        self._begin_epoch()

    @torch.no_grad()
    def _evaluate(self, part: list[Tensor]) -> tuple[float, float]:
        """Return mean loss and accuracy on images that are not trained on, at w."""
        self.model.eval()
        loss = correct = torch.zeros((), dtype=torch.float64, device=self.x.device)
        for x, y in zip(*(t.split(CHUNK) for t in part), strict=True):
            logits = self.model(x)
            loss = loss + cross_entropy(logits, y, reduction="sum")
            correct = correct + (logits.argmax(1) == y).sum()
        return float(loss) / len(part[1]), float(correct) / len(part[1])

    def _permutation(self, epoch: int) -> Tensor:
        """Return the order of the images in an epoch: the same for all methods, optimizers and rounds."""
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(seed_for("order", self.config.seed, epoch))
            self._order = (epoch, torch.randperm(len(self.x), generator=generator).to(self.x.device))
        return self._order[1]

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on bit for bit, under `KEYS`."""
        state = {name: getattr(self, name) for name in (*COUNTERS, "sums")}
        parts = {"model": self.model, "optimizer": self.optimizer, "controller": self.sparse}
        state |= {name: part.state_dict() for name, part in parts.items()}
        rng = {"cpu": torch.get_rng_state()}
        if self.x.is_cuda:
            rng["cuda"] = torch.cuda.get_rng_state(self.x.device)
        return state | {"config": asdict(self.config), "rng": rng}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state dict of the same configuration."""
        for name in COUNTERS:
            setattr(self, name, copy.copy(state[name]))  # the rows are a list that the state may share
        self.sums = moved(copy.deepcopy(state["sums"]), self.x.device)  # what is added to in place
        self.model.load_state_dict(state["model"])
        self.sparse.load_state_dict(moved(state["controller"], self.x.device))
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"]["cpu"])
        if self.x.is_cuda:
            torch.cuda.set_rng_state(state["rng"]["cuda"], self.x.device)
