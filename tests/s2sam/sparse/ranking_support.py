"""Oracles of a ranking: python's `sorted` with the key (score, layer, index); losses that see the weights alone."""

import threading

import torch
from hypothesis import strategies as st
from torch import nn

from s2sam.sparse.distributions import ones


def active(masks):
    """What masks keep: a set of (layer, flat index)."""
    for mask in masks.values():
        assert mask.dtype is torch.bool
    return {(layer, i) for layer, m in enumerate(masks.values()) for i, on in enumerate(m.flatten().tolist()) if on}


def best(scores, kept, k, least=0):
    """Of `kept`, first the `least` best of each layer, then the best of all, k together; of equals the first.

    Args:
        scores: list of flat lists of numbers, one a layer. kept: set of (layer, index). k: how many in all.
    """
    ranked = sorted(kept, key=lambda entry: (-scores[entry[0]][entry[1]], entry))
    chosen = set()
    for layer in range(len(scores)):
        chosen |= set([entry for entry in ranked if entry[0] == layer][:least])
    for entry in ranked:
        if len(chosen) < k:
            chosen.add(entry)
    return chosen


def expected(sparse, scores, least=0):
    """What a controller must keep by scores: all layers ranked together, or each by its budget."""
    flat = [s.ravel().tolist() for s in scores]
    entries = {(layer, i) for layer, s in enumerate(flat) for i in range(len(s))}
    if sparse.budget is None:
        return best(flat, entries, ones(sparse.sparsity, len(entries)), least)
    chosen = set()
    for layer, k in enumerate(sparse.budget.values()):
        chosen |= best(flat, {entry for entry in entries if entry[0] == layer}, k, least)
    return chosen


class Weights(nn.Module):
    """A network whose output is its weights, flat: any function of the weights is then a loss."""

    def __init__(self, *weights):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(w.shape[1], w.shape[0], bias=False, dtype=w.dtype) for w in weights)
        for layer, w in zip(self.layers, weights, strict=True):
            layer.weight.data.copy_(w)

    def forward(self, x):
        del x
        return torch.cat([layer.weight.flatten() for layer in self.layers])


@st.composite
def integer_layers(draw, largest=3):
    """Float64 matrices of small integers, so that ties are the rule and all arithmetic is exact."""
    shapes = draw(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=3))
    numbers = st.integers(-largest, largest)
    return [torch.tensor([[float(draw(numbers)) for _ in range(c)] for _ in range(r)]).double() for r, c in shapes]


def in_two_processes(jobs, method, monkeypatch):
    """Run two jobs at once, their method's `_reduce` being the mean over the two, as in a distributed run."""
    barrier, slots, errors = threading.Barrier(2, timeout=30), [None, None], []

    def reduce(self, score):
        slots[self.rank] = score
        barrier.wait()
        mean = (slots[0] + slots[1]) / 2
        barrier.wait()
        return mean

    def run(job):
        try:
            job()
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    monkeypatch.setattr(method, "_reduce", reduce)
    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors


def scores_of(sparse, model, batches, loss_fn=nn.functional.cross_entropy):
    """The scores that `prepare` ranks."""
    seen = {}
    keep = sparse._keep
    sparse._keep = lambda scores, counts: (seen.update(scores), keep(scores, counts))
    sparse.prepare(model, batches, loss_fn)
    return seen
