# ruff: noqa: D205 (the first paragraph of a docstring is the statement, which is longer than a line)
"""B9: B1 for a method with a momentum buffer (heavy ball), around S2-SAM, SAM or SGD.

v_t = beta v_{t-1} + g_t, v_{-1} = 0, w_{t+1} = w_t - eta v_t, as in torch.optim.SGD without dampening; g_t, p_t and
sigma^2 are those of `theory.bounds.convergence`, alpha = eta/(1 - beta).
"""

from math import inf

from theory.arithmetic import Number
from theory.claims import claim
from theory.requirements import Requirement, limited, nonnegative, positive

__all__ = ["momentum"]


@claim(
    "B9",
    title="non-convex, with momentum",
    kind="upper",
    origin="paper",
    measures=(
        "(1/T) sum_t E||grad f(w_t)||^2 + (1 - L alpha (1 + beta)/(1 - beta))(1/T) sum_t E||grad f(y_t)||^2, "
        "Delta = f(w_0) - E f(z_T)"
    ),
    requires=(
        *positive("L", "eta"),
        *nonnegative("beta"),
        limited("beta", "<", 1),
        Requirement(
            "eta", "<=", lambda L, beta, **_: (1 - beta) ** 2 / (L * (1 + beta)), "(1 - beta)^2/(L (1 + beta))"
        ),
        Requirement("gap", ">", lambda **_: -inf, "-inf"),  # a measured decrease may be negative, but not nan
        limited("T", ">=", 1),
        *nonnegative("P2", "sigma2"),
    ),
)
def momentum(
    *, eta: Number, beta: Number, L: Number, gap: Number, T: Number, P2: Number, sigma2: Number
) -> Number:
    """For f L-smooth, 0 <= beta < 1, eta <= (1 - beta)^2/(L (1 + beta)), alpha = eta/(1 - beta), E[g_t | past] = grad
    f(y_t) with variance at most sigma^2, p_t determined by the past: (1/T) sum_t E||grad f(w_t)||^2 + (1 - L alpha (1
    + beta)/(1 - beta))(1/T) sum_t E||grad f(y_t)||^2 <= 2 Delta/(alpha T) + L^2 E P^2 + L alpha sigma^2/(1 - beta),
    where Delta = f(w_0) - f* or the measured f(w_0) - E f(z_T), and P^2 = (1/T) sum_t ||p_t||^2.

    Setting: see the module. beta = 0 is B1. A measured Delta takes z_T = w_T - (eta beta/(1 - beta)) v_{T-1}, never
    w_T: with f(w_0) - E f(w_T) the statement is false.

    Source: Ji et al. (NeurIPS 2024) assert in prose that S2-SAM, which they run with momentum, converges; this
    inequality was derived by this project.

    Proof: z_0 = w_0 and z_{t+1} = z_t - alpha g_t. With a = grad f(w_t), b = grad f(y_t), c = grad f(z_t), V the
    variance of g_t, gamma = L alpha beta/(1 - beta) > 0, S1 = f(z_t) - alpha <c,b> + (L alpha^2/2)(||b||^2 + V) -
    f(z_{t+1}) >= 0, S2 = L^2 ||p_t||^2 - ||b - a||^2 >= 0, S3 = sigma^2 - V >= 0 and S5 = L^2 ||z_t - w_t||^2 - ||c -
    a||^2 >= 0: f(z_t) - f(z_{t+1}) + (alpha/2)(L^2 ||p_t||^2 + L^2 ||z_t - w_t||^2/gamma + L alpha sigma^2) -
    (alpha/2)||a||^2 - (alpha/2)(1 - gamma - L alpha)||b||^2 = S1 + (alpha/2) S2 + (alpha/(2 gamma)) S5 + (L alpha^2/2)
    S3 + (alpha/(2 gamma))||gamma b + c - a||^2. And sum_t ||v_t||^2 <= sum_t ||g_t||^2/(1 - beta)^2, from beta||v||^2
    + ||g||^2/(1 - beta) - ||beta v + g||^2 = beta (1 - beta)||v - g/(1 - beta)||^2, so that sum_t L^2 ||z_t -
    w_t||^2/gamma <= gamma sum_t E||g_t||^2 <= gamma sum_t (E||b||^2 + sigma^2); sum over t.

    >>> momentum(eta=0.125, beta=0.5, L=1, gap=1, T=4, P2=0.25, sigma2=0.5)
    2.5
    """
    alpha = eta / (1 - beta)
    return 2 * gap / (alpha * T) + L**2 * P2 + L * alpha * sigma2 / (1 - beta)
