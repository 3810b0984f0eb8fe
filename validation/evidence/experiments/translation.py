"""D9: S2-SAM raises the translation quality of dense and sparse Transformers.

Transformers from English to German, dense and by MEST (EM) at 80 and 90 %, by Adam and, around it, S2-SAM, SAM and
S2-SAM along random directions; trials and what chooses among them are those of `validation.evidence.translated`. A gain
is corpus BLEU (SacreBLEU) on the test part less that of Adam, paired by seed: the arms of a seed share weights, masks'
random choices and order of the batches. SUPPORTED when the gain of S2-SAM is above 0 in each of the three networks,
each by its own interval (a conjunction needs no adjustment), REFUTED when it is below 0 in one, else INCONCLUSIVE; the
effect shown is the weakest. Beside it, a family each: the mean of the three; SAM and random directions over Adam; and
S2-SAM over these. The paper's numbers, of a large Transformer on WMT-14, stand beside the gains; BLEU of other corpora,
lengths and networks are not comparable as such.
"""

from dataclasses import replace
from statistics import fmean

from validation.evidence.paper import gains
from validation.evidence.protocol import Scale
from validation.evidence.runs import Runs
from validation.evidence.statistics import effect
from validation.evidence.translated import Translated
from validation.evidence.verdict import Evidence, Finding, Line, conjunction, finding

PAPER = gains("D9")
SPARSITIES = dict(zip(PAPER, (0.0, 0.8, 0.9), strict=True))
PAIRS = (("s2sam", "adam"), ("sam", "adam"), ("random", "adam"), ("s2sam", "sam"), ("s2sam", "random"))
CORPORA = {
    "catalogues": "English to German, gettext catalogues of a machine's programs",
    "parallel text": "a parallel text of the user's",
}
RULE = "gain of S2-SAM over Adam in test BLEU, above 0 dense, at 80 and at 90 %; shown: the weakest"


def comparisons(scale: Scale) -> list[Translated]:
    """Return the dense and the two sparse regimes."""
    return [Translated(replace(scale.base, sparsity=s)) for s in SPARSITIES.values()]


def judge(runs: Runs, scale: Scale) -> Finding:
    """Return the standing, from complete runs."""
    regimes, lines = comparisons(scale), []
    for one, other in PAIRS:
        pair, found = f"{one} over {other}", [c.gain(runs, scale, one, other) for c in regimes]
        for (where, s), values in zip(SPARSITIES.items(), found, strict=True):
            known = PAPER[where] if (one, other) == PAIRS[0] else None
            at = {"sparsity": s, "arm": one, "over": other}
            lines.append(Line(pair, f"{pair}, {where}", effect(values), at, reference=known))
        mean = effect(list(map(fmean, zip(*found, strict=True))))
        lines.append(Line(f"{pair}, mean", f"{pair}, mean of the three", mean))
    said, weakest = conjunction([x for x in lines if (x.at.get("arm"), x.at.get("over")) == PAIRS[0]], adjust=False)
    (row, *_) = regimes[0].rows(runs, scale, "adam")
    b = scale.base
    regime = (
        f"{CORPORA[row['family']]} (content {row['digest']}), {row['pairs']} pairs, {row['tokens']} tokens, "
        f"Transformer of width {b.width}, {b.epochs} epochs, {scale.seeds} seeds"
    )
    return finding("D9", RULE, weakest, regime, lines, unit="BLEU", decided=said)


D9 = Evidence("D9", "Transformers", comparisons, judge, of="text")
