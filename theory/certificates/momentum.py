"""Certificates of B9 and B10.isotropic, and why the rest of B10, C and D have none.

B9: v is the buffer before a step, z = w - (eta beta/(1 - beta)) v the shadow iterate, c = grad f(z), f and f' the
values at z and at the next z in the mean; a, b, p and V are those of `theory.certificates.descent`.
"""

from theory.bounds.convergence import nonconvex
from theory.certificates.algebra import dot, integers, nonnegatives, positives, reals, vectors
from theory.certificates.book import certificate, no_certificate
from theory.certificates.descent import DESCENT, VARIANCE, total
from theory.certificates.error import CAUCHY, SMOOTH, Identities
from theory.certificates.proof import Identity, Range, Square, Term
from theory.requirements import Formula

no_certificate(
    "B10.gap",
    "The proof shows that a cone is never left and leads the opposite to a contradiction; it is about all steps of a "
    "run together, not a sum over its steps.",
)
no_certificate("B10.conjecture", "It is a conjecture: there is no proof whose core could be checked.")
for _label in ("C1", "C1'"):
    no_certificate(
        _label,
        "The proof is a change of measure and a union bound, whose inequalities are between distributions; the formula "
        "itself is the last line and holds with a probability.",
    )
for _label in (f"D{n}" for n in range(1, 11)):
    no_certificate(_label, "What the paper shows by experiment: there is nothing to prove, the verdict is measured.")


@certificate("B9")
def b9(bound: Formula) -> Identities:
    """B1's identity at the shadow iterate, and Phi = (L eta beta/(1 - beta))||v||^2, which starts at 0 and stays >= 0.

    At a step, the bound minus the left side plus Phi minus the next Phi in the mean is a sum of terms and squares.
    """
    eta, L, beta = positives("eta L beta")
    a, b, c, p, v = vectors("a b c p v")
    f, f_next, f_star, last = reals("f f' f* f_T")
    V, sigma2, P2 = nonnegatives("V sigma2 P2")
    y = positives("y")
    alpha, gamma = eta / (1 - beta), L * eta * beta / (1 - beta) ** 2
    short, slope, right, kept, after, before = reals("alpha gamma B left Phi' Phi")
    inside = Range("0 < beta < 1", ((beta, y / (1 + y)),), ((y, beta / (1 - beta)),))
    value = lambda gap, T, p2: bound(eta=eta, beta=beta, L=L, gap=gap, T=T, P2=p2, sigma2=sigma2)  # noqa: E731

    left = dot(a, a) + (1 - L * alpha * (1 + beta) / (1 - beta)) * dot(b, b)
    phi = L * eta * beta / (1 - beta)
    new_v = beta * v + b  # of variance V
    shift = alpha * beta * v  # w - z
    S1 = f - alpha * dot(c, b) + L * alpha**2 / 2 * (dot(b, b) + V) - f_next
    where = (
        (right, value(f - f_next, 1, dot(p, p))), (kept, left), (after, phi * (dot(new_v, new_v) + V)),
        (before, phi * dot(v, v)), (slope, gamma), (short, alpha),
    )
    terms = (
        Term("descent at z", 2 / short, S1, DESCENT),
        Term("smooth", 1, L**2 * dot(p, p) - dot(b - a, b - a), SMOOTH),
        Term("smooth to z", 1 / slope, L**2 * dot(shift, shift) - dot(c - a, c - a), SMOOTH),
        Term("variance", L * short + slope, sigma2 - V, VARIANCE),
        Term("noise in the buffer", L * eta * beta**2 / (1 - beta) ** 2, V, "a variance"),
    )
    squares = (Square(1 / slope, slope * b + c - a), Square(L * eta * beta**2, v - 1 / (1 - beta) * b))
    n = integers("n")
    drop = value(f - f_star, n + 1, P2) - value(f - last, n + 1, P2)
    T, gap = positives("T"), reals("G")
    still = bound(eta=eta, beta=0, L=L, gap=gap, T=T, P2=P2, sigma2=sigma2)
    return (
        Identity("one step, beta > 0", right - kept - after + before, terms, squares, inside, where),
        total(value),
        Identity("Delta from f*", drop,
                 (Term("minimum", 2 / (alpha * (n + 1)), last - f_star, "f* is a lower bound of f"),), range=inside),
        Identity("beta = 0 is B1", still - nonconvex(eta=eta, L=L, gap=gap, T=T, P2=P2, sigma2=sigma2)),
    )


@certificate("B10.isotropic")
def b10_isotropic(bound: Formula) -> Identities:
    """Lengths in units of rho; d is the stale unit direction, y = w + d, N = ||y||, M = max(||w_0||, 1)."""
    import sympy

    h, L, rho, T, N, area = positives("h L rho T N area")
    w, d = vectors("w d")
    y = w + d
    new = w - h * y
    unit = {nonnegatives("||d||"): 1}
    step = dot(new, new) - dot(w, w) + h * (dot(w, w) + (1 - h) * (dot(y, y) - 1) - h)
    squared_area = lambda x, z: dot(x, x) * dot(z, z) - dot(x, z) ** 2  # noqa: E731
    W, last = nonnegatives("W W_T")
    total_n, logs = reals("sum(N^2-1) sum(lnN)")
    value, room = bound(L=L, h=h, rho=rho, W=W, area=area, T=T), sympy.log(sympy.Max(sympy.sqrt(W), 1) / area)
    weights = h * T - (1 - h) * total_n + (W - last) / h  # the sum of ||w||^2, by the step below
    terms = (
        Term("logarithm", 1 - h, total_n - 2 * logs, "N^2 - 1 >= 2 ln N, shown below"),
        Term("area", 2 * (1 - h), logs + room, "the area ends below M, shown below"),
        Term("last weight", 1 / h, last, "a square"),
    )
    x = nonnegatives("x")
    small = Range("h <= 1", ((h, 1 / (1 + x)),), ((x, 1 / h - 1),))
    U, D = nonnegatives("||w|| ||d||")
    return (
        Identity("the sum over the steps", T * value / (L * rho) ** 2 - weights, terms, range=small),
        Identity("one step of ||w||^2", step.subs(unit)),
        Identity("the logarithm", N**2 - 1 - 2 * sympy.log(N),
                 (Term("log", 1, N**2 - 1 - 2 * sympy.log(N), "ln x <= x - 1 at x = N^2"),)),
        Identity("the area is divided by N", squared_area(new, y) - squared_area(w, d)),
        Identity("the area is at most ||w|| ||d||", (U * D) ** 2 - squared_area(w, d), squares=(Square(1, dot(w, d)),)),
        Identity("||w|| stays below M", ((1 - h) * U + h * D) ** 2 - dot(new, new),
                 (Term("Cauchy", 2 * h * (1 - h), U * D + dot(w, d), CAUCHY),), range=small),
    )
