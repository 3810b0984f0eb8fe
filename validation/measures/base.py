"""The left side of every claim, and the constants it was measured with: the bridge from a run to a statement.

A step measure reads one Step, a run measure reads the records of a whole Run. Both return Measured values or None where
the claim says nothing (the first step, say). The same functions serve batches in float64 and one instance in 50 digits.
`scale` is the size of the numbers whose rounding the comparison inherits (see `judge.rounding_slack`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from theory import CLAIMS
from theory.arithmetic import maximum
from validation.trajectories import Probe

ROOT_UNIT = 2.0**-26  # a root below this times the size of its argument's terms is lost in their rounding


class Measured(NamedTuple):
    """Left side of a claim, the constants of its right side, and the magnitude whose rounding error it carries.

    `speaks` is False for an instance of which the claim says nothing at this T: a limit that is not reached yet, say.
    """

    value: Any
    constants: Mapping[str, Any]
    scale: Any
    speaks: Any = True


@dataclass(frozen=True)
class Measure:
    """How to measure one claim: on which rules and problems, per step or per run, from which probes."""

    rules: tuple[str, ...]
    evaluate: Callable[[Any], Measured | None]
    applies: Callable[[Any], bool] = lambda problem: True
    probes: Mapping[str, Probe] = field(default_factory=dict)  # empty: measured at every step
    momentum: bool = False  # whether the claim speaks of runs with a buffer, and of no others
    schedule: str = ""  # of the steps and radii that the claim speaks of, a name in streams.DECAY; "": constant ones
    certificate: Callable[[Measured, Any], Any] = lambda measured, problem: 0  # what is uncertain in a known minimum

    @property
    def per_step(self) -> bool:
        """Whether the claim speaks of single steps."""
        return not self.probes


MEASURES: dict[str, Measure] = {}
ANY = ("sgd", "sam", "s2sam")


def measure(label: str, rules: tuple[str, ...] = ANY, **options: Any) -> Callable:
    """Register the decorated function as the measure of the claim with this label."""
    if label not in CLAIMS:
        raise ValueError(f"label must name a registered claim, got {label!r}")

    def decorate(function: Callable) -> Callable:
        MEASURES[label] = Measure(rules=rules, evaluate=function, **options)
        return function

    return decorate


def gain_error(h: Any, m: Any) -> Any:
    """Return the relative error, in units of that of h and m, of K = (h + m - 2hm)/(2 - h - m), of A4.strong and B4'.

    Near h = m = 1 both parts of the fraction are differences of numbers of size 1, and h = eta L is itself rounded.
    """
    top, rest = abs(h + m - 2 * h * m), abs(2 - h - m)
    return 4 / (top + (top == 0)) + 4 / (rest + (rest == 0))


def mean(values: Any) -> Any:
    """Return the mean over time, the first axis."""
    return sum(values) / len(values)


def largest(values: Any) -> Any:
    """Return the maximum over time, the first axis."""
    top = values[0]
    for value in values[1:]:
        top = maximum(top, value)
    return top
