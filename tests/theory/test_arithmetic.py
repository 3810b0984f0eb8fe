"""The dispatcher: the right library for each type, none imported, nan kept, precision kept."""

import decimal
import math
import subprocess
import sys
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy
import torch

from theory import CLAIMS, DomainError, arithmetic
from theory.arithmetic import cos, exp, floating, log, maximum, minimum, sin, sqrt, tanh

FUNCTIONS = {"sqrt": sqrt, "log": log, "exp": exp, "cos": cos, "sin": sin, "tanh": tanh}
PAIRS = {"maximum": maximum, "minimum": minimum}


class Tensor(torch.Tensor):
    """A class from elsewhere, derived from one of torch's."""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_type_is_given_to_its_library(name):
    function, expected = FUNCTIONS[name], getattr(math, name)(0.75)
    assert function(0.75) == function(Fraction(3, 4)) == expected
    assert isinstance(function(Fraction(3, 4)), float)
    assert isinstance(function(np.float64(0.75)), np.float64)
    # libraries differ in the last digits: 4 ulp each
    assert function(np.array([0.75])).tolist() == pytest.approx([expected], rel=8 * 2**-52)
    assert function(torch.tensor([0.75], dtype=torch.float64)).tolist() == pytest.approx([expected], rel=8 * 2**-52)
    symbol = sympy.Symbol("x")
    assert function(symbol) == getattr(sympy, name)(symbol)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_mpmath_keeps_the_precision_of_its_context(name):
    own = mpmath.MPContext()
    own.dps = 40
    value = FUNCTIONS[name](own.mpf("0.75"))
    with mpmath.workdps(45):
        expected = getattr(mpmath, name)(mpmath.mpf("0.75"))
        assert abs(mpmath.mpf(own.nstr(value, 42)) - expected) < mpmath.mpf("1e-39")  # the value is below 3
        array = FUNCTIONS[name](np.array([[mpmath.mpf("0.75")]], dtype=object))
        assert array.shape == (1, 1)
        assert array[0, 0] == expected


def test_derived_classes_and_integer_tensors():
    parameter = torch.nn.Parameter(torch.tensor([4.0], dtype=torch.float64))
    assert sqrt(parameter).requires_grad
    derived = torch.tensor([4.0, -1.0]).as_subclass(Tensor)
    assert isinstance(sqrt(derived), Tensor)
    with pytest.raises(DomainError, match="A3 needs rho >= 0, got -1"):
        CLAIMS["A3"](L=1.0, rho=derived)
    assert sqrt(torch.tensor([2])).dtype is torch.float64  # torch alone gives float32
    assert floating(torch.tensor([1.0])).dtype is torch.float32
    assert floating(3) == 3


def test_a_type_from_elsewhere_uses_its_own_method():
    with decimal.localcontext(prec=40):
        assert sqrt(decimal.Decimal(2)) == decimal.Decimal(2).sqrt()
    with pytest.raises(AttributeError, match="sqrt"):
        sqrt("2")


@pytest.mark.parametrize("name", PAIRS)
def test_choice_of_two(name):
    function, choose = PAIRS[name], max if name == "maximum" else min
    third, quarter = Fraction(1, 3), Fraction(1, 4)
    assert function(third, quarter) == function(quarter, third) == choose(third, quarter)
    assert isinstance(function(third, quarter), Fraction)
    assert function(mpmath.mpf(2), 1) == choose(2, 1)
    assert function(np.array([1.0, 5.0]), 2).tolist() == [choose(1.0, 2.0), choose(5.0, 2.0)]
    assert function(2, np.array([mpmath.mpf(1), mpmath.mpf(5)], dtype=object)).tolist() == [choose(1, 2), choose(5, 2)]
    for pair in ((torch.tensor([1, 5]), 2.5), (2.5, torch.tensor([1, 5])), (torch.tensor([1.0, 5.0]).double(), 2.5)):
        assert function(*pair).tolist() == [choose(1, 2.5), choose(5, 2.5)]
        assert function(*pair).dtype is torch.float64
    x = sympy.Symbol("x")
    assert function(x, 2) == (sympy.Max if name == "maximum" else sympy.Min)(x, 2)


@pytest.mark.parametrize("function", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("make", [float, np.float64, mpmath.mpf, lambda x: torch.tensor(x, dtype=torch.float64)])
def test_nan_is_never_the_smaller_nor_the_larger(function, make):
    for x, y in ((math.nan, 1.0), (1.0, math.nan)):
        value = function(make(x), make(y))
        assert value != value


def test_quiet_restores_the_warnings_of_numpy():
    with arithmetic.quiet():
        assert np.isinf(np.float64(1) / np.float64(0))
    with pytest.warns(RuntimeWarning, match="divide"):
        np.float64(1) / np.float64(0)


def imported_by(statement):
    """Names of the packages of numbers that are loaded after the statement, in a fresh interpreter."""
    code = f"import sys; {statement}; print(*({{'torch', 'numpy', 'sympy', 'mpmath'}} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(found.stdout.split())


def test_theory_imports_no_library_of_numbers():
    # a whole session with plain numbers: registry, call, refusal, functions
    use = "import theory; theory.CLAIMS['B2.quarter'](L=1, gap=1, sigma2=1, eta0=1, rho0=1, T=9); theory.select('A1')"
    assert imported_by(use) == set()
    assert imported_by(f"{use}; import mpmath") == {"mpmath"}  # and the test would notice
