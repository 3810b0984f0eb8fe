"""B9 and B10: momentum in rational arithmetic, and S2-SAM on quadratics in loops of Python numbers."""

import itertools
import math
import random
from fractions import Fraction

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import CLAIMS
from theory.bounds import convergence, momentum, orbits

UNIT = 2.0**-53


@given(data=st.data())
def test_momentum_without_momentum_is_b1(data):
    amounts = st.fractions(0, 9, max_denominator=9)
    c = {name: data.draw(amounts) for name in ("gap", "P2", "sigma2")}
    c |= {"eta": data.draw(amounts) + 1, "L": data.draw(amounts) + 1, "T": data.draw(st.integers(1, 9))}
    assert momentum.momentum(beta=Fraction(0), **c) == convergence.nonconvex(**c)


def heavy_ball(beta, eta, L, w, perturbations):
    """Both sides' ingredients on f = L w^2/2 in one dimension, written out for this test; exact in fractions."""
    v, rows = 0, []
    for p in perturbations:
        rows.append((L * w, L * (w + p), p, w, w - eta * beta / (1 - beta) * v))
        v = beta * v + L * (w + p)
        w -= eta * v
    return rows, w, w - eta * beta / (1 - beta) * v


def check_heavy_ball(bound, beta, part, perturbations, *, at_z=True):
    """B9 with Delta as realised, exactly: at z, or at w, where it is false."""
    L, w0 = Fraction(3), Fraction(1)
    eta = part * (1 - beta) ** 2 / (L * (1 + beta))
    alpha, T = eta / (1 - beta), len(perturbations)
    rows, w, z = heavy_ball(beta, eta, L, w0, perturbations)
    left = sum(r[0] ** 2 + (1 - L * alpha * (1 + beta) / (1 - beta)) * r[1] ** 2 for r in rows) / T
    gap = L * w0**2 / 2 - L * (z if at_z else w) ** 2 / 2
    P2 = sum(p**2 for _, _, p, *_ in rows) / T
    assert left <= bound(eta=eta, beta=beta, L=L, gap=gap, T=T, P2=P2, sigma2=0)


NUMBERS = st.fractions(-2, 2, max_denominator=8)
BETAS = st.fractions(0, Fraction(19, 20), max_denominator=20)


@given(beta=BETAS, part=st.fractions(Fraction(1, 8), 1, max_denominator=8), p=st.lists(NUMBERS, min_size=1, max_size=9))
def test_momentum_in_fractions(beta, part, p):
    check_heavy_ball(momentum.momentum, beta, part, p)


def test_momentum_mutants_are_caught():
    half, full = Fraction(1, 2), Fraction(1, 64)
    check_heavy_ball(momentum.momentum, half, full, [0])
    with pytest.raises(AssertionError):
        check_heavy_ball(momentum.momentum, half, full, [0], at_z=False)  # f(w_0) - f(w_T): the statement is false
    with pytest.raises(AssertionError):
        check_heavy_ball(lambda eta, beta, **c: convergence.nonconvex(eta=2 * eta / (1 - beta), **c), half, full, [0])
    steady = [Fraction((-1) ** t) for t in range(4)]
    check_heavy_ball(momentum.momentum, half, full, steady)
    with pytest.raises(AssertionError):
        check_heavy_ball(lambda P2, **c: momentum.momentum(P2=0 * P2, **c), half, full, steady)


def s2sam(curvatures, w, h, rho, steps, d=None):
    """Weights and directions d_{t-1} of S2-SAM on sum of c w^2/2 with L = 1, in any numbers that know ** 0.5."""
    d = d or [0 * x for x in w]
    path = []
    for _ in range(steps + 1):
        path.append((list(w), list(d)))
        g = [c * (x + rho * e) for c, x, e in zip(curvatures, w, d, strict=True)]
        size = sum(x * x for x in g) ** 0.5
        w = [x - h * y for x, y in zip(w, g, strict=True)]
        d = [y / size if size else y for y in g]
    return path


def gradient(curvatures, w):
    return math.sqrt(sum((c * x) ** 2 for c, x in zip(curvatures, w, strict=True)))


def check_every_window(bound, curvatures, w, h, rho, steps=40):
    """B10.gap on every window t_1 <= t <= t_1 + T of one run."""
    path = s2sam(curvatures, w, h, rho, steps)
    norms = [gradient(curvatures, at) for at, _ in path]
    q = max(map(abs, curvatures[1:]))
    for begin in range(1, steps):
        C = min(1.0, abs(path[begin][1][0]))
        for T in range(1, steps - begin + 1):
            limit = bound(L=1.0, h=h, rho=rho, q=q, C=C, T=T)
            # a few roundings a step of numbers of size |w| + rho, magnified by no step of a bounded run
            assert max(norms[begin : begin + T + 1]) >= limit - 1000 * UNIT * (rho + max(norms))


def quadratics(count, signed):
    draw = random.Random(5)
    for _ in range(count):
        d, q = draw.choice([2, 3, 5]), draw.random()
        others = [q * draw.uniform(-1 if signed else 0, 1) for _ in range(d - 2)]
        w = [draw.gauss(0, 1) for _ in range(d)]
        yield [1.0, q, *others], w, draw.choice([0.1, 0.5, 1.0]), draw.choice([0.1, 1, 5])


def check_runs(bound, count, signed):
    for curvatures, w, h, rho in quadratics(count, signed):
        check_every_window(bound, curvatures, w, h, rho)


@pytest.mark.parametrize("signed", [False, True])
def test_the_gradient_does_not_vanish_across_a_gap(signed):
    check_runs(orbits.gap_window, 30, signed)


def test_gap_mutants_are_caught():
    """Twice the bound is too much, and so is the bound without its transient factor or without the gap."""
    mutants = (
        lambda **c: 2 * orbits.gap_window(**c),
        lambda T, **c: orbits.gap_window(T=10**6, **c),
        lambda q, **c: orbits.gap_window(q=0, **c),
    )
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check_runs(mutant, 60, False)


def test_the_gap_bound_tends_to_the_statement_about_limits():
    at = {"L": 3.0, "h": 0.25, "rho": 2.0, "q": 0.4, "T": 10**4}
    for C in (1.0, 0.9, math.sqrt(0.5)):
        assert orbits.gap_window(C=C, **at) == pytest.approx(0.6 * 3 * 2 / 2, rel=8 * UNIT)
    assert orbits.gap_window(C=0.6, **at) == pytest.approx(0.6 * 0.6 * 0.8 * 3 * 2, rel=8 * UNIT)
    assert orbits.gap_window(C=0.0, **at) == 0


def check_isotropic(bound, w, d, h, rho, T):
    """B10.isotropic on one run with L = 1 from the direction d (up to its length)."""
    size = math.hypot(*d)
    d = [x / size for x in d]
    path = s2sam([1.0] * len(w), w, h, rho, T, d)
    along = sum(x * e for x, e in zip(w, d, strict=True))
    area = math.sqrt(sum((x - along * e) ** 2 for x, e in zip(w, d, strict=True))) / rho
    W = sum(x * x for x in w) / rho**2
    left = sum(sum(x * x for x in at) for at, _ in path[:T]) / T
    assert left <= bound(L=1.0, h=h, rho=rho, W=W, area=area, T=T) * (1 + 1000 * UNIT)


def starts(count):
    draw = random.Random(6)
    for _ in range(count):
        k = draw.choice([2, 4])
        w, d = ([draw.gauss(0, 1) for _ in range(k)] for _ in range(2))
        yield w, d, draw.choice([0.02, 0.3, 1.0]), draw.choice([0.05, 1.0, 4.0]), draw.choice([1, 7, 400])


def check_starts(bound):
    for start in starts(150):
        check_isotropic(bound, *start)


def test_the_gradient_shrinks_with_the_step_without_a_gap():
    check_starts(orbits.isotropic_mean)


def test_isotropic_mutants_are_caught():
    mutants = (
        lambda W, **c: orbits.isotropic_mean(W=min(W, 1e-9), **c),
        lambda h, **c: orbits.isotropic_mean(h=h / 2, **c),
        lambda rho, **c: orbits.isotropic_mean(rho=rho / 1.1, **c),
    )
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check_starts(mutant)


def test_from_no_direction_the_run_stays_on_a_line_and_has_the_floor_of_b5():
    """The claim needs its start: parallel directions have area 0, outside its domain, and do not obey it."""
    assert CLAIMS["B10.isotropic"].domain(L=1.0, h=0.1, rho=1.0, W=1.0, area=0.0, T=9) is False
    w, _ = s2sam([1.0, 1.0], [1.0, 0.0], 0.1, 1.0, 100)[-1]  # along an axis, where rounding cannot turn it
    assert math.hypot(*w) == pytest.approx(1.0, abs=1e-4)  # 2 0.9^99 < 1e-4; the circle's radius would be 0.32


@pytest.mark.parametrize("h", ["0.1", "0.5", "1"])
def test_the_circle_is_an_exact_orbit(h):
    """||w|| = rho sqrt(h) for ever, turned by 2 arcsin(sqrt(h)/2) a step, in 50 digits."""
    with mpmath.workdps(50):
        h, rho = mpmath.mpf(h), mpmath.mpf(3)
        cos = -mpmath.sqrt(h) / 2  # between w and d, so that ||w + rho d|| = rho
        w, d = [rho * mpmath.sqrt(h), mpmath.mpf(0)], [cos, mpmath.sqrt(1 - cos**2)]
        path = [at for at, _ in s2sam([mpmath.mpf(1)] * 2, w, h, rho, 50, d)]
        angle = 2 * mpmath.asin(mpmath.sqrt(h) / 2)
        for one, two in itertools.pairwise(path):
            assert abs(mpmath.hypot(*two) - rho * mpmath.sqrt(h)) < mpmath.mpf("1e-40")  # 50 digits, 50 steps
            inner = (one[0] * two[0] + one[1] * two[1]) / (rho**2 * h)
            assert abs(inner - mpmath.cos(angle)) < mpmath.mpf("1e-40")


def test_the_conjecture_contains_the_parabola():
    """q = 0 is one dimension, where B5 gives the limit L rho for every h < 1."""
    assert CLAIMS["B10.conjecture"](L=2.0, h=0.3, rho=0.5, q=0.0) == 1.0
    assert CLAIMS["B10.conjecture"](L=2.0, h=0.25, rho=0.5, q=0.9) == 0.5
