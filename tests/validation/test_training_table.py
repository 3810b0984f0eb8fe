"""The table of training runs: what the terminal, README and the report show, and only from stored rows."""

import copy
from pathlib import Path

import pytest

from validation import figures, readme, report
from validation.cells import read
from validation.evidence import stored as evidence
from validation.training import FAMILIES
from validation.training import table as training

ROOT = Path(__file__).parents[2]


def row(method, optimizer, seed, accuracy, **other):
    fixed = {"nonzeros": 100, "kept": 100, "promised": 100, "relative_cost": 0.1, "relative_inference": 0.2, "cos": 0.5}
    return {"method": method, "optimizer": optimizer, "seed": seed, "test_accuracy": accuracy} | fixed | other


def test_a_line_is_mean_and_standard_deviation_over_seeds():
    rows = [row("rigl", "sgd", 0, 0.90), row("rigl", "sgd", 1, 0.94), row("rigl", "s2sam", 0, 0.95)]
    heads, lines = training.table(rows)
    assert heads[:4] == ["method", "SGD, %", "S2-SAM, %", "seeds"]
    # mean (90 + 94)/2 and sample standard deviation |94 - 90|/sqrt(2) = 2.83; a single run has none
    assert lines == [["rigl", "92.00±2.83", "95.00", "1-2", "100", "yes", "0.100", "0.100", "0.200"]]


def test_a_count_that_was_promised_and_missed_is_shown():
    rows = [row("set", "sgd", 0, 0.9, nonzeros=99, kept=99), row("set", "sgd", 1, 0.9)]
    (line,) = training.table(rows)[1]
    assert line[3:5] == ["99-100", "99 for 100"]


def test_readme_holds_the_table_of_the_committed_rows_and_a_changed_row_shows():
    rows, runs = read(readme.stored()) + evidence.rows(), training.read(training.stored())
    text = (ROOT / "README.md").read_text()
    assert readme.renewed(text, rows, runs) == text
    assert "| B5.s2sam |" in text
    assert "| rigl |" in text
    changed = copy.deepcopy(runs)
    changed[0]["test_accuracy"] -= 0.1
    assert readme.renewed(text, rows, changed) != text
    with pytest.raises(ValueError, match="README must hold the lines"):
        readme.renewed(text.replace("<!-- training: end -->", ""), rows, runs)


def test_every_committed_run_kept_what_its_method_promises():
    runs = training.read(training.stored())
    assert {r["method"] for r in runs} == {*FAMILIES, "dense", "random"}
    assert [r["run"] for r in runs if r["kept"] != r["promised"]] == []
    for method in {r["method"] for r in runs}:
        mine = [(r["optimizer"], r["seed"]) for r in runs if r["method"] == method]
        assert sorted(mine) == sorted((o, s) for o in ("sgd", "sam", "s2sam") for s in (0, 1, 2))


def test_the_figure_has_a_mark_for_every_run_and_the_report_a_section(tmp_path):
    runs = training.read(training.stored())
    figure = figures.training.training(runs)
    accuracy, cosine = figure.axes
    assert sum(len(line.get_xdata()) for line in accuracy.lines) == len(runs)
    drawn = sorted(x for line in accuracy.lines for x in line.get_xdata())
    assert drawn == sorted(100 * r["test_accuracy"] for r in runs)
    marks = [x for line in cosine.lines if line.get_marker() not in (None, "None") for x in line.get_xdata()]
    assert sorted(marks) == sorted(r["cos"] for r in runs if r["cos"] is not None and r["optimizer"] != "sgd")
    report.write([], {}, tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    section = page[page.index('id="training"') :]
    assert all(f"<td>{method}</td>" in section for method in {r["method"] for r in runs})
    assert "<svg" in section
