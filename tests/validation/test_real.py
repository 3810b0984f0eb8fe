"""Real data: the constants are certified against independent formulas, the minimum in 50 digits."""

import sys

import mpmath
import numpy as np
import problem_checks as checks
import pytest
import torch

from validation import problems, real
from validation.arrays import exact

BUILDERS = {"breast-cancer": real.breast_cancer, "digits": real.digits}
DATA = {"breast-cancer": (real.breast_cancer_data, (569, 31)), "digits": (real.digits_data, (1797, 65))}
names = pytest.mark.parametrize("name", BUILDERS)


def build(name, size=1):
    problem, generator = BUILDERS[name](size), torch.Generator().manual_seed(0)
    return problem, problem.start(generator, 1.0), problem.start(generator, 0.1)


@names
def test_every_field(name):
    problem, v, w = build(name)
    for x in (v, problem.center, problem.w_star):
        checks.check_gradient(problem, x)
        checks.check_curvature(problem, x)
        checks.check_minimum(problem, x)
        checks.check_pl(problem, x)
    checks.check_secants(problem, v, w)
    checks.check_samples(problem, v, w)
    with pytest.raises(AssertionError, match="exceeds L"):
        checks.check_curvature(type(problem)(**vars(problem) | {"L": problem.L / 2}), problem.center)


@names
def test_f_is_regularised_logistic_regression(name):
    """The textbook formula on the raw X and y; both sides round within f_error."""
    problem, w, _ = build(name)
    (load, shape) = DATA[name]
    X, y = load()
    assert X.shape == shape
    assert set(y.tolist()) == {-1.0, 1.0}
    value = np.logaddexp(0, -(y * (X @ w[0])).numpy()).mean() + 1e-2 / 2 * float(w[0] @ w[0])
    assert abs(float(problem.f(w)) - value) <= 2 * float(problem.f_error(w))
    assert 0.1 < float((y > 0).double().mean()) < 0.9


@names
def test_L_is_the_largest_eigenvalue_over_4_n_plus_the_ridge(name):
    """Relative gap below 1e-9: the widening is about 2 (n + d^2) U."""
    problem, _, _ = build(name)
    X = DATA[name][0]()[0].numpy()
    top = np.linalg.svd(X, compute_uv=False)[0] ** 2 / (4 * len(X)) + 1e-2
    assert float(problem.L) == pytest.approx(top, rel=1e-9)
    assert float(problem.mu) == 1e-2


@names
def test_the_minimum_is_certified_in_50_digits(name):
    problem, _, _ = build(name)
    with mpmath.workdps(50):
        one, at = problem.instance(0, mpmath.mpf), exact(problem.w_star[0], mpmath.mpf)
        slope = sum(x * x for x in one.grad(at))
        excess = slope / (2 * mpmath.mpf(0.01))
        assert excess <= real.CERTIFIED
        assert abs(one.f(at) - float(problem.f_star)) <= float(problem.certificate) - excess
    assert float(problem.certificate) <= real.CERTIFIED


@names
def test_a_start_far_away_descends_to_f_star_and_not_below(name):
    """50 steps of gradient descent with 1/L, from distance 10: f falls and stays above f_star, up to rounding."""
    problem, _, _ = build(name)
    w = problem.start(torch.Generator().manual_seed(1), 10.0)
    first = float(problem.f(w))
    checks.check_minimum(problem, w)
    assert float(problem.f_star) < first


@names
def test_copies_share_the_data(name):
    problem = BUILDERS[name](5)
    assert problem.size == 5
    assert problem.X.data_ptr() == BUILDERS[name](2).X.data_ptr()  # cached, and not copied
    assert problem.take(torch.tensor([0, 3])).X.data_ptr() == problem.X.data_ptr()
    w = problem.start(torch.Generator().manual_seed(0), 1.0)
    single = torch.cat([problem.take(torch.tensor([i])).f(w[i : i + 1]) for i in range(5)])
    assert bool(((problem.f(w) - single).abs() <= 2 * problem.f_error(w)).all())


def test_rows_of_real_data_are_samples():
    problem, v, w = build("breast-cancer", size=2)
    sampled = problems.RowSampled.of(problem)
    assert sampled.samples == 569
    checks.check_samples(sampled, v, w)
    checks.check_instance(sampled.take(torch.tensor([1])), w[1:])
    with pytest.raises(ValueError, match="divide"):
        problems.RowSampled.of(problem, batch=8)  # 569 is prime


def test_a_restriction_keeps_its_constants_and_forgets_the_minimum():
    problem, _, w = build("breast-cancer", size=2)
    mask = torch.rand(2, problem.dim, generator=torch.Generator().manual_seed(0)) < 0.3
    restricted = problem.restrict(mask)
    assert restricted.w_star is None
    assert torch.equal(restricted.grad(w), problem.grad(w * mask) * mask)
    checks.check_curvature(restricted, w * mask)


def test_missing_scikit_learn_is_one_line_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(RuntimeError, match=r"pip install 's2sam\[validation\]'") as caught:
        real.digits_data()
    assert "\n" not in str(caught.value)


def test_wrong_arguments_are_refused_by_name():
    X, y = torch.ones(2, 1, dtype=torch.float64), torch.tensor([1.0, -1.0], dtype=torch.float64)
    with pytest.raises(ValueError, match="ridge must be > 0"):
        real.ridge_logistic(X, y, ridge=0.0, name="toy")
    with pytest.raises(ValueError, match="labels"):
        real.ridge_logistic(X, y + 1, ridge=1.0, name="toy")


def test_a_minimum_that_cannot_be_certified_is_not_declared(monkeypatch):
    monkeypatch.setattr(real, "newton", lambda problem: problem.center)
    X, y = torch.ones(2, 1, dtype=torch.float64), torch.tensor([1.0, 1.0], dtype=torch.float64)
    with pytest.raises(RuntimeError, match="rescale"):
        real.ridge_logistic(X, y, ridge=1.0, name="toy")


def test_newton_finds_a_minimum_that_can_be_written_down():
    """X = y = (1, 1), ridge r: w solves r w = 1/(1 + e^w); r = 1/(1 + e) gives w = 1."""
    X, y = torch.ones(2, 1, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    problem = real.ridge_logistic(X, y, ridge=1 / (1 + np.e), name="toy")
    # mu-strong convexity: |w - 1| <= |grad|/mu, and a gradient of two roundings is below 1e-15
    assert float(problem.w_star) == pytest.approx(1.0, abs=1e-14)
