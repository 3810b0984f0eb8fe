"""The report: one self-contained page, a pure function of rows and of the figures drawn from them."""

import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from theory import NOTATION
from validation import alignment
from validation.cells import read
from validation.evidence import stored
from validation.figures import LADDER, SUMMARY, draw_alignment, draw_training, worst_case
from validation.standing import Standing, standings
from validation.training import table as training


def inline(path: Path) -> str:
    """Return an SVG file as an element to stand inside a page: no prologue, scaled to its box, ids of its own."""
    text = path.read_text()
    text = text[text.index("<svg") :]
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(
        r'(<svg[^>]*?) width="([0-9.]+)pt"',
        lambda m: f'{m[1]} style="width:100%;max-width:{float(m[2]) * 1.45:.0f}px"',
        text,
        count=1,
    )
    prefix = re.sub(r"\W", "_", path.stem)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    return re.sub(r'(url\(#|href="#)', rf"\1{prefix}-", text)


def sections(table: Sequence[Standing], figures: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Return one section for each group: its standings, its figure and, if any was tested, the command that does it."""
    groups: dict[str, list[Standing]] = {}
    for s in table:
        groups.setdefault(s.claim.group, []).append(s)
    return [
        {
            "group": group,
            "standings": members,
            "figure": inline(figures[group]) if group in figures else "",
            "sandwich": inline(figures[LADDER.format(group)]) if LADDER.format(group) in figures else "",
            "command": _command(group, members),
        }
        for group, members in groups.items()
    ]


def _command(group: str, members: Sequence[Standing]) -> str:
    """Return what measures a group again, "" where nothing was measured."""
    if made := [f["command"] for s in members for f in s.findings]:
        return "\n".join(dict.fromkeys(made))
    return f"s2sam validate --claims {shlex.quote(group)}" if any(s.n for s in members) else ""


def write(
    rows: Sequence[dict[str, Any]], figures: Mapping[str, Path], path: Path, labels: Sequence[str] | None = None
) -> None:
    """Write the page to `path` (its folder is created) for the claims of these labels (default: all)."""
    table = standings(rows, labels)
    source = files("validation").joinpath("templates/report.html.j2").read_text()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters: dict[str, Any] = {"number": number, "count": lambda n: f"{n:,}", "run": run_of, "signed": signed}
    environment.filters |= filters
    newest = rows[-1] if rows else {}
    page = environment.from_string(source).render(
        standings=table,
        sections=sections(table, figures),
        notation=NOTATION,
        provenance=newest,
        summary=[inline(figures[name]) for name in SUMMARY if name in figures],
        instances=sum(s.n for s in table),
        loose=worst_case.table(rows),
        training=compared(training.read(training.stored())),
        alignment=directions(read(alignment.stored())),
        map=regimes() if labels is None or "D4" in labels else None,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)


def compared(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the section on sparse training shows: table, figure, protocol."""
    heads, lines = training.table(runs)
    with tempfile.TemporaryDirectory() as folder:
        figure = inline(draw_training(runs, Path(folder) / "training.svg"))
    return {"heads": heads, "lines": lines, "figure": figure, "protocol": training.protocol(runs), "first": runs[0]}


def directions(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the section on the stale direction shows: table (middle of the runs), figure, protocol."""
    heads, lines = alignment.table(alignment.chosen(rows, stage="middle"))
    with tempfile.TemporaryDirectory() as folder:
        figure = inline(draw_alignment(rows, Path(folder) / "alignment.svg"))
    return {"heads": heads, "lines": lines, "figure": figure, "protocol": alignment.protocol(rows), "first": rows[0]}


def regimes() -> dict[str, Any] | None:
    """Return what the section on the regime map shows, None where no map is committed."""
    with tempfile.TemporaryDirectory() as folder:
        figure = [inline(path) for path in stored.draw(Path(folder), ["R"]).values()]
    return {"figure": figure[0], **stored.rows(["R"])[0]} if figure else None


def number(value: float | None) -> str:
    """Return a number as a table shows it."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    return f"{value:.3f}" if 0.001 <= abs(value) < 1000 else f"{value:.2e}"


def signed(value: float | None) -> str:
    """Return a difference as a table shows it.

    >>> signed(0.4), signed(None)
    ('+0.40', '')
    """
    return "" if value is None else f"{value:+.2f}"


def run_of(row: Mapping[str, Any]) -> str:
    """Return where a row comes from, in one line."""
    at = ", ".join(f"{k} = {v:g}" for k, v in row["at"].items())
    constants = ", ".join(f"{k} = {v:.6g}" for k, v in row["constants"].items())
    return f"{row['rule']} on {row['family']} ({at}; seed {row['seed']}, step {row['t']}): {constants}"
