"""The literal twin: S2-SAM, SAM and SGD as the notation states them, on one instance, in any arithmetic.

Slow on purpose: no in-place trick, no batching, no code shared with `s2sam`. Vectors are numpy arrays (float64, or
objects: 50-digit mpmath numbers, fractions); `grad(x, t)` is the gradient of the sample of step t. Each function yields
(w, p, g) for t = 0 .. T - 1, and the final weights with p = g = None. The buffer is v_t = beta v_{t-1} + g_t. eta and
rho are numbers, or functions of t.
"""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import mpmath

NAMES = ("sgd", "s2sam", "sam", "sam-same-batch")  # what `run` runs

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


def at(value: Any, t: int) -> Any:
    """Return a constant, or a schedule at t."""
    return value(t) if callable(value) else value


def sgd(grad: Gradient, w: Any, *, eta: Any, steps: int, beta: Any = 0) -> Iterator[Triple]:
    """Gradient descent: p_t = 0."""
    v = w - w
    for t in range(steps):
        g = grad(w, t)
        yield w, w - w, g
        v = beta * v + g
        w = w - at(eta, t) * v
    yield w, None, None


def sam(
    grad: Gradient, w: Any, *, eta: Any, rho: Any, steps: int, ascent: Gradient | None = None, beta: Any = 0
) -> Iterator[Triple]:
    """SAM (Foret et al. 2021): p_t = rho n(grad(w_t)); `ascent` replaces grad there (the full gradient, say)."""
    v = w - w
    for t in range(steps):
        p = at(rho, t) * normalize((ascent or grad)(w, t))
        g = grad(w + p, t)
        yield w, p, g
        v = beta * v + g
        w = w - at(eta, t) * v
    yield w, None, None


def s2sam(grad: Gradient, w: Any, *, eta: Any, rho: Any, steps: int, beta: Any = 0) -> Iterator[Triple]:
    """S2-SAM (Ji et al. 2024): p_t = rho n(g_{t-1}), p_0 = 0."""
    d = v = w - w
    for t in range(steps):
        p = at(rho, t) * d
        g = grad(w + p, t)
        yield w, p, g
        v = beta * v + g
        w = w - at(eta, t) * v
        d = normalize(g)
    yield w, None, None


def chosen(
    grad: Gradient, w: Any, *, eta: Any, rho: Any, steps: int, direction: Callable[..., Any], beta: Any = 0
) -> Iterator[Triple]:
    """Any other rule: p_t = rho n(direction(t, w_t, g_{t-1}, v_{t-1})), with g = v = 0 at first."""
    g = v = w - w
    for t in range(steps):
        p = at(rho, t) * normalize(direction(t, w, g, v))
        g = grad(w + p, t)
        yield w, p, g
        v = beta * v + g
        w = w - at(eta, t) * v
    yield w, None, None


def run(
    problem: Any, rule: str, w: Any, *, eta: Any, rho: Any, steps: int, samples: Any = None, beta: Any = 0
) -> Iterator[Triple]:
    """Run a rule by name on one instance of a problem (`problem.instance(i, number)`).

    Args:
        problem: f and grad of one instance.
        rule: "sgd", "s2sam", "sam" or "sam-same-batch".
        w: start, numpy array of the problem's numbers.
        eta: step size.
        rho: radius.
        steps: T.
        samples: sample index of each step, or None for full gradients.
        beta: momentum.

    Raises:
        ValueError: for any other rule.
    """

    def sampled(x: Any, t: int) -> Any:
        return problem.grad(x) if samples is None else problem.sample_grad(x, samples[t])

    if rule == "sgd":
        return sgd(sampled, w, eta=eta, steps=steps, beta=beta)
    if rule == "s2sam":
        return s2sam(sampled, w, eta=eta, rho=rho, steps=steps, beta=beta)
    if rule == "sam":
        return sam(sampled, w, eta=eta, rho=rho, steps=steps, ascent=lambda x, t: problem.grad(x), beta=beta)
    if rule == "sam-same-batch":
        return sam(sampled, w, eta=eta, rho=rho, steps=steps, beta=beta)
    raise ValueError(f"rule must be sgd, s2sam, sam or sam-same-batch to have a twin, got {rule!r}")
