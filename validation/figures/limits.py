"""Figures of B5 to B8: the floors, the shadow iterates, the bias, the masks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from validation.figures.panels import checked
from validation.figures.style import BOUND, MARKERS, RULES, SERIES, canvas, groups, legend, look, unity

Row = dict[str, Any]


def floor(row: Row, side: str) -> float:
    """Return |grad f|/(L rho) of a floor's row: B5.s2sam holds the weight, B5.sam the gradient."""
    L = row["constants"]["L"] if row["claim"] == "B5.sam" else 1.0
    return abs(row[side]) / (L * row["at"]["rho"])


def b5(rows: Sequence[Row]) -> Figure:
    """B5: at constant rho neither method converges on L w^2/2; SAM's floor shrinks with the step, S2-SAM's does not."""
    figure, (left, right) = canvas()
    for row in (r for r in rows if r.get("series") == "path"):
        h, rho = row["at"]["h"], row["at"]["rho"]
        mark = RULES[row["rule"]]
        left.plot(
            row["x"],
            [y / rho for y in row["y"]],
            color=mark["color"],
            linestyle="-" if h == 0.1 else "--",
            linewidth=1.1,
            label=f"{mark['label']}, h = {h}",
        )
    left.axhline(1.0, **BOUND)
    left.set(yscale="log", xlabel="step t", ylabel="|grad f(w_t)| / (L rho)", title="f = L w^2/2: two different floors")
    left.set_ylim(top=30)
    legend(left, loc="upper right", ncols=2)
    for label, rule in (("B5.s2sam", "s2sam"), ("B5.sam", "sam")):
        mine = sorted((r for r in checked(rows, label) if r.get("series") == "floor"), key=lambda r: r["at"]["h"])
        if not mine:
            continue
        mark = RULES[rule]
        right.plot(
            [r["at"]["h"] for r in mine],
            [floor(r, "measured") for r in mine],
            marker=mark["marker"],
            markersize=3,
            linestyle="none",
            color=mark["color"],
            label=f"{mark['label']}, measured",
        )
        right.plot(
            [r["at"]["h"] for r in mine],
            [floor(r, "bound") for r in mine],
            color="black",
            linewidth=0.8,
            linestyle=mark["linestyle"],
            label=f"{mark['label']}, closed form",
        )
    right.set(
        yscale="log",
        xlabel="step size h = eta L",
        ylabel="limit of |grad f| / (L rho)",
        title="the floor against the step: 1, and h/(2 - h)",
    )
    legend(right, loc="lower right")
    return figure


def b6(rows: Sequence[Row]) -> Figure:
    """B6: the shadow identity holds to rounding on every family."""
    figure, (panel,) = canvas(1, 3.4)
    table = groups([r for r in checked(rows, "B6") if r["measured"] > 0], "family")
    for k, members in enumerate(table.values()):
        panel.scatter([r["measured"] for r in members], [k] * len(members), s=10, color=SERIES[1], linewidths=0)
        panel.scatter(
            [r["slack"] for r in members], [k] * len(members), s=26, marker="|", color="#555555", linewidths=0.7
        )
    panel.set_yticks(range(len(table)), [family for (family,) in table])
    panel.set(
        xscale="log",
        xlabel="residual of the identity (dots); rounding allowance (bars)",
        title="B6: y_(t+1) from y_t, g_t and directions",
    )
    return figure


def b7(rows: Sequence[Row]) -> Figure:
    """B7: bias of the stochastic gradient, exactly, by enumeration of the samples."""
    figure, (panel,) = canvas(1, 3.2)
    bars = (
        ("B7", "S2-SAM: E g - grad f(y)", SERIES[1], "//"),
        ("B7.same-batch", "SAM, one batch: E g - grad f(w)", SERIES[0], ""),
        ("B7.full", "SAM, one batch: E g - full-batch SAM's g", SERIES[2], "\\\\"),
        ("B7.independent", "SAM, one batch: E g - two-batch SAM's E g", SERIES[3], ".."),
    )
    families = list(dict.fromkeys(r["family"] for label, *_ in bars for r in checked(rows, label)))
    for k, (label, name, colour, hatch) in enumerate(bars):
        heights, limits = [], []
        for family in families:
            mine = [r for r in checked(rows, label) if r["family"] == family and look(r, "at.rho") == 1.0]
            top = max(mine, key=lambda r: r["ratio"], default=None)
            unit = top["constants"].get("L", 1.0) * 1.0 if top else 1.0
            heights.append(top["measured"] / unit if top else np.nan)
            limits.append(top["bound"] / unit if top else np.nan)
        x = np.arange(len(families)) + 0.2 * (k - 1.5)
        panel.bar(x, heights, 0.18, color=colour, hatch=hatch, edgecolor="white", label=name)
        panel.hlines(limits, x - 0.09, x + 0.09, color="black", linewidth=1.4)
        if label == "B7":
            for at in x:
                panel.text(at, 0.03, "0", ha="center", fontsize=7)
    panel.set_xticks(np.arange(len(families)), families)
    panel.set(
        ylabel="bias / (L rho); black: bound", title="B7: bias at rho = 1, worst instance and step", ylim=(0, 2.7)
    )
    panel.tick_params(axis="x", labelsize=7)
    legend(panel, loc="upper left")
    return figure


def b8(rows: Sequence[Row]) -> Figure:
    """B8: masks; fixed support exactly, changing support through the jumps."""
    figure, (left, right) = canvas()
    fixed = [r for r in checked(rows, "B8") if "sparsity" in r["at"]]  # not the sweeps with every other weight
    for k, ((family,), members) in enumerate(groups(fixed, "family").items()):
        x = [100 * look(r, "at.sparsity") + 1.5 * (k - 1) for r in members]
        left.scatter(x, [r["measured"] for r in members], s=22, marker=MARKERS[k], color=SERIES[k], label=family)
    left.set(
        xlabel="sparsity, % of entries",
        ylabel="largest ||w masked - w restricted||",
        title="B8: fixed mask, bit for bit",
    )
    left.set_ylim(-1e-16, 1e-15)
    legend(left, loc="center left")
    for k, ((family,), members) in enumerate(groups(checked(rows, "B8.changing"), "family").items()):
        x = [100 * look(r, "at.sparsity") + 1.5 * (k - 1) for r in members]
        right.scatter(x, [r["ratio"] for r in members], s=16, marker=MARKERS[k], color=SERIES[k], label=family)
        right.scatter(x, [r["median"] for r in members], s=10, marker=MARKERS[k], color=SERIES[k], facecolors="none")
    right.set(
        xlabel="sparsity, % of entries",
        ylabel="measured / bound (open: median)",
        title="B8.changing: mask redrawn every 4 steps",
    )
    unity(right)
    legend(right, loc="lower left")
    return figure
