"""The search for the largest measured/bound: random restarts, gradient ascent through the run, a polish without slopes.

Protocol. In every space and dimension, random problems, starts, step sizes and radii by the thousand, one batched run
each, judged at every step (or at every T up to the longest). Where the bound is not attained yet, the best points for
each T climb by Adam, the derivative taken through all steps of the run and through the certified constants. SciPy's
differential evolution, whole populations at a time, polishes the best of them, because n(x) is not smooth at 0 and a
link may have kinks. Same seed, same result. A run that misses its bound, in 50 digits too, is shrunk (`shrink`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import differential_evolution
from torch import Tensor

from theory import CLAIMS, Claim
from validation.adversary.extreme import Extreme, outcome_of
from validation.adversary.points import Points, restarts
from validation.adversary.shrink import shrunk
from validation.adversary.spaces import Space
from validation.adversary.trials import Question, Trial, failures, judged, proven, score
from validation.instances import Problem
from validation.measures import MEASURES, Measure
from validation.trajectories import Rule

CLIMBERS = 48  # points that climb
PACK = 48  # population of the polish
SPREAD = 0.05  # of its first generation
RATE = 0.1  # Adam's first step, in free coordinates of size about 1
ATTAINED = 1 - 1e-6  # ratio from which nothing is left to climb, unless the claim is false
TIE = 1e-9  # ratios that near are equal
SUSPECTS = 4  # runs of a batch that are repeated in 50 digits
SHORT = 5  # steps of the longest run
LONGEST_TREE = 3  # steps of runs of which all sample paths are run
STEEP, FAR = 1e6, 1e300  # limits of slopes, and of what SciPy sees


def search(
    claim: Claim | str,
    rule: str | Rule,
    *,
    seed: int = 0,
    budget: int = 10_000,
    families: Sequence[str | Space] | None = None,
    dimensions: Sequence[int] = (1, 2, 3),
    count: int = SHORT,
    fixed: Mapping[str, int | float] | None = None,
    measure: Measure | None = None,
    beta: float | None = None,
) -> Extreme:
    """Look for the run on which a rule comes closest to the bound of a claim, or exceeds it.

    Args:
        claim: a Claim or the label of a registered one.
        rule: name or function of a View, "pair" for S2-SAM beside SAM.
        seed: of everything random.
        budget: number of random restarts; two batches climb for budget/800 rounds, and the polish takes as many
            generations. Where the bound is attained at every T, what is below it climbs for a quarter of that.
        families: names in SPACES, or Spaces; default all that satisfy the claim's hypotheses.
        dimensions: of the problems.
        count: longest run; T = 1 .. count are all tried. At most 3 where all sample paths are run.
        fixed: h and rho, where they are not to be searched.
        measure: how to measure the claim; default the registered one.
        beta: momentum; default 0, or 1/2 for claims that speak of momentum.

    Raises:
        ValueError: when the registered measure does not speak of this rule, when no family satisfies the claim's
            hypotheses, or for a fixed constant other than h and rho.
    """
    claim = CLAIMS[claim] if isinstance(claim, str) else claim
    if measure is None and claim.label not in MEASURES:
        raise ValueError(f"claim must have a measure, {claim.label} has none; register one or pass measure=")
    chosen = measure or MEASURES[claim.label]
    if measure is None and isinstance(rule, str) and rule not in chosen.rules:
        raise ValueError(f"rule must be one of {', '.join(chosen.rules)} for {claim.label}, got {rule!r}")
    if unknown := set(fixed or {}) - {"h", "rho"}:
        raise ValueError(f"fixed may set h and rho, got {', '.join(sorted(unknown))}")
    generator = torch.Generator().manual_seed(seed)
    constants = {k: float(v) for k, v in (fixed or {}).items()}
    hunt = _Hunt(Question(claim, chosen, rule, count, 0.5 * chosen.momentum if beta is None else beta))
    everything = restarts(hunt.question, families, dimensions, budget, generator, constants)
    seen = [hunt.judge(points, first=True) for points in everything]
    if not seen:
        raise ValueError(f"families must hold one that satisfies the hypotheses of {claim.label} ({rule}); name others")
    if claim.kind != "equality" and claim.constants:
        seen.sort(key=lambda s: -s.promise)
        ends = [hunt.climb(s, budget // 800) for s in seen[:2] if hunt.crime is None]
        best = max(ends, key=lambda s: s.promise, default=None)
        if best is not None and best.promise > 0 and hunt.crime is None and budget >= 800:
            hunt.polish(best, budget // 800, seed)
    return hunt.result(seed)


@dataclass
class _Seen:
    """Points and their ratios, (number of t, N): -1 where the claim says nothing; `smooth` can be differentiated."""

    points: Points
    times: list[int]
    ratio: Tensor
    smooth: Tensor

    def open(self) -> Tensor:
        """The ratios, those of attained bounds left out."""
        return self.ratio.masked_fill(self.ratio >= ATTAINED, -1.0)

    @property
    def promise(self) -> float:
        """The largest ratio over the points, summed over t where the bound is not attained by one of them."""
        top = self.ratio.max(1).values
        return float(top[top < ATTAINED].clamp(min=0).sum())


class _Hunt:
    """The state of a search: the best run, the first that was proven to fail, and the ratios met at every t."""

    def __init__(self, question: Question):
        self.question = question
        self.best: tuple[tuple[float, int], Trial] | None = None
        self.crime: tuple[Trial, int] | None = None
        self.random: dict[int, list[Tensor]] = {}
        self.top: dict[int, float] = {}
        self.runs = self.compared = 0

    def about(self, problem: Problem) -> Question:
        """Return the question, its runs short enough to run all sample paths where there are samples."""
        long = problem.samples > 1 and not self.question.measure.per_step
        return self.question.until(min(self.question.count, LONGEST_TREE)) if long else self.question

    def judge(self, points: Points, *, first: bool = False, differentiate: bool = False) -> _Seen:
        """Judge the points, and remember the best of them and the first that fails, in 50 digits too."""
        with torch.set_grad_enabled(differentiate):
            trial = points.trial()
            problem = trial.problem()
            table = judged(self.about(problem), trial, problem)
            smooth = score(table)
        times = [t for t, _ in table]
        self.runs += trial.size
        self.compared += sum(int(j.inside.sum()) for _, j in table)
        fails = torch.stack([failures(j) for _, j in table])
        if self.crime is None and bool(fails.any()):
            excess = torch.stack([j.excess.detach() for _, j in table])
            self._accuse(trial, times, excess.masked_fill(~fails, -1.0))
        ratio = smooth.detach()
        if self.crime is None:
            ratio = ratio.clamp(max=1.0)  # what failed was rounding: 50 digits say so
        for t, row in zip(times, ratio, strict=True):
            top = row.max()
            i = torch.where(row >= top - TIE, trial.h, -1.0).argmax()
            rank = (round(min(float(top), FAR), 9), t)  # of equals the longest run, and there the longest step
            self.top[t] = max(self.top.get(t, -1.0), float(top))
            if self.best is None or rank > self.best[0]:
                self.best = rank, trial.take(i[None])
            if first:
                self.random.setdefault(t, []).append(row)
        return _Seen(points, times, ratio, smooth)

    def _accuse(self, trial: Trial, times: list[int], excess: Tensor) -> None:
        for flat in excess.flatten().argsort(descending=True)[:SUSPECTS].tolist():
            row, i = divmod(flat, trial.size)
            one = trial.take(torch.tensor([i]))
            hit = excess[row, i] > 0 and self.question.measure.applies(one.problem())
            if hit and proven(self.question, one, 0, times[row]):
                self.crime = one, times[row]
                return

    def climb(self, seen: _Seen, rounds: int) -> _Seen:
        """Return the best points for each t after `rounds` steps of Adam; each keeps the best place it has been to."""
        rows = [k for k, row in enumerate(seen.ratio) if 0 < float(row.max()) < ATTAINED]
        if not rows:  # attained at every t
            rows, rounds = list(range(len(seen.times))), rounds // 4
        open_ = seen.open()
        share = min(CLIMBERS // len(rows), open_.shape[1])
        who = torch.cat([open_[k].topk(share).indices for k in rows])
        goal = torch.tensor(rows).repeat_interleave(share)[None]
        start, best = seen.points.take(who), open_[goal[0], who]
        theta = start.theta.clone().requires_grad_()
        place = start.theta
        adam = torch.optim.Adam([theta], lr=RATE, maximize=True)
        for k in range(rounds):
            adam.param_groups[0]["lr"] = RATE * (1 - k / rounds)
            now = self.judge(start.at(theta), differentiate=True)
            value, smooth = now.ratio.gather(0, goal)[0], now.smooth.gather(0, goal)[0]
            place = torch.where((value > best)[:, None], theta.detach(), place)
            best = torch.maximum(best, value)
            if self.crime is not None or not smooth.requires_grad:
                break
            (slope,) = torch.autograd.grad(smooth.sum(), theta)
            theta.grad = slope.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).clamp(-STEEP, STEEP)
            adam.step()
        table = torch.full((len(seen.times), len(best)), -1.0, dtype=best.dtype).scatter(0, goal, best[None])
        return _Seen(start.at(place), seen.times, table, table)

    def polish(self, seen: _Seen, generations: int, seed: int) -> None:
        """Search around the best point whose bound is not attained by differential evolution, a batch a generation."""
        row, i = divmod(int(seen.open().argmax()), seen.ratio.shape[1])
        one = seen.points.take(torch.tensor([i]))
        centre = one.theta[0].numpy()
        first = np.random.default_rng(seed).normal(centre, SPREAD, size=(PACK, len(centre)))
        first[0] = centre

        def loss(columns: np.ndarray) -> np.ndarray:
            return -self.judge(one.at(torch.from_numpy(columns.T.copy()))).ratio[row].clamp(max=FAR).numpy()

        differential_evolution(
            loss,
            list(zip(centre - 1, centre + 1, strict=True)),
            init=np.clip(first, centre - 1, centre + 1),
            maxiter=generations,
            vectorized=True,
            updating="deferred",
            polish=False,
            tol=0.0,
            seed=seed,
        )

    def result(self, seed: int) -> Extreme:
        """Return the end of the search: the shrunk counterexample, or the tightest run."""
        assert self.best is not None
        (_, t), trial = self.best
        question = self.question.until(t + self.question.measure.per_step)
        if self.crime is not None:
            trial, t = self.crime
            question, trial = shrunk(self.about(trial.problem()), trial, t)
        known = {t: x[x >= 0] for t, parts in sorted(self.random.items()) for x in [torch.cat(parts)]}
        middle = {t: float(x.median()) for t, x in known.items() if len(x)}
        return Extreme(
            outcome=outcome_of(question, trial),
            trial=trial,
            question=question,
            typical=max(middle.values(), default=math.nan),
            runs=self.runs,
            compared=self.compared,
            seed=seed,
            by_T={t: (middle[t], self.top[t]) for t in middle},
        )
