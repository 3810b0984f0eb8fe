# ruff: noqa: D205 (the first paragraph of a docstring is the statement, which is longer than a line)
"""B1'.fstar: B1' where Delta is f(w_0) - f*, by which every weight of the run is bounded and not only the last.

The method and the letters of the proof are those of `theory.bounds.convergence`; P2 is here a sequence over t, as in
B4, so that T = len(P2). A step on a parabola multiplies a gradient norm by |1 - h| and adds h L ||p_t|| at most; the
bound says when nothing is worse than the parabola, and stays true where something is.
"""

from collections.abc import Sequence

from theory.arithmetic import Number, maximum, minimum, sqrt
from theory.bounds.convergence import weights_only
from theory.bounds.linear import PATH
from theory.claims import claim
from theory.requirements import Requirement, nonnegative, positive

__all__ = ["backward", "from_minimum", "parabola_norms"]

TINY = 2**60  # x_t is at least sqrt(2 L Delta)/TINY: it may be 0 at h = 1, where it does not matter


def parabola_norms(*, h: Number, start: Number, moves: Sequence[Number], noise: Number) -> list[Number]:
    """Gradient norms x_0 = start, x_{t+1} = sqrt((|1 - h| x_t + h moves_t)^2 + noise), one more than moves.

    On (L/2)||w||^2 they are those of p_t = -sign(1 - h)||p_t|| w_t/||w_t||, with moves L ||p_t|| and no noise.

    >>> parabola_norms(h=0.5, start=2, moves=[1], noise=0)
    [2, 1.5]
    """
    norms = [start]
    for move in moves:
        norms.append(sqrt((abs(1 - h) * norms[-1] + h * move) ** 2 + noise))
    return norms


def backward(weight: Number, *, h: Number, x: Number, move: Number, noise: Number) -> tuple[Number, Number]:
    """One step of B1'.fstar's proof, backwards: from l_{t+1} to the second member of l_t, and what the step costs.

    Args:
        weight: l_{t+1}.
        h: eta L.
        x: x_t > 0.
        move: L ||p_t||.
        noise: h^2 sigma^2.

    >>> backward(1, h=0.5, x=1, move=1, noise=0)
    (1.5, 0.5)
    """
    slope = h * abs(1 - h)
    return 1 + weight * ((1 - h) ** 2 + slope * move / x), weight * (h**2 * move**2 + slope * x * move + noise)


@claim(
    "B1'.fstar",
    title="non-convex, the kept weights, Delta from a lower bound",
    kind="upper",
    origin="derived",
    measures="sqrt((1/T) sum_t E||grad f(w_t)||^2)",
    requires=(
        *positive("L", "eta"),
        Requirement("eta", "<", lambda L, **_: 2 / L, "2/L"),
        *positive("gap"),
        *nonnegative("sigma2"),
        *PATH,
    ),
)
def from_minimum(*, eta: Number, L: Number, gap: Number, P2: Sequence[Number], sigma2: Number) -> Number:
    """For f L-smooth with lower bound f* < f(w_0), 0 < h = eta L < 2, E[g_t | past] = grad f(y_t) with variance at
    most sigma^2, p_t determined by the past: sqrt((1/T) sum_t E||grad f(w_t)||^2) <= sqrt(S/T), where S = 2 L l_0 Delta
    + sum_{t < T-1} l_{t+1}(h^2 L^2 P_t^2 + h |1 - h| L P_t x_t + h^2 sigma^2), Delta = f(w_0) - f*, P_t^2 =
    E||p_t||^2, l_{T-1} = 1 and l_t = max(l_{t+1}, 1 + l_{t+1}((1 - h)^2 + h |1 - h| L P_t/x_t)), for any x_t > 0; the
    smaller of two choices is taken, x_0 = sqrt(2 L Delta), x_{t+1} = sqrt((|1 - h| x_t + h L P_t)^2 + h^2 sigma^2),
    and x_t = B1' without P_{T-1}. With the first choice S = sum_t x_t^2 as long as every maximum is its second member,
    and then, for sigma = 0, no smaller bound holds: (L/2)||w||^2 with p_t = -sign(1 - h)||p_t|| w_t/||w_t|| attains it.

    Setting: see the module. Delta is f(w_0) - f*, never a measured decrease; P_{T-1} does not enter. At h = 1, and at
    P = 0, every maximum is its second member; so it is for constant ||p_t|| = rho if sqrt(2 L Delta) <= L rho max(1,
    h/(2 - h)). For 1 <= h < 2 the perturbations that attain it are SAM's own.

    Source: this project, derived.

    Proof: with tau_t = L P_t/x_t and c_t = h (2 - h) - h |1 - h| tau_t the identity of B1', times 2 h L l_{t+1}, is 2L
    l_{t+1}(f(w_t) - f(w_{t+1})) + l_{t+1}(h^2 L^2 P_t^2 + h |1 - h| L P_t x_t + h^2 sigma^2) - l_{t+1} c_t ||a||^2 >=
    0 in the mean; add (l_t - l_{t+1})(2L (f(w_t) - f*) - ||a||^2) >= 0: since l_t - l_{t+1} + l_{t+1} c_t >= 1 the sum
    over t < T - 1, and ||a||^2 <= 2L (f - f*) at T - 1, give S. On the parabola's path every step is an equality.

    >>> from_minimum(eta=0.5, L=1, gap=2, P2=[1, 1], sigma2=0)
    1.7677669529663689
    """
    h, T = eta * L, len(P2)
    moves = [L * sqrt(P2[t]) for t in range(T - 1)]
    noise, start = h**2 * sigma2, sqrt(2 * L * gap)
    rest = sum((P2[t] for t in range(T - 1)), 0 * gap) / T
    level = weights_only(eta=eta, L=L, gap=gap, T=T, P2=rest, sigma2=sigma2)
    norms = [maximum(x, start / TINY) for x in parabola_norms(h=h, start=start, moves=moves, noise=noise)]
    return sqrt(minimum(*(_total(h, start, xs, moves, noise) for xs in (norms, [level] * T))) / T)


def _total(h: Number, start: Number, norms: list[Number], moves: list[Number], noise: Number) -> Number:
    """S for these x_t."""
    weight: Number = 1
    total: Number = 0
    for t in reversed(range(len(moves))):
        grown, cost = backward(weight, h=h, x=norms[t], move=moves[t], noise=noise)
        weight, total = maximum(weight, grown), total + cost
    return weight * start**2 + total
