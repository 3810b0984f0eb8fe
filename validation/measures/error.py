"""A: one step, and one path, of S2-SAM beside exact SAM's."""

from typing import Any

from theory import CLAIMS
from theory.arithmetic import maximum, sqrt
from validation.measures.base import ROOT_UNIT, Measured, gain_error, measure
from validation.step import Step, dot, norm, unit
from validation.trajectories import Probe, Run


def _stale(s: Step) -> tuple[Any, Any, Any]:
    return norm(s.a - s.previous.g), norm(s.a), norm(s.previous.g)


def _stale_cos(s: Step) -> Any:
    """cos(g_{t-1}, grad f(w_t)), of the gradients themselves: the radius may be zero."""
    return dot(unit(s.previous.g), unit(s.a))


def _cosine_scale(bound_sq: Any, s: Step) -> Any:
    """Rounding of cos(a, g) and of sqrt(1 - s^2), whose derivative is 1/sqrt(1 - s^2); and of a itself, L |w| units."""
    steep = 1 / maximum(sqrt(maximum(bound_sq, 0 * bound_sq)), ROOT_UNIT + 0 * bound_sq)
    size = norm(s.a)
    return 1 + steep + s.problem.L * (norm(s.w) + norm(s.previous.y)) / (size + (size == 0))


@measure("A1", ("s2sam",))
def _a1(s: Step) -> Measured | None:
    if s.previous is None:
        return None
    diff, norm_a, norm_b = _stale(s)
    return Measured(norm(s.p - s.p_sam), {"rho": s.rho, "diff": diff, "norm_a": norm_a, "norm_b": norm_b}, 4 * s.rho)


@measure("A1.cos", ("s2sam",))
def _a1_cos(s: Step) -> Measured | None:
    if s.previous is None:
        return None
    diff, _, norm_b = _stale(s)
    left = 1 - (diff / (norm_b + (norm_b == 0))) ** 2
    return Measured(_stale_cos(s), {"diff": diff, "norm_b": norm_b}, _cosine_scale(left, s))


def _travel(s: Step) -> dict[str, Any]:
    before = s.previous
    return {"L": s.problem.L, "eta": before.eta, "norm_g": norm(before.g), "norm_p": norm(before.p)}


@measure("A2", ("sam", "s2sam"))
def _a2(s: Step) -> Measured | None:
    if s.previous is None or s.index is not None:
        return None
    diff, norm_a, norm_b = _stale(s)
    return Measured(diff, _travel(s), norm_a + norm_b + s.problem.L * (norm(s.w) + norm(s.previous.y)))


@measure("A2.cos", ("s2sam",))
def _a2_cos(s: Step) -> Measured | None:
    if s.previous is None or s.index is not None:
        return None
    c = _travel(s)
    ratio = c["L"] * (c["eta"] + c["norm_p"] / (c["norm_g"] + (c["norm_g"] == 0)))
    return Measured(_stale_cos(s), c, _cosine_scale(1 - ratio**2, s))


def _gradient_gap(s: Step) -> tuple[Any, Any]:
    return norm(s.b - s.problem.grad(s.w + s.p_sam)), s.problem.L * (norm(s.w) + 2 * s.rho)


@measure("A3", ("s2sam",))
def _a3(s: Step) -> Measured | None:
    if s.previous is None:
        return None
    gap, size = _gradient_gap(s)
    return Measured(gap, {"L": s.problem.L, "rho": s.rho}, gap + size)


@measure("A3.start", ("s2sam",))
def _a3_start(s: Step) -> Measured | None:
    if s.previous is not None:
        return None
    gap, size = _gradient_gap(s)
    return Measured(gap, {"L": s.problem.L, "rho": s.rho}, gap + size)


@measure("A3.step", ("s2sam",))
def _a3_step(s: Step) -> Measured:
    gap, size = _gradient_gap(s)
    return Measured(gap, {"L": s.problem.L, "diff_p": norm(s.p - s.p_sam)}, gap + size)


def _pair_sq(run: Run) -> Measured:
    e_sq, size = run.at("e_sq", -1), run.at("size", -1)
    h, m = run.eta * run.problem.L, run.eta * run.problem.mu
    return Measured(e_sq, {"h": h, "m": m, "rho": run.rho, "T": run.T}, e_sq + (sqrt(e_sq) + run.rho) * size)


def _pair_strong(run: Run) -> Measured:
    m = _pair_sq(run)
    bound = abs(CLAIMS["A4.strong"].evaluate(**m.constants))
    return Measured(m.value, m.constants, m.scale + bound * gain_error(m.constants["h"], m.constants["m"]))


def _pair(run: Run) -> Measured:
    m = _pair_sq(run)
    return Measured(sqrt(m.value), m.constants, sqrt(m.value) + run.at("size", -1))


# S2-SAM and SAM from one start, side by side: these probes read a pair of Steps
PAIR = ("pair",)
_PAIR_PROBES: dict[str, Probe] = {
    "e_sq": lambda pair: dot(pair[0].w - pair[1].w, pair[0].w - pair[1].w),
    "size": lambda pair: norm(pair[0].w) + norm(pair[1].w),
}


def _deterministic(p: Any) -> bool:
    return p.samples == 1


def _convex(p: Any) -> bool:
    return _deterministic(p) and bool((p.mu >= 0).all())


def _strong(p: Any) -> bool:
    return _deterministic(p) and bool((p.mu > 0).all())


measure("A4.smooth", PAIR, probes=_PAIR_PROBES, applies=_deterministic)(_pair)
measure("A4.convex", PAIR, probes=_PAIR_PROBES, applies=_convex)(_pair_sq)
measure("A4.convex-linear", PAIR, probes=_PAIR_PROBES, applies=_convex)(_pair)
measure("A4.strong", PAIR, probes=_PAIR_PROBES, applies=_strong)(_pair_strong)
measure("A4.strong-linear", PAIR, probes=_PAIR_PROBES, applies=_strong)(_pair)


@measure("A5", ("sam", "s2sam"))
def _a5(s: Step) -> Measured | None:
    if s.previous is None and s.rule == "s2sam":
        return None
    value = s.f_y - s.f_w - s.rho * s.cos * norm(s.a)
    size = s.problem.f_size(s.y) + s.problem.f_size(s.w) + (norm(s.a) + norm(s.b)) * (norm(s.w) + s.rho)
    return Measured(abs(value), {"L": s.problem.L, "rho": s.rho}, size)
