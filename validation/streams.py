"""Streams: the run that a claim speaks of, by the name of a rule or of two runs side by side.

"pair" is S2-SAM beside SAM, from one start on the same samples. "masked" is S2-SAM with every gradient masked beside
S2-SAM on the restriction to the support, every other weight being kept. Other names are rules (`trajectories.RULES`) or
the shipped classes. Steps and radii may decay as B2's do.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from theory.arithmetic import sqrt
from validation.shipped import SHIPPED, optimizer_steps
from validation.trajectories import Rule, steps

DECAY = {"quarter": 1, "half": 2}  # rho_t = rho (t + 1)^(-k/4), and eta_t = eta/sqrt(t + 1)


def scheduled(name: str, eta: Any, rho: Any) -> tuple[Any, Any]:
    """Return eta and rho themselves, or the functions of t that begin with them, in their arithmetic.

    Raises:
        ValueError: when the name is neither "" nor in DECAY.
    """
    if not name:
        return eta, rho
    if name not in DECAY:
        raise ValueError(f"schedule must be one of {', '.join(DECAY)}, or empty for constant steps, got {name!r}")

    def root(t: int, like: Any) -> Any:
        return sqrt(t + 1 + 0 * like)

    if name == "half":
        return lambda t: eta / root(t, eta), lambda t: rho / root(t, rho)
    return lambda t: eta / root(t, eta), lambda t: rho / sqrt(root(t, rho))


def every_other(w: Tensor) -> Tensor:
    """Return the mask, (N, d) bool, that keeps the first weight, the third, and so on."""
    return (torch.arange(w.shape[1], device=w.device) % 2 == 0).expand_as(w)


def stream(
    rule: str | Rule, problem: Any, w: Tensor, *, schedule: str = "", samples: Tensor | None = None, eta: Tensor,
    rho: Tensor, count: int, beta: float = 0.0,
) -> Iterator[Any]:  # fmt: skip
    """Yield the Steps t = 0 .. count of a run, or pairs of them; arguments as `trajectories.steps`.

    Raises:
        ValueError: for an unknown schedule or rule, and for the shipped classes with a schedule.
    """
    at = dict(zip(("eta", "rho"), scheduled(schedule, eta, rho), strict=True))
    fixed: dict[str, Any] = {"count": count, "beta": beta, **at}
    if rule == "pair":
        both = (steps(problem, name, w, samples=samples, **fixed) for name in ("s2sam", "sam"))
        return zip(*both, strict=True)
    if rule == "masked":
        mask = every_other(w)
        masked = steps(problem, "s2sam", w, samples=samples, masks=mask, **fixed)
        inner = torch.where(mask, w, 0.0)
        return zip(masked, steps(problem.restrict(mask), "s2sam", inner, samples=samples, **fixed), strict=True)
    if isinstance(rule, str) and rule in SHIPPED:
        if schedule:
            raise ValueError(f"schedule must be empty for {rule}, got {schedule!r}; its class is run at constant steps")
        return optimizer_steps(problem, rule, w, **fixed)
    return steps(problem, rule, w, samples=samples, **fixed)
