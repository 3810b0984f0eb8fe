"""Masks chosen once, before training: at random, by SNIP, by GraSP."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from s2sam.sparse.controller import Controller
from s2sam.sparse.distributions import require
from s2sam.sparse.ranked import Ranked
from s2sam.sparse.select import highest, join, split


class RandomMask(Controller):
    """Masks drawn uniformly among those of each layer's exact budget; arguments are those of `Controller`."""

    def _guard_weights(self) -> None:
        super()._guard_weights()
        for name, k in (self.budget or {}).items():
            self._set(name, highest(self._random(name), self.masks[name], k))
        self.apply()


class FromData(Ranked):
    """What SNIP and GraSP share: masks are all True until `prepare` chooses them, and no step is made before."""

    prepared, saves = False, ("prepared",)  # whether masks are chosen; a resumed run does not prepare again
    _scores: Callable[..., dict[str, Tensor]]  # of (model, batches, loss_fn), by weight name; the highest are kept

    def prepare(self, model: nn.Module, batches: Iterable[Any], loss_fn: Callable[[Any, Any], Tensor]) -> None:
        """Choose the masks by a copy in training mode; all else stays as it was, but for the global random stream.

        Arguments are those of `Controller.prepare`; a batch is on the model's device and counts like any other, and the
        loss depends on the weights through the outputs alone, which are those of the copy. RuntimeError when the masks
        are chosen already or the weights perturbed, ValueError without batches or when no score differs from 0.
        """
        self._refuse_perturbed()
        if self.prepared:
            raise RuntimeError("prepare must be called once, got a second call; finalize() and build a new one for it")
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module  # its reducer waits for backward(); the average is taken by `_reduce`
        twin, model = copy.deepcopy((self, model))
        nn.ModuleList([twin.model, model]).train()
        nn.ParameterList(twin.weights.values()).requires_grad_()
        with torch.enable_grad():
            scores = twin._scores(model, batches, loss_fn)
        require(join(scores).abs().nansum(), "scores must not all be 0 or nan, got no other; check loss_fn and weights")
        self._keep(scores, [k for _, k in self._groups()])
        self.prepared = True
        self.apply()
        self._report_empty()

    def _gradient(self, value: Tensor, create_graph: bool = False) -> Tensor:
        """Return the gradient of a scalar by all prunable weights, joined, in float64; 0 where it depends on none."""
        if not value.requires_grad:
            return torch.zeros_like(join(self.weights), dtype=torch.float64)
        weights = list(self.weights.values())
        found = torch.autograd.grad(value, weights, create_graph=create_graph, materialize_grads=True)
        return torch.cat([g.flatten().to(weights[0].device, torch.float64) for g in found])

    def _mean(self, gradients: Iterable[Tensor]) -> Tensor:
        """Return the mean over batches and processes, signs included."""
        total, n = torch.zeros(()), 0
        for g in gradients:
            total, n = total + g.detach(), n + 1
        require(n, "batches must hold a pair (inputs, targets), got none; an iterator is read only once")
        return self._reduce(total / n)

    def _take_gradients(self) -> bool:
        if not self.prepared:
            raise RuntimeError(f"{type(self).__name__} has no masks at its first step; call prepare() before training")
        return super()._take_gradients()


class SNIP(FromData):
    """SNIP (Lee, Ajanthan, Torr, ICLR 2019): keep the highest |W g|, the sensitivity |dL/dm| of the loss to the mask.

    g is the mean gradient over the batches of `prepare`, at the very weights that are trained. Arguments: `Ranked`.
    """

    def _scores(self, model: nn.Module, batches: Iterable[Any], loss_fn: Callable[[Any, Any], Tensor]) -> Any:
        g = self._mean(self._gradient(loss_fn(model(x), target)) for x, target in batches)
        return split((join(self.weights) * g).abs(), self.weights)


class GraSP(FromData):
    """GraSP (Wang, Zhang, Grosse, ICLR 2020): remove the highest -W (H g), so that the gradient norm stays high.

    Removing w_i changes ||g||^2 by -2 w_i (H g)_i to first order: what lowers it least, or raises it, goes. H g is the
    derivative of <c, g(W)> at the constant c = g; both passes run over the batches one by one, so H is never formed.
    Outputs are divided by `temperature`, 200 in the paper, before the loss. Other arguments: `Ranked`.
    """

    def __init__(self, *args: Any, temperature: float = 200.0, **options: Any) -> None:
        require(0 < temperature < float("inf"), f"temperature must be finite and > 0, got {temperature}; try 200")
        self.temperature = temperature
        super().__init__(*args, **options)

    def _scores(self, model: nn.Module, batches: Iterable[Any], loss_fn: Callable[[Any, Any], Tensor]) -> Any:
        pairs, t = list(batches), self.temperature  # the same batches for both passes
        g = self._mean(self._gradient(loss_fn(model(x) / t, target)) for x, target in pairs)
        slopes = (g * self._gradient(loss_fn(model(x) / t, target), create_graph=True) for x, target in pairs)
        hg = self._mean(self._gradient(slope.sum()) for slope in slopes)
        return split(join(self.weights) * hg, self.weights)
