"""Gradients become the next direction: copied into buffers, their norm remembered, none with an entry not finite."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from s2sam.blocks import one_pass
from s2sam.rules import global_norm
from s2sam.shards import local, placed_like


def dense_gradients(groups: Sequence[Mapping[str, Any]]) -> dict[Tensor, Tensor]:
    """Return the gradient of each parameter that has one, in the order of the groups.

    Raises:
        RuntimeError: when one is not dense.
    """
    members = [p for group in groups for p in group["params"]]
    gradients = {p: placed_like(p.grad, p) for p in members if p.grad is not None}
    for g in gradients.values():
        if g.layout is not torch.strided:
            raise RuntimeError(f"gradients must be dense, got {g.layout}; use sparse=False")
    return gradients


def kept_in_one_pass(parameters: Sequence[Tensor]) -> bool:
    """Whether `keep_finite` is for these parameters; squares of float64 may lie outside its range."""
    return all(one_pass(p) and p.dtype is not torch.float64 for p in parameters)


def keep_finite(
    keep: Callable[..., Tensor], items: Sequence[tuple[Tensor, Tensor, Tensor, bool]]
) -> tuple[Tensor, Tensor]:
    """Do as `keep`, that of `blocks` or `native`, and then write zeros into all buffers if any entry is not finite.

    Returns:
        Whether all were finite; the norm of what the buffers hold now. Both of shape ().
    """
    norm = keep(items)
    finite = torch.isfinite(norm)
    if not finite:  # a branch, where nothing waits for a device: the value is the CPU's
        torch._foreach_zero_([buffer for _, buffer, *_ in items])
        norm = torch.zeros_like(norm)
    return finite, norm


def copy_finite(gradients: Sequence[Tensor], buffers: Sequence[Tensor]) -> Tensor:
    """Copy gradients into buffers, zeros if an entry of any is not finite; no value is looked at, on any device.

    Returns:
        Whether all were finite, of shape ().
    """
    finite = torch.isfinite(global_norm(gradients))
    for g, buffer in zip(gradients, buffers, strict=True):
        zero = torch.zeros((), dtype=buffer.dtype, device=buffer.device)  # 0 * g would be nan where g is not finite
        torch.where(finite.to(buffer.device), local(g).to(buffer.dtype), zero, out=local(buffer))
    return finite


class KnownNorm:
    """The norm of buffers, from when they were filled until they are asked for or changed.

    Args:
        norm: of shape ().
        buffers: in order; torch counts the changes in place of each.
    """

    def __init__(self, norm: Tensor, buffers: Sequence[Tensor]) -> None:
        self._norm = norm
        self._filled = [(buffer, buffer._version) for buffer in buffers]

    def of(self, buffers: Sequence[Tensor]) -> Tensor | None:
        """Return the norm if these are the buffers, in order and unchanged; None where it must be computed anew."""
        if torch.compiler.is_compiling() or len(buffers) != len(self._filled):
            return None
        same = all(a is b and a._version == version for a, (b, version) in zip(buffers, self._filled, strict=True))
        return self._norm if same else None
