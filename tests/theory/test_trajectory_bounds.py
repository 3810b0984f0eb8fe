"""A4: paths that attain the bounds, random paths that must respect them, and how the five forms fit together."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import CLAIMS
from theory.bounds import error, trajectory

UNIT = 2.0**-53
HS = (Fraction(1, 10), Fraction(1, 2), Fraction(1), Fraction(7, 4), Fraction(3))


def check_smooth(bound, h, rho, T):
    """f = -L w^2/2 with opposite perturbations, the first of S2-SAM being zero: e_T equals the bound, exactly."""
    s2, sam = Fraction(1), Fraction(1)
    for t in range(T):
        s2 += h * (s2 + (rho if t else 0))  # w - eta grad f(w + p) with grad f(y) = -L y
        sam += h * (sam - rho)
    assert abs(s2 - sam) == bound(h=h, rho=rho, T=T)


@pytest.mark.parametrize("h", HS)
@pytest.mark.parametrize("T", range(1, 11))
def test_smooth_form_is_attained(h, T):
    check_smooth(error.trajectory_smooth, h, Fraction(1, 7), T)


def test_smooth_mutants_are_caught():
    mutants = (
        lambda h, rho, T: error.trajectory_smooth(h=h, rho=rho / 2, T=T),
        lambda h, rho, T: error.trajectory_smooth(h=h, rho=rho, T=2),  # the growth of later steps dropped
    )
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check_smooth(mutant, Fraction(1, 2), Fraction(1, 7), 5)


def rotate(x):
    return np.array([-x[1], x[0]])


def unit_step_worst_path(m, rho, T):
    """e_T^2 at h = 1 of the path described in the proof of A4.strong; m = 0 is A4.convex. L = eta = 1.

    f_t has Hessian m I + (1 - m) e e' in the plane; s_t has <u, s> = -m |u|^2/(1 + m), and e is the unit vector whose
    reflection R = 2 e e' - I takes u + s to the multiple of c s - (1 - c) u that makes the square in the identity zero.
    """
    c, r = (1 + m) / 2, (1 - m) / 2
    u = np.array([mpmath.mpf(0), mpmath.mpf(0)])
    for t in range(T):
        size2, u2 = (rho if t == 0 else 2 * rho) ** 2, u @ u
        if u2 == 0:
            s = np.array([mpmath.sqrt(size2), mpmath.mpf(0)])
        else:
            along = -m / (1 + m)
            s = along * u + mpmath.sqrt(size2 / u2 - along**2) * rotate(u)
        y, target = u + s, (c * s - (1 - c) * u) * r / (c * (1 - c))
        e = y + target  # both of one length: R y = target reflects about their bisector
        e = e / mpmath.sqrt(e @ e)
        gradient = m * y + (1 - m) * e * (e @ y)
        s2sam, sam = s / 2 if t else 0 * s, -s / 2 if t else -s  # norms at most rho, and S2-SAM starts without
        assert max(s2sam @ s2sam, sam @ sam) <= rho**2 * (1 + mpmath.mpf("1e-45"))
        u = u - gradient
    return u @ u


@pytest.mark.parametrize("T", [1, 2, 3, 7, 30])
def test_squared_forms_are_attained_at_unit_step(T):
    """50 digits, at most 30 steps of some 50 roundings: relative error below 10^-45."""
    with mpmath.workdps(50):
        rho = mpmath.mpf("0.3")
        convex, tolerance = error.trajectory_convex(h=1, rho=rho, T=T), mpmath.mpf("1e-45")
        assert abs(unit_step_worst_path(mpmath.mpf(0), rho, T) - convex) <= tolerance * convex
        for m in (mpmath.mpf(1) / 3, mpmath.mpf("0.01"), mpmath.mpf("0.9")):
            strong = error.trajectory_strong(h=1, m=m, rho=rho, T=T)
            assert abs(unit_step_worst_path(m, rho, T) - strong) <= tolerance * strong


FORMS = {  # what each claim says of e_T
    "A4.smooth": lambda h, m, rho, T: error.trajectory_smooth(h=h, rho=rho, T=T),
    "A4.convex": lambda h, m, rho, T: error.trajectory_convex(h=h, rho=rho, T=T) ** 0.5,
    "A4.convex-linear": lambda h, m, rho, T: error.trajectory_convex_linear(h=h, rho=rho, T=T),
    "A4.strong": lambda h, m, rho, T: error.trajectory_strong(h=h, m=m, rho=rho, T=T) ** 0.5,
    "A4.strong-linear": lambda h, m, rho, T: error.trajectory_strong_linear(h=h, m=m, rho=rho, T=T),
}


def quadratic(rng, h, m):
    """A symmetric 2 x 2 matrix with eigenvalues m and h, the Hessian of a step in units of 1/eta."""
    q, _ = np.linalg.qr(rng.normal(size=(2, 2)))
    return q @ np.diag([m, h]) @ q.T


def check_random_path(bound, seed, h, m, rho, T):
    """Random quadratics f_t with spectrum {m, h}, greedy perturbations (the worst of eight pairs at every step)."""
    rng = np.random.default_rng(seed)
    u = np.zeros(2)
    for t in range(T):
        directions = rng.normal(size=(8, 2, 2))
        directions *= rho / np.linalg.norm(directions, axis=2, keepdims=True)
        if t == 0:
            directions[:, 0] = 0
        H = quadratic(rng, h, m)
        following = [u - H @ (u + p[0] - p[1]) for p in directions]
        u = max(following, key=np.linalg.norm)
    # 100 roundings a step of numbers no larger than the error, at most 2 rho T, plus 2 rho; no step expands errors
    slack = 100 * T * UNIT * 2 * rho * (T + 1)
    assert np.linalg.norm(u) <= bound(h, m, rho, T) + slack


@pytest.mark.parametrize("label", FORMS)
@given(seed=st.integers(0, 2**32 - 1), h=st.floats(0.05, 1.9), share=st.floats(0.05, 0.95), T=st.integers(1, 12))
def test_random_paths_respect_every_form(label, seed, h, share, T):
    m = share * min(h, 2 - h)
    assert CLAIMS[label].domain(h=h, m=m, rho=0.5, T=T) is True
    check_random_path(FORMS[label], seed, h, m, 0.5, T)


@pytest.mark.parametrize("label", FORMS)
def test_random_paths_catch_a_bound_without_the_later_perturbations(label):
    """Without the terms of t >= 1 every form is rho at h = 1; the greedy path is beyond that after 12 steps."""
    with pytest.raises(AssertionError):
        check_random_path(lambda h, m, rho, T: FORMS[label](h, m, rho, 1), 3, 1.0, 0.1, 0.5, 12)


@given(h=st.fractions(Fraction(1, 50), Fraction(99, 50)), rho=st.fractions(0, 5), T=st.integers(1, 40))
def test_forms_fit_together(h, rho, T):
    """Exact: what stronger hypotheses improve, and the convex forms as the limit mu -> 0 of the strong ones."""
    convex, linear = error.trajectory_convex(h=h, rho=rho, T=T), error.trajectory_convex_linear(h=h, rho=rho, T=T)
    assert linear <= error.trajectory_smooth(h=h, rho=rho, T=T)
    small, one = min(h, 2 - h) / 10**9, Fraction(1)
    strong = error.trajectory_strong(h=h, m=small, rho=rho, T=T)
    strong_linear = error.trajectory_strong_linear(h=h, m=small, rho=rho, T=T)
    # first order in m: each of the T geometric terms loses at most T m/(h (2 - h)) of itself, and K as much
    assert abs(strong - convex) <= convex * 10 * T * small / (h * (2 - h))
    assert linear * (1 - T * small) <= strong_linear <= linear
    for share in (Fraction(1, 10), Fraction(1, 2), Fraction(9, 10)):
        m = share * min(h, 2 - h)
        assert error.trajectory_strong_linear(h=h, m=m, rho=rho, T=T) <= linear
        assert error.trajectory_strong(h=one, m=share, rho=rho, T=T) <= error.trajectory_convex(h=one, rho=rho, T=T)
        excess = trajectory.gain(h, m) - h / (2 - h)
        assert excess == 2 * m * (1 - h) ** 2 / ((2 - h) * (2 - h - m))


@given(h=st.fractions(Fraction(1, 50), Fraction(99, 50)), share=st.fractions(Fraction(1, 50), Fraction(49, 50)))
def test_closed_forms_solve_the_recursions_of_their_proofs(h, share):
    """One step of each proof, exactly: a perturbation error of rho at t = 0 and 2 rho after."""
    rho, m = Fraction(2, 7), share * min(h, 2 - h)
    Q, K = trajectory.contraction(h, m), trajectory.gain(h, m)
    squared = lambda T: error.trajectory_strong(h=h, m=m, rho=rho, T=T)  # noqa: E731
    linear = lambda T: error.trajectory_strong_linear(h=h, m=m, rho=rho, T=T)  # noqa: E731
    assert (squared(1), linear(1)) == ((h * rho) ** 2, h * rho)
    assert h**2 <= K
    for T in range(1, 6):
        assert squared(T + 1) == Q * squared(T) + 4 * K * rho**2
        assert linear(T + 1) == (1 - m) * linear(T) + 2 * h * rho


@given(kappa=st.fractions(Fraction(11, 10), 1000), T=st.integers(1, 60))
def test_strong_form_stays_bounded(kappa, T):
    """At h = 1, e_T <= 2 rho sqrt((kappa + 1)/2) for every T, and it comes near."""
    value = error.trajectory_strong(h=Fraction(1), m=1 / kappa, rho=Fraction(1), T=T)
    assert value <= 2 * (kappa + 1)
    Q = trajectory.contraction(Fraction(1), 1 / kappa)
    assert value == 2 * (kappa + 1) - Q ** (T - 1) * (2 * kappa + 1)  # K = h^2 = 1
