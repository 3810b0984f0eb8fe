# ruff: noqa: D205 (the first paragraph of a docstring is the statement, which is longer than a line)
"""B7, B8: which gradient a step takes on average, and which function a masked run minimises.

B7 compares means over the sample of one step from one common w_t; each of N samples, of function f_i with mean f, is
drawn with probability 1/N. Same-batch SAM takes perturbation and gradient from one sample, g = grad f_i(w + rho
n(grad f_i(w))); full-gradient SAM perturbs along grad f(w); independent-batch SAM draws a second sample for the
gradient.
"""

from math import inf

from theory.arithmetic import Number, sqrt
from theory.bounds.convergence import nonconvex
from theory.claims import claim
from theory.requirements import Requirement, limited, nonnegative, positive

__all__ = [
    "changing_masks", "full_batch_bias", "independent_batch_bias", "restriction", "same_batch_bias", "unbiased",
]


@claim(
    "B7",
    title="unbiasedness",
    kind="upper",
    origin="derived",
    measures="||E[g_t | past] - grad f(y_t)||, by enumeration of the samples of step t",
    condition="samples independent across steps",
)
def unbiased() -> Number:
    """If the sample of step t is independent of the past, E[g_t | past] = grad f(y_t) exactly for S2-SAM, because y_t
    is fixed before that sample is drawn; f is the mean of the functions that are differentiated.

    Setting: as for SGD it fails for sampling without replacement across steps (shuffled epochs), and f must be the
    function differentiated (batch statistics change it). The measured difference is compared with 0.

    Source: this project, derived.

    Proof: y_t = w_t + rho_t d_{t-1} is a function of the samples before t, so the mean over sample t is that at a
    fixed point.

    >>> unbiased()
    0
    """
    return 0


@claim(
    "B7.same-batch",
    title="bias of same-batch SAM at the kept weights",
    kind="upper",
    origin="derived",
    measures="||E[g_t | past] - grad f(w_t)|| for same-batch SAM",
    requires=nonnegative("L", "rho"),
    condition="samples independent across steps",
)
def same_batch_bias(*, L: Number, rho: Number) -> Number:
    """Every sample's f_i L-smooth: same-batch SAM has ||E[g_t | past] - grad f(w_t)|| <= L rho.

    Source: this project, derived; same-batch SAM is the algorithm of Foret et al. (ICLR 2021).

    Proof: grad f(w) is the mean of grad f_i(w), and ||grad f_i(w + p_i) - grad f_i(w)|| <= L ||p_i|| <= L rho for
    every i.

    >>> same_batch_bias(L=2, rho=0.5)
    1.0
    """
    return L * rho


@claim(
    "B7.full",
    title="same-batch SAM and full-gradient SAM",
    kind="upper",
    origin="derived",
    measures="||E[g_t | past] of same-batch SAM - g_t of full-gradient SAM||, both from one w_t",
    requires=(*nonnegative("L", "rho"), limited("N", ">=", 1)),
    condition="samples independent across steps",
)
def full_batch_bias(*, L: Number, rho: Number, N: Number) -> Number:
    """Every one of N >= 1 equally likely f_i L-smooth: E[g_t | past] of same-batch SAM differs from the g_t of
    full-gradient SAM by at most 2 L rho (1 - (2 - sqrt 2)/N) < 2 L rho. For N >= 2 no smaller bound holds; in one
    dimension, or for N = 1, 2 L rho (1 - 1/N) does.

    Source: this project, derived.

    Proof: with n_i = n(grad f_i(w)), e = n(grad f(w)), the difference is at most (L rho/N) sum_i ||n_i - e||. If e =
    0 every term is at most 1, if N = 1 it is 0. Else sum_i grad f_i(w) = r e, r > 0, so <n_i, e> > 0 for some i. If
    <n_j, e> >= 0 for another j, two terms are at most sqrt 2 and the others 2. If not, let x < 90 degrees be the
    angle of n_i to e; since the others cancel the part of grad f_i(w) across e but not the part along e, one of them
    has an angle y >= x to -e, and these two terms are 2 sin(x/2) + 2 cos(y/2) <= 2 sin(x/2) + 2 cos(x/2) <= 2 sqrt 2.
    Approached, for all N >= 2 in the plane, by the gradients (s, 1), (s, -1), (-s^2, 0), ..., s -> 0, and Hessians L
    times a reflection that turns n_i - e into one common direction.

    >>> round(full_batch_bias(L=2, rho=0.5, N=2), 4)
    1.4142
    """
    x = L * rho
    return 2 * x - (4 * x - sqrt(8 * x**2)) / N  # sqrt 2 in the arithmetic of x


@claim(
    "B7.independent",
    title="same-batch SAM and independent-batch SAM",
    kind="upper",
    origin="derived",
    measures="||E[g_t | past] of same-batch SAM - E[g_t | past] of independent-batch SAM||, both from one w_t",
    requires=nonnegative("L", "rho"),
    condition="samples independent across steps",
)
def independent_batch_bias(*, L: Number, rho: Number) -> Number:
    """Every sample's f_i L-smooth: E[g_t | past] of same-batch SAM differs from that of SAM with two independent
    samples, one for the perturbation and one for the gradient, by at most sqrt(2) L rho.

    Source: this project, derived.

    Proof: with i, j independent and n_i = n(grad f_i(w)) the difference is E[grad f_i(w + rho n_i) - grad f_i(w + rho
    n_j)], of norm at most L rho E||n_i - n_j|| <= L rho sqrt(2 E||n_i||^2 - 2 ||E n_i||^2) <= sqrt(2) L rho.

    >>> round(independent_batch_bias(L=2, rho=0.5), 4)
    1.4142
    """
    return sqrt(2 * (L * rho) ** 2)  # sqrt 2 in the arithmetic of L and rho


@claim(
    "B8",
    title="sparse training on a fixed support",
    kind="upper",
    origin="derived",
    measures="largest difference, over t and entries, of the masked path and the path on the restriction",
)
def restriction() -> Number:
    """With w_0 and every gradient masked by one fixed mask, S2-SAM on f equals S2-SAM on the restriction of f to the
    support, bit for bit if the restriction keeps the dense layout with zeros. The restriction has L_S <= L, sigma_S
    <= sigma and, if f is strongly convex, mu_S >= mu; so all of A and B hold for it, with its own constants, minimum
    and minimiser.

    Setting: a compacted vector sums its norm in another order, hence equals the dense one up to rounding only. The
    Polyak-Lojasiewicz condition is not inherited: (v - sin u)^2 has it, its restriction to v = 0 has not. The
    measured difference is compared with 0.

    Source: this project, derived; sparse training is the setting of Ji et al. (NeurIPS 2024).

    Proof: with masked w_t and g_{t-1}, y_t lies in the support, where the masked gradient of f is the gradient of the
    restriction; so every step is the same.

    >>> restriction()
    0
    """
    return 0


@claim(
    "B8.changing",
    title="non-convex, with masks that change",
    kind="upper",
    origin="derived",
    measures="(1/T) sum_t E||M_t grad f(w_t)||^2 + (1 - h)(1/T) sum_t E||M_t grad f(y_t)||^2",
    requires=(
        *positive("L", "eta"),
        Requirement("eta", "<=", lambda L, **_: 1 / L, "1/L"),
        *(Requirement(name, ">", lambda **_: -inf, "-inf") for name in ("gap", "jumps")),
        limited("T", ">=", 1),
        *nonnegative("P2", "sigma2"),
    ),
    condition="every mask is fixed before the sample of its first step is drawn",
)
def changing_masks(
    *, eta: Number, L: Number, gap: Number, T: Number, P2: Number, sigma2: Number, jumps: Number
) -> Number:
    """Under B1's hypotheses, gradients masked by M_t, the weights masked anew at each change of the mask, each mask
    fixed before the sample of its first step is drawn: (1/T) sum_t E||M_t grad f(w_t)||^2 + (1 - h)(1/T) sum_t E||M_t
    grad f(y_t)||^2 <= 2 (Delta + E sum_k delta_k)/(eta T) + L^2 E P^2 + h sigma^2, where delta_k = f(after) -
    f(before) is the jump of the objective at the k-th change and L is the constant of the whole f.

    Setting: jumps = E sum_k delta_k. A mask grown from the gradient of the batch it is then used on is not fixed in
    time. The stale direction is masked anew or left as it is: its norm is at most 1 either way, and P^2 is as
    realised.

    Source: this project, derived.

    Proof: the identity of B1 with M_t a and M_t b, for which all three assumptions hold; sum over t, where sum_t
    (f(w_t) - f(w_{t+1} before the change)) = f(w_0) - f(w_T) + sum_k delta_k.

    >>> changing_masks(eta=0.5, L=2, gap=1, T=4, P2=0.25, sigma2=0.5, jumps=0.5)
    3.0
    """
    return nonconvex(eta=eta, L=L, gap=gap + jumps, T=T, P2=P2, sigma2=sigma2)
