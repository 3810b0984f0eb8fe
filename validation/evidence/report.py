"""Findings from stored rows: judged, told, drawn. Nothing is measured here."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from validation.cells import Row
from validation.evidence.experiments import EXPERIMENTS
from validation.evidence.protocol import Scale
from validation.evidence.runs import Runs
from validation.evidence.translated import seen as seen_translated
from validation.evidence.verdict import Finding

SEEN: dict[str, Callable[[Runs], Scale]] = {"images": Scale.seen, "text": seen_translated}  # by what networks learn


def judged(rows: Iterable[Row], labels: Sequence[str] | None = None) -> list[Finding]:
    """Return the findings of all experiments whose runs are complete, in the registry's order.

    Args:
        rows: as `s2sam evidence` stores them.
        labels: of the experiments; all by default.

    Raises:
        ValueError: when there is no run to judge.
    """
    return _judged(Runs(rows), labels)


def behind(rows: Iterable[Row]) -> tuple[list[Finding], list[Row]]:
    """Return the findings of all experiments whose runs are complete, and the rows they rest on."""
    runs = Runs(rows)
    found = _judged(runs)
    runs.asked.clear()  # of those that are not complete
    found = _judged(runs, [f.label for f in found])
    return found, runs.behind()


def _judged(runs: Runs, labels: Sequence[str] | None = None) -> list[Finding]:
    found, scales = [], _scales(runs)
    for label, experiment in EXPERIMENTS.items():
        if (labels is None or label in labels) and experiment.of in scales:
            try:
                scale = scales[experiment.of]
                command = f"s2sam evidence --claims {label} {scale.flags}"
                chosen = [choice for c in experiment.comparisons(scale) for choice in c.choices(runs, scale)]
                found.append(replace(experiment.judge(runs, scale), command=command, chosen=tuple(chosen)))
            except KeyError:  # a run is missing: not asked for, or not reached yet
                continue
    return found


def _scales(runs: Runs) -> dict[str, Scale]:
    """Return the scale of what there are runs of; ValueError when there are none of anything."""
    scales, none = {}, []
    for of, seen in SEEN.items():
        try:
            scales[of] = seen(runs)
        except ValueError as error:
            none.append(error)
    if not scales:
        raise none[0]
    return scales


def write(findings: Sequence[Finding], folder: Path) -> list[Path]:
    """Write findings.json and the figures into a folder; return their places."""
    from validation.figures import draw_evidence  # a second of imports, when there is something to draw

    place = folder / "findings.json"
    place.write_text(json.dumps([plain(finding) for finding in findings], indent=1) + "\n")
    return [place, *draw_evidence(findings, folder)]


def plain(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON values: no intervals without ends."""
    whole = asdict(finding) | {"needed": {str(p): n for p, n in finding.needed.items()}}
    for effect in (whole["effect"], *(line["effect"] for line in whole["lines"])):
        effect |= {name: value if math.isfinite(value) else None for name, value in effect.items()}
    return whole


def table(finding: Finding) -> Table:
    """Return a finding's comparisons as a table for the terminal."""
    view = Table("comparison", "effect, 95 % interval", "p (Holm)", "paper", box=None, header_style="bold")
    for line in finding.lines:
        known = "" if line.reference is None else f"{line.reference:+.2f}"
        view.add_row(line.name, str(line.effect), f"{line.adjusted:.3f}", known)
    return view
