"""A pruned network made physically smaller: channels that nothing reads are cut out (this project)."""

import copy
from typing import Any

import torch
from torch import nn

from s2sam.sparse.channels import Group, columns, groups, rows


def shrink(model: nn.Module) -> nn.Module:
    """Return a smaller copy that computes the same, without masks; the model itself stays as it is.

    A channel goes when all input columns that read it are exactly 0, with its `rows` and these columns. That may leave
    channels before it unread, so this repeats until nothing goes. One channel of a layer always stays. Sums are taken
    in another order, so outputs are equal up to rounding (and dropout draws other numbers). The model may be masked.
    ValueError when torch.fx cannot read its forward pass.
    """
    small = copy.deepcopy(model)
    for module in small.modules():
        for name in [name for name in module._parameters if f"{name}_mask" in module._buffers]:
            delattr(module, f"{name}_mask")
    found = groups(small)
    while any([_cut(small, group) for group in reversed(found)]):
        pass
    return small


@torch.no_grad()
def _cut(model: nn.Module, group: Group) -> bool:
    """Cut the channels that nothing reads; return whether there were any."""
    readers = {f"{name}.weight": per for name, per in group.consumers}
    channels = len(model.get_parameter(f"{group.producer}.weight"))
    read = torch.stack([columns(model.get_parameter(name), channels).ne(0).any(2).any(0) for name in readers]).any(0)
    read[0] |= ~read.any()
    if read.all():
        return False
    cuts = [(name, 0, read) for name in rows(model, group)]
    cuts += [(name, 1, read.repeat_interleave(per)) for name, per in readers.items()]
    for name, axis, kept in cuts:
        owner, _, attribute = name.rpartition(".")
        module: Any = model.get_submodule(owner)
        old = getattr(module, attribute)
        new = old.index_select(axis, kept.nonzero().squeeze(1))
        setattr(module, attribute, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new)
        if isinstance(module, nn.Linear):
            module.out_features, module.in_features = module.weight.shape
        elif isinstance(module, nn.Conv2d):
            module.out_channels, module.groups = len(module.weight), min(module.groups, len(module.weight))
            module.in_channels = module.groups * module.weight.shape[1]
    for name in group.norms:
        module = model.get_submodule(name)
        module.num_features = int(read.sum())
    return True
