"""Masks of whole channels: what the methods share that remove them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from s2sam.sparse.channels import Group, element_masks, groups
from s2sam.sparse.controller import Controller
from s2sam.sparse.distributions import require


class Structured(Controller):
    """What CHEX and Chase share; arguments are those of `Controller`.

    A channel may go when its layer, the depthwise convolutions it passes and the layers that read it are all among
    `layers`. With it go its rows, with biases and the scales and shifts of norms, and the columns that read it, so
    S2-SAM does not perturb them either. `alive` has for each such layer, by module name, a bool tensor (channels,).
    ValueError for models without such channels, or that torch.fx cannot read.
    """

    saves: tuple[str, ...] = ("alive",)

    def _guard_weights(self) -> None:
        self._groups = {group.producer: group for group in groups(self.model) if self._may_go(group)}
        got = f"got {type(self.model).__name__} without; take a method that removes single weights"
        require(self._groups, f"model must have channels that {type(self).__name__} may remove, {got}")
        self.alive = {name: w.new_ones(len(w), dtype=torch.bool) for name, w in self._filters().items()}
        super()._guard_weights()
        for name in self._room():
            owner, _, attribute = name.rpartition(".")
            if name not in self.masks and not attribute.startswith("running"):
                self._guard(name, self.model.get_submodule(owner), attribute)

    def _may_go(self, group: Group) -> bool:
        """Whether a group takes part; raises ValueError where the method cannot work with it."""
        layers = {group.producer, *group.depthwise, *(name for name, _ in group.consumers)}
        return {f"{name}.weight" for name in layers} <= self.shapes.keys()

    def _filters(self) -> dict[str, Tensor]:
        """Return by module name the weights (channels, entries) that make the channels that may go."""
        return {name: self.weights[f"{name}.weight"].detach().flatten(1) for name in self._groups}

    def _room(self) -> dict[str, Tensor]:
        """Return `element_masks` of the channels that are alive."""
        return element_masks(self.model, {group: self.alive[name] for name, group in self._groups.items()})

    def _load_extra(self, state: Mapping[str, Any]) -> None:
        for name in self.saves:
            now = getattr(self, name)
            setattr(self, name, {key: t.to(now[key].device) for key, t in state[name].items()})
