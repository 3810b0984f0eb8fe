"""D2: the loss surface is the rougher, the sparser the network.

Networks trained by SGD, dense and by MEST at 80, 90, 95 and 98 %, tuned as for D4. Ra is the mean over five planes of
the mean absolute deviation of the training loss on a 21 x 21 grid, one filter length to each side, directions in the
support ("masked"), BatchNorm fixed, in nats (`validation.evidence.surfaces`). The one effect that decides is the slope
of Ra against sparsity, dense among the five, least squares for each seed, t interval over seeds, above 0. Beside it, in
one family, the slopes of log-Ra and of form-free Ra, of all three with directions that leave the support and with
BatchNorm from the images, of the top Hessian eigenvalue on the support, and of the loss at the weights. Ra grows with
the level of the loss and with the steepness of a smooth bowl; log-Ra stays when all of the loss is multiplied by a
number, and form-free Ra is what no quadratic explains (`validation.landscape.roughness`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import nan
from statistics import fmean

from validation.cells import Row
from validation.evidence.protocol import Comparison, Scale, sparse
from validation.evidence.runs import Runs
from validation.evidence.statistics import effect, trend
from validation.evidence.surfaces import VARIANTS
from validation.evidence.verdict import Evidence, Finding, Line, finding

SPARSITIES = (0.0, 0.8, 0.9, 0.95, 0.98)
UNIT = "nats of loss"
KINDS = ("Ra", "log-Ra", "form-free Ra")
Measure = Callable[[Row], float]


def _mean(name: str, variant: str) -> Measure:
    return lambda row: fmean(map(float, row[name][variant]))  # rows say "nan" of a network that diverged


MEASURES: dict[str, Measure] = {f"{name} ({v})": _mean(name, v) for name in KINDS for v in VARIANTS}
MEASURES |= {
    "top Hessian eigenvalue": lambda row: float(row["top_eigenvalue"]),
    "loss at the weights": lambda row: float(row["loss"]),
}
DECIDES = next(iter(MEASURES))
RULE = f"slope of {DECIDES} by SGD against sparsity, a seed's slope each, above 0"


def regimes(scale: Scale, arms: Sequence[str]) -> list[Comparison]:
    """Return the five sparsities with these arms; what is judged are surfaces."""
    return [Comparison(sparse(scale.base, s), tuple(arms), "landscape") for s in SPARSITIES]


def levels(comparisons: Sequence[Comparison], runs: Runs, scale: Scale) -> Iterator[Line]:
    """Yield Ra itself for each sparsity and arm, with the first seed's surface, for figures: nothing is tested here."""
    for c in comparisons:
        for arm in c.arms:
            rows = c.rows(runs, scale, arm)
            at = {"arm": arm, "sparsity": c.base.sparsity, "surface": rows[0]["surface"]}
            found = replace(effect([MEASURES[DECIDES](row) for row in rows]), p=nan)
            yield Line("levels", f"{DECIDES} by {arm} at {c.base.sparsity:.0%}", found, at)


def comparisons(scale: Scale) -> list[Comparison]:
    """Return the five regimes, with SGD alone."""
    return regimes(scale, ["sgd"])


def judge(runs: Runs, scale: Scale) -> Finding:
    """Return the standing, from complete runs."""
    todo = comparisons(scale)
    by_seed = list(zip(*(c.rows(runs, scale, "sgd") for c in todo), strict=True))
    lines = []
    for name, measure in MEASURES.items():
        found = trend(SPARSITIES, [[measure(row) for row in rows] for rows in by_seed])
        lines.append(Line("slopes", f"slope of {name}", found, {"measure": name}))
    unit = f"{UNIT} from dense to 100 % sparse"
    return finding("D2", RULE, lines[0].effect, scale, [*lines, *levels(todo, runs, scale)], unit=unit)


D2 = Evidence("D2", "roughness of the loss surface against sparsity", comparisons, judge)
