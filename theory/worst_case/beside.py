"""What an instance attains at the numbers of a worst-case problem: a lower bound of it that needs no solver."""

import decimal
import inspect
from fractions import Fraction
from typing import Any

from theory.requirements import DomainError
from theory.worst_case.instances import DIGITS, INSTANCES, Instance
from theory.worst_case.problems import Case

__all__ = ["beside"]

_MEASURED = ("B1", "B3")  # attained with the measured Delta or R2 only, by S2-SAM's own run
_APART = ("B1'", "B4", "B4'", "B9")  # attained at other constants: radii that change, mu = L, Delta = 0


def beside(case: Case) -> dict[str, Any] | None:
    """The instance that comes nearest to the bound at the case's h, T and m, as JSON values; None if there is none.

    Lengths are in the instance's own units: `measured` belongs to its `bound`, and the ratio of both is what compares.
    """
    if case.claim in _APART or case.sharp or (case.claim in _MEASURED and case.decrease == "minimum"):
        return None
    if case.perturbation != "any" and case.claim not in _MEASURED:
        return None
    rows = [row for i in INSTANCES if i.claim == case.claim and (row := _row(i, case)) is not None]
    return max(rows, key=lambda row: float(row["ratio"]), default=None)


def _row(instance: Instance, case: Case) -> dict[str, Any] | None:
    h, m = Fraction(case.h), Fraction(case.m)
    with decimal.localcontext(decimal.Context(prec=DIGITS)):
        start = decimal.Decimal(2).sqrt()  # w_0 in units of rho where Delta = L = rho = 1
    known = {"h": h, "T": case.T, "m": m, "share": m / h, "part": start}
    names = set(inspect.signature(instance.run).parameters)
    fixed = ("h" in names or case.h == 1) and ("T" in names or case.T == 1)  # without the name it is at 1
    if not (names <= known.keys() and fixed):
        return None
    point = {name: known[name] for name in sorted(names)}
    try:
        measured, bound = instance.sides(**point)
    except DomainError:  # the instance's own mu does not go with this h
        return None
    return {
        "text": instance.text, "own": instance.own, "measured": float(measured), "bound": float(bound),
        "ratio": float(measured / bound), "at": {k: v if isinstance(v, int) else float(v) for k, v in point.items()},
    }
