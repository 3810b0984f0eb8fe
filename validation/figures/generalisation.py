"""Figures of C1 and C1': the terms of the bounds on the population loss, stacked, beside the held-out error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from validation.figures.panels import checked
from validation.figures.style import BOUND, SERIES, canvas, legend

Row = dict[str, Any]
PARTS = (("loss", "error on S", ""), ("sampling", "finite number of draws", ".."), ("complexity", "complexity", "//"))
PRIORS = {"held": "prior from other data", "initial": "prior at initialisation"}


def _stacked(rows: Sequence[Row], label: str, title: str) -> Figure:
    """One bar a network, its parts the terms of the bound; 1 is what is known without it."""
    figure, (panel,) = canvas(1, 3.4)
    figure.set_figwidth(6.4)
    mine = sorted(checked(rows, label), key=lambda r: (r["prior"], r["at"]["sparsity"]))
    x, base = np.arange(len(mine)), np.zeros(len(mine))
    for (name, text, hatch), colour in zip(PARTS, SERIES, strict=False):
        heights = np.array([r["terms"].get(name, 0.0) for r in mine])
        if heights.any():
            panel.bar(x, heights, 0.5, bottom=base, color=colour, hatch=hatch, edgecolor="white", label=text)
        base = base + heights
    for at, r in zip(x, mine, strict=True):
        panel.text(float(at), r["bound"] * 1.01, f"{r['bound']:.2f}", ha="center", va="bottom", fontsize=8)
    panel.plot(
        x, [r["measured"] for r in mine], marker="D", linestyle="none", color="black", label="held-out error, measured"
    )
    panel.axhline(1.0, **BOUND, label="vacuous from here on")
    panel.set_xticks(
        x, [f"{PRIORS[r['prior']]}\nn = {r['at']['n']}, {100 * r['at']['sparsity']:.0f} % pruned" for r in mine]
    )
    panel.tick_params(axis="x", labelsize=7)
    panel.set(ylabel="0-1 loss", title=title)
    panel.set_ylim(top=max(1.0, *base, 0) * 1.35)
    legend(panel, loc="upper left", ncols=3)
    return figure


def c1(rows: Sequence[Row]) -> Figure:
    """C1: the bound as published is vacuous on networks of this size."""
    return _stacked(rows, "C1", "C1 as published, the maximum replaced by one ascent step (an illustration)")


def c1_sound(rows: Sequence[Row]) -> Figure:
    """C1': a bound that holds, of the network with noise on its weights."""
    return _stacked(rows, "C1'", "C1': the network with noise on its weights")
