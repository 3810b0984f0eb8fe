"""B2: runs whose steps and radii follow a schedule, for a known horizon or for every T."""

from typing import Any

from theory.arithmetic import maximum, sqrt
from validation.measures.base import Measured, mean, measure
from validation.measures.convergence import DESCENT, descent, largest_size
from validation.step import dot
from validation.trajectories import Probe, Run

TINY = 2.0**-80


def _decreased(run: Run) -> Any:
    """Delta >= 0: the realised decrease, or what is no smaller, 0."""
    decrease = run.at("f", 0) - run.at("f", -1)
    return maximum(decrease, 0 * decrease)


@measure("B2.fixed", probes=DESCENT)
def _fixed(run: Run) -> Measured:
    """A run of T steps of size eta <= 1/L is the schedule's with c = eta sqrt(T), and rho_0 = rho T^(1/4).

    At eta = 1/L any larger c has the same schedule, and the c that makes the bound least is taken; TINY, for sigma = 0,
    only makes it less large.
    """
    L, eta, gap, sigma2 = run.problem.L, run.eta, _decreased(run), run.problem.sigma2
    m = descent(run, mean(run["a_sq"]) + (1 - eta * L) * mean(run["b_sq"]))
    root = sqrt(run.T + 0 * eta)
    c = eta * root
    best = maximum(c, sqrt(2 * gap / (L * (sigma2 + TINY * L * gap + (gap == 0)))))
    chosen = c + (eta * L >= 1) * (best - c)
    constants = {"L": L, "gap": gap, "T": run.T, "rho0": run.rho * sqrt(root), "c": chosen, "sigma2": sigma2}
    return Measured(m.value, constants, m.scale)


_PATH: dict[str, Probe] = {
    **{name: DESCENT[name] for name in ("f", "noise")},
    "eta": lambda s: s.eta,
    "weighted": lambda s: s.eta * dot(s.a, s.a),
    "moved": lambda s: s.eta * dot(s.p, s.p),
}


def _average(run: Run) -> tuple[Any, Any, Any]:
    """The eta-weighted mean square gradient, its scale, and sum eta_t."""
    sum_eta = sum(run["eta"])
    value = sum(run["weighted"]) / sum_eta
    moved = run.problem.L**2 * sum(run["moved"])
    return value, value + (moved + 2 * largest_size(run, "noise")) / sum_eta, sum_eta


@measure("B2.anytime", probes=_PATH)
def _anytime(run: Run) -> Measured:
    value, size, sum_eta = _average(run)
    constants = {
        "L": run.problem.L,
        "eta0": run.eta,
        "gap": run.at("f", 0) - run.at("f", -1),
        "sigma2": run.problem.sigma2,
        "sum_eta": sum_eta,
        "sum_eta_p2": sum(run["moved"]),
        "sum_eta2": sum(eta**2 for eta in run["eta"]),
    }
    return Measured(value, constants, size)


def _closed(run: Run) -> Measured:
    """The closed forms take eta_0 and rho_0, of which the schedule makes the rest."""
    value, size, _ = _average(run)
    p = run.problem
    constants = {"L": p.L, "gap": _decreased(run), "sigma2": p.sigma2, "eta0": run.eta, "rho0": run.rho, "T": run.T}
    return Measured(value, constants, size)


measure("B2.quarter", ("s2sam",), probes=_PATH, schedule="quarter")(_closed)
measure("B2.half", ("s2sam",), probes=_PATH, schedule="half")(_closed)
