"""Which channels of a network may be removed, found by reading its forward pass with torch.fx (this project).

The output channels of a layer may go one by one when they flow, through operations known to treat each channel alone,
only into layers whose input columns can be cut. The first convolution of a residual block is such a layer; the second,
whose output is added to the stream, is not.
"""

import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

# Names of modules, functions and methods, in lower case without underscores; of arithmetic, that with numbers.
_POINTWISE = set(
    "identity relu relu6 leakyrelu elu selu celu gelu silu mish hardswish hardtanh hardsigmoid sigmoid logsigmoid tanh "
    "softplus softsign dropout clamp contiguous abs neg add sub mul truediv".split()
)
_ON_MAPS = {"maxpool2d", "avgpool2d", "adaptivemaxpool2d", "adaptiveavgpool2d", "dropout2d", "zeropad2d"}
_LAYERS = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class Group:
    """The output channels of one layer: the names of the modules where they come from, pass through, and end.

    Consumers come with the number of consecutive input columns for a channel: height times width after a flatten, else
    1. They and the producer are Conv2d (groups=1) or Linear.
    """

    producer: str  # its rows are the channels
    norms: tuple[str, ...]  # BatchNorm layers on the way, the nearest first
    depthwise: tuple[str, ...]  # convolutions on the way that have one filter for each channel
    consumers: tuple[tuple[str, int], ...]  # what reads the channels


def groups(model: nn.Module) -> list[Group]:
    """Return the groups of channels that may be removed, in the order of the forward pass.

    A layer that is called twice, shares a parameter, or has one read outside its own call belongs to none. The input of
    a BatchNorm1d after a Linear is taken to have two axes, (n, features). ValueError when torch.fx cannot read it.
    """
    try:
        nodes = fx.Tracer().trace(model).nodes
    except Exception as error:
        got = str(error).strip().partition("\n")[0]
        advice = "write its forward pass without branches on values"
        raise ValueError(f"model must be readable by torch.fx, got {got!r}; {advice}") from error
    modules = dict(model.named_modules())
    calls = Counter(node.target for node in nodes if node.op == "call_module")
    read = {str(node.target).rpartition(".")[0] for node in nodes if node.op == "get_attr"}
    owners = Counter(id(p) for module in modules.values() for p in module._parameters.values())
    alone = {
        name: module
        for name, module in modules.items()
        if type(module) in _LAYERS and "weight" in module._parameters and calls[name] == 1 and name not in read
        if all(p is None or owners[id(p)] == 1 for p in module._parameters.values())
    }
    starts = [n for n in nodes if n.op == "call_module" and isinstance(alone.get(n.target), nn.Conv2d | nn.Linear)]
    return [group for node in starts if (group := _follow(node, modules, alone))]


def rows(model: nn.Module, group: Group) -> dict[str, Tensor]:
    """Return by name the live parameters and running statistics whose first axis is the group's channels."""
    state, owners = model.state_dict(), (group.producer, *group.norms, *group.depthwise)
    names = [f"{owner}.{kind}" for owner in owners for kind in ("weight", "bias", "running_mean", "running_var")]
    return {name: state[name] for name in names if name in state}


def columns(weight: Tensor, channels: int) -> Tensor:
    """Return a consumer's weight as (outputs, channels, entries): what reads channel j is `[:, j]`."""
    return weight.reshape(len(weight), channels, -1)


def element_masks(model: nn.Module, kept: Mapping[Group, Tensor]) -> dict[str, Tensor]:
    """Return masks by name of the `rows` of groups and the weights that read them, False where a channel is not kept.

    `kept` has a bool tensor of shape (channels,) for each group.
    """
    masks: dict[str, Tensor] = {}
    state = model.state_dict()
    for group, mask in kept.items():
        parts = [(name, mask, 0) for name in rows(model, group)]
        parts += [(f"{name}.weight", mask.repeat_interleave(per), 1) for name, per in group.consumers]
        for name, part, axis in parts:
            masks.setdefault(name, torch.ones_like(state[name], dtype=torch.bool))
            masks[name].transpose(axis, -1).logical_and_(part)  # the last axis is the one that broadcasts
    return masks


def _follow(start: fx.Node, modules: dict[str, nn.Module], alone: dict[str, Any]) -> Group | None:
    """Return the group of a producer's call, or None when its channels must stay."""
    producer = alone[str(start.target)]
    channels, on_maps = len(producer.weight), isinstance(producer, nn.Conv2d)
    norms, depthwise, consumers = [], [], []
    queue = [(start, on_maps)] if getattr(producer, "groups", 1) == 1 else []
    for node, maps in queue:  # on maps (n, c, h, w) channels are axis 1, else the last axis
        norm, reader = (nn.BatchNorm2d, nn.Conv2d) if maps else (nn.BatchNorm1d, nn.Linear)
        for user in node.users:
            target, module = str(user.target), modules[str(user.target)] if user.op == "call_module" else None
            called = type(module) if module else user.target
            name = str(getattr(called, "__name__", called)).lower().replace("_", "")
            layer, flattens = alone.get(target) if module else None, maps and _flattens(user, name, module)
            lengths = {_axis(n) for n in (user.users if _axis(user) is None else [user])}
            if any(other is not node and _axis(other) is None for other in user.all_input_nodes):
                return None
            if isinstance(layer, reader) and getattr(layer, "groups", 1) == 1:
                consumers.append((target, 1 if maps else layer.weight.shape[1] // channels))
            elif name not in ("size", "getattr") or not lengths <= ({0, 2, 3} if maps else {0}):
                queue.append((user, maps and not flattens))
                if isinstance(layer, norm) and layer.num_features == channels:
                    norms.append(target)
                elif maps and isinstance(layer, nn.Conv2d) and layer.groups == layer.out_channels == channels:
                    depthwise.append(target)
                elif name not in _POINTWISE and not (maps and name in _ON_MAPS) and not flattens:
                    return None
    return Group(str(start.target), tuple(norms), tuple(depthwise), tuple(consumers)) if consumers else None


def _axis(node: fx.Node) -> int | None:
    """Return the axis whose length a node is: i of x.size(i), x.size()[i] and x.shape[i]; None for all else."""
    match (node.target, *node.args):
        case ["size", _, int(i)] | [operator.getitem, fx.Node(target="size") | fx.Node(args=(_, "shape")), int(i)]:
            return i
    return None


def _flattens(node: fx.Node, name: str, module: Any) -> bool:
    """Whether a node turns maps (n, c, h, w) into (n, c h w), or into their means (n, c)."""
    values = [module.start_dim, module.end_dim] if name == "flatten" and module else node.args[1:]
    match name, *values, *node.kwargs.values():
        case ("view" | "reshape", fx.Node() as n, -1) | ("view" | "reshape", (fx.Node() as n, -1)):
            return _axis(n) == 0
        case ("flatten", 1) | ("flatten", 1, -1):
            return True
        case ("mean", [*axes]) | ("mean", *axes):
            return axes in ([2, 3], [3, 2], [-2, -1], [-1, -2])
    return False
