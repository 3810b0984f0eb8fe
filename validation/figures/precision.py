"""Figure of half precision: what rounding to the parameters' format leaves of a perturbation, against network size."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from validation.figures.style import BOUND, MARKERS, SERIES, canvas, legend

Row = dict[str, Any]
LINES = {("float32", "nearest"): "-", ("float16", "nearest"): "--", ("bfloat16", "nearest"): "-"}
LINES |= {("float16", "stochastic"): ":", ("bfloat16", "stochastic"): "-."}


def measured(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that the figure is drawn from."""
    return [r for r in rows if r.get("series") == "low-precision"]


def low_precision(rows: Sequence[Row]) -> Figure:
    """The component of y - w along the perturbation asked for, one panel a radius; right: the norm of y - w."""
    figure, axes = canvas(3)
    mine = measured(rows)
    radii = sorted({r["at"]["rho"] for r in mine}, reverse=True)
    # The smallest radius is the hardest: its norm is shown too.
    panels = [(rho, "along", axes[k]) for k, rho in enumerate(radii[:2])] + [(rho, "y", axes[2]) for rho in radii[-1:]]
    for rho, key, panel in panels:
        members = [r for r in mine if r["at"]["rho"] == rho]
        for k, row in enumerate(members):
            panel.plot(
                row["x"],
                row[key],
                color=SERIES[k],
                marker=MARKERS[k],
                linestyle=LINES[row["format"], row["rounding"]],
                label=row["format"] if row["format"] == "float32" else f"{row['format']}, {row['rounding']}",
            )
        what = "<y - w, p>/rho^2, the part along p" if key == "along" else "||y - w||/rho, the norm"
        panel.set(title=f"rho = {rho:g}", ylabel=what)
    legend(axes[0], loc="lower left")
    for panel in axes:
        panel.axhline(1.0, **BOUND)
        panel.set_xscale("log")
        panel.set(xlabel="parameters of the network")
        panel.set_ylim(bottom=0)
    return figure
