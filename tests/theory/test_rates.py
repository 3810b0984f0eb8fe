"""B2 and B4: the closed forms against the sums they bound, and runs that attain the contraction bounds."""

from fractions import Fraction

import mpmath
import pytest
from claim_points import POINTS, dyadic
from hypothesis import given
from hypothesis import strategies as st

from theory import CLAIMS
from theory.bounds import convergence, linear
from theory.bounds.trajectory import contraction, gain

CONSTANTS = {name: dyadic(Fraction(1, 4), 16).map(float) for name in ("L", "gap", "rho0", "c", "sigma2")}
HORIZONS = st.integers(1, 400)
ROUNDING = 1 + 1e-12  # sums of at most 400 non-negative terms and a dozen operations: 420 x 2^-53 < 10^-12


@given(point=st.fixed_dictionaries({**CONSTANTS, "T": HORIZONS}))
def test_fixed_schedule_bounds_b1_at_its_step_sizes(point):
    L, c, rho0, T = (point[k] for k in ("L", "c", "rho0", "T"))
    eta, P2 = min(1 / L, c / T**0.5), rho0**2 / T**0.5
    b1 = convergence.nonconvex(eta=eta, L=L, gap=point["gap"], T=T, P2=P2, sigma2=point["sigma2"])
    assert b1 <= CLAIMS["B2.fixed"](**point) * ROUNDING


def test_fixed_schedule_exceeds_b1_by_its_first_term():
    """Where eta = c/sqrt(T) only 1/eta <= L + 1/eta is given away: 2 L Delta/T; dyadic numbers, hence exact."""
    point = {"L": 4.0, "gap": 2.0, "T": 64, "c": 0.5, "rho0": 0.5, "sigma2": 2.0}
    b1 = convergence.nonconvex(eta=0.5 / 8, L=4.0, gap=2.0, T=64, P2=0.25 / 8, sigma2=2.0)
    assert convergence.fixed_schedule(**point) == b1 + 2 * 4.0 * 2.0 / 64


def test_fixed_schedule_needs_a_positive_gap():
    """With a negative measured Delta it would be false: 1/eta <= L + sqrt(T)/c bounds Delta/eta from below then."""
    eta, T, gap = 0.5, 4, -1.0  # min(1/L, c/sqrt(T)) for L = 1, c = 1
    true = convergence.nonconvex(eta=eta, L=1.0, gap=gap, T=T, P2=4.0, sigma2=0.0)
    assert convergence.fixed_schedule(L=1.0, gap=gap, T=T, rho0=8**0.5, c=1.0, sigma2=0.0) < true
    assert CLAIMS["B2.fixed"].domain(L=1.0, gap=gap, T=T, rho0=8**0.5, c=1.0, sigma2=0.0) is False


def test_best_scale_of_fixed_schedule():
    """c = sqrt(2 Delta/L)/sigma makes the two terms 2 sigma sqrt(2 L Delta), and any other c more."""
    point = {"L": 2.0, "gap": 4.0, "T": 100, "rho0": 0.0, "sigma2": 0.25}
    best = (2 * 4.0 / 2.0) ** 0.5 / 0.5
    floor = 2 * 2.0 * 4.0 / 100
    value = convergence.fixed_schedule(c=best, **point)
    assert value == pytest.approx(floor + 2 * 0.5 * (2 * 2.0 * 4.0) ** 0.5 / 10, rel=1e-15)  # a dozen roundings
    assert all(convergence.fixed_schedule(c=best * k, **point) > value for k in (0.9, 1.1))


def check_anytime(closed, power, point, T):
    """A closed form of B2 is never below B2.anytime at the sums of its schedule (p_0 = 0); the quotient."""
    L, eta0, rho0 = point["L"], point["c"] / 16 / point["L"], point["rho0"]
    common = {"L": L, "gap": point["gap"], "sigma2": point["sigma2"]}
    eta = [eta0 / (t + 1) ** 0.5 for t in range(T)]
    p2 = [0.0] + [(rho0 / (t + 1) ** power) ** 2 for t in range(1, T)]
    sums = {"sum_eta": sum(eta), "sum_eta_p2": sum(a * b for a, b in zip(eta, p2, strict=True)),
            "sum_eta2": sum(a * a for a in eta)}
    realised = CLAIMS["B2.anytime"](**common, **sums, eta0=eta0)
    value = closed(**common, eta0=eta0, rho0=rho0, T=T)
    assert 0 <= realised <= value * ROUNDING
    return value / realised if realised else 1.0


@given(point=st.fixed_dictionaries(CONSTANTS), T=HORIZONS)
def test_closed_anytime_rates(point, T):
    check_anytime(CLAIMS["B2.quarter"], 0.25, point, T)
    check_anytime(CLAIMS["B2.half"], 0.5, point, T)


@pytest.mark.parametrize("source", ["gap", "rho0", "sigma2"])
@pytest.mark.parametrize("power", [0.25, 0.5])
def test_closed_anytime_rates_are_close(source, power):
    """One source of error at a time: a sum and its integral differ by at most the first term, under 9% at T = 400.

    sum eta: 38.6 against 38.05; 1 + ln T = 6.99 against 6.57; ln T = 5.99 against 5.57; 1.613 against 1.512.
    """
    point = {"gap": 0.0, "rho0": 0.0, "sigma2": 0.0, source: 3.0, "L": 5.0, "c": 7.0}
    closed = convergence.anytime_quarter if power == 0.25 else convergence.anytime_half
    assert 1 < check_anytime(closed, power, point, 400) < 1.09 * 38.6 / 38.05


@pytest.mark.parametrize("closed", [convergence.anytime_quarter, convergence.anytime_half])
def test_logarithms_vanish_at_the_first_step(closed):
    """T = 1: sum eta_t^2 = eta0^2 exactly, and no step perturbs, of which only the closed half power makes no use."""
    common = {"L": 4.0, "gap": 0.0, "eta0": 0.5, "T": 1}
    assert closed(**common, rho0=0.0, sigma2=3.0) == 4.0 * 3.0 * 0.25 / (2**0.5 - 1)
    if closed is convergence.anytime_quarter:
        assert closed(**common, rho0=3.0, sigma2=0.0) == 0


def test_constant_of_the_half_power():
    """zeta(3/2) - 1 = 1.61237..., rounded up in the third decimal."""
    value = convergence.anytime_half(L=1.0, gap=0.0, sigma2=0.0, eta0=0.5, rho0=1.0, T=3)  # 0.5 constant/(2 - 1)
    assert 2 * value == 1.613
    assert 1.612 < mpmath.zeta(1.5) - 1 < 1.613


def test_closed_rates_are_told_apart():
    """The bound for the faster decay fails for the slower one, and a bound without its rho term for either."""
    point = {"L": 1.0, "gap": 0.25, "rho0": 16.0, "c": 16.0, "sigma2": 0.25}
    mutants = ((convergence.anytime_half, 0.25), (lambda rho0, **c: convergence.anytime_half(rho0=0.0, **c), 0.5))
    for closed, power in mutants:
        with pytest.raises(AssertionError):
            check_anytime(closed, power, point, 400)


@given(point=POINTS["B4.path"])
def test_pl_path_is_the_sum_and_below_pl(point):
    """Exact: Horner's rule is the stated sum, and the realised form is never above the closed one."""
    eta, L, mu, gap, P2, sigma2 = (point[k] for k in ("eta", "L", "mu", "gap", "P2", "sigma2"))
    T, q = len(P2), 1 - eta * mu
    stated = q**T * gap + eta / 2 * sum(q ** (T - 1 - t) * (L**2 * P2[t] + eta * L * sigma2) for t in range(T))
    assert linear.pl_path(**point) == stated
    others = {k: point[k] for k in ("eta", "L", "mu", "gap", "sigma2")}
    root = Fraction(int(max(P2)) + 1)  # a rational radius with rho^2 >= every square
    assert stated <= linear.pl(**others, T=T, rho=root)
    assert linear.pl_path(**{**point, "P2": [root**2] * T}) == linear.pl(**others, T=T, rho=root)


@given(point=POINTS["B4'"])
def test_distance_is_the_sum(point):
    eta, L, mu, R2, P2, sigma2 = (point[k] for k in ("eta", "L", "mu", "R2", "P2", "sigma2"))
    T, Q, K = len(P2), contraction(eta * L, eta * mu), gain(eta * L, eta * mu)
    noise = eta**2 * sigma2 * (1 - Q**T) / (1 - Q)
    assert linear.distance(**point) == Q**T * R2 + K * sum(Q ** (T - 1 - t) * P2[t] for t in range(T)) + noise


def check_distance(bound, h, m, T):
    """B4' is attained on f = L w^2/2, for which any mu <= L is valid, by p_t = -w_t h (1-c)/(c (1-h)); exact."""
    L, w, P2 = Fraction(2), Fraction(3), []
    c, start = (h + m) / 2, w
    for _ in range(T):
        p = -w * h * (1 - c) / (c * (1 - h))
        P2.append(p * p)
        w -= h * (w + p)
    assert w * w == bound(eta=h / L, L=L, mu=m / h * L, R2=start**2, P2=P2, sigma2=Fraction(0))


@given(h=st.fractions(Fraction(1, 20), Fraction(19, 20)), share=st.fractions(Fraction(1, 20), 1), T=st.integers(1, 10))
def test_distance_is_attained(h, share, T):
    check_distance(linear.distance, h, share * h, T)


def test_distance_mutants_are_caught():
    mutants = (
        lambda P2, **c: linear.distance(P2=[p / 2 for p in P2], **c),
        lambda R2, **c: linear.distance(R2=R2 / 2, **c),
        lambda L, mu, eta, **c: linear.distance(L=L, mu=mu, eta=eta / 2, **c),
    )
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check_distance(mutant, Fraction(1, 2), Fraction(1, 4), 4)


def check_pl(bound, p_of_w, h, T):
    """B4.path on f = L w^2/2 (mu = L) with the perturbation p_of_w(w); True if it is attained."""
    L, w, P2 = Fraction(2), Fraction(3), []
    start = w
    for _ in range(T):
        p = p_of_w(w)
        P2.append(p * p)
        w -= h * (w + p)
    value = bound(eta=h / L, L=L, mu=L, gap=L * start**2 / 2, P2=P2, sigma2=Fraction(0))
    assert L * w * w / 2 <= value
    return L * w * w / 2 == value


@given(h=st.fractions(Fraction(1, 20), 1), p=st.fractions(-9, 9), T=st.integers(1, 8))
def test_pl_holds_and_is_attained_by_a_perturbation_that_cancels_the_gradient(h, p, T):
    check_pl(linear.pl_path, lambda w: p, h, T)
    assert check_pl(linear.pl_path, lambda w: -w, h, T)
    with pytest.raises(AssertionError):
        check_pl(lambda P2, **c: linear.pl_path(P2=[x / 2 for x in P2], **c), lambda w: -w, h, T)


def test_floor_of_the_distance():
    """The limit of the recursion, sqrt((kappa + 1)/2) at h = 1 and rho at mu = L; 50 digits, 0.9^3000 < 10^-100."""
    with mpmath.workdps(50):
        rho, one = mpmath.mpf("0.3"), mpmath.mpf(1)
        for kappa in (one * 2, one * 10):
            floor = convergence.distance_floor(one, one / kappa, rho)
            assert abs(floor - rho * mpmath.sqrt((kappa + 1) / 2)) < mpmath.mpf("1e-45")
            far = convergence.distance(eta=one, L=one, mu=one / kappa, R2=one, P2=[rho**2] * 3000, sigma2=0 * one)
            assert abs(mpmath.sqrt(far) - floor) < mpmath.mpf("1e-45")
        assert abs(convergence.distance_floor(one / 2, one / 2, rho) - rho) < mpmath.mpf("1e-45")
