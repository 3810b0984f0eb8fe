"""Rows of exact worst cases: what they say of themselves, when none can be had, and the figure drawn from them."""

import importlib.util
import json
from importlib.metadata import PackageNotFoundError

import pytest

from theory import CLAIMS
from theory.worst_case import INSTANCES, Case, beside, cases
from validation import figures, suite
from validation.cells import EXPERIMENTS, Cell
from validation.experiments import worst_case as experiment
from validation.figures import worst_case as drawn

PEPIT = pytest.mark.skipif(
    importlib.util.find_spec("PEPit") is None, reason="worst cases need PEPit: pip install 's2sam[validation]'"
)


def check_row(row):
    """Bound, both solver's values with their residuals, hypothesis and point: never a bare number, and none above 1."""
    assert {"primal", "dual", "bound", "ratio", "doubt", "violation", "defect", "remainder", "status"} <= row.keys()
    assert row["series"] == "worst-case"
    assert row["hypothesis"] == experiment.HYPOTHESIS[row["kind"]]
    assert {"h", "T", "rho"} <= row["at"].keys()
    assert set(row["constants"]) == set(CLAIMS[row["claim"]].constants)
    assert "verdict" not in row
    assert "PEPit" in row["solver"]
    assert not row["exceeds"]
    assert not row["contradicted"]
    # CLARABEL's own tolerance, see tests/theory/test_worst_case.py
    assert row["ratio"] <= 1 + row["doubt"] + 1e-9 <= 1 + 5e-5
    assert json.loads(json.dumps(row)) == row


@pytest.fixture(scope="module")
def solved():
    """The first steps of the default grid: two claims on one problem, one with momentum, one of a pair of runs."""
    if importlib.util.find_spec("PEPit") is None:
        pytest.skip("worst cases need PEPit: pip install 's2sam[validation]'")
    run = lambda T, *labels: EXPERIMENTS["worst_case"](labels=list(labels), grid="default", T=T)  # noqa: E731
    return [*run(1, "B1'", "B1'.fstar"), *run(2, "B1'", "B1'.fstar"), *run(1, "B9"), *run(1, "A4.convex")]


def test_rows_say_what_they_are(solved):
    for row in solved:
        check_row(row)
    kinds = {(r["claim"], r["form"], r["kind"]) for r in solved}
    assert ("B1'", "Delta = f(w_0) - f*", "stale") in kinds
    assert ("B1'.fstar", "", "any") in kinds
    assert ("A4.convex", "", "stale") not in kinds
    assert {"beta"} <= next(r for r in solved if r["claim"] == "B9")["at"].keys()
    shared = [r["problem"] for r in solved if r["at"] == {"h": 0.5, "T": 2, "rho": 1.0} and r["kind"] == "any"]
    assert len(shared) == 3
    assert len(set(shared)) == 2  # B1'.fstar is the same problem as B1' with the minimum


def test_the_closed_form_is_attained_where_the_program_says_so(solved):
    rows = [r for r in solved if r["claim"] == "B1'.fstar" and r["kind"] == "any"]
    assert len(rows) == 6
    for row in rows:
        assert row["attained"]["ratio"] == pytest.approx(1, abs=1e-12)  # 60 digits, rounded to float64
        assert row["primal"] == pytest.approx(row["bound"], rel=5e-5)  # CLARABEL's tolerance


@PEPIT
def test_a_bound_below_the_worst_case_is_marked(monkeypatch):
    import dataclasses

    claim = CLAIMS["A4.convex"]
    half = dataclasses.replace(claim, bound=lambda *, h, rho, T: claim.bound(h=h, rho=rho, T=T) / 2)
    monkeypatch.setitem(CLAIMS, "A4.convex", half)
    rows = list(EXPERIMENTS["worst_case"](labels=["A4.convex"], grid="default", T=1))
    assert all(row["exceeds"] for row in rows)
    with pytest.raises(AssertionError):
        check_row(rows[0])


def test_a_solver_that_stops_too_low_is_contradicted():
    """An instance attains A4.smooth exactly: a dual value below that is the solver's error, whatever its residuals."""
    case = Case(claim="A4.smooth", T=8, h=1.75)
    found = {name: 0.0 for name in ("violation", "defect", "remainder", "seconds", "cpu")}
    found |= {"bound": case.bound, "status": "optimal_inaccurate", "notes": [], "key": "", "doubt": 5e-5}
    low, right = (
        experiment._row(case, {**found, "primal": part * case.bound, "dual": part * case.bound, "ratio": part})
        for part in (0.93, 1 - 1e-5)
    )
    assert low["contradicted"]
    assert not right["contradicted"]
    assert drawn.programs([low, right]) == [right]


def test_without_a_solver_one_line_and_the_rest_goes_on(monkeypatch, capsys):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(experiment, "version", missing)
    experiment.solvers.cache_clear()
    try:
        for T in (1, 2):
            assert list(EXPERIMENTS["worst_case"](labels=["B1"], grid="default", T=T)) == []
    finally:
        experiment.solvers.cache_clear()
    (line,) = capsys.readouterr().err.splitlines()
    assert "PEPit" in line
    assert "pip install 's2sam[validation]'" in line


def test_instances_are_rows_of_their_own():
    labels = ["B1", "B9", "B7.independent"]
    rows = list(EXPERIMENTS["attained"](labels=labels))
    assert len(rows) == sum(len(i.points) for i in INSTANCES if i.claim in labels)
    assert all(r["kind"] == "instance" and r["series"] == "worst-case" and r["text"] for r in rows)
    assert {r["ratio"] for r in rows if not r["approached"]} == {1.0}
    assert json.loads(json.dumps(rows)) == rows


def test_what_stands_beside_a_case():
    """Only what is attained at the case's own constants, by perturbations that it admits."""
    assert beside(Case(claim="B1", T=3, h=0.5, decrease="measured"))["ratio"] == 1
    assert beside(Case(claim="B1", T=3, h=0.5, decrease="measured", perturbation="stale"))["own"]
    assert beside(Case(claim="A4.convex", T=3, h=1.0))["at"] == {"T": 3}
    assert 0.99 < beside(Case(claim="B1'.fstar", T=8, h=0.5))["ratio"] < 1
    for none in (
        Case(claim="B1", T=3, h=0.5, sharp=True), Case(claim="B1", T=3, h=0.5), Case(claim="A4.convex", T=3, h=0.5),
        Case(claim="B1'.fstar", T=3, h=0.5, perturbation="stale"), Case(claim="B4", T=1, h=0.5, m=0.1),
    ):
        assert beside(none) is None


def test_nothing_beside_a_case_exceeds_its_bound():
    found = [row for row in map(beside, cases((1, 2, 8), beta=())) if row]
    assert len(found) > 80
    assert all(0 < row["ratio"] <= 1 + 1e-15 for row in found)


def test_the_suite_solves_each_case_once_and_quick_none():
    labels = list(CLAIMS)
    chosen = lambda size: [c for c in suite.cells(size, labels) if c.name == "worst_case"]  # noqa: E731
    assert chosen("quick") == []
    for size in ("default", "deep"):
        todo = [dict(c.options) for c in chosen(size)]
        asked = [(label, one["T"]) for one in todo for label in one["labels"]]
        assert len(asked) == len(set(asked))
        assert set(asked) == {(c.claim, c.T) for c in experiment.GRIDS[todo[0]["grid"]]()}
    assert {c.claim for c in cases()} == {label for label, _ in asked}
    assert [c.name for c in suite.cells("default", ["A1"]) if c.name == "worst_case"] == []
    assert Cell.of("attained", labels=["B9"]) in suite.cells("quick", ["B9"])


def program(claim, T, ratio, kind="any", h=0.5, form=""):
    at = {"h": h, "T": T, "rho": 1.0, **({"beta": 0.5} if claim == "B9" else {})}
    return {
        "claim": claim, "series": "worst-case", "kind": kind, "form": form, "at": at, "bound": 2.0, "dual": 2 * ratio,
        "ratio": ratio, "doubt": 1e-7, "attained": None, "contradicted": False,
    }


ROWS = [
    *(program("A4.convex", T, 1 - 0.1 * T) for T in (1, 2)), program("B4", 1, 0.5, kind="stale"),
    *(program("B9", T, 0.9, form="measured Delta") for T in (1, 2)), program("B1'.fstar", 1, 1.0),
]


def test_the_table_says_how_loose_each_bound_is():
    table = drawn.table([*ROWS, {"claim": "A1", "series": "worst-case", "kind": "instance", "ratio": 1.0}])
    assert [(r["claim"], r["kind"], r["n"], r["least"], r["most"]) for r in table] == [
        ("A4.convex", "any", 2, 0.8, 0.9), ("B1'.fstar", "any", 1, 1.0, 1.0), ("B4", "stale", 1, 0.5, 0.5),
        ("B9", "any", 2, 0.9, 0.9),
    ]
    assert table[0]["least_at"]["T"] == 2


def test_the_figure_is_a_function_of_its_rows(tmp_path):
    first = figures.draw(ROWS, tmp_path / "a")["worst-case"]
    assert first.read_bytes() == figures.draw(ROWS[::-1][::-1], tmp_path / "b")["worst-case"].read_bytes()
    changed = [*ROWS[:-1], program("B1'.fstar", 1, 0.7)]
    assert first.read_bytes() != figures.draw(changed, tmp_path / "c")["worst-case"].read_bytes()
    assert "worst-case" not in figures.draw([], tmp_path / "d")
