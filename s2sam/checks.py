"""What the optimizers refuse, each with one line: argument, rule, value, remedy; a refusal changes nothing."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from s2sam import native

BUFFER = "ascent"  # key of our buffer in the state of a parameter
SEED = "rounding_seed"  # group option: seed of the next perturbation's stochastic rounding; None rounds to nearest
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
    if base.defaults.get("differentiable"):
        raise ValueError(
            f"base_optimizer must not be differentiable, got {name}(differentiable=True); leave the option out, "
            "derivatives through the perturbation are not kept"
        )
    if taken := sorted({"rho", "adaptive", SEED, HELD} & base.defaults.keys()):
        raise ValueError(
            f"base_optimizer must have no option {taken[0]!r} of its own, got {name} (Adadelta has one, and so has an "
            "optimizer that is wrapped already); build a fresh one of another kind"
        )


def check_group(group: Mapping[str, Any], *, fused: bool = False) -> None:
    """Refuse a group with a bad option or parameter, or one that the compiled passes are not for where they are asked.

    Raises:
        TypeError, ValueError: naming the rule.
        RuntimeError: with `fused`, without a C compiler.
    """
    rho = check_radius(group["rho"])
    if not 0 <= (value := float(rho)) < math.inf:
        raise ValueError(f"rho must be finite and >= 0, got {value}; 0 perturbs nothing")
    if not isinstance(group["adaptive"], bool):
        raise TypeError(f"adaptive must be True or False, got {group['adaptive']!r}; True is ASAM's perturbation")
    seed = group[SEED]
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
        raise ValueError(f"{SEED} must be None or an integer >= 0, got {seed!r}; None rounds to nearest")
    if not isinstance(fused, bool):
        raise TypeError(f"fused must be True or False, got {fused!r}; True compiles the passes over memory")
    params = group["params"]
    tensors = [p[1] if isinstance(p, tuple) else p for p in ([params] if isinstance(params, Tensor) else params)]
    for tensor in tensors:
        if isinstance(tensor, Tensor) and not tensor.is_floating_point():
            raise ValueError(f"parameters must be real floating-point, got {tensor.dtype}; use torch.view_as_real")
        if hasattr(tensor, "_is_flat_param") or hasattr(tensor, "_fsdp_flattened"):  # a shard of unknown others
            raise ValueError(
                "parameters must show how they are split, got one of FullyShardedDataParallel; fully_shard it"
            )
    if fused:
        native.check(tensors)


def check_radius(rho: Any) -> float | Tensor:
    """Return rho if it may be a radius; the value of a tensor is not looked at (that would wait for the device).

    Raises:
        TypeError, ValueError: naming the rule.
    """
    if isinstance(rho, Tensor):
        if rho.ndim or not rho.is_floating_point():
            kind = f"{rho.dtype} of shape {tuple(rho.shape)}"
            raise ValueError(f"rho must be a float tensor of shape (), got {kind}; give each group a radius of its own")
    elif isinstance(rho, bool) or not isinstance(rho, int | float):
        raise TypeError(f"rho must be a number or a tensor, got {type(rho).__name__}; write it as a float")
    elif not 0 <= rho < math.inf:
        raise ValueError(f"rho must be finite and >= 0, got {rho}; 0 perturbs nothing")
    return rho


def check_callable(name: str, function: Any) -> None:
    """Refuse a closure or a hook that cannot be called (a loss, say).

    Raises:
        TypeError: naming the rule.
    """
    if not callable(function):
        raise TypeError(f"{name} must be a function, got {type(function).__name__}; wrap what it should do in a lambda")


def fitting(optimizer: Optimizer, state_dict: Any) -> dict[str, Any]:
    """Return a state dict with the options of ours that it lacks, as they are now; refuse one that does not fit.

    Args:
        optimizer: of ours; it is left as it is.
        state_dict: of this class, or of the base optimizer alone.

    Raises:
        TypeError, ValueError: naming the rule.
    """
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= state_dict.keys():
        kind = f"keys {list(state_dict)}" if isinstance(state_dict, Mapping) else type(state_dict).__name__
        raise TypeError(f"state_dict must have 'state' and 'param_groups', got {kind}; pass what state_dict() returned")
    groups, saved = optimizer.param_groups, state_dict["param_groups"]
    sizes, found = ([len(g["params"]) for g in x] for x in (groups, saved))
    if sizes != found:
        raise ValueError(
            f"state_dict must have groups of {sizes} parameters, as the optimizer has, got a loaded state dict with "
            f"{found}; build the same groups first"
        )
    full = [{k: mine[k] for k in ("rho", "adaptive", SEED)} | {HELD: 0.0} for mine in groups]
    full = [defaults | theirs for defaults, theirs in zip(full, saved, strict=True)]
    for mine, theirs in zip(groups, full, strict=True):
        check_group({**theirs, "params": []})
        for p, key in zip(mine["params"], theirs["params"], strict=True):
            buffer = state_dict["state"].get(key, {}).get(BUFFER, p)
            if buffer.shape != p.shape:
                raise ValueError(
                    f"state_dict must have {BUFFER!r} of its parameter's shape {tuple(p.shape)}, got "
                    f"{tuple(buffer.shape)}; load the state of the same model"
                )
    return {**state_dict, "param_groups": full}
