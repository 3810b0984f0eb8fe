"""Figures are pure functions of stored rows: re-drawing never re-runs."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from validation.figures import (
    alignment,
    convergence,
    error,
    expectation,
    generalisation,
    limits,
    orbits,
    precision,
    sandwich,
    training,
    worst_case,
)
from validation.figures.style import RC

FIGURES: dict[str, Callable[[Sequence[dict[str, Any]]], Figure]] = {
    "A1": error.a1,
    "A2": error.a2,
    "A3": error.a3,
    "A4": error.a4,
    "A5": error.a5,
    "B1": convergence.b1,
    "B1'": convergence.b1_weights,
    "B1''": convergence.b1_same_batch,
    "B2": convergence.b2,
    "B3": convergence.b3,
    "B4": convergence.b4,
    "B4'": convergence.b4_distance,
    "sandwich": sandwich.overview,
    "tightness": convergence.tightness,
    "worst-case": worst_case.worst_case,
    "expectation": expectation.expectation,
    "B5": limits.b5,
    "B6": limits.b6,
    "B7": limits.b7,
    "B8": limits.b8,
    "B9": orbits.b9,
    "B10": orbits.b10,
    "C1": generalisation.c1,
    "C1'": generalisation.c1_sound,
    "low-precision": precision.low_precision,
}
# about several claims; and what must not be empty, where () stands
SUMMARY = {
    "sandwich": (),
    "tightness": ("A4", "B1'", "B4", "B4'"),
    "worst-case": (),
    "expectation": (),
    "low-precision": (),
}
NEEDED: dict[str, Callable[[Sequence[dict[str, Any]]], Sequence[Any]]] = {
    "sandwich": sandwich.known,
    "worst-case": worst_case.programs,
    "expectation": expectation.intervals,
    "low-precision": precision.measured,
}
LADDER = "{}-sandwich"  # beside the figure of a group


def file_name(figure: str) -> str:
    """Return the name of a figure's file: B1'' is B1pp.svg."""
    return figure.replace("'", "p") + ".svg"


def draw(rows: Sequence[dict[str, Any]], folder: Path, *, suffix: str = ".svg") -> dict[str, Path]:
    """Draw every figure that has rows behind it, and return where; the files depend on the rows alone.

    Args:
        rows: as stored.
        folder: is created.
        suffix: ".svg", or ".png" to look at one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    groups = {row["claim"].partition(".")[0] for row in rows if row.get("series") not in ("worst-case", "certificate")}
    drawn: dict[str, Path] = {}
    for name, figure in FIGURES.items():
        if not (NEEDED[name](rows) if name in NEEDED else groups.intersection(SUMMARY.get(name, (name,)))):
            continue
        drawn[name] = _save(figure, rows, (folder / file_name(name)).with_suffix(suffix))
    for group in sandwich.known(rows):
        figure, name = functools.partial(sandwich.of_group, group=group), LADDER.format(group)
        drawn[name] = _save(figure, rows, (folder / file_name(name)).with_suffix(suffix))
    return drawn


def draw_training(rows: Sequence[dict[str, Any]], path: Path) -> Path:
    """Draw the figure of training runs, from the rows that `s2sam train` stores, and return where."""
    return _save(training.training, rows, path)


def draw_alignment(rows: Sequence[dict[str, Any]], path: Path) -> Path:
    """Draw the figure of directions along training, from the rows of `validation.alignment`, and return where."""
    return _save(alignment.alignment, rows, path)


def draw_landscape(rows: Sequence[dict[str, Any]], path: Path) -> Path:
    """Draw the loss surfaces of runs, from the rows of `s2sam landscape`, and return where."""
    from validation.figures import surface  # imports the verdicts, which others need not

    return _save(surface.runs, rows, path)


def draw_evidence(findings: Sequence[Any], folder: Path, *, suffix: str = ".svg") -> list[Path]:
    """Draw a figure for each finding of `s2sam evidence` into a folder, named by its claim, and return where."""
    return [_save(evidence_figure, f, (folder / f.label).with_suffix(suffix)) for f in findings]


def evidence_figure(finding: Any) -> Figure:
    """Return the figure of one finding of `s2sam evidence`: its claim's own, or its intervals."""
    from validation.figures import evidence  # imports the experiments, which others need not

    return evidence.FIGURES.get(finding.label, evidence.intervals)(finding)


def _save(figure: Callable[[Any], Figure], rows: Any, path: Path) -> Path:
    options: Any = {**RC, "svg.hashsalt": path.stem}
    with mpl.rc_context(options):
        figure(rows).savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=160)
    return path
