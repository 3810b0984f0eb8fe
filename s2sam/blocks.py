"""The passes over memory: to y, back to w, back to w with the new gradient kept; each touches a tensor once.

At the size of a model these steps wait for memory and little else. On the CPU a large tensor is therefore walked in
blocks that stay in the cache while several operations work on them, and small ones, which wait for Python instead, go
together in lists; the order of the arithmetic, and so every bit, is the same for any number of threads. Other devices
get one launch for a list of tensors. What is computed is `s2sam.rules`: here a direction g becomes the perturbation
(g s) f, with the power of two s and the factor f of `rules.scales`.
"""

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Any

import torch
from torch import Tensor, nn

Scale = tuple[Tensor, Tensor] | None  # s and f, both of shape () and of the working type; None: it is one already
Lifted = tuple[Tensor, Tensor]  # parameter at y, buffer with w

_BLOCK = 2**17  # entries: on one thread or two a few float32 blocks of this size stay in caches of a MiB or two
_ROW = 2**12  # a row's squares are summed pairwise by one thread, whatever the number of threads
_SMALL = 2**15  # entries up to which a tensor is one of a list: calls of its own would cost more than the cache saves
_LIST = 2**26  # entries that a list's temporaries may have elsewhere than on the CPU, where they are a block


def squares(tensors: Sequence[Tensor], scale: Tensor | None = None) -> Tensor:
    """Return float64 partial sums of squares, shape (number of rows,); equal entries in memory give equal bits.

    Args:
        tensors: real floating-point tensors on the CPU; differentiable.
        scale: of shape (); multiplies them first, where float64 could not hold the squares.
    """
    parts = [torch.zeros(1, dtype=torch.float64)]
    wide = _room(torch.float64)
    for t in tensors:
        if t.numel() <= _SMALL:
            continue
        for (block,) in [(t,)] if (kept := t.requires_grad and torch.is_grad_enabled()) else _walk(t):
            x = block.double() if kept else _fit(wide, block).copy_(block)  # autograd needs old values: no scratch
            x = x if scale is None else x * scale if kept else x.mul_(scale)
            parts += _rows(x.square() if kept else x.square_())
    for (batch,) in _lists([(t,) for t in tensors if t.numel() <= _SMALL]):
        parts += _rows_of_list(batch, scale)
    return torch.cat(parts)


def total(sums: Tensor) -> Tensor:
    """Return the sum of partial sums, shape (), in an order that the number of threads does not change."""
    while len(sums) > _ROW:  # torch would share a longer one out
        sums = torch.cat(_rows(sums))
    return sums.sum()


def one_pass(tensor: Tensor) -> bool:
    """Whether the blocks below are for this tensor: a plain one on the CPU, in no graph that is being traced."""
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.device.type == "cpu"
    return plain and not torch.compiler.is_compiling()


def multiply(tensors: Sequence[Tensor], scale: Scale) -> None:
    """Multiply tensors in place by s and by f, in the working type."""
    if scale is None or not tensors:
        return
    here = [factor.to(tensors[0].device) for factor in scale]
    for t in tensors:
        if t.dtype != here[0].dtype:
            t.copy_(t.to(here[0].dtype).mul_(here[0]).mul_(here[1]))
    if same := [t for t in tensors if t.dtype == here[0].dtype]:
        torch._foreach_mul_(same, here[0])
        torch._foreach_mul_(same, here[1])


def lift(pairs: Sequence[Lifted], scales: Sequence[Scale]) -> None:
    """Bring parameters from w to y = w + (g s) f, and w into their buffers, which held g.

    A retry adds e = fl(y - w), so y = fl(w + e) from the start: fl(w + fl(y - w)) may differ from y (on a tie rounded
    to a power of two), but doing it once more changes nothing (this project; tested exhaustively).
    """
    lists: dict[tuple[int, bool, torch.device, torch.dtype], tuple[Scale, list[Lifted]]] = {}
    rooms: dict[torch.dtype, Tensor] = {}
    for (p, buffer), scale in zip(pairs, scales, strict=True):
        if not (here := one_pass(p)) or p.numel() <= _SMALL:
            alike = id(scale and scale[1]), here, p.device, p.dtype
            lists.setdefault(alike, (scale, []))[1].append((p, buffer))
            continue
        room = rooms.setdefault(p.dtype, _room(p.dtype))
        power = 1.0 if scale is None else scale[0].item()  # on the CPU, so nothing waits
        for w, d in _walk(p, buffer):
            y = _fit(room, w)
            if scale is not None and scale[1].dtype == w.dtype:
                torch.addcmul(w, d, scale[1], value=power, out=y)
            else:
                multiply([d], scale)
                torch.add(w, d, out=y)
            d.copy_(w)
            _once_more(w, y)
    for (_, here, *_), (scale, members) in lists.items():
        for ws, ds in _lists(members):
            if here and scale is not None and scale[1].dtype == ws[0].dtype:
                ys = torch._foreach_addcmul(ws, ds, [scale[1]] * len(ws), value=scale[0].item())
            else:
                multiply(ds, scale)
                ys = torch._foreach_add(ws, ds)
            torch._foreach_copy_(ds, ws)
            torch._foreach_sub_(ys, ws)
            torch._foreach_add_(ws, ys)


def _once_more(w: Tensor, y: Tensor) -> None:
    """Change w to fl(w + fl(y - w)), and y to what is no longer of use."""
    if w.dtype in (torch.float32, torch.float64) and w.is_contiguous() and y.is_contiguous():
        # In one kernel, that of SGD: w - lr (y + decay w), each product and sum rounded once. It knows no strides.
        still: dict[str, Any] = {"momentum": 0.0, "dampening": 0.0, "nesterov": False, "is_first_step": False}
        torch._fused_sgd_([w], [y], [], weight_decay=-1.0, lr=-1.0, maximize=False, **still)
    else:  # and half types it would round only at the end
        w.add_(y.sub_(w))


def lower(pairs: Sequence[Lifted]) -> None:
    """Bring parameters back to w, which their buffers hold, and leave e = fl(y - w) there."""
    rooms: dict[torch.dtype, Tensor] = {}
    lists: list[Lifted] = []
    for p, buffer in pairs:
        if p.numel() <= _SMALL or not one_pass(p):
            lists.append((p, buffer))
            continue
        room = rooms.setdefault(p.dtype, _room(p.dtype))
        for y, w in _walk(p, buffer):
            e = torch.sub(y, w, out=_fit(room, y))
            y.copy_(w)
            w.copy_(e)
    for ys, ws in _lists(lists):
        es = torch._foreach_sub(ys, ws)
        torch._foreach_copy_(ys, ws)
        torch._foreach_copy_(ws, es)


def keep(items: Sequence[tuple[Tensor, Tensor, Tensor, bool]]) -> Tensor:
    """Copy gradients into buffers; return their norm, the bits that `rules.global_norm` has for the buffers.

    Args:
        items: parameter, buffer, gradient, and whether the parameter goes back to w first, which its buffer holds; all
            of them plain float32 or half tensors on the CPU, a buffer in the memory format of its parameter.

    Returns:
        Float64 tensor of shape (); not finite if and only if an entry of the buffers is not.
    """
    parts = [torch.zeros(1, dtype=torch.float64)]
    wide = _room(torch.float64)
    for p, buffer, gradient, back in items:
        if p.numel() <= _SMALL:
            continue
        for w, d, g in _walk(p, buffer, gradient):
            if back:
                w.copy_(d)
            d.copy_(g)
            parts += _rows(_fit(wide, d).copy_(d).square_())
    for ps, ds, gs, backs in _lists([item for item in items if item[0].numel() <= _SMALL]):
        if any(backs):
            torch._foreach_copy_(list(compress(ps, backs)), list(compress(ds, backs)))
        torch._foreach_copy_(ds, gs)
        parts += _rows_of_list(ds)
    return total(torch.cat(parts)).sqrt()


def _walk(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield blocks of tensors of one shape: views that go through memory alike; where there are none, all at once."""
    tensors = _as_in_memory(*tensors)
    if all(t.is_contiguous() for t in tensors):
        yield from zip(*(t.view(-1).split(_BLOCK) for t in tensors), strict=True)
    else:
        yield tensors


def _as_in_memory(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return views of tensors of one shape with their axes in the order of the first one's memory."""
    if all(t.is_contiguous() for t in tensors):
        return tensors
    order = sorted(range(tensors[0].ndim), key=tensors[0].stride, reverse=True)
    return tuple(t.permute(order) for t in tensors)


def _room(dtype: torch.dtype) -> Tensor:
    """Return scratch for a block."""
    return torch.empty(_BLOCK, dtype=dtype)


def _fit(room: Tensor, block: Tensor) -> Tensor:
    """Return as much of the scratch as a block takes; new memory where the block is a whole tensor."""
    if block.ndim != 1 or block.numel() > room.numel():
        return torch.empty_like(block, dtype=room.dtype)
    return room if block.numel() == room.numel() else room[: block.numel()]


def _rows(x: Tensor) -> list[Tensor]:
    """Return the sums of rows of `_ROW` entries, and of the entries left over."""
    x = x if x.ndim == 1 else x.reshape(-1)
    if not (over := x.numel() % _ROW):
        return [x.view(-1, _ROW).sum(1)]
    rows = [x[:-over].view(-1, _ROW).sum(1)] if over < x.numel() else []
    return [*rows, x[-over:].sum().view(1)]


def _rows_of_list(tensors: Sequence[Tensor], scale: Tensor | None = None) -> list[Tensor]:
    """Return sums of squares, times a scale's, of rows of tensors laid end to end; differentiable."""
    x = torch.cat([_as_in_memory(t)[0].reshape(-1) for t in tensors]).double()
    return _rows((x if scale is None else x * scale).square())


def _lists(items: Sequence[tuple[Any, ...]]) -> Iterator[tuple[list[Any], ...]]:
    """Yield items, which begin with a tensor, as a list of each of their parts, as long as temporaries may be."""
    batch: list[tuple[Any, ...]] = []
    size = 0
    for item in items:
        if batch and size + item[0].numel() > (_BLOCK if item[0].device.type == "cpu" else _LIST):
            yield tuple(map(list, zip(*batch, strict=True)))
            batch, size = [], 0
        batch.append(item)
        size += item[0].numel()
    if batch:
        yield tuple(map(list, zip(*batch, strict=True)))
