"""DSR: selections and shares of plain python, invariants of Mostafa and Wang 2019, and what a run must hold."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from dynamic_support import (
    TRAININGS,
    Seen,
    assert_conserved,
    assert_exchange,
    assert_goes_on,
    assert_masks,
    assert_seed_decides,
    assert_trains,
    build,
    cases,
    floor,
    largest,
    layers,
    scatter,
    sizes,
    step,
)
from hypothesis import example, given
from hypothesis import strategies as st
from sparse_checks import network

from s2sam.sparse import dynamic
from s2sam.sparse.dynamic import DSR


def shares(total, weights, room):
    """min(room, level * weight) of that total, in exact fractions; rounded down, the largest remainders first up."""
    level = Fraction(0)
    for corner in sorted({Fraction(c, r) for c, r in zip(room, weights, strict=True)}):
        filled = sum(min(Fraction(c), corner * r) for c, r in zip(room, weights, strict=True))
        if filled >= total:
            break
        level = corner
    open_ = [i for i, (c, r) in enumerate(zip(room, weights, strict=True)) if Fraction(c, r) > level]
    rest = total - sum(c for i, c in enumerate(room) if i not in open_)
    exact = [Fraction(c) for c in room]
    for i in open_:
        exact[i] = Fraction(rest * weights[i], sum(weights[j] for j in open_))
    whole = [int(x) for x in exact]
    for i in sorted(range(len(room)), key=lambda i: (whole[i] - exact[i], i))[: total - sum(whole)]:
        whole[i] += 1
    return whole


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), min_size=1, max_size=5), st.floats(0, 1))
@example([(1, 0), (1, 9)], 1.0)
@example([(3, 9), (3, 9), (3, 9)], 0.4)  # 10 by threes: the first one gets the last
def test_shares_are_largest_remainders_within_the_room(pairs, part):
    kept, room = ([torch.arange(30) < pair[j] for pair in pairs] for j in (0, 1))
    total = int(part * sum(c for _, c in pairs))
    got = dynamic._shares(total, dict(enumerate(kept)), dict(enumerate(room)))
    assert [got[i] for i in range(len(pairs))] == shares(total, [r for r, _ in pairs], [c for _, c in pairs])
    assert sum(got.values()) == total


def expected(before, threshold):
    """Masks after an update, how many were dropped, and what was dropped and grown at once."""
    kept = {}
    for name in before.moving:
        w, on = sizes(before.w[name]), before.on[name]
        kept[name] = {i for i in on if w[i] >= threshold} or largest(w, on, 1)
    dropped = sum(len(before.on[name]) - len(k) for name, k in kept.items())
    free = {name: before.all[name] - before.on[name] for name in kept}
    if sum(map(len, free.values())) < dropped:
        free = {name: before.all[name] - k for name, k in kept.items()}
    grown = shares(dropped, [len(k) for k in kept.values()], [len(f) for f in free.values()]) if kept else []
    masks, renewed = dict(before.on), {}
    for (name, k), n in zip(kept.items(), grown, strict=True):
        new = largest(before.draws[name], free[name], n)
        masks[name], renewed[name] = k | new, new & before.on[name]
    return masks, dropped, renewed


def assert_update(case, threshold, seed, kind=DSR):
    shapes, options = case
    sparse = scatter(kind(layers(*shapes), total_steps=10, threshold=threshold, **options), seed)
    before = Seen(sparse)
    masks, dropped, renewed = expected(before, threshold)
    sparse.update()
    assert_masks(sparse, masks)
    assert_exchange(sparse, before, renewed)
    assert_conserved(sparse, before, scope="all")
    top = max((abs(x) for name in before.moving for x in before.w[name]), default=0.0)
    if dropped > 1.1 * sparse.target:
        assert sparse.threshold == threshold / 2
    elif dropped < 0.9 * sparse.target:
        assert sparse.threshold == max(threshold, min(2 * threshold, top))
    else:
        assert sparse.threshold == threshold


CASE = ([(9, 9), (4, 3, 3, 3), (7, 2)], {"sparsity": 0.5, "distribution": "erk", "dense_first": False, "seed": 3})
FULL = ([(9, 9), (3, 4)], CASE[1] | {"sparsity": 0.05, "distribution": "uniform"})


@given(cases(), st.sampled_from([2.0**-10, 0.125, 0.25, 0.375, 0.5, 1.0]), st.integers(0, 2**32))
@example(CASE, 0.25, 0)
@example(CASE, 1.0, 0)  # all weights are below: one stays in each layer
@example(FULL, 0.5, 0)  # less room than is dropped
@example(([(1, 1), (1, 1)], CASE[1]), 0.5, 0)
@example((CASE[0], CASE[1] | {"dense_first": True}), 0.25, 0)
def test_an_update_is_the_papers(case, threshold, seed):
    assert_update(case, threshold, seed)


def test_the_largest_weight_of_a_layer_stays_and_of_equals_the_first():
    sparse = scatter(DSR(layers((1, 8)), 0.5, "uniform", 10, threshold=9.0))
    on = sorted(Seen(sparse).on["0.weight"])
    values = torch.zeros(8)
    values[on] = torch.tensor([1.0, -3.0, 3.0, 2.0])
    sparse.model[0].weight.data.copy_(values)
    sparse.update()
    assert sparse.model[0].weight.flatten().nonzero().flatten().tolist() == [on[1]]
    assert sparse.nonzeros == 4


def test_a_layer_shrinks_when_it_loses_more_than_its_share():
    sparse = scatter(DSR(layers((10, 10), (10, 10)), 0.5, "uniform", 10, threshold=0.5))
    first, second = (layer.weight for layer in sparse.model)
    first.data.copy_(sparse.masks["0.weight"] * 1.0)
    second.data.copy_(sparse.masks["1.weight"] * 1.0)
    lost = largest([0.0] * 100, Seen(sparse).on["0.weight"], 20)
    first.data.view(-1)[sorted(lost)] = 0.25
    sparse.update()
    # 20 are dropped; 30 and 50 survive: shares of 7.5 and 12.5, of equal remainders the first is rounded up.
    assert [int(m.sum()) for m in sparse.masks.values()] == [38, 62]
    assert not Seen(sparse).on["0.weight"] & lost


def test_a_layer_without_room_leaves_its_share_to_the_others():
    sparse = scatter(DSR(layers((10, 10), (2, 5)), 0.5, "uniform", 10, threshold=0.5))
    masks = {"0.weight": torch.arange(100) < 46, "1.weight": torch.arange(10) < 9}  # one place is free in the second
    for name, mask in masks.items():
        sparse._set(name, mask.view(sparse.shapes[name]))
        w = torch.where(torch.arange(len(mask)) < 36, 1.0, 0.25) * mask
        sparse.weights[name].data.copy_(w.view(sparse.shapes[name]))
    sparse.update()
    # 10 are dropped in the first; by survivors 36 to 9 the second would get 2.
    assert [int(m.sum()) for m in sparse.masks.values()] == [45, 10]


def test_the_threshold_follows_the_number_dropped():
    sparse = scatter(DSR(layers((20, 10)), 0.5, "uniform", 10, threshold=0.5, target=20))
    mask = sparse.masks["0.weight"]
    for weak, after in [(0, 1.0), (17, 1.0), (18, 0.5), (22, 0.5), (23, 0.25), (99, 0.25)]:
        sparse.threshold = 0.5
        w = torch.where(mask.flatten().cumsum(0).view(20, 10) <= weak, 0.375, 1.0) * mask
        sparse.weights["0.weight"].data.copy_(w)
        sparse.update()
        assert sparse.threshold == after
    sparse.threshold = 0.75
    sparse.weights["0.weight"].data.copy_(mask * 1.25)
    for after in (1.25, 1.25):  # twice 0.75 is above the largest weight: that is where it stops
        sparse.update()
        assert sparse.threshold == after


def test_the_threshold_moves_by_powers_of_two_along_a_run():
    make = lambda model, seed: DSR(model, 0.8, total_steps=60, interval=1, threshold=1e-4, seed=seed)  # noqa: E731
    model, opt, sparse = build(make, "adam", "s2sam")(0)
    found = []
    for t in range(40):
        old = sparse.threshold
        step(model, opt, sparse, t)
        assert sparse.threshold in (old / 2, old, 2 * old)
        found.append(sparse.threshold)
        assert math.log2(sparse.threshold / 1e-4).is_integer()
    assert found[:5] == [1e-4 * 2**i for i in range(1, 6)]
    assert any(b < a for a, b in itertools.pairwise(found))


def test_a_weight_that_is_not_a_number_is_dropped():
    sparse = scatter(DSR(layers((9, 9)), 0.5, "uniform", 10, threshold=2.0**-10))
    i = min(Seen(sparse).on["0.weight"])
    sparse.model[0].weight.data.view(-1)[i] = math.nan
    before = Seen(sparse)
    with pytest.warns(RuntimeWarning, match="1 of .* scores are nan"):
        sparse.update()
    assert_masks(sparse, expected(before, 2.0**-10)[0])
    assert i not in Seen(sparse).on["0.weight"]
    assert sparse.model[0].weight.isfinite().all()


def test_all_dense_is_left_alone():
    sparse = scatter(DSR(layers((9, 9)), 0.0, total_steps=10))
    before = Seen(sparse)
    sparse.update()
    assert_exchange(sparse, before)
    assert sparse.threshold == 1e-3


def test_the_paper_is_uniform():
    sparse = DSR(network(), 0.9, dense_first=True, total_steps=100)
    assert sparse.budget == DSR(network(), 0.9, "uniform", 100, dense_first=True).budget
    moving = [k for name, k in sparse.budget.items() if k < sparse.weights[name].numel()]
    assert sparse.target == floor(0.13 * sum(moving))
    assert (sparse.end, sparse.threshold, sparse.tolerance) == (95, 1e-3, 0.1)
    assert DSR(layers((2, 2)), 0.5, total_steps=10).target == 1


@pytest.mark.parametrize(("base", "wrap"), TRAININGS)
def test_training(base, wrap):
    def make(model, seed):
        return DSR(model, 0.8, total_steps=10, interval=3, end_fraction=0.9, threshold=0.03, seed=seed)

    assert_trains(make, base, wrap, batches=11, changes=[2, 5])  # 9 is the end
    assert_goes_on(make, base, wrap, heads=[2, 4])


def test_the_seed_decides():
    assert_seed_decides(lambda m, seed: DSR(m, 0.8, total_steps=20, interval=2, threshold=0.1, seed=seed))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"total_steps": None}, "total_steps must be given, got None; give"),
        ({"threshold": 0.0}, "threshold must be finite and > 0, got 0.0; it adapts"),
        ({"target": 0}, "target must be >= 1, got 0; give"),
        ({"tolerance": 1.0}, r"tolerance must be in \[0, 1\), got 1.0; give"),
    ],
)
def test_a_refused_argument_leaves_the_model_alone(options, message):
    model = network()
    with pytest.raises(ValueError, match=message):
        DSR(model, **{"total_steps": 10} | options)
    assert not any("mask" in name for name, _ in model.named_buffers())


def by_what_was_there(total, kept, room):
    """Shares in proportion to the weights before the drop, where they are a function of the room alone."""
    return right_shares(total, {name: ~mask for name, mask in room.items()}, room)


def spares_the_first(score, among, k):
    """Keeps the first entry of a layer that would be emptied, as the authors' code does."""
    chosen = right_highest(score, among, k)
    if k == 1 and score.dtype is torch.float32:
        chosen = torch.zeros_like(among).flatten()
        chosen[int(among.flatten().nonzero()[0])] = True
        chosen = chosen.view_as(among)
    return chosen


right_shares, right_highest = dynamic._shares, dynamic.highest


@pytest.mark.parametrize(("name", "mutant"), [("_shares", by_what_was_there), ("highest", spares_the_first)])
def test_mutants_are_caught(monkeypatch, name, mutant):
    case, threshold = (CASE, 0.25) if name == "_shares" else (CASE, 1.0)
    assert_update(case, threshold, 0)
    monkeypatch.setattr(dynamic, name, mutant)
    with pytest.raises(AssertionError):
        assert_update(case, threshold, 0)


class InclusiveThreshold(DSR):
    """Drops what is equal to the threshold too."""

    def _update(self, gradients):
        self.threshold += 2.0**-20
        super()._update(gradients)
        self.threshold -= 2.0**-20


class AnywhereAtOnce(DSR):
    """Grows in places just emptied although there is room elsewhere."""

    def _regrow(self, name, kept, k, among=None):
        return super()._regrow(name, kept, k)


@pytest.mark.parametrize("mutant", [InclusiveThreshold, AnywhereAtOnce])
def test_mutant_methods_are_caught(mutant):
    with pytest.raises(AssertionError):
        assert_update(CASE, 0.25, 0, mutant)
