"""Curves: one instance of a family followed over T, measured beside bound and beside the floor the bound tends to.

Protocol. The first instance of the family, one step size and radius, from distance 1; both sides are read at every
horizon of a log-spaced list. No verdict is taken here (the sweep takes it on thousands of instances): these rows are
for the figures.
"""

from collections.abc import Iterator

import torch

from theory import CLAIMS
from theory.bounds.convergence import distance_floor
from validation.cells import Row, experiment
from validation.measures import MEASURES, Measured
from validation.problems import FAMILIES
from validation.trajectories import Run, record, steps

LONG = 10**9


def floor(label: str, m: Measured, run: Run) -> float | None:
    """Return what the bound tends to as T grows at constant radius, its start forgotten; None where it only grows."""
    c = {**m.constants, "gap": 0.0, "R2": 0.0, "T": LONG, "P2": run.rho**2}
    if label.startswith("A4"):
        return None
    if label == "B4'":
        return float(distance_floor(h=run.eta * run.problem.L, m=run.eta * run.problem.mu, rho=run.rho)) ** 2
    return float(CLAIMS[label].evaluate(**c))


@experiment
def curve(*, label: str, family: str, rule: str, h: float, rho: float, horizons: list[int], seed: int) -> Iterator[Row]:
    """Yield one row: measured, bound and floor over the horizons."""
    problem = FAMILIES[family](2, torch.Generator().manual_seed(seed)).take(torch.tensor([0]))
    w = problem.start(torch.Generator().manual_seed(seed + 1), 1.0)
    fixed = {"eta": h / problem.L, "rho": torch.full_like(problem.L, rho), "count": max(horizons)}
    m = MEASURES[label]
    names = ("s2sam", "sam") if rule == "pair" else (rule,)
    runs = [steps(problem, name, w, **fixed) for name in names]
    stream = zip(*runs, strict=True) if rule == "pair" else runs[0]
    run = Run(problem, rule, fixed["eta"], fixed["rho"], record(stream, m.probes), fixed["count"])
    values = [v for T in horizons if (v := m.evaluate(run.until(T))) is not None]
    yield {
        "claim": label,
        "problem": problem.name,
        "family": family,
        "rule": rule,
        "series": "curve",
        "seed": seed,
        "at": {"h": h, "rho": rho},
        "x": horizons,
        "y": [float(v.value) for v in values],
        "limit": [float(CLAIMS[label](**v.constants)) for v in values],
        "floor": floor(label, values[-1], run),
    }
