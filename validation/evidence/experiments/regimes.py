"""R, the regime map: where does S2-SAM help, and where not?

Sample size (an eighth, a third, all) x wrong labels (0, 20, 40 %) x sparsity (0, 80, 95 %), S2-SAM and SGD, both tuned
in each regime; every regime makes about the same number of steps. No claim of the paper: the question is whether the
gain grows with label noise, as for sharpness-aware methods in general (Foret et al. 2021, Section 3.3). The one effect
that decides is the mean over sizes and sparsities of the gain's slope against noise, a seed's each, above 0. The slopes
against sparsity and against the logarithm of the size stand beside it (one family), and each regime's gain (another).
Is it S2-SAM that helps, or any perturbation? Where most labels are wrong, SAM and a random direction of the same norm
are run in all nine regimes too, tuned alike: a family of four means over these. (They were added when the map had shown
a gain, before any run of theirs.)
"""

import math
from dataclasses import replace
from itertools import product
from statistics import fmean

from validation.evidence.protocol import PAIR, Comparison, Scale, sparse
from validation.evidence.runs import Runs, images
from validation.evidence.statistics import effect, trend
from validation.evidence.verdict import Evidence, Finding, Line, finding

PARTS = (1 / 8, 1 / 3, 1)  # of the images that are not held out
NOISE = (0.0, 0.2, 0.4)
SPARSITIES = (0.0, 0.8, 0.95)
ARMS = ("sgd", "sam", "s2sam", "random")  # at the highest noise
RULE = "slope of S2-SAM's gain over SGD against label noise, mean over sizes and sparsities, above 0"


def comparisons(scale: Scale) -> list[Comparison]:
    """Return the twenty-seven regimes, sparsity moving fastest."""
    result, most = [], images(scale.base)
    for part, noise, s in product(PARTS, NOISE, SPARSITIES):
        base = replace(scale.base, label_noise=noise)
        if part < 1:
            size = round(part * most)
            batch = min(base.batch, size)
            steps = most // base.batch * base.epochs
            base = replace(base, train_size=size, batch=batch, epochs=max(1, round(steps / (size // batch))))
        result.append(Comparison(sparse(base, s), ARMS if noise == NOISE[-1] else PAIR))
    return result


def judge(runs: Runs, scale: Scale) -> Finding:
    """Return the map and its slopes, from complete runs."""
    keys, regimes = list(product(PARTS, NOISE, SPARSITIES)), comparisons(scale)
    gains = dict(zip(keys, (c.gain(runs, scale) for c in regimes), strict=True))
    most, lines = images(scale.base), []
    for (part, noise, s), values in gains.items():
        size = round(part * most)
        at = {"images": size, "noise": noise, "sparsity": s}
        lines.append(Line("regimes", f"{size} images, noise {noise:.0%}, sparsity {s:.0%}", effect(values), at))
    axes = {
        "label noise (0 to 100 %)": (1, NOISE, NOISE),
        "sparsity (0 to 100 %)": (2, SPARSITIES, SPARSITIES),
        "images (a factor of 2)": (0, PARTS, [math.log2(part) for part in PARTS]),
    }
    slopes = []
    for name, (axis, levels, places) in axes.items():
        by_level = [[gains[key] for key in keys if key[axis] == level] for level in levels]
        means = [[fmean(cell[seed] for cell in cells) for cells in by_level] for seed in range(scale.seeds)]
        slopes.append(Line("slopes", f"slope against {name}", trend(places, means)))
    for one, other in (("s2sam", "random"), ("s2sam", "sam"), ("random", "sgd"), ("sam", "sgd")):
        noisiest = [c.gain(runs, scale, one, other) for c in regimes if c.arms == ARMS]
        mean = effect(list(map(fmean, zip(*noisiest, strict=True))))
        lines.append(Line("controls", f"{one} over {other}, noise {NOISE[-1]:.0%}, mean of the regimes", mean))
    unit = "percentage points from no wrong labels to wrong labels alone"
    return finding("R", RULE, slopes[0].effect, scale, slopes + lines, unit=unit)


REGIMES = Evidence("R", "where S2-SAM helps: sample size, label noise, sparsity", comparisons, judge)
