"""One-sided confidence limits of a mean that need nothing but independence and a known range: empirical Bernstein.

For n independent values in an interval of length `span`, with sample variance V (divisor n - 1), the mean of the values
exceeds their expectation by more than

    sqrt(2 V ln(2/level)/n) + 7 span ln(2/level)/(3 (n - 1))

with probability at most `level`, whatever the distribution (Maurer and Pontil 2009, Theorem 4); by symmetry so does the
expectation the mean. No normality, no bootstrap, no limit theorem: the coverage is proved for every n >= 2.
"""

import math
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Interval(NamedTuple):
    """Limits of an expectation: each of `lower` and `upper` is wrong with probability at most the level asked for."""

    lower: float
    mean: float
    upper: float
    variance: float


def width(variance: float, n: int | float, span: float, level: float) -> float:
    """Return how far the limit at this level lies from the mean of n values; units of the values.

    >>> round(width(0.25, 10_000, 1.0, 1e-6), 4)
    0.0303
    """
    log = math.log(2 / level)
    return math.sqrt(2 * variance * log / n) + 7 * span * log / (3 * (n - 1))


def interval(values: Float[Tensor, " n"], span: float, level: float) -> Interval:
    """Return both limits of the expectation of independent values.

    Args:
        values: independent, all in one interval of length `span`; n >= 2.
        span: known beforehand, never estimated from the values.
        level: probability with which each of the two limits may be wrong.

    Raises:
        ValueError: when the values lie farther apart than `span`: the range was not what the caller proved.
    """
    reach = float(values.max() - values.min())
    if not reach <= span * (1 + 2.0**-20):  # rounding of the values, computed in some thousand steps
        raise ValueError(f"values must lie within span = {span:g} of each other, got {reach:g}; prove a larger span")
    mean, variance = float(values.mean()), float(values.var())
    half = width(variance, len(values), span, level)
    return Interval(mean - half, mean, mean + half, variance)


def planned(span: float, level: float, precision: float) -> int:
    """Return the least n for which the part of the width that is known beforehand, that of the span, is <= precision.

    >>> planned(span=3.0, level=1e-8, precision=0.1)
    1339
    """
    return 1 + math.ceil(7 * span * math.log(2 / level) / (3 * precision))


def deciding(variance: float, span: float, level: float, room: float) -> float:
    """Return the n from which on the width is below `room`, at this variance; infinity where there is no room.

    >>> n = deciding(0.25, 1.0, 1e-6, 0.0303)
    >>> abs(n/10_000 - 1) < 0.01
    True
    """
    if room <= 0:
        return math.inf
    log = math.log(2 / level)
    a, b = math.sqrt(2 * variance * log), 7 * span * log / 3
    root = 2 * room / (a + math.sqrt(a * a + 4 * b * room))  # 1/sqrt(n), with n - 1 for n: one more is enough
    return math.ceil(1 / root**2) + 1.0


def caught(variance: float, n: int, span: float, level: float, miss: float = 0.01) -> float:
    """Return an excess of the expectation over a bound from which on the lower limit exceeds the bound, surely.

    With probability >= 1 - miss over the values to be drawn, if `variance` is theirs: half of `miss` is spent on the
    mean (Bernstein's inequality), half on the sample's standard deviation, which exceeds the true one by more than span
    sqrt(2 ln(2/miss)/(n - 1)) with probability miss/2 (Maurer and Pontil 2009, Theorem 10).
    """
    log = math.log(2 / miss)
    deviation = math.sqrt(2 * variance * log / n) + span * log / (3 * n)
    sample = (math.sqrt(variance) + span * math.sqrt(2 * log / (n - 1))) ** 2
    return deviation + width(sample, n, span, level)
