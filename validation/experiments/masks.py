"""B8: sparse training. On a fixed support masked S2-SAM is S2-SAM on the restriction; changing masks cost their jumps.

Protocol. Random masks at several sparsities, one per instance. Fixed: the two paths side by side, largest difference
over all steps. Changing: a new random mask of the same size every `every` steps, drawn before the step's gradient; the
jumps f(after) - f(before) enter Delta as realised, and the left side takes masked gradients.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from theory import CLAIMS
from validation.cells import Row, experiment
from validation.experiments.sweep import outcome_row, random_masks
from validation.judge import Tally
from validation.measures import Measure, Measured, mean
from validation.measures.convergence import descent
from validation.problems import FAMILIES
from validation.step import dot, norm
from validation.trajectories import Run, record, steps


def _setting(family: str, size: int, sparsity: float, h: float, rho: float, seed: int):
    generator = torch.Generator().manual_seed(seed)
    problem = FAMILIES[family](size, generator)
    w = problem.start(generator, 1.0)
    mask = random_masks(w.shape, sparsity, generator)
    return problem, w, mask, {"eta": h / problem.L, "rho": torch.full_like(problem.L, rho)}, generator


@experiment
def mask_fixed(
    *, family: str, size: int, sparsity: float, h: float, rho: float, count: int, seed: int
) -> Iterator[Row]:
    """Yield one row: the largest distance between the masked run and the run on the restriction, which must be 0."""
    problem, w, mask, fixed, _ = _setting(family, size, sparsity, h, rho, seed)
    masked = steps(problem, "s2sam", w, count=count, masks=mask, **fixed)
    restricted = steps(problem.restrict(mask), "s2sam", torch.where(mask, w, 0.0), count=count, **fixed)
    compare = Measure(rules=("s2sam",), evaluate=lambda pair: Measured(norm(pair[0].w - pair[1].w), {}, 0.0))
    tally = Tally(CLAIMS["B8"], compare, problem.width)
    for t, pair in enumerate(zip(masked, restricted, strict=True)):
        tally.add(compare.evaluate(pair), t)
    at = {"h": h, "rho": rho, "T": count, "sparsity": sparsity}
    outcome = tally.outcome(torch.arange(size), problem, "s2sam", lambda *_: True, at)
    yield outcome_row(outcome, family=family, seed=seed)


@experiment
def mask_changing(
    *, family: str, size: int, sparsity: float, h: float, rho: float, count: int, every: int, seed: int
) -> Iterator[Row]:
    """Yield one row for B8.changing: B1 with the realised jumps added to Delta."""
    problem, w, _, fixed, generator = _setting(family, size, sparsity, h, rho, seed)
    table = [random_masks(w.shape, sparsity, generator) for _ in range(count // every + 1)]
    at_mask = lambda t: table[t // every]  # noqa: E731

    def jump(s) -> Tensor:
        if s.previous is None:
            return torch.zeros_like(problem.L)
        return s.f_w - problem.f(s.previous.w - s.previous.eta[:, None] * s.previous.g)

    def kept(s, x: Tensor) -> Tensor:
        x = torch.where(at_mask(s.t), x, 0.0)
        return dot(x, x)

    probes = {
        "f": lambda s: s.f_w,
        "jump": jump,
        "p_sq": lambda s: dot(s.p, s.p),
        "a_sq": lambda s: kept(s, s.a),
        "b_sq": lambda s: kept(s, problem.grad(s.y)),
        "noise": lambda s: problem.f_size(s.w) + norm(s.a) * norm(s.w),
    }
    records = record(steps(problem, "s2sam", w, count=count, masks=at_mask, **fixed), probes)
    run = Run(problem, "s2sam", fixed["eta"], fixed["rho"], records, count)

    def evaluate(run: Run) -> Measured:
        m = descent(run, mean(run["a_sq"]) + (1 - run.eta * problem.L) * mean(run["b_sq"]))
        jumps = sum(run.at("jump", t) for t in range(1, run.T)) + run.at("jump", -1)
        return Measured(m.value, {**m.constants, "jumps": jumps}, m.scale)

    measure = Measure(rules=("s2sam",), evaluate=evaluate, probes=probes)
    tally = Tally(CLAIMS["B8.changing"], measure, problem.width, weight=count)
    tally.add(evaluate(run), count)
    outcome = tally.outcome(
        torch.arange(size),
        problem,
        "s2sam",
        lambda *_: True,
        {"h": h, "rho": rho, "T": count, "sparsity": sparsity, "every": every},
    )
    yield outcome_row(outcome, family=family, seed=seed)
