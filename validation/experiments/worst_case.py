"""Exact worst cases beside the bounds: semidefinite programs for few steps, and the instances that attain a bound.

Protocol. For each case of a grid of `theory.worst_case` the left side of a claim is maximised over all functions of its
hypothesis, over the starts and over the perturbations that `kind` admits. `dual` is an upper bound of the worst case
and `primal` what a function found reaches, each up to the solver's residuals, which are in the row; `attained` is what
an instance of ours reaches at the same h and T, without a solver. `ratio` is dual/bound: what is missing to 1 is what
the analytic bound loses. An instance alone (`kind` "instance") has the exact ratio of its measured side. No row has a
verdict. Small residuals do not prove a small error: where an instance attains more than `dual`, the row is
`contradicted` and no table counts it (A4.smooth at h >= 3/2 and T >= 7, whose values grow like (1 + h)^T). A primal
value above the bound by more than `doubt` sets `exceeds` and calls for a run in exact arithmetic. Units: L = 1, and
Delta (R2) of the start 1, so that eta = h.
"""

import functools
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from theory.worst_case import INSTANCES, Case, beside, cases, default_cases, rows
from validation.cells import Row, experiment

CODE = (
    "theory/worst_case", "theory/bounds", "theory/claims.py", "theory/requirements.py", "theory/arithmetic.py",
)  # fmt: skip
GRIDS = {"default": default_cases, "whole": cases}
TOLERANCE = 5e-5  # CLARABEL's own, relative, where it stops as "optimal_inaccurate"
HYPOTHESIS = {
    "any": "any perturbation of norm <= rho",
    "stale": "the S2-SAM relaxation: norm <= rho, p_0 = 0 and <p_t, g_{t-1}> >= 0",
}


def form_of(case: Case) -> str:
    """Return which reading of a claim a case has, in words; "" where there is one only."""
    if case.claim not in ("B1", "B1'", "B3", "B9"):
        return ""
    decrease, start = ("R2", "||w_0 - w*||^2") if case.claim == "B3" else ("Delta", "f(w_0) - f*")
    return f"measured {decrease}" if case.decrease == "measured" else (
        f"{decrease} = {start}{', without p_(T-1)' if case.sharp else ''}"
    )


@functools.cache
def solvers() -> str:
    """Return name and version of what solves, or "" after one line that says what to install."""
    try:
        return ", ".join(f"{name} {version(name)}" for name in ("PEPit", "cvxpy", "clarabel"))
    except PackageNotFoundError as error:
        print(f"s2sam: no worst cases: {error.name} is not installed; run pip install 's2sam[validation]'",
              file=sys.stderr)
        return ""


def _row(case: Case, found: dict[str, Any]) -> Row:
    at = {"h": case.h, "T": case.T, "rho": case.rho}
    at |= {name: value for name, value in (("m", case.m), ("beta", case.beta)) if value}
    row = {name: found[name] for name in (
        "bound", "primal", "dual", "ratio", "doubt", "status", "violation", "defect", "remainder", "seconds", "cpu",
        "notes",
    )}  # fmt: skip
    instance = beside(case)
    return {
        "claim": case.claim,
        "series": "worst-case",
        "family": "worst case",
        "kind": case.perturbation,
        "hypothesis": HYPOTHESIS[case.perturbation],
        "form": form_of(case),
        "at": at,
        "constants": case.constants,
        **row,
        "exceeds": bool(row["primal"] > row["bound"] * (1 + row["doubt"])),
        "attained": instance,
        "contradicted": bool(instance and instance["ratio"] > row["ratio"] + max(row["doubt"], TOLERANCE)),
        "problem": found["key"],
        "solver": solvers(),
    }


@functools.partial(experiment, runs=CODE)
def worst_case(*, labels: list[str], grid: str, T: int) -> Iterator[Row]:
    """Yield one row for each case of the grid with these labels and this number of steps; none without a solver."""
    if not solvers():
        return
    chosen = [c for c in GRIDS[grid]() if c.claim in labels and c.T == T]
    for case, found in zip(chosen, rows(chosen), strict=True):
        yield _row(case, found)


@functools.partial(experiment, runs=CODE)
def attained(*, labels: list[str]) -> Iterator[Row]:
    """Yield one row for each point of each instance that attains the bound of one of these claims, or approaches it."""
    for instance in (i for i in INSTANCES if i.claim in labels):
        instance.verify()
        words = {True: "the method's own perturbations", False: "admissible perturbations, not S2-SAM's own"}
        for found in instance.rows():
            row = {**found, "series": "worst-case", "family": "worst case", "kind": "instance"}
            yield {**row, "hypothesis": words[instance.own]}
