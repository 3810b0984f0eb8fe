"""D1: S2-SAM costs nothing beside SGD, and half of SAM; from the rows of `s2sam bench training --json`.

ResNet-32 (batch 128) and a small Transformer, dense and 90 % sparse; steps of the three methods taken in turn, so that
neighbours in time are disturbed alike. "About that of SGD" is 0.98 of its throughput: the target set for ResNet-32
before anything was timed, asked here of every network. SUPPORTED when the median ratio of S2-SAM to SGD is above 0.98
in every network, each by its own interval of order statistics (95 %), and the gradients counted a step are 1, 1
and 2; REFUTED when one interval lies below or a count differs, else INCONCLUSIVE; the effect shown is the weakest.
Beside it stand the ratios of SAM, and of S2-SAM by compiled passes (`fused=True`), where the bench could compile them.
"""

import math
from collections.abc import Mapping
from typing import Any

from validation.bench.contenders import FUSED
from validation.evidence.statistics import Effect, sign_test
from validation.evidence.verdict import Finding, Line, conjunction, finding
from validation.standing import REFUTED

LEAST = -2.0  # percent of SGD's throughput
GRADIENTS = {"SGD": 1, "S2SAM": 1, FUSED: 1, "SAM": 2}
RULE = f"S2-SAM's throughput less SGD's above {LEAST:g} % in every network, at 1, 1 and 2 gradients a step"


def judge(bench: Mapping[str, Any]) -> Finding:
    """Return the standing, from what the bench measured (`validation.bench.training`)."""
    lines = []
    for row in bench["rows"]:
        if row["method"] == "SGD":
            continue
        at = {"method": row["method"], "sparsity": row["sparsity"]}
        where = f"{row['network']}, {'dense' if not row['sparsity'] else format(row['sparsity'], '.0%')}"
        words = row["method"].replace("S2SAM", "S2-SAM")
        lines.append(Line(f"{words} over SGD", f"{words} less SGD, {where}", _effect(row), at))
    said, weakest = conjunction([line for line in lines if line.at["method"] == "S2SAM"], LEAST, adjust=False)
    if any(row["gradients a step"] != GRADIENTS[row["method"]] for row in bench["rows"]):
        said = REFUTED
    regime = f"training steps of ResNet-32 and of a Transformer; {bench['machine']}"
    return finding("D1", RULE, weakest, regime, lines, unit="% of SGD's throughput", threshold=LEAST, decided=said)


def _effect(row: Mapping[str, Any]) -> Effect:
    """Return the median of the ratios less 1, in percent, with its interval of order statistics."""
    percent = [100 * (ratio - 1) for ratio in row["ratios"]]
    middle, low, high = (100 * (row[name] - 1) for name in ("throughput", "low", "high"))
    return Effect(middle, low, high, sd=math.nan, n=len(percent), p=sign_test(percent))
