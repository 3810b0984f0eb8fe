"""Certificate of B1'.fstar: one step backwards, the last weights, the path that is exact, and the bound's own sum.

Before the step stands sum_{s > t} E||grad f(w_s)||^2 <= 2L l (f' - f*) + what it costs; after it the same for s >= t
with k = max(l, l'), where l' and the cost of the step are those of `theory.bounds.lower_bounded.backward`.
"""

from theory.arithmetic import Number
from theory.bounds.convergence import weights_only
from theory.bounds.lower_bounded import TINY, backward, parabola_norms
from theory.certificates.algebra import dot, nonnegatives, positives, reals, vectors
from theory.certificates.book import certificate
from theory.certificates.descent import FLOOR, beyond_step, step_terms, unit_step
from theory.certificates.error import Identities
from theory.certificates.proof import Identity, Square, Term
from theory.requirements import Formula


@certificate("B1'.fstar")
def b1_from_minimum(bound: Formula) -> Identities:
    """The steps in both cases of h; then the bound for T = 1 and 2 as the smaller of the two sums of its steps."""
    L, x, move = positives("L x move")
    a = vectors("a")
    f, f_star = reals("f f*")
    weight, noise = positives("l"), nonnegatives("noise")
    h = positives("h")
    grown, cost = backward(weight, h=h, x=x, move=move, noise=noise)
    after = parabola_norms(h=h, start=x, moves=[move], noise=noise)[1]
    floor = Term("floor", 1, 2 * L * (f - f_star) - dot(a, a), FLOOR)
    return (
        _step(1),
        _step(-1),
        Identity("the last weights", 2 * L * (f - f_star) - dot(a, a), (floor,)),
        Identity("on the parabola's path the sum is that of x_t^2",
                 grown * x**2 + cost - (x**2 + weight * after**2)),
        *(_sum(bound, T) for T in (1, 2)),  # a third turn of the loop is as the second
    )


def _step(z: int) -> Identity:
    """The step, z = sign(1 - h); d = k - l >= 0, and k - l' >= 0 because k is the larger."""
    import sympy

    eta, L, x, P, weight = positives("eta L x P l")
    sigma2, d = nonnegatives("sigma2 d")
    a, b, p = vectors("a b p")
    f, f_next, f_star = reals("f f' f*")
    h = eta * L
    size = z * (1 - h)
    range = unit_step(eta, L) if z == 1 else beyond_step(eta, L)
    grown, cost = (
        sympy.sympify(value).replace(sympy.Abs, lambda _: size)
        for value in backward(weight, h=h, x=x, move=L * P, noise=h**2 * sigma2)
    )
    larger, tau = weight + d, L * P / x
    k, ratio, share, spent, second, H = positives("k tau s cost l' h")
    before, left = 2 * L * k * (f - f_star), dot(a, a) + 2 * L * weight * (f_next - f_star)
    both = H + share / ratio
    terms = (
        *step_terms(eta, L, by=weight * H, tau=both),
        Term("radius", weight * H * both * L**2, P**2 - dot(p, p), "E||p_t||^2 = P^2"),
        Term("floor", d, 2 * L * (f - f_star) - dot(a, a), FLOOR),
        Term("maximum", dot(a, a), k - second, "k is the larger of l and l'"),
    )
    where = (k, larger), (spent, cost), (second, grown), (ratio, tau), (share, size), (H, h)
    return Identity(f"one step backwards, {range.text}", before + spent - left, terms,
                    (Square(weight * H * share / ratio, ratio * a + z * (b - a)),), range, where)


def _sum(bound: Formula, T: int) -> Identity:
    """The bound's square times T is the smaller of two sums of steps, on the parabola's path and at B1' throughout."""
    import sympy

    eta, L, gap = positives("eta L Delta")
    sigma2 = nonnegatives("sigma2")
    P2 = [positives(f"P2_{t}") for t in range(T)]
    h, start = eta * L, sympy.sqrt(2 * L * gap)
    moves, noise = [L * sympy.sqrt(p2) for p2 in P2[:-1]], h**2 * sigma2
    path = [sympy.Max(x, start / TINY) for x in parabola_norms(h=h, start=start, moves=moves, noise=noise)]
    level = weights_only(eta=eta, L=L, gap=gap, T=T, P2=sum(P2[:-1]) / sympy.Integer(T), sigma2=sigma2)
    sums = []
    for norms in (path, [level] * T):
        weight: Number = sympy.Integer(1)
        total: Number = sympy.Integer(0)
        for t in reversed(range(T - 1)):
            grown, cost = backward(weight, h=h, x=norms[t], move=moves[t], noise=noise)
            weight, total = sympy.Max(weight, grown), total + cost
        sums.append(weight * start**2 + total)
    right, parabola, flat = positives("bound S_path S_flat")
    words = ("the steps above, put together at x_t of the parabola's path", "the same at x_t = B1' for every t")
    where = (
        (right, bound(eta=eta, L=L, gap=gap, P2=P2, sigma2=sigma2), f"the claim's right side at T = {T}"),
        *zip((parabola, flat), sums, words, strict=True),
    )
    return Identity(f"the bound at T = {T}", T * right**2 - sympy.Min(parabola, flat), where=where)
