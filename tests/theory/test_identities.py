"""Identities that the proofs state and no certificate holds, checked by SymPy.

What the bounds rest on is in `theory.certificates`, built from the bounds themselves. Here is what a docstring says
beside that: B9's proof in its summed form, the circle of B10.isotropic, the constants of A4.strong and B4' at h = 1,
and that 1.613 of B2.half is no larger than three digits need. All is linear in the inner products involved, so that a*b
stands for <a,b>.
"""

import sympy
from sympy import Rational, simplify, symbols

from theory.bounds.trajectory import contraction, gain

eta, L, a, b, p2, V, sigma2 = symbols("eta L a b p2 V sigma2")
S2 = L**2 * p2 - (b - a) ** 2  # smoothness between w and y
S3 = sigma2 - V  # variance


def test_b9_identities():
    """A step from z, and what bounds the buffer; the coefficients of ||b||^2 and sigma^2 add up to the bound's."""
    beta, c, fz, fz_next, zw2, v, g = symbols("beta c fz fz_next zw2 v g")
    alpha = eta / (1 - beta)
    gamma = L * alpha * beta / (1 - beta)
    T1 = fz - alpha * c * b + L * alpha**2 / 2 * (b**2 + V) - fz_next  # descent lemma at z with step alpha
    S5 = L**2 * zw2 - (c - a) ** 2
    left = (fz - fz_next + alpha / 2 * (L**2 * p2 + L**2 * zw2 / gamma + L * alpha * sigma2) - alpha / 2 * a**2
            - alpha / 2 * (1 - gamma - L * alpha) * b**2)
    right = (T1 + alpha / 2 * S2 + alpha / (2 * gamma) * S5 + L * alpha**2 / 2 * S3
             + alpha / (2 * gamma) * (gamma * b + c - a) ** 2)
    assert simplify(left - right) == 0
    assert simplify(left - right.subs(zw2, zw2 / 2)) != 0
    buffer = beta * v**2 + g**2 / (1 - beta) - (beta * v + g) ** 2 - beta * (1 - beta) * (v - g / (1 - beta)) ** 2
    assert simplify(buffer) == 0
    # z_t - w_t = -(eta beta/(1 - beta)) v_{t-1}, and sum ||v||^2 <= sum ||g||^2/(1 - beta)^2
    assert simplify(L**2 * (eta * beta / (1 - beta)) ** 2 / (1 - beta) ** 2 / gamma - gamma) == 0
    assert simplify(1 - 2 * gamma - L * alpha - (1 - L * alpha * (1 + beta) / (1 - beta))) == 0
    assert simplify(gamma + L * alpha - L * alpha / (1 - beta)) == 0


def test_the_circle_of_b10_is_an_orbit_and_attracts():
    """Isotropic, units of rho, x = <w,d>: the circle is an orbit, and the linearisation around it."""
    H, w2, x = symbols("H w2 x", positive=True)
    N2 = w2 + 2 * x + 1
    after = (1 - H) ** 2 * w2 - 2 * H * (1 - H) * x + H**2
    # N^2 + 2x follow from (w2, x): w' = (1-H)w - Hd, d' = (w + d)/N, so x' = ((1-H)w2 + (1-2H)x - H)/N
    x_after = ((1 - H) * w2 + (1 - 2 * H) * x - H) / sympy.sqrt(N2)
    at = {w2: H, x: -H / 2}  # on the circle N = 1
    assert simplify(after.subs(at) - H) == 0
    assert simplify(x_after.subs(at) + H / 2) == 0
    J = sympy.Matrix([after, x_after]).jacobian([w2, x]).subs(at)
    assert simplify(J.det() - (1 - H) * (1 - H / 2)) == 0
    assert simplify(J.trace() - (2 - 7 * H / 2 + H**2)) == 0


def test_constants_at_unit_step():
    M = symbols("M", positive=True)
    assert simplify(contraction(1, M) - (1 - M) / (1 + M)) == 0
    assert simplify(gain(1, M) - 1) == 0
    # K/(1 - Q) = (kappa + 1)/2 with kappa = 1/M
    assert simplify(gain(1, M) / (1 - contraction(1, M)) - (1 / M + 1) / 2) == 0


def test_zeta_constant_of_b2():
    assert 1.612 < sympy.zeta(Rational(3, 2)) - 1 < 1.613
