# ruff: noqa: D205 (the first paragraph of a docstring is the statement, which is longer than a line)
"""B4: linear convergence to a neighbourhood, of the loss (Polyak-Lojasiewicz) and of the distance (strong convexity).

The method and the letters of the proofs are those of `theory.bounds.convergence`; P2 is here a sequence over t, of
numbers or of arrays (or an array whose first axis is t), so that T = len(P2). m = eta mu.
"""

from collections.abc import Sequence
from functools import reduce

from theory.arithmetic import Number, minimum, sqrt
from theory.bounds.trajectory import contraction, gain
from theory.claims import claim
from theory.requirements import Requirement, limited, nonnegative, positive

__all__ = ["PATH", "distance", "distance_floor", "pl", "pl_path"]

_CURVATURE = (*positive("L", "mu"), Requirement("mu", "<=", lambda L, **_: L, "L"), *positive("eta"))
_STEP = Requirement("eta", "<=", lambda L, **_: 1 / L, "1/L")
PATH = (
    limited("len(P2)", ">=", 1, value=lambda P2, **_: len(P2)),
    limited("min(P2)", ">=", 0, value=lambda P2, **_: reduce(minimum, P2)),
)


@claim(
    "B4.path",
    title="Polyak-Lojasiewicz, realised perturbations",
    kind="upper",
    origin="paper",
    measures="E f(w_T) - f*",
    requires=(*_CURVATURE, _STEP, *nonnegative("gap", "sigma2"), *PATH),
    trivial=lambda gap, **_: gap,  # the value the run started from
)
def pl_path(
    *, eta: Number, L: Number, mu: Number, gap: Number, P2: Sequence[Number], sigma2: Number
) -> Number:
    """For f L-smooth with minimum f* and ||grad f(w)||^2 >= 2 mu (f(w) - f*) for all w, h = eta L <= 1, E[g_t | past]
    = grad f(y_t) with variance at most sigma^2, p_t determined by the past: E f(w_T) - f* <= (1 - m)^T (f(w_0) - f*)
    + (eta/2) sum_t (1 - m)^(T-1-t) (L^2 E||p_t||^2 + h sigma^2).

    Setting: gap = f(w_0) - f* with f* the minimum, never a measured decrease; P2 holds E||p_t||^2 for t = 0, ..., T -
    1.

    Source: Ji et al. (NeurIPS 2024) assert in prose that S2-SAM converges to an optimal solution, without rate or
    constants; this inequality was derived by this project.

    Proof: the identity of B1 plus (eta/2)(||a||^2 - 2 mu (f(w_t) - f*)) >= 0 gives one step, E f(w_{t+1}) - f* <= (1
    - m)(f(w_t) - f*) + (eta/2)(L^2 ||p_t||^2 + h sigma^2); and 1 - m >= 0, because mu <= L.

    >>> pl_path(eta=0.5, L=2, mu=1, gap=4, P2=[0, 0.25], sigma2=0)
    1.25
    """
    value = gap
    for p2 in P2:  # Horner's rule: one step of the proof
        value = (1 - eta * mu) * value + eta * (L**2 * p2 + eta * L * sigma2) / 2
    return value


@claim(
    "B4",
    title="Polyak-Lojasiewicz",
    kind="upper",
    origin="paper",
    measures="E f(w_T) - f*",
    requires=(*_CURVATURE, _STEP, *nonnegative("gap", "rho", "sigma2"), limited("T", ">=", 1)),
    trivial=lambda gap, **_: gap,  # the value the run started from
)
def pl(*, eta: Number, L: Number, mu: Number, gap: Number, T: Number, rho: Number, sigma2: Number) -> Number:
    """For f L-smooth with minimum f* and ||grad f(w)||^2 >= 2 mu (f(w) - f*) for all w, h = eta L <= 1, E[g_t | past]
    = grad f(y_t) with variance at most sigma^2, p_t determined by the past, ||p_t|| <= rho: E f(w_T) - f* <= (1 -
    m)^T (f(w_0) - f*) + (1 - (1 - m)^T)(L^2 rho^2 + h sigma^2)/(2 mu).

    Setting: gap = f(w_0) - f* with f* the minimum, never a measured decrease.

    Source: Ji et al. (NeurIPS 2024) assert in prose that S2-SAM converges to an optimal solution, without rate or
    constants; this inequality was derived by this project.

    Proof: B4.path with E||p_t||^2 <= rho^2 and the geometric sum, eta/(2m) = 1/(2 mu).

    >>> pl(eta=0.5, L=2, mu=1, gap=4, T=2, rho=0.5, sigma2=0)
    1.375
    """
    left = (1 - eta * mu) ** T
    return left * gap + (1 - left) * (L**2 * rho**2 + eta * L * sigma2) / (2 * mu)


@claim(
    "B4'",
    title="strongly convex, distance",
    kind="upper",
    origin="paper",
    measures="E||w_T - w*||^2",
    requires=(
        *_CURVATURE,
        Requirement("eta", "<", lambda L, mu, **_: 2 / (L + mu), "2/(L + mu)"),
        *nonnegative("R2", "sigma2"),
        *PATH,
    ),
    trivial=lambda R2, **_: R2,  # the squared distance the run started from
)
def distance(
    *, eta: Number, L: Number, mu: Number, R2: Number, P2: Sequence[Number], sigma2: Number
) -> Number:
    """For f mu-strongly convex and L-smooth with minimiser w*, h + m = eta (L + mu) < 2, E[g_t | past] = grad f(y_t)
    with variance at most sigma^2, p_t determined by the past: E||w_T - w*||^2 <= Q^T ||w_0 - w*||^2 + K sum_t
    Q^(T-1-t) E||p_t||^2 + eta^2 sigma^2 (1 - Q^T)/(1 - Q) with Q = 1 - 2hm/(h + m) and K = (h + m - 2hm)/(2 - h - m).

    Setting: R2 = ||w_0 - w*||^2; P2 holds E||p_t||^2 for t = 0, ..., T - 1.

    Source: Ji et al. (NeurIPS 2024) assert in prose that S2-SAM converges to an optimal solution, without rate or
    constants; this inequality was derived by this project.

    Proof: the identity of A4.strong with w* in place of the second run, u = w_t - w*, s = p_t, G = grad f(y_t): one
    step, E||u'||^2 <= Q||u||^2 + K||p_t||^2 + eta^2 sigma^2. Attained, for sigma = 0 and h < 1, by (L/2)||w||^2 with
    p_t = -w_t h (1 - c)/(c (1 - h)), c = (h + m)/2.

    >>> distance(eta=0.5, L=1, mu=1, R2=4, P2=[0, 1], sigma2=0)
    1.5
    """
    h, m = eta * L, eta * mu
    value = R2
    for p2 in P2:  # Horner's rule: one step of the proof
        value = contraction(h, m) * value + gain(h, m) * p2 + eta**2 * sigma2
    return value


def distance_floor(h: Number, m: Number, rho: Number) -> Number:
    """Limit of B4' in distance, rho sqrt(K/(1 - Q)): sigma = 0, ||p_t|| = rho for ever, 0 < m <= h, h + m < 2.

    It is rho sqrt((kappa + 1)/2) at h = 1 and rho at m = h, where S2-SAM attains it (B5).

    >>> distance_floor(h=0.5, m=0.5, rho=0.25)
    0.25
    """
    return rho * sqrt(gain(h, m) / (1 - contraction(h, m)))
