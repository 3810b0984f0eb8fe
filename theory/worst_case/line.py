"""S2-SAM and SAM on f = L w^2/2 on the line, in any arithmetic; the constants that most instances share."""

from fractions import Fraction

from theory.arithmetic import Number

__all__ = ["RHO", "W0", "H", "L", "path", "sign"]

L, RHO, W0 = Fraction(3), Fraction(2, 7), Fraction(5)
H = (Fraction(1, 4), Fraction(1, 2), Fraction(1))


def sign(x: Number) -> int:
    """1, -1 or 0."""
    return (x > 0) - (x < 0)


def path(h: Number, T: int, *, rule: str = "s2sam", rho: Number = RHO, w0: Number = W0) -> list[tuple[Number, Number]]:
    """(w_t, p_t) for t = 0, ..., T on f = L w^2/2, p_t S2-SAM's or SAM's own; the last p is taken but not used."""
    w, d, found = w0, 0, []
    for _ in range(T + 1):
        p = rho * (d if rule == "s2sam" else sign(w))
        found.append((w, p))
        y = w + p
        w, d = w - h * y, sign(y)
    return found
