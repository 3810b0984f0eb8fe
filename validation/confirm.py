"""Doubt: repeat a failed comparison by the literal twin in 50-digit arithmetic, where rounding cannot be the reason."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import mpmath
import numpy as np

from theory import Claim
from validation import twin
from validation.arrays import exact
from validation.measures.base import Measure, Measured
from validation.shipped import SHIPPED
from validation.step import Step
from validation.streams import scheduled
from validation.trajectories import Rule, Run, View, record, resolve

DIGITS = 50


def twin_steps(
    problem, rule: str | Rule, w: Any, *, eta: Any, rho: Any, count: int, samples: Any = None, beta: Any = 0
) -> list[Step]:
    """Return the Steps t = 0 .. count of the literal twin on one instance, in the arithmetic of w, eta and rho."""
    fixed = {"eta": eta, "rho": rho, "beta": beta}
    if isinstance(rule, str):
        path, replays = twin.run(problem, rule, w, steps=count, samples=samples, **fixed), None
    else:
        path, replays = _followed(problem, rule, w, count, samples, fixed)
    result: list[Step] = []
    v = w - w
    for t, (at, p, g) in enumerate(path):
        index = None if samples is None or t == count else samples[t]
        zero = at - at
        now = {"eta": twin.at(eta, t), "rho": twin.at(rho, t), "beta": beta}
        result.append(
            Step(
                problem,
                rule,
                t,
                at,
                zero if p is None else p,
                zero if g is None else g,
                index=index,
                replay=replays[t] if replays and index is not None else None,
                v=v if beta else None,
                previous=result[-1] if result else None,
                **now,
            )
        )
        v = v if g is None else beta * v + g
    return result


def _followed(problem, rule: Rule, w: Any, count: int, samples: Any, fixed: dict[str, Any]):
    """Return the twin's run of a rule that is a function of a View, and (as it goes) each step's g by sample."""
    memory: dict[str, Any] = {}
    replays: list[Callable[[int], Any]] = []

    def sampled(x: Any, t: int) -> Any:
        return problem.grad(x) if samples is None else problem.sample_grad(x, samples[t])

    def direction(t: int, at: Any, g: Any, v: Any) -> Any:
        own = {name: twin.at(value, t) for name, value in fixed.items()}
        view = partial(View, at, g, full=problem.grad, v=v, **own)
        before = dict(memory)

        def replay(k: int) -> Any:
            gradient = partial(problem.sample_grad, index=k)
            return gradient(at + own["rho"] * twin.normalize(rule(view(sampled=gradient, memory=dict(before)))))

        replays.append(replay)
        return rule(view(sampled=lambda x: sampled(x, t), memory=memory))

    return twin.chosen(sampled, w, steps=count, direction=direction, **fixed), replays


def confirmed(
    claim: Claim,
    measure: Measure,
    batch,
    rule,
    i: int,
    t: int,
    *,
    w,
    eta,
    rho,
    count: int,
    leaves: int = 1,
    samples: Sequence[int] | None = None,
    beta: float = 0.0,
) -> bool:
    """Return whether the claim fails in 50 digits on instance i of the batch, at step t or after t steps.

    What was float64 data (the problem, the start, eta and rho) is taken digit for digit; the bound must be exceeded by
    more than 10^(5 - DIGITS) of the size of the terms, and by what is uncertain in the problem's own f*
    (`certificate`). `samples` are the draws of this instance when the run was sampled. A rule that is a function
    of a View is run by the twin too; if it speaks torch only, its failures stand as measured. So do those of "masked",
    a claim about the bits of float64.
    """
    if rule == "masked":
        return True
    if isinstance(rule, str) and rule != "pair":
        rule = SHIPPED.get(rule, rule)
        rule = rule if rule in twin.NAMES else resolve(rule)
    with mpmath.workdps(DIGITS):
        number = mpmath.mpf
        instance = batch.instance(i, number)
        one = {
            "eta": number(float(eta[i])),
            "rho": number(float(rho[i])),
            "beta": number(beta),
            "count": t if not measure.per_step else count,
        }
        start = exact(w[i], number)
        decay = dict(zip(("eta", "rho"), scheduled(measure.schedule, one["eta"], one["rho"]), strict=True))
        try:
            if measure.per_step:
                m = measure.evaluate(twin_steps(instance, rule, start, samples=samples, **one | decay)[t])
            else:
                records = _records(measure, instance, rule, start, one | decay, leaves)
                m = measure.evaluate(Run(instance, rule, one["eta"], one["rho"], records, t))
        except (TypeError, AttributeError):
            if isinstance(rule, str):
                raise
            return True
        return m is not None and fails(claim, m, certificate=measure.certificate(m, instance))


def _records(
    measure: Measure, instance, rule: str | Rule, start: np.ndarray, one: dict[str, Any], leaves: int
) -> dict[str, Any]:
    probes = measure.probes
    if rule == "pair":
        pair = (twin_steps(instance, name, start, **one) for name in ("s2sam", "sam"))
        return record(zip(*pair, strict=True), probes)
    if leaves == 1:
        return record(twin_steps(instance, rule, start, **one), probes)
    paths = list(itertools.product(range(instance.samples), repeat=one["count"]))
    tables = [record(twin_steps(instance, rule, start, samples=path, **one), probes) for path in paths]
    return {
        k: [sum(column) / len(paths) for column in zip(*(table[k] for table in tables), strict=True)] for k in probes
    }


def fails(claim: Claim, m: Measured, *, certificate: Any = 0.0) -> bool:
    """Return whether the comparison fails beyond the last digits of the current precision."""
    if not m.speaks:
        return False
    bound = claim.evaluate(**m.constants)
    allowance = mpmath.mpf(10) ** (5 - mpmath.mp.dps) * (abs(m.scale) + abs(bound)) + certificate
    excess = {"upper": m.value - bound, "lower": bound - m.value, "equality": abs(m.value - bound)}[claim.kind]
    return not excess <= allowance
