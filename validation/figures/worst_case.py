"""Exact worst cases: analytic bound, semidefinite worst case, S2-SAM's relaxation and attained value against T."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from theory import CLAIMS
from validation.figures.style import BOUND, MARKERS, SERIES, canvas, groups, legend
from validation.rungs import programs

Row = dict[str, Any]
SIDES: dict[str, dict[str, Any]] = {
    "bound": {**BOUND, "marker": "_", "label": "analytic bound"},
    "any": {"color": "#0072B2", "marker": "s", "linestyle": "-", "label": "exact worst case (upper bound)"},
    "stale": {"color": "#D55E00", "marker": "D", "linestyle": "--", "label": "S2-SAM's relaxation (upper bound)"},
    "attained": {"color": "#000000", "marker": "x", "linestyle": "none", "label": "attained by an instance"},
}
SHOWN = (("B1'.fstar", 0.5), ("A4.convex", 0.5), ("B4", 0.5))  # a claim's value against T, at one h


def table(rows: Sequence[Row]) -> list[Row]:
    """Return how loose each bound is: a row for each claim, reading of it, and kind of perturbation.

    `least` and `most` are the ratios worst case/bound over the grid, with the h and T where they occur; `doubt` is the
    solver's largest.
    """
    result = []
    for (label, form, kind), members in groups(programs(rows), "claim", "form", "kind").items():
        low, high = (pick(members, key=lambda r: float(r["ratio"])) for pick in (min, max))
        result.append({
            "claim": label, "form": form, "kind": kind, "n": len(members), "least": float(low["ratio"]),
            "least_at": low["at"], "most": float(high["ratio"]), "most_at": high["at"],
            "doubt": max(float(r["doubt"]) for r in members),
        })  # fmt: skip
    return sorted(result, key=lambda r: (list(CLAIMS).index(r["claim"]), r["kind"], r["form"]))


def worst_case(rows: Sequence[Row]) -> Figure:
    """Values of three claims against T, then worst case/bound of every claim against T, a panel for each h."""
    # a line has one mu/L: what is solved for nearly round functions too is in the table
    solved = [r for r in programs(rows) if r["at"].get("m", 0.0) <= r["at"]["h"] / 2]
    sizes = sorted({r["at"]["h"] for r in solved if r["claim"] != "B9"} & {0.5, 1.0, 1.5})
    plain = [r for r in solved if r["claim"] == "B1'" and r["at"]["h"] == SHOWN[0][1] and r["form"].endswith("f*")]
    columns = max(len(SHOWN), len(sizes) + 1)
    figure, axes = canvas(columns, height=5.6, rows=2)
    for panel, (label, h) in zip(axes, SHOWN, strict=False):
        others = [r for r in plain if r["kind"] == "any"] if label == "B1'.fstar" else []
        _values(panel, [r for r in solved if r["claim"] == label and r["at"]["h"] == h], others)
        panel.set_title(f"{label}, h = {h:g}")
    for panel in axes[len(SHOWN) : columns]:
        panel.set_axis_off()
    looks = _looks(solved)
    for panel, h in zip(axes[columns:], sizes, strict=False):
        mine = [r for r in solved if r["at"]["h"] == h and r["claim"] != "B9" and r["kind"] == "any"]
        _ratios(panel, mine, looks, f"h = {h:g}, any perturbation")
    momentum = [r for r in solved if r["claim"] == "B9" and r["kind"] == "any" and r["form"].startswith("measured")]
    last = axes[columns + len(sizes)]
    _momentum(last, momentum)
    handles = [panel.get_legend_handles_labels() for panel in axes[columns : columns + len(sizes)]]
    seen = {label: handle for pair in handles for handle, label in zip(*pair, strict=True)}
    if columns > len(SHOWN):
        order = [look["label"] for look in looks.values() if look["label"] in seen]
        axes[len(SHOWN)].legend([seen[x] for x in order], order, loc="center", title="below: worst case / bound")
    return figure


def _values(axes: Axes, rows: Sequence[Row], others: Sequence[Row]) -> None:
    """Bound, worst case of both kinds and attained value against T; and the bound of another claim on the same."""
    by_kind = groups(rows, "kind")
    if others:
        others = sorted(others, key=lambda r: r["at"]["T"])
        look: dict[str, Any] = {"color": "#999999", "linestyle": ":", "label": f"the bound of {others[0]['claim']}"}
        axes.plot([r["at"]["T"] for r in others], [r["bound"] for r in others], **look)
    for name, style in SIDES.items():
        members = sorted(by_kind.get(("stale" if name == "stale" else "any",), []), key=lambda r: r["at"]["T"])
        if name == "attained":
            members = [r for r in members if r["attained"]]
        if members:
            axes.plot([r["at"]["T"] for r in members], [_side(r, name) for r in members], **style)
    axes.set(xlabel="steps T", ylabel="left side (L = 1, start 1, rho = 1)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    legend(axes, loc="best")


def _side(row: Row, name: str) -> float:
    if name == "bound":
        return float(row["bound"])
    return float(row["attained"]["ratio"] * row["bound"] if name == "attained" else row["dual"])


def _looks(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return a colour for each claim in their order, open markers for its second reading."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    present = {r["claim"] for r in rows} - {"B9"}
    labels = [label for label in CLAIMS if label in present]
    for label in labels:
        for k, form in enumerate(dict.fromkeys(r["form"] for r in rows if r["claim"] == label)):
            n = labels.index(label)
            found[label, form] = {
                "color": SERIES[n % len(SERIES)],
                "marker": MARKERS[n % len(MARKERS)],
                "linestyle": "--" if k else "-",
                "markerfacecolor": "white" if k else SERIES[n % len(SERIES)],
                "label": f"{label}, {form}" if form else label,
            }
    return found


def _ratios(axes: Axes, rows: Sequence[Row], looks: dict[tuple[str, str], dict[str, Any]], title: str) -> None:
    for (label, form), members in groups(rows, "claim", "form").items():
        members = sorted(members, key=lambda r: r["at"]["T"])
        axes.plot([r["at"]["T"] for r in members], [r["ratio"] for r in members], **looks[label, form])
    _frame(axes, title)


def _momentum(axes: Axes, rows: Sequence[Row]) -> None:
    for k, ((beta, h), members) in enumerate(sorted(groups(rows, "at.beta", "at.h").items())):
        members = sorted(members, key=lambda r: r["at"]["T"])
        look: dict[str, Any] = {"color": SERIES[k % len(SERIES)], "marker": MARKERS[k % len(MARKERS)]}
        axes.plot([r["at"]["T"] for r in members], [r["ratio"] for r in members],
                  label=f"beta = {beta:g}, h = {h:.3g}", **look)  # fmt: skip
    _frame(axes, "B9, measured Delta, any perturbation")
    legend(axes, loc="lower right")


def _frame(axes: Axes, title: str) -> None:
    axes.axhline(1.0, **BOUND)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="steps T", title=title, ylim=(0, 1.08), ylabel="worst case / bound")
