# ruff: noqa: D205 (the first paragraph of a docstring is the statement, which is longer than a line)
"""B10: where S2-SAM with constant radius ends on a quadratic in two dimensions and more.

f(w) = <w, H w>/2, exact gradients, constant eta and rho, h = eta L <= 1, L the largest eigenvalue of H, q L the modulus
of the next. Whether the neighbourhood of the minimiser shrinks with eta, as SAM's does (B5.sam), depends on q.
"""

from theory.arithmetic import Number, log, maximum, minimum, sqrt
from theory.claims import claim
from theory.requirements import limited, nonnegative, positive

__all__ = ["conjectured_limit", "gap_window", "isotropic_mean"]

_STEP = (*positive("L", "h"), limited("h", "<=", 1))
_GAP = (*nonnegative("q"), limited("q", "<", 1))


@claim(
    "B10.gap",
    title="a gap in the spectrum: the gradient does not vanish",
    kind="lower",
    origin="derived",
    measures="max over t_1 <= t <= t_1 + T of ||grad f(w_t)||, C taken at step t_1 - 1",
    requires=(
        *_STEP, *nonnegative("rho"), *_GAP, *nonnegative("C"), limited("C", "<=", 1), limited("T", ">=", 1),
    ),
)
def gap_window(*, L: Number, h: Number, rho: Number, q: Number, C: Number, T: Number) -> Number:
    """S2-SAM on f(w) = <w, H w>/2, L the simple largest eigenvalue of H with unit eigenvector xi, every other at most
    q L in modulus, q < 1, constant rho, 0 < h <= 1; t_1 >= 1 any step, C = |<xi, d_{t_1 - 1}>|, T >= 1: the largest
    ||grad f(w_t)|| over t_1 <= t <= t_1 + T is >= L rho min((1 - q) cos sin, cos (1 - r)/(1 + r)) with cos = min(C,
    1/sqrt(2)), sin = sqrt(1 - cos^2), r = (1 - h)^T. So limsup ||grad f(w_t)|| >= (1 - q) L rho/2 if limsup C >=
    1/sqrt(2), else >= (1 - q) C sqrt(1 - C^2) L rho with C this limsup, whatever eta.

    Setting: the finite statement is the proof's; as T grows it tends to the statement about limsup.

    Source: this project, derived. It says that the floor of B5.s2sam is no matter of one dimension.

    Proof: suppose every ||H w_t|| of the window is <= eps L rho, eps below the minimum. Up to scale d_t = (H/L)
    d_{t-1} + x with ||x|| <= eps; the angle phi of d to the line of xi obeys tan phi' <= (q sin phi + x_2)/(cos phi -
    x_1), which is <= tan phi because eps <= (1 - q) sin phi cos phi at the cone's own angle and which grows with phi:
    the cone is never left, and <xi, d_t> keeps its sign, + say. So u = <xi, w_t>, |u| <= eps rho, obeys u' <= (1 - h)
    u - h rho cos, and after T steps u <= r eps rho - (1 - r) rho cos, while u >= -eps rho: eps (1 + r) >= (1 - r) cos,
    a contradiction.

    >>> gap_window(L=2, h=0.5, rho=1, q=0.5, C=1, T=2)
    0.5
    """
    r = (1 - h) ** T
    cos2 = minimum(C**2, (1 + 0 * C) / 2)
    return L * rho * minimum((1 - q) * sqrt(cos2 * (1 - cos2)), sqrt(cos2) * (1 - r) / (1 + r))


@claim(
    "B10.isotropic",
    title="no gap in the spectrum: the gradient shrinks with the step",
    kind="upper",
    origin="derived",
    measures="(1/T) sum_t ||grad f(w_t)||^2, of a run given the unit direction d_{-1}",
    requires=(*_STEP, *positive("rho"), *nonnegative("W"), *positive("area"), limited("T", ">=", 1)),
    # for h <= 1 every w_t stays in the ball of radius max(||w_0||, rho), so that ||grad f(w_t)|| is known to stay below
    trivial=lambda L, rho, W, **_: L**2 * rho**2 * maximum(W, 1),
)
def isotropic_mean(*, L: Number, h: Number, rho: Number, W: Number, area: Number, T: Number) -> Number:
    """S2-SAM on f(w) = (L/2)||w||^2, constant rho > 0, 0 < h <= 1, started at w_0 with a unit direction d_{-1} that is
    not parallel to w_0: (1/T) sum_t ||grad f(w_t)||^2 <= L^2 rho^2 (h + (2 (1 - h) ln(max(sqrt(W), 1)/area) + W/h)/T)
    with W = ||w_0||^2/rho^2 and area that of the parallelogram of w_0/rho and d_{-1}. So the mean square gradient
    tends to L^2 rho^2 h at most, which vanishes with eta.

    Setting: from d_{-1} = 0 the run stays on one line and is B5's, whose floor does not vanish. The circle ||w|| = rho
    sqrt(h), turned by 2 arcsin(sqrt(h)/2) a step, is an exact orbit with ||grad f(w_t)||^2 = L^2 rho^2 h, and
    attracts: its linearisation has determinant (1 - h)(1 - h/2) and trace 2 - 7h/2 + h^2.

    Source: this project, derived.

    Proof: lengths in units of rho, y = w + d, N = ||y||, M = max(||w_0||, 1). The parallelogram of w and d has its area
    divided by N in a step, and it stays <= M, because ||w'|| <= (1 - h)||w|| + h; so sum ln N >= ln(area/M). And
    ||w'||^2 - ||w||^2 = -h (||w||^2 + (1 - h)(N^2 - 1) - h) with N^2 - 1 >= 2 ln N; sum over t.

    >>> isotropic_mean(L=2, h=0.25, rho=1, W=1, area=1, T=4)
    5.0
    """
    turn = 2 * (1 - h) * log(maximum(sqrt(W), 1) / area)
    return L**2 * rho**2 * (h + (turn + W / h) / T)


@claim(
    "B10.conjecture",
    title="the limit set of almost every run",
    kind="lower",
    origin="conjecture",
    measures="limsup ||grad f(w_t)||, estimated by the largest value in the tail of a long run",
    requires=(*_STEP, *nonnegative("rho"), *_GAP),
    expects="NOT REFUTED",
)
def conjectured_limit(*, L: Number, h: Number, rho: Number, q: Number) -> Number:
    """Conjecture: S2-SAM on f(w) = <w, H w>/2, L the simple largest eigenvalue of H, every other at most q L in
    modulus, q < 1, constant rho, 0 < h <= 1: for almost every w_0, limsup ||grad f(w_t)|| >= L rho max(1 - q,
    sqrt(h)), and it tends to (1 - q) L rho as eta tends to 0.

    Setting: the runs look chaotic or quasi-periodic. A run approaches its limit set within a few 1/(h q) steps, so that
    the tail of a shorter run may lie below and refutes nothing. The bound is the inequality; that (1 - q) L rho is also
    reached as eta tends to 0 is not what it measures.

    Source: this project, conjectured from runs, not derived.

    Proof: none, it is a conjecture; what is proved is B10.gap and B10.isotropic.

    >>> conjectured_limit(L=2, h=0.25, rho=1, q=0.75)
    1.0
    """
    return L * rho * maximum(1 - q, sqrt(h))
