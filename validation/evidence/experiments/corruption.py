"""D8: S2-SAM raises the accuracy of sparse networks on corrupted test images.

Networks by MEST at 80, 90 and 95 %, by SGD, S2-SAM, SAM and along random directions, tuned on clean validation images
as for D4; dense ones beside them. A run's accuracy on corrupted images is the mean over thirteen kinds at five
severities, the same images for all arms of a seed (`validation.evidence.corrupted`). The claim is about sparse networks
as a whole, so the one effect that decides is the gain of S2-SAM over SGD in that accuracy, paired by seed, mean of the
three sparsities, above 0. Tables beside it: the gain at each sparsity, and for each kind, mean of the sparsities (a
family each); SAM and random directions over SGD, and S2-SAM over them; the gain on clean images, and what the gain on
corrupted ones has above it: at 0 robustness is the better accuracy and no more. That is a difference, as in the
numerator of the relative mCE of Hendrycks & Dietterich (ICLR 2019), not their quotient: its denominator may be 0, as
some kinds may hurt no one. Their mCE, each kind's errors in percent of SGD's, is given as SGD's less S2-SAM's.
"""

from collections.abc import Callable
from dataclasses import asdict
from statistics import fmean

from validation.cells import Row
from validation.corruptions import CORRUPTIONS, SEVERITIES, mean_corruption_error
from validation.evidence import corrupted
from validation.evidence.protocol import Comparison, Scale, sparse
from validation.evidence.runs import Runs
from validation.evidence.statistics import effect
from validation.evidence.verdict import Evidence, Finding, Line, finding

SPARSITIES = (0.8, 0.9, 0.95)
ARMS = ("sgd", "s2sam", "sam", "random")
PAIRS = (("sam", "sgd"), ("random", "sgd"), ("s2sam", "sam"), ("s2sam", "random"))  # beside S2-SAM over SGD
RULE = "S2-SAM's gain over SGD in accuracy on corrupted images, mean of 80, 90 and 95 % sparsity, above 0"
MEAN = "mean of 80-95 %"


def comparisons(scale: Scale) -> list[Comparison]:
    """Return the three sparse regimes, then the dense one."""
    return [Comparison(sparse(scale.base, s), ARMS, corrupted.corruption.__name__) for s in (*SPARSITIES, 0.0)]


def judge(runs: Runs, scale: Scale) -> Finding:
    """Return the standing, from complete runs."""
    rows = {arm: [c.rows(runs, scale, arm) for c in comparisons(scale)] for arm in ARMS}

    def gains(measure: Callable[[Row], float], one: str = "s2sam", other: str = "sgd") -> list[list[float]]:
        """Return one arm's measure less the other's: a list over seeds for each regime."""
        pairs = zip(rows[one], rows[other], strict=True)
        return [[measure(a) - measure(b) for a, b in zip(*pair, strict=True)] for pair in pairs]

    def mean(measure: Callable[[Row], float], one: str = "s2sam", other: str = "sgd") -> list[float]:
        """Return the same, seed by seed, as the mean over the sparse networks."""
        return list(map(fmean, zip(*gains(measure, one, other)[: len(SPARSITIES)], strict=True)))

    whole = effect(mean(_accuracy))
    lines = [Line("S2-SAM over SGD", f"S2-SAM over SGD, {MEAN}", whole)]
    for s, values in zip((*SPARSITIES, 0.0), gains(_accuracy), strict=True):
        name = f"S2-SAM over SGD at {s:.0%}" if s else "S2-SAM over SGD, dense"
        lines.append(Line("sparsities" if s else "dense", name, effect(values), {"sparsity": s}))
    for one, other in PAIRS:
        lines.append(Line("controls", f"{one} over {other}, {MEAN}", effect(mean(_accuracy, one, other))))
    lines.append(Line("clean images", f"S2-SAM over SGD on clean images, {MEAN}", effect(mean(_clean))))
    above = effect(mean(lambda row: _accuracy(row) - _clean(row)))
    lines.append(Line("above clean", "gain on corrupted less gain on clean images", above))
    lines.append(Line("mCE", "mCE of SGD less mCE of S2-SAM (%)", effect(_mce_less(rows))))
    for kind in CORRUPTIONS:
        lines.append(Line("kinds", f"S2-SAM over SGD: {kind}", effect(mean(_on(kind))), _levels(rows, kind)))
    return finding("D8", RULE, whole, scale, lines)


def _accuracy(row: Row) -> float:
    """Return the accuracy on corrupted images in percent."""
    return fmean(_on(kind)(row) for kind in CORRUPTIONS)


def _on(kind: str) -> Callable[[Row], float]:
    return lambda row: 100 * (1 - fmean(row["errors"][kind]))


def _clean(row: Row) -> float:
    return 100 * row["test_accuracy"]


def _mce_less(rows: dict[str, list[list[Row]]]) -> list[float]:
    """Return the mCE of SGD less that of S2-SAM, mean over the sparse networks, seed by seed.

    It is 100 where S2-SAM errs no more. The reference is the mean of SGD's errors over seeds, so
    that no seed with few errors weighs more than another. A kind in which SGD never errs has no quotient and is left
    out; where there is none left, nothing differs.
    """
    less = []
    for ours, base in zip(rows["s2sam"], rows["sgd"], strict=True):
        mean = {k: [fmean(row["errors"][k][i] for row in base) for i in range(len(SEVERITIES))] for k in CORRUPTIONS}
        known = {kind: errors for kind, errors in mean.items() if any(errors)}

        def mce(row: Row, known: dict[str, list[float]] = known) -> float:
            return mean_corruption_error({kind: row["errors"][kind] for kind in known}, known) if known else 0.0

        less.append([mce(b) - mce(a) for a, b in zip(ours, base, strict=True)])
    return list(map(fmean, zip(*less[: len(SPARSITIES)], strict=True)))


def _levels(rows: dict[str, list[list[Row]]], kind: str) -> Row:
    """Return the error itself for figures, in percent: each arm's mean over the sparse networks, with its interval."""
    levels = {}
    for arm in ARMS:
        seeds = zip(*rows[arm][: len(SPARSITIES)], strict=True)
        found = effect([100 - fmean(map(_on(kind), each)) for each in seeds])
        levels[arm] = {name: asdict(found)[name] for name in ("mean", "low", "high")}
    return {"kind": kind, "error": levels}


D8 = Evidence("D8", "accuracy on corrupted images", comparisons, judge)
