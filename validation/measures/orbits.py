"""B10: S2-SAM on quadratics in the axes of their curvature, the largest first, so that xi is the first axis.

The method is equivariant under rotations, so a diagonal Hessian is no loss, and q and xi are exact.
"""

from typing import Any

import torch

from theory.arithmetic import minimum, sqrt
from validation.measures.base import Measured, largest, mean, measure
from validation.quadratics import Quadratic
from validation.step import Step, dot, norm, scale, unit
from validation.trajectories import Run


def curvatures(problem: Any) -> Any:
    """Return the diagonal of H: (N, d), or (d,) for one instance."""
    return problem.H.diagonal(0, -2, -1)


def gap_ratio(problem: Any) -> Any:
    """Return q, the second largest |curvature| over L: (N,), or one number."""
    rest = abs(curvatures(problem)[..., 1:])
    return (rest.amax(-1) if isinstance(rest, torch.Tensor) else max(rest)) / problem.L


def in_axes(p: Any) -> bool:
    """Whether p is a quadratic in its axes, in two dimensions or more, with a simple largest curvature, the first."""
    if not isinstance(p, Quadratic) or p.dim < 2:
        return False
    diagonal = curvatures(p)
    first = (diagonal[:, 0] == p.L) & (gap_ratio(p) < 1)
    return bool(first.all() and (torch.diag_embed(diagonal) == p.H).all())


def _along(s: Step) -> Any:
    """C = |<xi, d_{t-1}>|, in [0, 1] whatever the rounding; 0 at the start, where nothing is known of d."""
    if s.previous is None:
        return 0 * norm(s.w)
    along = abs(unit(s.previous.g)[..., 0])
    return minimum(along, 1 + 0 * along)


@measure(
    "B10.gap",
    ("s2sam",),
    applies=in_axes,
    probes={"along": _along, "a_sq": lambda s: dot(s.a, s.a), "size": lambda s: s.problem.L * (norm(s.w) + s.rho)},
)
def _b10_gap(run: Run) -> Measured:
    """The second half of the run is the window: it begins at t_1 >= 1 and has the steps up to T."""
    begin = (run.T + 1) // 2
    values = [*run["a_sq"][begin:], run.at("a_sq", -1)]
    L = run.problem.L
    constants = {
        "L": L,
        "h": run.eta * L,
        "rho": run.rho,
        "q": gap_ratio(run.problem),
        "C": run.at("along", begin),
        "T": run.T - begin,
    }
    return Measured(sqrt(largest(values)), constants, largest(run["size"]))


def round_(p: Any) -> bool:
    """Whether p is (L/2)||w - c||^2 in two dimensions or more, without noise."""
    return isinstance(p, Quadratic) and p.dim > 1 and bool((p.mu == p.L).all())


def _radius(s: Step) -> Any:
    """Rho, the unit of length; 1 where it is 0, of which the claim does not speak."""
    return s.rho + (s.rho == 0)


def _area(s: Step) -> Any:
    """Area of the parallelogram of (w_t - c)/rho and d_{t-1}: the part of w off d."""
    x, d = s.w - s.problem.center, unit(s.p)
    return norm(x - scale(dot(x, d), d)) / _radius(s)


@measure(
    "B10.isotropic",
    ("s2sam-turned",),
    applies=round_,
    probes={
        "a_sq": lambda s: dot(s.a, s.a),
        "W": lambda s: s.dist_sq / _radius(s) ** 2,
        "area": _area,
        "size": lambda s: (s.problem.L * (norm(s.w) + norm(s.problem.center) + s.rho)) ** 2,
    },
)
def _b10_isotropic(run: Run) -> Measured:
    """The logarithm magnifies the rounding of the area."""
    L, W, area = run.problem.L, run.at("W", 0), run.at("area", 0)
    constants = {"L": L, "h": run.eta * L, "rho": run.rho, "W": W, "area": area, "T": run.T}
    size = largest(run["size"]) * (1 + (1 + sqrt(W)) / (area + (area == 0)) / run.T)
    return Measured(mean(run["a_sq"]), constants, size)
