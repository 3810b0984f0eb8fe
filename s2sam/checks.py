"""What the optimizers refuse, each with one line: argument, rule, value, remedy."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

HELD = "held_rho"  # group option: radius of the perturbation that the buffers hold, 0.0 when they hold gradients


def check_base(base: Any) -> None:
    """Refuse what cannot be the base optimizer.

    Raises:
        TypeError, ValueError: naming the rule.
    """
    if not isinstance(base, Optimizer):
        raise TypeError(f"base_optimizer must be a torch.optim.Optimizer, got {type(base).__name__}; build it first")
    name, closure = type(base).__name__, inspect.signature(type(base).step).parameters.get("closure")
    if isinstance(base, torch.optim.LBFGS) or (closure and closure.default is closure.empty):
        raise ValueError(f"base_optimizer must take one gradient a step, got {name}, which needs a closure; use SGD")
    if isinstance(base, torch.optim.SparseAdam):
        raise ValueError(f"base_optimizer must take dense gradients, got {name}; use Adam with sparse=False")
    if taken := sorted({"rho", "adaptive", HELD} & base.defaults.keys()):
        raise ValueError(
            f"base_optimizer must have no option {taken[0]!r} of its own, got {name} (Adadelta has one, and so has an "
            "optimizer that is wrapped already); build a fresh one of another kind"
        )


def check_group(group: Mapping[str, Any]) -> None:
    """Refuse a group with a bad option or parameter.

    Raises:
        TypeError, ValueError: naming the rule.
    """
    rho = check_radius(group["rho"])
    if not 0 <= (value := float(rho)) < math.inf:
        raise ValueError(f"rho must be finite and >= 0, got {value}")
    if not isinstance(group["adaptive"], bool):
        raise TypeError(f"adaptive must be True or False, got {group['adaptive']!r}")
    params = group["params"]
    for p in [params] if isinstance(params, Tensor) else params:
        tensor = p[1] if isinstance(p, tuple) else p
        if isinstance(tensor, Tensor) and not tensor.is_floating_point():
            raise ValueError(f"parameters must be real floating-point, got {tensor.dtype}; use torch.view_as_real")


def check_radius(rho: Any) -> float | Tensor:
    """Return rho if it may be a radius; the value of a tensor is not looked at (that would wait for the device).

    Raises:
        TypeError, ValueError: naming the rule.
    """
    if isinstance(rho, Tensor):
        if rho.ndim or not rho.is_floating_point():
            raise ValueError(f"rho must be a float tensor of shape (), got {rho.dtype} of shape {tuple(rho.shape)}")
    elif isinstance(rho, bool) or not isinstance(rho, int | float):
        raise TypeError(f"rho must be a number or a tensor, got {type(rho).__name__}")
    elif not 0 <= rho < math.inf:
        raise ValueError(f"rho must be finite and >= 0, got {rho}")
    return rho
