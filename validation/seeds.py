"""A mean over independent repetitions with Student's interval: seeds are the unit, never the steps of one run."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from scipy.special import stdtrit


class Mean(NamedTuple):
    """A mean over n seeds, and half the length of its interval; infinite for one seed."""

    mean: float
    half: float
    n: int

    def __str__(self) -> str:
        """Return mean and half length to two decimals."""
        return f"{self.mean:.2f}±{self.half:.2f}"


def over_seeds(values: Sequence[float], level: float = 0.95) -> Mean:
    """Return the mean and Student's interval of independent values, of coverage `level` when they are normal.

    Student (Biometrika 1908): the half length is t s/sqrt(n), s^2 with divisor n - 1 and t the quantile of
    (1 + level)/2 at n - 1 degrees of freedom.

    Args:
        values: one for each seed, at least one.
        level: in (0, 1).

    Raises:
        ValueError: without values, or for a level outside (0, 1).

    >>> print(over_seeds([0.1, 0.2, 0.3, 0.4, 0.5]))
    0.30±0.20
    """
    n = len(values)
    if not n or not 0 < level < 1:
        raise ValueError(f"values must not be empty and level in (0, 1), got {n} values and {level}; give more seeds")
    half = float(stdtrit(n - 1, (1 + level) / 2)) * stdev(values) / math.sqrt(n) if n > 1 else math.inf
    return Mean(fmean(values), half, n)
