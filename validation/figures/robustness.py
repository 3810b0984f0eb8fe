"""Corrupted test images: each arm's error for each kind, and what S2-SAM changes of it."""

from matplotlib.figure import Figure

from validation.evidence.verdict import Finding
from validation.figures.style import RULES, canvas

WIDTH = 5.4  # inches: half a page, as every font size here is meant


def kinds(finding: Finding) -> Figure:
    """Draw, for each kind of corruption, the error of every arm, and beside it the gain of S2-SAM over SGD.

    Both are means over sparse networks and severities with 95 % intervals over seeds. Those of errors hold what one
    seed's networks have in common; the gain is paired by seed and does not.

    Args:
        finding: of D8.
    """
    lines = [line for line in finding.lines if "error" in line.at]
    arms = list(lines[0].at["error"])
    figure, (left, right) = canvas(2, 4.4)
    figure.set_size_inches(WIDTH, 4.4)
    places = range(len(lines))
    for i, arm in enumerate(arms):
        found = [line.at["error"][arm] for line in lines]
        y = [place + 0.19 * (i - (len(arms) - 1) / 2) for place in places]
        means = [level["mean"] for level in found]
        ends = [[e["mean"] - e["low"] for e in found], [e["high"] - e["mean"] for e in found]]
        style = RULES[arm] | {"linestyle": "none", "markersize": 3}
        left.errorbar(means, y, xerr=ends, capsize=1, elinewidth=0.7, **style)
    style = RULES["s2sam"] | {"linestyle": "none", "label": "S2-SAM less SGD"}
    effects = [line.effect for line in lines]
    ends = [[e.mean - e.low for e in effects], [e.high - e.mean for e in effects]]
    right.errorbar([e.mean for e in effects], places, xerr=ends, capsize=1.5, elinewidth=0.8, **style)
    right.axvline(0, color="#555555", linewidth=0.8)
    left.set_yticks(places, [line.at["kind"] for line in lines])
    right.set_yticks(places, [])
    for axes in (left, right):
        axes.set_ylim(len(lines) - 0.4, -0.6)
    left.set_xlabel("error (%)")
    right.set_xlabel("gain over SGD (points)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=len(arms))
    return figure
