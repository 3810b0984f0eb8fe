"""D3: S2-SAM smooths the loss surface.

Networks as for D2, by SGD, S2-SAM, SAM and along random directions. The effect is Ra by SGD less Ra by S2-SAM, paired
by seed: above 0 is smoother. SUPPORTED when it is above 0 at each of 80, 90, 95 and 98 % by Holm at 5 %, REFUTED when
it is below 0 at one of them by Holm, else INCONCLUSIVE; the effect shown is the weakest. MEST stands for the methods of
sparse training. Beside it dense networks; SAM and random directions, the controls; S2-SAM against these, mean over the
sparse networks; and, mean over them too, what D2 measures besides.
"""

from statistics import fmean

from validation.evidence.experiments.surface import DECIDES, MEASURES, SPARSITIES, UNIT, Measure, levels, regimes
from validation.evidence.protocol import Comparison, Scale
from validation.evidence.runs import Runs
from validation.evidence.statistics import effect
from validation.evidence.verdict import Evidence, Finding, Line, conjunction, finding

ARMS = ("sgd", "s2sam", "sam", "random")
RULE = f"{DECIDES} by SGD less by S2-SAM, above 0 at each of 80, 90, 95 and 98 % by Holm; shown: the weakest"
MEAN = "mean of 80-98 %"


def comparisons(scale: Scale) -> list[Comparison]:
    """Return the five regimes, with S2-SAM and its controls."""
    return regimes(scale, ARMS)


def judge(runs: Runs, scale: Scale) -> Finding:
    """Return the standing, from complete runs."""
    todo, deciding = comparisons(scale), MEASURES[DECIDES]
    rows = {arm: [c.rows(runs, scale, arm) for c in todo] for arm in ARMS}

    def less(one: str, other: str, measure: Measure = deciding) -> list[list[float]]:
        """Return the first arm's measure less the other's: a list over seeds for each sparsity."""
        pairs = zip(rows[one], rows[other], strict=True)
        return [[measure(a) - measure(b) for a, b in zip(*pair, strict=True)] for pair in pairs]

    def mean(one: str, other: str, measure: Measure = deciding) -> list[float]:
        """Return the same, seed by seed, as the mean over the sparse networks."""
        return list(map(fmean, zip(*less(one, other, measure)[1:], strict=True)))

    lines = []
    for arm in ARMS[1:]:
        for s, values in zip(SPARSITIES, less("sgd", arm), strict=True):
            name, at = f"{DECIDES}, sgd less {arm} at {s:.0%}", {"less": arm, "sparsity": s}
            lines.append(Line(f"sgd less {arm}", name, effect(values), at))
    said, weakest = conjunction([x for x in lines if x.at["less"] == "s2sam" and x.at["sparsity"]])
    for other in ARMS[2:]:
        name = f"{DECIDES}, {other} less s2sam, {MEAN}"
        lines.append(Line("controls less s2sam", name, effect(mean(other, "s2sam"))))
    for name, measure in MEASURES.items():
        found, at = effect(mean("sgd", "s2sam", measure)), {"measure": name}
        lines.append(Line("measures", f"{name}, sgd less s2sam, {MEAN}", found, at))
    return finding("D3", RULE, weakest, scale, [*lines, *levels(todo, runs, scale)], unit=UNIT, decided=said)


D3 = Evidence("D3", "roughness after S2-SAM and after SGD", comparisons, judge)
