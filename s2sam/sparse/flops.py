"""What training costs: floating-point operations of convolutions and linear layers, counted as RigL counts them.

Evci et al. (ICML 2020, Appendix H): a forward pass costs f_D dense and f_S = sum of density times f_D of each layer
sparse; a backward pass twice that, for the gradients of inputs and weights; the latter is f_D where it must be dense.
A multiply-add counts two, norms, activations and optimizers nothing. Costs are for one sample; SAM has them twice.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Flops:
    """Operations of one dense forward pass, one sample, by weight name; see `flops`."""

    layers: dict[str, float]

    @property
    def dense(self) -> float:
        """f_D, of the forward pass of the dense network."""
        return self.forward()

    def forward(self, kept: Mapping[str, Tensor | float] | None = None) -> float:
        """Return f_S of a sparse forward pass, from masks or densities by weight name; layers without are dense."""
        share = {n: int(k.sum()) / k.numel() if isinstance(k, Tensor) else k for n, k in (kept or {}).items()}
        return sum(cost * share.get(name, 1.0) for name, cost in self.layers.items())


def flops(model: nn.Module, example: Tensor) -> Flops:
    """Count the operations of each Conv2d and Linear in one forward pass, in evaluation mode, without gradients.

    Args:
        model: the network; left in the mode and with the buffers it has.
        example: inputs (n, ...), n >= 1, of the shape and on the device of those of the training.

    Returns:
        2 multiply-adds for each entry of each output's sum, divided by n; a layer called twice counts twice.
    """
    names = {m: f"{n}.weight".lstrip(".") for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    layers = dict.fromkeys(names.values(), 0.0)

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        layers[names[module]] += 2 * module.weight[0].numel() * output.numel() / len(example)  # type: ignore[index]

    with ExitStack() as afterwards, torch.no_grad():
        for module in model.modules():
            afterwards.callback(setattr, module, "training", module.training)
        for module in names:
            afterwards.enter_context(module.register_forward_hook(count))
        model.eval()(example)
    return Flops(layers)


def training(sparse: float, dense: float | None = None) -> float:
    """Return what one gradient and its step cost: 3 f_S; with `dense` = f_D, the gradient being dense, 2 f_S + f_D."""
    return 2 * sparse + (sparse if dense is None else dense)


def snip(dense: float, samples: int) -> float:
    """Return the cost of SNIP's scores (Lee et al., ICLR 2019): one dense gradient over `samples` samples."""
    return samples * training(dense)


def grasp(dense: float, samples: int) -> float:
    """Return an estimate of that of GraSP (Wang et al., ICLR 2020): a gradient, and one that goes through another."""
    return samples * (training(dense) + 3 * training(dense))  # a pass back costs two more, as through the network
