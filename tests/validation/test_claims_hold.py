"""Every claim as an inequality on problems, starts, step sizes and radii that Hypothesis draws; mutants caught."""

import hypothesis.strategies as st
import pytest
import strategies
import torch
from hypothesis import example, given

from validation import trajectories
from validation.check import examine
from validation.experiments.sweep import applicable
from validation.judge import Verdict
from validation.measures import MEASURES
from validation.problems import FAMILIES, Quadratic, quadratic, worst_case_line
from validation.streams import DECAY

STEPS = st.one_of(st.sampled_from([1e-6, 1.0, 1.999]), strategies.positive(1e-3, 1.99))
RADII = st.one_of(st.just(0.0), strategies.positive(1e-6, 1e3))


def violated(
    problem, rule, h, rho, seed, count=10, labels=tuple(MEASURES), enumerate_samples=False, beta=0.0, schedule=""
):
    """Labels of the claims that fail, in 50 digits too, on this run, and of those that were inside their domain."""
    measures = applicable(list(labels), rule, problem, enumerate_samples, beta, schedule)
    outcomes = examine(
        problem,
        rule,
        measures,
        h=(h,),
        rho=(rho,),
        count=count,
        horizons=(1, 2, count),
        seed=seed,
        enumerate_samples=enumerate_samples,
        beta=beta,
    )
    return {o.claim for o in outcomes if o.verdict is Verdict.VIOLATED}, {o.claim for o in outcomes if o.n}


@given(
    problem=strategies.deterministic(),
    rule=st.sampled_from(["sgd", "sam", "s2sam", "pair", "masked"]),
    h=STEPS,
    rho=RADII,
    seed=st.integers(0, 2**20),
)
@example(
    problem=worst_case_line(1), rule="s2sam", h=1.0, rho=1.0, seed=0
)  # periodic: gradients vanish every third step
@example(problem=worst_case_line(1), rule="sam", h=1.0, rho=1.0, seed=0)
def test_no_claim_fails_on_any_deterministic_problem(problem, rule, h, rho, seed):
    failures, met = violated(problem, rule, h, rho, seed)
    assert failures == set()
    assert met


@given(
    problem=strategies.sampled(),
    rule=st.sampled_from(["s2sam", "sam-same-batch"]),
    h=STEPS,
    rho=RADII,
    seed=st.integers(0, 2**20),
)
def test_no_claim_about_samples_fails(problem, rule, h, rho, seed):
    failures, met = violated(problem, rule, h, rho, seed)
    assert failures == set()
    assert met


@given(
    problem=strategies.row_sampled(),
    rule=st.sampled_from(["sgd", "sam", "s2sam", "sam-same-batch"]),
    h=strategies.positive(1e-3, 1.0),
    rho=RADII,
    seed=st.integers(0, 2**20),
)
def test_no_expectation_fails_when_all_samples_are_enumerated(problem, rule, h, rho, seed):
    h = h * float((problem.L / problem.L_sample).min()) * (1 - 2.0**-50)  # B1'' needs a step below 1/L of every sample
    failures, met = violated(problem, rule, h, rho, seed, count=2, enumerate_samples=True)
    assert failures == set()
    assert met


@given(
    problem=st.one_of(strategies.deterministic(), strategies.row_sampled()),
    schedule=st.sampled_from(sorted(DECAY)),
    h=st.one_of(st.just(1.0), strategies.positive(1e-3, 1.0)),
    rho=RADII,
    seed=st.integers(0, 2**20),
)
def test_no_rate_fails_on_its_schedule(problem, schedule, h, rho, seed):
    sampled = problem.samples > 1
    h = h * (1 - 2.0**-50)  # eta = h/L may round up
    found = violated(problem, "s2sam", h, rho, seed, 3 if sampled else 20, enumerate_samples=sampled, schedule=schedule)
    assert found == (set(), {f"B2.{schedule}"})


@given(
    d=st.integers(2, 5),
    L=strategies.positive(1e-3, 1e3),
    h=strategies.positive(1e-3, 1.0),
    rho=strategies.positive(1e-6, 1e3),
    seed=st.integers(0, 2**20),
)
def test_the_gradient_shrinks_with_the_step_on_round_bowls(d, L, h, rho, seed):
    problem = quadratic(2, d, generator=torch.Generator().manual_seed(seed), L=L, kind="isotropic")
    h = h * (1 - 2.0**-50)
    assert violated(problem, "s2sam-turned", h, rho, seed, 60) == (set(), {"B10.isotropic"})


@given(
    rule=st.sampled_from(["s2sam", "sam"]),
    h=strategies.positive(0.3, 1.9),
    rho=strategies.positive(1e-2, 1e2),
    seed=st.integers(0, 2**20),
)
def test_both_floors_on_the_line_are_where_they_are_said_to_be(rule, h, rho, seed):
    failures, _ = violated(worst_case_line(2), rule, h, rho, seed, 400, ("B5.s2sam", "B5.sam"))
    assert failures == set()


BETAS = st.one_of(st.sampled_from([1e-9, 0.5, 0.99]), st.floats(0.01, 0.98))
PARTS = st.one_of(st.just(1 - 2.0**-50), strategies.positive(1e-3, 0.999))


@given(
    problem=strategies.deterministic(),
    rule=st.sampled_from(["sgd", "sam", "s2sam"]),
    beta=BETAS,
    part=PARTS,
    rho=RADII,
    seed=st.integers(0, 2**20),
)
def test_no_claim_about_momentum_fails(problem, rule, beta, part, rho, seed):
    failures, met = violated(problem, rule, part * (1 - beta) ** 2 / (1 + beta), rho, seed, count=30, beta=beta)
    assert failures == set()
    assert met == {"B9"}


@given(
    problem=strategies.row_sampled(),
    rule=st.sampled_from(["sgd", "sam", "s2sam"]),
    beta=BETAS,
    part=PARTS,
    rho=RADII,
    seed=st.integers(0, 2**20),
)
def test_no_expectation_under_momentum_fails(problem, rule, beta, part, rho, seed):
    h = part * (1 - beta) ** 2 / (1 + beta)
    failures, met = violated(problem, rule, h, rho, seed, count=2, enumerate_samples=True, beta=beta)
    assert failures == set()
    assert met == {"B9"}


@given(
    curvatures=st.lists(st.floats(-1, 1), min_size=1, max_size=5),
    q=st.one_of(st.sampled_from([0.0, 0.5, 1 - 1e-9]), st.floats(0, 0.999)),
    h=st.one_of(st.just(1.0), strategies.positive(1e-2, 1.0)),
    rho=RADII,
    seed=st.integers(0, 2**20),
)
def test_no_gap_lets_the_gradient_vanish(curvatures, q, h, rho, seed):
    """Spectra of any sign below the largest, the gap from none at all to everything."""
    spectrum = torch.tensor([[1.0, *(q * c for c in curvatures)]], dtype=torch.float64)
    problem = Quadratic.of(torch.diag_embed(spectrum), torch.zeros_like(spectrum))
    failures, met = violated(problem, "s2sam", h, rho, seed, count=40, labels=("B10.gap",))
    assert failures == set()
    assert met == {"B10.gap"}


def test_the_strategies_reach_every_claim():
    """Each measured claim is inside its domain on some family, so that the properties above speak of it."""
    met = set()
    for family in ("strong", "isotropic", "noisy-strong"):
        problem = FAMILIES[family](3, torch.Generator().manual_seed(1))
        for rule in ("sgd", "sam", "s2sam", "pair", "sam-same-batch"):
            for exact in (False, True):
                if (problem.samples > 1) >= exact and not (rule == "pair" and problem.samples > 1):
                    met |= violated(problem, rule, 0.3, 0.1, 0, count=4, enumerate_samples=exact)[1]
    problem = FAMILIES["axes"](3, torch.Generator().manual_seed(1))
    met |= violated(problem, "s2sam", 0.3, 0.1, 0)[1] | violated(problem, "s2sam", 0.1, 0.1, 0, beta=0.5)[1]
    for schedule in DECAY:
        met |= violated(problem, "s2sam", 1.0, 0.1, 0, schedule=schedule)[1]
    met |= violated(problem, "masked", 0.3, 0.1, 0)[1]
    met |= violated(FAMILIES["isotropic"](3, torch.Generator().manual_seed(1)), "s2sam-turned", 0.3, 0.1, 0)[1]
    line = worst_case_line(2)
    met |= violated(line, "s2sam", 0.3, 0.1, 0)[1] | violated(line, "sam", 0.9, 1.0, 0, count=40)[1]
    assert met == set(MEASURES)


def test_momentum_and_no_momentum_have_claims_of_their_own():
    problem = FAMILIES["strong"](2, torch.Generator().manual_seed(1))
    plain, heavy = (set(applicable(list(MEASURES), "s2sam", problem, False, beta)) for beta in (0.0, 0.5))
    assert heavy == {"B9"}
    assert "B1" in plain
    assert not plain & heavy


MUTANTS = {
    "no ascent": lambda ascent: lambda d, rho, batched: [torch.zeros_like(x) for x in ascent(d, rho, batched=batched)],
    "sign flipped": lambda ascent: lambda d, rho, batched: [-x for x in ascent(d, rho, batched=batched)],
    "radius doubled": lambda ascent: lambda d, rho, batched: ascent(d, 2 * rho, batched=batched),
    "one norm for all instances": lambda ascent: lambda d, rho, batched: [rho[:, None] * x / x.norm() for x in d],
    "eps in the denominator": lambda ascent: (
        lambda d, rho, batched: [rho[:, None] * x / (x.norm(dim=1, keepdim=True) + 1e-6) for x in d]
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_ascent_is_refuted_by_the_claims(name, monkeypatch):
    """The claims tell the method from its mutants: what ships is what is validated."""
    problem = FAMILIES["strong"](4, torch.Generator().manual_seed(2))
    assert violated(problem, "s2sam", 0.5, 0.1, 0)[0] == set()
    monkeypatch.setattr(trajectories, "ascent", MUTANTS[name](trajectories.ascent))
    failures, _ = violated(problem, "s2sam", 0.5, 0.1, 0)
    assert "B6" in failures


def test_a_stale_gradient_that_is_never_refreshed_is_refuted():
    problem = quadratic(4, 5, generator=torch.Generator().manual_seed(2))
    kept = []

    def s2sam(view):
        if view.g.any() and not kept:
            kept.append(view.g)
        return kept[0] if kept else view.g

    measure = {"B6": MEASURES["B6"]}
    fixed = {"h": (0.5,), "rho": (0.1,), "count": 10, "horizons": (10,), "seed": 0}
    assert all(o.verdict is Verdict.HOLDS for o in examine(problem, "s2sam", measure, **fixed))
    assert any(o.verdict is Verdict.VIOLATED for o in examine(problem, s2sam, measure, **fixed))


@pytest.mark.parametrize("rule", ["s2sam", "sam"])
@pytest.mark.parametrize(
    ("label", "family"), [("B1.isotropic", "isotropic"), ("B3.isotropic", "isotropic"), ("B1.isotropic", "line")]
)
def test_equalities_hold_to_twelve_digits(label, family, rule):
    """Both sides of B1 and B3 agree to 1e-12 relative, with P and Delta as realised: the sharpest test there is."""
    problem = FAMILIES[family](32, torch.Generator().manual_seed(9))
    outcomes = examine(
        problem,
        rule,
        {label: MEASURES[label]},
        h=(0.1, 0.5, 1.0),
        rho=(0.01, 0.3, 1.0),
        count=40,
        horizons=(1, 2, 7, 40),
        seed=3,
    )
    assert all(o.verdict is Verdict.HOLDS for o in outcomes)
    assert max(abs(o.measured - o.bound) / abs(o.bound) for o in outcomes) < 1e-12


@pytest.mark.parametrize(
    ("label", "family", "rule"),
    [
        ("B4'", "isotropic", "s2sam"),
        ("B1'", "isotropic", "sam"),
        ("B4", "isotropic", "s2sam"),
    ],
)
def test_bounds_are_attained_beyond_the_first_step(label, family, rule):
    """Measured/bound reaches 0.99 for some T >= 2, and never exceeds 1 beyond rounding at any T."""
    problem = FAMILIES[family](32, torch.Generator().manual_seed(9))
    outcomes = examine(
        problem,
        rule,
        {label: MEASURES[label]},
        h=(0.1, 0.5, 0.9, 1.0),
        rho=(0.1, 1.0),
        count=40,
        horizons=(1, 2, 3, 4, 10, 40),
        seed=3,
    )
    assert all(o.ratio <= 1 for o in outcomes)
    assert max(o.ratio for o in outcomes if o.at["T"] >= 2) > 0.99


def test_s2sam_is_unbiased_and_same_batch_sam_is_not():
    problem = FAMILIES["noisy-strong"](16, torch.Generator().manual_seed(4))
    fixed = {"h": (0.5,), "rho": (0.3,), "count": 10, "horizons": (10,), "seed": 0}
    (ours,) = examine(problem, "s2sam", {"B7": MEASURES["B7"]}, **fixed)
    (theirs,) = examine(problem, "sam-same-batch", {"B7.same-batch": MEASURES["B7.same-batch"]}, **fixed)
    assert ours.measured < 1e-13
    assert theirs.measured > 0.1


@pytest.mark.parametrize(("label", "rule"), [("A4.strong", "pair"), ("B4'", "s2sam")])
def test_bounds_with_a_gain_of_nearly_zero_by_zero_refute_nothing(label, rule, monkeypatch):
    """H = 1 and m = 1 - 6e-14, met by chance: K is a ratio of differences, and its rounding 0.2 %."""
    spectrum = torch.tensor([[0.18598485195812536, 0.18598485195811415]], dtype=torch.float64)
    problem = Quadratic.of(torch.diag_embed(spectrum), torch.zeros_like(spectrum))

    def failures():
        return {x for rho in RHOS for x in violated(problem, rule, 1.0, rho, 1, labels=(label,))[0]}

    assert failures() == set()
    for module in ("error", "convergence"):
        monkeypatch.setattr(f"validation.measures.{module}.gain_error", lambda h, m: 0 * h)
    assert failures() == {label}


RHOS = (0.01, 0.3, 1.0)
