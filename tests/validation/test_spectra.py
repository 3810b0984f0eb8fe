"""Enclosures contain the true eigenvalues, which 50 digits know; without their margin they do not."""

from fractions import Fraction

import mpmath
import pytest
import strategies
import torch
from hypothesis import given
from hypothesis import strategies as st

from validation.draw import normal, rotations
from validation.spectra import U, checked, downward, enclosure, filled, gram, upward


def true_range(G):
    """Smallest and largest eigenvalue of one symmetric matrix, in 50 digits."""
    with mpmath.workdps(50):
        lam = mpmath.eigsy(mpmath.matrix(G.tolist()), eigvals_only=True)
        return min(lam), max(lam)


@st.composite
def symmetric(draw):
    """Symmetric matrices with log-spread spectra of any sign, and clustered ones."""
    d, kappa, top = draw(st.integers(1, 5)), draw(strategies.positive(1.0, 1e8)), draw(strategies.positive(1e-6, 1e6))
    generator = draw(strategies.generators())
    part = torch.rand(1, d, generator=generator, dtype=torch.float64)
    sign = torch.where(torch.rand(1, d, generator=generator) < 0.3, -1.0, 1.0)
    Q = rotations(1, d, generator)
    G = (Q * (sign * top * kappa**-part)[:, None]) @ Q.mT
    return (G + G.mT) / 2


def assert_encloses(low, high, G):
    bottom, top = true_range(G[0])
    assert float(low) <= bottom, "the smallest eigenvalue is outside"
    assert top <= float(high), "the largest eigenvalue is outside"


@given(G=symmetric())
def test_enclosures_contain_the_eigenvalues_and_are_narrow(G):
    """The width is at most the stated 2 d (d + 3) U, plus LAPACK's own residual and non-orthogonality, some d U each.
    """
    low, high = enclosure(G)
    assert_encloses(low, high, G)
    d, size = G.shape[-1], float(G.abs().amax()) * G.shape[-1]
    bottom, top = true_range(G[0])
    assert max(float(bottom - float(low)), float(float(high) - top)) <= 20 * d * (d + 3) * U * size


def test_without_the_margin_an_eigenvalue_escapes():
    generator = torch.Generator().manual_seed(0)
    escaped = 0
    for _ in range(20):
        G = normal(1, 4, 4, generator=generator)
        G = G + G.mT
        lam = torch.linalg.eigvalsh(G)
        try:
            assert_encloses(lam.amin(), lam.amax(), G)
        except AssertionError:
            escaped += 1
    assert escaped > 0


def test_diagonal_matrices_are_exact():
    lam = normal(5, 3, generator=torch.Generator().manual_seed(0))
    low, high = enclosure(torch.diag_embed(lam))
    assert torch.equal(low, lam.amin(1))
    assert torch.equal(high, lam.amax(1))


@given(seed=st.integers(0, 2**32 - 1), m=st.integers(1, 6), d=st.integers(1, 4))
def test_gram_matrices_err_by_no_more_than_they_say(seed, m, d):
    generator = torch.Generator().manual_seed(seed)
    X, weight = normal(1, m, d, generator=generator), normal(1, m, generator=generator).abs()
    G, error = gram(X, weight)
    assert torch.equal(G, G.mT)
    rows = [[Fraction(x) for x in row] for row in X[0].tolist()]
    w = [Fraction(x) for x in weight[0].tolist()]
    exact_entry = lambda a, b: sum(w[j] * rows[j][a] * rows[j][b] for j in range(m))  # noqa: E731
    gap = [Fraction(float(G[0, a, b])) - exact_entry(a, b) for a in range(d) for b in range(d)]
    assert sum(x * x for x in gap) <= Fraction(float(error)) ** 2  # the Frobenius norm is at least the spectral norm
    low, high = enclosure(G, error)
    with mpmath.workdps(50):
        exact = mpmath.matrix(d, d)
        for k, x in enumerate(gap):
            exact[k // d, k % d] = mpmath.mpf(float(G[0, k // d, k % d])) - mpmath.mpf(x.numerator) / x.denominator
        lam = mpmath.eigsy(exact, eigvals_only=True)
        assert float(low) <= min(lam)
        assert max(lam) <= float(high)


@given(G=symmetric(), data=st.data())
def test_filling_leaves_the_extreme_eigenvalues_of_the_block(G, data):
    d = G.shape[-1]
    mask = torch.tensor([data.draw(st.lists(st.booleans(), min_size=d, max_size=d))])
    F = filled(G, mask)
    assert torch.equal(F, F.mT)
    if not bool(mask.any()):
        assert torch.equal(F[0], torch.eye(d, dtype=torch.float64))
        return
    block = G[0][mask[0]][:, mask[0]]
    for whole, part in zip(true_range(F[0]), true_range(block), strict=True):
        assert abs(whole - part) <= 1e-40 * (abs(part) + 1)  # equal; the 50-digit solver leaves a few last digits


@given(x=strategies.positive(1e-200, 1e200), k=st.integers(0, 100))
def test_rounding_outwards_outweighs_the_roundings(x, k):
    """(1 + U)^k and (1 - U)^k are what k roundings can have done."""
    value = torch.tensor(x, dtype=torch.float64)
    assert Fraction(float(upward(value, k))) * (1 - Fraction(U)) ** k >= Fraction(x)
    assert Fraction(float(downward(value, k))) * (1 + Fraction(U)) ** k <= Fraction(x)
    assert float(upward(torch.zeros(1, dtype=torch.float64), k)) == 0.0


def test_checked_names_the_argument():
    with pytest.raises(ValueError, match=r"rows must be a float64 .*\('\*', 2\), got torch.float32 \(3, 2\)"):
        checked("rows", torch.zeros(3, 2), None, 2)
