"""D4: the gain of S2-SAM over SGD grows with sparsity.

Networks trained by MEST (dense at 0) at sparsities 0, 20, 40, 60, 80, 90, 95, 98 and 99 %, all arms. The one effect
that decides is the slope of the gain of S2-SAM over SGD against sparsity, least squares for each seed, t interval over
seeds, above 0. Tables beside it: each arm's gain at each sparsity (Holm over sparsities), and S2-SAM over SAM and
the controls, mean over the sparse networks: if a random direction does as well, the former gradient is not what helps.
"""

from statistics import fmean

from validation.evidence.paper import gains
from validation.evidence.protocol import ARMS, Comparison, Scale, sparse
from validation.evidence.runs import Runs
from validation.evidence.statistics import effect, trend
from validation.evidence.verdict import Evidence, Finding, Line, finding

SPARSITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99)
RULE = "slope of S2-SAM's gain over SGD against sparsity, a seed's slope each, above 0"


def comparisons(scale: Scale) -> list[Comparison]:
    """Return the nine regimes, with all arms; unmasked only where something is masked."""
    return [Comparison(sparse(scale.base, s), ARMS if s else ARMS[:-1]) for s in SPARSITIES]


def judge(runs: Runs, scale: Scale) -> Finding:
    """Return the standing, from complete runs."""
    regimes, lines = comparisons(scale), []
    paper = {float(column[:-1]) / 100: gain for column, gain in gains("D4").items()}
    for c in regimes:
        for arm in c.arms[1:]:
            at = {"sparsity": c.base.sparsity, "arm": arm}
            name = f"{arm} over sgd at {c.base.sparsity:.0%}"
            known = paper.get(c.base.sparsity) if arm == "s2sam" else None
            lines.append(Line(f"{arm} over sgd", name, effect(c.gain(runs, scale, arm)), at, reference=known))
    for other in ("random", "unmasked", "sam"):
        each = zip(*(c.gain(runs, scale, "s2sam", other) for c in regimes[1:]), strict=True)
        lines.append(
            Line("s2sam over controls", f"s2sam over {other}, mean of 20-99 %", effect(list(map(fmean, each))))
        )
    own = zip(*(c.gain(runs, scale) for c in regimes), strict=True)
    slope = trend(SPARSITIES, [list(values) for values in own])
    return finding("D4", RULE, slope, scale, lines, unit="percentage points from dense to 100 % sparse")


D4 = Evidence("D4", "gain against sparsity", comparisons, judge)
