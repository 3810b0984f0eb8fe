"""What stands behind D in report and README: the bench of D1 judged, and findings told as standings and rungs."""

import copy
from collections import Counter

import pytest

from theory import CLAIMS
from validation import report as page_report
from validation.cells import read, write
from validation.evidence import report, stored
from validation.evidence.experiments import cost
from validation.evidence.protocol import TUNING
from validation.standing import INCONCLUSIVE, REFUTED, SUPPORTED, standing, standings

RATIOS = (0.99, 1.0, 1.01, 1.0, 0.995, 1.005, 1.0, 1.002, 0.998)  # their 2nd and 8th bound the median at 96 %


def bench(s2sam=RATIOS, gradients=1.0):
    def row(network, sparsity, method, ratios, count):
        ordered = sorted(ratios)
        ends = {"throughput": ordered[4], "low": ordered[1], "high": ordered[7]}
        at = {"network": network, "sparsity": sparsity, "method": method, "gradients a step": count}
        return at | ends | {"ratios": list(ratios)}

    rows = []
    for network, sparsity in (("ResNet-32", 0.0), ("Transformer", 0.9)):
        rows.append(row(network, sparsity, "SGD", [1.0] * 9, 1.0))
        rows.append(row(network, sparsity, "S2SAM", s2sam if sparsity else RATIOS, gradients))
        rows.append(row(network, sparsity, "SAM", [r / 2 for r in RATIOS], 2.0))
    return {"machine": "a machine", "rows": rows}


@pytest.mark.parametrize(
    ("lost", "verdict"),
    [(0.0, SUPPORTED), (0.015, INCONCLUSIVE), (0.05, REFUTED)],  # of the throughput, where 0.02 is allowed
)
def test_d1_is_what_the_slowest_network_says(lost, verdict):
    found = cost.judge(bench([r - lost for r in RATIOS]))
    assert found.verdict == verdict
    assert found.effect.mean == pytest.approx(-100 * lost)
    others = {line.name: line.effect.mean for line in found.lines if line.at["method"] == "SAM"}
    assert others == {"SAM less SGD, ResNet-32, dense": -50.0, "SAM less SGD, Transformer, 90%": -50.0}


def test_d1_counts_gradients():
    assert cost.judge(bench()).verdict == SUPPORTED
    assert cost.judge(bench(gradients=2.0)).verdict == REFUTED  # as fast as it may be


def test_a_finding_gives_its_claim_a_standing_and_the_fifth_rung():
    (row,) = stored.rows(found=[cost.judge(bench())])
    s = standing(CLAIMS["D1"], [row])
    assert s.verdict == f"SUPPORTED: {row['told']}"
    assert [r.reached for r in s.rungs] == [False] * 4 + [True]
    assert (s.n, s.expected, s.findings) == (36, True, (row,))
    assert standing(CLAIMS["D4"], [row]).verdict.startswith("NOT TESTED HERE")
    refuted = standing(CLAIMS["D1"], [{**row, "verdict": REFUTED}])
    assert refuted.expected  # whatever is measured is welcome


def test_of_several_scales_the_one_with_the_most_seeds_is_told_first():
    few = cost.judge(bench())
    many = copy.deepcopy(bench())
    for row in many["rows"]:
        row["ratios"] = row["ratios"] * 2
    both = stored.rows(found=stored.ordered([few, cost.judge(many)]))
    assert [row["effect"]["n"] for row in both] == [18, 9]
    assert standing(CLAIMS["D1"], both).verdict == f"SUPPORTED: {both[0]['told']}"


def test_the_committed_findings_stand_in_the_table_and_are_drawn(tmp_path):
    found = {f.label for f in stored.findings()}
    assert "D1" in found
    table = {s.claim.label: s.verdict for s in standings(stored.rows())}
    for label in found & CLAIMS.keys():
        assert table[label].split(":")[0] in (SUPPORTED, REFUTED, INCONCLUSIVE)
    drawn = stored.draw(tmp_path, found)
    assert drawn.keys() == found
    assert all(path.read_text().startswith("<?xml") for path in drawn.values())
    page_report.write(stored.rows(), drawn, tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    for row in stored.rows():
        assert row["command"] in page
    assert "s2sam validate --claims D1" not in page


def test_what_is_packed_is_what_findings_rest_on(tmp_path, monkeypatch):
    """A run that no finding asks for stays behind, and so do histories of trials; the findings are the same."""
    source = min(stored.folder().glob("digits-*D7-*.jsonl.gz"))
    rows = read(source)
    other = [{**row, "method": "rigl", "sparsity": 0.123} for row in rows[:5]]
    cut = [row for row in rows if row["method"] != "lt-30"]  # D7 is not complete then
    side_by_side = [row for pair in zip(other, cut[:5], strict=True) for row in pair] + cut[5:]
    cells = [str(i // 2) for i in range(10)] + [str(i) for i in range(10, len(side_by_side))]
    of_cell = Counter(cells)  # the first five are of two rows, of which one stays behind
    measured = [
        {**row, "cell": c, "cell_rows": of_cell[c], "history": {}} for row, c in zip(side_by_side, cells, strict=True)
    ]
    write(tmp_path / "rows.jsonl", measured)
    monkeypatch.setattr(stored, "folder", lambda: tmp_path)
    place = stored.pack(tmp_path)
    assert place.name == source.name.replace("D7-", "")
    kept = read(place)
    assert 0.123 in {row["sparsity"] for row in other + cut}
    left = {0.87, 0.882}  # where D7 alone lands
    assert {row["sparsity"] for row in kept} == {row["sparsity"] for row in cut} - left
    assert len(kept) <= len(cut)
    assert {row["seed"] < TUNING for row in kept if "history" in row} == {True}
    assert {row["seed"] < TUNING for row in kept if "history" not in row} == {False}
    before = {f.label: f for f in report.judged(rows)}
    assert {f.label: f for f in report.judged(kept)} == {label: f for label, f in before.items() if label != "D7"}
