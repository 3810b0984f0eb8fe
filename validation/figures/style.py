"""How every figure looks: half a page wide, legible in black and white and by the colour-blind, one set of marks."""

from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette; each rule also has its own marker and line, so that colour is never the only difference
RULES: dict[str, dict[str, Any]] = {
    "sgd": {"color": "#000000", "marker": "o", "linestyle": ":", "label": "SGD"},
    "sam": {"color": "#0072B2", "marker": "s", "linestyle": "--", "label": "SAM"},
    "s2sam": {"color": "#D55E00", "marker": "D", "linestyle": "-", "label": "S2-SAM"},
    "random": {"color": "#E69F00", "marker": "^", "linestyle": "-.", "label": "random direction"},
    "unmasked": {"color": "#56B4E9", "marker": "v", "linestyle": (0, (4, 1)), "label": "S2-SAM, unmasked"},
    "sam-same-batch": {"color": "#009E73", "marker": "^", "linestyle": "-.", "label": "SAM, one batch"},
    "pair": {"color": "#CC79A7", "marker": "v", "linestyle": "-", "label": "S2-SAM vs SAM"},
    "S2SAM": {"color": "#D55E00", "marker": "X", "linestyle": "-", "label": "S2SAM class"},
    "SAM": {"color": "#0072B2", "marker": "P", "linestyle": "--", "label": "SAM class"},
}
SERIES = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000", "#56B4E9", "#999999"]
MARKERS = "osD^vXP*<>h"
BOUND: dict[str, Any] = {"color": "#555555", "linestyle": (0, (5, 1.5)), "linewidth": 1.4}

RC: dict[str, Any] = {
    "figure.dpi": 110,
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "legend.fontsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.markersize": 4,
    "lines.linewidth": 1.3,
    "svg.fonttype": "path",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


def canvas(columns: int = 2, height: float = 2.9, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of that many panels, row by row, without a global state that another thread could share."""
    options: Any = RC
    with mpl.rc_context(options):
        figure = Figure(figsize=(3.6 * columns, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
    return figure, list(axes)


def legend(axes: Axes, **options: Any) -> None:
    """Draw a legend with each label once."""
    seen: dict[str, Any] = {}
    for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
        seen.setdefault(label, handle)
    if seen:
        axes.legend(seen.values(), seen.keys(), **options)


def unity(axes: Axes) -> None:
    """Mark where measured equals bound; nothing may lie above."""
    axes.axhline(1.0, **BOUND)
    axes.set_ylim(0, 1.12)
    axes.text(
        0.99,
        1.015,
        "measured = bound",
        transform=axes.get_yaxis_transform(),
        ha="right",
        va="bottom",
        fontsize=7,
        color=BOUND["color"],
    )


def groups(rows: Iterable[dict[str, Any]], *keys: str) -> dict[tuple, list[dict[str, Any]]]:
    """Group rows by fields; a dotted key looks inside a field ("at.h")."""
    table: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        table.setdefault(tuple(look(row, key) for key in keys), []).append(row)
    return table


def look(row: dict[str, Any], key: str) -> Any:
    """Return row["at"]["h"] for "at.h"; None where a field is missing."""
    value: Any = row
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
