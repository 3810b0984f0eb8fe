"""The literal twin: S2-SAM, SAM and SGD as the notation states them, on one instance, in any arithmetic.

Slow on purpose: no in-place trick, no batching, no code shared with `s2sam`. Vectors are numpy arrays (float64, or
objects: 50-digit mpmath numbers, fractions); `grad(x, t)` is the gradient of the sample of step t. Each function yields
(w, p, g) for t = 0 .. T - 1, and the final weights with p = g = None.
"""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import mpmath

Triple = tuple[Any, Any, Any]
Gradient = Callable[[Any, int], Any]


def length(x: Any) -> Any:
    """Return the Euclidean norm of a vector, exactly for fractions whose sum of squares is a square.

    Raises:
        ValueError: when a norm of fractions is irrational.
    """
    total = sum(v * v for v in x)
    if isinstance(total, Fraction):
        root = Fraction(math.isqrt(total.numerator), math.isqrt(total.denominator))
        if root * root != total:
            raise ValueError(f"x must have a rational norm in rational arithmetic, got ||x||^2 = {total}; use mpmath")
        return root
    return mpmath.sqrt(total) if isinstance(total, mpmath.mpf) else math.sqrt(total)


def normalize(x: Any) -> Any:
    """Return n(x) = x/||x||, and x itself where it is zero."""
    size = length(x)
    return x / size if size else x


def sgd(grad: Gradient, w: Any, *, eta: Any, steps: int) -> Iterator[Triple]:
    """Gradient descent: p_t = 0."""
    for t in range(steps):
        g = grad(w, t)
        yield w, w - w, g
        w = w - eta * g
    yield w, None, None


def sam(grad: Gradient, w: Any, *, eta: Any, rho: Any, steps: int, ascent: Gradient | None = None) -> Iterator[Triple]:
    """SAM (Foret et al. 2021): p_t = rho n(grad(w_t)); `ascent` replaces grad there (the full gradient, say)."""
    for t in range(steps):
        p = rho * normalize((ascent or grad)(w, t))
        g = grad(w + p, t)
        yield w, p, g
        w = w - eta * g
    yield w, None, None


def s2sam(grad: Gradient, w: Any, *, eta: Any, rho: Any, steps: int) -> Iterator[Triple]:
    """S2-SAM (Ji et al. 2024): p_t = rho n(g_{t-1}), p_0 = 0."""
    d = w - w
    for t in range(steps):
        p = rho * d
        g = grad(w + p, t)
        yield w, p, g
        w = w - eta * g
        d = normalize(g)
    yield w, None, None


def run(problem: Any, rule: str, w: Any, *, eta: Any, rho: Any, steps: int, samples: Any = None) -> Iterator[Triple]:
    """Run a rule by name on one instance of a problem (`problem.instance(i, number)`).

    Args:
        problem: f and grad of one instance.
        rule: "sgd", "s2sam", "sam" or "sam-same-batch".
        w: start, numpy array of the problem's numbers.
        eta: step size.
        rho: radius.
        steps: T.
        samples: sample index of each step, or None for full gradients.

    Raises:
        ValueError: for any other rule.
    """

    def sampled(x: Any, t: int) -> Any:
        return problem.grad(x) if samples is None else problem.sample_grad(x, samples[t])

    if rule == "sgd":
        return sgd(sampled, w, eta=eta, steps=steps)
    if rule == "s2sam":
        return s2sam(sampled, w, eta=eta, rho=rho, steps=steps)
    if rule == "sam":
        return sam(sampled, w, eta=eta, rho=rho, steps=steps, ascent=lambda x, t: problem.grad(x))
    if rule == "sam-same-batch":
        return sam(sampled, w, eta=eta, rho=rho, steps=steps)
    raise ValueError(f"rule must be sgd, s2sam, sam or sam-same-batch to have a twin, got {rule!r}")
