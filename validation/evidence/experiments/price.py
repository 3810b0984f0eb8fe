"""D6: S2-SAM loses little against exact SAM, which costs twice as much.

Dense networks and MEST at 90 %, S2-SAM against SAM at equal epochs, and against SAM for half the epochs, that is at
equal gradient evaluations. "Little" is 0.5 percentage points, chosen beforehand: the largest loss in the paper's table
is 0.33. SUPPORTED when S2-SAM less SAM at equal epochs is above -0.5 in both networks, each by its own interval (a
conjunction needs no adjustment), REFUTED when one is below, else INCONCLUSIVE; the effect shown is the weaker one.
Beside it S2-SAM over SGD, and over its controls: a random direction, and, at 90 %, the unmasked gradient.
"""

from validation.evidence.paper import against
from validation.evidence.protocol import Comparison, Scale, sparse
from validation.evidence.runs import Runs
from validation.evidence.statistics import effect
from validation.evidence.verdict import Evidence, Finding, Line, conjunction, finding

LITTLE = 0.5  # percentage points
SPARSITIES = (0.0, 0.9)
RULE = f"S2-SAM less SAM at equal epochs, above -{LITTLE} in dense and in sparse networks; shown: the weaker"
OTHERS = {
    "sam": "SAM, equal epochs",
    "sam-half": "SAM, equal gradient evaluations",
    "sgd": "SGD",
    "random": "a random direction",
    "unmasked": "S2-SAM unmasked",
}
PAPER = {"sam": against("SAM"), "sgd": against("SGD")}  # dense


def comparisons(scale: Scale) -> list[Comparison]:
    """Return the dense and the sparse regime; unmasked only where something is masked."""
    arms = ("s2sam", *OTHERS)
    return [Comparison(sparse(scale.base, s), arms if s else arms[:-1]) for s in SPARSITIES]


def judge(runs: Runs, scale: Scale) -> Finding:
    """Return the standing, from complete runs."""
    lines = []
    for c in comparisons(scale):
        where = f"{c.base.sparsity:.0%}" if c.base.sparsity else "dense"
        for other in c.arms[1:]:
            found = effect(c.gain(runs, scale, "s2sam", other))
            known = None if c.base.sparsity else PAPER.get(other)
            at = {"sparsity": c.base.sparsity, "over": other}
            name = f"S2-SAM less {OTHERS[other]}, {where}"
            lines.append(Line(f"s2sam over {other}", name, found, at, reference=known))
    said, weakest = conjunction([line for line in lines if line.at["over"] == "sam"], -LITTLE, adjust=False)
    return finding("D6", RULE, weakest, scale, lines, threshold=-LITTLE, decided=said)


D6 = Evidence("D6", "against exact SAM", comparisons, judge)
