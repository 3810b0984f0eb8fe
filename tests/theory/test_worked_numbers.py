"""Every bound at one point, worked by hand from its statement, term by term, in fractions.

The constants are mostly different primes, so that no sum is a product, no square a double, and no letter another: a
wrong sign, factor or exponent shows in the value. Where a statement has cases, each has its point.
"""

from fractions import Fraction as F
from math import log, sqrt

import pytest

from theory import CLAIMS
from theory.bounds import lower_bounded
from theory.bounds.convergence import distance_floor
from theory.bounds.trajectory import contraction, gain

RUN = {"L": 3, "eta": F(1, 5), "gap": 7, "T": 11, "P2": 13, "sigma2": 17}  # h = 3/5, eta T = 11/5
ISOTROPIC = {**RUN, "mu": 3, "sigma2": 0}
CURVED = {"L": 3, "mu": 1, "eta": F(1, 5), "sigma2": 17}  # h = 3/5, m = 1/5, Q = 7/10, K = 7/15, h sigma^2 = 51/5
PATH = {"h": F(3, 5), "m": F(1, 5), "rho": 7, "T": 3}
RATE = {"L": 3, "gap": 7, "sigma2": 17, "eta0": F(1, 5), "rho0": F(1, 2), "T": 8}  # sqrt(T + 1) = 3
SQUARES = 17 * 3 * F(1, 25) * (1 + log(8))  # L sigma^2 eta0^2 (1 + ln T)
NORMS = {"L": 3, "eta": F(1, 5), "gap": 6}  # x_0 = sqrt(2 L gap) = 6, x_{t+1} = (2/5) x_t + (9/5) ||p_t|| without noise
GAP = {"L": 3, "h": F(3, 5), "rho": 7, "q": F(1, 4)}  # (1 - h)^T = 2/5, 4/25, 8/125 for T = 1, 2, 3

ROWS = [
    ("A1", {"rho": 7, "diff": 9, "norm_a": 3, "norm_b": 11}, F(2 * 7 * 9, 14)),
    ("A1.cos", {"diff": 3, "norm_b": 5}, F(4, 5)),
    ("A2", {"L": 3, "eta": F(1, 5), "norm_g": 7, "norm_p": 11}, 3 * (F(7, 5) + 11)),
    ("A2.cos", {"L": 3, "eta": F(1, 15), "norm_g": 7, "norm_p": F(14, 15)}, F(4, 5)),  # s = 3 (7/15 + 14/15)/7 = 3/5
    ("A3", {"L": 3, "rho": 7}, 2 * 21),
    ("A3.start", {"L": 3, "rho": 7}, 21),
    ("A3.step", {"L": 3, "diff_p": 5}, 15),
    ("A4.smooth", PATH, 7 * (F(13, 5) * F(8, 5) ** 2 - 2)),
    ("A4.convex", PATH, 49 * (F(9, 25) + 8 * F(3, 7))),
    ("A4.convex-linear", PATH, F(3, 5) * 7 * 5),
    ("A4.strong", PATH, 49 * (F(9, 25) * F(49, 100) + 4 * F(7, 15) * (1 + F(7, 10)))),
    ("A4.strong-linear", PATH, F(3, 5) * 7 * (F(16, 25) + 2 * (1 + F(4, 5)))),
    ("A5", {"L": 3, "rho": 7}, F(3 * 49, 2)),
    ("B1", RUN, F(14 * 5, 11) + 9 * 13 + F(3, 5) * 17),
    ("B1.isotropic", ISOTROPIC, F(14 * 5, 11) + 9 * 13),
    # the root of 36 + (7/5)(49/5 + 51/5) is 8
    ("B1'", {**RUN, "gap": F(539, 50), "P2": 4}, (F(2, 5) * 6 + 8) / F(7, 5)),
    # h = 6/5, the root of 36 + (4/5)(49/5 + 102/5) is 7.77...
    ("B1'", {**RUN, "eta": F(2, 5), "gap": F(539, 25), "P2": 4}, (F(1, 5) * 6 + sqrt(36 + 0.8 * 30.2)) / F(4, 5)),
    # below the least gap of a run the root is cut off at 0
    ("B1'", {**RUN, "gap": -1000, "P2": 4}, F(2, 5) * 6 / F(7, 5)),
    ("B1''", {**RUN, "rho": F(1, 2), "sigma2": 16}, F(14 * 5, 11) + F(9, 4) + F(3, 5) * (4 + F(3, 2)) ** 2),
    ("B1'.fstar", {**NORMS, "P2": [4, 9], "sigma2": 0}, sqrt((36 + 36) / 2)),
    ("B1'.fstar", {**NORMS, "P2": [4, 9, 16], "sigma2": 0}, sqrt((36 + 36 + 7.8**2) / 3)),
    ("B1'.fstar", {**NORMS, "P2": [4, 9], "sigma2": F(225, 4)}, sqrt((36 + 36 + 0.36 * 56.25) / 2)),
    # h = 1/2, x_t = B1' = (3/2 + 6)/(3/2) = 5 is the better choice: l_0 = l_1 = l_2 = 31/20, and only step 2 costs
    ("B1'.fstar", {"L": 3, "eta": F(1, 6), "gap": 6, "P2": [0, 0, 4, 25], "sigma2": 0},
     sqrt((36 * F(31, 20) + F(36, 4) + F(5 * 6, 4)) / 4)),
    ("B2.fixed", {"L": 3, "gap": 7, "T": 9, "rho0": F(1, 2), "c": 5, "sigma2": 17},
     F(42, 9) + (F(14, 5) + F(9, 4) + 255) / 3),
    ("B2.anytime", {"L": 3, "gap": 7, "sigma2": 17, "sum_eta": 5, "sum_eta_p2": 11, "sum_eta2": 13},
     F(14 + 9 * 11 + 3 * 17 * 13, 5)),
    ("B2.quarter", RATE, (14 + 9 * F(1, 5) * F(1, 4) * log(8) + SQUARES) / F(4, 5)),
    ("B2.half", RATE, (14 + 9 * F(1, 5) * F(1, 4) * F(1613, 1000) + SQUARES) / F(4, 5)),
    ("B3", {**RUN, "R2": 7}, F(7 * 5, 22) + F(3 * 13, 2) + F(17, 10)),
    ("B3.isotropic", {**ISOTROPIC, "R2": 7}, F(7 * 5, 22) + F(3 * 13, 2)),
    ("B4.path", {**CURVED, "gap": 7, "P2": [2, 5]},
     F(16, 25) * 7 + F(1, 10) * (F(4, 5) * (9 * 2 + F(51, 5)) + 9 * 5 + F(51, 5))),
    ("B4", {**CURVED, "gap": 7, "T": 2, "rho": F(1, 2)}, F(16, 25) * 7 + F(9, 25) * (F(9, 4) + F(51, 5)) / 2),
    ("B4'", {**CURVED, "R2": 7, "P2": [2, 5]},
     F(49, 100) * 7 + F(7, 15) * (F(7, 10) * 2 + 5) + F(17, 25) * (1 + F(7, 10))),
    ("B5.s2sam", {"h": F(3, 5), "rho": 7, "w0": 5, "T": 3}, F(4, 25) * (2 + 7) - 7),
    ("B5.sam", {"L": 3, "h": F(3, 5), "rho": 7}, 21 * F(3, 7)),
    ("B5.lower", {"eta": F(1, 6), "mu": 3, "rho": 7}, 21 * F(1, 3)),  # m = 1/2: m/(2 - m)
    ("B5.lower", {"eta": F(3, 8), "mu": 3, "rho": 7}, 21 * F(8, 9)),  # m = 9/8: 2 (3/2 - 1)/m
    ("B5.lower", {"eta": 5, "mu": 3, "rho": 7}, 21),  # m = 15
    ("B6", {}, 0),
    ("B6.distance", {"rho": 7}, 7),
    ("B7", {}, 0),
    ("B7.same-batch", {"L": 3, "rho": 7}, 21),
    ("B7.full", {"L": 3, "rho": 7, "N": 5}, 42 * (1 - (2 - sqrt(2)) / 5)),
    ("B7.independent", {"L": 3, "rho": 7}, 21 * sqrt(2)),
    ("B8", {}, 0),
    ("B8.changing", {**RUN, "jumps": 5}, F(24 * 5, 11) + 9 * 13 + F(3, 5) * 17),
    # alpha = 2/15
    ("B9", {**RUN, "eta": F(1, 10), "beta": F(1, 4)}, F(14 * 15, 2 * 11) + 9 * 13 + F(2, 5) * 17 / F(3, 4)),
    ("B10.gap", {**GAP, "C": F(3, 5), "T": 2}, 21 * F(3, 4) * F(12, 25)),  # the cone: 9/25 < (3/5) 21/29
    ("B10.gap", {**GAP, "C": F(3, 5), "T": 1}, 21 * F(3, 5) * F(3, 7)),  # the window: 9/35 < 9/25
    ("B10.gap", {**GAP, "C": F(4, 5), "T": 3}, 21 * F(3, 4) / 2),  # 4/5 is more than 1/sqrt(2)
    ("B10.isotropic", {"L": 3, "h": F(3, 5), "rho": 7, "W": 9, "area": F(1, 2), "T": 11},
     9 * 49 * (F(3, 5) + (F(4, 5) * log(6) + 15) / 11)),
    ("B10.isotropic", {"L": 3, "h": F(3, 5), "rho": 7, "W": F(1, 4), "area": F(1, 3), "T": 11},
     9 * 49 * (F(3, 5) + (F(4, 5) * log(3) + F(5, 12)) / 11)),  # the start is nearer than rho
    ("B10.conjecture", {"L": 3, "h": F(9, 25), "rho": 7, "q": F(1, 4)}, 21 * F(3, 4)),
    ("B10.conjecture", {"L": 3, "h": F(9, 25), "rho": 7, "q": F(1, 2)}, 21 * F(3, 5)),
    ("C1", {"loss": F(1, 7), "norm2": 13, "rho": F(1, 3), "k": 5, "n": 11, "delta": F(1, 3)},
     1 / 7 + sqrt((5 * log(1 + 117 * (1 + sqrt(log(11) / 5)) ** 2) + 4 * log(33) + 1 + 8 * log(66 + 15)) / 10)),
    ("C1'", {"loss": F(1, 7), "dist2": 13, "s": F(1, 3), "n": 16, "J": 5, "masks": 11, "draws": 19, "delta": F(1, 3),
             "delta2": F(1, 7)},
     1 / 7 + sqrt(log(7) / 38) + sqrt((F(13 * 9, 2) + 11 + log(2 * 4 * 5 * 3)) / 32)),
]  # fmt: skip


def check(bound, constants, expected):
    """Fractions agree exactly; with roots and logarithms in them, to a hundred roundings, as no term cancels."""
    value = bound(**constants)
    if isinstance(value, float) or isinstance(expected, float):
        expected = pytest.approx(float(expected), rel=100 * 2.0**-53)
    assert value == expected


@pytest.mark.parametrize(("label", "constants", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_the_bound_is_its_statement(label, constants, expected):
    check(CLAIMS[label], constants, expected)


TRIVIAL = [
    ("A1", {"rho": 7}, 14), ("A1.cos", {}, -1), ("A2.cos", {}, -1), ("B3", {"L": 3, "R2": 7}, F(21, 2)),
    ("B4.path", {"gap": 7}, 7), ("B4", {"gap": 7}, 7), ("B4'", {"R2": 7}, 7), ("C1", {}, 1), ("C1'", {}, 1),
    ("B10.isotropic", {"L": 3, "rho": 7, "W": F(3, 2)}, F(9 * 49 * 3, 2)),
    ("B10.isotropic", {"L": 3, "rho": 7, "W": F(1, 4)}, 9 * 49),
]  # fmt: skip


@pytest.mark.parametrize(("label", "constants", "expected"), TRIVIAL, ids=[row[0] for row in TRIVIAL])
def test_what_is_known_without_the_claim(label, constants, expected):
    assert CLAIMS[label].trivial(**{name: F(value) for name, value in constants.items()}) == expected


def test_every_bound_has_a_worked_number():
    assert {label for label, *_ in ROWS} == {label for label, claim in CLAIMS.items() if claim.bound}
    assert {label for label, *_ in TRIVIAL} == {label for label, claim in CLAIMS.items() if claim.trivial}


@pytest.mark.parametrize(("label", "constants", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_a_bound_that_is_off_in_the_twelfth_digit_is_caught(label, constants, expected):
    with pytest.raises(AssertionError):
        check(lambda **c: CLAIMS[label](**c) * (1 + F(1, 10**12)) + F(1, 10**12), constants, expected)


def test_pieces_of_the_bounds():
    assert contraction(h=F(3, 5), m=F(1, 5)) == F(7, 10)
    assert gain(h=F(3, 5), m=F(1, 5)) == F(7, 15)
    assert distance_floor(h=F(3, 5), m=F(1, 5), rho=7) == pytest.approx(7 * sqrt(14) / 3, rel=20 * 2.0**-53)
    norms = lower_bounded.parabola_norms(h=F(7, 5), start=5, moves=[F(5, 7), 0], noise=0)
    assert norms == [5, 3, pytest.approx(6 / 5, rel=20 * 2.0**-53)]  # (2/5) 5 + 1, (2/5) 3
