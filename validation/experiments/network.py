"""A small convolutional network on the digits, trained by the S2SAM class: the claims along a real run.

Protocol. `network_claims`: full-batch training in float64 on the first `images` digits. The smoothness constant of a
network is not known; L is estimated as the largest secant ||grad f(u) - grad f(v)||/||u - v|| over all points that the
run visited, and every row that uses it says so (`estimate`). Such a row supports a claim or casts doubt on the
estimate; it cannot refute. B9 is measured so with momentum. Its step size must not exceed (1 - beta)^2/((1 + beta) L):
0.005/L at beta = 0.9, where practice takes some 0.1 whatever L is, so beta is 0.5 here, and a run that is long enough
for L to grow (from 0.3 to about 20 on the digits, once training leaves its first plateau) is judged outside the domain,
as B1 is. What directions do in mini-batch training is measured in `validation.experiments.alignment`.
"""

from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Any

import torch

from theory import CLAIMS
from validation.cells import Row, experiment
from validation.datasets import digits
from validation.experiments.sweep import outcome_row
from validation.judge import Tally
from validation.measures import MEASURES
from validation.models import CompactCNN
from validation.network_loss import NetworkLoss
from validation.shipped import optimizer_steps
from validation.step import Step, norm
from validation.trajectories import Run, record

STEP_CLAIMS = ("A1", "A1.cos", "A2", "A2.cos", "A3", "A3.start", "A3.step", "A5", "B6", "B6.distance")
RUN_CLAIMS = ("B1", "B1'")
MOMENTUM_CLAIMS = ("B9",)
USES_L = ("A2", "A2.cos", "A3", "A3.start", "A3.step", "A5", *RUN_CLAIMS, *MOMENTUM_CLAIMS)


def largest_secant(run: list[Step]) -> float:
    """Return the largest secant slope of the gradient between neighbouring points: w_t, y_t, w_{t+1}, SAM's y.

    Points closer than 2^-26 of their size are left out: the rounding of their gradients would be the larger part.
    """
    best = 0.0
    for s, after in pairwise(run):
        sam = s.w + s.p_sam
        points = [(s.w, s.a), (s.y, s.b), (sam, s.problem.grad(sam)), (after.w, after.a)]
        for (u, x), (v, z) in combinations(points, 2):
            distance = float(norm(u - v))
            if distance > 2.0**-26 * float(norm(u) + norm(v)):
                best = max(best, float(norm(x - z)) / distance)
    return best


@experiment
def network_claims(
    *, labels: list[str], images: int, eta: float, rho: float, count: int, seed: int, beta: float = 0.0
) -> Iterator[Row]:
    """Yield one row for each claim, measured along full-batch S2-SAM on the digits, with an estimated L."""
    torch.manual_seed(seed)
    x, y = digits()
    problem = NetworkLoss(CompactCNN(), x[:images], y[:images], "digits-cnn")
    fixed: dict[str, Any] = {k: torch.tensor([x], dtype=torch.float64) for k, x in {"eta": eta, "rho": rho}.items()}
    run = list(optimizer_steps(problem, "S2SAM", problem.start(), count=count, beta=beta, **fixed))
    for before, after in pairwise(run):
        after.previous = before
    problem.L = torch.tensor([largest_secant(run)], dtype=torch.float64)
    at = {"h": eta * float(problem.L), "rho": rho, "T": count} | ({"beta": beta} if beta else {})
    for label in labels:
        m = MEASURES[label]
        tally = Tally(CLAIMS[label], m, problem.width, weight=1 if m.per_step else count)
        if m.per_step:
            for s in run[:-1]:
                tally.add(m.evaluate(s), s.t)
        else:
            tally.add(
                m.evaluate(Run(problem, "s2sam", fixed["eta"], fixed["rho"], record(run, m.probes), count)), count
            )
        outcome = tally.outcome(torch.tensor([0]), problem, "S2SAM", lambda *_: True, at)
        yield outcome_row(outcome, family="digits-cnn", seed=seed, estimate=label in USES_L, L_hat=float(problem.L))
