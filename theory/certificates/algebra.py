"""Vectors as linear forms, inner products as symbols, and two exact decisions: is it zero, is it never negative.

SymPy is imported inside the functions, so that the statements can be had without it. Expressions are SymPy's, typed
`Number` as everywhere in `theory`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from theory.arithmetic import Number

__all__ = ["Vector", "dot", "integers", "never_negative", "nonnegatives", "positives", "reals", "vanishes", "vectors"]


def _symbols(names: str, **assumptions: bool) -> Any:
    import sympy

    found = tuple(sympy.Symbol(name, **assumptions) for name in names.split())
    return found if len(found) > 1 else found[0]


def reals(names: str) -> Any:
    """Symbols for real numbers of either sign: function values, cosines. One symbol for one name, else a tuple."""
    return _symbols(names, real=True)


def nonnegatives(names: str) -> Any:
    """Symbols for numbers >= 0: variances, radii, norms."""
    return _symbols(names, nonnegative=True)


def positives(names: str) -> Any:
    """Symbols for numbers > 0: steps, curvatures."""
    return _symbols(names, positive=True)


def integers(names: str) -> Any:
    """Symbols for whole numbers >= 0: how many steps went before."""
    return _symbols(names, integer=True, nonnegative=True)


@dataclass(frozen=True)
class Vector:
    """A linear form in named vectors: `parts` maps names to coefficients, which are SymPy expressions or integers."""

    parts: tuple[tuple[str, Number], ...]

    def __add__(self, other: "Vector") -> "Vector":
        """The sum, name by name."""
        total = dict(self.parts)
        for name, value in other.parts:
            total[name] = total.get(name, 0) + value
        return Vector(tuple(total.items()))

    def __mul__(self, factor: Number) -> "Vector":
        """The vector scaled by a number."""
        return Vector(tuple((name, factor * value) for name, value in self.parts))

    __rmul__ = __mul__

    def __neg__(self) -> "Vector":
        """The opposite vector."""
        return -1 * self

    def __sub__(self, other: "Vector") -> "Vector":
        """The difference, name by name."""
        return self + -other


def vectors(names: str) -> Any:
    """Basis vectors of these names; one alone is not put in a tuple."""
    found = tuple(Vector(((name, 1),)) for name in names.split())
    return found if len(found) > 1 else found[0]


def gram(one: str, other: str) -> Number:
    """The symbol <a, b> for the inner product of two basis vectors, or ||a||^2, the square of the symbol ||a||."""
    if one == other:
        return nonnegatives(f"||{one}||") ** 2
    first, second = sorted((one, other))
    return reals(f"<{first},{second}>")


def dot(x: Vector, y: Vector) -> Number:
    """Inner product of two linear forms, bilinear in the Gram symbols; nothing is assumed of the space.

    >>> a, b = vectors("a b")
    >>> dot(a + b, a - b)
    ||a||**2 - ||b||**2
    """
    import sympy

    return sympy.expand(sum(s * t * gram(m, n) for m, s in x.parts for n, t in y.parts))


def _atomic(expression: Number) -> tuple[Number, dict[Any, Number]]:
    """The expression with every power of unknown exponent, b^(n + k), as b^k times one symbol per base; the bases."""
    import sympy

    known: dict[Any, Any] = {}

    def split(power: Any) -> Any:
        base, exponent = sympy.cancel(sympy.together(power.base)), sympy.expand(power.exp)
        whole = exponent.as_coeff_Add()[0]
        symbol = known.setdefault((base, exponent - whole), sympy.Dummy(nonnegative=True))
        return base**whole * symbol

    def unknown(e: Any) -> bool:
        return e.is_Pow and bool(e.exp.free_symbols)

    return expression.replace(unknown, split), {symbol: base for (base, _), symbol in known.items()}


def vanishes(expression: Number) -> bool:
    """Whether an expression is zero identically, by exact rational-function arithmetic.

    >>> n, h = integers("n"), positives("h")
    >>> vanishes((1 - h)**(n + 1) - (1 - h)**n * (1 - h)), vanishes((1 - h)**n - 1)
    (True, False)
    """
    import sympy

    plain, _ = _atomic(sympy.sympify(expression))
    symbols = sorted(plain.free_symbols, key=str)
    at_a_point = plain.subs({s: sympy.Rational(k + 3, 2 * k + 5) for k, s in enumerate(symbols)})
    if at_a_point.is_number and abs(at_a_point.evalf(30)) > 1e-20:  # one point is enough to refute, and quick
        return False
    numerator, _ = sympy.fraction(sympy.together(plain))
    return bool(sympy.expand(numerator) == 0)


def never_negative(expression: Number, values: Mapping[Any, Number]) -> bool:
    """Whether an expression is >= 0 for all values of its symbols, once constants are replaced by `values`.

    What is decided is sufficient: a quotient of polynomials with coefficients >= 0, in symbols >= 0, whose denominator
    has a term that is positive. So h <= 1 is shown by putting 1/(1 + x) for h, x >= 0.

    >>> h, x = positives("h"), nonnegatives("x")
    >>> never_negative(1 - h, {h: 1/(1 + x)}), never_negative(1 - 2*h, {h: 1/(1 + x)})
    (True, False)
    """
    import sympy

    plain, bases = _atomic(sympy.sympify(expression).subs(values))
    whole = sympy.together(plain)
    # cancelling may bring coefficients below 0: (1 + x^3)/(1 + x) is 1 - x + x^2; a sign of both is the quotient's
    forms = [sympy.fraction(form) for form in (whole, sympy.cancel(whole))]
    return all(never_negative(base, {}) for base in bases.values()) and any(
        _polynomial(s * numerator, strict=False) and _polynomial(s * denominator, strict=True)
        for numerator, denominator in forms
        for s in (1, -1)
    )


def _polynomial(expression: Number, *, strict: bool) -> bool:
    """Whether all coefficients are >= 0 and all symbols too and, if strict, one term is positive for sure."""
    import sympy

    symbols = sorted(expression.free_symbols, key=str)
    if not all(s.is_nonnegative for s in symbols) or not expression.is_polynomial(*symbols):
        return False
    terms = sympy.Poly(expression, *symbols).terms() if symbols else [((), expression)]
    sure = any(c.is_positive and all(s.is_positive or not k for s, k in zip(symbols, e, strict=True)) for e, c in terms)
    return all(c.is_nonnegative for _, c in terms) and (sure or not strict)
