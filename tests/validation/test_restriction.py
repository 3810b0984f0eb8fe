"""A restricted problem is the problem on fewer weights: same bits, valid constants, its own minimum."""

from dataclasses import replace

import mpmath
import problem_checks as checks
import pytest
import strategies
import torch
from hypothesis import given
from hypothesis import strategies as st

from validation import problems
from validation.problems import FAMILIES

SYNTHETIC = [name for name in FAMILIES if name not in ("breast-cancer", "digits")]


def family(name, size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    problem = FAMILIES[name](size, generator)
    return problem, torch.rand(size, problem.dim, generator=generator) < 0.6, generator


def zeroed(mask, x):
    return x * mask


def assert_same_as_zeroing(restricted, problem, mask, w, draw):
    assert torch.equal(restricted.f(w), problem.f(zeroed(mask, w)))
    assert torch.equal(restricted.grad(w), zeroed(mask, problem.grad(zeroed(mask, w))))
    assert torch.equal(restricted.sample_grad(w, draw), zeroed(mask, problem.sample_grad(zeroed(mask, w), draw)))
    assert torch.equal(restricted.sample_grads(w), zeroed(mask[:, None], problem.sample_grads(zeroed(mask, w))))


@given(data=st.data())
def test_restriction_is_zeroing_bit_for_bit(data):
    problem = data.draw(strategies.any_problem())
    mask, w = data.draw(strategies.masks(problem)), data.draw(strategies.points(problem))
    draw = torch.full((problem.size,), problem.samples - 1)
    assert_same_as_zeroing(problem.restrict(mask), problem, mask, w, draw)


def test_a_forgotten_mask_is_caught():
    problem, mask, generator = family("strong")
    index = torch.zeros(6, dtype=torch.long)
    with pytest.raises(AssertionError):
        assert_same_as_zeroing(problem, problem, mask, problem.start(generator, 1.0), index)


@given(data=st.data())
def test_every_field_of_any_restriction(data):
    problem = data.draw(strategies.any_problem())
    restricted = problem.restrict(data.draw(strategies.masks(problem)))
    assert bool((restricted.L <= problem.L).all())
    assert bool((restricted.mu >= problem.mu).all())
    checks.check_all(restricted, data.draw(strategies.points(restricted)), data.draw(strategies.points(restricted)))


@pytest.mark.parametrize("name", SYNTHETIC)
def test_every_field_of_every_restricted_family(name):
    problem, mask, generator = family(name)
    restricted = problem.restrict(mask)
    checks.check_all(restricted, restricted.start(generator, 1.0), restricted.start(generator, 0.1))


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_full_mask_changes_nothing(name):
    problem, mask, generator = family(name)
    whole = problem.restrict(torch.ones_like(mask))
    w = problem.start(generator, 1.0)
    assert torch.equal(whole.grad(w), problem.grad(w))
    assert torch.equal(whole.f_star.isnan(), problem.f_star.isnan())
    # a least-squares block is enclosed through A^T A, whole problems also through A A^T: equal up to the two widenings
    slack = 8 * problem.dim * (problem.dim + problem.width + 6) * checks.U * problem.L
    assert bool(((whole.L - problem.L).abs() <= slack).all())
    assert bool(((whole.mu - problem.mu).abs() <= slack).all())


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_empty_mask_leaves_a_constant(name):
    problem, mask, generator = family(name)
    nothing = problem.restrict(torch.zeros_like(mask))
    w = nothing.start(generator, 1.0)
    assert not bool(w.any())
    assert not bool(nothing.grad(w).any())


@pytest.mark.parametrize("name", ["strong", "noisy-strong"])
def test_restricted_quadratics_know_their_minimum(name):
    """f_star is the minimum to within the certificate, which 50 digits decide: f(c_S - H_SS^-1 H_SR (0 - c_R))."""
    problem, mask, _ = family(name)
    restricted = problem.restrict(mask)
    assert not bool(restricted.f_star[mask.any(1)].isnan().any())
    base = getattr(problem, "parent", problem)
    for i in range(problem.size):
        on = mask[i].nonzero().flatten().tolist()
        if not on:
            continue
        with mpmath.workdps(50):
            H, c = base.instance(i, mpmath.mpf).H, base.instance(i, mpmath.mpf).center
            block = mpmath.matrix([[H[a, b] for b in on] for a in on])
            right = mpmath.matrix([sum(H[a, b] * c[b] for b in range(problem.dim)) for a in on])
            w = c * 0
            w[on] = list(mpmath.lu_solve(block, right))
            true = base.instance(i, mpmath.mpf).f(w)
            assert abs(true - float(restricted.f_star[i])) <= float(restricted.certificate[i]) + mpmath.mpf(10) ** -45


def test_the_blocks_of_a_quadratic_are_better_conditioned():
    problem, _, _ = family("strong", size=50)
    one = torch.zeros(problem.size, problem.dim, dtype=torch.bool)
    one[:, 0] = True
    block = problem.restrict(one)
    assert torch.equal(block.mu, block.L)  # a 1 x 1 block is exact
    assert torch.equal(block.L, problem.H[:, 0, 0])


def test_an_indefinite_quadratic_can_have_a_definite_block():
    H = torch.diag(torch.tensor([2.0, -1.0, 3.0], dtype=torch.float64))[None]
    problem = problems.Quadratic.of(H, torch.ones(1, 3, dtype=torch.float64))
    assert problem.w_star is None
    block = problem.restrict(torch.tensor([[True, False, True]]))
    assert (float(block.mu), float(block.L), float(block.f_star)) == (2.0, 3.0, -0.5)  # -1/2: the dropped weight's
    assert block.w_star.tolist() == [[1.0, 0.0, 1.0]]


def test_pl_is_not_inherited():
    """f = (w_0 + w_1)^2/2 is PL with 2; on w_1 = 0 it is w_0^2/2, PL with 1 only. The parent's constant must fail."""
    A, w = torch.ones(1, 1, 2, dtype=torch.float64), torch.tensor([[3.0, 0.0]], dtype=torch.float64)
    problem = problems.LeastSquares.of(A, torch.zeros(1, 2, dtype=torch.float64))
    restricted = problem.restrict(torch.tensor([[True, False]]))
    assert float(problem.pl) == pytest.approx(2.0, rel=1e-14)  # widened by some 10 roundings
    assert float(restricted.pl) == pytest.approx(1.0, rel=1e-14)
    checks.check_pl(restricted, w)
    with pytest.raises(AssertionError, match="PL"):
        checks.check_pl(replace(restricted, pl=problem.pl), w)


@pytest.mark.parametrize("name", ["pl", "cosine", "logcosh", "huber"])
def test_without_strong_convexity_a_restriction_claims_no_pl_and_no_minimum(name):
    problem, mask, _ = family(name)
    mask[:, 0] = False
    restricted = problem.restrict(mask)
    assert not bool(restricted.pl.any())
    assert restricted.w_star is None


@pytest.mark.parametrize("name", ["cosine", "logcosh", "convex"])
def test_a_minimiser_on_the_support_is_inherited(name):
    problem, mask, generator = family(name)
    moved = replace(problem, center=problem.center * mask, w_star=problem.w_star * mask)
    for one in (moved, problems.noisy(moved, generator=generator)):
        restricted = one.restrict(mask)
        assert torch.equal(restricted.f_star, torch.zeros(6, dtype=torch.float64))
        assert torch.equal(restricted.w_star, moved.w_star)


def test_masks_combine():
    problem, mask, generator = family("noisy-logcosh")
    other = torch.rand(mask.shape, generator=generator) < 0.5
    w = problem.start(generator, 1.0)
    assert torch.equal(problem.restrict(mask).restrict(other).grad(w), problem.restrict(mask & other).grad(w))
