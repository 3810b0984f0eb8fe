"""How an arm is tuned: as many trials for every arm, in a range that goes on while what lies at its end is best.

A choice at the end of a range says that the range was too short, and an arm whose range was is not tuned. So no choice
rests at an end: the range goes on beyond it until something within is best.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from validation.cells import Row
from validation.evidence.runs import Runs

Trial = dict[str, Any]
Score = Callable[[Sequence[Trial]], list[float]]


class Trials(NamedTuple):
    """What an arm tries.

    Attributes:
        first: settings of the learning rate, each on its own. then: changes, each made to the best of the first. near:
            or factors, each of the best rate.
        step: factor from rate to rate beyond the ends of these, and to larger radii; None: the ranges end where they
            end. steps: as many at once.
    """

    first: tuple[Trial, ...]
    then: tuple[Trial, ...] = ()
    near: tuple[int | float, ...] = ()
    step: int | float | None = None
    steps: int = 1


@dataclass(frozen=True)
class Choice:
    """What an arm's trials chose in a regime.

    Attributes:
        regime: in words. arm: which. lr: learning rate. rho: radius, None where there is none. tried: settings.
    """

    regime: str
    arm: str
    lr: float
    rho: float | None
    tried: int


class Lacking(KeyError):
    """Runs are missing; `runs` are these, each an experiment and a configuration."""

    def __init__(self, runs: list[tuple[str, Any]]) -> None:
        super().__init__(f"{len(runs)} runs are missing")
        self.runs = runs


class Planned(Runs):
    """Rows there are and, in the place of those there are not, rows that win nothing.

    Args:
        runs: what there is.

    Attributes:
        lacking: what was asked for and is not there: an experiment and a configuration each.
    """

    def __init__(self, runs: Runs) -> None:
        super().__init__(())
        self.lacking: list[tuple[str, Any]] = []
        self._known = runs

    def measured(self, measure: str, config: Any) -> Row:
        """Return the row of an experiment on a configuration, or one that holds -inf whatever is looked for."""
        try:
            return self._known.measured(measure, config)
        except KeyError:
            self.lacking.append((measure, config))
            return defaultdict(lambda: -inf)


def measured(runs: Runs, measure: str, configs: Sequence[Any]) -> list[Row]:
    """Return the rows of an experiment on these configurations; Lacking when there are not all."""
    rows, lacking = [], []
    for config in configs:
        try:
            rows.append(runs.measured(measure, config))
        except KeyError:
            lacking.append((measure, config))
    if lacking:
        raise Lacking(lacking)
    return rows


def search(trials: Trials, score: Score) -> tuple[Trial, int]:
    """Return the best trial, the first listed of equals, and how many were tried: rates, then changes to their best.

    Args:
        trials: of an arm.
        score: of each of some trials; it may raise `Lacking`.

    >>> search(Trials(({"lr": 0.1}, {"lr": 0.2}, {"lr": 0.05})), lambda tried: [-abs(t["lr"] - 0.03) for t in tried])
    ({'lr': 0.05}, 3)
    >>> trials = Trials(({"lr": 0.1}, {"lr": 0.2}, {"lr": 0.05}), step=2)
    >>> search(trials, lambda tried: [-abs(t["lr"] - 0.03) for t in tried])
    ({'lr': 0.025}, 5)
    """
    best, rates = _settled(trials.first, "lr", trials, score)
    changes = (*trials.then, *(_times(best, "lr", factor) for factor in trials.near))
    best, more = _settled([best, *(best | change for change in changes)], "rho", trials, score)
    return best, rates + more - 1


def _times(trial: Trial, name: str, factor: int | float) -> Trial:
    """Return a setting times a factor, to three digits."""
    return {name: float(f"{trial[name] * factor:.3g}")}


def _settled(tried: Sequence[Trial], name: str, trials: Trials, score: Score) -> tuple[Trial, int]:
    """Return the best, once it is not at an end of the range; radii go on upwards alone: below them an arm is SGD."""
    tried = list(tried)
    while True:
        scores = score(tried)
        best = tried[scores.index(max(scores))]
        values = [trial[name] for trial in tried if name in trial]
        if not values or trials.step is None or best.get(name) not in (min(values), max(values)):
            return best, len(tried)
        factor = trials.step if best[name] == max(values) else 1 / trials.step
        if name == "rho" and factor < 1:
            return best, len(tried)
        tried += [best | _times(best, name, factor**k) for k in range(1, trials.steps + 1)]
