"""B2: decreasing steps and radii, log-log against T, the fitted slope beside the predicted one; no noise.

Protocol. Fixed horizon: for each T a run of its own with eta = min(1/L, c/sqrt T) and rho = rho_0 T^(-1/4), c = 1/L.
Anytime: one run with eta_t = eta_0/sqrt(t + 1), eta_0 = 1/L, and rho_t = rho_0 (t + 1)^(-1/4) or rho_0/sqrt(t + 1),
read at each T. Long runs with noise are those of `expectation`, short ones with all sample paths those of `sweep`. For
the figure a row keeps the first instance's two sides (`curve`), the same at every T. The slope is least squares over
the last decade of T.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from theory import CLAIMS
from validation.cells import Row, experiment
from validation.judge import Verdict, rounding_slack
from validation.problems import FAMILIES
from validation.step import dot
from validation.trajectories import steps


def _gap(start: Tensor, last: Tensor) -> Tensor:
    """Delta: the realised decrease, or what is no smaller, 0."""
    return (start - last).clamp(min=0)


def _compare(
    label: str, problem, rule: str, value: Tensor, bound: Tensor, slack: Tensor, T: int, seed: int, kind: str, last: int
) -> Row:
    """One row for one T: the worst of the comparisons of all instances; `last` is the T of the row before."""
    n, limit = len(value), bound + slack
    holds = bool((value <= limit).all())
    worst = int((value / limit).nan_to_num(nan=math.inf).argmax())
    verdict = Verdict.HOLDS if holds else Verdict.VIOLATED
    return {
        "claim": label,
        "problem": problem.name,
        "family": problem.name,
        "rule": rule,
        "series": kind,
        "seed": seed,
        "verdict": str(verdict),
        "measured": float(value[worst]),
        "bound": float(bound[worst]),
        "slack": float(slack[worst]),
        "ratio": float(value[worst] / limit[worst]),
        "median": float((value / limit).median()),
        "n": n,
        "steps": n * (T - last),
        "counts": {str(verdict): n},
        "constants": {},
        "at": {"T": T},
        "t": T,
        "curve": float(value[0]),
        "curve_bound": float(bound[0]),
    }


@experiment
def schedule_fixed(
    *, family: str, rule: str, size: int, rho0: float, horizons: list[int], seed: int, device: str = "cpu"
) -> Iterator[Row]:
    """Yield one row for each T, of B2.fixed: B1's left side over t < T against the closed form."""
    generator = torch.Generator().manual_seed(seed)
    problem = FAMILIES[family](size, generator).to(device)
    start = problem.start(generator, 3.0)
    k = len(horizons)
    batch, w = problem.repeat(k), start.repeat_interleave(k, 0)
    T = torch.tensor(horizons, dtype=torch.float64, device=device).repeat(problem.size)
    c = 1 / batch.L
    eta = torch.minimum(1 / batch.L, c / T.sqrt())
    total = torch.zeros_like(T)
    last = torch.zeros_like(T)
    for s in steps(batch, rule, w, eta=eta, rho=rho0 * T**-0.25, count=max(horizons)):
        total += torch.where(s.t < T, dot(s.a, s.a) + (1 - eta * batch.L) * dot(s.b, s.b), 0)
        last = torch.where(s.t == T, s.f_w, last)
    gap = _gap(batch.f(w), last)
    value = total / T
    bound = CLAIMS["B2.fixed"](L=batch.L, gap=gap, T=T, rho0=torch.full_like(T, rho0), c=c, sigma2=batch.sigma2)
    for j, horizon in enumerate(horizons):
        pick = slice(j, None, k)
        scale = value[pick] + bound[pick] + 2 * batch.L[pick] * batch.f_noise[pick]
        slack = rounding_slack(torch.float64, horizon, scale, width=problem.width)
        yield _compare("B2.fixed", problem, rule, value[pick], bound[pick], slack, horizon, seed, "fixed", 0)


@experiment
def schedule_anytime(
    *, family: str, rule: str, size: int, rho0: float, horizons: list[int], decay: str, seed: int, device: str = "cpu"
) -> Iterator[Row]:
    """Yield one row for each T, of B2.anytime with realised sums and of B2.quarter or B2.half with the closed form."""
    generator = torch.Generator().manual_seed(seed)
    problem = FAMILIES[family](size, generator).to(device)
    w = problem.start(generator, 3.0)
    eta0 = 1 / problem.L
    power = {"quarter": -0.25, "half": -0.5}[decay]
    weighted = sum_eta = sum_eta2 = sum_p = torch.zeros_like(eta0)
    f0 = problem.f(w)
    run = steps(
        problem,
        rule,
        w,
        eta=lambda t: eta0 / math.sqrt(t + 1),
        count=max(horizons),
        rho=lambda t: torch.full_like(eta0, rho0 * (t + 1.0) ** power),
    )
    last = 0
    for s in run:
        if s.t in horizons:
            gap = _gap(f0, s.f_w)
            value = weighted / sum_eta
            common = {"L": problem.L, "gap": gap, "sigma2": problem.sigma2}
            realised = CLAIMS["B2.anytime"](**common, eta0=eta0, sum_eta=sum_eta, sum_eta_p2=sum_p, sum_eta2=sum_eta2)
            slack = rounding_slack(
                torch.float64, s.t, value + realised + problem.L * problem.f_noise, width=problem.width
            )
            yield _compare("B2.anytime", problem, rule, value, realised, slack, s.t, seed, decay, last)
            if rule == "s2sam":  # the closed forms use p_0 = 0
                T = torch.full_like(eta0, s.t)
                closed = CLAIMS[f"B2.{decay}"](**common, eta0=eta0, rho0=torch.full_like(eta0, rho0), T=T)
                yield _compare(f"B2.{decay}", problem, rule, value, closed, slack, s.t, seed, decay, last)
            last = s.t
        weighted = weighted + s.eta * dot(s.a, s.a)
        sum_eta, sum_eta2 = sum_eta + s.eta, sum_eta2 + s.eta**2
        sum_p = sum_p + s.eta * dot(s.p, s.p)
