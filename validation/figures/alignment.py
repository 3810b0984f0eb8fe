"""Where S2-SAM's direction points: its cosines to SAM's direction and the full gradient, and what noise predicts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from validation.figures.style import canvas, legend, look
from validation.seeds import over_seeds

Rows = Sequence[Mapping[str, Any]]
LINES: dict[str, dict[str, Any]] = {  # what is measured, and how it looks
    "batch_full": {"color": "#0072B2", "marker": "s", "label": "SAM's direction, full gradient"},
    "stale_full": {"color": "#D55E00", "marker": "D", "label": "S2-SAM's direction, full gradient"},
    "stale_batch": {"color": "#009E73", "marker": "^", "label": "S2-SAM's direction, SAM's"},
}
PREDICTED = {"batch_full": "noise_full", "stale_full": "noise_stale_full", "stale_batch": "noise_stale_batch"}
DASHES = {"batch_full": "--", "stale_full": "-", "stale_batch": ":"}
PANELS = ((0.0, "middle"), (0.9, "middle"), (0.98, "middle"), (0.9, "early"), (0.9, "late"))
STAGES = ("early", "middle", "late")
WORDS = {0.0: "dense", 0.9: "90 % zeros", 0.98: "98 % zeros"}


def alignment(rows: Rows) -> Figure:
    """Cosines against the batch size, at three sparsities and three stages, and all cells against the noise."""
    figure, axes = canvas(3, 5.2, 2)
    main = [r for r in rows if r["family"] == "digits" and look(dict(r), "at.momentum") and not r["at"]["replacement"]]
    for panel, (sparsity, stage) in zip(axes, PANELS, strict=False):
        mine = [r for r in main if r["at"]["sparsity"] == sparsity and r["stage"] == stage]
        if not mine:
            panel.set_axis_off()
            continue
        cosines(panel, mine, lambda r: r["at"]["batch"])
        panel.set_xscale("log", base=2)
        panel.minorticks_off()
        batches = sorted({r["at"]["batch"] for r in mine})
        panel.set_xticks(batches, [str(b) for b in batches])
        panel.set(xlabel="batch size", title=f"{WORDS[sparsity]}, {stage} in training", ylim=(-0.35, 1.05))
    for panel in (axes[0], axes[3]):
        panel.set_ylabel("cosine")
    collapse(axes[5], rows)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure


def cosines(axes: Axes, rows: Rows, place: Callable[[Mapping[str, Any]], float]) -> None:
    """Draw means over seeds with 95 % intervals, and predictions as thin lines, at the places of the rows."""
    rows = sorted(rows, key=place)
    for k, (name, style) in enumerate(LINES.items()):
        shift = 1.06 ** (k - 1)  # so that intervals do not hide each other, on a logarithmic axis
        x = [place(r) * shift for r in rows]
        means = [over_seeds(r["values"][name]) for r in rows]
        axes.errorbar(
            x, [m.mean for m in means], [m.half for m in means], linestyle="none", capsize=2, linewidth=1.1, **style
        )  # fmt: skip
        expected = [over_seeds(r["values"][PREDICTED[name]]).mean for r in rows]
        axes.plot(x, expected, color=style["color"], linestyle=DASHES[name], linewidth=0.9)
    axes.plot([], [], color="#555555", linewidth=0.9, label="thin lines: predicted from noise and step")
    axes.axhline(0, color="black", linewidth=0.6)


def collapse(axes: Axes, rows: Rows) -> None:
    """Draw every cell and stage against its noise, beside the two curves of directions that differ by noise alone."""
    with_momentum = [r for r in rows if r["at"]["momentum"]]
    for name, style in LINES.items():
        marks = {"marker": style["marker"], "color": style["color"]}
        _points(axes, with_momentum, name, fillstyle="none", markersize=2.6, **marks)
    plain = {"marker": "x", "color": "#777777", "markersize": 3, "label": "S2-SAM, full,\nno momentum"}
    _points(axes, [r for r in rows if not r["at"]["momentum"]], "stale_full", **plain)
    r = np.logspace(-2, 2.5, 200)
    axes.plot(r, (1 + r) ** -0.5, color="black", linewidth=1.2, label="1/sqrt(1 + r)")
    axes.plot(r, 1 / (1 + r), color="black", linewidth=1.2, linestyle="--", label="1/(1 + r)")
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_xscale("log")
    axes.set(xlabel="r, noise over signal of a batch's gradient", title="all cells and stages", ylim=(-0.65, 1.05))
    legend(axes, loc="upper right", fontsize=7)


def _points(axes: Axes, rows: Rows, name: str, **style: Any) -> None:
    means = [over_seeds(r["values"][name]).mean for r in rows]
    noise = [10 ** over_seeds(r["values"]["log10_r"]).mean for r in rows]
    axes.plot(noise, means, linestyle="none", markeredgewidth=0.6, **style)
