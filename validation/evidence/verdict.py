"""What a claim gets for its rows: one effect that decides it, the lines of its table, and what would decide it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from validation.cells import Row
from validation.evidence.protocol import Comparison, Scale
from validation.evidence.runs import Runs
from validation.evidence.statistics import LEVEL, Effect, holm, seeds_to_decide
from validation.evidence.tuning import Choice
from validation.standing import INCONCLUSIVE, REFUTED, SUPPORTED

POWERS = (0.8, 0.9)
POINTS = "percentage points"


@dataclass(frozen=True)
class Line:
    """One comparison of a table.

    Attributes:
        family: comparisons that Holm adjusts together. name: which comparison. effect: with interval.
        at: where it was measured (sparsity, ...), for figures. adjusted: its p value by Holm, in its family.
        reference: the paper's number beside it, None where it has none.
    """

    family: str
    name: str
    effect: Effect
    at: Row = field(default_factory=dict)
    adjusted: float = 1.0
    reference: float | None = None


@dataclass(frozen=True)
class Finding:
    """The standing of a claim at the scale tested.

    Attributes:
        label: of the claim. verdict: SUPPORTED, REFUTED or INCONCLUSIVE. rule: what decides, in words.
        effect: the one that decides. unit: of the effect. regime: data, network, length and seeds, in words. lines: the
            whole table.
        needed: power -> seeds that would decide, were the truth what was found; None where no number can be named.
        command: that measures it again. chosen: at what settings each arm was judged.
    """

    label: str
    verdict: str
    rule: str
    effect: Effect
    unit: str
    regime: str
    lines: tuple[Line, ...]
    needed: dict[float, int | None]
    command: str = ""
    chosen: tuple[Choice, ...] = ()

    def __str__(self) -> str:
        return f"{self.label} {self.verdict}: {self.told}"

    @property
    def told(self) -> str:
        """The effect and where it was measured; and what would decide, where nothing is and a number is known."""
        text = f"{self.effect} {self.unit}; {self.regime}"
        seeds = ", ".join(f"{n} seeds at {100 * p:.0f} %" for p, n in self.needed.items() if n)
        return f"{text}; would decide: {seeds}" if seeds and self.verdict == INCONCLUSIVE else text


@dataclass(frozen=True)
class Evidence:
    """An experiment on one claim.

    Attributes:
        label: of the claim. title: a few words.
        comparisons: the regimes and arms to run at a scale.
        judge: the standing, from complete runs; KeyError where one is missing.
        of: what its networks learn, "images" or "text": each has a scale of its own, and text is run when asked for.
    """

    label: str
    title: str
    comparisons: Callable[[Scale], Sequence[Comparison]]
    judge: Callable[[Runs, Scale], Finding]
    of: str = "images"


def verdict(effect: Effect, threshold: float = 0.0) -> str:
    """Return what an effect says of the claim that it is above a threshold."""
    return SUPPORTED if effect.low > threshold else REFUTED if effect.high < threshold else INCONCLUSIVE


def conjunction(lines: Sequence[Line], threshold: float = 0.0, *, adjust: bool = True) -> tuple[str, Effect]:
    """Return the verdict on a claim that all these effects are above a threshold, and the weakest of them.

    Args:
        lines: one effect each.
        threshold: 0 where `adjust`.
        adjust: whether "every one, whichever it is" is meant: each by Holm at 5 %; else each by its own interval, which
            is enough for the conjunction (intersection-union), though not for a refutation found among many.
    """
    adjusted = holm([line.effect.p for line in lines])
    said = [
        verdict(line.effect, threshold) if not adjust or p <= 1 - LEVEL else INCONCLUSIVE
        for line, p in zip(lines, adjusted, strict=True)
    ]
    whole = REFUTED if REFUTED in said else INCONCLUSIVE if INCONCLUSIVE in said else SUPPORTED
    end = "high" if whole == REFUTED else "low"
    return whole, min((line.effect for line in lines), key=lambda found: getattr(found, end))


def finding(
    label: str,
    rule: str,
    effect: Effect,
    scale: Scale | str,
    lines: Sequence[Line],
    *,
    unit: str = POINTS,
    threshold: float = 0.0,
    decided: str | None = None,
) -> Finding:
    """Return the finding, its lines adjusted by Holm in their families.

    Args:
        label: of the claim.
        rule: what decides, in words.
        effect: what decides, against the threshold; where a claim is decided by several, the one of the weakest.
        scale: of the runs, or the regime in words.
        lines: of the table.
        unit: of the effect.
        threshold: that the claim says the effect is above.
        decided: the verdict, where more than this effect decides.
    """
    needed = {p: seeds_to_decide(effect, power_=p, away_from=threshold) for p in POWERS}
    said = decided or verdict(effect, threshold)
    regime = scale if isinstance(scale, str) else _words(scale)
    return Finding(label, said, rule, effect, unit, regime, tuple(_adjusted(lines)), needed)


def _words(scale: Scale) -> str:
    b = scale.base
    images = f" ({b.train_size:,} images)" if b.train_size else ""
    return f"{b.dataset}{images}, {b.model} network, {b.epochs} epochs, {scale.seeds} seeds"


def _adjusted(lines: Sequence[Line]) -> list[Line]:
    p: dict[int, float] = {}
    for family in {line.family for line in lines}:
        mine = [i for i, line in enumerate(lines) if line.family == family]
        p |= dict(zip(mine, holm([lines[i].effect.p for i in mine]), strict=True))
    return [Line(line.family, line.name, line.effect, line.at, p[i], line.reference) for i, line in enumerate(lines)]
