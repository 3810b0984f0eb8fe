"""Rung 1: every certificate verifies, no wrong one does, and its assumptions hold on functions that satisfy them."""

import inspect
import re
from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy
from claim_points import POINTS
from hypothesis import example, given, settings
from hypothesis import strategies as st

from theory import CLAIMS
from theory.certificates import CERTIFICATES, Certificate, CertificateError, Identity, Reason, Square, Term, certify
from theory.certificates.algebra import dot, never_negative, nonnegatives, positives, vanishes, vectors
from theory.certificates.proof import EVERYWHERE, Range

LABELS = [label for label in CERTIFICATES if not isinstance(CERTIFICATES[label], Reason)]


def test_every_claim_has_a_certificate_or_a_reason():
    assert list(CERTIFICATES) == list(CLAIMS)
    assert len(CERTIFICATES) == len(CLAIMS)
    reasons = [c for c in CERTIFICATES.values() if isinstance(c, Reason)]
    assert {"B7", "B8"} <= {c.label for c in reasons}
    assert all(len(c.text) > 40 for c in reasons)


@pytest.mark.parametrize("label", LABELS)
def test_certificate_verifies(label):
    certificate = CERTIFICATES[label]
    assert certificate.verify() is certificate
    assert certificate.label == label


def refused(certificate):
    with pytest.raises(CertificateError, match=re.escape(certificate.label)):
        certificate.verify()


def changed(certificate, i, **fields):
    """The certificate with one identity changed, and no others: those are right already."""
    return replace(certificate, identities=(replace(certificate.identities[i], **fields),))


@pytest.mark.parametrize("label", LABELS)
def test_wrong_multipliers_and_squares_are_refused(label):
    """Every multiplier and every coefficient, doubled or negated: each is needed, with its value and its sign."""
    certificate = CERTIFICATES[label]
    for i, identity in enumerate(certificate.identities):
        for j, term in enumerate(identity.terms):
            for factor in (2, -1):
                terms = list(identity.terms)
                terms[j] = replace(term, multiplier=factor * term.multiplier)
                refused(changed(certificate, i, terms=tuple(terms)))
        for j, square in enumerate(identity.squares):
            for factor in (2, -1):
                squares = list(identity.squares)
                squares[j] = replace(square, coefficient=factor * square.coefficient)
                refused(changed(certificate, i, squares=tuple(squares)))


@pytest.mark.parametrize("label", LABELS)
def test_ranges_are_needed(label):
    """Without its condition on the constants, some weight of the identity may be negative."""
    certificate = CERTIFICATES[label]
    for i, identity in enumerate(certificate.identities):
        if identity.range != EVERYWHERE:
            refused(changed(certificate, i, range=EVERYWHERE))


def doubled(value):
    return [2 * v for v in value] if isinstance(value, list) else 2 * value


@pytest.mark.parametrize("label", LABELS)
def test_another_bound_is_refused(label):
    """The bound itself is in the certificate: doubled, or taken at another value of a constant, it does not verify."""
    bound = CLAIMS[label].bound
    refused(certify(label, lambda **c: bound(**c) + 1))
    if label != "B6":  # where the bound is 0
        refused(certify(label, lambda **c: 2 * bound(**c)))
    for name in inspect.signature(bound).parameters:
        if (label, name) not in (("B1.isotropic", "sigma2"), ("B3.isotropic", "sigma2")):  # 0 there
            refused(certify(label, lambda name=name, **c: bound(**{**c, name: doubled(c[name])})))


def check_readable(printed):
    """Lines of at most 110 characters, at most six of them for one formula."""
    assert max(map(len, printed.splitlines())) <= 110
    assert max(map(len, re.split(r"\n(?! {8})", printed))) <= 6 * 110


def test_unreadable_formulas_are_noticed():
    with pytest.raises(AssertionError):
        check_readable("x" * 111)
    with pytest.raises(AssertionError):
        check_readable("\n        ".join(["x" * 100] * 7))


@pytest.mark.parametrize("label", LABELS)
def test_formulas_name_everything(label):
    certificate = CERTIFICATES[label]
    printed, latex = certificate.formula(), certificate.formula(latex=True)
    text = " ".join(printed.split())
    for name, why in certificate.assumptions.items():
        assert f"[{name}]" in text
        assert why in text
        assert r"[\text{" + name.replace("^", r"\^{}") + "}]" in latex
    for identity in certificate.identities:
        assert identity.name in text
        for symbol, _, *told in identity.used():
            assert f"{symbol} = {told[0] if told else ''}" in text
    assert latex.count("{") == latex.count("}")
    assert "**" not in text + latex
    check_readable(printed)
    assert certificate.variables == tuple(sorted(certificate.variables))


def test_a_printed_certificate():
    text = CERTIFICATES["A5"].formula()
    assert text.splitlines()[0] == "above: <a,p> + L*rho^2/2 + f - f_y = [quadratic, above] + (L/2) * [radius]"
    assert r"\|p\|^{2}" in CERTIFICATES["A5"].formula(latex=True)
    assert CERTIFICATES["B6"].formula() == "the residual squared: 0 = 0"


def test_abbreviations_are_put_in_before_anything_is_decided():
    h, x, k, d = positives("h x k d")
    where = ((k, d + 1), (d, h * x), (positives("unused"), h))
    good = Identity("step", h * x * h + h - h * k, where=where)
    assert Certificate("test", (good,)).verify().formula() == (
        "step: h^2*x - h*k + h = 0\n    k = d + 1\n    d = h*x"
    )
    refused(Certificate("test", (replace(good, where=((k, d + 2), *where[1:])),)))
    sign = Identity("step", h * (1 - k), (Term("x", 1 - k, h, "h > 0"),), where=((k, 1 + d),))
    refused(Certificate("test", (sign,)))  # 1 - k is -d, which only the abbreviation shows
    told = replace(good, where=((k, d + 1, "in words"), *where[1:]))
    assert Certificate("test", (told,)).formula(latex=True).splitlines()[1] == r"    k\;=\;\text{in words}"


def test_a_negative_number_is_no_assumption():
    x = positives("x")
    good = Identity("step", x + 1, (Term("x", 1, x, "x > 0"), Term("one", 1, sympy.Integer(1), "a number")))
    bad = replace(good, difference=x - 1, terms=(good.terms[0], replace(good.terms[1], slack=sympy.Integer(-1))))
    assert Certificate("test", (good,)).verify()
    refused(Certificate("test", (bad,)))


def test_a_range_must_lead_back():
    h, x = positives("h"), nonnegatives("x")
    right = Range("h <= 1", ((h, 1 / (1 + x)),), ((x, 1 / h - 1),))
    identity = Identity("step", (1 - h) * h, squares=(Square(h * (1 - h), sympy.Integer(1)),), range=right)
    assert Certificate("test", (identity,)).verify()
    refused(Certificate("test", (replace(identity, range=replace(right, parameters=((x, 1 / h),))),)))


@given(st.lists(st.integers(-3, 3), min_size=4, max_size=4))
@example([1, 0, 0, 1])  # h^3 + (1 - h)^3: cancelled, its quotient has a coefficient below 0
def test_never_negative_decides_by_bernstein_coefficients(coefficients):
    """Sum of c_k h^k (1 - h)^(3 - k) for h <= 1: yes exactly if all c_k >= 0, and then no point is negative."""
    h, x = positives("h"), nonnegatives("x")
    polynomial = sum(c * h**k * (1 - h) ** (3 - k) for k, c in enumerate(coefficients))
    decided = never_negative(polynomial, {h: 1 / (1 + x)})
    assert decided == (min(coefficients) >= 0)
    if decided:
        assert all(sympy.sympify(polynomial).subs(h, sympy.Rational(k, 10)) >= 0 for k in range(1, 11))


def test_a_symbol_of_unknown_sign_is_never_enough():
    h, r = positives("h"), sympy.Symbol("r", real=True)
    assert never_negative(h, {})
    assert not never_negative(h + r, {})
    assert not never_negative(h / r, {})
    assert not never_negative(h / (h - 1), {})
    assert not never_negative(1 / nonnegatives("x"), {})  # which may be zero


def test_gram_symbols_are_bilinear():
    a, b = vectors("a b")
    assert vanishes(dot(a + b, a + b) - dot(a, a) - 2 * dot(a, b) - dot(b, b))
    assert not vanishes(dot(a, b) - dot(a, a))
    assert vanishes(dot(3 * a - b, b) + dot(b, b) - 3 * dot(b, a))


# --- ranges cover the domains ----------------------------------------------------------------------------------------


def covering(label, point):
    """The ranges of a certificate over the claim's constants, and whether each holds at the point."""
    values = {k: v for k, v in point.items() if isinstance(v, int | Fraction)}
    if "eta" in values and "L" in values:
        values.setdefault("h", values["eta"] * values["L"])
    if "eta" in values and "mu" in values:
        values.setdefault("m", values["eta"] * values["mu"])
    exact = {k: sympy.Rational(v.numerator, v.denominator) for k, v in values.items()}
    if "m" in exact:
        exact["u"] = sympy.sqrt(2 * exact["m"])
    held = {}
    for identity in CERTIFICATES[label].identities:
        constants = {s for _, form in identity.range.parameters for s in form.free_symbols}
        if constants and {s.name for s in constants} <= exact.keys():
            parameters = [form.subs({s: exact[s.name] for s in constants}) for _, form in identity.range.parameters]
            held[identity.range.text] = all(p.is_finite and p >= 0 for p in parameters)
    return held


@pytest.mark.parametrize("label", [x for x in LABELS if x in POINTS and x != "B2.fixed" and covering(x, {}) == {}])
@settings(max_examples=10)
@given(data=st.data())
def test_ranges_cover_the_domain(label, data):
    """At every point of the claim's domain one of its cases holds: no h or m falls between them."""
    held = covering(label, data.draw(POINTS[label]))
    assert not held or any(held.values())


def test_both_cases_of_b2_fixed():
    """B2.fixed: c >= sqrt(T)/L is its range; below it eta = c/sqrt(T) needs no condition."""
    identities = {i.name: i.range.text for i in CERTIFICATES["B2.fixed"].identities}
    assert identities == {"eta = 1/L": "1/L <= c/sqrt(T)", "eta = c/sqrt(T)": ""}


# --- assumptions hold ------------------------------------------------------------------------------------------------


def world(seed, convex, label, first):
    """Vectors and numbers of one step on f(w) = <w, H w>/2 in the plane, under the names of the certificate `label`.

    H has its eigenvalues in [mu, L], or in [-L, L] if not convex. Everything is a 50-digit number. `first`: A4's first
    step, from u = p1 = 0.
    """
    rng = np.random.default_rng(seed)
    mp = lambda *shape: np.vectorize(mpmath.mpf)(rng.normal(size=shape))  # noqa: E731
    L, h = mpmath.mpf(rng.uniform(0.5, 3)), mpmath.mpf(rng.uniform(0.05, 0.95))
    mu, angle = L * mpmath.mpf(rng.uniform(0.05, 0.9)), mpmath.mpf(rng.uniform(0, 7))
    Q = np.array([[mpmath.cos(angle), -mpmath.sin(angle)], [mpmath.sin(angle), mpmath.cos(angle)]])
    low = mu if convex else -L
    hess = Q @ np.diag([L if rng.random() < 0.5 else low, low + (L - low) * mpmath.mpf(rng.random())]) @ Q.T
    f = lambda w: w @ hess @ w / 2  # noqa: E731
    eta, rho, beta = h / L, mpmath.mpf(rng.uniform(0.1, 2)), mpmath.mpf(rng.uniform(0.1, 0.9))
    in_ball = lambda: (lambda v: v * rho * mpmath.mpf(rng.random()) / mpmath.sqrt(v @ v))(mp(2))  # noqa: E731
    w, u, v, p, p1, p2, noise = mp(2), mp(2), mp(2), in_ball(), in_ball(), in_ball(), mp(2)
    u, p1 = (0 * u, 0 * p1) if first else (u, p1)
    a, b, V = hess @ w, hess @ (w + p), noise @ noise
    between = hess @ (p1 - p2 if label.startswith("A3") else u + p1 - p2)
    shift = eta * beta / (1 - beta) * v
    at, step = (w - shift, eta / (1 - beta)) if label == "B9" else (w, eta)  # B9 looks at the shadow iterate
    moved = [f(at - step * (b + sign * noise)) for sign in (1, -1)]
    named = {
        "a": a, "b": b, "p": p, "x": w, "w": w, "u": u, "p1": p1, "p2": p2, "c": hess @ (w - shift),
        "v": v if label == "B9" else u - eta * (hess @ u), "Y": u + p1 - p2, "D": hess @ u, "E1": hess @ p1,
        "E2": hess @ p2, "G": b if label == "B4'" else between, "u'": u - eta * between,
    }
    numbers = {
        "L": L, "mu": mu, "eta": eta, "h": h, "m": eta * mu, "rho": rho, "beta": beta, "V": V,
        "sigma2": V * mpmath.mpf(rng.uniform(1, 2)), "f": f(at), "f'": sum(moved) / 2, "f_y": f(w + p),
        "f*": mpmath.mpf(0), "diff_p": mpmath.sqrt((p1 - p2) @ (p1 - p2)),
    }
    return named, numbers


def values_of(expression, named, numbers):
    """Values of the symbols of an expression: inner products and norms by their names; None if one is unknown."""
    found = {}
    for symbol in expression.free_symbols:
        if pair := re.fullmatch(r"<(.*),(.*)>|\|\|(.*)\|\|", symbol.name):
            one, other = pair[1] or pair[3], pair[2] or pair[3]
            if one not in named or other not in named:
                return None
            product = named[one] @ named[other]
            found[symbol] = mpmath.sqrt(product) if pair[3] else product
        elif symbol.name in numbers:
            found[symbol] = numbers[symbol.name]
        else:
            return None
    return found


NEEDS = ("convex", "Polyak", "lower bound", "shown below", "L/2||x||^2")  # what an indefinite quadratic does not have
STEP = ("A3", "A3.start", "A4", "A5", "B1", "B1'", "B3", "B4", "B4'", "B9")


def check_assumptions(label, seed, convex, flip=1):
    """Every slack of the certificate that the world knows is >= 0; the names of those looked at.

    50 digits and some 100 operations on numbers below 10^4: what is >= 0 exactly is not below -10^-40.
    """
    certificate, seen = CERTIFICATES[label], set()
    with mpmath.workdps(50):
        for identity in certificate.identities:
            first = label == "A3.start" or (label.startswith("A4") and identity.name.startswith("first"))
            named, numbers = world(seed, convex, label, first)
            for term in identity.terms if "m = h" not in identity.range.text else ():  # mu < L in the world
                if not convex and any(word in term.why for word in NEEDS):
                    continue
                values = values_of(term.slack, named, numbers)
                if values and ("radius" not in term.name or label != "A5"):
                    slack = sympy.lambdify(list(values), flip * term.slack, "mpmath")(*values.values())
                    assert slack >= -mpmath.mpf(10) ** -40, (term.name, slack)
                    seen.add(term.name)
    return seen


CHECKED = [label for label in LABELS if label.partition(".")[0] in STEP and "isotropic" not in label]


@pytest.mark.parametrize("label", CHECKED)
@pytest.mark.parametrize("convex", [True, False])
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32 - 1))
def test_assumptions_hold_on_quadratics(label, convex, seed):
    check_assumptions(label, seed, convex)


def test_the_check_of_assumptions_sees_them():
    seen = {label: check_assumptions(label, 1, True) for label in CHECKED}
    assert all(seen.values())
    everywhere = set().union(*seen.values())
    assert everywhere >= {"descent", "smooth", "variance", "convex at y", "smooth at y", "strong", "convex", "PL",
                          "radius of SAM", "radius of S2-SAM", "descent at z", "smooth to z", "floor",
                          "quadratic, above"}


@pytest.mark.parametrize("label", CHECKED)
def test_a_false_assumption_is_noticed(label):
    with pytest.raises(AssertionError):
        check_assumptions(label, 1, True, flip=-1)
