"""Certificates of A4, by induction over the steps: n steps are made, the next leads from e to e'.

u = w^S2 - w^SAM, p1 and p2 are the perturbations, G the difference of the two gradients, e = ||u||. L is a symbol of
its own, eta = h/L and mu = m L/h, so that the identities are those of a step of any size. At the first step u = p1 = 0.
"""

from collections.abc import Callable

from theory.arithmetic import Number
from theory.bounds.trajectory import contraction, gain
from theory.certificates.algebra import Vector, dot, integers, nonnegatives, positives, reals, vectors
from theory.certificates.book import certificate
from theory.certificates.error import CAUCHY, SMOOTH, Identities
from theory.certificates.proof import EVERYWHERE, Identity, Range, Square, Term
from theory.requirements import Formula

INDUCTION = "the claim after the steps before"
TRIANGLE = "triangle inequality"
CONVEX = "f is convex and L-smooth (Nesterov 2018, Theorem 2.1.5)"
STRONG = "f is mu-strongly convex and L-smooth (Nesterov 2018, Theorem 2.1.12)"
NOTHING = Vector(())


def open_two(h: Number) -> Range:
    """0 < h < 2."""
    x = positives("x")
    return Range("0 < h < 2", ((h, 2 * x / (1 + x)),), ((x, h / (2 - h)),))


def closed_two(h: Number) -> Range:
    """0 < h <= 2."""
    x = nonnegatives("x")
    return Range("0 < h <= 2", ((h, 2 / (1 + x)),), ((x, 2 / h - 1),))


def curved(h: Number, m: Number, *, closed: bool = False) -> Range:
    """0 < m < h and h + m < 2, or <= 2 if `closed`; m = h is a case of its own, where nu is infinite."""
    x, y = (nonnegatives if closed else positives)("x"), positives("y")
    c = 1 / (1 + x)
    values = ((h, c * (2 + y) / (1 + y)), (m, c * y / (1 + y)))
    text = f"0 < m < h, h + m {'<=' if closed else '<'} 2"
    return Range(text, values, ((x, 2 / (h + m) - 1), (y, 2 * m / (h - m))))


def round_ball(h: Number, *, closed: bool = False) -> Range:
    """The case m = h: 0 < h < 1, or h <= 1 if `closed`."""
    x = (nonnegatives if closed else positives)("x")
    return Range(f"m = h {'<=' if closed else '<'} 1", ((h, 1 / (1 + x)),), ((x, 1 / h - 1),))


def radii(weight: Number, rho: Number, p1: Vector, p2: Vector) -> tuple[tuple[Term, ...], tuple[Square, ...]]:
    """From the two radii, weight times 4 rho^2 - ||p1 - p2||^2."""
    first = Term("radius of S2-SAM", 2 * weight, rho**2 - dot(p1, p1), "||p1|| <= rho")
    second = Term("radius of SAM", 2 * weight, rho**2 - dot(p2, p2), "||p2|| <= rho")
    return (first, second), (Square(weight, p1 + p2),)


def first_step(value: Number, h: Number, rho: Number, note: str = "") -> Identity:
    """The bound at T = 1 from u = p1 = 0, where ||u'|| = eta ||G||: smoothness alone, the same on every function."""
    L = positives("L")
    G, p2 = vectors("G p2")
    terms = (Term("smooth", (h / L) ** 2, L**2 * dot(p2, p2) - dot(G, G), SMOOTH),
             Term("radius of SAM", h**2, rho**2 - dot(p2, p2), "||p2|| <= rho"))
    return Identity(f"first step{note}", value - (h / L) ** 2 * dot(G, G), terms)


Step = Callable[[str, Number, Number, Vector, Vector, Vector], Identity]


def _induction(value: Callable[[Number], Number], step: Step) -> Identities:
    """The first step, from u = 0 with p1 = 0, and the step after n + 1 others; value(T) is the bound."""
    n = integers("n")
    u, p1, p2 = vectors("u p1 p2")
    return (
        step("first step", value(1), 0, NOTHING, NOTHING, p2),
        step("step after n + 1 others", value(n + 2), value(n + 1), u, p1, p2),
    )


Named = tuple[tuple[Number, Number], ...]


def strong_names(h: Number, m: Number) -> Named:
    """The abbreviations of `strong_step`."""
    names = positives("Q K c r eta mu")
    L = positives("L")
    meanings = contraction(h, m), gain(h, m), (h + m) / 2, (h - m) / 2, h / L, m * L / h
    return tuple(zip(names, meanings, strict=True))


def strong_step(
    name: str, h: Number, m: Number, rest: Number, e2: Number, u: Vector, s: Vector,
    weighed: tuple[tuple[Term, ...], tuple[Square, ...]], named: Named,
) -> Identity:
    """The squared step of A4.strong and of B4': `rest` is bound minus ||u'||^2, `e2` bounds ||u||^2 before it.

    With c = (h + m)/2, r = (h - m)/2, nu = c (1 - c)/r^2, Z = G - ((L + mu)/2)(u + s): rest = Q (e2 - ||u||^2) + the
    weighed bounds of s and of the noise + (1 + nu) eta^2 S + (1/nu) ||(1 - c) u - c s + nu eta Z||^2, the square
    written as 1/(nu r^4) times that of r^2 times the vector. `named` are abbreviations beside those of `strong_names`.
    """
    Q, _, c, r, eta, mu = positives("Q K c r eta mu")
    L = positives("L")
    G, y = vectors("G"), u + s
    room = c * (1 - c)  # nu r^2
    S = dot(G - mu * y, L * y - G)
    Z = G - (L + mu) / 2 * y
    first = Term("induction", Q, e2 - dot(u, u), INDUCTION)
    terms = (first, *weighed[0], Term("strong", (r**2 + room) / r**2 * eta**2, S, STRONG))
    root = r**2 * ((1 - c) * u - c * s) + room * eta * Z
    return Identity(name, rest, terms, (*weighed[1], Square(1 / (room * r**2), root)), curved(h, m),
                    (*named, *strong_names(h, m)))


@certificate("A4.smooth")
def smooth(bound: Formula) -> Identities:
    """Norms: ||u'|| <= ||u|| + eta ||G||, ||G|| <= L ||Y||, ||Y|| <= ||u|| + ||p1|| + ||p2||, Y = u + p1 - p2."""
    h, rho, L = positives("h rho L")

    def step(name: str, value: Number, before: Number, u: Vector, p1: Vector, p2: Vector) -> Identity:
        U, P1, P2, Y, G, new = nonnegatives("||u|| ||p1|| ||p2|| ||Y|| ||G|| ||u'||")
        U, P1 = (U if u.parts else 0), (P1 if p1.parts else 0)
        terms = [Term("triangle for u'", 1, U + h / L * G - new, TRIANGLE),
                 Term("smooth", h / L, L * Y - G, SMOOTH),
                 Term("triangle for Y", h, U + P1 + P2 - Y, TRIANGLE),
                 Term("radius of SAM", h, rho - P2, "||p2|| <= rho")]
        if u.parts:
            terms += [Term("induction", 1 + h, before - U, INDUCTION),
                      Term("radius of S2-SAM", h, rho - P1, "||p1|| <= rho")]
        return Identity(name, value - new, tuple(terms))

    return (*_induction(lambda T: bound(h=h, rho=rho, T=T), step), _triangle())


def _triangle() -> Identity:
    """The triangle inequality, squared: the only inequality of vectors in the linear forms."""
    u, v = vectors("u v")
    U, V = nonnegatives("||u|| ||v||")
    return Identity("the triangle inequality squared", (U + V) ** 2 - dot(u + v, u + v),
                    (Term("Cauchy", 2, U * V - dot(u, v), CAUCHY),))


@certificate("A4.convex")
def convex(bound: Formula) -> Identities:
    """S = <G, Y> - ||G||^2/L >= 0, Y = u + s, s = p1 - p2, l = h/(2 - h)."""
    h, rho, L = positives("h rho L")
    n = integers("n")
    G, u, p1, p2 = vectors("G u p1 p2")
    eta, share, s = h / L, h / (2 - h), p1 - p2
    value = lambda T: bound(h=h, rho=rho, T=T)  # noqa: E731
    S, new = dot(G, u + s) - dot(G, G) / L, u - eta * G
    terms, squares = radii(share, rho, p1, p2)
    before = Term("induction", 1, value(n + 1) - dot(u, u), INDUCTION)
    return (
        first_step(value(1), h, rho),
        Identity("step after n + 1 others", value(n + 2) - dot(new, new),
                 (before, Term("convex", 2 * eta, S, CONVEX), *terms),
                 (*squares, Square(share, s - (2 - h) / L * G)), open_two(h)),
    )


@certificate("A4.strong")
def strong(bound: Formula) -> Identities:
    """Two cases: m < h with the square of A4.strong's proof, and m = h, where G = L Y and the square is convex."""
    h, m, rho, L = positives("h m rho L")
    n = integers("n")
    G, u, p1, p2 = vectors("G u p1 p2")
    s = p1 - p2
    value = lambda T, m: bound(h=h, m=m, rho=rho, T=T)  # noqa: E731
    new, same = u - h / L * G, u - h * (u + s)
    terms, squares = radii(h, rho, p1, p2)
    K = positives("K")
    ahead, behind, moved = reals("B(n+2) B(n+1) ||u'||^2")  # the bound, and what it bounds
    before = Term("induction", 1 - h, behind - dot(u, u), INDUCTION)
    return (
        first_step(value(1, m), h, rho),
        strong_step("step after n + 1 others", h, m, ahead - moved, behind, u, s, radii(K, rho, p1, p2), (
            (ahead, value(n + 2, m)), (behind, value(n + 1, m)), (moved, dot(new, new)))),
        Identity("step after n + 1 others, m = h", ahead - moved, (before, *terms),
                 (*squares, Square(h * (1 - h), u + s)), round_ball(h),
                 ((ahead, value(n + 2, h)), (behind, value(n + 1, h)), (moved, dot(same, same)))),
        Identity("the first step is below K", gain(h, m) - h**2,
                 squares=(Square((h + m) / (2 - h - m), 1 - h),), range=curved(h, m)),
    )


def _linear(bound: Callable[[Number], Number], shrink: Number, h: Number, range: Range) -> Identities:
    """Norms: v is the step at w without perturbations, ||v|| <= shrink ||u||, and E1, E2 what p1, p2 add to g."""
    rho, L = positives("rho L")

    def step(name: str, value: Number, before: Number, u: Vector, p1: Vector, p2: Vector) -> Identity:
        U, V, P1, P2, E1, E2, new = nonnegatives("||u|| ||v|| ||p1|| ||p2|| ||E1|| ||E2|| ||u'||")
        if not u.parts:
            U = V = P1 = E1 = 0
        terms = [Term("triangle for u'", 1, V + h / L * (E1 + E2) - new, TRIANGLE),
                 Term("smooth at SAM's point", h / L, L * P2 - E2, SMOOTH),
                 Term("radius of SAM", h, rho - P2, "||p2|| <= rho")]
        if u.parts:
            terms += [Term("contraction", 1, shrink * U - V, "shown below, squared"),
                      Term("induction", shrink, before - U, INDUCTION),
                      Term("smooth at S2-SAM's point", h / L, L * P1 - E1, SMOOTH),
                      Term("radius of S2-SAM", h, rho - P1, "||p1|| <= rho")]
        return Identity(name, value - new, tuple(terms), range=range if u.parts else EVERYWHERE)

    return (*_induction(bound, step), _triangle())


@certificate("A4.convex-linear")
def convex_linear(bound: Formula) -> Identities:
    """A gradient step does not expand distances for h <= 2, D the difference of the gradients at the w."""
    h, rho, L = positives("h rho L")
    u, D = vectors("u D")
    v = u - h / L * D
    S = dot(D, u) - dot(D, D) / L
    step = Identity("no expansion", dot(u, u) - dot(v, v), (Term("convex", 2 * h / L, S, CONVEX),),
                    (Square(h * (2 - h) / L**2, D),), closed_two(h))
    return (*_linear(lambda T: bound(h=h, rho=rho, T=T), 1, h, EVERYWHERE), step)


@certificate("A4.strong-linear")
def strong_linear(bound: Formula) -> Identities:
    """A gradient step contracts distances by 1 - m for h + m <= 2; D = mu u + V, the gradients at the w apart."""
    h, m, rho, L = positives("h m rho L")
    u, D = vectors("u D")
    eta, mu = h / L, m * L / h
    v, V = u - eta * D, D - mu * u
    S = dot(V, L * u - D)
    weight = 2 * (1 - m) / (h - m)  # of eta^2 S
    step = Identity("contraction, m < h", (1 - m) ** 2 * dot(u, u) - dot(v, v),
                    (Term("strong", weight * eta**2, S, STRONG),),
                    (Square((weight - 1) * eta**2, V),), curved(h, m, closed=True))
    both = _linear(lambda T: bound(h=h, m=m, rho=rho, T=T), 1 - m, h, curved(h, m, closed=True))
    same = _linear(lambda T: bound(h=h, m=h, rho=rho, T=T), 1 - h, h, round_ball(h, closed=True))
    equal = u - eta * L * u  # D = L u
    return (*both, step, *same[:2],
            Identity("contraction, m = h", (1 - h) ** 2 * dot(u, u) - dot(equal, equal)))
