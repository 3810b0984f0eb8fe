"""A small convolutional network on the digits, trained by the S2SAM class: the claims along a real run.

Protocol. `network_claims`: full-batch training in float64 on the first `images` digits. The smoothness constant of a
network is not known; L is estimated as the largest secant ||grad f(u) - grad f(v)||/||u - v|| over all points that the
run visited, and every row that uses it says so (`estimate`). Such a row supports a claim or casts doubt on the
estimate; it cannot refute. `network_alignment`: mini-batch training as in practice; at regular steps the cosine to the
full training gradient of the direction S2-SAM perturbs along (the previous step's gradient), and of the one that
same-batch SAM would use.
"""

from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Any

import torch
from torch import Tensor

from s2sam import S2SAM
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
USES_L = ("A2", "A2.cos", "A3", "A3.start", "A3.step", "A5", "B1", "B1'")


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
def network_claims(*, labels: list[str], images: int, eta: float, rho: float, count: int, seed: int) -> Iterator[Row]:
    """Yield one row for each claim, measured along full-batch S2-SAM on the digits, with an estimated L."""
    torch.manual_seed(seed)
    x, y = digits()
    problem = NetworkLoss(CompactCNN(), x[:images], y[:images], "digits-cnn")
    fixed: dict[str, Any] = {k: torch.tensor([x], dtype=torch.float64) for k, x in {"eta": eta, "rho": rho}.items()}
    run = list(optimizer_steps(problem, "S2SAM", problem.start(), count=count, **fixed))
    for before, after in pairwise(run):
        after.previous = before
    problem.L = torch.tensor([largest_secant(run)], dtype=torch.float64)
    at = {"h": eta * float(problem.L), "rho": rho, "T": count}
    for label in labels:
        m = MEASURES[label]
        tally = Tally(CLAIMS[label], m, problem.width)
        if m.per_step:
            for s in run[:-1]:
                tally.add(m.evaluate(s), s.t)
        else:
            tally.add(
                m.evaluate(Run(problem, "s2sam", fixed["eta"], fixed["rho"], record(run, m.probes), count)), count
            )
        outcome = tally.outcome(torch.tensor([0]), problem, "S2SAM", lambda *_: True, at)
        yield outcome_row(outcome, family="digits-cnn", seed=seed, estimate=label in USES_L, L_hat=float(problem.L))


def _flat(gradients: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    return torch.cat([g.detach().reshape(-1) for g in gradients]).double()


def _cos(u: Tensor, v: Tensor) -> float:
    size = float(u.norm() * v.norm())
    return float(u @ v) / size if size else 0.0


@experiment
def network_alignment(
    *, batch: int, eta: float, momentum: float, rho: float, count: int, every: int, seed: int
) -> Iterator[Row]:
    """Yield one series row for each direction: its cosine to the full gradient along S2-SAM training."""
    torch.manual_seed(seed)
    x, y = digits()
    model, loss_fn = CompactCNN(), torch.nn.functional.cross_entropy
    parameters = list(model.parameters())
    opt = S2SAM(torch.optim.SGD(parameters, lr=eta, momentum=momentum), rho=rho)
    draw = torch.Generator().manual_seed(seed)
    previous: Tensor | None = None
    series: dict[str, list[float]] = {"step": [], "stale-full": [], "batch-full": [], "stale-batch": [], "loss": []}
    for t in range(count):
        index = torch.randint(len(y), (batch,), generator=draw)
        if previous is not None and t % every == 0:
            full_loss = loss_fn(model(x), y)
            full = _flat(torch.autograd.grad(full_loss, parameters))
            same = _flat(torch.autograd.grad(loss_fn(model(x[index]), y[index]), parameters))
            values = (t, _cos(previous, full), _cos(same, full), _cos(previous, same), float(full_loss.detach()))
            for column, value in zip(series.values(), values, strict=True):
                column.append(value)
        with opt.perturbed():
            loss = loss_fn(model(x[index]), y[index])
            loss.backward()
        previous = _flat([p.grad for p in parameters if p.grad is not None])
        opt.step()
        opt.zero_grad()
    for name in ("stale-full", "batch-full", "stale-batch", "loss"):
        yield {
            "claim": "A5",
            "problem": "digits-cnn",
            "family": "digits-cnn",
            "rule": "S2SAM",
            "series": name,
            "seed": seed,
            "at": {"batch": batch, "rho": rho},
            "x": series["step"],
            "y": series[name],
        }
