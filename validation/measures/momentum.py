"""B9: runs with a momentum buffer, Delta taken at the point z that steps by the gradient alone."""

from typing import Any

from theory.arithmetic import maximum
from validation.measures.base import Measured, largest, mean, measure
from validation.step import Step, dot, norm, scale
from validation.trajectories import Run


def _noise(s: Step) -> Any:
    """Size of what rounds in f(z): the terms of f, and the terms of z = w - (eta beta/(1 - beta)) v itself."""
    terms = norm(s.w) + norm(scale(s.eta * s.beta / (1 - s.beta), s.v))
    return s.problem.f_size(s.z) + norm(s.problem.grad(s.z)) * terms


@measure(
    "B9",
    momentum=True,
    probes={
        "a_sq": lambda s: dot(s.a, s.a),
        "b_sq": lambda s: dot(s.b, s.b),
        "p_sq": lambda s: dot(s.p, s.p),
        "f_z": lambda s: s.problem.f(s.z),
        "noise_z": _noise,
        "beta": lambda s: s.beta + 0 * s.eta,
    },
)
def _b9(run: Run) -> Measured:
    L, eta, beta = run.problem.L, run.eta, run.at("beta", 0)
    alpha = eta / (1 - beta)
    P2 = mean(run["p_sq"])
    left = mean(run["a_sq"]) + (1 - L * alpha * (1 + beta) / (1 - beta)) * mean(run["b_sq"])
    noise = maximum(largest(run["noise_z"]), run.at("noise_z", -1))
    constants = {
        "eta": eta,
        "beta": beta,
        "L": L,
        "gap": run.at("f_z", 0) - run.at("f_z", -1),
        "T": run.T,
        "P2": P2,
        "sigma2": run.problem.sigma2,
    }
    return Measured(left, constants, abs(left) + L**2 * P2 + 2 * noise / (alpha * run.T))
