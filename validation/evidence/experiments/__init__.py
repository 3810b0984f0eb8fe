"""One file for each claim; `EXPERIMENTS` is what `s2sam evidence` runs, in this order; text only when asked for.

To add one: a file with an `Evidence`, and a line here. An experiment whose cells are not training runs (a loss surface,
corrupted images, a translation) registers its own experiment of `validation.cells`.
"""

from validation.evidence.experiments import (
    corruption,
    methods,
    price,
    regimes,
    rounds,
    smoothing,
    sparsity,
    surface,
    translation,
)
from validation.evidence.verdict import Evidence

_ALL = (
    *(surface.D2, smoothing.D3, sparsity.D4, methods.D5, price.D6, rounds.D7, corruption.D8, translation.D9),
    regimes.REGIMES,
)
EXPERIMENTS: dict[str, Evidence] = {e.label: e for e in _ALL}
