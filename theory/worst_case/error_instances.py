"""Instances of A: one step's perturbation and gradient, and the distance of two paths."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

from theory.worst_case.instances import attained
from theory.worst_case.line import RHO, W0, H, L, path, sign
from theory.worst_case.plane import reflected, unit_step

__all__: list[str] = []  # what is here, registers itself


@attained("A1", "a and b antiparallel, any lengths", own=False, ratio=(Fraction(1, 3), Fraction(7)))
def _a1(ratio: Fraction) -> Any:
    return RHO * abs(-1 - 1), {"rho": RHO, "diff": 1 + ratio, "norm_a": Fraction(1), "norm_b": ratio}


@attained("A1.cos", "a orthogonal to a - b: lengths 4, 3 and 5", own=False, scale=(1, 7))
def _a1_cos(scale: int) -> Any:
    k = Decimal(scale)
    return (4 * k) * (4 * k) / (4 * k * 5 * k), {"diff": 3 * k, "norm_b": 5 * k}


@attained("A2", "f = L w^2/2, from a step whose perturbation points along its gradient", own=True, h=H[:2], t=(3, 9))
def _a2(h: Fraction, t: int) -> Any:
    (before, p), (w, _) = path(h, t)[t - 1 :]
    g = L * (before + p)
    return abs(L * w - g), {"L": L, "eta": h / L, "norm_g": abs(g), "norm_p": abs(p)}


@attained("A2.cos", "the first step (p_0 = 0) on a quadratic of Hessian L times a reflection R, cos(g, R g) = h",
          own=True, h=(Fraction(3, 5), Fraction(8, 17)))
def _a2_cos(h: Fraction) -> Any:
    return reflected(h)


@attained("A3", "f = L w^2/2 at a weight that S2-SAM has carried past 0: its perturbation and SAM's are opposite",
          own=True, h=(Fraction(1, 2),), t=(8, 15))
def _a3(h: Fraction, t: int) -> Any:
    w, p = path(h, t)[t]
    return L * abs(p - RHO * sign(w)), {"L": L, "rho": RHO}


@attained("A3.start", "f = L w^2/2 at the first step", own=True, w0=(Fraction(1), Fraction(-4)))
def _a3_start(w0: Fraction) -> Any:
    return L * abs(0 - RHO * sign(w0)), {"L": L, "rho": RHO}


@attained("A3.step", "f = L w^2/2 at any weight of S2-SAM's run", own=True, h=(Fraction(1, 2),), t=(15,))
def _a3_step(h: Fraction, t: int) -> Any:
    w, p = path(h, t)[t]
    diff = abs(p - RHO * sign(w))
    return L * abs((w + p) - (w + RHO * sign(w))), {"L": L, "diff_p": diff}


@attained("A4.smooth", "f = -L w^2/2, opposite perturbations: not S2-SAM's and SAM's own, which both point to 0 here",
          own=False, h=(Fraction(1, 4), Fraction(1), Fraction(3)), T=(2, 3, 8))
def _a4_smooth(h: Fraction, T: int) -> Any:
    s2sam = sam = W0
    for t in range(T):
        s2sam += h * (s2sam + (RHO if t else 0))
        sam += h * (sam - RHO)
    return abs(s2sam - sam), {"h": h, "rho": RHO, "T": T}


def _first(h: Fraction) -> Fraction:
    """e_1 of S2-SAM and SAM on f = L w^2/2."""
    return abs(path(h, 1)[1][0] - path(h, 1, rule="sam")[1][0])


@attained("A4.smooth", "f = L w^2/2, one step", own=True, h=H)
def _a4_smooth_first(h: Fraction) -> Any:
    return _first(h), {"h": h, "rho": RHO, "T": 1}


@attained("A4.convex-linear", "f = L w^2/2, one step", own=True, h=H)
def _a4_convex_linear(h: Fraction) -> Any:
    return _first(h), {"h": h, "rho": RHO, "T": 1}


@attained("A4.strong-linear", "f = L w^2/2, one step", own=True, h=H)
def _a4_strong_linear(h: Fraction) -> Any:
    return _first(h), {"h": h, "m": h / 2, "rho": RHO, "T": 1}


@attained("A4.convex", "f = L w^2/2, one step", own=True, h=H)
def _a4_convex_first(h: Fraction) -> Any:
    return _first(h) ** 2, {"h": h, "rho": RHO, "T": 1}


@attained("A4.strong", "f = L w^2/2, one step", own=True, h=H[:2])
def _a4_strong_first(h: Fraction) -> Any:
    return _first(h) ** 2, {"h": h, "m": h / 2, "rho": RHO, "T": 1}


@attained("A4.convex", "h = 1, in the plane: f_t = (L/2)<e_t, w>^2, e_t orthogonal to u_t and parallel to s_t",
          own=False, T=(1, 3, 8))
def _a4_convex(T: int) -> Any:
    rho = Decimal("0.3")
    return unit_step(Decimal(0), rho, T), {"h": Decimal(1), "rho": rho, "T": T}


@attained("A4.strong", "h = 1, in the plane: quadratics with eigenvalues mu and L, turned at each step", own=False,
          m=(Fraction(1, 10), Fraction(1, 2)), T=(1, 3, 8))
def _a4_strong(m: Fraction, T: int) -> Any:
    rho, mu = Decimal("0.3"), Decimal(m.numerator) / m.denominator
    return unit_step(mu, rho, T), {"h": Decimal(1), "m": mu, "rho": rho, "T": T}


@attained("A5", "f = L w^2/2 at any weight of S2-SAM's run", own=True, h=(Fraction(1, 2),), t=(2, 15))
def _a5(h: Fraction, t: int) -> Any:
    w, p = path(h, t)[t]
    return abs(L / 2 * ((w + p) ** 2 - w**2) - L * w * p), {"L": L, "rho": RHO}
