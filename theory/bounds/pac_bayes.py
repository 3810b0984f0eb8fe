# ruff: noqa: D205 (the first paragraph of a docstring is the statement, which is longer than a line)
"""C1, C1': what a PAC-Bayes bound says about the population loss of flat minima.

Losses lie in [0, 1]; use the 0-1 loss, one k and one n in all the terms. L_S is the mean loss over the n examples of
the sample S, L_D the expectation over their distribution. A value of 1 or more says nothing: it is vacuous.
"""

from theory.arithmetic import Number, log, sqrt
from theory.claims import claim
from theory.requirements import Requirement, limited, nonnegative, positive

__all__ = ["published", "sound"]


def _one(**_: Number) -> int:
    """What is known of a mean loss without any bound."""
    return 1


def _probability(name: str) -> tuple[Requirement, ...]:
    return *positive(name), limited(name, "<", 1)


_LOSS = (*nonnegative("loss"), limited("loss", "<=", 1))


@claim(
    "C1",
    title="PAC-Bayes bound as published",
    kind="upper",
    origin="paper",
    measures="L_D(w), by the error on held-out examples",
    requires=(
        *_LOSS, *nonnegative("norm2"), *positive("rho"), limited("k", ">=", 1), limited("n", ">=", 2),
        *_probability("delta"),
    ),
    trivial=_one,
    condition=(
        "L_D(w) <= E L_D(w + eps) for Gaussian eps, which no sample can show, rho and the mask are fixed before S is "
        "seen, and the maximum over the ball is attained by an ascent step"
    ),
    expects="INCONCLUSIVE (vacuous)",
)
def published(*, loss: Number, norm2: Number, rho: Number, k: Number, n: Number, delta: Number) -> Number:
    """Losses in [0, 1], n independent examples, k weights, rho fixed before S is seen, L_D(w) <= E L_D(w + eps) for eps
    ~ N(0, rho^2 I): with probability at least 1 - delta, L_D(w) <= max over ||eps|| <= rho of L_S(w + eps) + sqrt((k
    log(1 + (||w||^2/rho^2)(1 + sqrt(log(n)/k))^2) + 4 log(n/delta) + 1 + 8 log(6n + 3k))/(n - 1)).

    Setting: an illustration. The hypothesis on L_D cannot be checked on S, and the proof needs it at the standard
    deviation rho/(sqrt(k) + sqrt(log(n))), not rho; the maximum is not computable, and an ascent step only bounds it
    from below; k is the number of non-zero weights only if the mask is independent of S.

    Source: Foret et al. (ICLR 2021), Theorem 2, on which Ji et al. (NeurIPS 2024) rest their study of generalisation;
    the term that the theorem leaves as O~(1) was written out by this project.

    Proof: theirs, whose last line has 8 log(6n + 3k) for O~(1) and has lost the constant 1 of its bound of the
    Kullback-Leibler divergence: 1 + 8 log(6n + 3k).

    >>> f"{published(loss=0, norm2=100, rho=0.5, k=100, n=60000, delta=0.05):.4f}"
    '0.1166'
    """
    width = (1 + sqrt(log(n) / k)) ** 2
    numerator = k * log(1 + norm2 / rho**2 * width) + 4 * log(n / delta) + 1 + 8 * log(6 * n + 3 * k)
    return loss + sqrt(numerator / (n - 1))


@claim(
    "C1'",
    title="PAC-Bayes bound, sound and computable",
    kind="upper",
    origin="derived",
    measures="E_eps L_D(w + eps), eps ~ N(0, s^2 I) on the weights kept, by the error on held-out examples",
    requires=(
        *_LOSS, *nonnegative("dist2"), *positive("s"), limited("n", ">=", 8), limited("J", ">=", 1),
        *nonnegative("masks"), limited("draws", ">=", 1), *_probability("delta"), *_probability("delta2"),
    ),
    trivial=_one,
    condition=(
        "the examples are independent and what the statement calls fixed was fixed before S was seen; it may fail with "
        "probability delta + delta'"
    ),
)
def sound(
    *,
    loss: Number,
    dist2: Number,
    s: Number,
    n: Number,
    J: Number,
    masks: Number,
    draws: Number,
    delta: Number,
    delta2: Number,
) -> Number:
    """Losses in [0, 1], n >= 8 independent examples, w_0 independent of S, s in a grid of J values fixed in advance,
    eps ~ N(0, s^2 I) on the weights kept: with probability at least 1 - delta - delta', E_eps L_D(w + eps) <= loss +
    sqrt(log(1/delta')/(2 K)) + sqrt((||w - w_0||^2/(2 s^2) + log M + log(2 sqrt(n) J/delta))/(2n)) where loss is the
    mean of L_S(w + eps) over K draws of eps, and M the number of masks that S could have chosen.

    Setting: it holds for every w and s at once, so both may depend on S; the draws are made once these are fixed. M =
    1 if the mask is independent of S; if it depends on S and keeps k of d weights, k fixed in advance, M =
    binomial(d, k), times d if k depends on S too (per layer: the product). w_0 is taken on the mask, zero elsewhere.
    It assumes nothing of L_D, and bounds the perturbed network, not w.

    Source: McAllester (Machine Learning 2003) and Maurer (2004); put in this form by this project.

    Proof: for a prior P independent of S and n >= 8, with probability 1 - delta the binary relative entropy of E_Q L_S
    and E_Q L_D is <= (KL(Q, P) + log(2 sqrt(n)/delta))/n for every Q (Maurer), and it is >= 2 (E_Q L_D - E_Q L_S)^2
    (Pinsker). Q = N(w, s^2 I), P = N(w_0, s^2 I): KL = ||w - w_0||^2/(2 s^2); a union bound over J values of s and M
    masks; Hoeffding over the K draws, each a number in [0, 1].

    >>> f"{sound(loss=0.05, dist2=4, s=0.1, n=1500, J=4, masks=0, draws=1000, delta=0.025, delta2=0.025):.4f}"
    '0.3572'
    """
    divergence = dist2 / (2 * s**2)
    complexity = (divergence + masks + log(2 * sqrt(n) * J / delta)) / (2 * n)
    return loss + sqrt(log(1 / delta2) / (2 * draws)) + sqrt(complexity)
