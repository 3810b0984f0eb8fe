"""Rung 2: worst cases against values known exactly, attaining instances, the cache; solves need PEPit."""

import decimal
import functools
import importlib.util
import itertools
import json
import math
import re
from dataclasses import replace
from fractions import Fraction

import pytest

from theory import CLAIMS
from theory.worst_case import INSTANCES, Case, Solution, WorstCase, cases, default_cases, judge, key, rows, solve
from theory.worst_case.line import path
from theory.worst_case.plane import aligned, independent_batches, unit_step

PEPIT = pytest.mark.skipif(
    importlib.util.find_spec("PEPit") is None, reason="worst cases need PEPit: pip install 's2sam[validation]'"
)
# CLARABEL stops at a relative duality gap of 1e-8 or, when it gets no further, at 5e-5 ("optimal_inaccurate")
TOLERANCE = 5e-5


def check_ratio(found, ratio):
    """The dual value over the bound is the ratio, and the primal one too, each within the solver's tolerance."""
    assert found.status in ("optimal", "optimal_inaccurate")
    assert abs(found.ratio - ratio) <= TOLERANCE
    assert abs(found.primal / found.bound - ratio) <= TOLERANCE
    assert found.doubt <= TOLERANCE


TIGHT = {  # theory's own statements: where the worst case equals the bound
    "B1, measured Delta": [Case(claim="B1", T=T, h=h, decrease="measured") for T, h in ((1, 0.5), (3, 0.5), (3, 1.0))],
    "B1' at h = 1": [Case(claim="B1'", T=T, h=1.0, decrease="measured") for T in (1, 3)],
    "B1' at T = 1": [Case(claim="B1'", T=1, h=h, decrease="measured") for h in (0.5, 1.5)],
    "B1', mean radius": [Case(claim="B1'", T=3, h=h, decrease="measured", perturbation="mean") for h in (0.5, 1.5)],
    "B1'.fstar where the parabola is the worst": [
        Case(claim="B1'.fstar", T=T, h=h) for T, h in ((1, 0.5), (4, 0.5), (3, 1.0), (4, 1.5))
    ],
    "B9 without momentum": [Case(claim="B9", T=2, h=0.5, decrease="measured")],
    "B1' without perturbation": [Case(claim="B1'", T=2, h=h, rho=0.0, decrease="measured") for h in (0.5, 1.5)],
    "B3, measured R2": [Case(claim="B3", T=T, h=h, decrease="measured") for T, h in ((1, 0.5), (3, 1.0))],
    "B4'": [Case(claim="B4'", T=3, h=h, m=0.1 * h) for h in (0.5, 1.0)],
    "A4.smooth": [Case(claim="A4.smooth", T=T, h=h) for T, h in ((1, 0.5), (3, 1.0), (3, 2.5))],
    "A4's squared forms at h = 1": [Case(claim="A4.convex", T=3, h=1.0), Case(claim="A4.strong", T=3, h=1.0, m=0.1)],
    "A4's linear forms at T = 1": [
        Case(claim="A4.convex-linear", T=1, h=0.5), Case(claim="A4.strong-linear", T=1, h=0.5, m=0.1),
    ],
}


@PEPIT
@pytest.mark.parametrize("statement", TIGHT)
def test_worst_case_equals_the_bound(statement):
    for case in TIGHT[statement]:
        check_ratio(solve(case), 1.0)


@PEPIT
def test_the_comparison_can_fail():
    """A constant of B1 halved, and a loose bound called tight."""
    found = solve(TIGHT["B1, measured Delta"][1])
    with pytest.raises(AssertionError):
        check_ratio(replace(found, bound=found.bound / 2), 1.0)
    with pytest.raises(AssertionError):
        check_ratio(solve(Case(claim="B3", T=2, h=0.5, sharp=True)), 1.0)
    with pytest.raises(AssertionError):
        check_ratio(replace(found, primal=found.primal * 0.99), 1.0)


@PEPIT
def test_loose_bounds_are_as_loose_as_known():
    """B1' below h = 1 with Delta = f(w_0) - f*: 0.79 and 0.87 at T = 2 and 4; B1'.fstar is off by less than 0.5 %."""
    for T, ratio in ((2, 0.78885), (4, 0.86650)):
        check_ratio(solve(Case(claim="B1'", T=T, h=0.5)), ratio)
    beyond = solve(Case(claim="B1'.fstar", T=6, h=0.5))  # where the parabola is no longer the worst
    assert 0.996 < beyond.ratio < 0.999
    # 2 L Delta is all that f* allows of ||grad f(w_0)||^2
    assert math.isclose(solve(Case(claim="B1'", T=1, h=0.5)).dual, math.sqrt(2), rel_tol=TOLERANCE)


@PEPIT
def test_kinds_of_perturbation_are_nested():
    """Fewer perturbations, or a function that cannot change: no larger worst case."""
    value = lambda **options: solve(Case(T=3, h=0.5, **options)).dual  # noqa: E731
    for claim in ("B1", "B3"):
        stale, every, mean = (value(claim=claim, perturbation=kind) for kind in ("stale", "any", "mean"))
        assert stale <= every + TOLERANCE
        assert every <= mean + TOLERANCE
    assert stale < every - 0.01
    fixed, changing = (value(claim="A4.convex", changing=changes) for changes in (False, True))
    assert fixed <= changing + TOLERANCE


@PEPIT
@pytest.mark.parametrize(
    "claim", ["A4.smooth", "A4.convex", "A4.strong", "B1", "B1'", "B1'.fstar", "B3", "B4", "B4'", "B9"]
)
def test_no_worst_case_exceeds_its_bound(claim):
    found = [row for row in rows(c for c in cases((2,), (0.25, 0.75, 1.5), (0.75,)) if c.claim == claim)]
    assert found
    assert all(row["primal"] <= row["bound"] * (1 + row["doubt"] + 1e-9) for row in found)
    assert all(row["doubt"] <= TOLERANCE for row in found)


@pytest.mark.slow
@PEPIT
def test_the_default_grid(tmp_path):
    """No worst case above its bound, all solved, all rows JSON; some 20 s of processor time."""
    found = list(rows(cache=tmp_path / "cache.jsonl"))
    assert len(found) == len(list(default_cases())) > 200
    assert all(row["ratio"] <= 1 + row["doubt"] + 1e-9 for row in found)
    assert max(row["doubt"] for row in found) <= TOLERANCE
    assert json.loads(json.dumps(found)) == found


# --- without a solver ------------------------------------------------------------------------------------------------


SOLUTION = Solution(primal=4.0, dual=4.0, status="optimal", violation=0.0, defect=0.0, remainder=0.0, seconds=1.0,
                    cpu=1.0, solver="NONE", notes=("a warning",))


def test_a_root_is_taken_where_the_claim_bounds_one():
    squared = judge(Case(claim="A4.convex", T=1, h=1.0), SOLUTION)
    rooted = judge(Case(claim="A4.convex-linear", T=1, h=1.0), SOLUTION)
    assert (squared.dual, rooted.dual) == (4.0, 2.0)
    assert (squared.ratio, rooted.ratio) == (4.0, 2.0)
    assert replace(rooted, remainder=0.5).doubt == 0.5
    assert isinstance(squared, WorstCase)


def test_the_bound_is_the_claims():
    case = Case(claim="B1", T=4, h=0.5, rho=0.5, perturbation="stale", decrease="measured")
    assert case.constants["P2"] == 0.75 * 0.25
    assert case.bound == CLAIMS["B1"](eta=0.5, L=1.0, gap=1.0, T=4, P2=0.1875, sigma2=0.0)
    path_case = Case(claim="B4'", T=3, h=0.5, m=0.1, perturbation="stale")
    assert path_case.constants["P2"] == [0.0, 1.0, 1.0]
    assert Case(claim="B3", T=4, h=0.5, sharp=True).constants["P2"] == 0.75


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"claim": "B2.fixed"}, "claim must be one of"),
        ({"claim": "B1", "h": 1.5}, "B1 needs eta <= 1/L"),
        ({"claim": "B1", "perturbation": "own"}, "perturbation must be one of"),
        ({"claim": "B1", "decrease": "own"}, "decrease one of"),
        ({"claim": "B1", "sharp": True, "decrease": "measured"}, "sharp must be False"),
        ({"claim": "B1'", "sharp": True}, "sharp must be False"),
        ({"claim": "B1'.fstar", "decrease": "measured"}, "decrease must be 'minimum' for B1'.fstar"),
        ({"claim": "B9", "beta": 0.5}, "B9 needs eta <= (1 - beta)^2"),
        ({"claim": "A4.convex", "sharp": True}, "sharp must be False"),
    ],
)
def test_cases_refuse(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Case(**{"T": 2, "h": 0.5, **options})


@PEPIT
def test_the_cache_solves_a_problem_once(tmp_path):
    calls = []

    def solver(case):
        calls.append(case)
        return SOLUTION

    which = [Case(claim=c, T=2, h=0.5) for c in ("A4.convex", "A4.convex-linear", "A4.convex")]
    file = tmp_path / "worst.jsonl"
    first = list(rows(which, file, solver))
    assert len(calls) == 1
    assert [row["dual"] for row in first] == [4.0, 2.0, 4.0]
    with file.open("a") as stream:
        stream.write('{"key": "cut sho')  # a kill in the middle of a line
    assert list(rows(which, file, solver)) == first
    assert len(calls) == 1
    assert key(which[0]) == key(which[1]) != key(replace(which[0], T=3))
    assert len({key(replace(which[0], **{name: value})) for name, value in
                (("h", 0.25), ("rho", 0.5), ("perturbation", "stale"), ("changing", False))} | {key(which[0])}) == 5
    assert first[0]["notes"] == ["a warning"]
    assert json.loads(json.dumps(first)) == first


def test_grids_stay_in_the_domain():
    whole = list(cases())
    assert {c.claim for c in whole} == {"A4.smooth", "A4.convex", "A4.convex-linear", "A4.strong", "A4.strong-linear",
                                        "B1", "B1'", "B1'.fstar", "B3", "B4", "B4'", "B9"}
    assert {c.T for c in whole} == set(range(1, 9))
    assert set(default_cases()) <= set(whole)
    assert len(set(whole)) == len(whole)


# --- instances -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("instance", INSTANCES, ids=lambda i: f"{i.claim}: {i.text[:30]}")
def test_instances_attain_their_bounds(instance):
    instance.verify()
    for row in instance.rows():
        assert json.loads(json.dumps(row)) == row
        assert row["ratio"] <= 1 + 1e-15


def attained_by(change):
    """All instances whose measured side is changed are refused."""
    for instance in INSTANCES:
        def run(instance=instance, **point):
            measured, constants = instance.run(**point)
            return change(measured), constants
        with pytest.raises(ArithmeticError, match=re.escape(instance.claim)):
            replace(instance, run=run).verify()


def test_instances_notice_a_wrong_value():
    attained_by(lambda measured: 2 * measured)
    attained_by(lambda measured: measured / 3)


@pytest.mark.parametrize("instance", INSTANCES, ids=lambda i: f"{i.claim}: {i.text[:30]}")
def test_instances_notice_another_bound(instance, monkeypatch):
    claim = CLAIMS[instance.claim]

    @functools.wraps(claim.bound)  # which keeps the signature, by which a claim knows its constants
    def doubled(**constants):
        return 2 * claim.bound(**constants)

    monkeypatch.setitem(CLAIMS, instance.claim, replace(claim, bound=doubled))
    with pytest.raises(ArithmeticError, match=re.escape(instance.claim)):
        instance.verify()


def test_which_instances_are_s2sams_own():
    """A4 beyond one step, B1', B1'.fstar below h = 1, B4, B4' and B9 take other perturbations."""
    others = {i.claim for i in INSTANCES} - {i.claim for i in INSTANCES if i.own}
    assert others == {"A1", "A1.cos", "B1'", "B4.path", "B4", "B4'", "B9"}
    for label in ("A4.smooth", "A4.convex", "A4.strong", "B1'.fstar"):
        assert sorted(i.own for i in INSTANCES if i.claim == label) == [False, True]


def test_own_perturbations_are_parallel_to_the_stale_gradient():
    run = path(Fraction(1, 2), 6)
    for (w, p), (_, following) in itertools.pairwise(run):
        y = w + p
        assert following * y > 0  # along L y, the gradient of the step before
        assert abs(following) == Fraction(2, 7)
    assert run[0][1] == 0


def test_simplex_needs_a_rational_distance():
    assert independent_batches(9, Fraction(1), Fraction(1)) == Fraction(4, 3)
    with pytest.raises(ArithmeticError, match="rational square"):
        independent_batches(3, Fraction(1), Fraction(1))


def test_plane_instances_against_floats():
    """The same constructions in floats, written out: B7.full for N = 2, and A4.convex as a sum of squares."""
    s, rho, L = 1e-3, 0.3, 2.0
    first = (s / math.hypot(s, 1) - 1, 1 / math.hypot(s, 1))  # n_1 - e, e = (1, 0)
    expected = L * rho * math.hypot(*first)
    with decimal.localcontext(prec=40):
        value = aligned(decimal.Decimal("1e-3"), 2, decimal.Decimal(2), decimal.Decimal("0.3"))
        convex = unit_step(decimal.Decimal(0), decimal.Decimal(1), 5)
    assert math.isclose(value, expected, rel_tol=1e-12)  # cancellation in hypot - 1: 12 of 16 digits
    assert math.isclose(convex, 1 + 4 * 4, rel_tol=1e-15)
