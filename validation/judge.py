"""The judge: measured against bound, with a derived allowance for rounding; an Outcome for every group of instances.

A comparison that fails in float64 is doubted: the literal twin repeats it in 50 digits before it counts as a violation.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from theory import Claim
from validation.measures import Measure, Measured
from validation.trajectories import Rule

Doubt = Callable[[Claim, Measure, int, int], bool]
BEYOND_ROUNDING = 1000.0  # rounding allowances: what no rounding explains, even where an allowance is too tight


class Verdict(StrEnum):
    """What a comparison says; in words in the report."""

    HOLDS = "HOLDS"
    VIOLATED = "VIOLATED"
    VACUOUS = "VACUOUS"
    INCONCLUSIVE = "INCONCLUSIVE"  # of a mean over drawn paths: the interval holds the bound
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

    `excess` is how far the claim is missed, in rounding allowances: it fails where that is not <= 1 (nan fails too).
    `ratio` says how tight the comparison is, and is above 1 exactly where it fails.
    """

    measured: Tensor
    bound: Tensor
    slack: Tensor
    ratio: Tensor
    excess: Tensor
    fails: Tensor
    inside: Tensor
    vacuous: Tensor


def judge(claim: Claim, m: Measured, *, steps: int, width: int) -> Judged:
    """Compare measured with bound, elementwise; never raises for constants outside the domain, but marks them.

    A number that is not finite, on either side or among the realised constants, is a failure, never "outside".
    """
    value = m.value
    like = torch.zeros_like(value)
    numbers = [value, *(v for c in m.constants.values() for v in (c if isinstance(c, list) else [c]))]
    broken = torch.stack([~torch.isfinite(like + v) for v in numbers]).any(0)
    inside = (broken | claim.domain(**m.constants)) & m.speaks
    bound = claim.evaluate(**m.constants) + like
    slack = rounding_slack(value.dtype, steps, m.scale + bound.abs(), width=width) + like
    vacuous = like.bool()
    missed = {"upper": value - bound, "lower": bound - value, "equality": (value - bound).abs()}[claim.kind]
    excess = torch.where(value == bound, like, missed / slack).nan_to_num(nan=torch.inf)
    if claim.kind == "upper":
        limit = bound + slack
        ratio = torch.where(limit > 0, value / limit, torch.where(value > limit, torch.inf, limit / value))
        if claim.trivial is not None:
            vacuous = bound >= claim.trivial(**m.constants)
    elif claim.kind == "lower":
        ratio = (bound - slack) / value
    else:
        ratio = excess
    fails = inside & (broken | ~(excess <= 1))
    above = ratio.clamp(min=1 + 2.0**-52).nan_to_num(nan=torch.inf) if claim.kind != "lower" else like + torch.inf
    ratio = torch.where(fails, above, ratio.clamp(0, 1).nan_to_num(nan=0.0))
    return Judged(value, bound, slack, ratio, excess, fails, inside, vacuous & inside & ~fails)


@dataclass(frozen=True)
class Outcome:
    """What became of one claim for one rule on one family of problems; the numbers are those of the worst comparison.

    `ratio` is measured/(bound + slack) for an upper bound, (bound - slack)/measured for a lower one, and |measured -
    bound|/slack for an equality; `n` comparisons, of which `counts` names the verdicts; `at` is the point of the grid
    (h, rho, T), and t the step, of the worst comparison; `steps` are the instance-steps behind the n comparisons that
    no other Outcome of the same run counts.
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
    steps: int

    def require(self) -> "Outcome":
        """Return self, or raise Violation with the numbers."""
        if self.verdict is Verdict.VIOLATED:
            raise Violation(
                f"{self.claim} fails for {self.rule} on {self.problem}: measured {self.measured:.17g}, bound "
                f"{self.bound:.17g}, rounding {self.slack:.2g}, at {dict(self.constants)}"
            )
        return self


class Tally:
    """Keeps each instance's tightest comparison and its worst failure; folds a group of instances into an Outcome.

    `weight` is the number of instance-steps that one comparison adds to those counted before.
    """

    def __init__(self, claim: Claim, measure: Measure, width: int, weight: int = 1):
        self.claim, self.measure, self.width, self.weight = claim, measure, width, weight
        self.tightest: dict[str, Tensor] = {}
        self.accused: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor] = {}

    def add(self, m: Measured | None, t: int) -> None:
        """Judge the values of all instances at step t; None, where the claim says nothing, counts for nothing."""
        if m is None:
            return
        j = judge(self.claim, m, steps=t + 1, width=self.width)
        holds = j.inside & ~j.fails & ~j.vacuous
        flags = {"OUTSIDE_DOMAIN": ~j.inside, "VACUOUS": j.vacuous, "VIOLATED": j.fails, "HOLDS": holds}
        for name, flag in flags.items():
            self.counts[name] = self.counts.get(name, 0) + flag.long()
        like = torch.zeros_like(j.ratio)
        scalars = {k: like + v for k, v in m.constants.items() if not isinstance(v, list)}
        own = {"ratio": j.ratio, "measured": j.measured, "bound": j.bound, "slack": j.slack, "t": like + t}
        self.tightest = _larger(self.tightest, torch.where(j.inside & ~j.fails, j.ratio, -1.0), own | scalars)
        self.accused = _larger(self.accused, torch.where(j.fails, j.excess, -1.0), own | scalars)

    def outcome(self, members: Tensor, problem, rule: str | Rule, doubt: Doubt, at: Mapping[str, float]) -> Outcome:
        """Fold the instances `members` into an Outcome; `doubt(claim, measure, instance, t)` repeats a failure.

        Each instance's largest failure is doubted, from the largest on. One that 50 digits do not confirm is rounding,
        provided that it is small. A large one means that the run and the twin are not the same method, and stands.
        """
        counts = Counter({k: int(v[members].sum()) for k, v in self.counts.items()})
        excess, ratios = self.accused["score"][members], self.tightest["score"][members]
        suspects = [int(members[k]) for k in excess.argsort(descending=True)[: int((excess >= 0).sum())]]
        guilty = next((i for i in suspects if self._stands(i, doubt)), None)
        table, i = self.tightest, int(members[ratios.argmax()])
        if guilty is not None:
            table, i = self.accused, guilty
        elif suspects:
            counts["HOLDS"] += counts.pop("VIOLATED")
            table, i = self.accused, suspects[0]
        numbers = {k: float(v[i]) for k, v in table.items() if k != "score"}
        if guilty is None and suspects:
            numbers["ratio"] = 1.0  # acquitted: equal to within rounding
        verdict = next((v for v in ("VIOLATED", "HOLDS", "VACUOUS") if counts[v]), "OUTSIDE_DOMAIN")
        reserved = ("ratio", "measured", "bound", "slack", "t")
        known = ratios[ratios >= 0]
        return Outcome(
            claim=self.claim.label,
            problem=problem.name,
            rule=rule if isinstance(rule, str) else rule.__name__,
            verdict=Verdict(verdict),
            **{k: numbers[k] for k in reserved[:-1]},
            median=float(known.median()) if len(known) else numbers["ratio"],
            n=sum(counts.values()) - counts["OUTSIDE_DOMAIN"],
            counts=dict(+counts),
            constants={k: v for k, v in numbers.items() if k not in reserved},
            at=at,
            t=int(numbers["t"]),
            steps=self.weight * (sum(counts.values()) - counts["OUTSIDE_DOMAIN"]),
        )

    def _stands(self, i: int, doubt: Doubt) -> bool:
        beyond = float(self.accused["score"][i]) > BEYOND_ROUNDING
        return beyond or doubt(self.claim, self.measure, i, int(self.accused["t"][i]))


def _larger(table: dict[str, Tensor], score: Tensor, now: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keep, for each instance, the entry with the larger score."""
    now = now | {"score": score}
    if not table:
        return now
    better = score > table["score"]
    return {k: torch.where(better, now[k], old) for k, old in table.items()}
