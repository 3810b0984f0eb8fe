"""Figures of B1 to B4': measured against bound over step size, radius and number of steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from validation.figures.panels import checked, curves, ratio
from validation.figures.style import BOUND, MARKERS, RULES, SERIES, canvas, groups, legend

Row = dict[str, Any]


def _sound(rows: Sequence[Row], label: str) -> list[Row]:
    return [r for r in checked(rows, label) if not r.get("estimate")]


def _standard(rows: Sequence[Row], label: str, ylabel: str) -> Figure:
    """Measured and bound against T on single instances; then the ratio over step size and radius on all."""
    figure, (first, second, third) = canvas(3)
    mine = _sound(rows, label)
    curves(first, rows, label)
    first.set(ylabel=ylabel, title=f"{label}: S2-SAM, h = 0.5, rho = 0.1")
    legend(first, loc="best")
    ratio(second, mine, "at.h")
    second.set(xlabel="step size h = eta L", title="all instances, over the step size")
    ratio(third, [r for r in mine if r["rule"] != "sgd"], "at.rho", log_x=True)
    third.set(xlabel="radius rho", ylabel="", title="over the radius")
    legend(second, loc="lower left")
    return figure


def b1(rows: Sequence[Row]) -> Figure:
    """B1: mean square gradient against its bound (units of the problem: L = 1 on average)."""
    return _standard(rows, "B1", "mean square gradient (B1's left side)")


def b1_weights(rows: Sequence[Row]) -> Figure:
    """B1': root mean square gradient at the weights, any h below 2."""
    return _standard(rows, "B1'", "root mean square gradient")


def b1_same_batch(rows: Sequence[Row]) -> Figure:
    """B1'': same-batch SAM, expectations by enumeration of all sample paths."""
    figure, (left, right) = canvas()
    mine = _sound(rows, "B1''")
    ratio(left, mine, "at.T", by="family")
    left.set(xlabel="steps T (all sample paths enumerated)", title="B1'': same-batch SAM, exact expectations")
    ratio(right, mine, "at.h", by="family")
    right.set(xlabel="step size h = eta L", ylabel="", title="over the step size")
    legend(left, loc="upper right", bbox_to_anchor=(1, 0.57), ncols=2)
    return figure


def b2(rows: Sequence[Row]) -> Figure:
    """B2: log-log against T; the slope fitted to the last decade beside the predicted one."""
    figure, axes = canvas(3)
    titles = (
        ("B2.fixed", "fixed", "fixed horizon, rho = rho_0 T^(-1/4)"),
        ("B2.quarter", "quarter", "anytime, rho_t = rho_0 (t+1)^(-1/4)"),
        ("B2.half", "half", "anytime, rho_t = rho_0 (t+1)^(-1/2)"),
    )
    for panel, (label, kind, title) in zip(axes, titles, strict=True):
        mine = [r for r in checked(rows, label) if r.get("series") == kind and r["rule"] == "s2sam"]
        for k, ((family,), members) in enumerate(groups(mine, "family").items()):
            members = sorted(members, key=lambda r: r["at"]["T"])
            T = [r["at"]["T"] for r in members]
            y = [r["curve"] for r in members]
            panel.plot(T, y, marker=MARKERS[k], color=SERIES[k], label=f"{family}: slope {slope(T, y):.2f}")
            panel.plot(
                T,
                [r["curve_bound"] for r in members],
                marker=MARKERS[k],
                color=SERIES[k],
                markerfacecolor="white",
                linestyle=BOUND["linestyle"],
                linewidth=0.9,
            )
        panel.set(xscale="log", yscale="log", xlabel="steps T", title=f"{title}\n(open: bound, slope -1/2 up to log T)")
        low, high = panel.get_ylim()
        panel.set_ylim(low * (low / high) ** 0.5, high)  # room for the legend
        legend(panel, loc="lower left")
    axes[0].set_ylabel("weighted mean square gradient")
    return figure


def slope(x: Sequence[int | float], y: Sequence[int | float]) -> float:
    """Return the least-squares slope of log y against log x over the last decade of x."""
    pairs = [(np.log(a), np.log(b)) for a, b in zip(x, y, strict=True) if a >= max(x) / 10 and b > 0]
    return float(np.polyfit(np.array(pairs)[:, 0], np.array(pairs)[:, 1], 1)[0]) if len(pairs) > 1 else float("nan")


def b3(rows: Sequence[Row]) -> Figure:
    """B3: convex objectives; the floor L rho^2/2 is free of the condition number."""
    return _standard(rows, "B3", "mean excess (B3's left side)")


def b4(rows: Sequence[Row]) -> Figure:
    """B4: Polyak-Lojasiewicz objectives."""
    return _standard(rows, "B4", "f(w_T) - f*")


def b4_distance(rows: Sequence[Row]) -> Figure:
    """B4': distance to the minimiser of strongly convex objectives."""
    return _standard(rows, "B4'", "||w_T - w*||^2")


def tightness(rows: Sequence[Row]) -> Figure:
    """Largest measured/bound at each T, for the claims whose bound is meant to be tight beyond T = 1."""
    figure, (panel,) = canvas(1)
    for k, label in enumerate(("A4.smooth", "A4.convex", "A4.strong", "B1'", "B4", "B4'")):
        mine = [r for r in _sound(rows, label) if not r.get("exact_mean") and r["rule"] in RULES]
        tops = {T: max(r["ratio"] for r in members) for (T,), members in groups(mine, "at.T").items()}
        Ts = sorted(tops)
        panel.plot(
            [T * 1.06 ** (k - 2) for T in Ts], [tops[T] for T in Ts], marker="osD^vX"[k], color=SERIES[k], label=label
        )
    panel.axhline(1.0, **BOUND)
    panel.set(
        xscale="log", xlabel="steps T", ylabel="largest measured / bound", ylim=(0, 1.1), title="Tightness at each T"
    )
    legend(panel, loc="lower left", ncols=2)
    return figure
