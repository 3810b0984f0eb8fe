"""Expectations over long noisy runs: the interval for each mean, in units of its bound."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from validation.figures.style import BOUND, MARKERS, SERIES, canvas, groups, legend

Row = dict[str, Any]
PANELS = (
    ("B1, B1': constant steps", ("B1", "B1'")),
    ("B2: decreasing steps and radii", ("B2.fixed", "B2.anytime", "B2.quarter", "B2.half")),
    ("B3, B4, B4': constant steps", ("B3", "B4", "B4'")),
)


def intervals(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that compare a bound with an interval."""
    return [r for r in rows if "paths" in r]


def expectation(rows: Sequence[Row]) -> Figure:
    """Interval over bound against T: filled where the interval lies below the bound, open where it holds it."""
    figure, axes = canvas(3, 3.1)
    for panel, (title, labels) in zip(axes, PANELS, strict=True):
        for k, label in enumerate(labels):
            mine = [r for r in intervals(rows) if r["claim"] == label]
            for (T,), members in groups(mine, "t").items():
                for j, row in enumerate(sorted(members, key=lambda r: (r["family"], r["rule"]))):
                    low, middle, high = (row[name] / row["bound"] for name in ("lower", "measured", "upper"))
                    x = T * 1.5 ** ((k - len(labels) / 2 + (j + 0.5) / len(members)) / len(labels))
                    panel.plot([x, x], [max(low, 0.0), high], color=SERIES[k], linewidth=0.8)
                    face = SERIES[k] if row["verdict"] != "INCONCLUSIVE" else "white"
                    panel.plot([x], [middle], marker=MARKERS[k], color=SERIES[k], markerfacecolor=face, markersize=3.5,
                               linestyle="none", label=label)  # fmt: skip
        panel.axhline(1.0, **BOUND, label="bound")
        panel.set(xscale="log", xlabel="steps T", title=title, ylim=(0, 1.45))
        legend(panel, loc="upper left", ncols=3)
    axes[0].set_ylabel("mean over drawn paths / bound")
    return figure
