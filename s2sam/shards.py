"""Parameters spread over processes (torch's DTensor, which FSDP2 and tensor parallelism make).

The optimizers work on the part of each tensor that this process holds; what they need of the whole, a norm or a largest
entry, is combined over the processes here, so that all of them perturb along one direction of one length. FSDP2 has a
trap: after a forward that no backward follows (an evaluation) its root keeps the gathered parameters, and so the next
forward would silently use the values of before a perturbation. `moved` makes it gather anew.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_Spread = tuple[Any, tuple[bool, ...]] | None  # mesh, and for each of its dimensions whether the tensor is split there


def local(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this process holds, sharing its memory; a plain tensor is returned as it is."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def placed_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a gradient split as its parameter is; tensor parallelism leaves some of them unsummed."""
    if not hasattr(tensor, "to_local") or tensor.placements == parameter.placements:  # type: ignore[attr-defined]
        return tensor
    return tensor.redistribute(parameter.device_mesh, parameter.placements)  # type: ignore[attr-defined]


def combined(
    tensors: Sequence[Tensor], parts: Sequence[Tensor], measure: Callable[[list[Tensor]], Tensor], how: str
) -> Tensor:
    """Measure a list of tensors as a whole, from the part that each process holds.

    Args:
        tensors: plain or distributed; a tensor that processes hold copies of counts once.
        parts: for each tensor what is measured for it here: its local part, maybe cast.
        measure: list of parts -> tensor of shape (): their Euclidean norm or their largest entry.
        how: "norm" or "max", after what `measure` returns.

    Returns:
        Tensor of shape (), the same bits on every process (where all tensors are plain: what `measure` returns).
    """
    groups: dict[_Spread, list[Tensor]] = {}
    for tensor, part in zip(tensors, parts, strict=True):
        groups.setdefault(_spread(tensor), []).append(part)
    if groups.keys() <= {None}:
        return measure(list(parts))
    values = []
    for spread, members in groups.items():
        value = measure(members).double()  # of one type everywhere, also where every part is empty
        value = value.square() if how == "norm" else value
        values.append(value if spread is None else _over_processes(value, spread, "sum" if how == "norm" else "max"))
    stacked = torch.stack([value.to(values[0].device) for value in values])
    return stacked.sum().sqrt() if how == "norm" else stacked.amax()


def moved(parameters: Sequence[Tensor]) -> None:
    """Say that the local parts of parameters have changed: to autograd, and to FSDP2, which then gathers them anew."""
    spread = [p for p in parameters if hasattr(p, "to_local")]
    if not spread:
        return
    torch.autograd.graph.increment_version(spread)  # a backward that needs the old values then says so
    for module in _sharded_modules():
        module.reshard()


def check_root(model: nn.Module) -> None:
    """Refuse a module inside a sharded one: its forward comes after the root has gathered its parameters.

    Raises:
        ValueError: naming the rule.
    """
    for root in _sharded_modules():
        if root is not model and any(module is model for module in root.modules()):
            raise ValueError(
                f"model must be the root of what fully_shard split, got {type(model).__name__} inside "
                f"{type(root).__name__}; attach the root"
            )


def _sharded_modules() -> list[Any]:
    """Return the living modules under `fully_shard`; an optimizer knows its parameters, not their modules."""
    if "torch.distributed.fsdp" not in sys.modules or "torch.distributed._composable_state" not in sys.modules:
        return []
    from torch.distributed._composable_state import _module_state_mapping

    return [module for module in list(_module_state_mapping) if hasattr(module, "reshard")]


def _spread(tensor: Tensor) -> _Spread:
    """Return over which processes a tensor is split; None where this process has it whole."""
    if not hasattr(tensor, "to_local"):
        return None
    split = tuple(not placement.is_replicate() for placement in tensor.placements)  # type: ignore[attr-defined]
    return (tensor.device_mesh, split) if any(split) else None  # type: ignore[attr-defined]


def _over_processes(value: Tensor, spread: Any, how: str) -> Tensor:
    """Return the sum or the maximum over the processes that a tensor is split over."""
    from torch.distributed.tensor import DTensor, Partial, Replicate

    mesh, split = spread
    placements = [Partial(how) if here else Replicate() for here in split]
    return DTensor.from_local(value.contiguous(), mesh, placements, run_check=False).full_tensor()
