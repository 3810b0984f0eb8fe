"""What attains a bound: a function, a start and perturbations as a value that runs in exact arithmetic.

The ratio of measured to bound is exactly 1 in rational numbers; where a root is needed, decimal numbers of 60 digits
take their place. `Instance.own` tells whether the perturbations are those that S2-SAM (and SAM) would take themselves,
or only admissible ones: then the bound is attained over all perturbations of its hypotheses, and S2-SAM's need not.
"""

import decimal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from theory.arithmetic import Number
from theory.claims import CLAIMS

__all__ = ["INSTANCES", "Instance", "attained"]

Run = Callable[..., tuple[Number, dict[str, Any]]]
DIGITS = 60  # of decimal numbers; a run rounds some 1,000 times, so 50 digits of the ratio are right


@dataclass(frozen=True)
class Instance:
    """One way to attain the bound of a claim.

    Attributes:
        claim: label. text: function, start and perturbations in words.
        own: whether the perturbations are S2-SAM's and SAM's own.
        run: from the constants of a point to the measured left side and the constants of the claim.
        points: the constants at which it is run.
        approached: "" if the ratio is 1; else the bound of 1 - ratio at a point, by which it tends to 1, in words.
        gap: that bound, a function of the constants of a point.
    """

    claim: str
    text: str
    own: bool
    run: Run
    points: tuple[dict[str, Any], ...]
    approached: str = ""
    gap: Callable[..., Number] | None = None

    def sides(self, **point: Any) -> tuple[Number, Number]:
        """The measured left side and the bound at one point, both exact or both of 60 digits."""
        with decimal.localcontext(decimal.Context(prec=DIGITS)):
            measured, constants = self.run(**point)
            return measured, CLAIMS[self.claim](**constants)

    def verify(self) -> None:
        """Refuse an instance whose ratio is not 1, or not as near as it should be: ArithmeticError."""
        for point in self.points:
            measured, bound = self.sides(**point)
            with decimal.localcontext(decimal.Context(prec=DIGITS)):
                ratio = measured / bound
                if self.gap is not None:
                    good = 0 <= 1 - ratio <= self.gap(**point)
                elif isinstance(ratio, decimal.Decimal):
                    good = abs(ratio - 1) <= decimal.Decimal(10) ** -50
                else:
                    good = ratio == 1
            if not good:
                raise ArithmeticError(f"{self.claim}: measured/bound must be 1, got {ratio} at {point}")

    def rows(self) -> Iterator[dict[str, Any]]:
        """One flat dictionary of JSON values for each point."""
        for point in self.points:
            measured, bound = self.sides(**point)
            yield {
                "claim": self.claim, "text": self.text, "own": self.own, "approached": self.approached,
                "at": {k: v if isinstance(v, int) else float(v) for k, v in point.items()},
                "measured": float(measured), "bound": float(bound), "ratio": float(measured / bound),
                "arithmetic": "decimal" if isinstance(measured, decimal.Decimal) else "rational",
            }


INSTANCES: list[Instance] = []
"""All instances, in the order of their claims."""


def _points(**values: tuple[Any, ...]) -> tuple[dict[str, Any], ...]:
    points: list[dict[str, Any]] = [{}]
    for name, options in values.items():
        points = [{**point, name: option} for point in points for option in options]
    return tuple(points)


def attained(claim: str, text: str, *, own: bool, approached: str = "", gap: Callable[..., Number] | None = None,
             **values: tuple[Any, ...]) -> Callable[[Run], Run]:
    """Register the decorated run as an `Instance`, at all combinations of the values."""

    def decorate(run: Run) -> Run:
        INSTANCES.append(Instance(claim, text, own, run, _points(**values), approached, gap))
        return run

    return decorate
