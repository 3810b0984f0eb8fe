"""What numbers say: paired differences with intervals, Holm across comparisons, a trend, and how many seeds decide.

The unit is the seed. Two arms of one seed share initial weights, data order, labels and split, so their difference
loses what the seed brings, and differences of different seeds are independent. Everything below is the t statistic of
such differences: exact for normal ones, and at n = 3 the intervals are honest, that is, wide.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from scipy import stats

LEVEL = 0.95
MOST = 100_000  # no more runs than this are asked for


@dataclass(frozen=True)
class Effect:
    """A mean over seeds with its t interval.

    Attributes:
        mean: the effect, in the unit of the values. low, high: ends of its 95 % interval; infinite below two seeds.
        sd: standard deviation over seeds (divisor n - 1), nan below two. n: seeds. p: two-sided, of mean 0.
    """

    mean: float
    low: float
    high: float
    sd: float
    n: int
    p: float

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}] (n = {self.n})"


def effect(values: Sequence[float], *, level: float = LEVEL) -> Effect:
    """Return mean, t interval and p value of one number a seed (a paired difference, say).

    Args:
        values: at least one.
        level: of the interval, in (0, 1).

    Raises:
        ValueError: when there is no value.

    >>> print(effect([1.0, 2.0, 3.0]))
    +2.00 [-0.48, +4.48] (n = 3)
    """
    n = len(values)
    if not n:
        raise ValueError("values must hold at least one seed, got none; run the cells first")
    mean = fmean(values)
    if n == 1 or not math.isfinite(mean):  # of a run that diverged nothing is known
        return Effect(mean, -math.inf, math.inf, math.nan, n, 1.0)
    sd = stdev(values)
    error = sd / math.sqrt(n)
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * error
    # all equal: no spread was seen, and 0 is either the mean itself or excluded
    p = 2 * float(stats.t.sf(abs(mean) / error, n - 1)) if error else float(mean == 0)
    return Effect(mean, mean - half, mean + half, sd, n, p)


def paired(one: Sequence[float], other: Sequence[float], *, level: float = LEVEL) -> Effect:
    """Return the effect of `one` over `other`, seed by seed in one order; ValueError when their lengths differ."""
    return effect([a - b for a, b in zip(one, other, strict=True)], level=level)


def sign_test(values: Sequence[float]) -> float:
    """Return the two-sided p value of median 0, for independent values; zeros are left out (the sign test).

    >>> sign_test([1.0, 2.0, 0.5, 3.0, 1.5])
    0.0625
    """
    signs = [value > 0 for value in values if value]
    return float(stats.binomtest(sum(signs), len(signs)).pvalue) if signs else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number, in their order: the step-down method (Holm, Scand. J. Stat. 1979).

    Rejecting where the adjusted one is <= alpha makes any false rejection at most that likely, however the comparisons
    depend on each other.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order, adjusted, worst = sorted(range(len(p)), key=p.__getitem__), [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = worst
    return adjusted


def trend(at: Sequence[float], gains: Sequence[Sequence[float]], *, level: float = LEVEL) -> Effect:
    """Return the slope of gains over `at`, least squares for each seed, then the t interval over the seeds' slopes.

    Why so: the gains of one seed at several places share weights and data, so they are no independent points of one
    regression, nor do rank tests of independent samples (Jonckheere) apply. A slope makes one number of a seed, and
    seeds are independent. Page's test would be valid too, but it has no unit, and no interval to plan more runs by.

    Args:
        at: the places (sparsities, say), not all equal.
        gains: for each seed, one gain a place.
        level: of the interval.

    Returns:
        The effect in gain for each unit of `at`.

    Raises:
        ValueError: when the places are all equal, or a seed lacks one.
    """
    x = np.asarray(at, dtype=float) - fmean(at)
    if not x.any():
        raise ValueError(f"at must hold two places at least, got {sorted(set(at))}; run more of them")
    for values in gains:
        if len(values) != len(at):
            raise ValueError(f"gains must hold {len(at)} numbers a seed, got {len(values)}; run what lacks")
    return effect([float(x @ np.asarray(values) / (x @ x)) for values in gains], level=level)


def power(difference: float, sd: float, n: int, *, alpha: float = 1 - LEVEL) -> float:
    """Return the probability that the two-sided t test of n seeds finds a true difference (noncentral t).

    Args:
        difference: true mean.
        sd: true standard deviation over seeds, > 0.
        n: seeds, >= 2.
        alpha: error level.
    """
    critical, shift = stats.t.ppf(1 - alpha / 2, n - 1), abs(difference) / sd * math.sqrt(n)
    upper, lower = stats.nct.sf(critical, n - 1, shift), stats.nct.cdf(-critical, n - 1, shift)
    # scipy's lower tail is nan where it is far below what a float64 can hold
    return float(upper + (0.0 if math.isnan(lower) else lower))


def seeds_to_decide(found: Effect, *, power_: float = 0.8, away_from: float = 0.0) -> int | None:
    """Return the number of seeds that would decide with this probability, were the truth what was found.

    A plan, not a result: mean and spread are estimates themselves.

    Args:
        found: mean and spread over the seeds there are.
        power_: probability of a decision.
        away_from: the value to be told from.

    Returns:
        At least 2; None when nothing can be said (one seed), or more than 100,000 are needed: no difference, then.
    """
    difference, sd = found.mean - away_from, found.sd
    if math.isnan(sd) or not difference:
        return None
    if not sd:
        return 2
    low, high = 1, 2
    while power(difference, sd, high) < power_:
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(difference, sd, middle) >= power_ else (middle, high)
    return high
