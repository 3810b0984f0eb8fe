"""B2: decreasing steps and radii, log-log against T, the fitted slope beside the predicted one.

Protocol. Fixed horizon: for each T a run of its own with eta = min(1/L, c/sqrt T) and rho = rho_0 T^(-1/4), c = 1/L.
Anytime: one run with eta_t = eta_0/sqrt(t + 1), eta_0 = 1/L, and rho_t = rho_0 (t + 1)^(-1/4) or rho_0/sqrt(t + 1),
read at each T. Without noise the comparison is exact. With noise (`sigma` > 0) the left side is a mean over sample
paths of one problem from one start; what is compared is its lower confidence limit, mean - 4 standard errors of 64
paths (one-sided error 8.5e-5 for each comparison; those of one anytime run share their paths), read once. For the
figure a row keeps the first instance's two sides (`curve`), the same at every T. The slope is least squares over the
last decade of T.
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

Z = 4.0
PATHS = 64  # sample paths of one problem and one start: P(t with 63 degrees of freedom > 4) = 8.5e-5


def _setting(family: str, size: int, generator: torch.Generator, device: str):
    """Many problems and starts without noise; with noise one problem and one start, so that means are expectations.

    A noisy run starts near the minimum, where the noise and not the start makes up the bound.
    """
    problem = FAMILIES[family](size, generator).to(device)
    if problem.samples == 1:
        return problem, problem.start(generator, 3.0)
    one = problem.take(torch.zeros(1, dtype=torch.long, device=device))
    return one.repeat(PATHS), one.start(generator, 0.3).repeat(PATHS, 1)


def _samples(problem, count: int, instances: int, generator: torch.Generator) -> Tensor | None:
    return torch.randint(problem.samples, (count, instances), generator=generator) if problem.samples > 1 else None


def _gap(problem, start: Tensor, last: Tensor) -> Tensor:
    """Delta: the realised decrease, or what is no smaller, 0 or (for a mean over paths) the distance to f*."""
    return (start - (problem.f_star if problem.samples > 1 else last)).clamp(min=0)


def _compare(
    label: str, problem, rule: str, value: Tensor, bound: Tensor, slack: Tensor, T: int, seed: int, kind: str
) -> Row:
    """One row for one T: per-instance comparison without noise; with noise the mean over paths of equal instances."""
    n, sampled = len(value), problem.samples > 1
    limit, spread = bound + slack, 0.0
    if sampled:
        spread = Z * float(value.std()) / math.sqrt(n)
        holds = float(value.mean()) - spread <= float(limit[0])
        measured, right, room = float(value.mean()), float(bound[0]), float(slack[0])
        ratio = (measured - spread) / (right + room)
    else:
        holds = bool((value <= limit).all())
        worst = int((value / limit).nan_to_num(nan=math.inf).argmax())
        measured, right, room = float(value[worst]), float(bound[worst]), float(slack[worst])
        ratio = float(value[worst] / limit[worst])
    verdict = Verdict.HOLDS if holds else Verdict.VIOLATED
    return {
        "claim": label,
        "problem": problem.name,
        "family": problem.name,
        "rule": rule,
        "series": kind,
        "seed": seed,
        "verdict": str(verdict),
        "measured": measured,
        "bound": right,
        "slack": room,
        "interval": spread,
        "ratio": ratio,
        "median": float((value / limit).median()),
        "n": n,
        "counts": {str(verdict): n},
        "constants": {},
        "at": {"T": T},
        "t": T,
        "curve": measured if sampled else float(value[0]),
        "curve_bound": float(bound[0]),
    }


@experiment
def schedule_fixed(
    *, family: str, rule: str, size: int, rho0: float, horizons: list[int], seed: int, device: str = "cpu"
) -> Iterator[Row]:
    """Yield one row for each T, of B2.fixed: B1's left side over t < T against the closed form."""
    generator = torch.Generator().manual_seed(seed)
    problem, start = _setting(family, size, generator, device)
    k = len(horizons)
    batch, w = problem.repeat(k), start.repeat_interleave(k, 0)
    T = torch.tensor(horizons, dtype=torch.float64, device=device).repeat(problem.size)
    c = 1 / batch.L
    eta = torch.minimum(1 / batch.L, c / T.sqrt())
    total = torch.zeros_like(T)
    last = torch.zeros_like(T)
    samples = _samples(problem, max(horizons), batch.size, generator)
    for s in steps(batch, rule, w, eta=eta, rho=rho0 * T**-0.25, count=max(horizons), samples=samples):
        total += torch.where(s.t < T, dot(s.a, s.a) + (1 - eta * batch.L) * dot(s.b, s.b), 0)
        last = torch.where(s.t == T, s.f_w, last)
    gap = _gap(batch, batch.f(w), last)
    value = total / T
    bound = CLAIMS["B2.fixed"](L=batch.L, gap=gap, T=T, rho0=torch.full_like(T, rho0), c=c, sigma2=batch.sigma2)
    for j, horizon in enumerate(horizons):
        pick = slice(j, None, k)
        scale = value[pick] + bound[pick] + 2 * batch.L[pick] * batch.f_noise[pick]
        slack = rounding_slack(torch.float64, horizon, scale, width=problem.width)
        yield _compare("B2.fixed", problem, rule, value[pick], bound[pick], slack, horizon, seed, "fixed")


@experiment
def schedule_anytime(
    *, family: str, rule: str, size: int, rho0: float, horizons: list[int], decay: str, seed: int, device: str = "cpu"
) -> Iterator[Row]:
    """Yield one row for each T, of B2.anytime with realised sums and of B2.quarter or B2.half with the closed form."""
    generator = torch.Generator().manual_seed(seed)
    problem, w = _setting(family, size, generator, device)
    eta0 = 1 / problem.L
    power = {"quarter": -0.25, "half": -0.5}[decay]
    samples = _samples(problem, max(horizons), problem.size, generator)
    weighted = sum_eta = sum_eta2 = sum_p = torch.zeros_like(eta0)
    f0 = problem.f(w)
    run = steps(
        problem,
        rule,
        w,
        eta=lambda t: eta0 / math.sqrt(t + 1),
        count=max(horizons),
        samples=samples,
        rho=lambda t: torch.full_like(eta0, rho0 * (t + 1.0) ** power),
    )
    for s in run:
        if s.t in horizons:
            gap = _gap(problem, f0, s.f_w)
            value = weighted / sum_eta
            common = {"L": problem.L, "gap": gap, "sigma2": problem.sigma2}
            realised = CLAIMS["B2.anytime"](**common, eta0=eta0, sum_eta=sum_eta, sum_eta_p2=sum_p, sum_eta2=sum_eta2)
            slack = rounding_slack(
                torch.float64, s.t, value + realised + problem.L * problem.f_noise, width=problem.width
            )
            yield _compare("B2.anytime", problem, rule, value, realised, slack, s.t, seed, decay)
            if rule == "s2sam":  # the closed forms use p_0 = 0
                T = torch.full_like(eta0, s.t)
                closed = CLAIMS[f"B2.{decay}"](**common, eta0=eta0, rho0=torch.full_like(eta0, rho0), T=T)
                yield _compare(f"B2.{decay}", problem, rule, value, closed, slack, s.t, seed, decay)
        weighted = weighted + s.eta * dot(s.a, s.a)
        sum_eta, sum_eta2 = sum_eta + s.eta, sum_eta2 + s.eta**2
        sum_p = sum_p + s.eta * dot(s.p, s.p)
