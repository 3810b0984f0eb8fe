"""Certificates of A1, A2, A3, A5: one step's perturbation, gradient and loss. a = grad f(w_t), g = g_{t-1}."""

from theory.certificates.algebra import dot, nonnegatives, positives, reals, vectors
from theory.certificates.book import certificate
from theory.certificates.proof import EVERYWHERE, Identity, Range, Square, Term
from theory.requirements import Formula

Identities = tuple[Identity, ...]
COSINE = "a cosine is at least -1"
SMOOTH = "f is L-smooth"
CAUCHY = "Cauchy-Schwarz"


@certificate("A1")
def a1(bound: Formula) -> Identities:
    """Squares of both inequalities; ||n(a) - n(b)||^2 = 2 - 2c, and 1 where one of the vectors is zero."""
    import sympy

    rho, A, B = positives("rho ||a|| ||b||")
    c, x = reals("c"), nonnegatives("x")
    value = bound(rho=rho, diff=sympy.sqrt(A**2 + B**2 - 2 * c * A * B), norm_a=A, norm_b=B)
    cosine = Range("c >= -1", ((c, x - 1),), ((x, c + 1),))
    alone = bound(rho=rho, diff=B, norm_a=0, norm_b=B)
    return (
        Identity("neither is zero", value**2 - rho**2 * (2 - 2 * c),
                 squares=(Square(2 * rho**2 * (1 + c) / (A + B) ** 2, A - B),), range=cosine),
        Identity("at most 2 rho", (2 * rho) ** 2 - value**2,
                 (Term("cosine", 8 * rho**2 * A * B / (A + B) ** 2, 1 + c, COSINE),)),
        Identity("a is zero", alone**2 - rho**2, squares=(Square(3, rho),)),
    )


def nonzero(*names: str) -> Range:
    """Vectors that are not zero: their norms, as symbols > 0."""
    pairs = tuple((nonnegatives(f"||{name}||"), positives(f"||{name}||")) for name in names)
    return Range(f"{', '.join(names)} not zero", pairs, tuple((positive, norm) for norm, positive in pairs))


@certificate("A1.cos")
def a1_cos(bound: Formula) -> Identities:
    """cos^2 above the squared bound, and the sign of the cosine; diff^2 = ||a - b||^2 by expansion."""
    import sympy

    a, b = vectors("a b")
    q, A2, B2 = dot(a, b), dot(a, a), dot(b, b)
    A, B = sympy.sqrt(A2), sympy.sqrt(B2)
    D2 = dot(a - b, a - b)
    value = bound(diff=sympy.sqrt(D2), norm_b=B)
    return (
        Identity("the square", q**2 / (A * B) ** 2 - value**2, squares=(Square(1 / (A * B) ** 2, q - A2),),
                 range=nonzero("a", "b")),
        Identity("the sign", 2 * q, (Term("near", 1, B2 - D2, "||a - b|| < ||b||"),), (Square(1, a),)),
    )


def _stale(L, eta) -> tuple:
    """The gradients a at w_t and g at y_{t-1}, with w_t - y_{t-1} = -(eta g + p), and A2's two assumptions."""
    a, g, p = vectors("a g p")
    G, P = nonnegatives("||g|| ||p||")
    way = eta * g + p
    smooth = L**2 * dot(way, way) - dot(a - g, a - g)
    return a, g, p, G, P, smooth, G * P - dot(g, p)


@certificate("A2")
def a2(bound: Formula) -> Identities:
    """Smoothness between w_t and y_{t-1}, then Cauchy-Schwarz for the triangle."""
    L, eta = positives("L eta")
    a, g, _, G, P, smooth, cauchy = _stale(L, eta)
    difference = bound(L=L, eta=eta, norm_g=G, norm_p=P) ** 2 - dot(a - g, a - g)
    return (Identity("the square", difference,
                     (Term("smooth", 1, smooth, SMOOTH), Term("Cauchy", 2 * L**2 * eta, cauchy, CAUCHY))),)


@certificate("A2.cos")
def a2_cos(bound: Formula) -> Identities:
    """A1.cos with b = g and the two assumptions of A2 in one identity, and the sign of the cosine."""
    L, eta = positives("L eta")
    a, g, _, G, P, smooth, cauchy = _stale(L, eta)
    q, A2, G2 = dot(a, g), dot(a, a), dot(g, g)
    value2 = bound(L=L, eta=eta, norm_g=G, norm_p=P) ** 2
    near = G2 * value2  # ||g||^2 (1 - s^2) > 0 on the domain
    from_a2 = lambda by: (Term("smooth", by, smooth, SMOOTH), Term("Cauchy", 2 * L**2 * eta * by, cauchy, CAUCHY))  # noqa: E731
    return (
        Identity("the square", q**2 / (A2 * G2) - value2, from_a2(1 / G2), (Square(1 / (A2 * G2), q - A2),),
                 nonzero("a", "g")),
        Identity("the sign", 2 * q, (Term("near", 1, near, "s < 1, the domain of the claim"), *from_a2(1)),
                 (Square(1, a),)),
    )


def _gradients(name: str, value2, rho, *, first: bool) -> Identity:
    """Smoothness between two perturbed points and the two radii; p1 is S2-SAM's, 0 at the first step."""
    L = positives("L")
    p1, p2, G = vectors("p1 p2 G")
    radius = lambda p: rho**2 - dot(p, p)  # noqa: E731
    s = p2 if first else p1 - p2
    smooth = Term("smooth", 1, L**2 * dot(s, s) - dot(G, G), SMOOTH)
    if first:
        return Identity(name, value2 - dot(G, G), (smooth, Term("radius of SAM", L**2, radius(p2), "||p2|| <= rho")))
    radii = (Term("radius of S2-SAM", 2 * L**2, radius(p1), "||p1|| <= rho"),
             Term("radius of SAM", 2 * L**2, radius(p2), "||p2|| <= rho"))
    return Identity(name, value2 - dot(G, G), (smooth, *radii), (Square(L**2, p1 + p2),))


@certificate("A3")
def a3(bound: Formula) -> Identities:
    """G is the difference of the two gradients, p1 - p2 of the two perturbations."""
    L, rho = positives("L rho")
    return (_gradients("the square", bound(L=L, rho=rho) ** 2, rho, first=False),)


@certificate("A3.start")
def a3_start(bound: Formula) -> Identities:
    """As A3, with p1 = 0."""
    L, rho = positives("L rho")
    return (_gradients("the square", bound(L=L, rho=rho) ** 2, rho, first=True),)


@certificate("A3.step")
def a3_step(bound: Formula) -> Identities:
    """Smoothness itself."""
    L, diff_p = positives("L diff_p")
    G = vectors("G")
    difference = bound(L=L, diff_p=diff_p) ** 2 - dot(G, G)
    return (Identity("smoothness", difference, (Term("smooth", 1, L**2 * diff_p**2 - dot(G, G), SMOOTH),)),)


@certificate("A5")
def a5(bound: Formula) -> Identities:
    """Both signs of f(y) - f(w) - <a, p>, where ||p|| = rho and <a, p> = rho cos(theta) ||a||."""
    L, rho = positives("L rho")
    a, p = vectors("a p")
    f, f_y = reals("f f_y")
    excess = f_y - f - dot(a, p)
    why = "f is within L ||p||^2/2 of its linearisation"

    def side(name: str, sign: int) -> Identity:
        slack = L * dot(p, p) / 2 - sign * excess
        radius = Term("radius", L / 2, rho**2 - dot(p, p), "||p|| = rho")
        return Identity(name, bound(L=L, rho=rho) - sign * excess, (Term(f"quadratic, {name}", 1, slack, why), radius),
                        range=EVERYWHERE)

    return side("above", 1), side("below", -1)
