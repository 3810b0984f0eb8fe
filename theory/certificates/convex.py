"""Certificates of B3, B3.isotropic, B4.path, B4 and B4': convex, Polyak-Lojasiewicz and strongly convex functions.

x = w_t - w*, b = grad f(y_t), V the variance of g_t; f, f', f_y, f* are the values at w_t, at w_{t+1} in the mean, at
y_t and the minimum. Where the bound is a loop over P2 (Horner's rule), one turn of the loop is one step.
"""

from theory.arithmetic import Number
from theory.bounds.linear import pl_path
from theory.bounds.trajectory import contraction, gain
from theory.certificates.algebra import Vector, dot, integers, nonnegatives, positives, reals, vectors
from theory.certificates.book import certificate
from theory.certificates.descent import VARIANCE, step_terms, total, unit_step
from theory.certificates.error import SMOOTH, Identities
from theory.certificates.proof import Identity, Range, Square, Term
from theory.certificates.trajectory import CONVEX, INDUCTION, round_ball, strong_step
from theory.requirements import Formula


def _after(x: Vector, eta: Number, b: Vector, V: Number = 0) -> Number:
    """Mean squared distance from w* after a step."""
    return dot(x - eta * b, x - eta * b) + eta**2 * V


def _sum(bound: Formula, **constants: Number) -> Identity:
    return total(lambda R2, T, p: bound(R2=R2, T=T, P2=p, **constants))


@certificate("B3")
def b3(bound: Formula) -> Identities:
    """Convexity between y and w*, the quadratic bound between y and w, and the variance; then the sum."""
    eta, L = positives("eta L")
    x, b, p = vectors("x b p")
    f, f_y, f_star, R2, D = reals("f f_y f* R2 D_T")
    V, sigma2, P2 = nonnegatives("V sigma2 P2")
    h, y = eta * L, x + p
    step = bound(eta=eta, L=L, R2=dot(x, x) - _after(x, eta, b, V), T=1, P2=dot(p, p), sigma2=sigma2)
    left = f - f_star + (1 - h) / (2 * L) * dot(b, b)
    terms = (
        Term("convex at y", 1, f_star - f_y + dot(b, y) - dot(b, b) / (2 * L), CONVEX),
        Term("smooth at y", 1, f_y - dot(b, p) + L / 2 * dot(p, p) - f, SMOOTH),
        Term("variance", eta / 2, sigma2 - V, VARIANCE),
    )
    n = integers("n")
    value = lambda R2: bound(eta=eta, L=L, R2=R2, T=n + 1, P2=P2, sigma2=sigma2)  # noqa: E731
    last = bound(eta=eta, L=L, R2=dot(x, x), T=1, P2=0, sigma2=0) - (f - f_star)
    return (
        Identity("one step", step - left, terms),
        _sum(bound, eta=eta, L=L, sigma2=sigma2),
        Identity("R2 without the last distance", value(R2) - value(R2 - D),
                 (Term("distance", 1 / (2 * eta * (n + 1)), D, "a squared distance"),)),
        Identity("the last step without p and b", last,
                 (Term("smooth at w*", 1, L / 2 * dot(x, x) - (f - f_star), SMOOTH),),
                 (Square(1 / (2 * eta) - L / 2, x),), unit_step(eta, L)),
    )


@certificate("B3.isotropic")
def b3_isotropic(bound: Formula) -> Identities:
    """Both sides at f = (L/2)||w||^2, where w* = 0 and b = L (w + p)."""
    eta, L = positives("eta L")
    w, p = vectors("w p")
    b = L * (w + p)
    step = bound(eta=eta, L=L, R2=dot(w, w) - _after(w, eta, b), T=1, P2=dot(p, p), sigma2=0)
    left = L / 2 * dot(w, w) + (1 - eta * L) / (2 * L) * dot(b, b)
    return (Identity("one step", step - left), _sum(bound, eta=eta, L=L, sigma2=0))


def _unrolled(bound: Formula, start: str, weights: tuple[Number, Number, Number], **constants: Number) -> Identities:
    """The loop is its sum, value = A^T start + sum_t A^(T-1-t) (B P2_t + C), for T = 1, ..., 4 and any P2."""
    A, B, C = reals("A B C")
    first = positives(start)
    found = []
    for T in range(1, 5):
        P2 = [nonnegatives(f"P2_{t}") for t in range(T)]
        loop = reals(f"loop_{T}")
        series = A**T * first + sum(A ** (T - 1 - t) * (B * p + C) for t, p in enumerate(P2))
        whole = bound(**{start: first}, P2=P2, **constants)
        where = ((loop, whole, f"the bound for P2_0 to P2_{T - 1}"), *zip((A, B, C), weights, strict=True))
        found.append(Identity(f"the loop at T = {T}", loop - series, where=where))
    return tuple(found)


def polyak(eta: Number, L: Number, mu: Number) -> Range:
    """The range eta <= 1/L, mu <= L."""
    x, y = nonnegatives("x y")
    return Range("mu <= L, h <= 1", ((eta, 1 / (L * (1 + x))), (mu, L / (1 + y))),
                 ((x, 1 / (eta * L) - 1), (y, L / mu - 1)))


def _polyak_terms(eta: Number, L: Number, mu: Number, before: Number) -> tuple[tuple[Term, ...], tuple[Square, ...]]:
    """B1's identity times eta/2, the Polyak-Lojasiewicz inequality and what is known before the step."""
    a, b = vectors("a b")
    f, f_star = reals("f f*")
    lojasiewicz = Term("PL", eta / 2, dot(a, a) - 2 * mu * (f - f_star), "Polyak-Lojasiewicz with mu")
    induction = Term("induction", 1 - eta * mu, before - (f - f_star), INDUCTION)
    return (induction, *step_terms(eta, L, by=eta / 2), lojasiewicz), (Square(eta / 2 * (1 - eta * L), b),)


@certificate("B4.path")
def b4_path(bound: Formula) -> Identities:
    """One turn of the loop, which starts from a bound B of f(w_t) - f*; the loop composes and is the stated sum."""
    eta, L, mu = positives("eta L mu")
    B, sigma2 = nonnegatives("B sigma2")
    p = vectors("p")
    f_next, f_star = reals("f' f*")
    constants = {"eta": eta, "L": L, "mu": mu, "sigma2": sigma2}
    difference = bound(gap=B, P2=[dot(p, p)], **constants) - (f_next - f_star)
    weights = (1 - eta * mu, eta * L**2 / 2, eta**2 * L * sigma2 / 2)
    return (Identity("one step", difference, *_polyak_terms(eta, L, mu, B), polyak(eta, L, mu)),
            *_unrolled(bound, "gap", weights, **constants))


@certificate("B4")
def b4(bound: Formula) -> Identities:
    """The closed form after n + 1 steps, put into the step of B4.path with ||p|| <= rho, is that after it."""
    eta, L, mu, rho = positives("eta L mu rho")
    sigma2, gap = nonnegatives("sigma2 Delta")
    n = integers("n")
    p = vectors("p")
    f_next, f_star = reals("f' f*")
    constants = {"eta": eta, "L": L, "mu": mu, "sigma2": sigma2}
    value = lambda T: bound(gap=gap, T=T, rho=rho, **constants)  # noqa: E731
    terms, squares = _polyak_terms(eta, L, mu, value(n + 1))
    radius = Term("radius", eta * L**2 / 2, rho**2 - dot(p, p), "||p_t|| <= rho")
    return (
        Identity("first step", value(1) - pl_path(gap=gap, P2=[rho**2], **constants)),
        Identity("step after n + 1 others", value(n + 2) - (f_next - f_star), (*terms, radius), squares,
                 polyak(eta, L, mu)),
    )


@certificate("B4'")
def b4_distance(bound: Formula) -> Identities:
    """The step of A4.strong with w* in place of the second run, for mu < L and mu = L, and the loop over P2."""
    h, m, L = positives("h m L")
    R2, V, sigma2 = nonnegatives("R2 V sigma2")
    x, p, G = vectors("x p G")
    eta = h / L
    variance = Term("variance", eta**2, sigma2 - V, VARIANCE)
    value = lambda mu: bound(eta=eta, L=L, mu=mu, R2=R2, P2=[dot(p, p)], sigma2=sigma2)  # noqa: E731
    equal = value(L) - _after(x, eta, L * (x + p), V)
    right, moved = reals("B E||x'||^2")  # the bound, and what it bounds
    step = (
        strong_step("one step, mu < L", h, m, right - moved, R2, x, p, ((variance,), ()),
                    ((right, value(m / eta)), (moved, _after(x, eta, G, V)))),
        Identity("one step, mu = L", equal, (Term("induction", 1 - h, R2 - dot(x, x), INDUCTION), variance),
                 (Square(h * (1 - h), x + p),), round_ball(h)),
    )
    constants = {"eta": eta, "L": L, "mu": m / eta, "sigma2": sigma2}
    return (*step, *_unrolled(bound, "R2", (contraction(h, m), gain(h, m), eta**2 * sigma2), **constants))
