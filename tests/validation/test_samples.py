"""Finite sums: exact cancellation, exact variance, and what a wrong variance, bias or index would look like."""

from dataclasses import replace
from fractions import Fraction

import problem_checks as checks
import pytest
import strategies
import torch
from hypothesis import given

from validation import problems
from validation.problems import FAMILIES
from validation.samples import rounded

NOISY = ("noisy-strong", "noisy-convex")
SAMPLED = (*NOISY, "noisy-cosine", "noisy-logcosh")


def family(name, size=6, seed=0):
    """A batch of a family, and two points per instance."""
    generator = torch.Generator().manual_seed(seed)
    problem = FAMILIES[name](size, generator)
    return problem, problem.start(generator, 1.0), problem.start(generator, 0.1)


def test_shifts_cancel_and_sigma2_is_exact():
    problem, _, _ = family("noisy-strong")
    for c, sigma2 in zip(problem.shifts.tolist(), problem.sigma2.tolist(), strict=True):
        columns = [[Fraction(x) for x in column] for column in zip(*c, strict=True)]
        assert all(sum(column) == 0 for column in columns)
        assert sum(x * x for column in columns for x in column) / len(c) == Fraction(sigma2)


@given(problem=strategies.sampled())
def test_shifts_cancel_for_any_number_of_samples(problem):
    """For S not a power of two, the division by S is rounded up: by at most 2 roundings' worth, 4 U and 1 more U."""
    if not isinstance(problem, problems.Noisy):
        assert bool((problem.sigma2 > 0).all())
        return
    for c, sigma2 in zip(problem.shifts.tolist(), problem.sigma2.tolist(), strict=True):
        true = sum(Fraction(x) ** 2 for row in c for x in row) / len(c)
        assert all(sum(map(Fraction, column)) == 0 for column in zip(*c, strict=True))
        assert true <= Fraction(sigma2) <= true * (1 + 6 * Fraction(checks.U))


@pytest.mark.parametrize("name", NOISY)
def test_half_the_variance_is_caught(name):
    problem, v, w = family(name)
    checks.check_samples(problem, v, w)
    with pytest.raises(AssertionError, match="variance"):
        checks.check_samples(replace(problem, sigma2=problem.sigma2 / 2), v, w)


@pytest.mark.parametrize("name", SAMPLED)
def test_a_bias_is_caught(name):
    problem, v, w = family(name)
    parent = replace(problem, parent=replace(problem.parent, center=problem.center + 1e-6))

    class Biased(type(problem)):
        def sample_grads(self, w):
            return parent.sample_grads(w)

    biased = Biased(**vars(problem))
    checks.check_samples(problem, v, w)
    with pytest.raises(AssertionError, match="biased"):
        checks.check_samples(biased, v, w)


@pytest.mark.parametrize("name", SAMPLED)
def test_the_wrong_sample_is_caught(name):
    problem, v, w = family(name)

    class Shifted(type(problem)):
        def sample_grad(self, w, index):
            return super().sample_grad(w, (index + 1) % self.samples)

    with pytest.raises(AssertionError, match="sample_grad differs"):
        checks.check_samples(Shifted(**vars(problem)), v, w)


@pytest.mark.parametrize("batch", [1, 2, 3, 6])
def test_blocks_of_rows_average_to_the_whole(batch):
    parent, v, w = family("cosine")
    problem = problems.RowSampled.of(parent, batch=batch)
    assert problem.samples == 6 // batch
    checks.check_samples(problem, v, w)
    checks.check_instance(problem, w)
    assert bool((problem.L_sample >= problem.L * (1 - 1e-12)).all())  # the mean of L_sample-smooth functions; widenings


def test_rounded_shifts_stay_rounded_and_close():
    """Rounding is towards zero by less than one quantum, 2^-19 of the largest entry at most."""
    c = torch.randn(50, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    once = rounded(c)
    assert torch.equal(rounded(once), once)
    assert bool(((once - c).abs() < 2.0**-19 * c.abs().amax((1, 2), keepdim=True)).all())
    assert torch.equal(rounded(torch.zeros_like(c)), torch.zeros_like(c))
