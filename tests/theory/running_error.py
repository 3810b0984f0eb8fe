"""A sixth arithmetic: float64 numbers that carry a bound on their own rounding error.

A bound evaluated on it returns the float64 value and, beside it, how far rounding can have moved that value: the
tolerance of the comparison with 50 digits is thereby derived, operation by operation, for every formula alike
(running error analysis, Higham 2002, section 3.3).
"""

import math
from fractions import Fraction

UNIT = 2.0**-53
OPERATION = 2 * UNIT  # one unit by IEEE 754, one more for a library that divides by multiplying with a reciprocal
FUNCTION = 8 * UNIT  # sqrt, log and powers: vendors promise 4 ulp at worst, and an ulp is at most two units


class Running:
    """A float64 value and an absolute bound on its distance from the exact value, both >= 0 where it says so."""

    def __init__(self, value, error=0.0):
        self.value, self.error = float(value), float(error)
        assert not isinstance(value, Fraction) or Fraction(self.value) == value, "start from representable numbers"

    @staticmethod
    def lift(x):
        return x if isinstance(x, Running) else Running(x)

    def _rounded(self, value, error, relative=OPERATION):
        return Running(value, error + relative * abs(value))

    def __add__(self, other):
        other = self.lift(other)
        return self._rounded(self.value + other.value, self.error + other.error)

    def __neg__(self):
        return Running(-self.value, self.error)

    def __sub__(self, other):
        return self + -self.lift(other)

    def __mul__(self, other):
        other = self.lift(other)
        error = abs(self.value) * other.error + abs(other.value) * self.error + self.error * other.error
        return self._rounded(self.value * other.value, error)

    def __truediv__(self, other):
        other = self.lift(other)
        value = self.value / other.value
        return self._rounded(value, (self.error + abs(value) * other.error) / (abs(other.value) - other.error))

    def __pow__(self, n):
        largest = abs(self.value) + self.error
        return self._rounded(self.value**n, n * largest ** max(n - 1, 0) * self.error, FUNCTION)

    def __abs__(self):
        return Running(abs(self.value), self.error)

    def __gt__(self, other):
        """Of the computed values: if rounding swaps two numbers, either is within the other's error bound."""
        return self.value > self.lift(other).value

    def __lt__(self, other):
        return self.lift(other) > self

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other):
        return self.lift(other) - self

    def __rtruediv__(self, other):
        return self.lift(other) / self

    def sqrt(self):
        """|sqrt x - sqrt y| = |x - y|/(sqrt x + sqrt y), and <= sqrt|x - y| where y may be 0."""
        value = math.sqrt(self.value)
        return self._rounded(value, self.error / value if value else math.sqrt(self.error), FUNCTION)

    def log(self):
        """|log x - log y| <= |x - y|/min(x, y)."""
        return self._rounded(math.log(self.value), self.error / (self.value - self.error), FUNCTION)

    @property
    def tolerance(self):
        """The error bound; the factor covers the rounding of the bound itself, a few thousand operations."""
        return self.error * (1 + 1e-9)
