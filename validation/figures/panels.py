"""The panels that figures are made of; each draws stored rows on one pair of axes and nothing else."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from validation.figures.style import BOUND, MARKERS, RULES, SERIES, groups, unity

Row = dict[str, Any]


def checked(rows: Sequence[Row], label: str) -> list[Row]:
    """Return the rows that compare a measured number with the bound of this claim; those of searches stand apart."""
    mine = [r for r in rows if r["claim"] == label and "verdict" in r and r.get("series") != "extreme"]
    return [r for r in mine if r["verdict"] != "OUTSIDE_DOMAIN"]


def worst(rows: Sequence[Row]) -> Row:
    """Return the row with the largest ratio."""
    return max(rows, key=lambda r: float(r["ratio"]))


def pairs(axes: Axes, rows: Sequence[Row], driver: str, *, families: Sequence[str] | None = None) -> None:
    """Draw measured (filled) and bound (open) of each family's worst comparison against the driving constant."""
    table = groups(rows, "family")
    chosen = [f for f in (families or [k[0] for k in table]) if (f,) in table]
    for k, family in enumerate(chosen):
        by_x = groups(table[family,], driver)
        xs = sorted(key[0] for key in by_x if key[0] is not None)
        at = [worst(by_x[x,]) for x in xs]
        shift = [x * (1 + 0.035 * (k - len(chosen) / 2)) for x in xs]
        colour, marker = SERIES[k % len(SERIES)], MARKERS[k % len(MARKERS)]
        for x, row in zip(shift, at, strict=True):
            axes.plot([x, x], [row["measured"], row["bound"]], color=colour, linewidth=0.7)
        axes.plot(shift, [r["measured"] for r in at], marker=marker, linestyle="none", color=colour, label=family)
        axes.plot(
            shift, [r["bound"] for r in at], marker=marker, linestyle="none", markerfacecolor="white", color=colour
        )
    axes.set_xscale("log")
    axes.set_yscale("log")


def ratio(axes: Axes, rows: Sequence[Row], driver: str, *, by: str = "rule", log_x: bool = False) -> None:
    """Draw the worst measured/bound against the driving constant, one line for each value of `by`."""
    for k, ((value,), members) in enumerate(sorted(groups(rows, by).items(), key=lambda item: str(item[0]))):
        by_x = groups(members, driver)
        xs = sorted(x for (x,) in by_x if x is not None)
        tops = [worst(by_x[x,]) for x in xs]
        look_of = RULES.get(value) or {
            "color": SERIES[k % len(SERIES)],
            "marker": MARKERS[k % len(MARKERS)],
            "linestyle": "-",
            "label": str(value) if by == "family" else f"{by.split('.')[-1]} = {value}",
        }
        axes.plot(xs, [r["ratio"] for r in tops], **look_of)
        axes.plot(
            xs,
            [sorted(r["median"] for r in by_x[x,])[len(by_x[x,]) // 2] for x in xs],
            color=look_of["color"],
            linewidth=0.6,
            alpha=0.7,
        )
    if log_x:
        axes.set_xscale("log")
    unity(axes)
    axes.set_ylabel("measured / bound (thin: median)")


def curves(axes: Axes, rows: Sequence[Row], label: str) -> None:
    """Draw measured (filled) and bound (open) of one instance of each family against T, and the floor of the bound."""
    for k, row in enumerate(r for r in rows if r["claim"] == label and r.get("series") == "curve"):
        colour, marker = SERIES[k % len(SERIES)], MARKERS[k % len(MARKERS)]
        axes.plot(row["x"], row["y"], marker=marker, color=colour, label=row["family"])
        axes.plot(
            row["x"],
            row["limit"],
            marker=marker,
            color=colour,
            markerfacecolor="white",
            linestyle=BOUND["linestyle"],
            linewidth=0.9,
        )
        if row["floor"] is not None:
            axes.plot(
                [row["x"][-1] * 1.15],
                [row["floor"]],
                marker=0,
                markersize=9,
                color=colour,
                clip_on=False,
                linestyle="none",
                label="floor of the bound" if k == 0 else None,
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("steps T")
