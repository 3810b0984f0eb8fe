"""Layers with weights, gradients and momentum set by hand, plain-python selections, and the checks of a run."""

import math

import numpy as np
import torch
from hypothesis import strategies as st
from sparse_checks import BASES, WRAPS, assert_masked, assert_resumes, network, train_step
from torch import nn

SHAPES = ((1, 1), (1, 5), (3, 4), (7, 2), (4, 3, 3, 3), (6, 2, 1, 1), (9, 9))
TRAININGS = [("momentum", "bare"), ("adam", "bare"), ("nesterov", "s2sam"), ("adam", "s2sam"), ("momentum", "sam")]


def layers(*shapes):
    """Layers without biases whose weights have these shapes."""
    return nn.ModuleList(
        nn.Linear(s[1], s[0], bias=False) if len(s) == 2 else nn.Conv2d(s[1], s[0], s[2:], bias=False) for s in shapes
    )


def scatter(sparse, seed=0, levels=4):
    """Set weights and gradients to multiples of 1/8, so that ties and zeros are many, and momentum to anything."""
    generator = torch.Generator().manual_seed(seed)
    sparse.attach(torch.optim.SGD(sparse.weights.values(), lr=0.1, momentum=0.9))
    for name, w in sparse.weights.items():
        values, gradient = torch.randint(-levels, levels + 1, (2, *w.shape), generator=generator) / 8
        w.data.copy_(values * sparse.masks[name])
        w.grad = gradient
        slot = torch.rand(w.shape, generator=generator) + 1.0
        sparse.optimizer.state[w]["momentum_buffer"] = slot * sparse.masks[name]
    return sparse


def numbers(tensors):
    return {name: t.detach().double().flatten().tolist() for name, t in tensors.items()}


class Seen:
    """Weights, masks (as sets of indices), gradients and momentum of a moment, as plain lists by layer."""

    def __init__(self, sparse):
        weights = sparse.weights
        self.w, self.g = numbers(weights), numbers({name: w.grad for name, w in weights.items()})
        self.slots = numbers({name: sparse.optimizer.state[w]["momentum_buffer"] for name, w in weights.items()})
        self.on = {name: {i for i, on in enumerate(m) if on} for name, m in numbers(sparse.masks).items()}
        self.all = {name: set(range(len(w))) for name, w in self.w.items()}
        self.moving = [name for name in self.w if sparse.budget[name] < len(self.w[name])]
        generator = torch.Generator()
        generator.set_state(sparse.generator.get_state())
        self.draws = {}  # what the next update draws: a number for each entry, layer by layer
        for name in self.moving:
            draw = torch.rand(weights[name].shape, generator=generator, dtype=torch.float64)
            self.draws[name] = draw.flatten().tolist()


def _rank(x):
    return -math.inf if math.isnan(x) else x


def largest(score, among, k):
    """The k of largest score; of equals the first."""
    return set(sorted(among, key=lambda i: (-_rank(score[i]), i))[: max(k, 0)])


def smallest(score, among, k):
    """The k of smallest score; of equals the last."""
    return set(sorted(among, key=lambda i: (_rank(score[i]), -i))[: max(k, 0)])


def sizes(values):
    return [abs(x) for x in values]


def floor(x):
    """The count that a fraction stands for: 100 * 0.29 = 28.999... is 29."""
    return int(np.floor(x + 1e-6))


def assert_masks(sparse, expected):
    for name, on in Seen(sparse).on.items():
        assert on == expected[name], f"{name} keeps {sorted(on)} instead of {sorted(expected[name])}"


def assert_exchange(sparse, before, renewed=None):
    """Weights that stay have every bit, with their momentum; new ones are 0, with theirs; so is what is not kept.

    Args:
        before: the state before. renewed: entries by layer, dropped and grown at once, that must start anew.
    """
    after = Seen(sparse)
    assert_masked(sparse.model, sparse.optimizer)
    for name in after.w:
        grown = after.on[name] - before.on[name] | (renewed or {}).get(name, set())
        for i in after.on[name]:
            assert after.w[name][i] == (0 if i in grown else before.w[name][i]), f"weight {i} of {name}"
            assert after.slots[name][i] == (0 if i in grown else before.slots[name][i]), f"momentum {i} of {name}"
        if name not in before.moving:
            assert after.on[name] == before.on[name] == after.all[name]


def assert_conserved(sparse, before, scope="layer"):
    """As many non-zeros as budgeted, in each layer or in all; drops and growths are disjoint and equal in number."""
    after = Seen(sparse)
    gone = {name: before.on[name] - on for name, on in after.on.items()}
    new = {name: on - before.on[name] for name, on in after.on.items()}
    assert sum(map(len, gone.values())) == sum(map(len, new.values()))
    for name, on in after.on.items():
        assert not gone[name] & new[name]
        assert on, f"{name} was emptied"
        if scope == "layer":
            assert len(gone[name]) == len(new[name])
            assert len(on) == sparse.budget[name]
    assert sum(map(len, after.on.values())) == sum(sparse.budget.values()) == sparse.nonzeros


@st.composite
def cases(draw):
    """Options of a controller on layers of any size: (shapes, options), dense and nearly dense layers among them."""
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))
    sparsity = draw(st.sampled_from([0.0, 0.05, 0.29, 0.5, 0.8, 0.9, 0.99]))
    distribution = draw(st.sampled_from(["uniform", "er", "erk", None]))
    first = draw(st.booleans())
    return shapes, {
        "sparsity": sparsity,
        "distribution": distribution,
        "dense_first": first,
        "seed": draw(st.integers(0, 2**32)),
    }


def build(make, base="momentum", wrap="bare"):
    """Return a function seed -> (model, optimizer, attached controller), for a run on the small network."""

    def parts(seed):
        model = network(seed)
        opt = WRAPS[wrap](BASES[base](model.parameters()))
        sparse = make(model, seed)
        sparse.attach(opt)
        return model, opt, sparse

    return parts


def step(model, opt, sparse, t):
    """One batch, in a closure."""
    return train_step(model, opt, t, "closure")


def assert_trains(make, base, wrap, batches, changes, nonzeros=None):
    """After each batch the pruned entries are 0 everywhere, biases are not masked, and masks change only when due.

    Args:
        make: (model, seed) -> controller. changes: batches (from 0) after which masks may differ.
        nonzeros: how many there must be after each batch; constant by default.
    """
    model, opt, sparse = build(make, base, wrap)(0)
    changed = []
    nonzeros = nonzeros or [sum(sparse.budget.values())] * batches
    for t in range(batches):
        old = {name: mask.clone() for name, mask in sparse.masks.items()}
        step(model, opt, sparse, t)
        assert_masked(model, opt)
        assert sparse.nonzeros == nonzeros[t], f"batch {t}"
        changed += [t] * any(not torch.equal(old[name], mask) for name, mask in sparse.masks.items())
    assert changed == list(changes)
    assert all((b != 0).all() for name, b in model.named_parameters() if name.endswith("fc1.bias"))


def assert_goes_on(make, base, wrap, heads):
    """A run broken off after any of these numbers of batches goes on bit for bit, in objects of other seeds."""
    for head in heads:
        assert_resumes(build(make, base, wrap), step, head=head, tail=7)


def path(make, seed, batches=8):
    """All masks along a run whose network is always the same."""
    model = network(0)
    opt, sparse = BASES["momentum"](model.parameters()), make(model, seed)
    sparse.attach(opt)
    found = []
    for t in range(batches):
        step(model, opt, sparse, t)
        found.append([mask.clone() for mask in sparse.masks.values()])
    return found


def assert_seed_decides(make, random=True):
    """The same seed gives the same masks whatever the global generator does, another seed others."""
    torch.manual_seed(1)
    first = path(make, 0)
    torch.manual_seed(2)
    again, other = path(make, 0), path(make, 1)
    same = [all(map(torch.equal, a, b)) for a, b in zip(first, again, strict=True)]
    assert all(same)
    if random:
        assert not any(all(map(torch.equal, a, b)) for a, b in zip(first, other, strict=True))
