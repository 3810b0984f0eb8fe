"""Requirements: named predicates on the constants of a claim, decided elementwise, refused with numbers."""

import inspect
import operator
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from theory.arithmetic import Number, library_of

__all__ = ["DomainError", "Formula", "Requirement", "limited", "nonnegative", "positive", "required"]

Relation = Literal["<=", "<", ">=", ">", "="]
Formula = Callable[..., Number]

_RELATIONS = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt, "=": operator.eq}


class DomainError(ValueError):
    """Constants outside the domain of a claim; the message names claim, requirement, limit and offending value."""


def required(function: Formula) -> tuple[str, ...]:
    """Names of the keyword arguments that `function` cannot do without."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD)


@dataclass(frozen=True)
class Requirement:
    """A named predicate on the constants: a value, a relation, a limit. Neither nan nor infinity ever meets it.

    Attributes:
        name: the constant, or the expression that `value` computes, as printed.
        relation: one of <=, <, >=, >, =.
        limit: function of the constants (as keywords; it must accept any others too).
        text: the limit as printed, such as "1/L".
        value: function of the constants; None for the constant called `name`.
    """

    name: str
    relation: Relation
    limit: Formula
    text: str
    value: Formula | None = None

    @property
    def constants(self) -> tuple[str, ...]:
        """Names of the constants needed to decide it."""
        return (required(self.value) if self.value else (self.name,)) + required(self.limit)

    def holds(self, **constants: Number) -> Any:
        """Whether the constants meet it: a bool, or a boolean array if one of them is an array (they broadcast)."""
        value = self._value(constants)
        met = _RELATIONS[self.relation](value, self.limit(**constants)) & (abs(value) < float("inf"))
        return met if hasattr(met, "reshape") else bool(met)

    def failure(self, **constants: Number) -> str:
        """The first offending element in words, "eta <= 1/L = 0.05, got 0.2". Call it only where `holds` fails."""
        met, value, limit = self.holds(**constants), self._value(constants), self.limit(**constants)
        if hasattr(met, "reshape"):
            index = met.reshape(-1).tolist().index(False)
            value, limit = (_element(array, met.shape, index) for array in (value, limit))
        if not abs(value) < float("inf"):
            return f"{self.name} finite, got {value}"
        shown, got = f"{float(limit):.6g}", f"{float(value):.6g}"
        if shown == got and value != limit:  # they differ in a later digit, which is what the reader must see
            shown, got = str(limit), str(value)
        limit_text = self.text if re.fullmatch(r"-?\d+", self.text) else f"{self.text} = {shown}"
        return f"{self.name} {self.relation} {limit_text}, got {got}"

    def _value(self, constants: dict[str, Number]) -> Number:
        return self.value(**constants) if self.value else constants[self.name]


def _element(array: Number, shape: Any, index: int) -> Number:
    """Element number `index` of an array broadcast to `shape`; a scalar unchanged."""
    if not hasattr(array, "reshape"):
        return array
    return sys.modules[library_of(array)].broadcast_to(array, shape).reshape(-1)[index]


def limited(name: str, relation: Relation, limit: int, value: Formula | None = None) -> Requirement:
    """The requirement that a constant, or an expression in the constants, compares so with a whole number."""
    return Requirement(name, relation, lambda **_: limit, str(limit), value)


def positive(*names: str) -> tuple[Requirement, ...]:
    """One requirement name > 0 for each name."""
    return tuple(limited(name, ">", 0) for name in names)


def nonnegative(*names: str) -> tuple[Requirement, ...]:
    """One requirement name >= 0 for each name."""
    return tuple(limited(name, ">=", 0) for name in names)
