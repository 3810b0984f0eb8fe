"""B5, B6, B8: where runs end, the shadow iterates, and sparse training on a fixed support."""

from typing import Any

from theory.arithmetic import maximum
from validation.measures.base import Measured, measure
from validation.quadratics import Quadratic
from validation.step import Step, norm, scale, unit
from validation.trajectories import Probe, Run

LEFT = 2.0**-36  # of y_1: below it rounding may decide the sign of y_t, and the run leaves the limit
SETTLED = 2.0**-60  # of the distance to SAM's cycle


def on_a_line(p: Any) -> bool:
    """Whether p is L (w - c)^2/2 in one dimension, without noise."""
    return isinstance(p, Quadratic) and p.dim == 1 and bool((p.mu == p.L).all())


_LINE: dict[str, Probe] = {"x": lambda s: (s.w - s.problem.center)[..., 0]}


def _begin(run: Run) -> tuple[Any, Any]:
    """|w_0| and its sign (0 of 0), w measured from the center."""
    x = run.at("x", 0)
    return abs(x), x / (abs(x) + (x == 0))


def _size(run: Run, begin: Any) -> Any:
    return begin + run.rho + abs(run.problem.center[..., 0])


@measure("B5.s2sam", ("s2sam",), probes=_LINE, applies=on_a_line)
def _b5_s2sam(run: Run) -> Measured:
    """The claim is one in exact arithmetic: it is read as long as (1 - h)^(T-1) y_1 is not lost in rounding."""
    begin, sign = _begin(run)
    h = run.eta * run.problem.L
    y = (1 - h) ** (run.T - 1) * ((1 - h) * begin + run.rho)
    constants = {"h": h, "rho": run.rho, "w0": begin, "T": run.T}
    return Measured(sign * run.at("x", -1), constants, _size(run, begin), y >= LEFT * _size(run, begin))


@measure("B5.sam", ("sam",), probes=_LINE, applies=on_a_line)
def _b5_sam(run: Run) -> Measured:
    """Read when the transient has passed.

    In at most |w_0|/(rho h) + 1 steps the sign alternates, and from there on each step closes in by |1 - h|. A run that
    landed on the minimiser is one of the countably many that the claim leaves out.
    """
    (begin, _), L, rho, T = _begin(run), run.problem.L, run.rho, run.T
    h = run.eta * L
    step = rho * h
    rest = T - 1 - begin / (step + (step == 0))
    settled = (rest > 0) & (abs(1 - h) ** maximum(rest, 0 * rest) <= SETTLED) & (rho > 0)
    x = run.at("x", -1)
    return Measured(L * abs(x), {"L": L, "h": h, "rho": rho}, L * _size(run, begin), settled & (x != 0))


@measure("B5.lower", ("sam", "s2sam"), applies=lambda p: bool((p.mu > 0).all()))
def _b5_lower(s: Step) -> Measured | None:
    if s.previous is None or s.index is not None:
        return None
    before = s.previous
    size = s.problem.L * (norm(s.w) + norm(before.w) + s.rho)
    constants = {"eta": before.eta, "mu": s.problem.mu, "rho": norm(before.p)}
    return Measured(maximum(norm(before.a), norm(s.a)), constants, size)


@measure("B6", ("s2sam",))
def _b6(s: Step) -> Measured | None:
    before = s.previous
    if before is None:
        return None
    shadow = before.y - scale(before.eta, before.g) + scale(s.rho, unit(before.g)) - before.p
    size = norm(s.y) + norm(before.y) + before.eta * norm(before.g) + s.rho
    return Measured(norm(s.y - shadow), {}, size)


@measure("B6.distance", ("s2sam",))
def _b6_distance(s: Step) -> Measured:
    return Measured(norm(s.w - s.y), {"rho": s.rho}, norm(s.w) + s.rho)


@measure("B8", ("masked",), applies=lambda p: p.samples == 1)
def _b8(pair: tuple[Step, Step]) -> Measured:
    """The masked run beside the run on the restriction: no rounding is allowed."""
    return Measured(norm(pair[0].w - pair[1].w), {}, 0.0)
