"""D5: S2-SAM raises the accuracy of every method of sparse training.

The eleven methods of the sparse module (MEST in both its forms) at 80, 90 and 95 %, S2-SAM and SGD. A method's effect
is the mean of its three gains, seed by seed. SUPPORTED when every method's effect is above 0 by Holm at 5 %, REFUTED
when some method's is below 0 by Holm, else INCONCLUSIVE; the effect shown is that of the weakest method. The gain at
each sparsity stands beside it (a family of its own).
"""

from statistics import fmean

from validation.evidence.paper import gains
from validation.evidence.protocol import Comparison, Scale, sparse
from validation.evidence.runs import Runs
from validation.evidence.statistics import effect
from validation.evidence.verdict import Evidence, Finding, Line, conjunction, finding
from validation.training import FAMILIES

SPARSITIES = (0.8, 0.9, 0.95)
RULE = "mean gain of S2-SAM over SGD at 80, 90 and 95 %, above 0 for each method by Holm; shown: the weakest"
PAPER = {("lrr", float(s[:-1]) / 100): gain for s, gain in gains("D5").items()}


def comparisons(scale: Scale) -> list[Comparison]:
    """Return the thirty-three regimes, each with SGD and S2-SAM."""
    return [Comparison(sparse(scale.base, s, method)) for method in FAMILIES for s in SPARSITIES]


def judge(runs: Runs, scale: Scale) -> Finding:
    """Return the standing, from complete runs."""
    means, each = [], []
    for method in FAMILIES:
        regimes = [c for c in comparisons(scale) if c.base.method == method]
        found = [c.gain(runs, scale) for c in regimes]
        means.append(Line("methods", method, effect(list(map(fmean, zip(*found, strict=True)))), {"method": method}))
        for c, values in zip(regimes, found, strict=True):
            s = c.base.sparsity
            at = {"method": method, "sparsity": s}
            known = PAPER.get((method, s))
            each.append(Line("methods and sparsities", f"{method} at {s:.0%}", effect(values), at, reference=known))
    said, weakest = conjunction(means)
    return finding("D5", RULE, weakest, scale, means + each, decided=said)


D5 = Evidence("D5", "every method of sparse training", comparisons, judge)
