"""Selection and exchange against brute force: python's `sorted` with the key that the module's docstring states."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from s2sam.sparse.select import drop_grow, highest, join, lowest, split

# Few values, so that ties are the rule; both zeros, both infinities, a subnormal.
values = st.sampled_from([-math.inf, -1.0, -0.0, 0.0, 5e-324, 0.5, 1.0, 1.5, math.inf])
with_nan = st.one_of(values, st.just(math.nan))


@st.composite
def problems(draw, score=values):
    """Two scores, a mask, a count that may be out of range, and a shape."""
    n = draw(st.integers(1, 24))
    column = st.lists(score, min_size=n, max_size=n)
    shape = draw(st.sampled_from([s for s in [(n,), (n, 1), (2, n // 2), (n // 4, 2, 2, 1)] if math.prod(s) == n]))
    return draw(column), draw(column), draw(st.lists(st.booleans(), min_size=n, max_size=n)), draw(k_of(n)), shape


def k_of(n):
    return st.integers(-1, n + 2)


def key(score, descending):
    """Python's order: nan is the smallest."""
    value = -math.inf if math.isnan(score) else score
    return -value if descending else value


def best(score, candidates, k):
    """The k candidates of highest score, the first of equals first."""
    return set(sorted(candidates, key=lambda i: (key(score[i], True), candidates.index(i)))[: max(k, 0)])


def exchanged(active, drop, growth, k, regrow, min_keep):
    """The exchange by the definition, on sets of indices; returns what is active then and what was dropped."""
    on = [i for i, a in enumerate(active) if a]
    off = [i for i, a in enumerate(active) if not a]
    k = min(k, len(on) - min_keep, len(on) if regrow else len(off))
    if k <= 0 or not off:
        return set(on), set()
    gone = set(sorted(on, key=lambda i: (key(drop[i], False), -i))[:k])
    candidates = sorted(gone) + off if regrow else off
    return set(on) - gone | best(growth, candidates, k), gone


def tensors(shape, *columns):
    return [torch.tensor(c, dtype=torch.bool if isinstance(c[0], bool) else torch.float64).view(shape) for c in columns]


def indices(mask):
    assert mask.dtype is torch.bool
    return set(np.flatnonzero(mask.numpy()).tolist())


def assert_selects(problem, highest=highest, lowest=lowest):
    score, _, among, k, shape = problem
    s, a = tensors(shape, score, among)
    candidates = [i for i, x in enumerate(among) if x]
    kept = highest(s, a, k)
    assert kept.shape == shape
    assert indices(kept) == best(score, candidates, k)
    gone = lowest(s, a, k)
    assert indices(gone) == set(sorted(candidates, key=lambda i: (key(score[i], False), -i))[: max(k, 0)])
    assert indices(gone) == set(candidates) - indices(highest(s, a, len(candidates) - max(k, 0)))


@given(problem=problems())
@example(problem=([1.0] * 4, [0.0] * 4, [True] * 4, 2, (2, 2)))
def test_selection_is_that_of_sorted(problem):
    assert_selects(problem)


@given(problem=problems(with_nan))
def test_what_is_not_a_number_ranks_last(problem):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert_selects(problem)


def test_a_threshold_is_caught():
    def above(score, among, k):
        ranked = score[among].sort(descending=True).values
        return among & (score > ranked[k]) if 0 <= k < len(ranked) else among if k > 0 else torch.zeros_like(among)

    def reached(score, among, k):
        ranked = score[among].sort(descending=True).values
        return among & (score >= ranked[k - 1]) if 0 < k <= len(ranked) else among if k > 0 else torch.zeros_like(among)

    distinct = ([3.0, 1.0, 2.0], [0.0] * 3, [True] * 3, 2, (3,))
    ties = ([1.0, 1.0, 1.0, 0.0], [0.0] * 4, [True] * 4, 2, (2, 2))
    for wrong in (above, reached):
        s, a = tensors((3,), distinct[0], distinct[2])
        assert indices(wrong(s, a, 2)) == {0, 2}  # right where all scores differ
        with pytest.raises(AssertionError):
            assert_selects(ties, wrong, lambda s, a, k, wrong=wrong: a & ~wrong(s, a, int(a.sum()) - k))


def test_an_unstable_order_is_caught():
    def last_first(score, among, k):
        return highest(score.flip(0), among.flip(0), k).flip(0)

    with pytest.raises(AssertionError):
        assert_selects(([1.0, 1.0], [0.0, 0.0], [True, True], 1, (2,)), last_first)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64])
def test_scores_of_any_type(dtype):
    score = torch.tensor([2, 0, 2, 1], dtype=dtype)
    assert indices(highest(score, torch.ones(4, dtype=torch.bool), 3)) == {0, 2, 3}
    assert indices(lowest(score, torch.ones(4, dtype=torch.bool), 3)) == {1, 2, 3}


def test_scores_that_do_not_lie_one_after_the_other():
    score, among = torch.arange(6.0).view(2, 3).T, torch.ones(3, 2, dtype=torch.bool)
    assert highest(score, among, 2).tolist() == [[False, False], [False, True], [False, True]]
    assert indices(highest(score, among.T.contiguous().T, 2)) == {3, 5}


@pytest.mark.parametrize("function", [highest, lowest])
def test_a_warning_counts_what_is_not_a_number(function):
    score, among = torch.tensor([1.0, math.nan, math.nan, 2.0]), torch.tensor([True, True, False, True])
    with pytest.warns(RuntimeWarning, match=r"^1 of 3 scores are nan; they rank last$"):
        found = function(score, among, 1)
    assert indices(found) == ({3} if function is highest else {1})
    finite = torch.tensor([True, False, False, True])
    assert indices(function(score, finite, 1)) == ({3} if function is highest else {0})  # and no warning


def assert_exchanges(problem, regrow, min_keep, exchange=drop_grow):
    """The exchange is the brute-force one; counts, disjointness, optimality are checked by themselves."""
    drop, growth, active, k, shape = problem
    d, g, a = tensors(shape, drop, growth, active)
    before = a.clone()
    after = exchange(a, d, g, k, regrow=regrow, min_keep=min_keep)
    assert torch.equal(a, before)
    expected, gone = exchanged(active, drop, growth, k, regrow, min_keep)
    assert indices(after) == expected
    old, new = indices(before), indices(after)
    assert len(new) == len(old)
    assert len(old - new) == len(new - old) <= max(k, 0)
    assert not (old - new) & (new - old)
    assert old - new <= gone
    if gone:
        assert len(old - gone) >= min_keep
    if not regrow:
        assert old - new == gone
    assert k > 0 or after is a


@given(problem=problems(), regrow=st.booleans(), min_keep=st.integers(0, 3))
@example(problem=([1.0, 2.0, 0.0], [0.0] * 3, [True, True, False], 2, (3,)), regrow=True, min_keep=0)
@example(problem=([1.0], [0.0], [True], 1, (1,)), regrow=True, min_keep=0)  # nowhere to grow
def test_an_exchange_is_that_of_the_definition(problem, regrow, min_keep):
    assert_exchanges(problem, regrow, min_keep)


@given(problem=problems(with_nan), regrow=st.booleans())
def test_an_exchange_with_what_is_not_a_number(problem, regrow):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert_exchanges(problem, regrow, 1)


@given(problem=problems(), value=values)
def test_growth_scores_that_are_all_equal_change_nothing_where_the_dropped_may_come_back(problem, value):
    drop, _, active, k, shape = problem
    d, a = tensors(shape, drop, active)
    assert torch.equal(drop_grow(a, d, torch.full(shape, value, dtype=torch.float64), k, regrow=True), a)


def test_wrong_exchanges_are_caught():
    def loses(a, d, g, k, regrow, min_keep):  # the count is clipped after the drop
        gone = lowest(d, a, min(k, int(a.sum()) - min_keep))
        return a & ~gone | highest(g, ~a, k)

    def refills(a, d, g, k, regrow, min_keep):  # the dropped may come back where they must not
        return drop_grow(a, d, g, k, regrow=True, min_keep=min_keep)

    def empties(a, d, g, k, regrow, min_keep):
        return drop_grow(a, d, g, k, regrow=regrow, min_keep=0)

    cases = {
        loses: ([1.0, 2.0, 3.0, 0.0], [0.0] * 4, [True, True, True, False], 2, (4,)),
        refills: ([1.0, 2.0, 0.0], [9.0, 0.0, 1.0], [True, True, False], 1, (3,)),
        empties: ([1.0, 0.0], [0.0, 1.0], [True, False], 1, (2,)),
    }
    for wrong, problem in cases.items():
        with pytest.raises(AssertionError):
            assert_exchanges(problem, False, 1, wrong)
    assert_exchanges(cases[loses], False, 1)


@given(data=st.data(), layers=st.lists(st.integers(1, 6), min_size=1, max_size=4), k=st.integers(0, 24))
def test_layers_joined_are_ranked_in_their_order_and_split_again(data, layers, k):
    scores = {f"z{-i}": data.draw(st.lists(values, min_size=n, max_size=n)) for i, n in enumerate(layers)}
    like = {name: torch.tensor(c, dtype=torch.float64).view(-1, 1) for name, c in scores.items()}
    flat = join(like)
    chosen = split(highest(flat, torch.ones_like(flat, dtype=torch.bool), k), like)
    entries = [(layer, name, i) for layer, name in enumerate(scores) for i in range(len(scores[name]))]
    order = sorted(entries, key=lambda e: (key(scores[e[1]][e[2]], True), e[0], e[2]))
    assert list(chosen) == list(scores)
    assert {(name, i) for name, mask in chosen.items() for i in indices(mask)} == {(n, i) for _, n, i in order[:k]}
    assert all(chosen[name].shape == like[name].shape for name in like)
    assert all(torch.equal(part, like[name]) for name, part in split(flat, like).items())


def test_join_leaves_the_graph():
    w = torch.ones(2, 2, requires_grad=True)
    assert not join({"w": w}).requires_grad
