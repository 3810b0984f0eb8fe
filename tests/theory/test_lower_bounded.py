"""B1'.fstar: exact on the parabola, never above B1' at one radius, valid for any x_t, and each of its parts needed."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.bounds.convergence import weights_only
from theory.bounds.lower_bounded import backward, from_minimum, parabola_norms

UNIT = 2.0**-53


def parabola(h, start, radii):
    """Root mean square gradient of w' = w - h (w + p) on w^2/2, p = -sign(1 - h) r_t sign(w): written out here."""
    w, total = start, 0
    for r in radii:
        total += w**2
        w -= h * (w - (1 if h <= 1 else -1) * r * (1 if w > 0 else -1))
    return mpmath.sqrt(total / len(radii))


def check_attained(bound, h, start, radii):
    """In 50 digits, some 20 roundings a step; the last radius does not matter."""
    with mpmath.workdps(50):
        h, start, *radii = (mpmath.mpf(str(x)) for x in (h, start, *radii))
        value = bound(eta=h / 3, L=mpmath.mpf(3), gap=start**2 / 6, P2=[(r / 3) ** 2 for r in radii], sigma2=0 * h)
        assert abs(value / parabola(h, start, radii) - 1) <= mpmath.mpf("1e-45")


ATTAINED = [
    (0.5, 1.5, [1]), (0.5, 1.5, [1, 1, 2]), (0.25, 1.5, [1] * 8), (1, 2, [1, 0.5, 2, 1]), (1.5, 1, [1] * 12),
    (0.5, 3, [0, 0, 0, 0]), (1.9, 2, [0.1] * 5), (1, 2, [0, 0, 1, 0, 1]),
    (1 - 2**-8, 2**8, [0, 2**-26, 1]),  # x_1 is x_0/256
]


@pytest.mark.parametrize(("h", "start", "radii"), ATTAINED)
def test_the_parabola_attains_it(h, start, radii):
    check_attained(from_minimum, h, start, radii)


def test_wrong_bounds_are_not_attained():
    for change in (
        lambda P2, **c: from_minimum(P2=[*P2, P2[-1]], **c),
        lambda P2, **c: from_minimum(P2=[0 * P2[0], *P2[1:]], **c),
        lambda gap, **c: from_minimum(gap=2 * gap, **c),
        lambda eta, **c: from_minimum(eta=eta / 2, **c),
    ):
        with pytest.raises(AssertionError):
            check_attained(change, 0.5, 1.5, [1, 1, 2])


def check_below_b1(bound, h, gap, rho, T, sigma2):
    """At one radius: l is at most 1/c at x_t = B1', which makes the sum T times the square of B1'.

    Both are some ten operations a step on positive numbers, of relative error below 100 (T + 1) units.
    """
    wide = weights_only(eta=h, L=1.0, gap=gap, T=T, P2=rho**2, sigma2=sigma2)
    assert bound(eta=h, L=1.0, gap=gap, P2=[rho**2] * T, sigma2=sigma2) <= wide * (1 + 100 * (T + 1) * UNIT)


SIZES = {
    "h": st.floats(0.02, 1.98), "gap": st.floats(1e-3, 1e3), "rho": st.floats(0, 30), "T": st.integers(1, 60),
    "sigma2": st.floats(0, 10),
}


@given(**SIZES)
def test_it_is_never_above_b1_at_one_radius(h, gap, rho, T, sigma2):
    check_below_b1(from_minimum, h, gap, rho, T, sigma2)


def test_the_comparison_with_b1_can_fail():
    with pytest.raises(AssertionError):
        check_below_b1(lambda gap, **c: from_minimum(gap=2 * gap, **c), 0.5, 10.0, 0.1, 30, 0.0)


@given(seed=st.integers(0, 2**32 - 1), h=st.floats(0.05, 1.95), T=st.integers(1, 12))
def test_it_holds_on_functions_that_are_not_convex(seed, h, T):
    """1 - cos(w) + a |w|^2/2 coordinate by coordinate, L = 1 + a, f* = 0, perturbations random and of any radius."""
    rng = np.random.default_rng(seed)
    a, w, P2, total = rng.uniform(0, 1), rng.normal(size=3) * rng.choice([0.1, 1, 5]), [], 0.0
    grad = lambda w: np.sin(w) + a * w  # noqa: E731
    gap, L = float((1 - np.cos(w) + a * w**2 / 2).sum()), 1 + a
    for _ in range(T):
        p = rng.normal(size=3) * rng.choice([0, 0.1, 1])
        P2.append(float(p @ p))
        total += grad(w) @ grad(w)
        w = w - h / L * grad(w + p)
    bound = from_minimum(eta=h / L, L=L, gap=gap, P2=P2, sigma2=0.0)
    # relative errors: 100 roundings a step, no number above 100 times the bound's own terms
    assert np.sqrt(total / T) <= bound * (1 + 1e4 * (T + 1) * UNIT)


@given(l_next=st.floats(1, 9), x=st.floats(0.1, 9), other=st.floats(0.1, 9), move=st.floats(0, 9), h=st.floats(0, 2))
def test_a_steps_own_norm_is_its_best(l_next, x, other, move, h):
    """l x^2 + cost is least where x_t is the norm that occurs: then it is x^2 + l_next x_{t+1}^2. 10 roundings."""
    def value(chosen):
        weight, cost = backward(l_next, h=h, x=chosen, move=move, noise=0.0)
        return weight * x**2 + cost

    best = x**2 + l_next * parabola_norms(h=h, start=x, moves=[move], noise=0.0)[1] ** 2
    assert abs(value(x) - best) <= 20 * UNIT * best
    assert value(other) >= best * (1 - 40 * UNIT)
