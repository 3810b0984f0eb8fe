"""Findings from training: gain against sparsity, the regime map, and, of any other finding, its intervals."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from validation.evidence.verdict import POINTS, Finding, Line
from validation.figures import robustness, surface
from validation.figures.style import RULES, canvas

GAIN = "gain over SGD (percentage points)"


def sparsity(finding: Finding) -> Figure:
    """Draw each arm's gain over SGD against sparsity with its 95 % interval, and the paper's curve for S2-SAM.

    Args:
        finding: of D4.
    """
    gains = [line for line in finding.lines if "arm" in line.at]
    places = sorted({line.at["sparsity"] for line in gains})
    arms = list(dict.fromkeys(line.at["arm"] for line in gains))
    figure, (axes,) = canvas(1, 3.2)
    figure.set_size_inches(5.4, 3.2)
    for i, arm in enumerate(arms):
        mine = [line for line in gains if line.at["arm"] == arm]
        x = [places.index(line.at["sparsity"]) + 0.12 * (i - (len(arms) - 1) / 2) for line in mine]
        style = RULES[arm] | {"linewidth": 1.6 if arm == "s2sam" else 0.9}
        axes.errorbar(x, [line.effect.mean for line in mine], yerr=_ends(mine), capsize=1.5, elinewidth=0.8, **style)
    paper = [(places.index(line.at["sparsity"]), line.reference) for line in gains if line.reference is not None]
    if paper:
        label = "S2-SAM in the paper (ResNet-32, CIFAR-10)"
        axes.plot(*zip(*paper, strict=True), color="#777777", linestyle=(0, (1, 1)), marker="x", label=label)
    axes.axhline(0, color="#555555", linewidth=0.8)
    axes.set_xticks(range(len(places)), [f"{100 * place:g}" for place in places])
    axes.set_xlabel("sparsity (%)")
    axes.set_yscale("symlog", linthresh=2, linscale=1.5)  # the spread over seeds grows a hundredfold from 0 to 99 %
    ends = [abs(end) for line in gains for end in (line.effect.low, line.effect.high) if math.isfinite(end)]
    shown = [tick for tick in (0, 1, 2, 5, 10, 20, 50) if tick <= 1.2 * max(ends, default=1.0)]
    ticks = [*(-tick for tick in shown[:0:-1]), *shown]
    axes.set_yticks(ticks, [f"{tick:+d}" if tick else "0" for tick in ticks])
    axes.set_ylabel(f"{GAIN},\nlogarithmic beyond 2")
    axes.minorticks_off()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def regimes(finding: Finding) -> Figure:
    """Draw the map: mean gain and the half width of its interval, a panel for each sparsity; bold where p <= 5 %.

    Args:
        finding: of R.
    """
    cells = [line for line in finding.lines if line.family == "regimes"]
    sizes, noises, sparsities = (sorted({line.at[key] for line in cells}) for key in ("images", "noise", "sparsity"))
    figure, panels = canvas(len(sparsities), 2.7)
    figure.set_size_inches(2.6 * len(sparsities), 2.7)
    limit = max(abs(line.effect.mean) for line in cells) or 1.0
    for axes, place in zip(panels, sparsities, strict=True):
        grid = np.zeros((len(noises), len(sizes)))
        for line in (line for line in cells if line.at["sparsity"] == place):
            i, j = noises.index(line.at["noise"]), sizes.index(line.at["images"])
            grid[i, j] = found = line.effect.mean
            text = f"{found:+.1f}\n±{(line.effect.high - line.effect.low) / 2:.1f}"
            light = "white" if abs(found) > 0.6 * limit else "black"
            bold = "bold" if line.adjusted <= 0.05 else "normal"
            axes.text(j, i, text, ha="center", va="center", color=light, fontsize=8, fontweight=bold)
        shown = axes.imshow(grid, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto", origin="lower")
        axes.grid(visible=False)
        axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        axes.set_yticks(range(len(noises)), [f"{100 * noise:g}" for noise in noises] if axes is panels[0] else [])
        axes.set_title(f"sparsity {100 * place:g} %")
        axes.set_xlabel("training images")
    panels[0].set_ylabel("wrong labels (%)")
    figure.colorbar(shown, ax=panels, label="gain (points)")
    return figure


def intervals(finding: Finding) -> Figure:
    """Draw every comparison of a finding: mean, 95 % interval, the paper's number beside it; families set apart.

    Args:
        finding: any.
    """
    families = list(dict.fromkeys(line.family for line in finding.lines))
    lines = sorted(finding.lines, key=lambda line: families.index(line.family))
    y = [i + 0.8 * families.index(line.family) for i, line in enumerate(lines)]
    figure, (axes,) = canvas(1, 1.0 + 0.19 * (y[-1] + 1))
    figure.set_size_inches(5.4, 1.0 + 0.19 * (y[-1] + 1))
    style: dict[str, Any] = {name: RULES["s2sam"][name] for name in ("color", "marker")}
    means = [line.effect.mean for line in lines]
    axes.errorbar(means, y, xerr=_ends(lines), linestyle="none", capsize=1.5, label="here, 95 % interval", **style)
    paper = [(line.reference, place) for line, place in zip(lines, y, strict=True) if line.reference is not None]
    if paper:
        axes.plot(*zip(*paper, strict=True), "x", color="#555555", label="paper", markersize=5)
    axes.axvline(0, color="#555555", linewidth=0.8)
    axes.set_yticks(y, [line.name for line in lines])
    axes.set_ylim(y[-1] + 0.7, -0.7)
    axes.set_xlabel(f"difference ({POINTS if finding.unit.startswith(POINTS) else finding.unit})")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def _ends(lines: Sequence[Line]) -> list[list[float]]:
    """Return the lengths of error bars, below and above."""
    below = [line.effect.mean - line.effect.low for line in lines]
    return [below, [line.effect.high - line.effect.mean for line in lines]]


FIGURES = {"D2": surface.surface, "D3": surface.surface, "D4": sparsity, "D8": robustness.kinds, "R": regimes}
