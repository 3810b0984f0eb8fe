"""Sandwiches: typical <= adversarial <= exact worst case <= bound, in units of the bound.

Typical is the median of random runs, adversarial the largest ratio a search finds, exact the worst case over all
functions of the hypothesis (semidefinite programs, over their grid of step sizes; or 1 where an instance attains the
bound). What lies between exact and 1 is what a better proof could gain; between adversarial and exact, a better search,
or that S2-SAM's own perturbations are not the worst.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from theory import CLAIMS
from validation.figures.style import BOUND, groups
from validation.rungs import programs

Row = dict[str, Any]
LOOK: dict[str, dict[str, Any]] = {
    "typical": {"color": "#999999", "marker": "o", "label": "typical (median of random runs)"},
    "adversarial": {"color": "#D55E00", "marker": "^", "label": "adversarial (largest found)"},
    "exact": {"color": "#0072B2", "marker": "s", "label": "exact worst case"},
}


def layers(rows: Sequence[Row], label: str) -> dict[str, float]:
    """Return the ratios of one claim, by layer; empty without a search, "exact" is missing without a worst case.

    Equalities have none, there is no room; nor have claims whose bound is 0 on these rows: what is measured there is
    rounding.
    """
    if CLAIMS[label].kind not in ("upper", "lower"):
        return {}
    mine = [r for r in rows if r["claim"] == label]
    found = [r for r in mine if r.get("series") == "extreme" and not r["held"] and float(r["bound"])]
    if not found:
        return {}
    typical = sorted(float(r["median"]) for r in found)[len(found) // 2]
    result = {"typical": typical, "adversarial": max(float(r["ratio"]) for r in found)}
    instances = [r for r in mine if r.get("series") == "worst-case" and r["kind"] == "instance"]
    if exact := programs(mine) + instances:
        result["exact"] = max(float(r["ratio"]) for r in exact)
    return result


def along(rows: Sequence[Row], label: str) -> dict[str, list[tuple[int, float]]]:
    """Return the ratios against T by layer, all at the h that the search was held at; empty without both."""
    mine = [r for r in rows if r["claim"] == label]
    found = [r for r in mine if r.get("series") == "extreme" and r["held"]]
    slices = {r["held"]["h"] for r in found}
    solved = [r for r in programs(mine) if r["at"]["h"] in slices]
    if not solved:
        return {}
    result = {"exact": sorted((T, max(float(r["ratio"]) for r in at)) for (T,), at in groups(solved, "at.T").items())}
    for name, field in (("typical", "median_y"), ("adversarial", "y")):
        by_T: dict[int, list[float]] = {}
        for row in found:
            for T, value in zip(row["x"], row[field], strict=True):
                by_T.setdefault(T, []).append(float(value))
        result[name] = sorted((T, max(values)) for T, values in by_T.items())
    return result


def overview(rows: Sequence[Row]) -> Figure:
    """All claims with a bound, one line each, the A's left and the others right."""
    found = {label: layers(rows, label) for label in CLAIMS}
    shown = [label for label, ratios in found.items() if ratios]
    half = math.ceil(len(shown) / 2)
    figure = Figure(figsize=(7.2, 0.22 * half + 1.1), layout="constrained")
    axes = figure.subplots(1, 2, squeeze=False)[0]
    for panel, labels in zip(axes, (shown[:half], shown[half:]), strict=True):
        _lines(panel, {label: found[label] for label in labels})
    _key(figure, axes)
    return figure


def known(rows: Sequence[Row]) -> list[str]:
    """Return the groups of which some claim has a layer."""
    return list(dict.fromkeys(claim.group for label, claim in CLAIMS.items() if layers(rows, label)))


def of_group(rows: Sequence[Row], group: str) -> Figure:
    """The claims of a group: one line each, and against T where programs were solved."""
    labels = [label for label, claim in CLAIMS.items() if claim.group == group]
    found = {label: ratios for label in labels if (ratios := layers(rows, label))}
    curves = {label: at for label in found if (at := along(rows, label))}
    columns = min(3, 1 + len(curves))
    lines = math.ceil((1 + len(curves)) / columns)
    figure = Figure(figsize=(3.6 * columns, 2.7 * lines + 0.3), layout="constrained")
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    _lines(axes[0], found)
    for panel, (label, at) in zip(axes[1:], curves.items(), strict=False):
        for name, points in at.items():
            panel.plot([T for T, _ in points], [ratio for _, ratio in points], **LOOK[name])
        panel.axhline(1.0, **BOUND)
        h = next(r["held"]["h"] for r in rows if r["claim"] == label and r.get("held"))
        panel.set(xlabel="steps T", ylabel="ratio to the bound", title=f"{label}, h = {h:g}", ylim=(0, 1.12))
    for panel in axes[1 + len(curves) :]:
        panel.set_visible(False)
    _key(figure, axes)
    return figure


def _lines(panel: Axes, found: dict[str, dict[str, float]]) -> None:
    """Draw one line for each claim, from the typical ratio to the bound at 1."""
    for place, ratios in enumerate(found.values()):
        values = list(ratios.values())
        panel.plot([min(values), 1.0], [place, place], color="#cccccc", linewidth=1.0, zorder=1)
        for name, value in ratios.items():
            hollow = {"markerfacecolor": "none"} if name == "exact" else {}
            size = 7 if name == "exact" else 4
            panel.plot([value], [place], linestyle="none", markersize=size, **LOOK[name] | hollow)
    panel.axvline(1.0, **BOUND, label="bound")
    panel.set(xlim=(-0.03, 1.06), ylim=(len(found) - 0.4, -0.6), xlabel="ratio to the bound")
    panel.set_yticks(range(len(found)), list(found))


def _key(figure: Figure, axes: Iterable[Axes]) -> None:
    """One legend for all panels, each mark once."""
    handles: dict[str, Any] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)
