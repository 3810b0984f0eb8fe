"""Statistics against scipy, against definitions computed the long way, and against simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from validation.evidence.statistics import Effect, effect, holm, paired, power, seeds_to_decide, trend

RUNS = 4000


def draws(n, seed=0, shift=0.0):
    return shift + np.random.default_rng(seed).standard_normal((RUNS, n))


def test_a_paired_effect_is_scipys():
    one, other = np.random.default_rng(3).normal([[0.4], [0.0]], size=(2, 12))
    mine, theirs = paired(list(one), list(other)), stats.ttest_rel(one, other)
    interval = theirs.confidence_interval(0.95)
    # the same few operations in another order: some ulp of numbers of size 1
    assert mine.p == pytest.approx(theirs.pvalue, rel=1e-12)
    assert (mine.low, mine.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    assert mine.n == 12


def test_extremes_of_an_effect():
    alone = effect([2.0])
    assert (alone.mean, alone.low, alone.high, alone.p) == (2.0, -math.inf, math.inf, 1.0)
    same = effect([1.0, 1.0, 1.0])
    assert (same.low, same.high, same.p) == (1.0, 1.0, 0.0)
    assert effect([0.0, 0.0]).p == 1.0
    with pytest.raises(ValueError, match="values must hold at least one seed, got none"):
        effect([])
    with pytest.raises(ValueError, match="zip"):
        paired([1.0], [1.0, 2.0])


def covered(interval, n):
    """How often the interval holds the true mean 0."""
    return sum(interval(list(values)) for values in draws(n)) / RUNS


@pytest.mark.parametrize("n", [3, 10])
def test_intervals_cover_as_often_as_they_say_and_normal_ones_would_not(n):
    def ours(values):
        e = effect(values)
        return e.low <= 0 <= e.high

    def normal(values):  # a mutant: 1.96 in place of the t quantile
        return abs(np.mean(values)) <= 1.96 * np.std(values, ddof=1) / math.sqrt(n)

    limit = 4 * math.sqrt(0.95 * 0.05 / RUNS)  # four standard errors: 6e-5 of passing wrongly
    assert abs(covered(ours, n) - 0.95) < limit
    assert abs(covered(normal, n) - 0.95) > limit


def closed(p):
    """Adjust by the closure principle: a hypothesis is rejected if every intersection with it is, by Bonferroni."""
    m = len(p)
    sets = [c for r in range(1, m + 1) for c in itertools.combinations(range(m), r)]
    return [max(min(1.0, len(c) * min(p[j] for j in c)) for c in sets if i in c) for i in range(m)]


@given(p=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6))
def test_holm_is_the_closure_of_bonferroni(p):
    # products of the same two numbers: equal but for nothing
    assert holm(p) == closed(p)


def test_holm_keeps_the_familys_error_and_no_adjustment_does_not():
    p = [[effect(list(v)).p for v in family] for family in draws(40, 1)[:1000].reshape(1000, 5, 8)]
    wrong = np.mean([min(holm(f)) <= 0.05 for f in p])
    assert wrong < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 1000)
    assert np.mean([min(f) <= 0.05 for f in p]) > 0.15  # 1 - 0.95^5 = 0.23


def test_a_trend_is_the_mean_of_the_slopes_of_linear_regression():
    at, gains = [0.0, 0.2, 0.8, 0.9], np.random.default_rng(5).normal(size=(6, 4))
    slopes = [stats.linregress(at, g).slope for g in gains]
    mine, theirs = trend(at, gains.tolist()), stats.ttest_1samp(slopes, 0.0)
    assert mine.mean == pytest.approx(np.mean(slopes), rel=1e-12)
    assert mine.p == pytest.approx(theirs.pvalue, rel=1e-10)
    assert trend(at, [[3 + 2 * x for x in at]] * 3).mean == pytest.approx(2, rel=1e-12)
    with pytest.raises(ValueError, match="at must hold two places at least"):
        trend([0.5, 0.5], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="gains must hold 2 numbers a seed, got 1"):
        trend([0.5, 0.6], [[1.0]])


def test_trends_over_seeds_cover_although_places_of_a_seed_depend_on_each_other():
    """A seed's slope varies: regression over all points as if independent is the mutant, and covers too seldom."""
    rng = np.random.default_rng(2)
    at, n, hits, wrong, runs = np.array([0.0, 0.5, 0.9, 0.99]), 5, 0, 0, 1500
    for _ in range(runs):
        gains = rng.normal(size=(n, 1)) * at + 0.2 * rng.normal(size=(n, 4))
        e = trend(list(at), gains.tolist())
        hits += e.low <= 0 <= e.high
        pooled = stats.linregress(np.tile(at, n), gains.ravel())
        wrong += abs(pooled.slope) <= pooled.stderr * stats.t.ppf(0.975, 4 * n - 2)
    limit = 4 * math.sqrt(0.95 * 0.05 / runs)
    assert abs(hits / runs - 0.95) < limit
    assert wrong / runs < 0.95 - limit


@pytest.mark.parametrize(("difference", "n"), [(1.0, 3), (0.5, 10), (0.9, 15)])
def test_power_is_the_rate_of_simulated_decisions(difference, n):
    rate = np.mean([effect(list(values)).p <= 0.05 for values in draws(n, 7, difference)])
    assert power(difference, 1.0, n) == pytest.approx(rate, abs=4 * 0.5 / math.sqrt(RUNS))
    assert power(-difference, 1.0, n) == pytest.approx(power(difference, 1.0, n), rel=1e-9)


@pytest.mark.parametrize("goal", [0.8, 0.9])
def test_seeds_to_decide_is_the_least_number_with_that_power(goal):
    found = Effect(0.4, -0.1, 0.9, 1.0, 10, 0.1)
    n = seeds_to_decide(found, power_=goal)
    assert power(0.4, 1.0, n) >= goal > power(0.4, 1.0, n - 1)
    assert seeds_to_decide(found, power_=goal, away_from=-0.6) < n
    # Cohen (1988), table 2.4.1: d = 0.5 at 80 and 90 %, one sample: 34 and 44
    assert seeds_to_decide(Effect(0.5, 0.0, 0.0, 1.0, 3, 1.0), power_=goal) == {0.8: 34, 0.9: 44}[goal]


def test_when_no_number_can_be_named():
    assert seeds_to_decide(effect([1.0])) is None
    assert seeds_to_decide(Effect(0.0, 0.0, 0.0, 1.0, 3, 1.0)) is None
    assert seeds_to_decide(Effect(1e-4, 0.0, 0.0, 1.0, 3, 1.0)) is None
    assert seeds_to_decide(effect([1.0, 1.0])) == 2
    assert seeds_to_decide(Effect(100.0, 0.0, 0.0, 1.0, 3, 1.0)) == 2
