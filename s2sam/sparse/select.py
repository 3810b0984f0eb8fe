"""Exact-count selection of entries by score, and the one drop-and-grow exchange of every dynamic method.

Never a threshold: ties and rounding would change the count. Of equal scores the lowest index is kept, or grown, first;
nan counts as the smallest score, with a warning. `join` ranks layers together, indices in the order of the layers.
"""

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor


def highest(score: Tensor, among: Tensor, k: int) -> Tensor:
    """Return the mask of the k entries of highest score; of equals, the lowest index comes first.

    Args:
        score: real tensor of any shape.
        among: bool tensor of that shape, the entries to choose from.
        k: how many; fewer when `among` has fewer.
    """
    chosen = torch.zeros_like(among, dtype=torch.bool).flatten()
    if k > 0:
        index = among.flatten().nonzero().squeeze(1)
        order = torch.sort(_ranked(score.flatten()[index]), descending=True, stable=True).indices
        chosen[index[order[:k]]] = True
    return chosen.view_as(among)


def lowest(score: Tensor, among: Tensor, k: int) -> Tensor:
    """Return the mask of the k entries of lowest score, those to drop: the rest of `among` is what `highest` keeps."""
    return among & ~highest(score, among, int(among.sum()) - k)


def drop_grow(
    active: Tensor, drop_score: Tensor, growth: Tensor, k: int, *, regrow: bool = False, min_keep: int = 1
) -> Tensor:
    """Return the mask with k entries of lowest score dropped and as many of highest growth score grown.

    Args:
        active: bool tensor, the entries now kept, of any shape.
        drop_score: real tensor of that shape.
        growth: real tensor of that shape.
        k: how many; clipped first, so that `min_keep` survive, there is room to grow, and the count stays.
        regrow: whether entries just dropped are candidates too (RigL); of equals they come first, so that growth
            scores that are all zero change nothing.
        min_keep: how many entries must survive the drop.
    """
    kept, free = int(active.sum()), int((~active).sum())
    k = min(k, kept - min_keep) if regrow else min(k, kept - min_keep, free)
    if k <= 0 or not free:
        return active
    dropped = lowest(drop_score, active, k)
    if not regrow:
        return active & ~dropped | highest(growth, ~active, k)
    first = torch.cat([dropped.flatten().nonzero(), (~active).flatten().nonzero()]).squeeze(1)
    everyone = torch.ones_like(first, dtype=torch.bool)
    grown = torch.zeros_like(active).flatten()
    grown[first[highest(growth.flatten()[first], everyone, k)]] = True
    return active & ~dropped | grown.view_as(active)


def join(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return all tensors as one flat tensor, in their order, on the first one's device."""
    device = next(iter(tensors.values())).device
    return torch.cat([t.detach().reshape(-1).to(device) for t in tensors.values()])


def split(flat: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what `join` joined, cut into the shapes (and onto the devices) of `like`."""
    parts = flat.split([t.numel() for t in like.values()])
    return {name: part.view(t.shape).to(t.device) for (name, t), part in zip(like.items(), parts, strict=True)}


def _ranked(score: Tensor) -> Tensor:
    """Return the score with nan as minus infinity."""
    bad = score.isnan()
    if bad.any():
        warnings.warn(f"{int(bad.sum())} of {bad.numel()} scores are nan; they rank last", RuntimeWarning, stacklevel=4)
        return score.masked_fill(bad, -torch.inf)
    return score
