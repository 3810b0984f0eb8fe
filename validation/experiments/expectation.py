"""Expectations over long noisy runs: B1, B1', B3, B4, B4' and B2, each by a confidence interval against its bound.

Beside the enumeration of all sample paths, which is exact and short (`sweep`), these runs are long and drawn. Protocol:
one problem, one start, n independent sample paths; the left side of the claim on each path is one value X, and E X is
enclosed by an interval whose coverage is proved for bounded X (`validation.intervals`). VIOLATED: the lower limit lies
above the bound. HOLDS: the upper limit lies below it. INCONCLUSIVE: neither, and `decides` says how many paths would
do, at the variance seen.

Nothing is chosen after a look. n follows, before a path is drawn, from the range, the level and the precision asked
for: the part of the interval's width that is the range's is at most `precision` times the bound. Each of the two limits
has the level 1e-6 divided by their number in the whole run of `s2sam validate` (Bonferroni; that they share paths and
problems does not matter). Every path is drawn once, from the cell's seed.

The bound and the range of X are certain numbers, from the problem's constants alone (`validation.noisy_runs`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from validation.cells import Row, experiment
from validation.intervals import caught, deciding, interval, planned
from validation.judge import Verdict, rounding_slack
from validation.noisy_runs import Side, asked, paths, reach, setting, side

FAMILYWISE = 1e-6  # probability that any limit of a whole run is wrong


def share(plans: Sequence[Mapping[str, Any]]) -> float:
    """Return the level of one limit where these are the options of all cells of a run, so that all hold together."""
    compared = [len(asked(p["family"], p["rule"], p["schedule"])) * len(p["horizons"]) for p in plans]
    return FAMILYWISE / (2 * sum(compared))


@experiment
def expectation(
    *, labels: list[str], family: str, rule: str, schedule: str, h: float, rho: float, horizons: list[int],
    precision: float, level: float, seed: int, device: str = "cpu",
) -> Iterator[Row]:  # fmt: skip
    """Yield one row for each claim and T, if `labels` names the claim; what is drawn does not depend on them.

    `level` is that of one limit (`share`); h is used by the constant schedule only, the others begin at eta L = 1.
    """
    alone = [[T] for T in sorted(horizons)]
    draws = Generator().manual_seed(seed + 1)
    for run in alone if schedule == "fixed" else [sorted(horizons)]:
        s = setting(family, rule, schedule, h, rho, run[-1], Generator().manual_seed(seed))
        certain = reach(s)
        sides = [side(s, certain, label, T) for T in run for label in asked(family, rule, schedule)]
        n = max(planned(x.span, level, precision * x.limit) for x in sides)
        s = replace(s, problem=s.problem.to(device), start=s.start.to(device))
        chunks = list(paths(s, sides, n, draws))
        for x in (x for x in sides if x.label in labels):
            values = torch.cat([chunk[x.label, x.T] for chunk in chunks]).cpu()
            scale = x.span + x.limit + float(s.problem.f_noise)
            slack = float(rounding_slack(torch.float64, x.T, scale, width=s.problem.width))
            last = max((T for T in run if T < x.T), default=0)  # whose steps were counted with another row
            yield compared(x, values, slack, level) | {
                "problem": s.problem.name, "family": family, "rule": rule, "series": schedule, "seed": seed,
                "constants": {"L": s.L, "sigma2": float(s.problem.sigma2), "gap": s.gap}, "t": x.T,
                "at": {"h": s.eta[0] * s.L, "rho": s.rho[0], "T": x.T}, "steps": n * (x.T - last),
            }  # fmt: skip


def compared(x: Side, values: Tensor, slack: float, level: float) -> Row:
    """Return the comparison of one bound with an interval for E X; `slack` is what rounding may add to X."""
    found, limit = interval(values, x.span, level), x.limit + slack
    n = len(values)
    verdict = Verdict.INCONCLUSIVE
    if found.lower > limit:
        verdict = Verdict.VIOLATED
    elif found.upper <= limit:
        verdict = Verdict.VACUOUS if x.bound >= x.trivial else Verdict.HOLDS
    shown = (lambda v: math.sqrt(max(v, 0.0))) if x.root else (lambda v: v)
    ratio = shown(found.mean) / shown(limit)
    return {
        "claim": x.label,
        "verdict": str(verdict),
        "measured": shown(found.mean),
        "lower": shown(found.lower),
        "upper": shown(found.upper),
        "bound": x.bound,
        "slack": slack,
        "ratio": max(ratio, 1 + 2.0**-52) if verdict is Verdict.VIOLATED else min(ratio, 1.0),
        "median": ratio,
        "n": 1,
        "counts": {str(verdict): 1},
        "paths": n,
        "level": level,
        "decides": None if verdict is not Verdict.INCONCLUSIVE
        else deciding(found.variance, x.span, level, abs(found.mean - limit)),
        "caught": 1 + caught(found.variance, n, x.span, level) / limit,  # in units of the bound of E X
        "curve": shown(found.mean),
        "curve_bound": x.bound,
    }  # fmt: skip
