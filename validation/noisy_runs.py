"""Long noisy runs: one problem, one start, many sample paths, and what no path exceeds.

The bound is a number, not a mean: Delta = f(w_0) - f* and ||p_t|| = rho_t, p_0 = 0 for S2-SAM, are what no run exceeds.
The range of what is measured on a path is certain too. With ||g_t - grad f(y_t)|| <= C and eta_t <= 1/L, the descent
lemma and the PL inequality give on every path f(w_{t+1}) - f* <= (1 - eta_t mu)(f(w_t) - f*) + (eta_t/2)(L rho_t +
C)^2, and ||grad f||^2 <= 2 L (f - f*); where f is no PL function but its gradients are bounded, by G, ||grad f||^2 <=
G^2.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from theory import CLAIMS
from validation.draw import noisy, paired_rows, quadratic
from validation.instances import Problem
from validation.linear import COSINE
from validation.samples import Noisy, RowSampled
from validation.step import dot
from validation.trajectories import steps

CHUNK = 2**22  # draws held at once
SETTINGS: dict[str, Callable[[Generator], Problem]] = {
    "noisy-isotropic": lambda g: noisy(quadratic(1, 2, generator=g, L=1.0, kind="isotropic"), generator=g, level=0.3),
    "noisy-strong": lambda g: noisy(quadratic(1, 3, generator=g, L=1.0, kappa=4.0), generator=g, samples=4, level=0.2),
    "noisy-cosine": lambda g: paired_rows(1, 3, 2, link=COSINE, generator=g, name="noisy-cosine"),
}
STRONG = ("noisy-isotropic", "noisy-strong")


def asked(family: str, rule: str, schedule: str) -> tuple[str, ...]:
    """Return the labels of the claims that speak of these runs."""
    if schedule == "fixed":
        return ("B2.fixed",)
    if schedule in ("quarter", "half"):  # the closed forms use p_0 = 0
        return ("B2.anytime", f"B2.{schedule}") if rule == "s2sam" else ("B2.anytime",)
    return ("B1", "B1'", "B3", "B4", "B4'") if family in STRONG else ("B1", "B1'")


@dataclass(frozen=True)
class Setting:
    """One problem (a batch of one), its start, and eta and rho of every step; floats, in the problem's units."""

    problem: Problem
    start: Tensor
    rule: str
    schedule: str
    eta: list[float]
    rho: list[float]
    rho0: float

    @property
    def L(self) -> float:
        """Smoothness."""
        return float(self.problem.L)

    @property
    def gap(self) -> float:
        """A number >= f(w_0) - f*."""
        return float(self.problem.f(self.start) - self.problem.f_star + self.problem.certificate)

    @property
    def radius(self) -> list[float]:
        """||p_t||, or what it never exceeds."""
        return [0.0 if t == 0 and self.rule == "s2sam" else r for t, r in enumerate(self.rho)]


def setting(
    family: str, rule: str, schedule: str, h: float, rho: float, count: int, generator: Generator
) -> Setting:
    """Draw the problem and its start; fix the steps and radii of a run of `count` steps."""
    problem = SETTINGS[family](generator)
    start, L = problem.start(generator, 1.0), float(problem.L)
    power = {"constant": 0.0, "fixed": 0.0, "quarter": -0.25, "half": -0.5}[schedule]
    first = {"constant": h / L, "fixed": 1 / L / math.sqrt(count)}.get(schedule, 1 / L)
    shrink = 0.0 if schedule in ("constant", "fixed") else -0.5
    scale = count**-0.25 if schedule == "fixed" else 1.0
    eta = [first * (t + 1.0) ** shrink for t in range(count)]
    return Setting(problem, start, rule, schedule, eta, [rho * scale * (t + 1.0) ** power for t in range(count)], rho)


@dataclass(frozen=True)
class Reach:
    """What no path exceeds: f(w_t) - f* and ||grad f(w_t)||^2 for t = 0 .. T, ||grad f(y_t)||^2 for t < T."""

    f: list[float]
    a_sq: list[float]
    b_sq: list[float]


def reach(s: Setting) -> Reach:
    """Return the certain ranges; see the module. Rounded up by 2^-20, more than the rounding of so many steps."""
    p, L, more = s.problem, s.L, 1 + 2.0**-20
    if isinstance(p, Noisy):
        C = float(dot(p.shifts, p.shifts).max()) ** 0.5
        f, pl = [s.gap * more], float(p.pl)
        for eta, rho in zip(s.eta, s.radius, strict=True):
            f.append(((1 - eta * pl) * f[-1] + eta / 2 * (L * rho + C) ** 2) * more)
        a_sq = [2 * L * x for x in f]
        return Reach(f, a_sq, [(a**0.5 + L * r) ** 2 for a, r in zip(a_sq, s.radius, strict=False)])
    assert isinstance(p, RowSampled)
    g = p.parent
    G2 = float((g.weight * dot(g.X, g.X).sqrt()).sum()) ** 2 * g.link.steepest**2 * more
    return Reach([math.inf] * (len(s.eta) + 1), [G2] * (len(s.eta) + 1), [G2] * len(s.eta))


@dataclass(frozen=True)
class Side:
    """One claim at one T: its bound, the range [0, span] of X, and the power of X that the claim speaks of."""

    label: str
    T: int
    bound: float
    span: float
    root: bool = False
    trivial: float = math.inf

    @property
    def limit(self) -> float:
        """The bound of E X."""
        return self.bound**2 if self.root else self.bound


def side(s: Setting, r: Reach, label: str, T: int) -> Side:
    """Return the bound, by the claim itself, and the range of X = `value(s, label, ...)`."""
    p, L, eta, radius = s.problem, s.L, s.eta[:T], s.radius[:T]
    h, sigma2, weight = eta[0] * L, float(p.sigma2), [x / sum(s.eta[:T]) for x in eta]
    mean_a = math.fsum(x * y for x, y in zip(weight, r.a_sq, strict=False))
    mean_b = math.fsum(x * y for x, y in zip(weight, r.b_sq, strict=False))
    squares = [x * x for x in radius]
    given: dict[str, Any] = {"eta": eta[0], "L": L, "gap": s.gap, "T": T, "sigma2": sigma2, "rho": s.rho0}
    given |= {"P2": math.fsum(squares) / T, "rho0": s.rho0, "eta0": eta[0], "c": eta[0] * math.sqrt(T)}
    given |= {"sum_eta": math.fsum(eta), "sum_eta2": math.fsum(x * x for x in eta)}
    given |= {"sum_eta_p2": math.fsum(x * y for x, y in zip(eta, squares, strict=True))}
    if label in ("B3", "B4'"):
        w_star = p.w_star
        assert w_star is not None
        given["R2"] = float(dot(s.start - w_star, s.start - w_star))
    if label in ("B4", "B4'"):
        given["mu"] = float(p.pl)
    if label == "B4'":
        given["P2"] = squares
    span = {
        "B1": mean_a + (1 - h) * mean_b,
        "B2.fixed": mean_a + (1 - h) * mean_b,
        "B3": mean_a / (2 * L) + (1 - h) / (2 * L) * mean_b,
        "B4": r.f[T],
        "B4'": 2 * r.f[T] / float(p.mu) if label == "B4'" else 0.0,
    }.get(label, mean_a)
    claim = CLAIMS[label]
    known = math.inf if claim.trivial is None else float(claim.trivial(**given))
    return Side(label, T, float(claim(**given)), span, root=label == "B1'", trivial=known)


def paths(s: Setting, sides: list[Side], n: int, generator: Generator) -> Iterator[dict[tuple[str, int], Tensor]]:
    """Yield, chunk by chunk of n paths in all, the values X (k,) of every claim and T."""
    count, p = len(s.eta), s.problem
    chunk = max(1, CHUNK // count)
    for begin in range(0, n, chunk):
        k = min(chunk, n - begin)
        batch, w = p.repeat(k), s.start.repeat(k, 1)
        draws = torch.randint(p.samples, (count, k), generator=generator).to(w.device)
        like = torch.zeros_like(batch.L)
        a = b = f = like
        total, found = 0.0, {}
        at: dict[str, Any] = {"eta": lambda t, like=like: like + s.eta[min(t, count - 1)]}
        at["rho"] = lambda t, like=like: like + s.rho[min(t, count - 1)]
        for step in steps(batch, s.rule, w, count=count, samples=draws, **at):
            for wanted in (x for x in sides if x.T == step.t):
                found[wanted.label, wanted.T] = _value(s, wanted.label, step, a / total, b / total, f / total)
            if step.t < count:
                eta = s.eta[step.t]
                a, b, total = a + eta * dot(step.a, step.a), b + eta * dot(step.b, step.b), total + eta
                if any(x.label == "B3" for x in sides):
                    f = f + eta * (step.f_w - p.f_star)
        yield found


def _value(s: Setting, label: str, step, a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """X on each path: the left side of the claim without its expectation; a, b, f are (eta-weighted) means over t."""
    h = s.eta[0] * s.L
    if label in ("B1", "B2.fixed"):
        return a + (1 - h) * b
    if label == "B3":
        return f + (1 - h) / (2 * s.L) * b
    if label == "B4":
        return step.f_w - step.problem.f_star
    return step.dist_sq if label == "B4'" else a
