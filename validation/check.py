"""Claim x runs -> Outcome: run a rule on a grid of step sizes and radii, and say what became of each claim there.

`check(claim, rule, problems)` is the call for a claim and a rule of your own; `examine` checks many claims on one run.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch

from theory import CLAIMS, Claim
from validation.confirm import confirmed
from validation.judge import Outcome, Tally
from validation.measures import MEASURES, Measure
from validation.shipped import SHIPPED
from validation.streams import stream
from validation.trajectories import Rule, Run, record, sample_paths

MOST_PATHS = 4096  # sample paths of one instance


def check(
    claim: Claim | str,
    rule: str | Rule,
    problem,
    *,
    h: Sequence[float] = (0.1, 0.5, 1.0),
    rho: Sequence[float] = (0.01, 0.1, 1.0),
    count: int = 40,
    seed: int = 0,
    measure: Measure | None = None,
    beta: float = 0.0,
) -> list[Outcome]:
    """Check one claim for one rule on a batch of problems: one Outcome for each step size h = eta L and radius.

    Args:
        claim: a Claim or the label of a registered one.
        rule: name or function of a View.
        problem: a batch of N problems (`validation.problems`).
        h: step sizes in units of 1/L.
        rho: radii; every instance meets every pair.
        count: number of steps.
        seed: of the starting points, at distance 1 from the center.
        measure: how to measure the claim; default the registered one.
        beta: momentum, for the claims that speak of it.

    Raises:
        ValueError: when the registered measure does not speak of this rule, problem or beta, or when the claim is one
            in expectation and the problem has too many sample paths to run them all.
    """
    claim = CLAIMS[claim] if isinstance(claim, str) else claim
    chosen = measure or MEASURES[claim.label]
    name = SHIPPED.get(rule, rule) if isinstance(rule, str) else None
    if measure is None and name is not None and name not in chosen.rules:
        raise ValueError(f"rule must be one of {', '.join(chosen.rules)} for {claim.label}, got {rule!r}")
    if measure is None and not chosen.applies(problem):
        raise ValueError(f"problem must satisfy the hypotheses of {claim.label}, got {problem.name}; see its statement")
    if measure is None and chosen.momentum != (beta > 0):
        raise ValueError(f"beta must be {'> 0' if chosen.momentum else '0'} for {claim.label}, got {beta}; see B9")
    expectation = problem.samples > 1 and not chosen.per_step
    if expectation and problem.samples**count > MOST_PATHS:
        most = int(math.log(MOST_PATHS, problem.samples))
        raise ValueError(f"count must be <= {most} where all {problem.samples}^count sample paths are run, got {count}")
    return examine(
        problem,
        rule,
        {claim.label: chosen},
        h=h,
        rho=rho,
        count=count,
        horizons=(count,),
        seed=seed,
        enumerate_samples=expectation,
        claims=[claim],
        beta=beta,
    )


def examine(
    problem,
    rule: str | Rule,
    measures: Mapping[str, Measure],
    *,
    h: Sequence[float],
    rho: Sequence[float],
    count: int,
    horizons: Sequence[int],
    seed: int,
    enumerate_samples: bool = False,
    claims: Sequence[Claim] | None = None,
    beta: float = 0.0,
) -> list[Outcome]:
    """Check several claims on one run of the grid h x rho x instances; run measures are read at every horizon.

    With `enumerate_samples` every path of samples is run and expectations are exact (whole runs only). The rule "pair"
    runs S2-SAM and SAM side by side from one start. All runs have one momentum beta, and the schedule of the measures.
    """
    if len(schedules := {m.schedule for m in measures.values()}) > 1:
        raise ValueError(f"measures must share one schedule, got {', '.join(map(repr, sorted(schedules)))}; split them")
    if enumerate_samples and any(m.per_step for m in measures.values()):
        raise ValueError("enumerate_samples must be False for claims about single steps, got True; check them apart")
    by_label = {c.label: c for c in claims} if claims else CLAIMS
    grid = [(a, b) for a in h for b in rho]
    leaves = problem.samples**count if enumerate_samples else 1
    start = problem.start(torch.Generator().manual_seed(seed), 1.0)
    batch = problem.repeat(len(grid) * leaves)
    w = start.repeat_interleave(len(grid) * leaves, 0)
    spread = torch.tensor(grid, dtype=torch.float64, device=w.device).repeat_interleave(leaves, 0)
    eta = spread[:, 0].repeat(problem.size) / batch.L
    radius = spread[:, 1].repeat(problem.size)
    samples = sample_paths(problem.samples, count, problem.size * len(grid)) if enumerate_samples else None
    if samples is None and problem.samples > 1:  # no expectation is taken: any draws will do
        samples = torch.randint(problem.samples, (count, batch.size), generator=torch.Generator().manual_seed(seed + 1))
    fixed = {"samples": samples, "eta": eta, "rho": radius, "count": count, "beta": beta}
    run = stream(rule, batch, w, schedule="".join(schedules), **fixed)

    tallies = {label: Tally(by_label[label], m, problem.width) for label, m in measures.items() if m.per_step}
    wanted = {k: v for m in measures.values() for k, v in m.probes.items()}

    def watch():
        for t, item in enumerate(run):
            for tally in tallies.values() if t < count else ():
                tally.add(tally.measure.evaluate(item), t)
            yield item

    first = torch.arange(0, batch.size, leaves)
    whole = Run(batch.take(first), rule, eta[first], radius[first], record(watch(), wanted, leaves=leaves), count)

    def doubt(claim: Claim, m: Measure, i: int, t: int) -> bool:
        draws = None if samples is None or leaves > 1 else samples[:, i].tolist()
        return confirmed(
            claim, m, batch, rule, i * leaves, t, w=w, eta=eta, rho=radius, count=count, leaves=leaves, samples=draws,
            beta=beta,
        )  # fmt: skip

    extra = {"beta": beta} if beta else {}

    def fold(tally: Tally, T: int) -> list[Outcome]:
        return [
            tally.outcome(
                torch.arange(g, whole.problem.size, len(grid)), problem, rule, doubt, {"h": a, "rho": b, "T": T} | extra
            )
            for g, (a, b) in enumerate(grid)
        ]

    outcomes = [x for tally in tallies.values() if tally.counts for x in fold(tally, count)]
    for label, m in measures.items():
        for before, T in pairwise([0, *sorted(horizons)]) if not m.per_step else ():
            tally = Tally(by_label[label], m, problem.width, weight=(T - before) * leaves)
            tally.add(m.evaluate(whole.until(T)), T)
            outcomes += fold(tally, T)
    return outcomes
