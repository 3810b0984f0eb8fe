"""Every sparse-training method: how to build and prepare it, and which numbers of non-zeros it promises."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from sparse_checks import WEIGHTS, batch, network, train_step
from torch import nn

from s2sam.sparse import CHEX, DSR, LRR, MEST, SET, SNIP, Chase, GraSP, LotteryTicket, RandomMask, RigL
from s2sam.sparse.distributions import ones

STEPS = 24  # of a whole training in these tests


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        kind: the class. family: static, iterative, dynamic or structured. options: of the class.
        promise: (controller, step of its last update or None) -> what its counts must be: by layer, or the whole
            number of all, or a range for that.
        idle: options at which an update changes nothing. renews: whether an entry that is dropped and grown in one
            update starts anew. dense: whether layers can be declared dense.
    """

    kind: Any
    family: str
    promise: Callable[[Any, int | None], Any]
    options: dict[str, Any] = field(default_factory=dict)
    idle: dict[str, Any] | None = None
    renews: bool = False
    dense: bool = True


def by_layer(sparse, updated):
    return sparse.budget


def by_distribution(sparse, updated):
    return sum(sparse.budget.values())


def of_all(sparse, updated):
    return ones(sparse.sparsity, size(sparse))


def size(sparse):
    return sum(math.prod(s) for s in sparse.shapes.values())


def of_the_round(sparse, updated):
    """What is left after `sparse.round` cuts of a fifth, the last one down to the target."""
    left, target = size(sparse), of_all(sparse, None)
    for _ in range(sparse.round):
        left = max(left - math.floor(sparse.fraction * left + 1e-6), target)
    return left


def of_the_stage(sparse, updated):
    """MEST's soft bound: each layer trains ones(S - mu) weights, mu that of the last update."""
    mu = sparse.mutation[max(start for start in sparse.mutation if start * sparse.total_steps <= (updated or 0) + 1e-6)]
    sizes = {n: math.prod(s) for n, s in sparse.shapes.items()}
    return {n: k if k == sizes[n] else ones(1 - k / sizes[n] - mu, sizes[n]) for n, k in sparse.budget.items()}


def of_channels(sparse, updated):
    """CHEX on the network here: 6 channels of conv2, of which ones(S - delta) stay, at least one; all else is dense."""
    share = max(0.0, sparse.sparsity - (sparse.delta0 if updated is None else sparse.regrowth(updated)))
    alive = max(1, ones(share, 6))
    assert list(sparse.alive) == ["conv2"]
    return {n: math.prod(s) * alive // 6 if n in ("conv2.weight", "conv3.weight") else math.prod(s) for n, s in SHAPES}


def within_the_soft_bound(sparse, updated):
    """Chase: never more than the budget and the soft bound together; removed channels take theirs along."""
    return range(1, sum(sparse.budget.values()) + math.floor(sparse.delta0 * size(sparse) + 1e-6) + 1)


SHAPES = [(n, tuple(p.shape)) for n, p in network().named_parameters() if n in WEIGHTS]
STILL, LATE = {"mutation": {0.0: 0.0}}, {"total_steps": 5, "rewind_step": 2}
AFTER, SOFT = {"interval": 3, "skip_step_on_update": False}, {"interval": 3, "soft": True}
WHOLE = {"dense": False}  # rankings of all layers know no dense ones
METHODS = {
    "random": Method(RandomMask, "static", by_layer),
    "snip": Method(SNIP, "static", of_all, **WHOLE),
    "snip-layers": Method(SNIP, "static", by_layer, {"distribution": "erk"}),
    "grasp": Method(GraSP, "static", of_all, **WHOLE),
    "grasp-layers": Method(GraSP, "static", by_layer, {"distribution": "uniform"}),
    "lrr": Method(LRR, "iterative", of_the_round, {"total_steps": 4}, **WHOLE),
    "lottery": Method(LotteryTicket, "iterative", of_the_round, {"total_steps": 4}, **WHOLE),
    "lottery-late": Method(LotteryTicket, "iterative", of_the_round, LATE, **WHOLE),
    "set": Method(SET, "dynamic", by_layer, {"interval": 3}, {"alpha": 0.0}, renews=True),
    "dsr": Method(DSR, "dynamic", by_distribution, {"interval": 3, "threshold": 0.02}, renews=True),
    "rigl": Method(RigL, "dynamic", by_layer, {"interval": 3}, {"alpha": 0.0}),
    "rigl-after": Method(RigL, "dynamic", by_layer, AFTER, {"alpha": 0.0}),
    "mest": Method(MEST, "dynamic", by_layer, {"interval": 3, "lam": 0.1}, STILL, renews=True),
    "mest-soft": Method(MEST, "dynamic", of_the_stage, SOFT, STILL, renews=True),
    "chex": Method(CHEX, "structured", of_channels, {"interval": 3}, **WHOLE),
    "chase": Method(Chase, "structured", within_the_soft_bound, {"interval": 3}, renews=True, dense=False),
}
METHODS = {
    name: Method(**{**vars(row), "options": {"total_steps": STEPS} | row.options}) for name, row in METHODS.items()
}


def of_family(*families):
    return [name for name, row in METHODS.items() if row.family in families]


def build(name, model, sparsity=0.8, **options):
    """The method of that name on a model, not yet prepared."""
    return METHODS[name].kind(model, sparsity, **METHODS[name].options | options)


def prepared(name, model, sparsity=0.8, **options):
    """The method of that name, its masks chosen."""
    sparse = build(name, model, sparsity, **options)
    sparse.prepare(model, [batch(-1), batch(-2)], nn.functional.cross_entropy)
    return sparse


def advanced(name, model, sparsity=0.8, **options):
    """The method of that name with masks that are not all True: iterative methods have made a cut."""
    sparse = prepared(name, model, sparsity, **options)
    if METHODS[name].family == "iterative":
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        sparse.attach(opt)
        for t in range(sparse.total_steps):
            train_step(model, opt, t)
        assert sparse.next_round()
        sparse.detach()
    return sparse


def assert_promise(name, sparse, updated=None):
    """The counts of non-zeros are those that the method promises after an update at step `updated`."""
    expected = METHODS[name].promise(sparse, updated)
    found = {n: int(sparse.masks[n].sum()) for n in sparse.shapes}
    total = sum(found.values())
    if isinstance(expected, range):
        assert total in expected, f"{name} keeps {total}, not one of {expected}"
    elif isinstance(expected, int):
        assert total == expected, f"{name} keeps {total}, not {expected}"
    else:
        assert found == expected, f"{name} keeps {found}, not {expected}"
    assert sparse.nonzeros == total
