"""Instances of B: where the runs go, and what a step does on average."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

from theory.worst_case.instances import attained
from theory.worst_case.line import RHO, W0, H, L, path, sign
from theory.worst_case.plane import aligned, independent_batches

__all__: list[str] = []  # what is here, registers itself


def _parabola(h: Fraction, T: int) -> tuple[list[Fraction], list[Fraction], list[Fraction]]:
    run = path(h, T)
    return [w for w, _ in run], [p for _, p in run[:-1]], [w + p for w, p in run[:-1]]


@attained("B1", "f = L w^2/2, Delta as measured", own=True, h=H, T=(1, 2, 8, 30))
def _b1(h: Fraction, T: int) -> Any:
    w, p, y = _parabola(h, T)
    left = sum(L**2 * (x**2 + (1 - h) * z**2) for x, z in zip(w, y, strict=False)) / T
    return left, {"eta": h / L, "L": L, "gap": L / 2 * (w[0] ** 2 - w[-1] ** 2), "T": T,
                  "P2": sum(q**2 for q in p) / T, "sigma2": 0}


@attained("B1'", "f = L w^2/2, Delta as measured, p_t = -sign(1 - h) w_t/2", own=False,
          h=(Fraction(1, 4), Fraction(1, 2), Fraction(3, 2)), T=(1, 2, 8))
def _b1_weights(h: Fraction, T: int) -> Any:
    step, curve, w = (Decimal(x.numerator) / x.denominator for x in (h, L, W0))
    ws, ps = [w], []
    for _ in range(T):
        ps.append(-sign(1 - step) * ws[-1] / 2)
        ws.append(ws[-1] - step * (ws[-1] + ps[-1]))
    zero = Decimal(0)
    left = (sum(((curve * x) ** 2 for x in ws[:-1]), zero) / T).sqrt()
    return left, {"eta": step / curve, "L": curve, "gap": curve / 2 * (ws[0] ** 2 - ws[-1] ** 2), "T": T,
                  "P2": sum((q**2 for q in ps), zero) / T, "sigma2": zero}


def _norms(h: Fraction, T: int, part: Fraction | Decimal, rule: str) -> Any:
    """B1'.fstar's sides from w_0 = part rho for p_t = rho sign(w_t) (SAM) or its opposite, in decimal numbers."""
    step, curve, rho = (Decimal(x.numerator) / x.denominator for x in (h, L, RHO))
    w = rho * (part if isinstance(part, Decimal) else Decimal(part.numerator) / part.denominator)
    gap, total, zero = curve / 2 * w**2, Decimal(0), Decimal(0)
    for _ in range(T):
        total += (curve * w) ** 2
        w -= step * (w + sign(w) * (rho if rule == "sam" else -rho))
    return (total / T).sqrt(), {"eta": step / curve, "L": curve, "gap": gap, "P2": [rho**2] * T, "sigma2": zero}


@attained("B1'.fstar", "f = L w^2/2, SAM with 1 <= h < 2 from |w_0| <= rho h/(2 - h)", own=True,
          h=(Fraction(1), Fraction(5, 4), Fraction(3, 2), Fraction(7, 4)), T=(1, 2, 8), part=(Fraction(1),))
def _b1_from_minimum_sam(h: Fraction, T: int, part: Fraction | Decimal) -> Any:
    return _norms(h, T, part, "sam")


@attained("B1'.fstar", "f = L w^2/2, p_t = -rho sign(w_t), from |w_0| <= rho", own=False,
          h=H, T=(1, 2, 8), part=(Fraction(1, 10), Fraction(1)))
def _b1_from_minimum(h: Fraction, T: int, part: Fraction | Decimal) -> Any:
    return _norms(h, T, part, "opposite")


@attained("B3", "f = L w^2/2, R2 as measured", own=True, h=H, T=(1, 2, 8, 30))
def _b3(h: Fraction, T: int) -> Any:
    w, p, y = _parabola(h, T)
    left = sum(L / 2 * (x**2 + (1 - h) * z**2) for x, z in zip(w, y, strict=False)) / T
    return left, {"eta": h / L, "L": L, "R2": w[0] ** 2 - w[-1] ** 2, "T": T, "P2": sum(q**2 for q in p) / T,
                  "sigma2": 0}


@attained("B4.path", "f = L w^2/2, mu = L, p_t = -w_t: the gradient is 0 at y and the weights stay", own=False,
          h=H, T=(1, 8))
def _b4_path(h: Fraction, T: int) -> Any:
    gap = L / 2 * W0**2
    return gap, {"eta": h / L, "L": L, "mu": L, "gap": gap, "P2": [W0**2] * T, "sigma2": 0}


@attained("B4", "f = L w^2/2, mu = L, p_t = -w_t, rho = |w_0|: the weights stay", own=False, h=H, T=(1, 8))
def _b4(h: Fraction, T: int) -> Any:
    gap = L / 2 * W0**2
    return gap, {"eta": h / L, "L": L, "mu": L, "gap": gap, "rho": W0, "T": T, "sigma2": 0}


@attained("B4'", "f = L w^2/2, p_t = -w_t h (1 - c)/(c (1 - h)), c = (h + m)/2", own=False,
          h=(Fraction(1, 4), Fraction(1, 2)), share=(Fraction(1, 10), Fraction(1, 2)), T=(1, 8))
def _b4_distance(h: Fraction, share: Fraction, T: int) -> Any:
    c, w, P2 = h * (1 + share) / 2, W0, []
    for _ in range(T):
        p = -w * h * (1 - c) / (c * (1 - h))
        P2.append(p**2)
        w -= h * (w + p)
    return w**2, {"eta": h / L, "L": L, "mu": share * L, "R2": W0**2, "P2": P2, "sigma2": 0}


@attained("B5.s2sam", "the claim's own function", own=True, h=H[:2], T=(1, 2, 30))
def _b5_s2sam(h: Fraction, T: int) -> Any:
    return path(h, T)[T][0], {"h": h, "rho": RHO, "w0": W0, "T": T}


@attained("B5.sam", "the claim's own function, from a weight on the cycle", own=True,
          h=(*H, Fraction(3, 2)), T=(1, 2, 30))
def _b5_sam(h: Fraction, T: int) -> Any:
    start = RHO * h / (2 - h)
    return L * abs(path(h, T, rule="sam", w0=start)[T][0]), {"L": L, "h": h, "rho": RHO}


@attained("B5.lower", "f = mu w^2/2, SAM on its cycle", own=True,
          m=(Fraction(1, 100), Fraction(1, 2), Fraction(3, 4)))
def _b5_lower(m: Fraction) -> Any:
    h, mu, rho = (Decimal(x.numerator) / x.denominator for x in (m, L, RHO))
    before = rho * h / (2 - h)
    after = before - h * (before + rho)
    return mu * max(abs(before), abs(after)), {"eta": h / mu, "mu": mu, "rho": rho}


@attained("B6.distance", "f = L w^2/2, any step of S2-SAM but the first", own=True, h=(Fraction(1, 2),), t=(1, 15))
def _b6(h: Fraction, t: int) -> Any:
    w, p = path(h, t)[t]
    return abs((w + p) - w), {"rho": RHO}


@attained("B7.same-batch", "every f_i = L w^2/2", own=True, w=(Fraction(1), Fraction(-4)))
def _b7_same(w: Fraction) -> Any:
    return abs(L * (w + RHO * sign(w)) - L * w), {"L": L, "rho": RHO}


@attained("B7.full", "the plane: gradients (s, 1), (s, -1) and N - 2 times (-s^2, 0), Hessians L times reflections",
          own=True, approached="1 - ratio <= 2 s", gap=lambda s, N: 2 * s,
          s=(Decimal("1e-2"), Decimal("1e-8")), N=(2, 3, 12))
def _b7_full(s: Decimal, N: int) -> Any:
    rho, curve = Decimal("0.3"), Decimal(2)
    return aligned(s, N, curve, rho), {"L": curve, "rho": rho, "N": N}


@attained("B7.independent", "N directions n_i of equal angles (a simplex); f_i interpolates gradients that differ by "
          "L rho ||n_i - n_j|| v between w + rho n_i and every w + rho n_j, v orthogonal to all n_i", own=True,
          approached="1 - ratio = 1 - sqrt(1 - 1/N) <= 1/N", gap=lambda N: Decimal(1) / N,
          N=(2, 9, 50, 289))
def _b7_independent(N: int) -> Any:
    bias = independent_batches(N, L, RHO)
    as_decimal = lambda x: Decimal(x.numerator) / x.denominator  # noqa: E731
    return as_decimal(bias), {"L": as_decimal(L), "rho": as_decimal(RHO)}


@attained("B9", "f = L w^2/2, p_t = -w_t: the gradient is 0 at y and the weights stay", own=False,
          share=(Fraction(1, 2), Fraction(1)), beta=(Fraction(1, 2), Fraction(9, 10)), T=(1, 8))
def _b9(share: Fraction, beta: Fraction, T: int) -> Any:
    eta = share * (1 - beta) ** 2 / ((1 + beta) * L)
    return (L * W0) ** 2, {"eta": eta, "beta": beta, "L": L, "gap": Fraction(0), "T": T, "P2": W0**2, "sigma2": 0}
