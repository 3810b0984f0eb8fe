"""Means over drawn paths: intervals with proved coverage, ranges that no path leaves, false claims caught."""

import dataclasses
import functools
import math

import pytest
import torch

from theory import CLAIMS
from validation import figures
from validation.experiments import expectation as module
from validation.experiments.expectation import FAMILYWISE, share
from validation.intervals import caught, deciding, interval, planned, width
from validation.judge import Verdict
from validation.noisy_runs import SETTINGS, asked, paths, reach, setting, side
from validation.plans import expectations
from validation.sizes import SIZES

RUN = {"horizons": [5, 40], "precision": 0.1, "level": 1e-8, "seed": 3}
CONSTANT = {"schedule": "constant", "h": 0.5, "rho": 0.1}


def rows(family="noisy-strong", rule="s2sam", labels=tuple(CLAIMS), **options):
    return list(module.expectation(labels=list(labels), family=family, rule=rule, **{**RUN, **CONSTANT, **options}))


def test_the_width_is_the_theorems():
    """Maurer and Pontil 2009, Theorem 4, by hand: V = 1/4, n = 101, range 2, ln(2/level) = 8."""
    level = 2 * math.exp(-8)
    assert width(0.25, 101, 2.0, level) == pytest.approx(math.sqrt(4 / 101) + 7 * 2 * 8 / 300, rel=1e-14)
    values = torch.tensor([0.0, 1.0], dtype=torch.float64).repeat(50)
    found = interval(values, 1.0, level)
    assert found.mean == 0.5
    assert found.variance == pytest.approx(25 / 99)  # divisor n - 1
    assert found.upper - 0.5 == pytest.approx(0.5 - found.lower) == pytest.approx(width(25 / 99, 100, 1.0, level))


def test_values_off_the_proved_range_are_refused():
    with pytest.raises(ValueError, match="values must lie within span = 1 of each other, got "):
        interval(torch.tensor([0.0, 1.5], dtype=torch.float64), 1.0, 1e-6)


def test_limits_are_wrong_no_more_often_than_they_may_be():
    """Skewed coins, P(1) = 1/50, n = 200, level 1/20, 4000 repetitions: each limit fails in at most level of them.

    The count of failures is binomial with p <= 1/20; above 4000/20 + 5 sqrt(4000/20) = 270 it would refute that.
    """
    draws = (torch.rand(4000, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64) < 0.02).double()
    found = [interval(x, 1.0, 0.05) for x in draws]
    assert sum(f.upper < 0.02 for f in found) <= 270
    assert sum(f.lower > 0.02 for f in found) <= 270
    normal = [x.mean() + 1.645 * x.std() / 200**0.5 for x in draws]  # what is not proved fails here
    assert sum(float(upper) < 0.02 for upper in normal) > 270


def test_the_number_of_paths_is_the_least_that_keeps_the_promise():
    n = planned(3.0, 1e-8, 0.1)
    known = [7 * 3 * math.log(2e8) / (3 * (k - 1)) for k in (n, n - 1)]
    assert known[0] <= 0.1 < known[1]


def test_the_deciding_number_decides():
    n = deciding(0.3, 2.0, 1e-8, 0.01)
    assert width(0.3, n, 2.0, 1e-8) <= 0.01 < width(0.3, 0.98 * n, 2.0, 1e-8)
    assert deciding(0.3, 2.0, 1e-8, 0.0) == math.inf


def test_an_excess_that_is_surely_caught_is_caught():
    """Coins whose mean exceeds 0.1 by `caught`: of 300 samples at least 270 (0.99 less six deviations) refute 0.1."""
    n, level = 2000, 1e-6
    p = 0.1 + caught(0.25, n, 1.0, level)  # a variance no coin exceeds
    draws = (torch.rand(300, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64) < p).double()
    assert sum(interval(x, 1.0, level).lower > 0.1 for x in draws) >= 270


@pytest.mark.parametrize("family", SETTINGS)
@pytest.mark.parametrize("schedule", ["constant", "fixed", "quarter", "half"])
def test_no_path_leaves_its_certain_range(family, schedule):
    """X in [0, span] on every path; with the noise hardest at it (all draws of one sign) it comes near."""
    for rule in ("s2sam", "sam"):
        s = setting(family, rule, schedule, 0.5, 0.3, 30, torch.Generator().manual_seed(1))
        certain = reach(s)
        sides = [side(s, certain, label, 30) for label in asked(family, rule, schedule)]
        (found,) = paths(s, sides, 200, torch.Generator().manual_seed(2))
        for x in sides:
            values = found[x.label, x.T]
            assert len(values) == 200
            assert float(values.min()) >= 0
            assert float(values.max()) <= x.span


@pytest.mark.parametrize("rule", ["s2sam", "sam"])
def test_true_claims_hold_and_none_is_violated(rule):
    found = [r for f in SETTINGS for r in rows(f, rule)]
    labels = ("B1", "B1'", "B3", "B4", "B4'")
    verdicts = {label: {r["verdict"] for r in found if r["claim"] == label} for label in labels}
    assert all("HOLDS" in v and "VIOLATED" not in v for v in verdicts.values())
    for r in found:
        assert r["lower"] <= r["measured"] <= r["upper"]
        assert (r["upper"] <= r["bound"] + r["slack"]) == (r["verdict"] in ("HOLDS", "VACUOUS"))
        assert r["ratio"] <= 1


@pytest.mark.parametrize("schedule", ["fixed", "quarter", "half"])
def test_rates_hold_on_both_families(schedule):
    for family in ("noisy-isotropic", "noisy-cosine"):
        found = rows(family, schedule=schedule, rho=0.01)
        assert {r["claim"] for r in found} == set(asked(family, "s2sam", schedule))
        assert "VIOLATED" not in {r["verdict"] for r in found}
        assert "HOLDS" in {r["verdict"] for r in found}


def reduced(label, factor):
    """The claim with its bound times a factor below 1."""
    true = CLAIMS[label].bound
    return dataclasses.replace(CLAIMS[label], bound=functools.wraps(true)(lambda **c: factor * true(**c)))


CASES = [("B1", "constant"), ("B1'", "constant"), ("B3", "constant"), ("B4", "constant"), ("B4'", "constant"),
         ("B2.fixed", "fixed"), ("B2.anytime", "half"), ("B2.quarter", "quarter"), ("B2.half", "half")]  # fmt: skip


@pytest.mark.parametrize(("label", "schedule"), CASES)
def test_a_bound_reduced_until_it_is_false_is_caught(label, schedule, monkeypatch):
    """Below E X by what the row says is caught with probability 0.99: VIOLATED; the true bound is not."""
    true = rows("noisy-isotropic", schedule=schedule, labels=[label])
    assert "VIOLATED" not in {r["verdict"] for r in true}
    last = true[-1]
    power = 0.5 if label == "B1'" else 1.0  # its bound is a root of the bound of E X
    factor = (last["measured"] / last["bound"]) / (1.5 * (last["caught"] - 1) + 1) ** power
    monkeypatch.setitem(CLAIMS, label, reduced(label, factor))
    assert rows("noisy-isotropic", schedule=schedule, labels=[label])[-1]["verdict"] == "VIOLATED"


def test_an_attained_bound_is_left_undecided_with_the_number_that_decides():
    """B1 is an equality on isotropic quadratics: what is left of the bound is the last f, and shrinks with T."""
    (row,) = rows("noisy-isotropic", labels=["B1"], horizons=[200])
    assert row["verdict"] == str(Verdict.INCONCLUSIVE)
    assert row["decides"] > 2 * row["paths"]


def test_the_levels_of_a_run_add_up_to_the_familywise_one():
    for size in SIZES:
        plans = [dict(c.options) for c in expectations(SIZES[size], list(CLAIMS), 0, "cpu")]
        limits = sum(2 * len(asked(p["family"], p["rule"], p["schedule"])) * len(p["horizons"]) for p in plans)
        assert {p["level"] for p in plans} == {share(plans)}
        assert limits * share(plans) == pytest.approx(FAMILYWISE)
        few = [dict(c.options) for c in expectations(SIZES[size], ["B4"], 0, "cpu")]
        assert {p["level"] for p in few} == {share(plans)}  # fewer claims, the same level


def test_what_is_drawn_does_not_depend_on_the_claims_asked_for():
    alone, among = rows(labels=["B1"]), rows()
    assert alone == [r for r in among if r["claim"] == "B1"]
    assert sum(r["steps"] for r in alone) == 40 * alone[0]["paths"]


def test_the_figure_shows_every_interval(tmp_path):
    found = rows("noisy-isotropic") + rows("noisy-cosine", schedule="half")
    assert len(figures.expectation.intervals(found)) == len(found)
    drawn = figures.draw(found, tmp_path)
    assert drawn["expectation"].stat().st_size > 8000
    path = {"claim": "B5.s2sam", "problem": "line", "family": "line", "series": "path", "rule": "s2sam", "seed": 0}
    without = figures.draw([{**path, "at": {"h": 0.5, "rho": 1.0}, "x": [0], "y": [1.0]}], tmp_path / "other")
    assert set(without) == {"B5"}
