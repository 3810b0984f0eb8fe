"""Figures of A: the error of perturbing along the previous gradient, against the constant that drives each bound."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from validation.figures.alignment import STAGES, cosines
from validation.figures.panels import checked, curves, pairs, ratio
from validation.figures.style import BOUND, canvas, groups, legend, look

Row = dict[str, Any]
FAMILIES = ("strong", "cosine", "logcosh", "breast-cancer", "digits")


def a1(rows: Sequence[Row]) -> Figure:
    """Perturbation error against the radius, below Dunkl and Williams' bound and the trivial 2 rho."""
    figure, (left, right) = canvas()
    mine = [r for r in checked(rows, "A1") if r["rule"] == "s2sam"]
    pairs(left, mine, "at.rho", families=FAMILIES)
    radii = sorted({look(r, "at.rho") for r in mine})
    if radii:
        left.plot(radii, [2 * x for x in radii], **BOUND, label="2 rho (trivial)")
    left.set(
        xlabel="radius rho (start at distance 1)",
        ylabel="||p S2-SAM - p SAM||",
        title="A1: filled measured, open bound",
    )
    ratio(right, [r for r in mine if r["family"] in FAMILIES], "at.h", by="family")
    right.set(xlabel="step size h = eta L", title="A1: how tight")
    legend(left, loc="lower right")
    legend(right, loc="lower left")
    return figure


def a2(rows: Sequence[Row]) -> Figure:
    """Staleness of the previous gradient against the step size."""
    figure, (left, right) = canvas()
    mine = [r for r in checked(rows, "A2") if r["rule"] == "s2sam" and look(r, "at.rho") == 0.1]
    pairs(left, mine, "at.h", families=FAMILIES)
    left.set(
        xlabel="step size h = eta L",
        ylabel="||grad f(w_t) - g_(t-1)||",
        title="A2 at rho = 0.1: filled measured, open bound",
    )
    ratio(right, [r for r in checked(rows, "A2.cos") if r["rule"] == "s2sam"], "at.rho", by="at.h", log_x=True)
    right.set(
        xlabel="radius rho",
        title="A2.cos: cosine to the stale gradient",
        ylabel="bound / measured (thin: median)",
    )
    legend(left, loc="upper left")
    legend(right, loc="lower left")
    return figure


def a3(rows: Sequence[Row]) -> Figure:
    """Gradient error from a common point against the radius."""
    figure, (left, right) = canvas()
    mine = [r for r in checked(rows, "A3") if r["rule"] == "s2sam"]
    pairs(left, mine, "at.rho", families=FAMILIES)
    left.set(
        xlabel="radius rho (start at distance 1)",
        ylabel="||grad f(y S2-SAM) - grad f(y SAM)||",
        title="A3: filled measured, open bound 2 L rho",
    )
    ratio(right, [r for r in mine if r["family"] in FAMILIES], "at.rho", by="family", log_x=True)
    right.set(xlabel="radius rho", title="A3: how tight")
    legend(left, loc="upper left")
    legend(right, loc="lower left")
    return figure


def a4(rows: Sequence[Row]) -> Figure:
    """Distance between the two methods' weights against T, in the three regimes."""
    figure, axes = canvas(3)
    for panel, label, title in zip(
        axes,
        ("A4.smooth", "A4.convex", "A4.strong"),
        ("smooth: grows like (1+h)^T", "convex: e_T^2 grows like T", "strongly convex: bounded for ever"),
        strict=True,
    ):
        curves(panel, rows, label)
        panel.set(title=title, ylabel="e_T" if label == "A4.smooth" else "e_T^2")
        legend(panel, loc="best")
    axes[0].set_title("A4 (h = 0.5, rho = 0.1), smooth: like (1+h)^T")
    return figure


def a5(rows: Sequence[Row]) -> Figure:
    """What the loss at y exceeds f by; and the cosine that decides it, in three stages of the training of a network."""
    figure, axes = canvas(3)
    mine = [r for r in checked(rows, "A5") if r["rule"] in ("s2sam", "sam")]
    pairs(axes[0], [r for r in mine if r["rule"] == "s2sam"], "at.rho", families=FAMILIES)
    axes[0].set(
        xlabel="radius rho", ylabel="|f(y) - f(w) - rho cos ||grad f(w)|||", title="A5: filled measured, open L rho^2/2"
    )
    legend(axes[0], loc="upper left")
    series = groups([r for r in rows if r.get("series") == "alignment"], "at.batch")
    for panel, ((batch,), members) in zip(axes[1:], sorted(series.items()), strict=False):
        cosines(panel, members, lambda row: 2.0 ** STAGES.index(row["stage"]))
        panel.set_xscale("log", base=2)
        panel.set_xticks([2.0**k for k in range(len(STAGES))], STAGES)
        title = f"small CNN on digits, {100 * members[0]['at']['sparsity']:g} % zeros, batch {batch}"
        panel.set(xlabel="part of the training", ylabel="cosine (95 % over seeds)", ylim=(-0.65, 1.05), title=title)
        legend(panel, loc="lower left")
    return figure
