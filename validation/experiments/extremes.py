"""Extremes: for each claim and rule the run that comes closest to the bound, as the adversary finds it.

Protocol. `validation.adversary.search` with a budget of random restarts, a climb and a polish. The row holds the
largest ratio with its constants, the code that repeats the run, and over T (or the step t, for claims about steps) the
median ratio of the random runs, `median_y`, and the largest ratio of all runs, `y`: what is typical beside what an
adversary reaches, to stand below the exact worst case and the bound. The ratio of an equality is its error in rounding
allowances.
"""

from collections.abc import Iterator

from validation.adversary import search
from validation.adversary.hunt import SHORT
from validation.cells import Row, experiment
from validation.experiments.sweep import outcome_row
from validation.judge import Verdict
from validation.measures import MEASURES

SLICE = 0.5  # the step size h at which searches stand beside exact worst cases
RULES = ("s2sam", "sam", "sam-same-batch", "s2sam-turned", "pair", "masked")  # SGD is the first two at rho = 0
LONG = {"B5.sam": 200}  # steps, where a limit must be reached; elsewhere the default of `search`


def questions(labels: list[str]) -> list[tuple[str, str]]:
    """Return every (claim, rule) that is worth a search: of the rules that a claim's measure speaks of."""
    return [(x, rule) for x in labels if x in MEASURES for rule in RULES if rule in MEASURES[x].rules]


@experiment
def extreme(*, label: str, rule: str, budget: int, seed: int, held: dict[str, float] | None = None) -> Iterator[Row]:
    """Yield one row: the end of the search, over all constants or with those in `held` (h, rho) fixed."""
    found = search(label, rule, budget=budget, seed=seed, fixed=held, count=LONG.get(label, SHORT))
    measure = found.question.measure
    yield outcome_row(
        found.outcome,
        family=found.trial.space.name,
        seed=seed,
        series="extreme",
        n=found.compared,
        counts={str(found.verdict): found.compared},
        median=found.typical,
        runs=found.runs,
        steps=found.compared,
        restarts=budget,
        confirmed=found.verdict is Verdict.VIOLATED,  # in 50 digits: the search accuses nobody without them
        held=held or {},
        x=list(found.by_T),
        y=[top for _, top in found.by_T.values()],
        median_y=[middle for middle, _ in found.by_T.values()],
        program=found.code(),
        exact_mean=not measure.per_step and found.trial.problem().samples > 1,
    )
