"""B10: S2-SAM on quadratics in the axes of their curvature, the largest first, so that xi is the first axis.

The method is equivariant under rotations, so a diagonal Hessian is no loss, and q and xi are exact.
"""

from typing import Any

import torch

from theory.arithmetic import minimum, sqrt
from validation.measures.base import Measured, largest, measure
from validation.quadratics import Quadratic
from validation.step import Step, dot, norm, unit
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
