"""Certificates of B5, B6 and B7, and why B7 and B8 themselves have none."""

from theory.certificates.algebra import dot, integers, nonnegatives, positives, vectors
from theory.certificates.book import certificate, no_certificate
from theory.certificates.error import Identities
from theory.certificates.proof import Identity, Range, Square, Term
from theory.certificates.trajectory import TRIANGLE
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
    """Norms only; M is the larger of ||a|| and ||a'||, the gradients at w_t and w_{t+1}.

    For m <= 2/3 inner products give more, the floor eta mu^2 rho/(2 - m), which SAM's two-cycle on mu w^2/2 attains.
    """
    eta, mu, rho = positives("eta mu rho")
    M, A, A2, G, far, turn = nonnegatives("M ||a|| ||a'|| ||g|| ||g-a|| ||a'-a||")
    m = eta * mu
    part = 1 / (2 + m)
    strong = "f is mu-strongly convex"
    terms = (
        Term("before", part * (1 + m), M - A, "M is the larger"),
        Term("after", part, M - A2, "M is the larger"),
        Term("triangle", part, A + A2 - turn, TRIANGLE),
        Term("strong along the step", part, turn - m * G, strong),
        Term("triangle at y", part * m, G + A - far, TRIANGLE),
        Term("strong along p", part * m, far - mu * rho, f"{strong} and ||p_t|| = rho"),
    )
    return (Identity("norms", M - bound(eta=eta, mu=mu, rho=rho), terms), _cycle_floor())


def _cycle_floor() -> Identity:
    """The square of M - m mu rho/(2 - m) >= 0, times (2/m - 1)^2, for m <= 2/3."""
    m, mu, rho = positives("m mu rho")
    x, M = nonnegatives("x M")
    a, after, g = vectors("a a' g")
    weight = 2 / m - 1
    small = Range("m = eta mu <= 2/3", ((m, 2 / (3 + x)),), ((x, 2 / m - 3),))
    terms = (
        Term("strong along p, squared", 1, dot(g - a, g - a) - (mu * rho) ** 2, "||g - a|| >= mu ||p_t|| = mu rho"),
        Term("before, squared", 1 - 3 / m + 2 / m**2, M**2 - dot(a, a), "M is the larger"),
        Term("after, squared", weight / m, M**2 - dot(after, after), "M is the larger"),
        Term("strong along the step, inner", weight, dot(a - after, g) - m * dot(g, g),
             "<a' - a, w' - w> >= mu ||w' - w||^2 and w' - w = -eta g"),
    )
    squares = (Square(weight / m, after + m / 2 * g), Square(2 - 3 * m, 1 / m * (a - m / 2 * g)))
    return Identity("the floor of SAM's cycle", (weight * M) ** 2 - (mu * rho) ** 2, terms, squares, small)


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
