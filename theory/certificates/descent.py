"""Certificates of B1, B1.isotropic, B1', B1'' and B8.changing: the descent lemma with a perturbed gradient.

a = grad f(w_t), b = E[g_t | past] (grad f(y_t) but in B1''), V the variance of g_t, f' the mean of f(w_{t+1}). The
step is the bound at T = 1; that T steps give the bound at T follows by induction, for a symbolic number n of steps.
"""

from collections.abc import Callable

from theory.arithmetic import Number
from theory.bounds.convergence import nonconvex
from theory.certificates.algebra import dot, integers, nonnegatives, positives, reals, vectors
from theory.certificates.book import certificate
from theory.certificates.error import SMOOTH, Identities
from theory.certificates.proof import Identity, Range, Square, Term
from theory.requirements import Formula

DESCENT = "f is within L ||eta g||^2/2 of its linearisation, in the mean"
FLOOR = "f*, a lower bound of f, also bounds f after a step of 1/L from w"
VARIANCE = "the variance is at most sigma^2"


def unit_step(eta: Number, L: Number) -> Range:
    """The range eta <= 1/L."""
    x = nonnegatives("x")
    return Range("h = eta L <= 1", ((eta, 1 / (L * (1 + x))),), ((x, 1 / (eta * L) - 1),))


def beyond_step(eta: Number, L: Number) -> Range:
    """The range 1/L <= eta < 2/L."""
    x, h = nonnegatives("x"), eta * L
    return Range("1 <= h < 2", ((eta, (1 + x / (1 + x)) / L),), ((x, (h - 1) / (2 - h)),))


def step_terms(eta: Number, L: Number, by: Number = 1, tau: Number = 1) -> tuple[Term, ...]:
    """S1, S2 and S3 with the weights of B1 (`tau` is |1 - h|/tau + h of B1'), all times `by`."""
    a, b, p = vectors("a b p")
    f, f_next = reals("f f'")
    V, sigma2 = nonnegatives("V sigma2")
    S1 = f - eta * dot(a, b) + L * eta**2 / 2 * (dot(b, b) + V) - f_next
    S2 = L**2 * dot(p, p) - dot(b - a, b - a)
    return (Term("descent", 2 * by / eta, S1, DESCENT), Term("smooth", by * tau, S2, SMOOTH),
            Term("variance", by * eta * L, sigma2 - V, VARIANCE))


def total(value: Callable[[Number, Number, Number], Number]) -> Identity:
    """(n + 2) value(n + 2 steps) = (n + 1) value(n + 1 steps) + value(one step), for any sums of decreases and p^2.

    value takes what a claim calls Delta or R2, then T and P^2.
    """
    n = integers("n")
    gap, more = reals("G g")
    p, p_more = nonnegatives("P p")
    summed = lambda gap, T, p: T * value(gap, T, p / T)  # noqa: E731
    both = summed(gap + more, n + 2, p + p_more)
    return Identity("the sum over the steps", both - summed(gap, n + 1, p) - summed(more, 1, p_more))


def _sum(bound: Formula, **constants: Number) -> Identity:
    return total(lambda gap, T, p: bound(gap=gap, T=T, P2=p, **constants))


def _minimum(bound: Formula, **constants: Number) -> Identity:
    """With Delta = f(w_0) - f* the bound is no smaller than with the measured f(w_0) - f(w_T)."""
    f, last, f_star = reals("f_0 f_T f*")
    n, eta = integers("n"), constants["eta"]
    value = lambda gap: bound(gap=gap, T=n + 1, **constants)  # noqa: E731
    return Identity("Delta from f*", value(f - f_star) - value(f - last),
                    (Term("minimum", 2 / (eta * (n + 1)), last - f_star, "f* is a lower bound of f"),))


@certificate("B1")
def b1(bound: Formula) -> Identities:
    """B1's identity: no square is left over but (1 - h)||b||^2, which the claim keeps on the left."""
    eta, L = positives("eta L")
    a, b, p = vectors("a b p")
    f, f_next, f_star = reals("f f' f*")
    sigma2, P2 = nonnegatives("sigma2 P2")
    step = bound(eta=eta, L=L, gap=f - f_next, T=1, P2=dot(p, p), sigma2=sigma2)
    left = dot(a, a) + (1 - eta * L) * dot(b, b)
    last = bound(eta=eta, L=L, gap=f - f_star, T=1, P2=0, sigma2=0) - dot(a, a)
    floor = Term("floor", 2 / eta, f - f_star - dot(a, a) / (2 * L), FLOOR)
    return (
        Identity("one step", step - left, step_terms(eta, L)),
        _sum(bound, eta=eta, L=L, sigma2=sigma2),
        _minimum(bound, eta=eta, L=L, P2=P2, sigma2=sigma2),
        Identity("the last step without p and b", last, (floor,), (Square(1 / (eta * L) - 1, a),), unit_step(eta, L)),
    )


@certificate("B1.isotropic")
def b1_isotropic(bound: Formula) -> Identities:
    """Both sides at f = (L/2)||w||^2, where a = L w, b = L (w + p)."""
    eta, L = positives("eta L")
    w, p = vectors("w p")
    a, b = L * w, L * (w + p)
    new = w - eta * b
    gap = L / 2 * (dot(w, w) - dot(new, new))
    step = bound(eta=eta, L=L, gap=gap, T=1, P2=dot(p, p), sigma2=0)
    return (Identity("one step", step - dot(a, a) - (1 - eta * L) * dot(b, b)),
            _sum(bound, eta=eta, L=L, sigma2=0))


@certificate("B1'")
def b1_weights(bound: Formula) -> Identities:
    """For every tau > 0 a step; the best tau makes the sum q(A) <= 0, whose larger root is the bound.

    A is the left side, X = (1/T) sum of 2 (f - f')/eta + h sigma^2, q(A) = (2 - h) A^2 - 2 |1 - h| L P A - h L^2 P^2
    - X; h <= 1 and h >= 1 are two cases, of sign z. At A = 0 there is nothing to show; P = 0 is the limit tau -> 0.
    With Delta = f(w_0) - f* the last step needs no p: the term of p_{T-1} drops out of P^2, as it does in B1.
    """
    return (*_case(bound, 1), *_case(bound, -1))


def _case(bound: Formula, z: int) -> Identities:
    import sympy

    eta, L, tau, P, T = positives("eta L tau P T")
    A, gap = reals("A Delta")
    sigma2 = nonnegatives("sigma2")
    a, b, p = vectors("a b p")
    f, f_next = reals("f f'")
    h = eta * L
    size = z * (1 - h)  # |1 - h|
    range = unit_step(eta, L) if z == 1 else beyond_step(eta, L)
    weight, rest = h + size / tau, 2 - h - size * tau
    X = 2 * (f - f_next) / eta + h * sigma2
    step = Identity(f"one step, {range.text}", weight * L**2 * dot(p, p) + X - rest * dot(a, a),
                    step_terms(eta, L, tau=weight), (Square(size / tau, tau * a + z * (b - a)),), range)

    f_star = reals("f*")
    floor = Term("floor", 2 / eta, f - f_star - dot(a, a) / (2 * L), FLOOR)
    last = Identity(f"the last step without p, {range.text}", 2 * (f - f_star) / eta - rest * dot(a, a), (floor,),
                    (Square((1 - h) ** 2 / h + size * tau, a),), range)

    value = bound(eta=eta, L=L, gap=gap, T=T, P2=P**2, sigma2=sigma2)
    inside = {e: next(x for x in e.args if x != 0) for e in value.atoms(sympy.Max)}  # >= 0, as the last identity shows
    value = value.subs(inside).replace(sympy.Abs, lambda _: size)
    X = 2 * gap / (eta * T) + h * sigma2
    q = (2 - h) * A**2 - 2 * size * L * P * A - h * L**2 * P**2 - X
    best = {tau: L * P / A}
    summed = (rest * A**2 - weight * L**2 * P**2 - X).subs(best)
    center = size * L * P / (2 - h)
    other = 2 * center - value  # the smaller root, for the square root in the bound is >= 0
    quadratic, upper, lower = reals("q(A) bound other")
    root = Identity(f"the square root's argument is >= 0, {range.text}", L**2 * P**2 + (2 - h) * X,
                    (Term("the sum", 2 - h, -q, "q(A) <= 0"),), (Square(1, (2 - h) * (A - center)),), range)
    return (
        step,
        last,
        Identity(f"the best tau = L P/A, {range.text}", q - summed),
        Identity(f"the bound is a root of q, {range.text}", quadratic - (2 - h) * (A - upper) * (A - lower),
                 where=((quadratic, q), (lower, other), (upper, value))),
        root,
    )


@certificate("B1''")
def b1_same_batch(bound: Formula) -> Identities:
    """With i the sample, X_i = grad f_i(w) - a has mean 0, D_i = g_t - grad f_i(w) has mean b - a.

    The variance V = E||X + D - (b - a)||^2 is written out in the moments of X and D.
    """
    eta, L, rho, sigma = positives("eta L rho sigma")
    a, b = vectors("a b")
    f, f_next = reals("f f'")
    XX, DD = nonnegatives("E||X||^2 E||D||^2")
    XD = reals("E<X,D>")
    bias = dot(b - a, b - a)
    V = XX + 2 * XD + DD - bias
    h = eta * L
    step = bound(eta=eta, L=L, gap=f - f_next, T=1, rho=rho, sigma2=sigma**2)
    left = dot(a, a) + (1 - h) * dot(b, b)
    S1 = f - eta * dot(a, b) + L * eta**2 / 2 * (dot(b, b) + V) - f_next
    terms = (
        Term("descent", 2 / eta, S1, DESCENT),
        Term("smooth", 1 + h, L**2 * rho**2 - DD, "every sample's f is L-smooth and ||p_i|| <= rho"),
        Term("Jensen", 1, DD - bias, "||E D||^2 <= E||D||^2"),
        Term("variance", h, sigma**2 - XX, VARIANCE),
        Term("Cauchy", 2 * h, sigma * L * rho - XD, "Cauchy-Schwarz for E<X,D>, with both bounds"),
    )
    n = integers("n")
    gap, more = reals("G g")
    value = lambda gap, T: T * bound(eta=eta, L=L, gap=gap, T=T, rho=rho, sigma2=sigma**2)  # noqa: E731
    return (
        Identity("one step", step - left, terms, (Square(h, b - a),)),
        Identity("the sum over the steps", value(gap + more, n + 2) - value(gap, n + 1) - value(more, 1)),
        _minimum(bound, eta=eta, L=L, rho=rho, sigma2=sigma**2),
    )


@certificate("B8.changing")
def changing(bound: Formula) -> Identities:
    """B1's step with masked a and b; f'' is f after the change of the mask that follows the step."""
    eta, L = positives("eta L")
    a, b, p = vectors("a b p")
    f, f_next, after = reals("f f' f''")
    sigma2 = nonnegatives("sigma2")
    jump = reals("J")
    step = bound(eta=eta, L=L, gap=f - after, T=1, P2=dot(p, p), sigma2=sigma2, jumps=after - f_next)
    left = dot(a, a) + (1 - eta * L) * dot(b, b)
    n, T = integers("n"), positives("T")
    gap, more, jumps = reals("G g J_0")
    value = lambda gap, T, jumps: T * bound(eta=eta, L=L, gap=gap, T=T, P2=0, sigma2=0, jumps=jumps)  # noqa: E731
    P2 = nonnegatives("P2")
    plain = bound(eta=eta, L=L, gap=gap, T=T, P2=P2, sigma2=sigma2, jumps=jumps)
    return (
        Identity("one step", step - left, step_terms(eta, L)),
        Identity("the sum over the steps",
                 value(gap + more, n + 2, jumps + jump) - value(gap, n + 1, jumps) - value(more, 1, jump)),
        Identity("B1 with the jumps added to Delta",
                 plain - nonconvex(eta=eta, L=L, gap=gap + jumps, T=T, P2=P2, sigma2=sigma2)),
    )
