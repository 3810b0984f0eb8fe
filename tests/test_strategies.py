"""The strategies reach the edges that the tests rely on, and build what they say."""

import random

import pytest
import strategies
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from validation import problems

SEARCH = settings(max_examples=2000, database=None, deadline=None)


def reach(strategy, predicate):
    """Return an example that satisfies predicate, or fail."""
    return find(strategy, predicate, settings=SEARCH, random=random.Random(0))


def ratio(problem):
    return float((problem.L / problem.mu).max())


@pytest.mark.parametrize(
    "predicate",
    [
        pytest.param(lambda p: p.dim == 1, id="d = 1"),
        pytest.param(lambda p: p.dim == strategies.MAX_DIM, id="d largest"),
        pytest.param(lambda p: p.size == 1, id="one instance"),
        pytest.param(lambda p: p.size == strategies.MAX_SIZE, id="several instances"),
        pytest.param(lambda p: p.dim > 1 and bool((p.mu == p.L).all()), id="kappa = 1, exactly isotropic"),
        pytest.param(lambda p: p.dim > 1 and p.name == "strong" and ratio(p) < 1 + 1e-12, id="kappa = 1, rotated"),
        pytest.param(lambda p: bool((p.mu > 0).all()) and ratio(p) > 0.99e4, id="kappa largest"),
        pytest.param(lambda p: float(p.L.max()) < 1.01e-3, id="L smallest"),
        pytest.param(lambda p: float(p.L.max()) > 0.99e3, id="L largest"),
        pytest.param(lambda p: bool((p.mu < 0).all()), id="indefinite"),
        pytest.param(lambda p: bool(p.H.abs().triu(1).any()), id="rotated"),
    ],
)
def test_quadratics_reach_their_edges(predicate):
    assert predicate(reach(strategies.quadratics(), predicate))


@pytest.mark.parametrize(
    ("strategy", "predicate"),
    [
        pytest.param(strategies.least_squares(), lambda p: bool((p.mu == 0).all()), id="singular least squares"),
        pytest.param(strategies.least_squares(), lambda p: bool((p.mu > 0).all()), id="regular least squares"),
        pytest.param(strategies.generalized(), lambda p: bool((p.mu < 0).all()), id="non-convex sum"),
        pytest.param(strategies.generalized(), lambda p: bool((p.pl > p.mu).all()), id="non-convex PL"),
        pytest.param(strategies.generalized(), lambda p: bool((p.ridge > 0).all()), id="with ridge"),
        pytest.param(strategies.generalized(), lambda p: bool((p.ridge == 0).all()), id="without ridge"),
        pytest.param(strategies.generalized(), lambda p: p.w_star is None, id="no known minimum"),
        pytest.param(strategies.sampled(), lambda p: isinstance(p, problems.Noisy) and p.samples == 6, id="six shifts"),
        pytest.param(strategies.row_sampled(), lambda p: p.samples == 6, id="one row at a time"),
        pytest.param(strategies.row_sampled(), lambda p: p.samples == 2 and p.batch == 3, id="half of the rows"),
        pytest.param(strategies.any_problem(), lambda p: p.samples == 1, id="deterministic"),
    ],
)
def test_other_problems_reach_their_kinds(strategy, predicate):
    assert predicate(reach(strategy, predicate))


@pytest.mark.parametrize(
    "predicate",
    [
        pytest.param(lambda m: not bool(m.any()), id="all zero"),
        pytest.param(lambda m: bool(m.all()), id="all one"),
        pytest.param(lambda m: bool((m.any(1) & ~m.all(1)).all()), id="mixed"),
    ],
)
def test_masks_reach_their_edges(predicate):
    problem = problems.quadratic(2, 4, generator=torch.Generator().manual_seed(0))
    mask = reach(strategies.masks(problem), predicate)
    assert mask.shape == (2, 4)
    assert mask.dtype == torch.bool


@pytest.mark.parametrize("wanted", strategies.RADIUS)
def test_points_reach_both_ends_of_the_radius(wanted):
    problem = problems.worst_case_line(1)
    point = reach(strategies.points(problem), lambda w: abs(float(w.abs().max()) / wanted - 1) < 1e-9)
    assert point.shape == (1, 1)


def test_a_search_for_what_no_strategy_builds_fails():
    with pytest.raises(NoSuchExample):
        find(
            strategies.quadratics(),
            lambda p: p.dim > strategies.MAX_DIM,
            settings=settings(max_examples=50, database=None),
            random=random.Random(0),
        )


@given(problem=strategies.integer_quadratics())
def test_integer_quadratics_are_integer(problem):
    assert torch.equal(problem.H, problem.H.round())
    assert bool((problem.mu > 0).all())


@given(value=strategies.positive(1e-3, 1e3))
def test_positive_stays_in_its_interval(value):
    assert 1e-3 <= value <= 1e3


@given(data=st.data())
def test_a_seed_means_the_same_problem(data):
    seed = data.draw(st.integers(0, 2**32 - 1))
    one, two = (problems.quadratic(2, 3, generator=torch.Generator().manual_seed(seed)) for _ in range(2))
    assert torch.equal(one.H, two.H)
