"""Certificates of B5, B6 and B7, and why B7 and B8 themselves have none."""

from theory.arithmetic import Number
from theory.certificates.algebra import dot, integers, nonnegatives, positives, vectors
from theory.certificates.book import certificate, no_certificate
from theory.certificates.error import Identities
from theory.certificates.proof import Identity, Range, Square, Term
from theory.requirements import Formula

no_certificate(
    "B7",
    "The claim says which samples y_t depends on, not how large something is: a mean over the sample of step t with "
    "y_t fixed is grad f(y_t) by the definition of f. It is checked by exact enumeration of the samples.",
)
no_certificate(
    "B8",
    "The claim says that two programs make the same step, mask and restriction; there is nothing to estimate. It is "
    "checked by running both, bit for bit.",
)


@certificate("B5.s2sam")
def s2sam(bound: Formula) -> Identities:
    """The closed form obeys S2-SAM's recursion as long as y_t > 0, and it keeps y_t > 0."""
    h, w0, rho = positives("h w0 rho")
    n, x = integers("n"), positives("x")
    path = lambda T: bound(h=h, rho=rho, w0=w0, T=T)  # noqa: E731
    y = path(n + 1) + rho  # d = 1
    inside = Range("0 < h < 1", ((h, 1 / (1 + x)),), ((x, 1 / h - 1),))
    grows = (1 - h) ** n
    return (
        Identity("first step, y_0 = w_0", path(1) - (w0 - h * w0)),
        Identity("step after n + 1 others", path(n + 2) - (path(n + 1) - h * y)),
        Identity("y_t > 0", y, (Term("start", grows * (1 - h), w0, "w_0 > 0"),
                                Term("radius", grows, rho, "rho >= 0")), range=inside),
    )


@certificate("B5.sam")
def sam(bound: Formula) -> Identities:
    """The cycle is one of SAM's step, and a step that changes the sign multiplies the distance from it by -(1 - h)."""
    L, h, rho = positives("L h rho")
    W = nonnegatives("|w|")
    cycle = bound(L=L, h=h, rho=rho) / L
    step = lambda w: w - h * (w + rho)  # noqa: E731  for w > 0
    return (
        Identity("the cycle changes its sign", step(cycle) + cycle),
        Identity("a step that changes the sign", (-step(W) - cycle) + (1 - h) * (W - cycle)),
    )


@certificate("B5.lower")
def lower(bound: Formula) -> Identities:
    """Strong convexity between the three points w_t, y_t, w_{t+1}, with other weights on each of three ranges of m.

    M is the larger of ||a|| and ||a'||, the gradients at w_t and w_{t+1}, and u = sqrt(2m).
    """
    import sympy

    m, u, y = positives("m u y")
    x = nonnegatives("x")
    root = sympy.sqrt(5)
    low = Range("m = eta mu <= 3 - sqrt(5)", ((m, (3 - root) / (1 + x)),), ((x, (3 - root) / m - 1),))
    between = Range("3 - sqrt(5) <= m < 2", ((u, (root - 1 + 2 * y) / (1 + y)),), ((y, (u - root + 1) / (2 - u)),))
    high = Range("m >= 2", ((m, 2 + x),), ((x, m - 2),))
    share, turned = m**2 / (4 - 2 * m), 8 * (u - 1) ** 2 / u**3
    rest = m**2 * (4 - 6 * m + m**2) * (4 - 2 * m - m**2) / (64 * (1 - m))
    return (
        _three_points(bound, low, m, (m, root - 1), (1 - m) / (2 - m),
                      (share, m * (4 - 2 * m - m**2) / (8 - 4 * m), share), rest, 2 / (2 - m)),
        _three_points(bound, between, u**2 / 2, (3 - root, u), 1 - 1 / u,
                      (turned, 2 * (u - 1) * (2 - u) / u, turned), 0, 0),
        _three_points(bound, high, m, (3 - root, 2), 1 - 1 / m, (2 - 2 / m, 0, 2 / m), m - 2, 0),
    )


def _three_points(
    bound: Formula, range: Range, m: Number, least: tuple[Number, Number], part: Number,
    weights: tuple[Number, Number, Number], rest: Number, turn: Number,
) -> Identity:
    """M^2 - bound^2 >= 0 on a range of m, where `least` are the bound's two minima.

    `part` is the weight of ||a||^2, `weights` and `rest` those of the three inequalities and of the last square, in
    which `turn` multiplies p; the letters are those of the claim's proof.
    """
    import sympy

    mu, rho = positives("mu rho")
    M = nonnegatives("M")
    a, after, g, p = vectors("a a' g p")
    A, B, C, F, share, q, D = positives("A B C F l q D")
    root = sympy.sqrt(5)
    minima = (sympy.Min(m, 3 - root), sympy.Min(sympy.Max(sympy.sqrt(2 * m), root - 1), 2))
    value = sympy.sympify(bound(eta=m / mu, mu=mu, rho=rho)).subs(dict(zip(minima, least, strict=True)))
    value = sympy.factor(sympy.expand(sympy.radsimp(value / (mu * rho))))
    meanings = (F, value), (share, part), *zip((A, B, C), weights, strict=True), (D, rest), (q, turn)
    step = mu * p + m * g  # mu (y - w')
    strong = "f is mu-strongly convex:"
    terms = (
        Term("before", share, M**2 - dot(a, a), "M is the larger"),
        Term("after", 1 - share, M**2 - dot(after, after), "M is the larger"),
        Term("w and y", A, mu * dot(g - a, p) - mu**2 * dot(p, p), f"{strong} <g - a, p> >= mu ||p||^2"),
        Term("w and w'", B, dot(a - after, g) - m * dot(g, g), f"{strong} <a' - a, -eta g> >= mu ||eta g||^2"),
        Term("w' and y", C, dot(g - after, step) - dot(step, step), f"{strong} the same for y - w' = p + eta g"),
        Term("radius", (F * mu) ** 2, dot(p, p) - rho**2, "||p_t|| = rho"),
    )
    squares = (
        Square(share, a + 1 / (2 * share) * (A * mu * p - B * g)),
        Square(1 - share, after + 1 / (2 - 2 * share) * (B * g + C * step)),
        Square(D, g - q * mu * p),
    )
    none = {symbol for symbol, meaning in meanings if meaning == 0}
    return Identity(range.text, M**2 - (F * mu * rho) ** 2, tuple(t for t in terms if t.multiplier not in none),
                    tuple(s for s in squares if s.coefficient not in none), range, meanings)


@certificate("B6")
def shadow(bound: Formula) -> Identities:
    """The residual as a vector: each of its components is zero."""
    eta, rho, rho_next = positives("eta rho rho'")
    w, g, d, stale = vectors("w g d d_")
    y = w + rho * stale
    residual = w - eta * g + rho_next * d - (y - eta * g + rho_next * d - rho * stale)
    return (Identity("the residual squared", bound() ** 2 - dot(residual, residual)),)


@certificate("B6.distance")
def shadow_distance(bound: Formula) -> Identities:
    """The distance is ||rho d||."""
    rho = positives("rho")
    d = vectors("d")
    move = rho * d
    return (Identity("the square", bound(rho=rho) ** 2 - dot(move, move),
                     (Term("direction", rho**2, 1 - dot(d, d), "||d|| is 1 or 0"),)),)


@certificate("B7.same-batch")
def same_batch(bound: Formula) -> Identities:
    """D_i = grad f_i(w + p_i) - grad f_i(w), whose mean is the bias."""
    L, rho = positives("L rho")
    bias, DD = vectors("bias"), nonnegatives("E||D||^2")
    terms = (Term("smooth", 1, L**2 * rho**2 - DD, "every f_i is L-smooth and ||p_i|| <= rho"),
             Term("Jensen", 1, DD - dot(bias, bias), "||E D||^2 <= E||D||^2"))
    return (Identity("the square", bound(L=L, rho=rho) ** 2 - dot(bias, bias), terms),)


@certificate("B7.full")
def full(bound: Formula) -> Identities:
    """The sum of ||n_i - e|| over N = n + 2 samples: two that make at most 2 sqrt 2 together, n that make 2 each.

    The two are at most sqrt 2 each, or 2 sin(x/2) + 2 cos(y/2) with x <= y <= 180 degrees, as said in the claim.
    """
    import sympy

    L, rho = positives("L rho")
    n = integers("n")
    bias, pair, others, s, c = nonnegatives("||bias|| pair others s c")
    N, two = n + 2, 2 * sympy.sqrt(2)
    each = L * rho / N
    terms = (
        Term("smooth", 1, each * (pair + others) - bias, "every f_i is L-smooth: the bias is at most the mean move"),
        Term("others", each, 2 * n - others, "two unit vectors are at most 2 apart"),
        Term("pair", each, two - pair, "shown below"),
    )
    e, v = vectors("e n")  # directions, of norm at most 1
    near = Identity("a sample with <n, e> >= 0, squared", 2 - dot(v - e, v - e), (
        Term("ahead", 2, dot(v, e), "<n, e> >= 0"),
        Term("direction of n", 1, 1 - dot(v, v), "||n|| <= 1"),
        Term("direction of e", 1, 1 - dot(e, e), "||e|| <= 1"),
    ))
    # s = sin(x/2), c = cos(x/2) >= cos(y/2)
    turned = Identity("two samples on both sides, squared", two**2 * (s**2 + c**2) - (2 * s + 2 * c) ** 2,
                      squares=(Square(4, s - c),))
    one = bound(L=L, rho=rho, N=1)
    return (
        Identity("N = n + 2", bound(L=L, rho=rho, N=N) - bias, terms),
        near,
        turned,
        Identity("N = 1, where the bias is 0", one, (Term("sign", L * rho, two - 2, "2 sqrt 2 > 2"),)),
    )


@certificate("B7.independent")
def independent(bound: Formula) -> Identities:
    """n_i the direction of sample i, mean its mean; i and j are drawn independently."""
    L, rho = positives("L rho")
    bias, mean = vectors("bias mean")
    nn = nonnegatives("E||n||^2")
    spread = 2 * nn - 2 * dot(mean, mean)  # E||n_i - n_j||^2
    terms = (Term("smooth", 1, L**2 * rho**2 * spread - dot(bias, bias), "every f_i is L-smooth, and Jensen"),
             Term("directions", 2 * L**2 * rho**2, 1 - nn, "||n_i|| is 1 or 0"))
    return (Identity("the square", bound(L=L, rho=rho) ** 2 - dot(bias, bias), terms,
                     (Square(2 * L**2 * rho**2, mean),)),)
