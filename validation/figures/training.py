"""Training runs: what each sparse method reaches with each optimizer, and how much of SAM's direction S2-SAM keeps."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from validation.figures.style import RULES, canvas

Rows = Sequence[Mapping[str, Any]]
ORDER = ("sgd", "sam", "s2sam", "random", "unmasked")


def training(rows: Rows) -> Figure:
    """Draw one mark for each run: test accuracy (left) and claim A5's cosine on a batch of the last epoch (right).

    Args:
        rows: the last row of each run, as `s2sam train` stores them.
    """
    methods = list(dict.fromkeys(row["method"] for row in rows))
    arms = [arm for arm in ORDER if any(row["optimizer"] == arm for row in rows)]
    figure, axes = canvas(2, 1.1 + 0.26 * len(methods))
    _dots(axes[0], rows, methods, arms, "test_accuracy", 100.0)
    axes[0].set_xlabel("test accuracy (%)")
    _dots(axes[1], [row for row in rows if row["optimizer"] != "sgd"], methods, arms, "cos", 1.0)
    axes[1].axvline(0, color="#555555", linewidth=0.8)
    axes[1].set_xlabel("cosine of perturbation and gradient")
    axes[1].set_yticklabels([])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _dots(axes: Axes, rows: Rows, methods: list[str], arms: list[str], key: str, unit: float) -> None:
    for optimizer in arms:
        found = [row for row in rows if row["optimizer"] == optimizer and row[key] is not None]
        shift = 0.72 * ((arms.index(optimizer) + 0.5) / len(arms) - 0.5)
        style = {k: v for k, v in RULES[optimizer].items() if k != "linestyle"}
        places = [methods.index(row["method"]) + shift for row in found]
        values = [unit * row[key] for row in found]
        axes.plot(values, places, linestyle="none", fillstyle="none", markersize=4.5, **style)
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(len(methods) - 0.4, -0.6)
