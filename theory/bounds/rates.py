# ruff: noqa: D205 (the first paragraph of a docstring is the statement, which is longer than a line)
"""B2: what B1 becomes with step sizes and radii chosen for a horizon T, or for every T.

The hypotheses are those of B1 (`theory.bounds.convergence`). rho0 and eta0 scale the schedules.
"""

from math import inf

from theory.arithmetic import Number, log, sqrt
from theory.claims import claim
from theory.requirements import Requirement, limited, nonnegative, positive

__all__ = ["anytime", "anytime_half", "anytime_quarter", "fixed_schedule"]

# at constant rho the run of B5 stays at distance rho from the minimiser
_VANISHING = "rho_t -> 0 (at constant rho B5 is the counterexample)"
_AVERAGE = "sum_t eta_t E||grad f(w_t)||^2/sum_t eta_t, over the T steps t = 0, ..., T - 1"
_ANYTIME = (
    *positive("L", "eta0"),
    Requirement("eta0", "<=", lambda L, **_: 1 / L, "1/L"),
    *nonnegative("gap", "sigma2", "rho0"),
    limited("T", ">=", 1),
)


@claim(
    "B2.fixed",
    title="rate for a known horizon",
    kind="upper",
    origin="paper",
    measures="(1/T) sum_t E||grad f(w_t)||^2 + (1 - h)(1/T) sum_t E||grad f(y_t)||^2, run with the schedules for T",
    requires=(*positive("L", "c"), *nonnegative("gap", "sigma2", "rho0"), limited("T", ">=", 1)),
    condition=_VANISHING,
)
def fixed_schedule(*, L: Number, gap: Number, T: Number, rho0: Number, c: Number, sigma2: Number) -> Number:
    """Under B1's hypotheses with eta = min(1/L, c/sqrt(T)), ||p_t|| <= rho0 T^(-1/4) and Delta >= 0 the right side of
    B1, and so its left side, is <= 2 L Delta/T + (2 Delta/c + L^2 rho0^2 + c L sigma^2)/sqrt(T).

    Setting: eta and rho are constant in t and chosen for T. The best c is sqrt(2 Delta/L)/sigma, which makes the
    first and third term of the bracket 2 sigma sqrt(2 L Delta). The usual rho0/sqrt(T) makes the second O(1/T),
    smaller than needed.

    Source: Ji et al. (NeurIPS 2024) assert in prose that S2-SAM converges, without rate or constants; this inequality
    was derived by this project.

    Proof: 1/eta = max(L, sqrt(T)/c) <= L + sqrt(T)/c, L^2 P^2 <= L^2 rho0^2/sqrt(T) and h <= c L/sqrt(T) in B1.

    >>> fixed_schedule(L=2, gap=1, T=4, rho0=0.5, c=1, sigma2=1)
    3.5
    """
    root = sqrt(T + 0 * c)  # in the arithmetic of c, even if T is a plain integer
    return 2 * L * gap / T + (2 * gap / c + L**2 * rho0**2 + c * L * sigma2) / root


@claim(
    "B2.anytime",
    title="any step sizes, realised sums",
    kind="upper",
    origin="paper",
    measures=_AVERAGE,
    requires=(
        *positive("L"),
        # the largest step, a hypothesis that the sums do not show: checked when it is handed over
        Requirement("eta0", "<=", lambda L, **_: 1 / L, "1/L", value=lambda eta0=0, **_: eta0),
        Requirement("gap", ">", lambda **_: -inf, "-inf"),
        *nonnegative("sigma2", "sum_eta_p2"),
        *positive("sum_eta", "sum_eta2"),
    ),
    condition=_VANISHING,
)
def anytime(
    *, L: Number, gap: Number, sigma2: Number, sum_eta: Number, sum_eta_p2: Number, sum_eta2: Number
) -> Number:
    """Under B1's hypotheses with step sizes 0 < eta_t <= eta0 <= 1/L that do not depend on the samples: sum_t eta_t
    E||grad f(w_t)||^2/sum_t eta_t <= (2 Delta + L^2 sum_t eta_t E||p_t||^2 + L sigma^2 sum_t eta_t^2)/sum_t eta_t,
    where Delta = f(w_0) - f* or the measured f(w_0) - E f(w_T). It tends to 0 if sum_t eta_t diverges and the two
    other sums grow more slowly.

    Setting: sum_eta, sum_eta_p2 and sum_eta2 are the three sums as realised; eta0, the largest step, may be given as
    well.

    Source: Ji et al. (NeurIPS 2024) assert in prose that S2-SAM converges, without rate or constants; this inequality
    was derived by this project.

    Proof: the identity of B1 holds at every step with its own eta_t; drop (eta_t/2)(1 - eta_t L)||b||^2 >= 0 and sum.

    >>> anytime(L=2, gap=1, sigma2=1, sum_eta=2, sum_eta_p2=0.25, sum_eta2=0.5)
    2.0
    """
    return (2 * gap + L**2 * sum_eta_p2 + L * sigma2 * sum_eta2) / sum_eta


def _sum_eta(eta0: Number, T: Number) -> Number:
    """Lower bound of sum_{t<T} eta0/sqrt(t + 1); T in the arithmetic of eta0, even if it is a plain integer."""
    return 2 * eta0 * (sqrt(T + 1 + 0 * eta0) - 1)


def _sum_eta2(eta0: Number, T: Number) -> Number:
    """Upper bound of sum_{t<T} eta0^2/(t + 1)."""
    return eta0**2 * (1 + log(T + 0 * eta0))


@claim(
    "B2.quarter",
    title="anytime rate, rho_t = rho0 (t + 1)^(-1/4)",
    kind="upper",
    origin="paper",
    measures=_AVERAGE,
    requires=_ANYTIME,
    condition=_VANISHING,
)
def anytime_quarter(*, L: Number, gap: Number, sigma2: Number, eta0: Number, rho0: Number, T: Number) -> Number:
    """Under B1's hypotheses with eta_t = eta0/sqrt(t + 1), eta0 <= 1/L, p_0 = 0 (as in S2-SAM), ||p_t|| <= rho0 (t +
    1)^(-1/4) and Delta >= 0: sum_t eta_t E||grad f(w_t)||^2/sum_t eta_t <= (2 Delta + L^2 eta0 rho0^2 ln T + L
    sigma^2 eta0^2 (1 + ln T))/(2 eta0 (sqrt(T + 1) - 1)), which is O(log T/sqrt(T)).

    Setting: a method with p_0 not zero, such as SAM, adds L^2 eta0 rho0^2 to the numerator.

    Source: Ji et al. (NeurIPS 2024) assert in prose that S2-SAM converges, without rate or constants; this inequality
    was derived by this project.

    Proof: in B2.anytime sum_t eta_t >= 2 eta0 (sqrt(T + 1) - 1), sum_{t>=1} eta_t rho_t^2 = eta0 rho0^2 sum_{k=2}^T
    1/k <= eta0 rho0^2 ln T and sum_t eta_t^2 = eta0^2 sum_{k=1}^T 1/k <= eta0^2 (1 + ln T), by comparison with
    integrals.

    >>> round(anytime_quarter(L=1, gap=1, sigma2=1, eta0=1, rho0=1, T=99), 3)
    0.677
    """
    perturbation = L**2 * eta0 * rho0**2 * log(T + 0 * eta0)
    return (2 * gap + perturbation + L * sigma2 * _sum_eta2(eta0, T)) / _sum_eta(eta0, T)


@claim(
    "B2.half",
    title="anytime rate, rho_t = rho0/sqrt(t + 1)",
    kind="upper",
    origin="paper",
    measures=_AVERAGE,
    requires=_ANYTIME,
    condition=_VANISHING,
)
def anytime_half(*, L: Number, gap: Number, sigma2: Number, eta0: Number, rho0: Number, T: Number) -> Number:
    """Under B1's hypotheses with eta_t = eta0/sqrt(t + 1), eta0 <= 1/L, p_0 = 0 (as in S2-SAM), ||p_t|| <=
    rho0/sqrt(t + 1) and Delta >= 0: sum_t eta_t E||grad f(w_t)||^2/sum_t eta_t <= (2 Delta + 1.613 L^2 eta0 rho0^2 +
    L sigma^2 eta0^2 (1 + ln T))/(2 eta0 (sqrt(T + 1) - 1)), which is O(log T/sqrt(T)), and O(1/sqrt(T)) for sigma =
    0.

    Setting: a method with p_0 not zero, such as SAM, adds L^2 eta0 rho0^2 to the numerator.

    Source: Ji et al. (NeurIPS 2024) assert in prose that S2-SAM converges, without rate or constants; this inequality
    was derived by this project.

    Proof: as for B2.quarter, with sum_{t>=1} eta_t rho_t^2 <= eta0 rho0^2 (zeta(3/2) - 1) and zeta(3/2) - 1 < 1.613.

    >>> round(anytime_half(L=1, gap=1, sigma2=1, eta0=1, rho0=1, T=99), 4)
    0.5116
    """
    perturbation = L**2 * eta0 * rho0**2 * 1613 / 1000
    return (2 * gap + perturbation + L * sigma2 * _sum_eta2(eta0, T)) / _sum_eta(eta0, T)
