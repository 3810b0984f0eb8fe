"""B5 and B6: the limits of S2-SAM and SAM on a parabola, and the shadow iterates, in rational arithmetic."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import CLAIMS
from theory.bounds import limits

H = (Fraction(1, 10), Fraction(1, 2), Fraction(9, 10))
UNIT = 2.0**-53


def sign(x):
    return (x > 0) - (x < 0)


def s2sam(h, rho, w, T):
    """w_T of S2-SAM on f = L w^2/2, written out for this test: the gradient is L times y, the step h times y."""
    d = 0
    for _ in range(T):
        y = w + rho * d
        w, d = w - h * y, sign(y)
    return w


def sam(h, rho, w, T):
    for _ in range(T):
        w -= h * (w + rho * sign(w))
    return w


def check_path(bound, h, steps=200):
    """w_t equals the closed form for every t, exactly, in one run."""
    rho, w0 = Fraction(2, 7), Fraction(3)
    w, d = w0, 0
    for t in range(1, steps + 1):
        y = w + rho * d
        w, d = w - h * y, sign(y)
        assert w == bound(h=h, rho=rho, w0=w0, T=t)


@pytest.mark.parametrize("h", H)
def test_s2sam_path_is_exact(h):
    check_path(limits.s2sam_path, h)


def test_s2sam_path_mutants_are_caught():
    mutants = (
        lambda T, **c: limits.s2sam_path(T=T + 1, **c),
        lambda rho, **c: limits.s2sam_path(rho=rho, **c) + rho / 2,
        lambda h, **c: limits.s2sam_path(h=1, **c),
    )
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check_path(mutant, Fraction(1, 2))


def test_s2sam_at_unit_step_is_periodic():
    """Outside the claim: 0, -rho, -rho, 0, rho, rho, of period six."""
    assert [s2sam(1, 2, 3, t) for t in range(1, 13)] == [0, -2, -2, 0, 2, 2] * 2
    assert CLAIMS["B5.s2sam"].domain(h=1.0, rho=1.0, w0=1.0, T=3) is False


def test_s2sam_in_floating_point_leaves_the_limit():
    """The condition of the claim is needed: y_t rounds to 0 and the direction is lost."""
    exact = limits.s2sam_path(h=0.5, rho=1.0, w0=1.0, T=100)
    assert abs(s2sam(0.5, 1.0, 1.0, 100) - exact) > 0.1
    assert s2sam(0.5, 1.0, 1.0, 40) == limits.s2sam_path(h=0.5, rho=1.0, w0=1.0, T=40)  # dyadic: still exact
    assert CLAIMS["B5.s2sam"].condition.startswith("the arithmetic is exact")


def check_cycle(bound, h):
    """The two-cycle is exact, and every start not on the way to 0 ends there: error |1 - h|^k after k sign changes."""
    L, rho = Fraction(3), Fraction(2, 7)
    w = bound(L=L, h=h, rho=rho) / L
    assert sam(h, rho, w, 1) == -w
    for start in (Fraction(1, 3), Fraction(-5, 2), Fraction(7)):
        assert abs(L * abs(sam(h, rho, start, 400)) - L * w) < 10**-9 * L  # 0.95^400 < 10^-8 of the start's excess


@pytest.mark.parametrize("h", [*H, Fraction(1), Fraction(3, 2), Fraction(19, 10)])
def test_sam_two_cycle_is_exact(h):
    check_cycle(limits.sam_cycle, h)


def test_sam_cycle_mutant_is_caught():
    with pytest.raises(AssertionError):
        check_cycle(lambda L, h, rho: L * rho * h / 2, Fraction(1, 2))


def check_floor(bound, h, rule, T=60):
    """B5.lower on L w^2/2 (mu = L = 3): at every step that perturbs, one of two gradients is at the floor or above."""
    L, rho = Fraction(3), Fraction(2, 7)
    floor = bound(eta=h / L, mu=L, rho=rho)
    path = [abs(L * rule(h, rho, Fraction(1, 3), t)) for t in range(1, T)]
    assert all(max(pair) >= floor for pair in itertools.pairwise(path))


@pytest.mark.parametrize("rule", [s2sam, sam])
@pytest.mark.parametrize("h", H)
def test_gradient_floor(rule, h):
    check_floor(limits.gradient_floor, h, rule)


def check_floor_is_met(bound, m):
    """w_t = -p_t on mu w^2/2 stays (m >= 2); SAM's cycle makes both gradients the floor (m <= 3 - sqrt 5): exact."""
    mu, rho = Fraction(3), Fraction(2, 7)
    floor = bound(eta=m / mu, mu=mu, rho=rho)
    start = rho * m / (2 - m) if m < 1 else rho
    after = (1 - m) * start - m * rho * (1 if m < 1 else -1)
    assert abs(after) == start
    # some ten roundings of numbers below 2, in the three terms of which two cancel
    assert abs(floor - mu * start) <= 40 * UNIT * mu * rho


@pytest.mark.parametrize("m", [Fraction(1, 100), Fraction(1, 2), Fraction(3, 4), Fraction(2), Fraction(5)])
def test_gradient_floor_is_met(m):
    check_floor_is_met(limits.gradient_floor, m)


@given(m=st.floats(1e-9, 20))
def test_gradient_floor_is_continuous_and_does_not_decrease(m):
    """F has slope at most 1/2 + 1 (m/(2 - m) at 0.76); no larger than SAM's cycle, never below the norms' m/(2 + m)."""
    floor = lambda m: limits.gradient_floor(eta=m, mu=1.0, rho=1.0)  # noqa: E731
    slack = 40 * UNIT
    assert floor(m) - slack <= floor(m * 1.001) <= floor(m) + 1.5 * 0.001 * m + slack
    assert m / (2 + m) <= floor(m) * (1 + slack)
    assert floor(m) <= min(1, m / (2 - m) if m < 1 else 1) + slack


@given(seed=st.integers(0, 2**32 - 1), m=st.floats(0.05, 4))
def test_gradient_floor_holds_on_quadratics_in_the_plane(seed, m):
    """Random Hessians with eigenvalues mu = 1 and up to 10, random w and p: a step has one of its gradients above."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(2, 2)))
    H = q @ np.diag([1, rng.uniform(1, 10)]) @ q.T
    p = rng.normal(size=2)
    p /= np.linalg.norm(p)
    w = -p + rng.normal(size=2) * rng.choice([0.01, 0.1, 1.0])
    after = w - m * H @ (w + p)
    top = max(np.linalg.norm(H @ w), np.linalg.norm(H @ after))
    # the numbers are below 10 (1 + 4 * 10 * 6): 20 roundings of that
    assert top >= limits.gradient_floor(eta=m, mu=1.0, rho=1.0) - 20 * UNIT * 2500


def test_gradient_floor_mutants_are_caught():
    with pytest.raises(AssertionError):
        check_floor(lambda eta, mu, rho: mu * rho, Fraction(1, 2), sam)
    with pytest.raises(AssertionError):
        check_floor_is_met(lambda eta, mu, rho: eta * mu**2 * rho / (2 + eta * mu), Fraction(1, 2))


@given(st.data())
def test_shadow_iterates_in_fractions(data):
    """B6 on f = w^2/2 with changing steps and radii: the residual is 0, the distance at most rho_t."""
    numbers = st.fractions(-3, 3, max_denominator=9)
    w, d, before = data.draw(numbers), 0, None
    for _ in range(6):
        rho, eta = abs(data.draw(numbers)), data.draw(numbers)
        y = w + rho * d
        assert abs(w - y) <= limits.shadow_distance(rho=rho)
        if before is not None:
            old_y, old_eta, old_p = before
            assert abs(y - (old_y - old_eta * old_y + rho * d - old_p)) == limits.shadow_residual()
        before = y, eta, rho * d
        w, d = w - eta * y, sign(y)


def test_mirror_image():
    """From -w_0 the path of S2-SAM is the mirror image, as B5.s2sam says without covering it."""
    assert all(s2sam(h, Fraction(1), -2, t) == -limits.s2sam_path(h=h, rho=Fraction(1), w0=2, T=t)
               for h in H for t in range(1, 30))
    assert math.isclose(limits.s2sam_path(h=0.5, rho=1.0, w0=2.0, T=60), -1.0, rel_tol=2 * UNIT)
