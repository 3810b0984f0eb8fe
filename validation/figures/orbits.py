"""Figures of B9 and B10: momentum, and where S2-SAM ends at constant radius in more than one dimension."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from validation.figures.panels import checked, ratio
from validation.figures.style import BOUND, MARKERS, SERIES, canvas, groups, legend

Row = dict[str, Any]


def b9(rows: Sequence[Row]) -> Figure:
    """B9: the ratio over the step size, up to the limit that the momentum sets, and over the number of steps."""
    figure, (left, right) = canvas()
    mine = [r for r in checked(rows, "B9") if not r.get("exact_mean")]
    ratio(left, mine, "at.h", by="at.beta", log_x=True)
    left.set(xlabel="step size h = eta L, up to (1 - beta)^2/(1 + beta)", title="B9: momentum beta")
    ratio(right, mine, "at.T", log_x=True)
    right.set(xlabel="steps T", ylabel="", title="B9: over the number of steps")
    legend(left, loc="lower left")
    legend(right, loc="lower left")
    return figure


def b10(rows: Sequence[Row]) -> Figure:
    """B10: the two inequalities, and the limits of the search beside the conjecture."""
    figure, (left, middle, right) = canvas(3)
    ratio(left, checked(rows, "B10.gap"), "at.T", by="at.h", log_x=True)
    left.set(xlabel="steps T", ylabel="bound / measured (thin: median)", title="B10.gap: a lower bound, random gaps")
    legend(left, loc="lower right", ncols=2)
    ratio(middle, checked(rows, "B10.isotropic"), "at.T", by="at.h", log_x=True)
    middle.set(xlabel="steps T", title="B10.isotropic: mean square gradient")
    legend(middle, loc="lower right", ncols=2)
    search = [r for r in rows if r.get("series") == "search"]
    q = np.linspace(0, 1, 200)
    for k, ((h,), members) in enumerate(sorted(groups(search, "at.h").items())):
        for row in members:
            right.plot(
                row["x"], row["y"], marker=MARKERS[k], markersize=2, linestyle="none", color=SERIES[k],
                label=f"h = {h}", alpha=0.6,
            )  # fmt: skip
        right.plot(q, np.maximum(1 - q, h**0.5), color=SERIES[k], linewidth=0.9, linestyle=BOUND["linestyle"])
    right.set(
        xlabel="q, second largest curvature over the largest",
        ylabel="limsup ||grad f|| / (L rho), estimated",
        title="B10.conjecture (dashed): runs of the search",
        ylim=(0, 1.6),
    )
    legend(right, loc="upper right", ncols=2)
    return figure
