"""The formula that is tested is the formula that is proved: every bound gives one value in five arithmetics.

The exact constants of a random point of the domain go into float, numpy, torch, mpmath (50 digits) and SymPy; the
50-digit value is the reference, and the float64 tolerance is the running error bound of the very evaluation.
"""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy
import torch
from claim_points import POINTS, STEPS
from hypothesis import given, settings
from hypothesis import strategies as st
from running_error import Running

from theory import CLAIMS
from theory.arithmetic import sqrt
from theory.bounds import convergence

FEW = settings(max_examples=settings.default.max_examples // 2)  # follows the profile, and claims are many
COUNTS = ("T", "N")  # whole numbers stay Python integers in every arithmetic


def each(point, convert):
    """The point with every constant converted, element by element in a sequence, the counts left alone."""
    return {
        name: value if name in COUNTS else [convert(v) for v in value] if isinstance(value, list) else convert(value)
        for name, value in point.items()
    }


def exact(value):
    """A 50-digit number equal to the fraction."""
    return mpmath.mpf(value.numerator) / value.denominator


def symbolic(bound, point):
    """The bound evaluated on symbols, then at the rational point, to 50 digits."""
    symbols, values = {}, {}
    for name, value in point.items():
        if isinstance(value, list):
            symbols[name] = [sympy.Symbol(f"{name}_{t}", nonnegative=True) for t in range(len(value))]
            values |= dict(zip(symbols[name], value, strict=True))
        else:
            symbols[name] = sympy.Symbol(name, integer=name in COUNTS, real=True)
            values[symbols[name]] = value
    rational = {symbol: sympy.Rational(v.numerator, v.denominator) for symbol, v in values.items()}
    return mpmath.mpf(sympy.sympify(bound(**symbols)).subs(rational).evalf(50))


def check_arithmetics(bound, point):
    """All arithmetics agree at the point: within the running error in float64, within 10^-33 of it in 50 digits."""
    running = Running.lift(bound(**each(point, Running)))
    with mpmath.workdps(50):
        value = bound(**each(point, exact))

        def close(other, tolerance=running.tolerance):
            return abs(exact(Fraction(float(other))) - value) <= tolerance

        assert close(running.value)
        assert close(bound(**each(point, float)))
        for element in np.broadcast_to(bound(**each(point, lambda v: np.full(2, float(v)))), 2):
            assert close(element)
        tensors = bound(**each(point, lambda v: torch.full((2,), float(v), dtype=torch.float64)))
        for element in torch.as_tensor(tensors, dtype=torch.float64).broadcast_to(2):
            assert close(element)
        # unit roundoffs: 2^-53 > 10^-16 there and 10^-50 here; a float64 constant in the formula would show at once
        fine = running.tolerance * 1e-33
        for element in np.broadcast_to(bound(**each(point, lambda v: np.array([exact(v)] * 2, dtype=object))), 2):
            assert abs(element - value) <= fine
        assert abs(symbolic(bound, point) - value) <= fine


def test_every_claim_has_points():
    assert list(POINTS) == [label for label, claim in CLAIMS.items() if claim.bound]


@pytest.mark.parametrize("label", POINTS)
@FEW
@given(data=st.data())
def test_one_value_in_every_arithmetic(label, data):
    point = data.draw(POINTS[label])
    claim = CLAIMS[label]
    assert claim.domain(**point) is True
    check_arithmetics(claim.evaluate, point)


@FEW
@given(point=POINTS["B7.independent"].filter(lambda p: p["L"] * p["rho"] > 0))
def test_a_float_constant_in_a_formula_is_noticed(point):
    assert check_arithmetics(lambda L, rho: sqrt(2 * (L * rho) ** 2), point) is None
    with pytest.raises(AssertionError):
        check_arithmetics(lambda L, rho: 2**0.5 * L * rho, point)


@FEW
@given(point=POINTS["B1"], T=st.lists(STEPS, min_size=3, max_size=3))
def test_integer_arrays_of_counts(point, T):
    """Elementwise in numpy and torch: an integer tensor is not demoted to float32 by a Python float next to it."""
    claim = CLAIMS["B1"]
    single = each(point, float)
    in_numpy = claim(**{**single, "T": np.array(T)})
    in_torch = claim(**{**single, "T": torch.tensor(T)})
    assert in_numpy.dtype == np.float64
    assert in_torch.dtype is torch.float64
    for t, *values in zip(T, in_numpy.tolist(), in_torch.tolist(), strict=True):
        running = claim.evaluate(**each({**point, "T": t}, Running))
        assert all(abs(value - running.value) <= 2 * running.tolerance for value in values)  # both may be off by one
    assert convergence.nonconvex(**{**single, "T": torch.tensor(T)}).dtype is torch.float32  # what the claim prevents
