"""The protocol of `validation.evidence.protocol` for translation: the arms and trials there are, and BLEU instead.

Arms are Adam, and around it S2-SAM, SAM and S2-SAM along random directions. Each gets five trials: Adam the learning
rates 0.002 to 0.008 in steps of a factor sqrt(2), the others three of them, in steps of 2, at rho 0.05, then rho 0.02
and 0.1 at the best of the three; and more beyond the end where the best lies, as there. (Before, ranges ended where
they end here, and eleven of the twelve arms of D9 chose the largest rate.) Validation BLEU chooses, test BLEU is
judged. Pairs of sentences are known by their content hash, wherever they lie; validation and test parts are a twentieth
of the sentences each.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from validation.cells import Row
from validation.evidence.protocol import TUNING, Comparison, Scale
from validation.evidence.runs import MEASURED, Runs
from validation.evidence.tuning import Trials
from validation.translation.runs import Setting, load

ARMS = ("adam", "s2sam", "sam", "random")
RATES = tuple({"lr": lr} for lr in (4e-3, 2e-3, 8e-3))
TRIALS = {
    "adam": Trials(RATES + tuple({"lr": lr} for lr in (2.83e-3, 5.66e-3)), step=math.sqrt(2), steps=2),
    **dict.fromkeys(ARMS[1:], Trials(RATES, tuple({"rho": rho} for rho in (0.02, 0.1)), step=2)),
}
BASE = Setting(lr=4e-3, epochs=6, batch=32, limit=4000, width=64, vocabulary=2000)

MEASURED["translation"] = Setting


@dataclass(frozen=True)
class Translated(Comparison):
    """One regime of a Transformer and the arms to be compared in it, tuned in just this regime."""

    arms: tuple[str, ...] = ARMS
    measure: str = "translation"
    trained: ClassVar[str] = "translation"
    chooses: ClassVar[str] = "validation_bleu"

    @property
    def trials(self) -> Mapping[str, Trials]:
        """What each arm tries."""
        return TRIALS

    @property
    def where(self) -> str:
        """The regime in words."""
        return f"MEST (EM) at {100 * self.base.sparsity:.4g} %" if self.base.sparsity else "dense"

    def judged(self, row: Row) -> float:
        """Return what a row is judged by: BLEU on the test part, 0 to 100."""
        return row["bleu"]


def scale(seeds: int, **changed: Any) -> Scale:
    """Return the scale of a translation: a third of the seeds, at least one, for tuning.

    Args:
        seeds: judged.
        changed: fields of `Setting`. The digest is that of the sentences there are: rows of others are other runs.

    Raises:
        CorpusError: when the sentences cannot be had.
        ModuleNotFoundError: without the extra `translation`.
        ValueError: as `Setting`.
    """
    base = replace(BASE, **changed)
    data = load(base.source, base.target, base.vocabulary, base.limit)
    return Scale(replace(base, digest=data.corpus.digest), seeds, max(1, seeds // 3))


def seen(runs: Runs) -> Scale:
    """Return the scale of stored runs of translation.

    Raises:
        ValueError: when there is no run to judge.
    """
    settings = [s for s in runs.configs(Setting) if s.optimizer == "adam"]
    if not any(s.seed < TUNING for s in settings):
        raise ValueError("rows must hold a run by Adam to judge others against, got none; run: s2sam evidence")
    (sizes, _), *_ = Counter(map(_sizes, settings)).most_common(1)
    seeds = {s.seed for s in settings if _sizes(s) == sizes}
    judged = [seed for seed in seeds if seed < TUNING]
    return Scale(replace(BASE, **dict(sizes)), max(judged) + 1, len(seeds) - len(judged))


def _sizes(s: Setting) -> tuple[tuple[str, Any], ...]:
    """Return what runs of one scale have in common."""
    return tuple((name, getattr(s, name)) for name in ("epochs", "batch", "width", "vocabulary", "limit", "digest"))
