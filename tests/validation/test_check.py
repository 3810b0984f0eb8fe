"""The judge: verdicts, slack, grid, confirmation in 50 digits; true claims pass and false ones are caught."""

import dataclasses
import math

import pytest
import torch

from theory import CLAIMS, Claim
from validation.check import check, examine
from validation.judge import Outcome, Tally, Verdict, Violation, judge, rounding_slack
from validation.measures import MEASURES, Measured
from validation.problems import FAMILIES, GeneralizedLinear, RowSampled, huber, worst_case_line


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def bounded(kind="upper", trivial=None, requires=()):
    return Claim(
        label="X",
        title="x",
        statement="x",
        origin="derived",
        source="x",
        kind=kind,
        measures="x",
        requires=requires,
        bound=lambda c: c,
        trivial=trivial,
        condition="",
        proof="x",
    )


def test_an_upper_bound_fails_only_beyond_the_slack():
    j = judge(
        bounded(),
        Measured(tensor(0.5, 1.0, 1.0 + 1e-15, 1.001), {"c": tensor(1, 1, 1, 1)}, tensor(1, 1, 1, 1)),
        steps=1,
        width=1,
    )
    assert (j.ratio > 1).tolist() == [False, False, False, True]
    assert float(j.slack[0]) < 1e-13


def test_a_lower_bound_fails_below():
    j = judge(
        bounded("lower"),
        Measured(tensor(2.0, 1.0, 0.999, -1.0), {"c": tensor(1, 1, 1, 1)}, tensor(1, 1, 1, 1)),
        steps=1,
        width=1,
    )
    assert (j.ratio > 1).tolist() == [False, False, True, True]


def test_an_equality_fails_on_both_sides():
    j = judge(
        bounded("equality"),
        Measured(tensor(1.0, 0.99, 1.01), {"c": tensor(1, 1, 1)}, tensor(1, 1, 1)),
        steps=1,
        width=1,
    )
    assert (j.ratio > 1).tolist() == [False, True, True]


def test_a_bound_no_better_than_trivial_is_vacuous():
    claim = bounded(trivial=lambda **_: 2.0)
    j = judge(claim, Measured(tensor(0.5, 0.5), {"c": tensor(1.0, 2.0)}, tensor(1, 1)), steps=1, width=1)
    assert j.vacuous.tolist() == [False, True]


def test_nan_is_a_failure_and_never_a_pass():
    j = judge(bounded(), Measured(tensor(math.nan), {"c": tensor(1.0)}, tensor(1.0)), steps=1, width=1)
    assert bool(j.ratio > 1)


def test_a_negative_bound_hides_nothing():
    """Realised constants may make a bound negative; the sign of a quotient says nothing there."""
    j = judge(
        bounded(),
        Measured(tensor(1.0, -2.0, -1.0), {"c": tensor(-40.0, -1.0, -2.0)}, tensor(1, 1, 1)),
        steps=1,
        width=1,
    )
    assert j.fails.tolist() == [True, False, True]
    assert (j.ratio > 1).tolist() == [True, False, True]


def test_a_constant_that_is_not_finite_is_a_failure_not_outside():
    m = Measured(
        tensor(0.5),
        {"eta": tensor(0.05), "L": tensor(10), "gap": tensor(math.nan), "T": 4, "P2": tensor(0), "sigma2": tensor(0)},
        tensor(1),
    )
    j = judge(CLAIMS["B1"], m, steps=4, width=1)
    assert j.inside.tolist() == j.fails.tolist() == [True]


@pytest.mark.parametrize(("kind", "first", "later"), [("lower", 1 - 1e-12, 0.0), ("upper", 1 + 1e-12, 1.25)])
def test_an_acquitted_failure_does_not_cover_a_later_one(kind, first, later):
    """The largest failure of an instance is the one that is judged, whatever came before."""
    tally = Tally(bounded(kind), MEASURES["A1"], 1)
    for t, value in enumerate((first, later)):
        tally.add(Measured(tensor(value), {"c": tensor(1.0)}, tensor(1e-6)), t)
    outcome = tally.outcome(torch.tensor([0]), worst_case_line(1), "sgd", lambda *_: False, {})
    assert outcome.verdict is Verdict.VIOLATED
    assert outcome.measured == later


def test_constants_outside_the_domain_are_marked():
    m = Measured(
        tensor(100.0, 0.1),
        {
            "eta": tensor(0.3, 0.05),
            "L": tensor(10, 10),
            "gap": tensor(1, 1),
            "T": 4,
            "P2": tensor(0, 0),
            "sigma2": tensor(0, 0),
        },
        tensor(1, 1),
    )
    tally = Tally(CLAIMS["B1"], MEASURES["B1"], 1)
    tally.add(m, 4)
    problem = worst_case_line(2)
    outcome = tally.outcome(torch.tensor([0, 1]), problem, "sgd", lambda *_: True, {})
    assert outcome.counts == {"OUTSIDE_DOMAIN": 1, "HOLDS": 1}
    assert outcome.n == 1
    outside = tally.outcome(torch.tensor([0]), problem, "sgd", lambda *_: True, {})
    assert outside.verdict is Verdict.OUTSIDE_DOMAIN


def test_slack_grows_with_steps_scale_and_unit_roundoff():
    base = rounding_slack(torch.float64, 10, 1.0)
    assert base == pytest.approx(11 * 40 * 2.0**-53, rel=1e-9)
    assert rounding_slack(torch.float64, 20, 1.0) > base
    assert rounding_slack(torch.float64, 10, 3.0) == pytest.approx(3 * base)
    assert rounding_slack(torch.float32, 10, 1.0) > 1e8 * base
    assert rounding_slack(torch.float64, 10, 1.0, width=1000) > 20 * base


@pytest.mark.parametrize("label", list(MEASURES))
def test_every_measured_claim_holds_somewhere(label):
    """One small run for each claim on each kind of problem: it is inside its domain on one at least, and holds."""
    m = MEASURES[label]
    verdicts = set()
    own = {"h": (0.1,), "beta": 0.5} if m.momentum else {"h": (0.5,)}
    for family in ("strong", "isotropic", "indefinite", "axes", "line", "noisy-strong"):
        problem = FAMILIES[family](4, torch.Generator().manual_seed(3))
        in_mean = problem.samples > 1 and not m.per_step
        if m.applies(problem) and in_mean == (label == "B1''"):
            count = 100 if label in ("B5.sam", "B10.isotropic") else 6  # limits take time
            fixed = {"rho": (0.1,), "count": count, "horizons": (count,), "seed": 1, "enumerate_samples": in_mean}
            fixed |= own
            verdicts |= {o.verdict for o in examine(problem, m.rules[-1], {label: m}, **fixed)}
    assert Verdict.HOLDS in verdicts
    assert Verdict.VIOLATED not in verdicts


def false_claim(label, **factors):
    """The registered claim with a wrong bound."""
    true = CLAIMS[label]
    names = true.bound

    def wrong(**constants):
        return names(**{k: v * factors.get(k, 1) for k, v in constants.items()})

    wrong.__signature__ = __import__("inspect").signature(names)
    return dataclasses.replace(true, bound=wrong)


@pytest.mark.parametrize(
    ("label", "factors", "rule", "family", "h"),
    [
        ("B1", {"P2": 0.5}, "s2sam", "isotropic", 0.5),
        ("B1'", {"P2": 0.25}, "s2sam", "isotropic", 1.0),
        ("B3", {"P2": 0.5}, "sam", "isotropic", 0.5),
        ("B4", {"rho": 0.5}, "s2sam", "isotropic", 0.5),
        ("A2", {"eta": 0.5}, "sam", "isotropic", 1.0),
        ("A3", {"rho": 0.2}, "s2sam", "isotropic", 1.0),
        ("A5", {"rho": 0.5}, "sam", "isotropic", 1.0),
    ],
)
def test_false_claims_are_violated_and_confirmed(label, factors, rule, family, h):
    problem = FAMILIES[family](6, torch.Generator().manual_seed(0))
    assert not any(o.verdict is Verdict.VIOLATED for o in check(label, rule, problem, h=(h,), rho=(1.0,), count=20))
    outcomes = check(
        false_claim(label, **factors), rule, problem, h=(h,), rho=(1.0,), count=20, measure=MEASURES[label]
    )
    assert any(o.verdict is Verdict.VIOLATED for o in outcomes)
    with pytest.raises(Violation, match=rf"{label} fails for {rule} on {family}: measured"):
        [o.require() for o in outcomes]


def test_rounding_alone_is_not_a_violation(monkeypatch):
    """With a slack far too tight float64 fails an equality; 50 digits acquit it, and convict one false by 1e-12."""
    monkeypatch.setattr(
        "validation.judge.rounding_slack",
        lambda dtype, steps, scale, width: 1e-5 * rounding_slack(dtype, steps, scale, width=width),
    )
    problem = FAMILIES["isotropic"](8, torch.Generator().manual_seed(0))
    outcomes = check("B1.isotropic", "s2sam", problem, h=(0.3,), rho=(0.7,), count=10)
    assert all(o.verdict is Verdict.HOLDS for o in outcomes)
    assert max(o.ratio for o in outcomes) == 1.0  # at least one was acquitted
    wrong = false_claim("B1.isotropic", gap=1.0 + 1e-12)
    outcomes = check(wrong, "s2sam", problem, h=(0.3,), rho=(0.7,), count=10, measure=MEASURES["B1.isotropic"])
    assert all(o.verdict is Verdict.VIOLATED for o in outcomes)


def test_the_grid_meets_every_pair_once():
    problem = FAMILIES["strong"](5, torch.Generator().manual_seed(0))
    outcomes = examine(
        problem, "s2sam", {"B1": MEASURES["B1"]}, h=(0.1, 1.0), rho=(0.01, 0.1, 1.0), count=8, horizons=(2, 8), seed=0
    )
    assert sorted((o.at["h"], o.at["rho"], o.at["T"]) for o in outcomes) == sorted(
        (h, rho, T) for h in (0.1, 1.0) for rho in (0.01, 0.1, 1.0) for T in (2, 8)
    )
    assert all(isinstance(o, Outcome) and o.n == 5 for o in outcomes)
    for o in outcomes:
        assert o.constants["eta"] * o.constants["L"] == pytest.approx(o.at["h"], rel=1e-12)


def test_enumerated_expectations_are_those_of_the_definition():
    """E ||grad f(w_1)||^2 by hand: w_1 = w_0 - eta (grad f(w_0) + c_i)."""
    problem = FAMILIES["noisy-strong"](3, torch.Generator().manual_seed(5))
    (o,) = examine(
        problem.take(torch.tensor([0])),
        "sgd",
        {"B1'": MEASURES["B1'"]},
        h=(0.5,),
        rho=(0.1,),
        count=2,
        horizons=(2,),
        seed=4,
        enumerate_samples=True,
    )
    one = problem.take(torch.tensor([0]))
    w = one.start(torch.Generator().manual_seed(4), 1.0)
    eta = 0.5 / one.L
    nexts = [w - eta * one.sample_grad(w, torch.tensor([k])) for k in range(one.samples)]
    mean = (one.grad(w).square().sum() + sum(one.grad(x).square().sum() for x in nexts) / one.samples) / 2
    assert o.measured == pytest.approx(math.sqrt(float(mean)), rel=1e-12)


def test_expectations_are_enumerated_or_refused():
    problem = FAMILIES["noisy-strong"](4, torch.Generator().manual_seed(5))
    with pytest.raises(ValueError, match=r"count must be <= 12 where all 2\^count sample paths are run, got 40"):
        check("B1", "s2sam", problem)
    assert all(o.verdict is Verdict.HOLDS for o in check("B1", "s2sam", problem, h=(1.0,), count=5))


def test_a_rule_or_problem_the_claim_does_not_speak_of_is_refused():
    problem = FAMILIES["cosine"](2, torch.Generator().manual_seed(5))
    with pytest.raises(ValueError, match="rule must be one of s2sam for A1, got 'sgd'"):
        check("A1", "sgd", problem)
    with pytest.raises(ValueError, match="problem must satisfy the hypotheses of B3, got cosine"):
        check("B3", "s2sam", problem)


def test_momentum_is_asked_of_the_claims_that_speak_of_it():
    problem = FAMILIES["cosine"](2, torch.Generator().manual_seed(5))
    with pytest.raises(ValueError, match=r"beta must be > 0 for B9, got 0\.0; see B9"):
        check("B9", "s2sam", problem)
    with pytest.raises(ValueError, match=r"beta must be 0 for B1, got 0\.5; see B9"):
        check("B1", "s2sam", problem, beta=0.5)
    with pytest.raises(ValueError, match=r"beta must be in \[0, 1\), got 1\.0"):
        check("B9", "s2sam", problem, beta=1.0)


@pytest.mark.parametrize("rule", ["sgd", "s2sam", "sam", "S2SAM", "SAM"])
def test_b9_holds_and_its_mutants_are_violated(rule):
    """False with half of P^2 or the step eta in place of alpha; and with Delta taken at w_T, as its statement says."""
    problem = FAMILIES["isotropic"](4, torch.Generator().manual_seed(0))
    fixed = {"h": (0.02,), "rho": (1.0,), "count": 30, "beta": 0.5}
    outcomes = check("B9", rule, problem, **fixed)
    assert all(o.verdict is Verdict.HOLDS and o.at["beta"] == 0.5 for o in outcomes)
    true = MEASURES["B9"]
    wrong = [(false_claim("B9", gap=0.5), true)]
    if rule != "sgd":
        wrong.append((false_claim("B9", P2=0.5), true))
    at_w = dataclasses.replace(true, probes={**true.probes, "f_z": lambda s: s.f_w})
    wrong.append((CLAIMS["B9"], at_w))
    for claim, measure in wrong:
        outcomes = check(claim, rule, problem, measure=measure, **{**fixed, "count": 2 if measure is at_w else 30})
        assert any(o.verdict is Verdict.VIOLATED for o in outcomes)


def test_b10_gap_holds_and_twice_it_does_not():
    problem = FAMILIES["axes"](64, torch.Generator().manual_seed(0))
    fixed = {"h": (0.1, 0.5, 1.0), "rho": (0.1, 1.0), "count": 40}
    assert all(o.verdict is Verdict.HOLDS for o in check("B10.gap", "s2sam", problem, **fixed))
    twice = check(false_claim("B10.gap", L=2.0), "s2sam", problem, measure=MEASURES["B10.gap"], **fixed)
    assert any(o.verdict is Verdict.VIOLATED for o in twice)
    with pytest.raises(ValueError, match=r"problem must satisfy the hypotheses of B10\.gap, got isotropic"):
        check("B10.gap", "s2sam", FAMILIES["isotropic"](2, torch.Generator().manual_seed(0)))


def test_same_batch_sam_needs_the_smoothness_of_every_sample():
    """Four orthogonal Huber rows drawn one at a time: the L = 1 of their sum would not do, L_sample = 4 does."""
    X = torch.eye(4, dtype=torch.float64)[None]
    whole = GeneralizedLinear.of(huber(1.05), X, torch.zeros(1, 4).double(), weight=torch.ones(1, 4).double())
    problem = RowSampled.of(whole)
    assert float(problem.L_sample) > 3.9 * float(problem.L)
    outcomes = check("B1''", "sam-same-batch", problem, h=(0.01, 0.05, 0.2), rho=(1.0,), count=2)
    assert all(o.verdict is Verdict.HOLDS for o in outcomes)
    assert all(o.constants["L"] > 3.9 for o in outcomes)


def test_a_rule_that_peeks_at_its_sample_is_biased():
    """B7 replays the rule under every sample: one that perturbs along the sample it is about to draw fails."""
    problem = FAMILIES["noisy-strong"](8, torch.Generator().manual_seed(5))

    def peek(view):
        return view.sampled(view.w)

    measure = {"B7": MEASURES["B7"]}
    fixed = {"h": (0.5,), "rho": (0.3,), "count": 5, "horizons": (5,), "seed": 0}
    assert all(o.verdict is Verdict.HOLDS for o in examine(problem, "s2sam", measure, **fixed))
    assert all(o.verdict is Verdict.VIOLATED for o in examine(problem, peek, measure, **fixed))
