"""B10: where S2-SAM ends at constant radius on quadratics of two dimensions and more.

Protocol. `orbit_isotropic`: f = (L/2)||w||^2, from a random start and a random unit direction d_{-1}, every (h, rho);
the mean square gradient is read at several horizons. `orbit_search`: quadratics in their axes, L = rho = 1, a search
for a run that ends below max(1 - q, sqrt(h)), the conjecture. In each round every h has `size` runs from random starts;
in the first, q is uniform in [Q, 1); in the next, the spectra are drawn around the tenth that came lowest. limsup
||grad f(w_t)|| is estimated by the maximum over the last half of the run. A run approaches its limit set within some
1/(h q) steps, so one that ends below the conjecture is repeated `LONGER` times as long; what the maximum still changes
between the third quarter of the run and the last half is allowed as slack.
"""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from theory import CLAIMS
from validation.cells import Row, experiment
from validation.draw import normal, quadratic
from validation.experiments.sweep import outcome_row
from validation.judge import Tally, Verdict, rounding_slack
from validation.measures import Measure, Measured, mean
from validation.measures.base import largest
from validation.problems import Quadratic
from validation.step import Step, dot, norm, scale, unit
from validation.trajectories import Rule, Run, View, record, steps

Q = 0.1  # smallest second curvature of the search
LONGER = 8


def started(first: Tensor) -> Rule:
    """Return S2-SAM with the directions `first`, (N, d), in place of the d_{-1} = 0 of its first step."""

    def s2sam(view: View) -> Tensor:
        return torch.where((view.g == 0).all(1, keepdim=True), first, view.g)

    return s2sam


def _side(s: Step) -> Tensor:
    """Area of the parallelogram of w and d_{t-1}: the part of w off d."""
    x, d = s.w - s.problem.center, unit(s.p)
    return norm(x - scale(dot(x, d), d)) / s.rho


PROBES = {
    "a_sq": lambda s: dot(s.a, s.a),
    "W": lambda s: s.dist_sq / s.rho**2,
    "area": _side,
    "size": lambda s: (s.problem.L * (norm(s.w) + norm(s.problem.center) + s.rho)) ** 2,
}


def isotropic_mean(run: Run) -> Measured:
    """B10.isotropic's left side and constants; the logarithm magnifies the rounding of the area."""
    L, W, area = run.problem.L, run.at("W", 0), run.at("area", 0)
    constants = {"L": L, "h": run.eta * L, "rho": run.rho, "W": W, "area": area, "T": run.T}
    return Measured(mean(run["a_sq"]), constants, largest(run["size"]) * (1 + (1 + W.sqrt()) / area / run.T))


@experiment
def orbit_isotropic(
    *, size: int, dim: int, h: list[float], rho: list[float], count: int, horizons: list[int], seed: int
) -> Iterator[Row]:
    """Yield one row for each h, rho and T: B10.isotropic over random starts and first directions."""
    generator = Generator().manual_seed(seed)
    problem = quadratic(size, dim, generator=generator, kind="isotropic")
    w, first = problem.start(generator, 1.0), unit(normal(size, dim, generator=generator))
    measure = Measure(rules=("s2sam",), evaluate=isotropic_mean, probes=PROBES)
    for step in h:
        for radius in rho:
            fixed = {"eta": step / problem.L, "rho": torch.full_like(problem.L, radius)}
            rule = started(first)
            records = record(steps(problem, rule, w, count=count, **fixed), PROBES)
            whole = Run(problem, rule, fixed["eta"], fixed["rho"], records, count)
            for T in horizons:
                tally = Tally(CLAIMS["B10.isotropic"], measure, problem.width)
                tally.add(isotropic_mean(whole.until(T)), T)
                at = {"h": step, "rho": radius, "T": T, "dim": dim}
                outcome = tally.outcome(torch.arange(size), problem, rule, lambda *_: True, at)
                yield outcome_row(outcome, family="isotropic", seed=seed)


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
            "seed": seed,
            "series": "search",
            "x": at_q.tolist(),
            "y": last.tolist(),
            "lowest": [row[k] for row in lowest],
        }
