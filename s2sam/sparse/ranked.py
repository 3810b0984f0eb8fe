"""Keeping the highest scores, over all layers at once or inside each: what pruning methods share."""

import math
import warnings
from typing import Any

from torch import Tensor

from s2sam.sparse.controller import Controller
from s2sam.sparse.distributions import ones, require
from s2sam.sparse.select import highest, join, split


class Ranked(Controller):
    """What methods share that keep the highest scores; arguments are those of `Controller`, but for two.

    By default `distribution` is None: all layers are ranked at once; with any other, each keeps what its budget says.
    A layer keeps at least `min_per_layer` weights (or all it has); at 0 it may be emptied, which a warning reports.
    """

    own_distribution = None

    def __init__(self, *args: Any, min_per_layer: int = 0, **options: Any) -> None:
        require(min_per_layer >= 0, f"min_per_layer must be >= 0, got {min_per_layer}; give how many a layer keeps")
        self.min_per_layer = min_per_layer
        super().__init__(*args, **options)

    def _guard_weights(self) -> None:
        for names, k in self._groups():  # here the layers are known and the model has no masks yet
            least = sum(min(self.min_per_layer, math.prod(self.shapes[name])) for name in names)
            require(least <= k, f"min_per_layer must fit into the {k} weights that remain, got {least} in all")
        super()._guard_weights()

    def _groups(self) -> list[tuple[list[str], int]]:
        """Return the names ranked together, and how many of their weights remain: all layers, or each by itself."""
        if self.budget is None:
            return [([*self.shapes], ones(self.sparsity, sum(map(math.prod, self.shapes.values()))))]
        return [([name], k) for name, k in self.budget.items()]

    def _keep(self, scores: dict[str, Tensor], counts: list[int]) -> None:
        """Of what is kept now, keep the highest scores, in each group as many as `counts` says."""
        for (names, _), k in zip(self._groups(), counts, strict=True):
            kept = {name: self.masks[name] for name in names}
            sure = join({name: highest(scores[name], mask, self.min_per_layer) for name, mask in kept.items()})
            rest = highest(join({name: scores[name] for name in names}), join(kept) & ~sure, k - int(sure.sum()))
            for name, mask in split(sure | rest, kept).items():
                self._set(name, mask)

    def _report_empty(self) -> None:
        """Warn of layers without a weight: nothing passes them any more (layer collapse)."""
        if empty := [name for name in self.shapes if not self.masks[name].any()]:
            what = f"no weight is left in {', '.join(empty)}; give min_per_layer=1 or a distribution"
            warnings.warn(what, RuntimeWarning, stacklevel=3)
