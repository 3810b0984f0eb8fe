"""B10: where S2-SAM ends at constant radius on quadratics of two dimensions and more.

Protocol. `orbit_isotropic`: f = (L/2)||w||^2, from a random start and a unit direction d_{-1}, the first axis (any
other is a rotation of it), every (h, rho); the mean square gradient is read at several horizons. `orbit_search`:
quadratics in their axes, L = rho = 1, a search for a run that ends below max(1 - q, sqrt(h)), the conjecture. In each
round every h has `size` runs from random starts; in the first, q is uniform in [Q, 1); in the next, the spectra are
drawn around the tenth that came lowest. limsup ||grad f(w_t)|| is estimated by the maximum over the last half of the
run. A run approaches its limit set within some 1/(h q) steps, so one that ends below the conjecture is repeated
`LONGER` times as long; what the maximum still changes between the third quarter of the run and the last half is allowed
as slack. `orbit_limit`: the conjecture's second half, the same estimate over (1 - q) as h is halved again and again, q
held; it should tend to 1. No finite h refutes a limit, so these rows have no verdict: they hold the excess over 1, and
the slope of its logarithm over the last halving of h, which a limit of 1 makes positive in the end.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Generator, Tensor

from theory import CLAIMS
from validation.cells import Row, experiment
from validation.check import examine
from validation.draw import normal, quadratic
from validation.experiments.sweep import outcome_row
from validation.judge import Verdict, rounding_slack
from validation.measures import MEASURES
from validation.problems import Quadratic
from validation.step import norm
from validation.trajectories import steps

Q = 0.1  # smallest second curvature of the search
LONGER = 8
PATIENCE = 20  # length of a run in units of 1/(h q)


@experiment
def orbit_isotropic(
    *, size: int, dim: int, h: list[float], rho: list[float], count: int, horizons: list[int], seed: int
) -> Iterator[Row]:
    """Yield one row for each h, rho and T: B10.isotropic over random starts."""
    problem = quadratic(size, dim, generator=Generator().manual_seed(seed), kind="isotropic")
    measures = {"B10.isotropic": MEASURES["B10.isotropic"]}
    run: dict[str, Any] = {"h": h, "rho": rho, "count": count, "horizons": horizons, "seed": seed + 1}
    for outcome in examine(problem, "s2sam-turned", measures, **run):
        yield outcome_row(outcome, family="isotropic", seed=seed) | {"at": {**outcome.at, "dim": dim}}


def tails(spectrum: Tensor, w: Tensor, h: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest ||grad f|| over the last half of a run with L = rho = 1, and over the quarter before it."""
    problem = Quadratic.of(torch.diag_embed(spectrum), torch.zeros_like(spectrum), name="axes")
    before = last = torch.zeros_like(h)
    for s in steps(problem, "s2sam", w, eta=h, rho=torch.ones_like(h), count=count):
        if s.t >= count // 2:
            last = last.maximum(norm(s.a))
        elif s.t >= count // 4:
            before = before.maximum(norm(s.a))
    return last, before


def spectra(q: Tensor, dim: int, generator: Generator) -> Tensor:
    """Return curvatures (N, dim): 1, q, and the others uniform below q."""
    part = torch.rand(len(q), dim, generator=generator, dtype=torch.float64) * q[:, None]
    part[:, 0], part[:, 1] = 1.0, q
    return part


@experiment
def orbit_search(*, dim: int, size: int, h: list[float], rounds: int, count: int, seed: int) -> Iterator[Row]:
    """Yield one row for each h: the lowest limit found, beside the conjecture; x and y are q and limit of all runs."""
    generator = Generator().manual_seed(seed)
    step = torch.tensor(h, dtype=torch.float64).repeat_interleave(size)
    q = Q + (1 - Q) * torch.rand(len(step), generator=generator, dtype=torch.float64)
    claim, seen, lowest = CLAIMS["B10.conjecture"], [], []
    for _ in range(rounds):
        spectrum, w = spectra(q, dim, generator), normal(len(q), dim, generator=generator)
        last, before = tails(spectrum, w, step, count)
        limit = claim(L=1, h=step, rho=1, q=q)
        slack = (last - before).abs() + rounding_slack(torch.float64, count, 1.0, width=dim)
        low = (last < limit).nonzero()[:, 0]
        if len(low):
            last[low], before = tails(spectrum[low], w[low], step[low], LONGER * count)
            slack[low] = (last[low] - before).abs() + rounding_slack(torch.float64, LONGER * count, 1.0, width=dim)
        ratio = (limit - slack) / last
        seen.append((q, last, limit, slack, ratio))
        table = (limit / last).view(len(h), size)
        lowest.append((1 / table.amax(1)).tolist())
        worst = table.argsort(1, descending=True)[:, : max(1, size // 10)]
        parents = q.view(len(h), size).gather(1, worst[:, torch.randint(worst.shape[1], (size,), generator=generator)])
        q = (parents + 0.03 * torch.randn(parents.shape, generator=generator, dtype=torch.float64)).reshape(-1)
        q = q.clamp(Q, 0.999)
    columns = [torch.cat([x.view(len(h), size) for x in column], 1) for column in zip(*seen, strict=True)]
    for k, value in enumerate(h):
        at_q, last, limit, slack, ratio = (column[k] for column in columns)
        fails = last < limit - slack
        i = int(ratio.argmax())
        n, broken = len(ratio), int(fails.sum())
        yield {
            "claim": claim.label,
            "problem": "axes",
            "family": "axes",
            "rule": "s2sam",
            "verdict": str(Verdict.VIOLATED if broken else Verdict.HOLDS),
            "measured": float(last[i]),
            "bound": float(limit[i]),
            "slack": float(slack[i]),
            "ratio": float(ratio[i]),
            "median": float(ratio.median()),
            "n": n,
            "counts": {k: v for k, v in {"HOLDS": n - broken, "VIOLATED": broken}.items() if v},
            "constants": {"L": 1.0, "h": value, "rho": 1.0, "q": float(at_q[i])},
            "at": {"h": value, "rho": 1.0, "T": count, "dim": dim},
            "t": count,
            "steps": n * count,
            "seed": seed,
            "series": "search",
            "x": at_q.tolist(),
            "y": last.tolist(),
            "lowest": [row[k] for row in lowest],
        }


@experiment
def orbit_limit(*, dim: int, size: int, q: list[float], halvings: int, seed: int) -> Iterator[Row]:
    """Yield one row for each q: the excess of limsup ||grad f||/((1 - q) L rho) over 1 against h = 1/2, 1/4, ..."""
    generator = Generator().manual_seed(seed)
    at_q = torch.tensor(q, dtype=torch.float64).repeat_interleave(size)
    steps_of = [0.5**k for k in range(1, halvings + 1)]
    columns, taken = [], 0
    for h in steps_of:
        count = math.ceil(PATIENCE / (h * min(q)))
        spectrum, w = spectra(at_q, dim, generator), normal(len(at_q), dim, generator=generator)
        last, _ = tails(spectrum, w, torch.full_like(at_q, h), count)
        columns.append((last / (1 - at_q) - 1).view(len(q), size))
        taken += size * count
    for k, value in enumerate(q):
        tops, middles = ([float(f(column[k])) for column in columns] for f in (torch.amax, torch.median))
        yield {
            "claim": "B10.conjecture", "problem": "axes", "family": "axes", "rule": "s2sam", "series": "limit",
            "at": {"rho": 1.0, "dim": dim, "q": value}, "seed": seed, "x": steps_of, "y": tops, "median_y": middles,
            "slope": math.log2(tops[-2] / tops[-1]), "steps": taken,
        }  # fmt: skip
