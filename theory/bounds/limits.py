# ruff: noqa: D205 (the first paragraph of a docstring is the statement, which is longer than a line)
"""B5, B6: where the runs end, so that the floors of B1, B3 and B4 are real, and the shadow iterates.

Unbiasedness (B7) and sparse training (B8) are in `theory.bounds.sampling`, re-exported here. h = eta L.
"""

from theory.arithmetic import Number, maximum, minimum, sqrt
from theory.bounds.sampling import (
    changing_masks,
    full_batch_bias,
    independent_batch_bias,
    restriction,
    same_batch_bias,
    unbiased,
)
from theory.claims import claim
from theory.requirements import limited, nonnegative, positive

__all__ = [
    "changing_masks",
    "full_batch_bias",
    "gradient_floor",
    "independent_batch_bias",
    "restriction",
    "s2sam_path",
    "sam_cycle",
    "same_batch_bias",
    "shadow_distance",
    "shadow_residual",
    "unbiased",
]


@claim(
    "B5.s2sam",
    title="S2-SAM on a parabola",
    kind="equality",
    origin="derived",
    measures="w_T of S2-SAM on f(w) = L w^2/2 in one dimension, from w_0 > 0",
    requires=(*positive("h"), limited("h", "<", 1), *nonnegative("rho"), *positive("w0"), limited("T", ">=", 1)),
    condition="the arithmetic is exact, or T so small that (1 - h)^(T-1) y_1 is not lost in rounding",
)
def s2sam_path(*, h: Number, rho: Number, w0: Number, T: Number) -> Number:
    """S2-SAM on f(w) = L w^2/2 in one dimension, w_0 > 0, 0 < h < 1, constant rho >= 0: w_T = (1 - h)^(T-1) y_1 - rho
    for all T >= 1, with y_1 = (1 - h) w_0 + rho. So w_T -> -rho, |grad f(w_T)| -> L rho and f(w_T) - f* -> L rho^2/2,
    and the terms in rho of B1, B1', B3 and (mu = L) B4 cannot be improved. From -w_0 the path is the mirror image.

    Setting: in floating point y_t rounds to 0 after about log(1/u)/log(1/(1 - h)) steps, u the unit roundoff, and the
    run then leaves the limit. At h = 1 the exact run is periodic: w_1, w_2, ... = 0, -rho, -rho, 0, rho, rho, 0, ...

    Source: this project, derived. It contradicts, at constant rho, the assertion of Ji et al. (NeurIPS 2024) that
    S2-SAM converges to an optimal solution.

    Proof: y_0 = w_0 > 0 and d_0 = 1 give y_1 = (1 - h) w_0 + rho > 0; as long as y_t > 0, d_t = 1 and y_{t+1} = w_t -
    h y_t + rho = (1 - h) y_t > 0.

    >>> s2sam_path(h=0.5, rho=1, w0=2, T=3)
    -0.5
    """
    return (1 - h) ** (T - 1) * ((1 - h) * w0 + rho) - rho


@claim(
    "B5.sam",
    title="SAM on a parabola",
    kind="equality",
    origin="derived",
    measures="limit of |grad f(w_t)| for exact SAM on f(w) = L w^2/2 in one dimension, from almost every w_0",
    requires=(*positive("L", "h"), limited("h", "<", 2), *nonnegative("rho")),
)
def sam_cycle(*, L: Number, h: Number, rho: Number) -> Number:
    """SAM with exact gradients on f(w) = L w^2/2 in one dimension, 0 < h < 2, constant rho >= 0: for all but
    countably many w_0 the run tends to the two-cycle |w| = rho h/(2 - h) of alternating sign, so that |grad f(w_t)|
    -> L rho h/(2 - h). Unlike the limit L rho of S2-SAM it vanishes with eta.

    Source: this project, derived; Bartlett, Long and Bousquet (JMLR 2023) treat SAM on convex quadratics.

    Proof: w' = (1 - h) w - h rho sign(w). If the sign changes, |w'| = h rho - (1 - h)|w|, a contraction of factor |1
    - h| with fixed point rho h/(2 - h). It changes at every step if h >= 1; if h < 1, |w| falls by at least h rho
    until |w| < h rho/(1 - h), and from there on, unless a step lands on 0 exactly, where it stays.

    >>> sam_cycle(L=2, h=0.5, rho=0.75)
    0.5
    """
    return L * rho * h / (2 - h)


@claim(
    "B5.lower",
    title="no method with constant radius escapes",
    kind="lower",
    origin="derived",
    measures="min over the steps t with ||p_t|| = rho of max(||grad f(w_t)||, ||grad f(w_{t+1})||)",
    requires=(*positive("eta", "mu"), *nonnegative("rho")),
)
def gradient_floor(*, eta: Number, mu: Number, rho: Number) -> Number:
    """For f mu-strongly convex and differentiable, w_{t+1} = w_t - eta grad f(w_t + p_t), any eta > 0, m = eta mu:
    every step with ||p_t|| = rho has max(||grad f(w_t)||, ||grad f(w_{t+1})||) >= mu rho F(m) with F(m) = m/(2 - m)
    for m <= 3 - sqrt(5), 2 (sqrt(2m) - 1)/m from there to m = 2, and 1 for m >= 2. So a method with ||p_t|| = rho at
    infinitely many steps has limsup ||grad f(w_t)|| >= mu rho F(m), which is eta mu^2 rho/(2 - m) for m <= 3 -
    sqrt(5) = 0.76.

    Setting: exact gradients and any rule for p_t: SAM, S2-SAM for t >= 1, or another. F is continuous and
    non-decreasing. No larger floor holds for m <= 3 - sqrt(5), where SAM's two-cycle on mu w^2/2 (B5.sam) is at it,
    nor for m >= 2, where w_t = -p_t on mu w^2/2 stays; in between F is the most that the three inequalities of the
    proof give.

    Source: this project, derived.

    Proof: M the maximum, a = grad f(w_t), a' = grad f(w_{t+1}), g = g_t, p = p_t; lengths in units that make mu = 1.
    Strong convexity between the three points: M1 = <g - a, p> - ||p||^2 >= 0, M2 = <a - a', g> - m||g||^2 >= 0, M3 =
    <g - a', p + m g> - ||p + m g||^2 >= 0. Then M^2 - F^2 rho^2 >= l||a||^2 + (1 - l)||a'||^2 - F^2||p||^2 = A M1 +
    B M2 + C M3 + l||a + (A p - B g)/(2l)||^2 + (1 - l)||a' + (B g + C (p + m g))/(2 - 2l)||^2 + D||g - q p||^2 with l
    = (1 - m)/(2 - m), A = C = m^2/(4 - 2m), B = m (4 - 2m - m^2)/(8 - 4m), q = 2/(2 - m) for m <= 3 - sqrt(5); with u
    = sqrt(2m), l = 1 - 1/u, A = C = 8 (u - 1)^2/u^3, B = 2 (u - 1)(2 - u)/u, D = 0 up to m = 2; and with l = 1 -
    1/m, A = 2l, B = 0, C = 2/m, D = m - 2, q = 0 beyond.

    >>> gradient_floor(eta=0.5, mu=1, rho=0.75)
    0.25
    """
    m = eta * mu
    root = sqrt(5 + 0 * m)
    cycle, first = minimum(m, 3 - root), root - 1
    u = minimum(maximum(sqrt(2 * m), first), 2)
    return mu * rho * (cycle / (2 - cycle) + (_between(u) - _between(first)))


def _between(u: Number) -> Number:
    """F of B5.lower where u = sqrt(2m) lies between sqrt(5) - 1 and 2."""
    return 4 * (u - 1) / u**2


@claim(
    "B6",
    title="shadow iterates",
    kind="upper",
    origin="derived",
    measures="||y_{t+1} - (y_t - eta_t g_t + rho_{t+1} d_t - rho_t d_{t-1})||",
)
def shadow_residual() -> Number:
    """The perturbed weights of S2-SAM obey y_{t+1} = y_t - eta_t g_t + rho_{t+1} d_t - rho_t d_{t-1} exactly; summed,
    at constant rho the perturbations telescope to one term rho d_t.

    Setting: the measured residual is compared with 0.

    Source: this project, derived.

    Proof: y_t = w_t + rho_t d_{t-1} at t and at t + 1, and w_{t+1} = w_t - eta_t g_t.

    >>> shadow_residual()
    0
    """
    return 0


@claim(
    "B6.distance",
    title="distance of the shadow iterates",
    kind="upper",
    origin="derived",
    measures="||w_t - y_t||",
    requires=nonnegative("rho"),
)
def shadow_distance(*, rho: Number) -> Number:
    """The perturbed and the kept weights of S2-SAM are never farther apart than the radius: ||w_t - y_t|| <= rho_t.

    Source: this project, derived.

    Proof: y_t - w_t = rho_t d_{t-1}, and ||d_{t-1}|| is 1 or 0.

    >>> shadow_distance(rho=0.5)
    0.5
    """
    return rho
