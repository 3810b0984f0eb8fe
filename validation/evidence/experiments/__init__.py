"""One file for each claim; `EXPERIMENTS` is the list that `s2sam evidence` runs, in this order.

To add one: a file with an `Evidence`, and a line here. An experiment whose cells are not training runs (a loss surface,
corrupted images, a translation) registers its own experiment of `validation.cells`.
"""

from validation.evidence.experiments import methods, price, regimes, rounds, sparsity
from validation.evidence.verdict import Evidence

EXPERIMENTS: dict[str, Evidence] = {e.label: e for e in (sparsity.D4, methods.D5, price.D6, rounds.D7, regimes.REGIMES)}
