"""Instances in two and more dimensions, in fractions or decimal numbers, for `theory.worst_case.instances`."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

__all__ = ["aligned", "independent_batches", "reflected", "unit_step"]

Point = tuple[Decimal, Decimal]


def _dot(a: Point, b: Point) -> Decimal:
    return a[0] * b[0] + a[1] * b[1]


def _unit(a: Point) -> Point:
    size = _dot(a, a).sqrt()
    return a[0] / size, a[1] / size


def _along(*terms: tuple[Any, Point]) -> Point:
    return sum((c * v[0] for c, v in terms), Decimal(0)), sum((c * v[1] for c, v in terms), Decimal(0))


def reflected(h: Fraction) -> tuple[Decimal, dict[str, Decimal]]:
    """A2.cos at t = 1: the cosine of g = grad f(w_0) and a = g - h R g, where R g is g turned so that cos(g, R g) = h.

    Args:
        h: eta L, a cosine whose sine is rational too.

    Returns:
        The cosine and the constants of A2.cos; R is the reflection that exchanges g and R g.
    """
    step = Decimal(h.numerator) / h.denominator
    g, Rg = (Decimal(1), Decimal(0)), (step, (1 - step**2).sqrt())
    a = _along((Decimal(1), g), (-step, Rg))
    cosine = _dot(_unit(a), g)
    return cosine, {"L": Decimal(3), "eta": step / 3, "norm_g": Decimal(1), "norm_p": Decimal(0)}


def unit_step(m: Decimal, rho: Decimal, T: int) -> Decimal:
    """e_T^2 at h = 1 of the path that attains A4.strong, and A4.convex for m = 0; L = eta = 1.

    f_t has Hessian m I + (1 - m) e e'. s_t = p^S2 - p^SAM has norm 2 rho (rho at t = 0) and <u, s> = -m ||u||^2/(1 +
    m); e is the unit vector whose reflection takes u + s to the multiple of c s - (1 - c) u that makes the square in
    the identity of A4.strong zero, c = (1 + m)/2.

    Raises:
        ValueError: when rho is so small against ||u|| that no such s exists.
    """
    c, r = (1 + m) / 2, (1 - m) / 2
    u: Point = (Decimal(0), Decimal(0))
    for t in range(T):
        size, u2 = rho * (2 if t else 1), _dot(u, u)
        if u2 == 0:
            s = (size, Decimal(0))
        else:
            share = -m / (1 + m)
            if size**2 < share**2 * u2:
                raise ValueError(f"rho must be >= {share**2 * u2}^(1/2)/2 at step {t}, got {rho}; take a larger one")
            s = _along((share, u), ((size**2 / u2 - share**2).sqrt(), (-u[1], u[0])))
        y = _along((1, u), (1, s))
        e = _unit(_along((1, y), (r / (1 - c), s), (-r / c, u)))
        u = _along((1 - m, u), (-m, s), (-(1 - m) * _dot(e, y), e))
    return _dot(u, u)


def aligned(s: Decimal, N: int, L: Decimal, rho: Decimal) -> Decimal:
    """B7.full's difference of means for gradients (s, 1), (s, -1) and N - 2 times (-s^2, 0) at w, N >= 2.

    f_i has Hessian L times a reflection that turns n_i - e into the direction (1, 0), e that of the mean gradient. So
    the difference, (1/N) sum_i (grad f_i(w + rho n_i) - grad f_i(w + rho e)), is L rho times the mean of ||n_i - e||
    along (1, 0); the reflections are applied, not only their effect.
    """
    gradients = [(s, Decimal(1)), (s, Decimal(-1)), *[(-(s**2), Decimal(0))] * (N - 2)]
    e = _unit(_along(*((1, g) for g in gradients)))
    total: Point = (Decimal(0), Decimal(0))
    for g in gradients:
        x = _along((1, _unit(g)), (-1, e))
        size = _dot(x, x).sqrt()
        mirror = _along((1, x), (-size, (Decimal(1), Decimal(0))))  # x - size (1, 0), whose reflection exchanges both
        share = 2 * _dot(mirror, x) / _dot(mirror, mirror) if _dot(mirror, mirror) else Decimal(0)
        total = _along((1, total), (L * rho / N, x), (-share * L * rho / N, mirror))
    return _dot(total, total).sqrt()


def independent_batches(N: int, L: Fraction, rho: Fraction) -> Fraction:
    """B7.independent's difference of means for N directions n_i with <n_i, n_j> = -1/(N - 1).

    f_i has gradient n_i (times a small number, here the limit 0) at w, -x v at each w + rho n_j and x v at w + rho
    n_i, 2 x = L rho ||n_i - n_j|| and v a unit vector orthogonal to all n_i; its values there are 0. That an L-smooth
    f_i with these values and gradients exists is checked by the conditions that are necessary and sufficient (Taylor,
    Hendrickx and Glineur 2017, Theorem 3.10): f_a - f_b >= <g_a + g_b, x_a - x_b>/2 - L ||x_a - x_b||^2/4 + ||g_a -
    g_b||^2/(4L). Inner products of v and the n_i are 0, so the conditions are those of the distances alone.

    Args:
        N: number of samples, such that 2N/(N - 1) is the square of a rational number: 2, 9, 50, 289.
        L: smoothness constant.
        rho: radius.

    Raises:
        ArithmeticError: when a condition does not hold or the distance is not rational.
    """
    squared = Fraction(2 * N, N - 1)  # ||n_i - n_j||^2
    distance = Fraction(math.isqrt(squared.numerator), math.isqrt(squared.denominator))
    if distance**2 != squared:
        raise ArithmeticError(f"2N/(N - 1) must be a rational square, got N = {N}; take 2, 9, 50 or 289")
    x = L * rho * distance / 2
    pairs = ((rho**2, x), (rho**2 * squared, 2 * x), (rho**2 * squared, 0))  # (w, any), (i, j), (j, k)
    for apart, turn in pairs:
        if turn**2 / (4 * L) > L * apart / 4:
            raise ArithmeticError(f"gradients must differ by at most L times the distance, got {turn} at N = {N}")
    return Fraction(N * (N - 1), N**2) * 2 * x

