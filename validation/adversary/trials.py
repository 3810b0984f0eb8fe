"""Trials: runs of one rule on a batch of problems of one space, and how close each comes to the bound of a claim."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from theory import Claim
from validation.adversary.spaces import Space
from validation.confirm import confirmed
from validation.instances import Problem
from validation.judge import Judged, judge
from validation.measures import Measure, Measured
from validation.streams import stream
from validation.trajectories import Rule, Run, record, sample_paths


@dataclass(frozen=True)
class Question:
    """What is attacked: a claim, how its left side is measured, the rule, its momentum, the longest run."""

    claim: Claim
    measure: Measure
    rule: str | Rule
    count: int
    beta: float = 0.0

    def until(self, T: int) -> "Question":
        """Return the question about runs of T steps."""
        return replace(self, count=T)


@dataclass(frozen=True)
class Trial:
    """N runs: data of their problems (name -> (N, ...)), starts (N, d), steps h = eta L (N,) and radii (N,).

    With samples, eta is h over the smoothness of every sample; `draws` (count, N) are the samples of claims about
    single steps (claims about whole runs take all sample paths).
    """

    space: Space
    data: dict[str, Tensor]
    start: Tensor
    h: Tensor
    rho: Tensor
    draws: Tensor | None = None

    @property
    def size(self) -> int:
        """N."""
        return len(self.h)

    def problem(self) -> Problem:
        """Return the certified problems."""
        return self.space.build(**self.data)

    def take(self, index: Tensor) -> "Trial":
        """Return the runs of that index, detached."""
        return Trial(
            self.space,
            {k: v[index].detach() for k, v in self.data.items()},
            start=self.start[index].detach(),
            h=self.h[index].detach(),
            rho=self.rho[index].detach(),
            draws=None if self.draws is None else self.draws[:, index],
        )


def step_size(problem: Problem, h: Tensor) -> Tensor:
    """Return eta: h/L, or h over the smoothness of every sample."""
    return h / (problem.L_sample if problem.samples > 1 else problem.L)


def measured(question: Question, trial: Trial, problem: Problem) -> Iterator[tuple[int, Measured]]:
    """Yield (t, what is measured on all N runs): every step for a claim about steps, every T <= count for others."""
    q, m = question, question.measure
    eta, w, rho, leaves, batch, samples = step_size(problem, trial.h), trial.start, trial.rho, 1, problem, trial.draws
    if problem.samples > 1 and not m.per_step:
        leaves = problem.samples**q.count
        batch, w = problem.repeat(leaves), w.repeat_interleave(leaves, 0)
        samples = sample_paths(problem.samples, q.count, problem.size)
    fixed: dict[str, Any] = {"eta": eta.repeat_interleave(leaves), "rho": rho.repeat_interleave(leaves)}
    fixed |= {"count": q.count, "samples": samples, "beta": q.beta}
    run = stream(q.rule, batch, w, schedule=m.schedule, **fixed)
    if m.per_step:
        found = ((t, m.evaluate(s)) for t, s in enumerate(run) if t < q.count)
    else:
        whole = Run(problem, q.rule, eta, rho, record(run, m.probes, leaves=leaves), q.count)
        found = ((T, m.evaluate(whole.until(T))) for T in range(1, q.count + 1))
    yield from ((t, x) for t, x in found if x is not None)


def judged(question: Question, trial: Trial, problem: Problem) -> list[tuple[int, Judged]]:
    """Return (t, comparison of all N runs) for every t that `measured` yields."""
    found = measured(question, trial, problem)
    return [(t, judge(question.claim, x, steps=t + 1, width=problem.width)) for t, x in found]


def failures(j: Judged) -> Tensor:
    """Return which runs miss their bound, both sides being finite: an overflow refutes nothing."""
    return j.fails & j.measured.isfinite() & j.bound.isfinite()


def score(table: Sequence[tuple[int, Judged]]) -> Tensor:
    """Return the ratios, (number of t, N), -1 where the claim says nothing, or nothing new."""
    return torch.stack([torch.where(j.inside & ~j.vacuous, j.ratio, -1.0) for _, j in table])


def proven(question: Question, trial: Trial, i: int, t: int) -> bool:
    """Return whether run i misses the bound at t in 50 digits as well."""
    problem = trial.problem()
    leaves = problem.samples**t if problem.samples > 1 and not question.measure.per_step else 1
    draws = None if trial.draws is None else trial.draws[:, i].tolist()
    q = question
    options: dict[str, Any] = {"w": trial.start, "eta": step_size(problem, trial.h), "rho": trial.rho, "beta": q.beta}
    return confirmed(q.claim, q.measure, problem, q.rule, i, t, count=q.count, leaves=leaves, samples=draws, **options)
