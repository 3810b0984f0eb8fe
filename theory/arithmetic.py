"""Elementary functions for every kind of number, chosen by the type of the argument.

One formula serves Python numbers, numpy arrays, torch tensors, mpmath numbers and SymPy expressions. None of these
libraries is imported here: an argument that belongs to one of them proves that it is already loaded, so the library is
looked up in ``sys.modules``. A number type from elsewhere (``decimal.Decimal``, a class of one's own) works if it has a
method of the function's name.

Python numbers give a Python float (``math``), so a ``Fraction`` stays exact only under + - * / ** and in `maximum` and
`minimum`. Object arrays of numpy (of mpmath numbers, of fractions) are treated element by element.
"""

import contextlib
import math
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

__all__ = [
    "Number", "cos", "exp", "floating", "library_of", "log", "maximum", "minimum", "quiet", "sin", "sqrt", "tanh",
]

Number = Any
"""A number or an array of numbers: of Python, numpy, torch, mpmath or SymPy, which share no base class."""

_LIBRARIES = ("torch", "numpy", "sympy", "mpmath")  # arrays first: an array of mpmath numbers is numpy's to handle


def library_of(*values: Number) -> str:
    """The first of `_LIBRARIES` that the type of a value, or a base class of it, comes from; "" if there is none."""
    roots = {base.__module__.partition(".")[0] for value in values for base in type(value).__mro__}
    return next((library for library in _LIBRARIES if library in roots), "")


def floating(x: Number) -> Number:
    """X itself, but an integer torch tensor as float64, where torch would compute in its default dtype, float32."""
    if library_of(x) == "torch" and not (x.is_floating_point() or x.is_complex()):
        return x.double()
    return x


def _apply(name: str, x: Number) -> Number:
    """The function `name` of x, computed by the library of x."""
    library = library_of(x)
    if library == "numpy" and x.dtype.hasobject:
        return sys.modules["numpy"].frompyfunc(lambda element: _apply(name, element), 1, 1)(x)
    if library == "mpmath":
        return getattr(x.context, name)(x)  # the number's own context, hence its own precision
    if library:
        return getattr(sys.modules[library], name)(floating(x))
    if isinstance(x, int | float | Fraction):
        return getattr(math, name)(x)
    return getattr(x, name)()


def sqrt(x: Number) -> Number:
    """Square root of x >= 0.

    >>> sqrt(Fraction(1, 4))
    0.5
    """
    return _apply("sqrt", x)


def log(x: Number) -> Number:
    """Natural logarithm of x > 0."""
    return _apply("log", x)


def exp(x: Number) -> Number:
    """Exponential function."""
    return _apply("exp", x)


def cos(x: Number) -> Number:
    """Cosine of x in radians."""
    return _apply("cos", x)


def sin(x: Number) -> Number:
    """Sine of x in radians."""
    return _apply("sin", x)


def tanh(x: Number) -> Number:
    """Hyperbolic tangent."""
    return _apply("tanh", x)


def maximum(x: Number, y: Number) -> Number:
    """The larger of x and y, elementwise on arrays; nan if one of them is nan.

    >>> maximum(Fraction(1, 3), Fraction(1, 4))
    Fraction(1, 3)
    """
    return _choose("maximum", "Max", x, y)


def minimum(x: Number, y: Number) -> Number:
    """The smaller of x and y, elementwise on arrays; nan if one of them is nan."""
    return _choose("minimum", "Min", x, y)


def _choose(name: str, sympy_name: str, x: Number, y: Number) -> Number:
    """`maximum` or `minimum` by the library of x or y; plain comparison (exact, nan kept) for scalars."""
    library = library_of(x, y)
    if library == "torch":
        torch = sys.modules["torch"]
        like = x if isinstance(x, torch.Tensor) else y
        x, y = (torch.as_tensor(value, dtype=floating(like).dtype, device=like.device) for value in (x, y))
        return getattr(torch, name)(x, y)
    if library == "numpy":
        return getattr(sys.modules["numpy"], name)(x, y)
    if library == "sympy":
        return getattr(sys.modules["sympy"], sympy_name)(x, y)
    if x != x:  # nan
        return x
    return x if (x > y if name == "maximum" else x < y) else y


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence numpy's floating-point warnings, if numpy is loaded: a domain check divides by zero to find it out."""
    numpy = sys.modules.get("numpy")
    with numpy.errstate(all="ignore") if numpy else contextlib.nullcontext():
        yield
