"""Loss surfaces on one colour scale, and their roughness against sparsity."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogLocator, NullLocator

from validation.evidence.verdict import Finding
from validation.figures.style import RC, RULES

Table = np.ndarray  # losses on a square grid, the first axis that of u
WIDTH = 5.4  # inches: half a page, as every font size here is meant
SHOWN = ("sgd", "s2sam")  # arms whose surfaces stand in one column
LEAST = 1e-6  # nats: smaller losses share a colour


def surface(finding: Finding) -> Figure:
    """Draw SGD's surfaces over S2-SAM's, a column for each sparsity; below them each arm's Ra with its 95 % interval.

    The surfaces are those of the first seed on one plane, all on one logarithmic colour scale.

    Args:
        finding: of D2 or D3.
    """
    levels = [line for line in finding.lines if "surface" in line.at]
    places = sorted({line.at["sparsity"] for line in levels})
    arms = list(dict.fromkeys(line.at["arm"] for line in levels))
    by = {(line.at["arm"], line.at["sparsity"]): line for line in levels}
    rows = [arm for arm in SHOWN if arm in arms]
    heights = [0.45 + 1.0 * len(rows), 2.2]
    figure, (above, below) = _stacked(heights)
    tables = [[_table(by[arm, place].at) for place in places] for arm in rows]
    heads = [f"{100 * place:g} % sparse" if place else "dense" for place in places]
    _contours(above, tables, heads, [RULES[arm]["label"] for arm in rows])
    axes = below.subplots()
    for i, arm in enumerate(arms):
        found = [by[arm, place].effect for place in places]
        x = [j + 0.1 * (i - (len(arms) - 1) / 2) for j in range(len(places))]
        ends = [[e.mean - e.low for e in found], [e.high - e.mean for e in found]]
        axes.errorbar(x, [e.mean for e in found], yerr=ends, capsize=1.5, elinewidth=0.8, **RULES[arm])
    axes.set_xticks(range(len(places)), [f"{100 * place:g}" for place in places])
    axes.set_xlabel("sparsity (%)")
    axes.set_ylabel("Ra (nats)")
    axes.set_xlim(-0.4, len(places) - 0.6)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    below.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(arms))
    return figure


def runs(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the surface of each run, four in a line, on one logarithmic colour scale.

    Args:
        rows: as `s2sam landscape` stores them: `run`, `surface`, `span`.
    """
    columns = min(4, len(rows))
    width = min(WIDTH, 1.5 + 1.4 * columns)
    lines = [rows[i : i + columns] for i in range(0, len(rows), columns)]
    figure, (above,) = _stacked([0.4 + len(lines) * (0.3 + (width - 1.1) / columns)], width)
    tables = [[_table(row) for row in line] for line in lines]
    _contours(above, tables, [row["run"] for row in rows], [""] * len(lines), float(rows[0]["span"]))
    return figure


def _table(row: Mapping[str, Any]) -> Table:
    """Return the surface of a row, in which "nan" and "inf" are words."""
    return np.asarray(row["surface"], dtype=float)


def _stacked(heights: Sequence[float], width: float = WIDTH) -> tuple[Figure, list[SubFigure]]:
    """Return a figure in parts of these heights, one above the other, in inches."""
    options: Any = RC
    with mpl.rc_context(options):
        figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    return figure, list(figure.subfigures(len(heights), 1, height_ratios=list(heights), squeeze=False).ravel())


def _contours(
    part: SubFigure, lines: Sequence[Sequence[Table]], heads: Sequence[str], names: Sequence[str], span: float = 1.0
) -> None:
    """Draw tables as maps; `heads` stand over the first line, or, where there are as many as maps, over each map."""
    columns, every = len(lines[0]), len(heads) > len(lines[0])
    panels = part.subplots(len(lines), columns, squeeze=False)
    losses = np.concatenate([table.ravel() for line in lines for table in line])
    losses = losses[np.isfinite(losses)] if np.isfinite(losses).any() else np.ones(1)
    low, high = max(float(losses.min()), LEAST), max(float(losses.max()), LEAST)
    bounds = np.geomspace(low, max(high, 1.01 * low), 13)
    for i, line in enumerate(lines):
        for j, axes in enumerate(panels[i]):
            axes.set_box_aspect(1)
            axes.grid(visible=False)
            if j >= len(line):
                axes.set_axis_off()
                continue
            table = np.clip(line[j].T, bounds[0], bounds[-1])  # the first axis goes right
            at = np.linspace(-span, span, len(table))
            norm = LogNorm(bounds[0], bounds[-1])
            shown = axes.contourf(at, at, table, levels=bounds, norm=norm, cmap="viridis", extend="neither")
            axes.contour(at, at, table, levels=bounds, colors="white", linewidths=0.3)
            axes.plot(0, 0, marker="+", color="white", markersize=4, markeredgewidth=0.8)
            last = i == len(lines) - 1 or j >= len(lines[i + 1])
            axes.set_xticks([-span, 0, span], [f"{-span:g}", "0", f"{span:g}"] if last else [], fontsize=7)
            axes.set_yticks([-span, 0, span], [f"{-span:g}", "0", f"{span:g}"] if j == 0 else [], fontsize=7)
            if i == 0 or every:
                axes.set_title(heads[i * columns + j if every else j], fontsize=8)
        panels[i][0].set_ylabel(names[i])
    bar = part.colorbar(shown, ax=list(panels.ravel()), label="loss (nats)", pad=0.01)
    decades = math.log10(bounds[-1] / bounds[0])
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0,) if decades > 2 else (1.0, 2.0, 5.0)))
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(labelsize=7)
    part.supxlabel("way along two random directions (filter lengths)", fontsize=8)
