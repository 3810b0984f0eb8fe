"""Intervals over seeds: those of another implementation, with the coverage they promise."""

import math

import numpy as np
import pytest
from scipy import stats

from validation.seeds import over_seeds


@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_the_interval_is_that_of_the_t_test(n, level):
    values = np.random.default_rng(n).normal(0.3, 0.2, n)
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(level)
    got = over_seeds(values.tolist(), level)
    # two ways to the same quantile: some ulp each, and the quantile's own relative error of 1e-12
    assert got.mean - got.half == pytest.approx(low, rel=1e-9, abs=1e-12)
    assert got.mean + got.half == pytest.approx(high, rel=1e-9, abs=1e-12)
    assert got.n == n


def covered(interval, n=5, repeats=2000):
    values = np.random.default_rng(0).normal(1.0, 3.0, (repeats, n))
    found = [interval(v.tolist()) for v in values]
    return sum(abs(m.mean - 1.0) <= m.half for m in found) / repeats


def test_it_covers_the_mean_as_often_as_it_says():
    deviation = math.sqrt(0.95 * 0.05 / 2000)
    assert abs(covered(over_seeds) - 0.95) < 5 * deviation
    # the interval of a normal quantile, for which five seeds are too few, is seen to fail
    assert abs(covered(lambda v: over_seeds(v)._replace(half=1.96 * np.std(v, ddof=1) / 5**0.5)) - 0.95) > 5 * deviation


def test_one_seed_says_nothing_and_none_is_refused():
    assert over_seeds([0.4]).half == math.inf
    assert over_seeds([0.4, 0.4]).half == 0.0
    with pytest.raises(ValueError, match="values must not be empty"):
        over_seeds([])
    with pytest.raises(ValueError, match=r"level in \(0, 1\)"):
        over_seeds([1.0, 2.0], 1.0)
