"""The masks: who keeps which weights, and the one rule that holds for them.

A mask is a bool buffer beside its parameter, so `model.state_dict()` carries it. The rule: **where the mask is False,
the weight, its gradient and every optimizer slot of its shape (momentum, Adam's two, S2-SAM's direction) are exactly
0**, after every step and every change of the topology. So dropped entries lose weight and slots, grown ones start from
0, and the others keep every bit.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from s2sam.sparse.distributions import require


def prunable(model: nn.Module, layers: Collection[str] | None = None) -> dict[str, nn.Module]:
    """Return the modules whose weights may be masked, by weight name: Conv2d and Linear, in the model's order.

    Biases, norm layers and embeddings (also one whose weight a Linear shares) are never masked. `layers` are names to
    choose from them, of modules ("fc") or weights ("fc.weight"); ValueError when one is not prunable, or nothing is.
    """
    tied = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and id(module._parameters.get("weight")) not in tied | {id(None)}:
            tied.add(id(module.weight))
            found[f"{name}.weight" if name else "weight"] = module
    if layers is not None:
        wanted = [name if name in found else f"{name}.weight" for name in layers]
        unknown = sorted(set(wanted) - found.keys())
        require(not unknown, f"layers must name Conv2d or Linear layers, got {unknown}; the model has {list(found)}")
        found = {name: module for name, module in found.items() if name in wanted}
    require(found, f"model must have a Conv2d or Linear layer to prune, got {type(model).__name__} without")
    return found


class Masks:
    """The masks of a model's prunable weights, all True at first.

    Attributes:
        model: the network. shapes: shape of each prunable weight by name. optimizer: whose slots are masked, or None.
    """

    def __init__(self, model: nn.Module, layers: Collection[str] | None = None) -> None:
        self.model = model
        self.optimizer: Optimizer | None = None
        self._modules = prunable(model, layers)
        self._owners: dict[str, tuple[nn.Module, str]] = {}
        self.shapes = {name: tuple(w.shape) for name, w in self.weights.items()}
        masked = [name for name, module in self._modules.items() if hasattr(module, "weight_mask")]
        require(not masked, f"model must not be masked already, got masks on {masked}; call finalize() on the former")

    def _guard_weights(self) -> None:
        """Give the prunable weights their masks, once nothing can be refused any more."""
        for name, module in self._modules.items():
            self._guard(name, module, "weight")

    def _guard(self, name: str, module: nn.Module, attribute: str) -> None:
        """Give a parameter a mask, all True."""
        mask = torch.ones_like(getattr(module, attribute), dtype=torch.bool)
        module.register_buffer(f"{attribute}_mask", mask)
        self._owners[name] = (module, attribute)

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The prunable weights by name, in the model's order."""
        return {name: module.weight for name, module in self._modules.items()}  # type: ignore[misc]

    @property
    def masks(self) -> dict[str, Tensor]:
        """The masks by parameter name: bool tensors, the model's own buffers; those of prunable weights come first."""
        return {name: getattr(module, f"{attribute}_mask") for name, (module, attribute) in self._owners.items()}

    @property
    def nonzeros(self) -> int:
        """How many prunable weights are kept; after `finalize`, how many are not 0."""
        kept = self.masks or {name: weight != 0 for name, weight in self.weights.items()}
        return sum(int(kept[name].sum()) for name in self._modules)

    @torch.no_grad()
    def apply(self) -> None:
        """Set to 0 what the rule says; RuntimeError while the weights are perturbed."""
        self._refuse_perturbed()
        for name, mask in self.masks.items():
            self._clear(name, ~mask)

    def _set(self, name: str, mask: Tensor) -> None:
        """Change a mask, in its buffer."""
        self.masks[name].copy_(mask)

    def _clear(self, name: str, where: Tensor) -> None:
        """Set to 0 a parameter, its gradient and its slots where `where` is True; inf and nan too."""
        p = self._parameter(name)
        slots = self.optimizer.state.get(p, {}).values() if self.optimizer else ()
        for t in (p.detach(), p.grad, *slots):
            if isinstance(t, Tensor) and t.shape == p.shape:
                t.masked_fill_(where, 0)

    def _mask_gradients(self) -> None:
        for name, mask in self.masks.items():
            if (g := self._parameter(name).grad) is not None:
                g.masked_fill_(~mask, 0)  # 0 * g would be nan where g is not finite

    def _parameter(self, name: str) -> nn.Parameter:
        module, attribute = self._owners[name]
        return getattr(module, attribute)

    def _refuse_perturbed(self, other: Optimizer | None = None) -> None:
        if any(getattr(optimizer, "is_perturbed", False) for optimizer in (self.optimizer, other)):
            raise RuntimeError("topology must change at w, got perturbed weights; call optimizer.restore() first")
