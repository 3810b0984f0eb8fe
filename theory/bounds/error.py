# ruff: noqa: D205 (the first paragraph of a docstring is the statement, which is longer than a line)
"""A: how far the single-step perturbation of S2-SAM is from SAM's, in direction, gradient and loss.

One step at a time; `theory.bounds.trajectory` (re-exported here) adds the steps up. S2-SAM takes p_t = rho_t d_{t-1}
with d_{t-1} = n(g_{t-1}), where SAM takes p_t = rho_t n(grad f(w_t)). Arguments are numbers or arrays that broadcast,
with the letters of `theory.notation`; norms and radii are in the unit of w, gradients in the unit of f per unit of w.
"""

from theory.arithmetic import Number, sqrt
from theory.bounds.trajectory import (
    contraction,
    gain,
    trajectory_convex,
    trajectory_convex_linear,
    trajectory_smooth,
    trajectory_strong,
    trajectory_strong_linear,
)
from theory.claims import claim
from theory.requirements import Requirement, limited, nonnegative

__all__ = [
    "alignment", "contraction", "cosine_floor", "gain", "gradient_error", "gradient_error_start", "gradient_error_step",
    "perturbation_error", "stale_cosine", "staleness", "trajectory_convex", "trajectory_convex_linear",
    "trajectory_smooth", "trajectory_strong", "trajectory_strong_linear",
]


@claim(
    "A1",
    title="perturbation error",
    kind="upper",
    origin="paper",
    measures="||rho_t n(g_{t-1}) - rho_t n(grad f(w_t))||, the distance of S2-SAM's perturbation from SAM's at w_t",
    requires=(
        *nonnegative("rho", "diff", "norm_a", "norm_b"),
        limited("norm_a + norm_b", ">", 0, value=lambda norm_a, norm_b, **_: norm_a + norm_b),
    ),
    trivial=lambda rho, **_: 2 * rho,  # no two vectors of length rho are farther apart
)
def perturbation_error(*, rho: Number, diff: Number, norm_a: Number, norm_b: Number) -> Number:
    """For vectors a and b, not both zero, and rho >= 0: ||rho n(b) - rho n(a)|| <= 2 rho ||a - b||/(||a|| + ||b||) <=
    2 rho. For a, b both non-zero the first inequality is an equality exactly when ||a|| = ||b|| or a and b are
    antiparallel; if one of them is zero the left side is rho.

    Setting: a = grad f(w_t) and b = g_{t-1}, t >= 1. diff = ||a - b||.

    Source: Ji et al. (NeurIPS 2024) assert in prose that the error of S2-SAM is bounded, without constants. The
    inequality is that of Dunkl and Williams (1964) in an inner-product space; its use here is this project's.

    Proof: with A = ||a||, B = ||b||, c = cos(a, b): 4||a - b||^2 - (A + B)^2 (2 - 2c) = 2 (1 + c)(A - B)^2 >= 0, and
    ||n(a) - n(b)||^2 = 2 - 2c.

    >>> perturbation_error(rho=0.5, diff=3, norm_a=1, norm_b=3)
    0.75
    """
    return 2 * rho * diff / (norm_a + norm_b)


@claim(
    "A1.cos",
    title="angle to the stale gradient",
    kind="lower",
    origin="paper",
    measures="cos(a, b), the cosine of the angle between grad f(w_t) and g_{t-1}",
    requires=(*nonnegative("diff"), Requirement("diff", "<", lambda norm_b, **_: norm_b, "norm_b")),
    trivial=lambda **_: -1,  # every cosine
)
def cosine_floor(*, diff: Number, norm_b: Number) -> Number:
    """If ||a - b|| < ||b|| then a is not zero and cos(a, b) >= sqrt(1 - ||a - b||^2/||b||^2) > 0. It is sharp given
    ||a - b|| and ||b|| alone, and ||n(a) - n(b)||^2 = 2 - 2 cos(a, b). The roles of a and b may be exchanged.

    Setting: a = grad f(w_t) and b = g_{t-1}, or the reverse. diff = ||a - b||.

    Source: Ji et al. (NeurIPS 2024) assert in prose that the error of S2-SAM is bounded, without constants; this
    one-sided form was derived by this project.

    Proof: 2<a,b> = ||a||^2 + ||b||^2 - ||a - b||^2 > 0, and <a,b>^2 - (||b||^2 - ||a - b||^2)||a||^2 = (<a,b> -
    ||a||^2)^2 >= 0; it is attained when a is orthogonal to a - b.

    >>> cosine_floor(diff=3, norm_b=5)
    0.8
    """
    return sqrt(1 - (diff / norm_b) ** 2)


@claim(
    "A2",
    title="staleness",
    kind="upper",
    origin="paper",
    measures="||grad f(w_t) - g_{t-1}|| for t >= 1 and exact gradients",
    requires=nonnegative("L", "eta", "norm_g", "norm_p"),
)
def staleness(*, L: Number, eta: Number, norm_g: Number, norm_p: Number) -> Number:
    """For f L-smooth, exact gradients, t >= 1: ||grad f(w_t) - g_{t-1}|| <= L ||w_t - y_{t-1}|| = L ||eta_{t-1}
    g_{t-1} + p_{t-1}|| <= L (eta_{t-1} ||g_{t-1}|| + ||p_{t-1}||), where ||p_{t-1}|| <= rho_{t-1}. With stochastic
    gradients ||g_{t-1} - grad f(y_{t-1})||, which vanishes neither with eta nor with rho, is to be added.

    Setting: w_t = w_{t-1} - eta_{t-1} g_{t-1}, that is, without momentum; eta, norm_g and norm_p are those of step t
    - 1.

    Source: Ji et al. (NeurIPS 2024) assert in prose that the error of S2-SAM is bounded, without constants; this
    inequality was derived by this project.

    Proof: g_{t-1} = grad f(y_{t-1}) and y_{t-1} - w_t = p_{t-1} + eta_{t-1} g_{t-1}; then smoothness and the
    triangle.

    >>> staleness(L=2, eta=0.25, norm_g=3, norm_p=0.5)
    2.5
    """
    return L * (eta * norm_g + norm_p)


@claim(
    "A2.cos",
    title="alignment of the stale gradient",
    kind="lower",
    origin="paper",
    measures="cos(theta_t), theta_t the angle between g_{t-1} and grad f(w_t), for t >= 1 and exact gradients",
    requires=(
        *nonnegative("L", "eta", "norm_p"),
        Requirement(
            "L (eta norm_g + norm_p)",
            "<",
            lambda norm_g, **_: norm_g,
            "norm_g",
            value=lambda L, eta, norm_g, norm_p, **_: staleness(L=L, eta=eta, norm_g=norm_g, norm_p=norm_p),
        ),
    ),
    trivial=lambda **_: -1,  # every cosine
)
def stale_cosine(*, L: Number, eta: Number, norm_g: Number, norm_p: Number) -> Number:
    """For f L-smooth, exact gradients, t >= 1, g_{t-1} not zero, s = L eta_{t-1} + L ||p_{t-1}||/||g_{t-1}|| < 1: the
    angle theta_t between g_{t-1} and grad f(w_t) has cos(theta_t) >= sqrt(1 - s^2) > 0.

    Setting: w_t = w_{t-1} - eta_{t-1} g_{t-1}, that is, without momentum; eta, norm_g and norm_p are those of step t
    - 1.

    Source: Ji et al. (NeurIPS 2024) assert in prose that the error of S2-SAM is bounded, without constants; this
    inequality was derived by this project.

    Proof: A2 gives ||grad f(w_t) - g_{t-1}|| <= s ||g_{t-1}||, and A1.cos with b = g_{t-1} does the rest.

    >>> stale_cosine(L=1, eta=0.5, norm_g=1, norm_p=0.1)
    0.8
    """
    return cosine_floor(diff=staleness(L=L, eta=eta, norm_g=norm_g, norm_p=norm_p), norm_b=norm_g)


@claim(
    "A3",
    title="gradient error",
    kind="upper",
    origin="paper",
    measures="||grad f(y_t^S2) - grad f(y_t^SAM)|| from one common w_t",
    requires=nonnegative("L", "rho"),
)
def gradient_error(*, L: Number, rho: Number) -> Number:
    """For f L-smooth, one common w_t: ||grad f(y_t^S2) - grad f(y_t^SAM)|| <= L ||p_t^S2 - p_t^SAM|| <= 2 L rho_t.

    Source: Ji et al. (NeurIPS 2024) assert in prose that the error of S2-SAM is bounded, without constants; this
    inequality was derived by this project.

    Proof: y_t^S2 - y_t^SAM = p_t^S2 - p_t^SAM, a difference of two vectors of norm at most rho_t; then smoothness.

    >>> gradient_error(L=2, rho=0.5)
    2.0
    """
    return 2 * L * rho


@claim(
    "A3.start",
    title="gradient error of the first step",
    kind="upper",
    origin="paper",
    measures="||grad f(y_0^S2) - grad f(y_0^SAM)|| from one common w_0",
    requires=nonnegative("L", "rho"),
)
def gradient_error_start(*, L: Number, rho: Number) -> Number:
    """For f L-smooth, one common w_0: ||grad f(y_0^S2) - grad f(y_0^SAM)|| <= L rho_0.

    Source: Ji et al. (NeurIPS 2024) assert in prose that the error of S2-SAM is bounded, without constants; this
    inequality was derived by this project.

    Proof: S2-SAM starts from d_{-1} = 0, so p_0^S2 = 0 and ||p_0^S2 - p_0^SAM|| = ||p_0^SAM|| <= rho_0.

    >>> gradient_error_start(L=2, rho=0.5)
    1.0
    """
    return L * rho


@claim(
    "A3.step",
    title="gradient error for a known perturbation error",
    kind="upper",
    origin="paper",
    measures="||grad f(y_t^S2) - grad f(y_t^SAM)|| from one common w_t",
    requires=nonnegative("L", "diff_p"),
)
def gradient_error_step(*, L: Number, diff_p: Number) -> Number:
    """For f L-smooth, one common w_t: ||grad f(y_t^S2) - grad f(y_t^SAM)|| <= L ||p_t^S2 - p_t^SAM||, which A1
    bounds.

    Setting: diff_p = ||p_t^S2 - p_t^SAM||.

    Source: Ji et al. (NeurIPS 2024) assert in prose that the error of S2-SAM is bounded, without constants; this
    inequality was derived by this project.

    Proof: y_t^S2 - y_t^SAM = p_t^S2 - p_t^SAM; then smoothness.

    >>> gradient_error_step(L=2, diff_p=0.25)
    0.5
    """
    return L * diff_p


@claim(
    "A5",
    title="alignment",
    kind="upper",
    origin="derived",
    measures="|f(y_t) - f(w_t) - rho_t cos(theta_t) ||grad f(w_t)|||",
    requires=nonnegative("L", "rho"),
)
def alignment(*, L: Number, rho: Number) -> Number:
    """For f L-smooth, p_t = rho_t d with a unit vector d, theta_t the angle between d and grad f(w_t): |f(y_t) -
    f(w_t) - rho_t cos(theta_t) ||grad f(w_t)||| <= L rho_t^2/2. Exact SAM has cos(theta_t) = 1; S2-SAM, for t >= 1
    and g_{t-1} not zero, the cosine that A2.cos bounds below. To first order the loss that S2-SAM differentiates
    exceeds f by cos(theta_t) times what SAM adds; the cosine may be negative.

    Source: this project; the inequality is the quadratic bound of smoothness (Nesterov 2018, Lemma 1.2.3).

    Proof: |f(w + p) - f(w) - <grad f(w), p>| <= L ||p||^2/2 with p = rho_t d, so <grad f(w), p> = rho_t cos(theta_t)
    ||grad f(w)||.

    >>> alignment(L=4, rho=0.5)
    0.5
    """
    return L * rho**2 / 2
