# ruff: noqa: D205 (the first paragraph of a docstring is the statement, which is longer than a line)
"""A4: how far the path of S2-SAM is from the path of SAM.

Both start from one w_0 and see the same functions: f_t at step t may change with t (one common sequence of samples),
and L and mu are then constants of every f_t. eta and rho are constant, h = eta L, m = eta mu, e_T = ||w_T^S2 -
w_T^SAM||. The statements hold for any two sequences of perturbations of norm at most rho of which one starts with p_0
= 0.

In the proofs u = w^S2 - w^SAM, s = p^S2 - p^SAM, Y = u + s, G is the difference of the two gradients, u' = u - eta G
the next u, and D bounds ||s||: rho at t = 0, where S2-SAM does not perturb, and 2 rho after. So e_1 <= h rho.
"""

from theory.arithmetic import Number
from theory.claims import claim
from theory.requirements import Requirement, limited, nonnegative, positive

__all__ = [
    "contraction", "gain", "trajectory_convex", "trajectory_convex_linear", "trajectory_smooth", "trajectory_strong",
    "trajectory_strong_linear",
]

_RUN = (*nonnegative("rho"), limited("T", ">=", 1))
_STRONG = (*positive("m"), Requirement("m", "<=", lambda h, **_: h, "h"))


def _sum(h: Number, m: Number, **_: Number) -> Number:
    return h + m


def contraction(h: Number, m: Number) -> Number:
    """Q = 1 - 2hm/(h + m): the factor by which a step with exact gradients contracts squared distances.

    For h + m < 2 and 0 < m <= h it lies in (0, 1); at m = h it is 1 - h, at h = 1 it is (1 - m)/(1 + m).

    >>> contraction(h=0.5, m=0.5)
    0.5
    """
    return 1 - 2 * h * m / (h + m)


def gain(h: Number, m: Number) -> Number:
    """K = (h + m - 2hm)/(2 - h - m): how much of a squared perturbation a step lets into the squared distance.

    For h + m < 2 and 0 < m <= h it is positive; at m = h it is h, at h = 1 it is 1. It exceeds its value h/(2 - h) at
    m = 0 by 2m (1 - h)^2/((2 - h)(2 - h - m)), so that for small T and h other than 1 A4.convex may be below
    A4.strong.

    >>> gain(h=0.5, m=0.5)
    0.5
    """
    return (h + m - 2 * h * m) / (2 - h - m)


@claim(
    "A4.smooth",
    title="trajectory error, smooth",
    kind="upper",
    origin="paper",
    measures="e_T = ||w_T^S2 - w_T^SAM||, both from one w_0",
    requires=(*positive("h"), *_RUN),
)
def trajectory_smooth(*, h: Number, rho: Number, T: Number) -> Number:
    """S2-SAM and SAM from one w_0 with constant eta and rho, both on f_t at step t, every f_t L-smooth, any h = eta L
    > 0, T >= 1: e_T <= rho ((2 + h)(1 + h)^(T-1) - 2). Over all perturbations of norm at most rho, the first of
    S2-SAM being zero, it is attained for every h and T by f = -L w^2/2 with opposite perturbations.

    Source: Ji et al. (NeurIPS 2024) assert in prose that the error of S2-SAM is bounded, without constants; this
    inequality was derived by this project.

    Proof: ||u'|| <= ||u|| + eta ||G|| <= (1 + h)||u|| + h D, from u = 0 with D = rho once and 2 rho then.

    >>> trajectory_smooth(h=1, rho=0.5, T=2)
    2.0
    """
    return rho * ((2 + h) * (1 + h) ** (T - 1) - 2)


@claim(
    "A4.convex",
    title="squared trajectory error, convex",
    kind="upper",
    origin="paper",
    measures="e_T^2 = ||w_T^S2 - w_T^SAM||^2, both from one w_0",
    requires=(*positive("h"), limited("h", "<", 2), *_RUN),
)
def trajectory_convex(*, h: Number, rho: Number, T: Number) -> Number:
    """S2-SAM and SAM from one w_0 with constant eta and rho, both on f_t at step t, every f_t convex and L-smooth, h
    = eta L, 0 < h < 2, T >= 1: e_T^2 <= rho^2 (h^2 + 4 (T - 1) h/(2 - h)). Over all perturbations of norm at most rho,
    the first of S2-SAM being zero, it is attained at T = 1 for every h, and at h = 1 for every T.

    Source: Ji et al. (NeurIPS 2024) assert in prose that the error of S2-SAM is bounded, without constants; this
    inequality was derived by this project.

    Proof: the first step leads from u = 0 to ||u'|| = eta ||G|| <= h ||s|| <= h rho. Then, with S = <G,Y> - ||G||^2/L
    >= 0 and l = h/(2 - h): ||u||^2 + l D^2 - ||u'||^2 = 2 eta S + l (D^2 - ||s||^2) + l ||s - ((2 - h)/L) G||^2 >= 0;
    sum, D^2 = 4 rho^2. Attained at h = 1 by f_t(w) = (L/2)<e_t, w>^2 in the plane, e_t a unit vector orthogonal to
    u_t and parallel to s_t.

    >>> trajectory_convex(h=1, rho=0.5, T=4)
    3.25
    """
    return rho**2 * (h**2 + 4 * (T - 1) * h / (2 - h))


@claim(
    "A4.convex-linear",
    title="trajectory error, convex",
    kind="upper",
    origin="paper",
    measures="e_T = ||w_T^S2 - w_T^SAM||, both from one w_0",
    requires=(*positive("h"), limited("h", "<=", 2), *_RUN),
)
def trajectory_convex_linear(*, h: Number, rho: Number, T: Number) -> Number:
    """S2-SAM and SAM from one w_0 with constant eta and rho, both on f_t at step t, every f_t convex and L-smooth, h
    = eta L, 0 < h <= 2, T >= 1: e_T <= h rho (2T - 1).

    Source: Ji et al. (NeurIPS 2024) assert in prose that the error of S2-SAM is bounded, without constants; this
    inequality was derived by this project.

    Proof: a gradient step with h <= 2 is non-expansive on a convex f_t, and each perturbation moves it by at most h
    ||p||: ||u'|| <= ||u|| + h (||p^S2|| + ||p^SAM||).

    >>> trajectory_convex_linear(h=1, rho=0.5, T=4)
    3.5
    """
    return h * rho * (2 * T - 1)


@claim(
    "A4.strong",
    title="squared trajectory error, strongly convex",
    kind="upper",
    origin="paper",
    measures="e_T^2 = ||w_T^S2 - w_T^SAM||^2, both from one w_0",
    requires=(*_STRONG, limited("h + m", "<", 2, value=_sum), *_RUN),
)
def trajectory_strong(*, h: Number, m: Number, rho: Number, T: Number) -> Number:
    """S2-SAM and SAM from one w_0 with constant eta and rho, both on f_t at step t, every f_t mu-strongly convex and
    L-smooth, h = eta L, m = eta mu, 0 < m <= h, h + m < 2, T >= 1: e_T^2 <= rho^2 (h^2 Q^(T-1) + 4K (1 - Q^(T-1))/(1 -
    Q)) with Q = 1 - 2hm/(h + m), K = (h + m - 2hm)/(2 - h - m). So e_T <= 2 rho sqrt(K/(1 - Q)) for every T, which is
    2 rho sqrt((kappa + 1)/2) at h = 1. Over all perturbations of norm at most rho, the first of S2-SAM being zero, it
    is attained at T = 1 for every h, and at h = 1 > m for every T.

    Source: Ji et al. (NeurIPS 2024) assert in prose that the error of S2-SAM is bounded, without constants; this
    inequality was derived by this project.

    Proof: the first step leads from u = 0 to ||u'|| = eta ||G|| <= h ||s|| <= h rho. Then, mu < L: with S = <G - mu Y,
    L Y - G> >= 0, Z = G - ((L + mu)/2) Y, c = (h + m)/2, r = (h - m)/2 and nu = c (1 - c)/r^2: Q||u||^2 + K D^2 -
    ||u'||^2 = K (D^2 - ||s||^2) + (1 + nu) eta^2 S + (1/nu)||(1 - c) u - c s + nu eta Z||^2 >= 0. mu = L: G = L Y, so
    u' = (1 - h) u - h s and the same inequality, with Q = 1 - h and K = h, is the convexity of the square. Sum, D^2 =
    4 rho^2; h^2 <= K, because K - h^2 = (h + m)(1 - h)^2/(2 - h - m). Attained at h = 1 in the plane by quadratic f_t
    of Hessian mu I + (L - mu) e_t e_t', with <u_t, s_t> = -m ||u_t||^2/(1 + m) and the unit vector e_t that makes the
    last square zero.

    >>> trajectory_strong(h=0.5, m=0.5, rho=1, T=2)
    2.125
    """
    Q = contraction(h, m)
    return rho**2 * (h**2 * Q ** (T - 1) + 4 * gain(h, m) * (1 - Q ** (T - 1)) / (1 - Q))


@claim(
    "A4.strong-linear",
    title="trajectory error, strongly convex",
    kind="upper",
    origin="paper",
    measures="e_T = ||w_T^S2 - w_T^SAM||, both from one w_0",
    requires=(*_STRONG, limited("h + m", "<=", 2, value=_sum), *_RUN),
)
def trajectory_strong_linear(*, h: Number, m: Number, rho: Number, T: Number) -> Number:
    """S2-SAM and SAM from one w_0 with constant eta and rho, both on f_t at step t, every f_t mu-strongly convex and
    L-smooth, h = eta L, m = eta mu, 0 < m <= h, h + m <= 2, T >= 1: e_T <= h rho ((1 - m)^(T-1) + 2 (1 - (1 -
    m)^(T-1))/m).

    Source: Ji et al. (NeurIPS 2024) assert in prose that the error of S2-SAM is bounded, without constants; this
    inequality was derived by this project.

    Proof: a gradient step with h + m <= 2 contracts distances by 1 - m, and each perturbation moves it by at most h
    ||p||: ||u'|| <= (1 - m)||u|| + h (||p^S2|| + ||p^SAM||).

    >>> trajectory_strong_linear(h=0.5, m=0.5, rho=1, T=2)
    1.25
    """
    return h * rho * ((1 - m) ** (T - 1) + 2 * (1 - (1 - m) ** (T - 1)) / m)
