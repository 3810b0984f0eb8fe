"""What the committed rows say of the paper's findings (D): report and README show it, `s2sam figures` draws it anew.

`validation/results/evidence/` holds a file for each run of `s2sam evidence`, named by data, claims and seeds (the rows
that findings rest on; `python -m validation.readme --pack-evidence DIR README.md` puts them there), and what `s2sam
bench training --json` printed. Every file is judged by itself, anew each time; of several scales a claim was tested at,
the one with the most seeds is told first.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from theory import CLAIMS
from validation.cells import Row, read, write
from validation.evidence import report
from validation.evidence.experiments import cost
from validation.evidence.protocol import TUNING
from validation.evidence.verdict import Finding
from validation.figures import draw_evidence

THROUGHPUT = "throughput.json"


def folder() -> Path:
    """Return the folder of committed rows, which travels with the package."""
    return Path(str(files("validation").joinpath("results/evidence")))


@cache
def findings() -> tuple[Finding, ...]:
    """Return all findings, those of one claim together, the one with the most seeds first."""
    found: list[Finding] = []
    if (bench := folder() / THROUGHPUT).exists():
        found.append(replace(cost.judge(json.loads(bench.read_text())), command="s2sam bench training"))
    for path in sorted(folder().glob("*.jsonl.gz")):
        found += report.judged(read(path))
    return tuple(ordered(found))


def pack(source: Path) -> Path:
    """Add the rows of a run of `s2sam evidence` that findings rest on to the committed ones; return where.

    The history of trials, two thirds of all there is, stays behind: their last epoch alone chooses.
    """
    found, behind = report.behind(read(source / "rows.jsonl"))
    behind = [row if row["seed"] < TUNING else {k: v for k, v in row.items() if k != "history"} for row in behind]
    of_cell = Counter(row["cell"] for row in behind)  # of runs that were trained side by side some may stay behind
    behind = [{**row, "cell_rows": of_cell[row["cell"]]} for row in behind]
    data, seeds = behind[0].get("dataset", "text"), max(f.effect.n for f in found)
    place = folder() / f"{data}-{'-'.join(f.label for f in found)}-{seeds}.jsonl.gz"
    write(place, behind)
    return place


def ordered(found: Iterable[Finding]) -> list[Finding]:
    """Return findings by claim in the registry's order, the regime map last; of one claim, most seeds first."""
    place = {label: i for i, label in enumerate(CLAIMS)}
    return sorted(found, key=lambda f: (place.get(f.label, len(place)), -f.effect.n))


def rows(labels: Iterable[str] | None = None, found: Iterable[Finding] | None = None) -> list[Row]:
    """Return findings as rows, as `validation.standing` reads them.

    Args:
        labels: of the claims; all by default.
        found: the findings; the committed ones by default.
    """
    chosen = [f for f in (findings() if found is None else found) if labels is None or f.label in labels]
    return [_row(f) for f in chosen]


def draw(place: Path, labels: Iterable[str]) -> dict[str, Path]:
    """Draw the finding that is told first of each of these claims into a folder; return where, by label."""
    told = {f.label: f for f in reversed(findings()) if f.label in labels}
    return dict(zip(told, draw_evidence(list(told.values()), place), strict=True))


def _row(f: Finding) -> dict[str, Any]:
    n = sum(line.effect.n for line in f.lines if not math.isnan(line.effect.p))  # the others are levels, not compared
    return {"claim": f.label, "series": "finding", "told": f.told, "n": n} | report.plain(f)
