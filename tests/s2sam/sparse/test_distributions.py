"""Densities of layers and whole counts: worked values, the invariants of water-filling, and an oracle by bisection."""

import math
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s2sam.sparse.distributions import budgets, check_sparsity, count, erdos_renyi, erk, ones, uniform
from validation import models

FOUR = {"a": (8, 3, 3, 3), "b": (16, 8, 3, 3), "c": (32, 16, 3, 3), "d": (10, 32)}
RULES = {
    "uniform": (uniform, lambda s: 1.0),
    "er": (erdos_renyi, lambda s: (s[0] + s[1]) / (s[0] * s[1])),
    "erk": (erk, lambda s: sum(s) / math.prod(s)),
    "half": (lambda *args, **kw: erk(*args, **kw, power=0.5), lambda s: (sum(s) / math.prod(s)) ** 0.5),
}
CLOSE = 1e-9  # a bisection of doubles ends within 1e-15, sums of 6 layers add less; the invariant is asked to 1e-9

sides = st.integers(1, 40)
kernels = st.integers(1, 5)
layer = st.tuples(sides, sides) | st.tuples(sides, sides, kernels, kernels)
nets = st.lists(layer, min_size=1, max_size=6).map(lambda found: {f"l{i}": shape for i, shape in enumerate(found)})
sparsities = st.floats(0, 1, exclude_max=True) | st.sampled_from([0.0, 1e-16, 1e-13, 0.5, 0.9, 1 - 1e-6, 1 - 2**-53])


def filled(raw, sizes, total):
    """Return min(1, eps raw) with the eps found by bisection of the one monotone equation sum = total."""
    low, high = 0.0, 2 / min(raw.values())
    for _ in range(200):
        eps = (low + high) / 2
        reached = math.fsum(min(1.0, eps * raw[k]) * sizes[k] for k in raw)
        low, high = (eps, high) if reached < total else (low, eps)
    return {k: min(1.0, high * raw[k]) for k in raw}


def assert_is_water_filling(densities, shapes, raw, sparsity):
    """The budget is met, no layer exceeds 1, the free ones share one factor, and the oracle agrees."""
    sizes = {k: math.prod(s) for k, s in shapes.items()}
    total = (1 - sparsity) * sum(sizes.values())
    assert all(0 < d <= 1 for d in densities.values())
    assert math.fsum(densities[k] * sizes[k] for k in shapes) == pytest.approx(total, rel=CLOSE)
    factors = [densities[k] / raw[k] for k in shapes if densities[k] < 1]
    assert not factors or max(factors) == pytest.approx(min(factors), rel=CLOSE)
    assert all(1 / raw[k] <= factors[0] * (1 + CLOSE) for k in shapes if densities[k] == 1 and factors)
    expected = filled(raw, sizes, total)
    assert densities == pytest.approx(expected, rel=CLOSE)


@pytest.mark.parametrize("rule", RULES)
@given(shapes=nets, sparsity=sparsities)
@example(shapes=FOUR, sparsity=0.5)
@example(shapes={"a": (2, 2), "b": (2, 2, 1, 1), "c": (30, 30)}, sparsity=0.9)  # two layers are filled in one round
@example(shapes={"a": (1, 1)}, sparsity=0.999)
def test_densities_fill_the_budget(rule, shapes, sparsity):
    function, score = RULES[rule]
    raw = {k: score(s) for k, s in shapes.items()}
    assert_is_water_filling(function(shapes, sparsity), shapes, raw, sparsity)


def test_the_check_of_water_filling_catches_what_is_not():
    raw = {k: sum(s) / math.prod(s) for k, s in FOUR.items()}
    clipped = {k: min(1.0, 0.5 * 6296 / sum(sum(s) for s in FOUR.values()) * raw[k]) for k in FOUR}  # never re-shared
    floored = {k: math.floor(d * math.prod(FOUR[k])) / math.prod(FOUR[k]) for k, d in erk(FOUR, 0.5).items()}
    one_round = {k: 1.0 if k == "d" else d for k, d in erk({k: FOUR[k] for k in "abc"}, 0.5).items() | {("d", 1.0)}}
    for wrong in (clipped, floored, one_round, erdos_renyi(FOUR, 0.5), erk(FOUR, 0.51)):
        with pytest.raises(AssertionError):
            assert_is_water_filling(wrong, FOUR, raw, 0.5)


@pytest.mark.parametrize(
    ("rule", "sparsity", "expected"),
    [  # six digits, worked out once from the definition
        (erk, 0.5, (1, 0.809772, 0.364397, 1)),
        (erk, 0.8, (0.731867, 0.242162, 0.108973, 1)),
        (erk, 0.9, (0.346516, 0.114656, 0.051595, 0.577867)),
        (erdos_renyi, 0.5, (1, 0.796739, 0.398370, 0.557717)),
        (erdos_renyi, 0.9, (0.365737, 0.149620, 0.074810, 0.104734)),
    ],
)
def test_densities_of_four_layers(rule, sparsity, expected):
    found = rule(FOUR, sparsity)
    assert list(found) == list(FOUR)
    assert list(found.values()) == pytest.approx(expected, abs=5.1e-7)  # half a unit of the sixth digit


def resnet32():
    """The double-width ResNet-32 of the pruning literature, 1x1 projections, 10 classes."""
    net = models.ResNet(32)
    return {n: tuple(p.shape) for n, p in net.named_parameters() if p.ndim in (2, 4)}


def test_densities_of_resnet32():
    shapes = resnet32()
    sizes = {n: math.prod(s) for n, s in shapes.items()}
    blocks = [n for n in shapes if shapes[n][2:] == (3, 3) and shapes[n][1] != 3]
    assert (len(shapes), sum(sizes.values())) == (34, 1_855_584)
    assert (len(blocks), sum(sizes[n] for n in blocks)) == (30, 1_843_200)
    found = erk(shapes, 0.9)
    factor = {round(found[n] * sizes[n] / sum(shapes[n]), 6) for n in shapes if found[n] < 1}
    assert factor == {38.118201}
    by_shape = {shapes[n]: round(found[n], 6) for n in shapes}
    assert by_shape == {
        (32, 3, 3, 3): 1,
        (32, 32, 3, 3): 0.289526,
        (64, 32, 1, 1): 1,
        (64, 32, 3, 3): 0.210941,
        (64, 64, 3, 3): 0.138559,
        (128, 64, 1, 1): 0.902702,
        (128, 64, 3, 3): 0.102368,
        (128, 128, 3, 3): 0.067728,
        (10, 128): 1,
    }
    whole = uniform(shapes, 0.9, dense=[n for n in shapes if n not in blocks])
    assert sum(whole[n] * sizes[n] for n in shapes) / 1_855_584 == pytest.approx(0.106007, abs=5.1e-7)
    assert sum(budgets(shapes, found).values()) == 1_855_584 - 1_670_025


@pytest.mark.parametrize("rule", RULES)
@given(shapes=nets, pair=st.tuples(sparsities, sparsities))
def test_no_layer_grows_as_the_whole_gets_sparser(rule, shapes, pair):
    function, score = RULES[rule]
    dense, sparse = (function(shapes, s) for s in sorted(pair))
    assert all(sparse[k] <= dense[k] * (1 + CLOSE) for k in shapes)
    order = sorted(shapes, key=lambda k: score(shapes[k]))
    assert all(sparse[a] <= sparse[b] * (1 + CLOSE) for a, b in pairwise(order))


@given(shapes=nets, sparsity=sparsities)
def test_power_0_is_uniform_and_linear_layers_make_er_of_erk(shapes, sparsity):
    assert erk(shapes, sparsity, power=0) == pytest.approx(uniform(shapes, sparsity), rel=CLOSE)
    assert uniform(shapes, sparsity) == pytest.approx(dict.fromkeys(shapes, 1 - sparsity), rel=CLOSE)
    flat = {k: s[:2] for k, s in shapes.items()}
    assert erk(flat, sparsity) == erdos_renyi(flat, sparsity)


def test_at_sparsity_0_every_layer_is_dense():
    for function, _ in RULES.values():
        assert function(FOUR, 0.0) == dict.fromkeys(FOUR, 1.0)
        assert budgets(FOUR, function(FOUR, 0.0)) == {k: math.prod(s) for k, s in FOUR.items()}


@pytest.mark.parametrize("rule", RULES)
@given(shapes=nets, sparsity=sparsities, data=st.data())
def test_dense_layers_do_not_count_or_are_made_up_for(rule, shapes, sparsity, data):
    function, score = RULES[rule]
    chosen = data.draw(st.sets(st.sampled_from(sorted(shapes))))
    sizes = {k: math.prod(s) for k, s in shapes.items()}
    free = {k: s for k, s in shapes.items() if k not in chosen}
    found = function(shapes, sparsity, dense=sorted(chosen) * 2)  # named twice is named once
    assert all(found[k] == 1 for k in chosen)
    raw = {k: score(s) for k, s in free.items()}
    if free:
        assert_is_water_filling({k: found[k] for k in free}, free, raw, sparsity)
    room = (1 - sparsity) * sum(sizes.values()) - sum(sizes[k] for k in chosen)
    if free and room <= 0:
        with pytest.raises(ValueError, match=r"^dense layers must leave room at sparsity .*; drop compensate$"):
            function(shapes, sparsity, dense=chosen, compensate=True)
    elif free:
        found = function(shapes, sparsity, dense=sorted(chosen) * 2, compensate=True)
        assert all(found[k] == 1 for k in chosen)
        others = 1 - room / sum(sizes[k] for k in free)
        assert_is_water_filling({k: found[k] for k in free}, free, raw, others)


def test_counts_are_whole_where_floats_are_not():
    assert [count(100 * p / 100) for p in range(101)] == list(range(101))
    assert int(100 * 0.29) == 28  # what `count` is for
    assert count(100 * 0.29) == 29
    assert (ones(0.9, 100), ones(0.9, 101), ones(0.0, 7), ones(0.999, 10)) == (10, 11, 7, 1)
    assert [count(x) for x in (0.0, 0.4, 2.9999989, 2.9999995, 3.0, 3.5)] == [0, 0, 2, 3, 3, 3]


def assert_is_closest(kept, densities, sizes):
    """Among whole counts of that sum, at least one each, dense layers full, none is closer in the sum of squares.

    For a separable convex function that holds if no single entry is better placed elsewhere: moving one from layer a to
    b changes the sum of squares by 2 (1 - (kept_a - x_a) + (kept_b - x_b)). The guard of `count` shifts each by 1e-6.
    """
    exact = {k: densities[k] * sizes[k] for k in sizes}
    over = {k: kept[k] - exact[k] for k in kept}
    n = sum(sizes.values())
    target = n - math.floor(n - math.fsum(exact.values()) + 1e-6)
    givers = [k for k in kept if kept[k] > 1 and densities[k] < 1]
    takers = [k for k in kept if kept[k] < sizes[k]]
    assert all(1 <= kept[k] <= sizes[k] for k in kept)
    assert all(kept[k] == sizes[k] for k in kept if densities[k] == 1)
    assert sum(kept.values()) == target or (sum(kept.values()) > target and not givers)
    assert all(over[a] - over[b] <= 1 + 2e-6 for a in givers for b in takers)


@given(shapes=nets, data=st.data())
def test_budgets_are_exact(shapes, data):
    densities = {k: data.draw(st.floats(0, 1, exclude_min=True) | st.sampled_from([1.0, 0.5, 1e-9])) for k in shapes}
    sizes = {k: math.prod(s) for k, s in shapes.items()}
    assert_is_closest(budgets(shapes, densities), densities, sizes)


def test_budgets_that_are_not_the_closest_are_caught():
    sizes, densities = {"a": 15, "b": 35, "c": 25}, dict.fromkeys("abc", 0.1)  # shares of 1.5, 3.5, 2.5
    assert_is_closest({"a": 1, "b": 4, "c": 3}, densities, sizes)
    assert_is_closest({"a": 2, "b": 3, "c": 3}, densities, sizes)  # a tie
    for wrong in ({"a": 2, "b": 4, "c": 3}, {"a": 1, "b": 5, "c": 2}, {"a": 0, "b": 4, "c": 4}):
        with pytest.raises(AssertionError):
            assert_is_closest(wrong, densities, sizes)


@pytest.mark.parametrize("rule", RULES)
@given(shapes=nets, sparsity=sparsities)
@example(shapes=FOUR, sparsity=1 - 1e-9)  # less than one entry a layer: each keeps one
def test_budgets_of_a_distribution_are_those_of_the_whole(rule, shapes, sparsity):
    kept = budgets(shapes, RULES[rule][0](shapes, sparsity))
    n = sum(math.prod(s) for s in shapes.values())
    whole = n - math.floor(sparsity * n + 1e-6)
    assert sum(kept.values()) == whole or (sum(kept.values()) > whole and min(kept.values()) == 1)
    assert all(kept.values())


def test_budgets_where_one_round_of_giving_back_is_not_enough():
    """Five layers of 0.1 keep one each; the large one makes up for all of them, the dense one gives nothing."""
    shapes = {f"small{i}": (2, 5) for i in range(5)} | {"large": (100, 10), "dense": (4, 4)}
    densities = {k: 0.01 for k in shapes} | {"large": 0.1005, "dense": 1.0}
    kept = budgets(shapes, densities)
    assert kept == {f"small{i}": 1 for i in range(5)} | {"large": 96, "dense": 16}
    assert sum(kept.values()) == 117  # the share of all is 117.0


def test_a_sum_of_shares_just_above_whole_numbers_is_still_exact():
    """1 + 0.9e-6 and 1 + 0.9e-6: each alone is a 1 to `count`, their sum is beyond its guard."""
    x = (1 + 0.9e-6) / 10
    assert sum(budgets({"a": (1, 10), "b": (1, 10)}, {"a": x, "b": x}).values()) == ones(1 - x, 20) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uniform(FOUR, 1.0), "sparsity must be in [0, 1), got 1.0; give the fraction of weights to remove"),
        (lambda: erk(FOUR, -0.1), "sparsity must be in [0, 1), got -0.1; give the fraction of weights to remove"),
        (
            lambda: check_sparsity(math.nan),
            "sparsity must be in [0, 1), got nan; give the fraction of weights to remove",
        ),
        (
            lambda: erk(FOUR, 0.5, dense=["z", "a"]),
            "dense must name prunable layers, got ['z']; the layers are ['a', 'b', 'c', 'd']",
        ),
        (
            lambda: erk(FOUR, 0.9, dense=["c"], compensate=True),
            "dense layers must leave room at sparsity 0.9, got ['c']; drop compensate",
        ),
        (
            lambda: budgets(FOUR, {"a": 0.1, "b": 0.1, "c": 0.1, "e": 0.1}),
            "distribution must give a density for exactly the prunable layers, got a mismatch: ['d', 'e']",
        ),
        (
            lambda: budgets(FOUR, {"a": 0.1, "b": 0.0, "c": 0.1, "d": 1}),
            "density must be in (0, 1], got 0.0 for b; leave a layer out of `layers` instead",
        ),
        (
            lambda: budgets(FOUR, {"a": 0.1, "b": 0.1, "c": math.nan, "d": 1}),
            "density must be in (0, 1], got nan for c; leave a layer out of `layers` instead",
        ),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        call()
    assert str(caught.value) == message
