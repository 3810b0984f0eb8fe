"""Links: value, slope and bounds against 50 digits, over the whole range of float64 arguments."""


import mpmath
import problem_checks as checks
import pytest
import strategies
import torch
from hypothesis import given
from hypothesis import strategies as st

from validation import problems

LINKS = {link.name: link for link in strategies.LINKS}
TRUE = {  # name -> (phi, phi') by their definitions
    "logcosh": (lambda z: mpmath.log(mpmath.cosh(z)), mpmath.tanh),
    "logistic": (lambda z: mpmath.log(1 + mpmath.exp(-z)), lambda z: -1 / (1 + mpmath.exp(z))),
    "cosine": (lambda z: 1 - mpmath.cos(z), mpmath.sin),
    "wave": (lambda z: z**2 + 3 * mpmath.sin(z) ** 2, lambda z: 2 * z + 6 * mpmath.sin(z) * mpmath.cos(z)),
    **{
        f"huber({d:g})": (
            lambda z, d=d: z**2 / 2 if abs(z) <= d else mpmath.mpf(d) * (abs(z) - mpmath.mpf(d) / 2),
            lambda z, d=d: max(-mpmath.mpf(d), min(z, mpmath.mpf(d))),
        )
        for d in (0.3, 2.0)
    },
}
ARGUMENTS = st.one_of(st.floats(-50, 50), st.floats(-1e-3, 1e-3), st.floats(-1e5, 1e5))


@pytest.mark.parametrize("name", LINKS)
@given(z=ARGUMENTS)
def test_links_are_their_definitions(name, z):
    """At most 24 roundings (libm's functions count for two), relative to phi and to what cancels in it (`noise`).

    Halving and doubling the argument are exact. Slopes: relative to phi', or to its summands 2|z| + 3 for the wave.
    """
    link, (value, slope) = LINKS[name], TRUE[name]
    x = torch.tensor([z], dtype=torch.float64)
    with mpmath.workdps(400):  # log cosh z and 1 - cos z cancel
        exact, steep = value(mpmath.mpf(z)), slope(mpmath.mpf(z))
        size = 2 * abs(z) + 3 if name == "wave" else abs(steep)
        tiny = 1e-300  # underflow
        assert abs(exact - float(link.value(x))) <= checks.gamma(24) * (abs(exact) + link.noise) + tiny
        assert abs(steep - float(link.slope(x))) <= checks.gamma(24) * size + tiny
        assert abs(steep) <= link.steepest
        assert exact >= 0
        assert (value(-mpmath.mpf(z)) == exact) == link.even or z == 0


@pytest.mark.parametrize("name", LINKS)
def test_links_do_not_overflow(name):
    z = torch.tensor([-1e150, -800.0, 0.0, 800.0, 1e150], dtype=torch.float64)
    assert bool(LINKS[name].value(z)[1:-1].isfinite().all())
    assert bool(LINKS[name].slope(z).isfinite().all())
    assert (float(LINKS[name].value(z)[2]) == 0.0) == LINKS[name].vanishes


@pytest.mark.parametrize("name", LINKS)
def test_curvature_bounds_hold_on_a_grid_and_are_attained(name):
    """Secants of phi' lie between -least and curvature; for every link both are approached (0.3 of a step near the
    ends).

    A secant over a step s is rounded by some 24 U |phi'|/s; phi' <= 200 on the grid, s = 1e-3: below 1e-9.
    """
    link, z = LINKS[name], torch.linspace(-60, 60, 120_001, dtype=torch.float64)
    secant = link.slope(z).diff() / z.diff()
    assert float(secant.max()) <= link.curvature + 1e-9
    assert float(secant.min()) >= -link.least - 1e-9
    assert float(secant.max()) >= 0.999 * link.curvature
    assert float(secant.min()) <= -0.999 * link.least


def test_a_ridge_makes_a_convex_sum_strongly_convex_exactly():
    generator = torch.Generator().manual_seed(0)
    problem = problems.generalized(3, 2, 4, link=problems.LOGCOSH, generator=generator, ridge=0.25)
    assert torch.equal(problem.mu, torch.full((3,), 0.25, dtype=torch.float64))
    assert torch.equal(problem.pl, problem.mu)


def test_pl_of_the_wave_on_the_line_is_its_own():
    """One row, x = 1, weight 1: L = 8 and pl = 1/8, up to the widening of a 1 x 1 gram matrix (below 20 roundings)."""
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    problem = problems.GeneralizedLinear.of(problems.WAVE, one, torch.zeros(1, 1).double(), weight=one[0])
    assert float(problem.L) == pytest.approx(8.0, rel=40 * checks.U)
    assert float(problem.pl) == pytest.approx(0.125, rel=40 * checks.U)
    assert 8.0 <= float(problem.L)
    assert float(problem.pl) <= 0.125


def test_more_rows_than_dimensions_claim_no_pl():
    generator = torch.Generator().manual_seed(0)
    assert not bool(problems.generalized(3, 4, 3, link=problems.WAVE, generator=generator).pl.any())
    assert bool((problems.generalized(3, 3, 3, link=problems.WAVE, generator=generator).pl > 0).all())


def test_paired_rows_disagree_at_the_center_but_their_mean_does_not():
    problem = problems.paired_rows(4, 3, 2, link=problems.COSINE, generator=torch.Generator().manual_seed(0))
    at = problem.sample_grads(problem.center)
    assert float(at.norm(dim=-1).amax()) > 0.01
    assert bool((problem.grad(problem.center).norm(dim=-1) <= checks.grad_error(problem, problem.center)).all())
