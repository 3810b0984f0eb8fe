"""The identities on which the proofs rest, checked by SymPy.

All but A1's and A1.cos's are linear in the inner products of the vectors involved, and so hold for vectors as soon as
they hold for commuting scalars: a*b stands for <a,b>, and no two inner products are confused.
"""

import pytest
import sympy
from sympy import Rational, expand, simplify, symbols

from theory.bounds.trajectory import contraction, gain

eta, L, mu, a, b, p2, V, sigma2 = symbols("eta L mu a b p2 V sigma2")
h, m, half = eta * L, eta * mu, Rational(1, 2)

f, f_next = symbols("f f_next")
S1 = f - eta * a * b + L * eta**2 / 2 * (b**2 + V) - f_next  # descent lemma
S2 = L**2 * p2 - (b - a) ** 2  # smoothness between w and y
S3 = sigma2 - V  # variance


def test_a1_certificate():
    A, B, c = symbols("A B c")
    distance2 = A**2 + B**2 - 2 * A * B * c
    assert expand(4 * distance2 - (A + B) ** 2 * (2 - 2 * c) - 2 * (1 + c) * (A - B) ** 2) == 0


def test_a1_one_sided():
    A2, B2, ab = symbols("A2 B2 ab")
    D2 = A2 + B2 - 2 * ab
    assert expand(ab**2 - (B2 - D2) * A2 - (ab - A2) ** 2) == 0


def test_b1_identity():
    left = f - f_next + eta / 2 * L**2 * p2 + L * eta**2 / 2 * sigma2 - eta / 2 * a**2 - eta / 2 * (1 - h) * b**2
    right = S1 + eta / 2 * S2 + L * eta**2 / 2 * S3
    assert expand(left - right) == 0
    assert expand(left - right.subs(p2, p2 / 2)) != 0


@pytest.mark.parametrize("z", [1, -1])
def test_b1_weights_only_identity(z):
    tau = symbols("tau", positive=True)
    size = z * (1 - h)  # |1 - h|
    left = (f - f_next + eta / 2 * (h + size / tau) * L**2 * p2 + L * eta**2 / 2 * sigma2
            - eta / 2 * (2 - h - size * tau) * a**2)
    right = (S1 + eta / 2 * (h + size / tau) * S2 + L * eta**2 / 2 * S3
             + eta * size / (2 * tau) * (tau * a + z * (b - a)) ** 2)
    assert simplify(left - right) == 0


def test_b1_weights_only_is_the_root_of_its_quadratic_inequality():
    """(2 - h) A^2 - 2 |1 - h| L P A - (h L^2 P^2 + X) = 0 at the bound, with X = 2 Delta/(eta T) + h sigma^2."""
    H, LP, X = symbols("H LP X", positive=True)
    A = (abs(1 - H) * LP + sympy.sqrt(LP**2 + (2 - H) * X)) / (2 - H)
    assert simplify(((2 - H) * A**2 - 2 * abs(1 - H) * LP * A - H * LP**2 - X).subs(abs(1 - H), 1 - H)) == 0
    assert simplify(((2 - H) * A**2 - 2 * abs(1 - H) * LP * A - H * LP**2 - X).subs(abs(1 - H), H - 1)) == 0


def test_b3_identity():
    x, p, fy, fw, f_star = symbols("x p fy fw f_star")  # x = w - w*, y - w* = x + p
    Sa = f_star - fy + b * (x + p) - b**2 / (2 * L)
    Sb = fy - b * p + L / 2 * p**2 - fw
    D, D_next = x**2, x**2 - 2 * eta * b * x + eta**2 * (b**2 + V)
    left = D - D_next + eta * L * p**2 + eta**2 * sigma2 - 2 * eta * (fw - f_star) - eta / L * (1 - h) * b**2
    assert expand(left - 2 * eta * Sa - 2 * eta * Sb - eta**2 * S3) == 0


def test_b4_identity():
    f_star = symbols("f_star")
    S4 = a**2 - 2 * mu * (f - f_star)
    left = (1 - m) * (f - f_star) - (f_next - f_star) + eta / 2 * (L**2 * p2 + h * sigma2) - eta / 2 * (1 - h) * b**2
    assert expand(left - (S1 + eta / 2 * S2 + L * eta**2 / 2 * S3 + eta / 2 * S4)) == 0


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


def test_b10_identities():
    """Isotropic, units of rho, x = <w,d>: the squared norm after a step; and the linearisation around the circle."""
    H, w2, x = symbols("H w2 x", positive=True)
    N2 = w2 + 2 * x + 1
    after = (1 - H) ** 2 * w2 - 2 * H * (1 - H) * x + H**2
    assert expand(after - w2 + H * (w2 + (1 - H) * (N2 - 1) - H)) == 0
    # N^2 + 2x follow from (w2, x): w' = (1-H)w - Hd, d' = (w + d)/N, so x' = ((1-H)w2 + (1-2H)x - H)/N
    x_after = ((1 - H) * w2 + (1 - 2 * H) * x - H) / sympy.sqrt(N2)
    at = {w2: H, x: -H / 2}  # on the circle N = 1
    assert simplify(after.subs(at) - H) == 0
    assert simplify(x_after.subs(at) + H / 2) == 0
    J = sympy.Matrix([after, x_after]).jacobian([w2, x]).subs(at)
    assert simplify(J.det() - (1 - H) * (1 - H / 2)) == 0
    assert simplify(J.trace() - (2 - 7 * H / 2 + H**2)) == 0


u, s, G, D = symbols("u s G D")
Y, u_next = u + s, u - eta * G


def test_a4_convex_identity():
    share = h / (2 - h)
    S = G * Y - G**2 / L
    left = u**2 + share * D**2 - u_next**2
    right = 2 * eta * S + share * (D**2 - s**2) + share * (s - (2 - h) / L * G) ** 2
    assert simplify(left - right) == 0


def test_a4_strong_and_b4_distance_identity():
    """With the functions that the bounds are made of, not with a copy of Q and K."""
    Q, K = contraction(h, m), gain(h, m)
    S = (G - mu * Y) * (L * Y - G)
    c, r = (h + m) / 2, (h - m) / 2
    nu, Z = c * (1 - c) / r**2, G - (L + mu) / 2 * Y
    left = Q * u**2 + K * D**2 - u_next**2
    right = K * (D**2 - s**2) + (1 + nu) * eta**2 * S + ((1 - c) * u - c * s + nu * eta * Z) ** 2 / nu
    assert simplify(left - right) == 0
    assert simplify(left - right.subs(K, 2 * K)) != 0


def test_a4_strong_at_equal_curvatures():
    """mu = L, where nu is not defined: Q u^2 + K s^2 - ((1-h) u - h s)^2 = h (1-h)(u + s)^2."""
    H = symbols("H")
    Q, K = contraction(H, H), gain(H, H)
    assert simplify(Q * u**2 + K * s**2 - ((1 - H) * u - H * s) ** 2 - H * (1 - H) * (u + s) ** 2) == 0


def test_constants_at_unit_step():
    M = symbols("M", positive=True)
    assert simplify(contraction(1, M) - (1 - M) / (1 + M)) == 0
    assert simplify(gain(1, M) - 1) == 0
    # K/(1 - Q) = (kappa + 1)/2 with kappa = 1/M
    assert simplify(gain(1, M) / (1 - contraction(1, M)) - (1 / M + 1) / 2) == 0


def test_zeta_constant_of_b2():
    assert 1.612 < sympy.zeta(Rational(3, 2)) - 1 < 1.613
