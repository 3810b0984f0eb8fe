"""Five false claims, for the adversary to refute: each with its rule, its measure and (for one) the space searched.

`s2sam` knows none of them, so that what the adversary prints needs these names: `claim`, `rule`, `measure`, `problem`.
"""

import dataclasses

import torch

from theory import CLAIMS, Claim
from theory.arithmetic import cos, sin
from validation.adversary import around
from validation.instances import Problem
from validation.measures import MEASURES, Measure, Measured, mean
from validation.measures.convergence import descent
from validation.step import dot
from validation.trajectories import Run


def weakened(label, bound):
    """The claim of that label with another bound, of the same constants."""
    return dataclasses.replace(CLAIMS[label], label=f"{label}-false", bound=bound)


def half_rho_term(*, eta, L, gap, T, P2, sigma2):
    return CLAIMS["B1"].bound(eta=eta, L=L, gap=gap, T=T, P2=P2 / 2, sigma2=sigma2)


def no_growth(*, h, rho, T):
    return h * rho * (2 * T - 1)


def no_floor(*, eta, L, mu, gap, T, rho, sigma2):
    return (1 - eta * mu) ** T * gap


def same_batch(run: Run) -> Measured:
    return descent(run, mean(run["a_sq"]) + (1 - run.eta * run.problem.L) * mean(run["mean_sq"]))


SAME_BATCH = Measure(rules=("sam-same-batch",), evaluate=same_batch, probes=MEASURES["B1''"].probes)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Valley(Problem):
    """(v - sin u)^2: PL with mu = 2, since ||grad||^2 = 4 (v - sin u)^2 (1 + cos^2 u); L = 1 is not used, and wrong."""

    def f(self, w):
        r = w[..., 1] - sin(w[..., 0])
        return r * r

    def grad(self, w):
        r = 2 * (w[..., 1] - sin(w[..., 0]))
        g = w + 0  # in the arithmetic of w
        g[..., 0], g[..., 1] = -r * cos(w[..., 0]), r
        return g


def valley(keep_v: bool) -> Problem:
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    whole = Valley(
        name="valley", center=torch.zeros(1, 2).double(), L=one, mu=-one, pl=2 * one, sigma2=zero, L_sample=one,
        f_star=zero, w_star=torch.zeros(1, 2).double(), f_noise=zero, certificate=zero,
    )  # fmt: skip
    return whole.restrict(torch.tensor([[True, keep_v]]))


INHERITED = Claim(
    label="PL-inherited",
    title="PL is inherited by restriction to a support",
    statement="||grad f_S||^2 >= 2 mu (f_S - f*) for the restriction f_S of a function that is PL with mu",
    origin="derived",
    source="nobody: it is false",
    kind="lower",
    measures="||grad f_S(w_t)||^2",
    requires=(),
    bound=lambda mu, gap: 2 * mu * gap,
    proof="none",
)
PL_MEASURE = Measure(
    rules=("sgd",),
    evaluate=lambda s: Measured(
        dot(s.a, s.a), {"mu": s.problem.parent.pl, "gap": s.f_w - s.problem.parent.f_star}, dot(s.a, s.a) + s.f_w
    ),
)

FALSE = {
    "B1 with half its rho-term": (weakened("B1", half_rho_term), "s2sam", MEASURES["B1"], None),
    "A4 without its growth factor": (weakened("A4.smooth", no_growth), "pair", MEASURES["A4.smooth"], None),
    "B4 without its floor": (weakened("B4", no_floor), "s2sam", MEASURES["B4"], None),
    "B1 for same-batch SAM": (CLAIMS["B1"], "sam-same-batch", SAME_BATCH, None),
    "PL is inherited": (INHERITED, "sgd", PL_MEASURE, [around(valley(keep_v=False))]),
}


def names(name):
    """What the code that the adversary prints for this claim calls by name."""
    claim, rule, measure, families = FALSE[name]
    own = {"problem": families[0].build([0.0])} if families else {}
    return {"claim": claim, "rule": rule, "measure": measure, **own}
