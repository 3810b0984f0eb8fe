# ruff: noqa: D205 (the first paragraph of a docstring is the statement, which is longer than a line)
"""B1, B3: where a method with perturbed gradients gets to, on non-convex and on convex functions.

Rates (B2) and linear convergence (B4) are in `theory.bounds.rates` and `theory.bounds.linear`, re-exported here. The
method is w_{t+1} = w_t - eta g_t with E[g_t | past] = grad f(y_t), y_t = w_t + p_t, E||g_t - grad f(y_t)||^2 <=
sigma^2 and p_t determined by the past: S2-SAM, SAM with the full gradient or an independent batch, or SGD (p_t = 0).
In the proofs a = grad f(w_t), b = grad f(y_t), V = E||g_t - b||^2, and expectations are understood: S1 = f(w_t) - eta
<a,b> + (L eta^2/2)(||b||^2 + V) - f(w_{t+1}) >= 0 (descent lemma), S2 = L^2 ||p_t||^2 - ||b - a||^2 >= 0
(smoothness), S3 = sigma^2 - V >= 0.
"""

from math import inf

from theory.arithmetic import Number, maximum, sqrt
from theory.bounds.linear import distance, distance_floor, pl, pl_path
from theory.bounds.rates import anytime, anytime_half, anytime_quarter, fixed_schedule
from theory.claims import claim
from theory.requirements import Requirement, limited, nonnegative, positive

__all__ = [
    "anytime", "anytime_half", "anytime_quarter", "convex", "distance", "distance_floor", "fixed_schedule", "nonconvex",
    "pl", "pl_path", "same_batch", "weights_only",
]

_STEP = (*positive("L", "eta"), Requirement("eta", "<=", lambda L, **_: 1 / L, "1/L"))
_NOISE = (limited("T", ">=", 1), *nonnegative("P2", "sigma2"))
_REALISED = Requirement("gap", ">", lambda **_: -inf, "-inf")  # a measured decrease may be negative, but not nan
_MOVED = Requirement("R2", ">", lambda **_: -inf, "-inf")  # likewise
_ISOTROPIC = (
    Requirement("mu", "=", lambda L, **_: L, "L"),
    limited("sigma2", "=", 0),
    limited("T", ">=", 1),
    *nonnegative("P2"),
)
_DESCENT = "(1/T) sum_t E||grad f(w_t)||^2 + (1 - h)(1/T) sum_t E||grad f(y_t)||^2"
_CONVEX = "(1/T) sum_t E(f(w_t) - f*) + ((1 - h)/(2L)) (1/T) sum_t E||grad f(y_t)||^2"


@claim(
    "B1.isotropic",
    title="non-convex, attained",
    kind="equality",
    origin="derived",
    measures=_DESCENT,
    requires=(*_STEP, _REALISED, *_ISOTROPIC),
    statement=(
        "f(w) = (L/2)||w||^2 in any dimension, exact gradients, h <= 1, any perturbations p_t: "
        "(1/T) sum_t ||grad f(w_t)||^2 + (1 - h)(1/T) sum_t ||grad f(y_t)||^2 = 2 Delta/(eta T) + L^2 P^2 "
        "with Delta = f(w_0) - f(w_T). So no constant of B1 can be improved, for any h, T and sequence p_t."
    ),
    source="this project, derived",
    proof="S1 = S2 = S3 = 0 in the identity of B1, because f equals its quadratic bound and grad f(w) = L w.",
)
@claim(
    "B1",
    title="non-convex",
    kind="upper",
    origin="paper",
    measures=_DESCENT,
    requires=(*_STEP, _REALISED, *_NOISE),
)
def nonconvex(*, eta: Number, L: Number, gap: Number, T: Number, P2: Number, sigma2: Number) -> Number:
    """For f L-smooth, h = eta L <= 1, E[g_t | past] = grad f(y_t) with variance at most sigma^2, p_t determined by
    the past: (1/T) sum_t E||grad f(w_t)||^2 + (1 - h)(1/T) sum_t E||grad f(y_t)||^2 <= 2 Delta/(eta T) + L^2 E P^2 +
    h sigma^2, where Delta = f(w_0) - f* or the measured f(w_0) - E f(w_T), and P^2 = (1/T) sum_t ||p_t||^2.

    Setting: see the module. With Delta = f(w_0) - f* and the second sum stopped at T - 2 the term of p_{T-1} drops
    out of P^2, because ||grad f(w)||^2 <= 2L (f(w) - f*).

    Source: Ji et al. (NeurIPS 2024) assert in prose that S2-SAM converges, without rate or constants; this inequality
    was derived by this project.

    Proof: f(w_t) - f(w_{t+1}) + (eta/2) L^2 ||p_t||^2 + (L eta^2/2) sigma^2 - (eta/2)||a||^2 - (eta/2)(1 - h)||b||^2
    = S1 + (eta/2) S2 + (L eta^2/2) S3 >= 0; sum over t.

    >>> nonconvex(eta=0.5, L=2, gap=1, T=4, P2=0.25, sigma2=0.5)
    2.5
    """
    return 2 * gap / (eta * T) + L**2 * P2 + eta * L * sigma2


@claim(
    "B1'",
    title="non-convex, the kept weights only",
    kind="upper",
    origin="paper",
    measures="sqrt((1/T) sum_t E||grad f(w_t)||^2)",
    requires=(
        *positive("L", "eta"),
        Requirement("eta", "<", lambda L, **_: 2 / L, "2/L"),
        _REALISED,
        *_NOISE,
    ),
)
def weights_only(*, eta: Number, L: Number, gap: Number, T: Number, P2: Number, sigma2: Number) -> Number:
    """For f L-smooth, 0 < h = eta L < 2, E[g_t | past] = grad f(y_t) with variance at most sigma^2, p_t determined by
    the past: sqrt((1/T) sum_t E||grad f(w_t)||^2) <= (|1 - h| L P + sqrt(L^2 P^2 + (2 - h)(2 Delta/(eta T) + h
    sigma^2)))/(2 - h), where Delta = f(w_0) - f* or the measured f(w_0) - E f(w_T), and P^2 = (1/T) sum_t E||p_t||^2.

    Setting: see the module. It is never above B1 without its second sum. For h <= 1 the floor L rho that remains as T
    grows is reached by S2-SAM on L w^2/2, for 1 <= h < 2 the floor L rho h/(2 - h) by SAM (B5). A measured Delta may
    be negative; that of a run never makes the inner root's argument negative, so only rounding is cut off at 0. With
    the measured Delta no smaller bound holds, for any h and T: it is attained on (L/2)||w||^2 by p_t = -sign(1 - h)
    tau w_t, 0 <= tau |1 - h| <= 2 - h. With Delta = f(w_0) - f* the term of p_{T-1} drops out of P^2, as it does from
    B1, and B1'.fstar is smaller still.

    Source: Ji et al. (NeurIPS 2024) assert in prose that S2-SAM converges, without rate or constants; this inequality
    was derived by this project.

    Proof: for tau > 0 and z = sign(1 - h), f(w_t) - f(w_{t+1}) + (eta/2)(h + |1 - h|/tau) L^2 ||p_t||^2 + (L eta^2/2)
    sigma^2 - (eta/2)(2 - h - |1 - h| tau)||a||^2 = S1 + (eta/2)(h + |1 - h|/tau) S2 + (L eta^2/2) S3 + (eta |1 -
    h|/(2 tau))||tau a + z (b - a)||^2 >= 0; sum, take tau = L P/A with A the left side, and solve the quadratic
    inequality for A with (1 - h)^2 + h (2 - h) = 1.

    >>> weights_only(eta=0.5, L=2, gap=1, T=4, P2=0.25, sigma2=0.25)
    1.5
    """
    h = eta * L
    perturbation = L**2 * P2
    inner = perturbation + (2 - h) * (2 * gap / (eta * T) + h * sigma2)
    return (abs(1 - h) * sqrt(perturbation) + sqrt(maximum(inner, 0 * inner))) / (2 - h)


@claim(
    "B1''",
    title="non-convex, SAM with one sample for both gradients",
    kind="upper",
    origin="derived",
    measures="(1/T) sum_t E||grad f(w_t)||^2 + (1 - h)(1/T) sum_t E||E[g_t | past]||^2",
    requires=(*_STEP, _REALISED, limited("T", ">=", 1), *nonnegative("rho", "sigma2")),
)
def same_batch(*, eta: Number, L: Number, gap: Number, T: Number, rho: Number, sigma2: Number) -> Number:
    """Every sample's f L-smooth, h = eta L <= 1, variance of the sample gradient at w_t at most sigma^2, perturbation
    and gradient of each step from one sample, ||p_t|| <= rho: (1/T) sum_t E||grad f(w_t)||^2 + (1 - h)(1/T) sum_t
    E||E[g_t | past]||^2 <= 2 Delta/(eta T) + L^2 rho^2 + h (sigma + L rho)^2, where Delta = f(w_0) - f* or the
    measured f(w_0) - E f(w_T).

    Setting: the perturbation of same-batch SAM is not determined by the past, so B1 does not apply to it.

    Source: this project, derived; same-batch SAM is the algorithm of Foret et al. (ICLR 2021).

    Proof: B1's with b = E[g_t | past]: ||b - a|| <= E||g_t - grad f_i(w_t)|| <= L rho, i the sample; and the standard
    deviation of g_t is at most that of grad f_i(w_t) plus the root mean square of g_t - grad f_i(w_t), sigma + L rho.

    >>> same_batch(eta=0.5, L=2, gap=1, T=4, rho=0.5, sigma2=1)
    6.0
    """
    sigma = sqrt(sigma2 + 0 * rho)  # in the arithmetic of rho, even if sigma2 is a plain number
    return 2 * gap / (eta * T) + L**2 * rho**2 + eta * L * (sigma + L * rho) ** 2


@claim(
    "B3.isotropic",
    title="convex, attained",
    kind="equality",
    origin="derived",
    measures=_CONVEX,
    requires=(*_STEP, _MOVED, *_ISOTROPIC),
    statement=(
        "f(w) = (L/2)||w||^2 in any dimension, exact gradients, h <= 1, any perturbations p_t: "
        "(1/T) sum_t (f(w_t) - f*) + ((1 - h)/(2L)) (1/T) sum_t ||grad f(y_t)||^2 = R2/(2 eta T) + (L/2) P^2 "
        "with R2 = ||w_0||^2 - ||w_T||^2. So no constant of B3 can be improved, for any h, T and sequence p_t."
    ),
    source="this project, derived",
    proof="S_a = S_b = S3 = 0 in the identity of B3, because f equals its quadratic bounds and grad f(w) = L w.",
)
@claim(
    "B3",
    title="convex",
    kind="upper",
    origin="paper",
    measures=_CONVEX,
    requires=(*_STEP, _MOVED, *_NOISE),
    # smoothness alone gives f(w_0) - f* <= L R^2/2 before any step is made
    trivial=lambda L, R2, **_: L * R2 / 2,
)
def convex(*, eta: Number, L: Number, R2: Number, T: Number, P2: Number, sigma2: Number) -> Number:
    """For f convex and L-smooth with a minimiser w*, h = eta L <= 1, E[g_t | past] = grad f(y_t) with variance at
    most sigma^2, p_t determined by the past: (1/T) sum_t E(f(w_t) - f*) + ((1 - h)/(2L)) (1/T) sum_t E||grad
    f(y_t)||^2 <= R2/(2 eta T) + (L/2) E P^2 + eta sigma^2/2, where R2 = ||w_0 - w*||^2 - E||w_T - w*||^2 or ||w_0 -
    w*||^2, and P^2 = (1/T) sum_t ||p_t||^2. It bounds the kept weights and, by Jensen, their average.

    Setting: see the module. With R2 = ||w_0 - w*||^2 and without the second sum the term of p_{T-1} drops out of P^2.
    The trivial bound L R2/2 is what smoothness gives at w_0 with R2 = ||w_0 - w*||^2; the smaller realised R2 lowers
    it too.

    Source: Ji et al. (NeurIPS 2024) assert in prose that S2-SAM converges, without rate or constants; this inequality
    was derived by this project.

    Proof: x = w_t - w*, D = ||x||^2, D' its expected next value, S_a = f* - f(y_t) + <b, y_t - w*> - ||b||^2/(2L) >=
    0 and S_b = f(y_t) - <b, p_t> + (L/2)||p_t||^2 - f(w_t) >= 0 (convexity and smoothness, Nesterov 2018, Theorem
    2.1.5): D - D' + eta L ||p_t||^2 + eta^2 sigma^2 - 2 eta (f(w_t) - f*) - (eta/L)(1 - h)||b||^2 = 2 eta S_a + 2 eta
    S_b + eta^2 S3.

    >>> convex(eta=0.5, L=2, R2=1, T=4, P2=0.25, sigma2=1)
    0.75
    """
    return R2 / (2 * eta * T) + L * P2 / 2 + eta * sigma2 / 2
