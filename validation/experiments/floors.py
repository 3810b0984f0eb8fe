"""B5: the neighbourhood at constant rho is real. f = L w^2/2 in one dimension, S2-SAM and SAM, from w_0 > 0.

Protocol. (1) In rational arithmetic, by the twin: w_T equals its closed form exactly at every T up to `count`. (2) In
float64, batched: |w_T| - rho before rounding ends the run (y_t rounds to 0 after about log(2^53)/log(1/(1-h)) steps, so
the run is read when 2^-36 of y_1 is left), and SAM's cycle after its transient |1-h|^t has fallen below 2^-60. (3) The
two gradient norms along a run, and the two floors against h, for the figures.
"""

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import torch

from theory import CLAIMS
from validation import twin
from validation.cells import Row, experiment
from validation.judge import Verdict, rounding_slack
from validation.problems import worst_case_line
from validation.trajectories import steps


def _row(
    label: str,
    rule: str,
    measured: float,
    bound: float,
    slack: float,
    *,
    h: float,
    rho: float,
    T: int,
    L: float = 1.0,
    w0: float = 1.0,
    n: int = 1,
    **extra: object,
) -> Row:
    error = abs(measured - bound)
    holds = error <= slack
    verdict = Verdict.HOLDS if holds else Verdict.VIOLATED
    ratio = error / slack if slack else (0.0 if holds else math.inf)
    return {
        "claim": label,
        "problem": "line",
        "family": "line",
        "rule": rule,
        "verdict": str(verdict),
        "measured": measured,
        "bound": bound,
        "slack": slack,
        "ratio": ratio,
        "median": ratio,
        "n": n,
        "steps": T,
        "counts": {str(verdict): n},
        "constants": {"L": L, "h": h, "rho": rho, "w0": w0},
        "at": {"h": h, "rho": rho, "T": T},
        "t": T,
        "seed": 0,
        **extra,
    }


def left(bits: int, h: float) -> int:
    """Return the first T at which (1 - h)^(T-1) <= 2^-bits."""
    return 1 + math.ceil(bits * math.log(2) / -math.log1p(-h))


@experiment
def floor_rational(*, h: str, rho: str, w0: str, count: int) -> Iterator[Row]:
    """Yield one row: the largest |w_T - closed form| over T = 1 .. count, an exact rational, which must be 0."""
    step, radius, start = Fraction(h), Fraction(rho), Fraction(w0)
    path = twin.s2sam(lambda x, t: x, np.array([start], dtype=object), eta=step, rho=radius, steps=count)
    weights = [w[0] for w, _, _ in path]
    claim = CLAIMS["B5.s2sam"]
    worst = max(abs(weights[T] - claim(h=step, rho=radius, w0=start, T=T)) for T in range(1, count + 1))
    yield _row(
        "B5.s2sam",
        "s2sam",
        float(worst),
        0.0,
        0.0,
        h=float(step),
        rho=float(radius),
        T=count,
        n=count,
        seed=0,
        arithmetic="rational",
        series="exact",
    )


@experiment
def floor_float(*, h: list[float], rho: float, w0: list[float], L: float) -> Iterator[Row]:
    """Yield, for each h, S2-SAM's distance rho and SAM's gradient L rho h/(2 - h), with their closed forms."""
    problem = worst_case_line(len(w0), L)
    start = torch.tensor(w0, dtype=torch.float64)[:, None]
    radius = torch.full((len(w0),), rho, dtype=torch.float64)
    for value in h:
        fixed = {"eta": value / problem.L, "rho": radius}
        if value < 1:
            T = left(36, value)
            *_, last = steps(problem, "s2sam", start, count=T, **fixed)
            for w, begin in zip(last.w[:, 0].tolist(), w0, strict=True):
                bound = CLAIMS["B5.s2sam"](h=value, rho=rho, w0=begin, T=T)
                slack = rounding_slack(torch.float64, T, begin + rho, width=1)
                yield _row("B5.s2sam", "s2sam", w, bound, slack, h=value, rho=rho, T=T, L=L, w0=begin, series="floor",
                           distance=abs(w) - rho)  # fmt: skip
        # off the cycle a point closes in by |1 - h| a step once the sign alternates: after at most w0/(rho h) steps
        T = (2 if value == 1 else left(60, min(value, 2 - value))) + math.ceil(max(w0) / (rho * value))
        *_, last = steps(problem, "sam", start, count=T, **fixed)
        for a, begin in zip(last.a[:, 0].abs().tolist(), w0, strict=True):
            slack = rounding_slack(torch.float64, T, L * (begin + rho), width=1) + 2.0**-60 * L * (begin + rho)
            bound = CLAIMS["B5.sam"](L=L, h=value, rho=rho)
            yield _row("B5.sam", "sam", a, bound, slack, h=value, rho=rho, T=T, L=L, w0=begin, series="floor")


@experiment
def floor_paths(*, h: list[float], rho: float, w0: float, count: int) -> Iterator[Row]:
    """Yield the gradient norms |grad f(w_t)| of S2-SAM and SAM along a run, for the figure; no verdict of their own."""
    for value in h:
        for rule in ("s2sam", "sam"):
            stop = count if rule == "sam" or value >= 1 else min(count, left(36, value))
            run = steps(
                worst_case_line(1),
                rule,
                torch.full((1, 1), w0, dtype=torch.float64),
                count=stop,
                eta=torch.tensor([value], dtype=torch.float64),
                rho=torch.tensor([rho], dtype=torch.float64),
            )
            norms = [abs(float(s.w)) for s in run]
            yield {
                "claim": "B5.s2sam" if rule == "s2sam" else "B5.sam",
                "rule": rule,
                "problem": "line",
                "family": "line",
                "series": "path",
                "at": {"h": value, "rho": rho},
                "x": list(range(len(norms))),
                "y": norms,
                "seed": 0,
            }
