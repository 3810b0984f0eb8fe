"""The batched runner and the shipped optimizers follow the literal twin; the twin follows the notation, exactly."""

import itertools
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch

from validation import twin
from validation.arrays import exact
from validation.confirm import twin_steps
from validation.problems import FAMILIES, least_squares, noisy, quadratic, worst_case_line
from validation.shipped import SHIPPED, optimizer_steps
from validation.step import norm
from validation.trajectories import RULES, View, sample_paths, steps


def test_s2sam_by_hand_in_fractions():
    """f = w^2/2, eta = 1/2, rho = 1, w_0 = 4: p = 0, 1, 1; g = 4, 3, 3/2."""
    path = list(twin.s2sam(lambda x, t: x, np.array([Fraction(4)], dtype=object), eta=Fraction(1, 2), rho=1, steps=3))
    assert [(w[0], p[0], g[0]) for w, p, g in path[:-1]] == [(4, 0, 4), (2, 1, 3), (Fraction(1, 2), 1, Fraction(3, 2))]
    assert path[-1][0][0] == Fraction(-1, 4)
    assert path[-1][1:] == (None, None)


def test_sam_and_sgd_by_hand_in_fractions():
    start = np.array([Fraction(3), Fraction(4)], dtype=object)
    _, p, g = next(twin.sam(lambda x, t: x, start, eta=Fraction(1), rho=5, steps=1))
    assert list(p) == [3, 4]
    assert list(g) == [6, 8]
    _, p, g = next(twin.sgd(lambda x, t: x, start, eta=Fraction(1), steps=1))
    assert list(p) == [0, 0]
    assert list(g) == [3, 4]


def test_an_irrational_norm_of_fractions_is_refused():
    with pytest.raises(ValueError, match=r"rational norm.*\|\|x\|\|\^2 = 2; use mpmath"):
        twin.length([Fraction(1), Fraction(1)])
    assert twin.length([Fraction(3, 5), Fraction(4, 5)]) == 1


def test_at_h_1_the_line_is_periodic():
    path = [
        w[0] for w, _, _ in twin.s2sam(lambda x, t: x, np.array([Fraction(5)], dtype=object), eta=1, rho=2, steps=13)
    ]
    assert path[1:] == [0, -2, -2, 0, 2, 2] * 2 + [0]


def same_path(stream, expected, tolerance):
    """Every instance's w, p and g equal the twin's in 50 digits to within the rounding of a well-conditioned run."""
    for step in stream:
        for name in ("w", "p", "g"):
            for i, path in enumerate(expected):
                error = float(np.abs(exact(getattr(step, name)[i], mpmath.mpf) - getattr(path[step.t], name)).max())
                assert error <= tolerance, f"{name} of instance {i} at step {step.t} is off by {error:g}"


def allowance(problem, expected):
    """Rounding of a run: 640 roundings of the data's size a step, magnified by every later step.

    A step multiplies an error by at most 1 + h, and the perturbation's direction an error of its gradient by
    2 rho/||gradient||, and a buffer keeps it for 1/(1 - beta) steps; the problems are mild enough that what remains is
    far below any difference between two rules.
    """
    tolerance = 0.0
    for i, path in enumerate(expected):
        L, growth = float(problem.L[i]), 1.0
        for s in path[:-1]:
            smallest = min(float(norm(s.a)), float(norm(s.g)))
            growth *= 1 + float(s.eta) / (1 - float(s.beta)) * L * (1 + 2 * float(s.rho) * L / smallest)
        tolerance = max(tolerance, 2.0**-53 * 640 * max(1.0, L) * growth)
    assert tolerance < 1e-5, "the setting is too ill-conditioned to tell a wrong rule from rounding"
    return tolerance


def twin_paths(problem, rule, w, *, eta, rho, count, samples=None, beta=0.0):
    paths = []
    for i in range(problem.size):
        draws = None if samples is None else samples[:, i].tolist()
        paths.append(
            twin_steps(
                problem.instance(i, mpmath.mpf),
                rule,
                exact(w[i], mpmath.mpf),
                count=count,
                samples=draws,
                eta=mpmath.mpf(float(eta[i])),
                rho=mpmath.mpf(float(rho[i])),
                beta=mpmath.mpf(beta),
            )
        )
    return paths


def setting(family, size=3, count=8):
    """Mild problems of each family: condition number at most 10, a start away from the minimum."""
    generator = torch.Generator().manual_seed(7)
    mild = {"L": (0.5, 2.0), "kappa": (2.0, 10.0), "generator": generator}
    problem = {
        "strong": lambda: quadratic(size, 5, **mild),
        "indefinite": lambda: quadratic(size, 5, kind="indefinite", **mild),
        "convex": lambda: least_squares(size, 3, 5, **mild),
        "noisy-strong": lambda: noisy(quadratic(size, 5, **mild), generator=generator),
    }.get(family, lambda: FAMILIES[family](size, generator))()
    w = problem.start(generator, 2.0)
    return problem, w, {"eta": 0.3 / problem.L, "rho": torch.full((size,), 0.05, dtype=torch.float64), "count": count}


@pytest.mark.parametrize("rule", ["sgd", "sam", "s2sam"])
@pytest.mark.parametrize("family", ["strong", "indefinite", "cosine", "logcosh", "convex"])
def test_batched_runs_follow_the_twin(family, rule):
    problem, w, fixed = setting(family)
    with mpmath.workdps(50):
        expected = twin_paths(problem, rule, w, **fixed)
        same_path(steps(problem, rule, w, **fixed), expected, allowance(problem, expected))


@pytest.mark.parametrize("rule", ["sgd", "sam", "s2sam"])
@pytest.mark.parametrize("family", ["strong", "cosine"])
def test_runs_with_momentum_follow_the_twin(family, rule):
    problem, w, fixed = setting(family)
    fixed["beta"] = 0.5
    with mpmath.workdps(50):
        expected = twin_paths(problem, rule, w, **fixed)
        same_path(steps(problem, rule, w, **fixed), expected, allowance(problem, expected))
        for wrong in (0.0, 0.25):
            mutant = steps(problem, rule, w, **{**fixed, "beta": wrong})
            tolerance = allowance(problem, expected)
            with pytest.raises(AssertionError, match="is off by"):
                same_path(mutant, expected, tolerance)


def test_momentum_by_hand_in_fractions():
    """f = w^2/2, eta = 1/2, beta = 1/2, w_0 = 4: SGD has v = 4, 4, 2 and w = 4, 2, 0, -1; S2-SAM feels v through w."""
    fixed = {"eta": Fraction(1, 2), "beta": Fraction(1, 2), "steps": 3}
    start = np.array([Fraction(4)], dtype=object)
    assert [w[0] for w, _, _ in twin.sgd(lambda x, t: x, start, **fixed)] == [4, 2, 0, -1]
    path = list(twin.s2sam(lambda x, t: x, start, rho=1, **fixed))
    # y = 4, 3, 1/2: v = 4, 5, 3, w = 4, 2, -1/2, -2
    assert [(w[0], p[0], g[0]) for w, p, g in path[:-1]] == [(4, 0, 4), (2, 1, 3), (Fraction(-1, 2), 1, Fraction(1, 2))]
    assert path[-1][0][0] == -2


@pytest.mark.parametrize("rule", ["s2sam", "S2SAM"])
def test_z_steps_by_the_gradient_alone(rule):
    """z_0 = w_0 and z_{t+1} = z_t - eta/(1 - beta) g_t, which is what B9 rests on; without momentum z is w."""
    problem, w, fixed = setting("strong")
    run = list((optimizer_steps if rule == "S2SAM" else steps)(problem, rule, w, **fixed, beta=0.5))
    assert torch.equal(run[0].z, w)
    for before, after in itertools.pairwise(run):
        gap = after.z - (before.z - 2 * before.eta[:, None] * before.g)
        assert float(gap.abs().max()) < 2.0**-53 * 64 * float(w.abs().max())  # some sixty roundings of numbers <= |w_0|
    assert float((run[-1].z - run[-1].w).abs().max()) > 1e-3
    plain = list(steps(problem, "s2sam", w, **fixed))
    assert all(s.z is s.w for s in plain)


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("rule", ["S2SAM", "SAM"])
@pytest.mark.parametrize("family", ["strong", "cosine"])
def test_the_optimizer_classes_follow_the_twin(family, rule, beta):
    problem, w, fixed = setting(family)
    fixed["beta"] = beta
    with mpmath.workdps(50):
        expected = twin_paths(problem, SHIPPED[rule], w, **fixed)
        same_path(optimizer_steps(problem, rule, w, **fixed), expected, allowance(problem, expected))


@pytest.mark.parametrize(
    "mutant",
    [
        lambda view: torch.zeros_like(view.w),  # no ascent
        lambda view: -view.g,  # descent
        lambda view: view.full(view.w),  # another method
    ],
    ids=["no-ascent", "sign", "sam"],
)
def test_a_wrong_rule_leaves_the_twin(mutant):
    problem, w, fixed = setting("strong")
    with mpmath.workdps(50):
        expected = twin_paths(problem, "s2sam", w, **fixed)
        with pytest.raises(AssertionError, match="is off by"):
            same_path(steps(problem, mutant, w, **fixed), expected, allowance(problem, expected))


@pytest.mark.parametrize("rule", ["s2sam", "sam-same-batch"])
def test_sampled_runs_follow_the_twin(rule):
    problem, w, fixed = setting("noisy-strong")
    samples = torch.randint(problem.samples, (8, 3), generator=torch.Generator().manual_seed(1))
    with mpmath.workdps(50):
        expected = twin_paths(problem, rule, w, samples=samples, **fixed)
        same_path(steps(problem, rule, w, samples=samples, **fixed), expected, allowance(problem, expected))


def test_instances_do_not_see_each_other():
    """A run of one instance is the same bits whether or not others run beside it: norms are per instance."""
    problem = worst_case_line(4)
    w = torch.tensor([[1.0], [-2.0], [1e-3], [50.0]], dtype=torch.float64)
    eta, rho = torch.full((4,), 0.25, dtype=torch.float64), torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    together = [s.w for s in steps(problem, "s2sam", w, eta=eta, rho=rho, count=20)]
    for i in range(4):
        pick = torch.tensor([i])
        alone = [s.w for s in steps(problem.take(pick), "s2sam", w[pick], eta=eta[pick], rho=rho[pick], count=20)]
        assert all(torch.equal(a[pick], b) for a, b in zip(together, alone, strict=True))


def test_masked_runs_keep_their_support():
    problem, w, fixed = setting("strong")
    mask = torch.zeros_like(w, dtype=torch.bool)
    mask[:, 0] = True
    for s in steps(problem, "s2sam", w, masks=mask, **fixed):
        assert not s.w[~mask].any()
        assert not s.y[~mask].any()
        assert not s.g[~mask].any()
    assert s.w[mask].abs().sum() > 0


def test_sample_paths_enumerate_everything():
    paths = sample_paths(3, 4, 2)
    assert paths.shape == (4, 2 * 81)
    assert len({tuple(column) for column in paths[:, :81].T.tolist()}) == 81
    assert torch.equal(paths[:, :81], paths[:, 81:])


def test_an_unknown_rule_is_refused():
    problem, w, fixed = setting("strong")
    with pytest.raises(ValueError, match="rule must be one of sgd, s2sam, sam, sam-same-batch, s2sam-turned or"):
        next(steps(problem, "adam", w, **fixed))
    with pytest.raises(ValueError, match="to have a twin, got 'adam'"):
        twin.run(None, "adam", w, eta=1, rho=1, steps=1)


def test_a_rule_may_be_a_function():
    problem, w, fixed = setting("cosine")
    seen = []

    def own(view: View) -> torch.Tensor:
        seen.append(view)
        return view.full(view.w)

    theirs = [s.w for s in steps(problem, "sam", w, **fixed)]
    assert all(torch.equal(a.w, b) for a, b in zip(steps(problem, own, w, **fixed), theirs, strict=True))
    assert len(seen) == fixed["count"]
    assert set(RULES) >= {"sgd", "sam", "s2sam", "sam-same-batch"}
