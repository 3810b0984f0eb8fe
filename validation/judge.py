"""The judge: measured against bound, with a derived allowance for rounding; an Outcome for every group of instances.

A comparison that fails in float64 is doubted: the literal twin repeats it in 50 digits before it counts as a violation.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from theory import Claim
from validation.measures import Measure, Measured
from validation.trajectories import Rule

BEYOND_ROUNDING = (
    1000.0  # times the rounding allowance: what no rounding explains, even where the allowance is too tight
)


class Verdict(StrEnum):
    """What a comparison says; in words in the report."""

    HOLDS = "HOLDS"
    VIOLATED = "VIOLATED"
    VACUOUS = "VACUOUS"
    OUTSIDE_DOMAIN = "OUTSIDE_DOMAIN"


class Violation(AssertionError):
    """A claim failed on a run, and failed again in 50 digits."""


def rounding_slack(dtype: torch.dtype, steps: int, scale: Any, *, width: int = 8) -> Any:
    """Return the largest difference that rounding alone can make between the two sides of a claim after `steps` steps.

    Every number a claim compares is a sum of products computed along the run. A computed step is an exact step of the
    same rule (the claims hold for any perturbation within the radius, so an error of direction is no error at all) with
    a residual of at most gamma(width + 32) times the size of its terms: width for the inner products of the gradient,
    32 for the update, norms and sums around it. The residuals of all steps add up, and gamma(k) = k u/(1 - k u) with k
    = (steps + 1)(width + 32) bounds k roundings of unit roundoff u (Higham 2002, Lemma 3.1). `scale` is the size of the
    terms, as each measure states it.

    Args:
        dtype: arithmetic of the run.
        steps: number of steps behind the numbers.
        scale: size of the terms, any shape.
        width: longest inner product, usually dimension plus number of data rows.
    """
    unit = torch.finfo(dtype).eps / 2
    k = (steps + 1) * (width + 32) * unit
    return k / (1 - k) * scale


@dataclass(frozen=True)
class Judged:
    """One comparison per instance: tensors of shape (N,).

    `ratio` is above 1 exactly when the claim fails there; `excess` says by how many times the rounding allowance.
    """

    measured: Tensor
    bound: Tensor
    slack: Tensor
    ratio: Tensor
    excess: Tensor
    inside: Tensor
    vacuous: Tensor


def judge(claim: Claim, m: Measured, *, steps: int, width: int) -> Judged:
    """Compare measured with bound, elementwise; never raises for constants outside the domain, but marks them."""
    value = m.value
    like = torch.zeros_like(value)
    inside = like.bool() | claim.domain(**m.constants)
    bound = claim.evaluate(**m.constants) + like
    slack = rounding_slack(value.dtype, steps, m.scale + bound.abs(), width=width) + like
    vacuous = like.bool()
    excess = {"upper": value - bound, "lower": bound - value, "equality": (value - bound).abs()}[claim.kind] / slack
    if claim.kind == "upper":
        ratio = value / (bound + slack)
        if claim.trivial is not None:
            vacuous = bound >= claim.trivial(**m.constants)
    elif claim.kind == "lower":
        ratio = torch.where(value + slack >= bound, ((bound - slack) / value).clamp(0, 1), torch.inf)
    else:
        ratio = excess
    ratio = torch.where((value == 0) & (bound == 0), like, ratio)
    ratio, excess = (torch.where(x.isnan(), torch.inf, x) for x in (ratio, excess))
    return Judged(value, bound, slack, ratio, excess, inside, vacuous & inside)


@dataclass(frozen=True)
class Outcome:
    """What became of one claim for one rule on one family of problems; the numbers are those of the worst comparison.

    `ratio` is measured/(bound + slack) for an upper bound, (bound - slack)/measured for a lower one, and |measured -
    bound|/slack for an equality; `n` comparisons, of which `counts` names the verdicts; `at` is the point of the grid
    (h, rho, T), and t the step, of the worst comparison.
    """

    claim: str
    problem: str
    rule: str
    verdict: Verdict
    measured: float
    bound: float
    slack: float
    ratio: float
    median: float
    n: int
    counts: Mapping[str, int]
    constants: Mapping[str, float]
    at: Mapping[str, float]
    t: int

    def require(self) -> "Outcome":
        """Return self, or raise Violation with the numbers."""
        if self.verdict is Verdict.VIOLATED:
            raise Violation(
                f"{self.claim} fails for {self.rule} on {self.problem}: measured {self.measured:.17g}, bound "
                f"{self.bound:.17g}, rounding {self.slack:.2g}, at {dict(self.constants)}"
            )
        return self


class Tally:
    """Keeps, for every instance, the worst comparison so far; then folds the instances of a group into an Outcome."""

    def __init__(self, claim: Claim, measure: Measure, width: int):
        self.claim, self.measure, self.width = claim, measure, width
        self.worst: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor] = {}

    def add(self, m: Measured | None, t: int) -> None:
        """Judge the values of all instances at step t; None, where the claim says nothing, counts for nothing."""
        if m is None:
            return
        j = judge(self.claim, m, steps=t + 1, width=self.width)
        fail = j.inside & (j.ratio > 1)
        flags = {
            "OUTSIDE_DOMAIN": ~j.inside,
            "VACUOUS": j.vacuous & ~fail,
            "VIOLATED": fail,
            "HOLDS": j.inside & ~fail & ~j.vacuous,
        }
        for name, flag in flags.items():
            self.counts[name] = self.counts.get(name, 0) + flag.long()
        ratio = torch.where(j.inside, j.ratio, -1.0)
        scalars = {k: torch.zeros_like(ratio) + v for k, v in m.constants.items() if not isinstance(v, list)}
        now = {
            "ratio": ratio,
            "measured": j.measured,
            "bound": j.bound,
            "slack": j.slack,
            "excess": j.excess,
            "t": torch.full_like(ratio, t),
            **scalars,
        }
        if not self.worst:
            self.worst = now
        else:
            better = ratio > self.worst["ratio"]
            self.worst = {k: torch.where(better, now[k], old) for k, old in self.worst.items()}

    def outcome(self, members: Tensor, problem, rule: str | Rule, doubt, at: Mapping[str, float]) -> Outcome:
        """Fold the instances `members` into an Outcome; `doubt(claim, measure, instance, t)` repeats a failure.

        A failure that 50 digits do not confirm is rounding, provided that it is small. A large one means that the run
        and the twin are not the same method, and stands.
        """
        counts = Counter({k: int(v[members].sum()) for k, v in self.counts.items()})
        ratios = self.worst["ratio"][members]
        order = ratios.argsort(descending=True)
        for k in order[: int((ratios > 1).sum())]:
            i = int(members[k])
            beyond = float(self.worst["excess"][i]) > BEYOND_ROUNDING
            if beyond or doubt(self.claim, self.measure, i, int(self.worst["t"][i])):
                order = torch.cat([k[None], order[order != k]])  # the numbers reported are those of a confirmed failure
                break
            ratios[k] = 1.0  # rounding after all
        else:
            counts["HOLDS"] += counts.pop("VIOLATED", 0)
        i = int(members[order[0]])
        verdict = next((v for v in ("VIOLATED", "HOLDS", "VACUOUS") if counts[v]), "OUTSIDE_DOMAIN")
        reserved = ("ratio", "measured", "bound", "slack", "excess", "t")
        numbers = {k: float(v[i]) for k, v in self.worst.items()}
        return Outcome(
            claim=self.claim.label,
            problem=problem.name,
            rule=rule if isinstance(rule, str) else rule.__name__,
            verdict=Verdict(verdict),
            measured=numbers["measured"],
            bound=numbers["bound"],
            slack=numbers["slack"],
            ratio=float(ratios[order[0]]),
            median=float(ratios.median()),
            n=sum(counts.values()) - counts["OUTSIDE_DOMAIN"],
            counts=dict(+counts),
            constants={k: v for k, v in numbers.items() if k not in reserved},
            at=at,
            t=int(numbers["t"]),
        )
