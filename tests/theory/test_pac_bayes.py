"""C1 and C1': the formulas against independent sums, and the probability that C1' states, by simulation."""

import math

import numpy as np
import pytest

from theory import CLAIMS
from theory.bounds import pac_bayes

AT = {"loss": 0.1, "n": 1000, "J": 5, "masks": 30.0, "draws": 200, "delta": 0.05, "delta2": 0.01}
AT |= {"dist2": 3.0, "s": 0.2}


def test_sound_is_the_sum_of_its_terms():
    numerator = 3.0 / 0.08 + 30.0 + math.log(2 * math.sqrt(1000) * 5 / 0.05)
    expected = 0.1 + math.sqrt(math.log(100) / 400) + math.sqrt(numerator / 2000)
    assert pac_bayes.sound(**AT) == pytest.approx(expected, rel=1e-14)


def test_published_is_the_theorem_term_by_term():
    n, k, norm2, rho, delta = 1000, 50, 9.0, 0.5, 0.1
    first = k * math.log(1 + norm2 / rho**2 * (1 + math.sqrt(math.log(n) / k)) ** 2)
    expected = 0.2 + math.sqrt((first + 4 * math.log(n / delta) + 1 + 8 * math.log(6 * n + 3 * k)) / (n - 1))
    value = pac_bayes.published(loss=0.2, norm2=norm2, rho=rho, k=k, n=n, delta=delta)
    assert value == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("name", "value"), [("J", 6), ("masks", 31.0), ("dist2", 3.1), ("loss", 0.11), ("draws", 199), ("delta", 0.04),
                        ("delta2", 0.009), ("n", 999), ("s", 0.19)],
)  # fmt: skip
def test_everything_that_is_less_favourable_raises_the_bound(name, value):
    assert pac_bayes.sound(**{**AT, name: value}) > pac_bayes.sound(**AT)


def test_a_network_larger_than_its_sample_makes_the_published_bound_vacuous():
    claim = CLAIMS["C1"]
    point = {"loss": 0.0, "norm2": 1e4, "rho": 0.05, "k": 10**6, "n": 50_000, "delta": 0.05}
    assert claim(**point) > claim.trivial(**point) == 1


def failures(bound, repetitions=2000, n=40):
    """Share of samples that mislead the bound, for the loss [sign(w + eps) != y], y = +-1 with equal probability.

    E_eps L_D = 1/2 whatever w and s, while w is chosen by the sample's majority, which is the worst that one weight can
    do: the loss on the sample is its minority's share wherever the noise does not turn the sign.
    """
    generator = np.random.default_rng(3)
    plus = generator.binomial(n, 0.5, repetitions) / n
    w, s, draws = np.where(plus >= 0.5, 1.0, -1.0) * 0.5, 0.1, 1000
    share = np.array([0.5 * math.erfc(-abs(x) / s / math.sqrt(2)) for x in w])  # P(the sign is w's)
    kept = generator.binomial(draws, share) / draws
    minority = np.minimum(plus, 1 - plus)
    loss = kept * minority + (1 - kept) * (1 - minority)
    limit = bound(loss=loss, dist2=w**2, s=s, n=n, J=1, masks=0.0, draws=draws, delta=0.1, delta2=0.01)
    return float((limit < 0.5).mean())


def check_probability(bound):
    """At most delta + delta' = 0.11 of the samples mislead it; 2000 repetitions: 0.15 has probability below 1e-7."""
    assert failures(bound) <= 0.15


def test_the_bound_keeps_its_probability_and_its_mutants_do_not():
    check_probability(pac_bayes.sound)
    with pytest.raises(AssertionError):
        check_probability(lambda loss, **_: loss)
    with pytest.raises(AssertionError):
        check_probability(lambda loss, n, **_: loss + np.sqrt(0.1 / (2 * n)))
