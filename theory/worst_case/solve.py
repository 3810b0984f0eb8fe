"""Solve a worst-case problem and say how far the answer can be trusted.

A semidefinite program is solved in float64 by an interior-point method: the dual value is an upper bound of the worst
case and the primal one a lower bound, each up to residuals, which are part of the result.
"""

import contextlib
import io
import time
import warnings
from dataclasses import asdict, dataclass
from typing import Any

from theory.worst_case.problems import PROBLEMS, Case

__all__ = ["Solution", "WorstCase", "judge", "maximum", "solve"]


@dataclass(frozen=True, kw_only=True)
class WorstCase:
    """The worst case that was found, beside the bound.

    Attributes:
        case: the problem.
        primal: left side of the claim at the worst function found. dual: upper bound of it by the multipliers found.
        bound: the claim's right side. status: of the solver, "optimal" if it met its own tolerances. The next three
            are in units of the left side, of its square for A4's linear and smooth forms and B1'.
        violation: the largest violation of a constraint by the primal solution, its Gram matrix included.
        defect: the largest violation of a sign by the multipliers, their matrix included.
        remainder: sum of the coefficients that are left over when the multipliers are put together to a proof.
        seconds: wall time, modelling included. cpu: processor time. solver: its name. notes: warnings.
    """

    case: Case
    primal: float
    dual: float
    bound: float
    status: str
    violation: float
    defect: float
    remainder: float
    seconds: float
    cpu: float
    solver: str
    notes: tuple[str, ...] = ()

    @property
    def ratio(self) -> float:
        """dual/bound: 1 where the bound is attained, less where it is loose."""
        return self.dual / self.bound if self.bound else float(self.dual > 0)

    @property
    def doubt(self) -> float:
        """How far the ratio (its square, where the problem maximises a square) may be off: duality gap and residuals.

        Residuals are weighed by 1, which no theorem supports: for A4.smooth at h = 1.75 and T = 8 the ratio found is
        0.93 with a doubt of 5e-5, while an instance attains 1. A ratio above 1 + doubt calls for an investigation, and
        is no counterexample before an instance is run in exact arithmetic.
        """
        scale = self.bound**self.case.power
        gap = abs(self.dual**self.case.power - self.primal**self.case.power)
        return (gap + self.violation + self.defect + self.remainder) / (scale or 1.0)

    def row(self) -> dict[str, Any]:
        """The result as one flat dictionary of JSON values."""
        own = {name: x for name, x in asdict(self).items() if name not in ("case", "notes")}
        return {**self.case.options(), **own, "ratio": self.ratio, "doubt": self.doubt, "notes": list(self.notes)}


@dataclass(frozen=True, kw_only=True)
class Solution:
    """What the solver said of a problem, before the claim is looked at: fields as in `WorstCase`, but no root taken."""

    primal: float
    dual: float
    status: str
    violation: float
    defect: float
    remainder: float
    seconds: float
    cpu: float
    solver: str
    notes: tuple[str, ...] = ()


def judge(case: Case, found: Solution) -> WorstCase:
    """The solution of the case's problem beside the case's bound."""
    root = lambda x: max(x, 0.0) ** (1 / case.power)  # noqa: E731
    return WorstCase(case=case, bound=case.bound, **{
        **asdict(found), "primal": root(found.primal), "dual": root(found.dual), "notes": tuple(found.notes),
    })


def solve(case: Case, solver: str = "CLARABEL") -> WorstCase:
    """Find the worst case by semidefinite programming.

    Args:
        case: the problem.
        solver: a semidefinite solver that CVXPY knows.

    Raises:
        ModuleNotFoundError: without PEPit, which the extra `validation` brings.
        ArithmeticError: when the solver returns no solution.
    """
    return judge(case, maximum(case.problem, solver))


def maximum(case: Case, solver: str = "CLARABEL") -> Solution:
    """Build and solve one problem; `solve` says what the solution means for the claim."""
    try:
        import cvxpy
        import numpy
        from PEPit import PEP
    except ModuleNotFoundError as error:
        text = f"worst cases need {error.name}, not installed; run pip install 's2sam[validation]'"
        raise ModuleNotFoundError(text, name=error.name) from None

    begin, cpu = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pep = PEP()
        scale = case.bound**case.power  # what is maximised is the ratio: numbers near 1 suit the solver
        pep.set_performance_metric(PROBLEMS[case.claim](pep, case) / scale)
        try:
            dual = pep.solve(verbose=0, solver=solver)
        except cvxpy.error.SolverError as error:
            raise ArithmeticError(f"{solver} must solve {case}, got: {error}; try another solver") from error
    if dual is None or pep.G_value is None:
        raise ArithmeticError(f"the problem must have a solution, got none for {case}; try another solver")
    slacks = [(c.eval(), c.equality_or_inequality) for c in pep._list_of_prepared_constraints]
    violations = [abs(s) if kind == "equality" else s for s, kind in slacks]
    signs = [-c.eval_dual() for c in pep._list_of_prepared_constraints if c.equality_or_inequality == "inequality"]
    lowest = [-float(numpy.linalg.eigvalsh((M + M.T) / 2)[0]) for M in (pep.G_value, pep.residual)]
    return Solution(
        primal=float(pep.objective.eval()) * scale,
        dual=float(dual) * scale,
        status=pep.wrapper.prob.status,
        violation=max(0.0, lowest[0], *map(float, violations)),
        defect=max(0.0, lowest[1], *map(float, signs)),
        remainder=_remainder(pep) * scale,
        seconds=time.perf_counter() - begin,
        cpu=time.process_time() - cpu,
        solver=pep.wrapper.solver_name,
        notes=tuple(sorted({str(w.message).splitlines()[0] for w in caught})),
    )


def _remainder(pep: Any) -> float:
    """What is left of objective - dual value - multiples of the constraints: 0 if the multipliers are a proof."""
    from PEPit import Point
    from PEPit.tools.dict_operations import prune_dict, symmetrize_dict

    points = Point.list_of_leaf_points
    combination = -sum((pep.residual[i, j] * p * q for i, p in enumerate(points) for j, q in enumerate(points)), 0)
    for constraint in pep._list_of_prepared_constraints:
        combination += constraint.eval_dual() * constraint.expression
    left = prune_dict(symmetrize_dict((pep.objective - combination).decomposition_dict))
    return float(sum(abs(x) for key, x in left.items() if key != 1))
