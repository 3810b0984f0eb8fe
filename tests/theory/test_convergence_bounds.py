"""B1 to B4: rational runs that attain the bounds exactly, and how the bounds fit together."""

import itertools
from fractions import Fraction

import mpmath
import pytest
from claim_points import POINTS
from hypothesis import given
from hypothesis import strategies as st

from theory import CLAIMS
from theory.bounds import convergence

FRACTIONS = st.fractions(Fraction(1, 10), 3, max_denominator=10)
SHARES = st.fractions(Fraction(1, 10), 1, max_denominator=10)
STARTS = st.fractions(-5, 5, max_denominator=10)
RULES = ("s2sam", "sam", "sgd", "any")


def sign(x):
    return (x > 0) - (x < 0)


def run(rule, L, eta, w, rho, T, any_p=()):
    """Weights w_0 ... w_T and perturbations p_0 ... p_{T-1} of a method on f = L w^2/2, written out for this test."""
    weights, perturbations, d = [w], [], 0
    for t in range(T):
        p = {"s2sam": rho * d, "sam": rho * sign(L * w), "sgd": 0 * rho, "any": any_p[t] if any_p else 0}[rule]
        g = L * (w + p)
        w, d = w - eta * g, sign(g)
        weights.append(w)
        perturbations.append(p)
    return weights, perturbations


@st.composite
def runs(draw):
    """A run and its constants: h <= 1, all rules, rational numbers."""
    L, rho, T = draw(FRACTIONS), draw(FRACTIONS), draw(st.integers(1, 12))
    eta = draw(SHARES) / L
    any_p = draw(st.lists(STARTS, min_size=T, max_size=T))
    weights, p = run(draw(st.sampled_from(RULES)), L, eta, draw(STARTS), rho, T, any_p)
    return {"L": L, "eta": eta, "T": T, "P2": sum(x * x for x in p) / T, "sigma2": Fraction(0)}, weights, p


def mean(values):
    values = list(values)
    return sum(values) / Fraction(len(values))


def check_nonconvex(bound, constants, weights, p):
    """B1 is an equality on f = L w^2/2."""
    L, h = constants["L"], constants["eta"] * constants["L"]
    left = mean((L * w) ** 2 for w in weights[:-1])
    left += (1 - h) * mean((L * (w + x)) ** 2 for w, x in zip(weights, p, strict=False))
    assert left == bound(gap=L * (weights[0] ** 2 - weights[-1] ** 2) / 2, **constants)


def check_convex(bound, constants, weights, p):
    """B3 is an equality on f = L w^2/2."""
    L, h = constants["L"], constants["eta"] * constants["L"]
    left = mean(L * w**2 / 2 for w in weights[:-1])
    left += (1 - h) / (2 * L) * mean((L * (w + x)) ** 2 for w, x in zip(weights, p, strict=False))
    assert left == bound(R2=weights[0] ** 2 - weights[-1] ** 2, **constants)


@given(runs())
def test_b1_and_b3_are_equalities(case):
    constants, weights, p = case
    isotropic = {**constants, "mu": constants["L"]}
    assert CLAIMS["B1.isotropic"].bound is convergence.nonconvex
    assert CLAIMS["B3.isotropic"].bound is convergence.convex
    check_nonconvex(convergence.nonconvex, constants, weights, p)
    check_convex(convergence.convex, constants, weights, p)
    check_nonconvex(lambda **c: CLAIMS["B1.isotropic"](**c, mu=isotropic["mu"]), constants, weights, p)


MUTANTS = {
    "half the rho term": lambda bound: lambda **c: bound(**{**c, "P2": c["P2"] / 2}),
    "twice the rho term": lambda bound: lambda **c: bound(**{**c, "P2": c["P2"] * 2}),
    "decay in T dropped": lambda bound: lambda **c: bound(**{**c, "T": 1}),
    "step size doubled": lambda bound: lambda **c: bound(**{**c, "eta": 2 * c["eta"]}),
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_b1_and_b3_mutants_are_caught(mutant):
    L, eta, rho, T = Fraction(2), Fraction(1, 4), Fraction(1, 3), 5
    weights, p = run("s2sam", L, eta, Fraction(1), rho, T)
    constants = {"L": L, "eta": eta, "T": T, "P2": mean(x * x for x in p), "sigma2": Fraction(0)}
    for check, bound in ((check_nonconvex, convergence.nonconvex), (check_convex, convergence.convex)):
        check(bound, constants, weights, p)
        with pytest.raises(AssertionError):
            check(mutant(bound), constants, weights, p)


def check_noise(T=3):
    """B1 and B3 with noise, by all 2^T sign sequences: f = L w^2/2, g = grad f(y) +- sigma, p_t = rho sign(g_{t-1})."""
    L, eta, rho, sigma = Fraction(2), Fraction(1, 3), Fraction(1, 5), Fraction(3, 2)
    h = eta * L
    paths = []
    for signs in itertools.product((-1, 1), repeat=T):
        w, d, squares = Fraction(1), 0, []
        for noise in signs:
            p = rho * d
            g = L * (w + p) + noise * sigma
            squares.append(((L * w) ** 2, (L * (w + p)) ** 2, p * p))
            w, d = w - eta * g, sign(g)
        paths.append(([mean(column) for column in zip(*squares, strict=True)], w * w))
    a2, b2, P2 = (mean(path[0][k] for path in paths) for k in range(3))
    last = mean(path[1] for path in paths)
    constants = {"eta": eta, "L": L, "T": T, "P2": P2, "sigma2": sigma**2}
    # E g = grad f(y) and the variance is sigma^2 exactly, so that no assumption has any slack: equalities again
    assert a2 + (1 - h) * b2 == convergence.nonconvex(gap=L * (1 - last) / 2, **constants)
    assert a2 / (2 * L) + (1 - h) / (2 * L) * b2 == convergence.convex(R2=1 - last, **constants)


def test_noise_terms_of_b1_and_b3_are_exact():
    check_noise()


def check_weights_only(bound, h, tau, T):
    """B1' is attained on f = L w^2/2 by p_t = -sign(1-h) tau w_t, whatever h in (0, 2) and T; 50 digits."""
    L, w, a2, p2 = mpmath.mpf(2), mpmath.mpf(1), [], []
    first = w
    for _ in range(T):
        p = -sign(1 - h) * tau * w
        a2.append((L * w) ** 2)
        p2.append(p * p)
        w -= h * (w + p)
    measured = mpmath.sqrt(sum(a2) / T)
    value = bound(eta=h / L, L=L, gap=L * (first**2 - w**2) / 2, T=T, P2=sum(p2) / T, sigma2=mpmath.mpf(0))
    assert abs(measured - value) <= mpmath.mpf("1e-20") * value  # the root of a cancelled sum keeps half of the digits


@pytest.mark.parametrize("h", ["0.1", "0.5", "1", "1.5", "1.9"])
@pytest.mark.parametrize("T", [1, 2, 9])
def test_b1_weights_only_is_attained(h, T):
    with mpmath.workdps(50):
        h = mpmath.mpf(h)
        for tau in (0, mpmath.mpf("0.05"), mpmath.mpf("0.1")):  # (2 - h)/|1 - h| is at least 1/9
            check_weights_only(convergence.weights_only, h, tau, T)
        if h != 1:
            with pytest.raises(AssertionError):
                check_weights_only(MUTANTS["twice the rho term"](convergence.weights_only), h, mpmath.mpf("0.1"), T)


@given(POINTS["B1"])
def test_b1_weights_only_is_never_above_b1(point):
    point = {k: float(v) for k, v in point.items()}
    point["gap"] = abs(point["gap"])
    # both are sums of non-negative terms: a dozen roundings each
    assert convergence.weights_only(**point) ** 2 <= convergence.nonconvex(**point) * (1 + 100 * 2.0**-53)


@given(POINTS["B1'"])
def test_b1_weights_only_is_real_at_and_beyond_the_least_gap_a_run_can_have(point):
    """In fractions: at the edge the root vanishes and |1 - h| L P/(2 - h) is left; rounding below it is cut off."""
    eta, L, P2 = point["eta"], point["L"], point["P2"]
    h = eta * L
    edge = -eta * point["T"] * (L**2 * P2 / (2 - h) + h * point["sigma2"]) / 2
    claim = CLAIMS["B1'"]
    left = float(abs(1 - h) / (2 - h) * L) * float(P2) ** 0.5
    assert claim(**{**point, "gap": edge}) == pytest.approx(left, rel=20 * 2.0**-53)  # a dozen roundings
    assert claim(**{**point, "gap": edge - Fraction(1, 10**30)}) == pytest.approx(left, rel=20 * 2.0**-53)


@given(POINTS["B1''"])
def test_b1_same_batch_is_b1_with_other_constants(point):
    """P^2 = rho^2 and (sigma + L rho)^2 in place of sigma^2; sigma^2 a square."""
    others = {name: point[name] for name in ("eta", "L", "gap", "T")}
    L, rho, sigma = point["L"], point["rho"], int(point["sigma2"])
    b1 = convergence.nonconvex(**others, P2=rho**2, sigma2=(sigma + L * rho) ** 2)
    value = CLAIMS["B1''"](**others, rho=rho, sigma2=Fraction(sigma**2))
    # the root is a float: a handful of roundings of terms no larger than b1 plus twice the gap's
    assert abs(value - b1) <= 40 * 2.0**-53 * (b1 + 4 * abs(point["gap"]) / (point["eta"] * point["T"]))


def check_same_batch(bound, w=1, L=2, rho=0.25, sigma=7):
    """B1'' on f_i = L w^2/2 +- sigma w with h = 1, perturbed outward: every assumption but one has no slack.

    Only small dyadic numbers and the root of 49 occur: float64 is exact.
    """
    outcomes = []
    for side in (1, -1):
        p = rho * sign(L * w + side * sigma)
        outcomes.append(L * (w + p) + side * sigma)
    gap = L * w**2 / 2 - sum(L * (w - g / L) ** 2 / 2 for g in outcomes) / 2
    value = bound(eta=1 / L, L=L, gap=gap, T=1, rho=rho, sigma2=sigma**2)
    assert (L * w) ** 2 <= value
    assert value == (L * w) ** 2 + (L * rho) ** 2  # S2: E[g] = grad f(w) here, though it may be L rho away


def test_b1_same_batch():
    check_same_batch(convergence.same_batch)
    with pytest.raises(AssertionError):  # the variance of g_t is not that at w_t
        check_same_batch(lambda sigma2, rho, **c: convergence.nonconvex(sigma2=sigma2, P2=rho**2, **c))
