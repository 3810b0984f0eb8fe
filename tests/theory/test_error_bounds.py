"""A: every bound against the vectors and paths it speaks of, with the cases that attain it."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import CLAIMS
from theory.bounds import error

UNIT = 2.0**-53
TRIPLES = ((3, 4, 5), (5, 12, 13), (8, 15, 17), (20, 21, 29))


@st.composite
def vectors(draw, dim=3):
    """A float64 vector of norm between 0.1 and 10, any direction."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=dim)
    return x / np.linalg.norm(x) * draw(st.floats(0.1, 10))


def unit(x):
    size = np.linalg.norm(x)
    return x / size if size else x


def check_perturbation(bound, a, b, rho, attained=False):
    """A1 on two vectors; 60 roundings of numbers up to 2 rho (norms, differences and quotients in three dimensions)."""
    measured = np.linalg.norm(rho * unit(b) - rho * unit(a))
    value = bound(rho=rho, diff=np.linalg.norm(a - b), norm_a=np.linalg.norm(a), norm_b=np.linalg.norm(b))
    slack = 60 * UNIT * 2 * rho
    assert measured <= value + slack <= 2 * rho + 2 * slack
    if attained:
        assert abs(measured - value) <= slack


@given(a=vectors(), b=vectors(), rho=st.floats(0.01, 10))
def test_a1_on_random_vectors(a, b, rho):
    check_perturbation(error.perturbation_error, a, b, rho)


@given(a=vectors(), b=vectors(), rho=st.floats(0.01, 10), factor=st.floats(0.1, 10))
def test_a1_is_attained_by_equal_norms_and_by_antiparallel_vectors(a, b, rho, factor):
    for pair in ((a, unit(b) * np.linalg.norm(a)), (a, -factor * a)):
        check_perturbation(error.perturbation_error, *pair, rho, attained=True)
    with pytest.raises(AssertionError):
        check_perturbation(lambda **c: error.perturbation_error(**c) / 2, a, -factor * a, rho)


def test_a1_with_one_zero_vector():
    check_perturbation(error.perturbation_error, np.zeros(2), np.array([3.0, 4.0]), 0.5)
    assert error.perturbation_error(rho=0.5, diff=5.0, norm_a=0.0, norm_b=5.0) == 1.0  # the left side is rho = 0.5


def check_cosine(bound, a, b):
    """A1.cos on two integer vectors: cos >= floor, compared as squares, exactly; True if it is attained."""
    dot, a2, b2 = (sum(x * y for x, y in zip(*pair, strict=True)) for pair in ((a, b), (a, a), (b, b)))
    diff2 = a2 + b2 - 2 * dot
    floor = bound(diff=mpmath.sqrt(diff2), norm_b=mpmath.sqrt(b2))
    cosine = dot / mpmath.sqrt(a2 * b2)
    assert cosine >= floor - mpmath.mpf("1e-45")  # a dozen roundings of 50 digits
    return abs(cosine - floor) < mpmath.mpf("1e-45")


@given(a=st.tuples(*[st.integers(-50, 50)] * 3), e=st.tuples(*[st.integers(-50, 50)] * 3))
def test_a1_cos_holds_and_is_attained(a, e):
    """b = a + e is at distance ||e||; the floor is attained exactly when e is orthogonal to a (or zero)."""
    with mpmath.workdps(50):
        b = tuple(x + y for x, y in zip(a, e, strict=True))
        inside = sum(x * x for x in e) < sum(x * x for x in b)
        if inside:
            assert check_cosine(error.cosine_floor, a, b) == (sum(x * y for x, y in zip(a, e, strict=True)) == 0)
        across = (-a[1], a[0], 0)
        if any(a[:2]) or a[2]:
            assert check_cosine(error.cosine_floor, a, tuple(x + y for x, y in zip(a, across, strict=True)))


@pytest.mark.parametrize(("x", "y", "z"), TRIPLES)
def test_a1_cos_mutant_is_caught(x, y, z):
    """Right triangles: a = (x, 0), b = (x, y), ||a - b|| = y, ||b|| = z, cos = x/z."""
    with mpmath.workdps(50):
        floor = error.cosine_floor(diff=mpmath.mpf(y), norm_b=mpmath.mpf(z))
        assert abs(floor - mpmath.mpf(x) / z) < mpmath.mpf("1e-45")
        with pytest.raises(AssertionError):
            check_cosine(lambda diff, norm_b: 1 - diff**2 / norm_b**2 / 2, (x, 0), (x, y))


def check_stale(bound, curvature, L, eta, w, p):
    """A2 in one dimension on f = curvature w^2/2, exactly: the distance of grad f(w_t) from g_{t-1}."""
    g = curvature * (w + p)
    measured = abs(curvature * (w - eta * g) - g)
    value = bound(L=L, eta=eta, norm_g=abs(g), norm_p=abs(p))
    assert measured <= value
    return measured == value


FRACTIONS = st.fractions(min_value=Fraction(1, 20), max_value=5, max_denominator=20)
SHARES = st.fractions(min_value=-1, max_value=1, max_denominator=9)


@given(L=FRACTIONS, share=SHARES, eta=FRACTIONS, w=FRACTIONS, p=FRACTIONS)
def test_a2_holds_and_is_attained_when_both_displacements_agree(L, share, eta, w, p):
    for sign in (1, -1):
        check_stale(error.staleness, share * L, L, eta, w, sign * p)
    assert check_stale(error.staleness, L, L, eta, w, p)  # g and p both positive: no cancellation
    with pytest.raises(AssertionError):
        check_stale(lambda norm_p, **c: error.staleness(norm_p=norm_p / 2, **c), L, L, eta, w, p)


def test_a2_cos_is_a1_cos_at_the_staleness():
    # s = 0.5 + 0.1/1 = 0.6: a right triangle of sides 0.6, 0.8, 1
    assert CLAIMS["A2.cos"](L=1.0, eta=0.5, norm_g=1.0, norm_p=0.1) == 0.8
    # f = -L w^2/2 in the plane of g = (1, 0), displaced at right angles: grad f(w_t) = g + (0, 0.6)
    assert CLAIMS["A2.cos"](L=1.0, eta=0.0, norm_g=1.0, norm_p=0.6) == pytest.approx(0.8, rel=4 * UNIT)


def test_a3_is_attained_by_opposite_perturbations():
    L, rho = Fraction(3), Fraction(1, 7)
    gradients = [L * (5 + p) for p in (rho, -rho, 0)]
    assert abs(gradients[0] - gradients[1]) == error.gradient_error(L=L, rho=rho)
    assert abs(gradients[0] - gradients[1]) == error.gradient_error_step(L=L, diff_p=2 * rho)
    assert abs(gradients[1] - gradients[2]) == error.gradient_error_start(L=L, rho=rho)


def check_alignment(bound, curvature, L, w, d, rho):
    """A5 on f = curvature w^2/2 and a unit step d in one dimension, exactly."""
    a = curvature * w
    measured = abs(curvature * ((w + rho * d) ** 2 - w**2) / 2 - rho * (1 if a * d > 0 else -1) * abs(a))
    assert measured <= bound(L=L, rho=rho)
    return measured == bound(L=L, rho=rho)


@given(L=FRACTIONS, w=FRACTIONS, rho=FRACTIONS)
def test_a5_is_attained_in_all_signs(L, w, rho):
    for curvature in (L, -L):
        for d in (1, -1):
            assert check_alignment(error.alignment, curvature, L, w, d, rho)
    assert not check_alignment(error.alignment, L / 2, L, w, 1, rho)
    with pytest.raises(AssertionError):
        check_alignment(lambda **c: error.alignment(**c) / 2, L, L, w, 1, rho)
