"""Sweep: random certified problems on a grid of step sizes and radii; every claim that applies is measured on each run.

Protocol. A family of N random instances; every instance meets every pair (h = eta L, rho), from a start at distance 1.
Claims about single steps keep the worst step; claims about whole runs are read at several horizons T. With
`enumerate_samples` all sample paths are run, so that an expectation is a finite sum and no statistical test is needed.
"""

from collections.abc import Iterator
from dataclasses import asdict

import torch
from torch import Tensor

from validation.cells import Row, experiment
from validation.check import examine
from validation.judge import Outcome
from validation.measures import MEASURES
from validation.problems import FAMILIES
from validation.shipped import SHIPPED


def outcome_row(outcome: Outcome, **extra: object) -> Row:
    """Return an Outcome as a row."""
    return {**asdict(outcome), "verdict": str(outcome.verdict), **extra}


def applicable(
    labels: list[str], rule: str, problem, enumerate_samples: bool, beta: float = 0.0, schedule: str = ""
) -> dict:
    """Return the measures that speak of these runs and this problem; in expectation, those of whole runs only."""
    name = SHIPPED.get(rule, rule)
    chosen = {}
    for label in labels:
        m = MEASURES.get(label)
        if m is None or name not in m.rules or m.momentum != (beta > 0) or m.schedule != schedule:
            continue
        if not m.applies(problem):
            continue
        in_mean = problem.samples > 1 and not m.per_step
        if in_mean == enumerate_samples:
            chosen[label] = m
    return chosen


def random_masks(shape: torch.Size, sparsity: float, generator: torch.Generator) -> Tensor:
    """Return a mask for each instance, (N, d) bool, with d - floor(sparsity d) entries kept, at least one."""
    keep = max(1, shape[1] - int(sparsity * shape[1] + 1e-6))
    rank = torch.rand(shape, generator=generator).argsort(1).argsort(1)
    return rank < keep


@experiment
def sweep(
    *,
    labels: list[str],
    family: str,
    rule: str,
    size: int,
    h: list[float],
    rho: list[float],
    count: int,
    horizons: list[int],
    seed: int,
    device: str = "cpu",
    enumerate_samples: bool = False,
    sparsity: float = 0.0,
    beta: float = 0.0,
    schedule: str = "",
) -> Iterator[Row]:
    """Yield one row for each claim, h, rho (and T); with a sparsity, on the restrictions to random masks.

    A schedule (`streams.DECAY`) measures the claims that speak of it; h and rho are then its first.
    """
    generator = torch.Generator().manual_seed(seed)
    problem = FAMILIES[family](size, generator)
    if sparsity:
        problem = problem.restrict(random_masks(problem.center.shape, sparsity, generator))
        family = f"{family}-masked"
    problem = problem.to(device)
    measures = applicable(list(labels), rule, problem, enumerate_samples, beta, schedule)
    if not measures:
        return
    for outcome in examine(
        problem,
        rule,
        measures,
        h=h,
        rho=rho,
        count=count,
        horizons=horizons,
        seed=seed + 1,
        enumerate_samples=enumerate_samples,
        beta=beta,
    ):
        yield outcome_row(outcome, family=family, seed=seed, exact_mean=enumerate_samples)
