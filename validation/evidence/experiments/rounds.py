"""D7: for a lottery ticket of 90 % the gain of S2-SAM grows with the fraction pruned in a round.

Tickets by 20, 30 and 40 % a round, S2-SAM and SGD. Both readings of the paper's rounds are run: landing on exactly 90 %
(11, 7 and 5 cuts), and its numbers of cuts (six of 30 % land on 88.2 %, four of 40 % on 87.0 %). The one effect that
decides is the slope of the gain against the fraction, at exact landing, a seed's slope each, above 0.
"""

from validation.evidence.paper import gains
from validation.evidence.protocol import Comparison, Scale, sparse
from validation.evidence.runs import Runs
from validation.evidence.statistics import effect, trend
from validation.evidence.verdict import Evidence, Finding, Line, finding

FRACTIONS = {"lt": 0.2, "lt-30": 0.3, "lt-40": 0.4}
STATED = {"lt-30": 0.882, "lt-40": 0.870}  # where the six and four rounds of the paper end, instead of 90 %
PAPER = dict(zip(FRACTIONS, gains("D7").values(), strict=True))
RULE = "slope of S2-SAM's gain over SGD against the fraction pruned a round, landing on 90 %, above 0"


def comparisons(scale: Scale) -> list[Comparison]:
    """Return three regimes of exact landing, and two of the paper's numbers of rounds."""
    exact = [Comparison(sparse(scale.base, 0.9, method)) for method in FRACTIONS]
    stated = [Comparison(sparse(scale.base, s, method)) for method, s in STATED.items()]
    return exact + stated


def judge(runs: Runs, scale: Scale) -> Finding:
    """Return the standing, from complete runs."""
    lines, exact = [], []
    for c in comparisons(scale):
        values, fraction = c.gain(runs, scale), FRACTIONS[c.base.method]
        name = f"{fraction:.0%} a round to {c.base.sparsity:.1%}"
        landed = c.base.sparsity == 0.9
        at = {"fraction": fraction, "sparsity": c.base.sparsity}
        known = None if landed and c.base.method in STATED else PAPER[c.base.method]
        lines.append(Line("exact" if landed else "as stated", name, effect(values), at, reference=known))
        exact += [values] if landed else []
    slope = trend(list(FRACTIONS.values()), [list(values) for values in zip(*exact, strict=True)])
    return finding("D7", RULE, slope, scale, lines, unit="percentage points for 100 % more a round")


D7 = Evidence("D7", "fewer pruning rounds", comparisons, judge)
