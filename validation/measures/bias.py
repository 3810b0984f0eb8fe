"""B7: the bias of the stochastic gradient, by enumeration of the samples a step could have drawn; no sampling error."""

from collections.abc import Callable
from typing import Any

from theory.arithmetic import sqrt
from validation.measures.base import Measured, measure
from validation.step import Step, Vector, norm, scale, unit


def _average(s: Step, value: Callable[[Vector], Vector], gradients: Vector) -> Vector:
    """Mean over the samples of value(sample gradient); gradients is (N, S, d), or (S, d) for one instance."""
    count = s.problem.samples
    return sum(value(gradients[..., k, :]) for k in range(count)) / count


def _size(s: Step) -> Any:
    sigma = sqrt(s.problem.sigma2 + 0 * s.rho)
    return s.problem.L * (norm(s.w) + s.rho) + norm(s.b) + s.problem.samples * sigma


def _sampled(p: Any) -> bool:
    return p.samples > 1


@measure("B7", ("s2sam",), applies=_sampled)
def _b7(s: Step) -> Measured:
    return Measured(norm(s.mean_g - s.problem.grad(s.y)), {}, _size(s))


def _constants(s: Step) -> dict[str, Any]:
    return {"L": s.problem.L_sample, "rho": s.rho, "N": s.problem.samples}


@measure("B7.same-batch", ("sam-same-batch",), applies=_sampled)
def _b7_same_batch(s: Step) -> Measured:
    return Measured(norm(s.mean_g - s.a), _constants(s), _size(s))


@measure("B7.full", ("sam-same-batch",), applies=_sampled)
def _b7_full(s: Step) -> Measured:
    return Measured(norm(s.mean_g - s.problem.grad(s.w + s.p_sam)), _constants(s), _size(s))


@measure("B7.independent", ("sam-same-batch",), applies=_sampled)
def _b7_independent(s: Step) -> Measured:
    independent = _average(s, lambda g: s.problem.grad(s.w + scale(s.rho, unit(g))), s.problem.sample_grads(s.w))
    return Measured(norm(s.mean_g - independent), _constants(s), _size(s))
