"""Claims: statements as values, with an executable domain, and the registry that holds them.

A bound is a plain function that checks nothing, so that it can be evaluated on symbols; its `Claim` checks the domain,
elementwise, on numbers, and refuses constants for which the statement says nothing.

>>> from theory import CLAIMS
>>> CLAIMS["A3"](L=10, rho=0.05)
1.0
>>> CLAIMS["B1"](eta=0.2, L=20, gap=1, T=100, P2=0, sigma2=0)
Traceback (most recent call last):
    ...
theory.requirements.DomainError: B1 needs eta <= 1/L = 0.05, got 0.2
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from theory.arithmetic import Number, floating, quiet
from theory.requirements import DomainError, Formula, Requirement, required

__all__ = ["CLAIMS", "Claim", "DomainError", "Reference", "Requirement", "claim", "register", "select"]

Kind = Literal["upper", "lower", "equality", "finding"]
Origin = Literal["paper", "derived", "conjecture"]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Numbers that a paper reports, to stand beside ours and never among them.

    Attributes:
        source: paper, table or figure, setting.
        quantity: what the numbers are, with their unit.
        columns: what distinguishes the numbers of a row.
        rows: name -> one number for each column; None where the paper gives none.
    """

    source: str
    quantity: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float | None, ...]]

    def __post_init__(self) -> None:
        """Refuse a row of another length than the columns: ValueError."""
        for name, numbers in self.rows.items():
            if len(numbers) != len(self.columns):
                raise ValueError(f"{name!r} must have {len(self.columns)} numbers, one a column, got {len(numbers)}")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement: what is bounded, by what, under which conditions, who says so and why it is true.

    Attributes:
        label: "B1", or "B1.isotropic" for a part of group B1.
        title: a few words.
        statement: hypotheses and inequality in plain text, letters of `theory.notation`.
        origin: "paper" if Ji et al. (NeurIPS 2024) assert it, "derived" if the statement is this project's and proved,
            "conjecture" if it is this project's and not proved: runs can refute it and never support it.
        source: whose inequality it is.
        kind: "upper" (measured <= bound), "lower" (measured >= bound), "equality", or "finding" (what an experiment
            shows; it has no bound).
        measures: the left side, in one line.
        requires: the domain.
        bound: the right side, a function of constants given as keywords, for any arithmetic; it checks nothing. None
            for a finding.
        trivial: what is known without the claim: a bound no better than this says nothing. It takes the constants of
            the bound as keywords and ignores others; None where nothing is known.
        condition: the hypothesis that the constants cannot show, for "supported if ..."; "" if there is none.
        proof: the proof in one line; "" for a finding.
        expects: how the standing begins that the registry expects, if it is not "SUPPORTED", which is always welcome;
            "" of a finding, of which nothing is expected.
        untested: why a finding is not tested here, as long as no experiment stands behind it.
        references: numbers from the paper.
    """

    label: str
    title: str
    statement: str
    origin: Origin
    source: str
    kind: Kind
    measures: str
    requires: tuple[Requirement, ...]
    bound: Formula | None
    trivial: Formula | None = None
    condition: str = ""
    proof: str = ""
    expects: str = "SUPPORTED"
    untested: str = ""
    references: tuple[Reference, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an unknown kind or origin, an empty text, and a finding with a bound: ValueError."""
        if self.kind not in get_args(Kind) or self.origin not in get_args(Origin):
            raise ValueError(
                f"{self.label}: kind must be one of {get_args(Kind)} and origin one of {get_args(Origin)}, "
                f"got {self.kind!r} and {self.origin!r}"
            )
        if (self.kind == "finding") != (self.bound is None):
            raise ValueError(f"{self.label}: a finding has no bound and every other claim has one, got {self.kind!r}")
        own = "untested" if self.bound is None else "proof"
        for field in ("label", "title", "statement", "source", "measures", own):
            if not getattr(self, field).strip():
                raise ValueError(f"{self.label or 'claim'}: {field} must not be empty, write it down")

    @property
    def group(self) -> str:
        """The statement that this claim is a part of: "B1" for "B1.isotropic"."""
        return self.label.partition(".")[0]

    @property
    def constants(self) -> tuple[str, ...]:
        """Names of the constants that a call needs: those of the bound, then any that only the domain needs."""
        own = required(self.bound) if self.bound else ()
        return tuple(dict.fromkeys(own + tuple(name for r in self.requires for name in r.constants)))

    def domain(self, **constants: Number) -> Any:
        """Whether the claim says something about these constants, elementwise.

        Returns a bool, or a boolean array of the broadcast shape; plain False as soon as constants that are not arrays
        break a requirement. Raises TypeError if a constant is missing.
        """
        constants = self._complete(constants)
        met: Any = True
        with quiet():
            for requirement in self.requires:
                met = met & requirement.holds(**constants)
                if met is False:  # later requirements may divide by what this one has just refused
                    break
        return met

    def __call__(self, **constants: Number) -> Number:
        """The bound at these constants, of which it is passed those it takes.

        Raises TypeError if a constant is missing, and DomainError, naming the first offending element, off the domain.
        """
        constants = self._complete(constants)
        with quiet():
            for requirement in self.requires:
                met = requirement.holds(**constants)
                if not (met.all() if hasattr(met, "all") else met):
                    raise DomainError(f"{self.label} needs {requirement.failure(**constants)}")
        return self.evaluate(**constants)

    def evaluate(self, **constants: Number) -> Number:
        """The bound without the domain check: for symbols, and for arrays of which `domain` selects elements later."""
        constants = self._complete(constants)
        assert self.bound is not None
        return self.bound(**{name: constants[name] for name in inspect.signature(self.bound).parameters})

    def _complete(self, constants: dict[str, Number]) -> dict[str, Number]:
        """The constants, integer tensors as float64; TypeError if one is missing, or if there is no bound."""
        if self.bound is None:
            raise TypeError(f"{self.label} is a finding and has no bound; look at its references and its rows")
        missing = [name for name in self.constants if name not in constants]
        if missing:
            raise TypeError(f"{self.label} needs the constants {', '.join(self.constants)}; add {', '.join(missing)}")
        return {name: floating(value) for name, value in constants.items()}


CLAIMS: dict[str, Claim] = {}
"""Every registered claim by its label: A1, A2, ..., B1, B1', ... and, within a group, in the order of registration."""


def _rank(label: str) -> tuple[Any, ...]:
    """Place of a label's group: letter, number, primes; labels of another form come after these."""
    parts = re.fullmatch(r"([A-Z])(\d+)('*)", label.partition(".")[0])
    return (0, parts[1], int(parts[2]), len(parts[3])) if parts else (1,)


def register(claim: Claim) -> Claim:
    """Add a claim to `CLAIMS`, at the place of its label whatever the order of imports, and return it.

    Raises ValueError if the label is taken.
    """
    if claim.label in CLAIMS:
        raise ValueError(f"claim label must be new, got {claim.label!r}, taken by {CLAIMS[claim.label].title!r}")
    ordered = sorted([*CLAIMS.values(), claim], key=lambda c: _rank(c.label))
    CLAIMS.clear()
    CLAIMS.update((c.label, c) for c in ordered)
    return claim


def select(labels: str) -> tuple[Claim, ...]:
    """The claims that a comma-separated list of labels and groups names, each once, in the order of `CLAIMS`.

    A name selects the claim of that label and all of the group of that name. Raises ValueError for an unknown name.

    >>> from theory import select
    >>> [c.label for c in select("B6, A3.step")]
    ['A3.step', 'B6', 'B6.distance']
    """
    names = {name.strip() for name in labels.split(",")}
    unknown = sorted(names - CLAIMS.keys() - {c.group for c in CLAIMS.values()})
    if unknown:
        known = ", ".join(CLAIMS)
        raise ValueError(f"claims must be named by label or group, got {', '.join(unknown)!r}; known: {known}")
    return tuple(c for c in CLAIMS.values() if c.label in names or c.group in names)


def _same(one: Formula | None, other: Formula) -> bool:
    """Whether two bounds are one function, perhaps executed once more."""
    return one is not None and (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


def _paragraph(bound: Formula, head: str) -> str:
    """The first docstring paragraph of `bound` that begins with `head`, on one line and without the head."""
    paragraphs = inspect.cleandoc(bound.__doc__ or "").split("\n\n")
    found = next((p for p in paragraphs if p.startswith(head)), "")
    return " ".join(found.removeprefix(head).split())


def claim(
    label: str,
    *,
    title: str,
    kind: Kind,
    origin: Origin,
    measures: str,
    requires: tuple[Requirement, ...] = (),
    trivial: Formula | None = None,
    condition: str = "",
    expects: str = "SUPPORTED",
    statement: str | None = None,
    source: str | None = None,
    proof: str | None = None,
) -> Callable[[Formula], Formula]:
    """Register the decorated bound as a `Claim`, whose attributes the arguments are, and leave the function plain.

    Statement, source and proof are read from its docstring, where a reader of the formula needs them: the first
    paragraph and those headed "Source:" and "Proof:". A function may carry two claims; the second then states its own.
    """

    def decorate(bound: Formula) -> Formula:
        texts: dict[str, Any] = {
            "statement": statement or _paragraph(bound, ""),
            "source": source or _paragraph(bound, "Source:"),
            "proof": proof or _paragraph(bound, "Proof:"),
        }
        known = CLAIMS.get(label)
        if known and _same(known.bound, bound):
            del CLAIMS[label]  # its module is executed once more, as importlib.reload and doctest collectors do
        register(
            Claim(
                label=label, title=title, kind=kind, origin=origin, measures=measures, requires=requires, bound=bound,
                trivial=trivial, condition=condition, expects=expects, **texts,
            )
        )
        return bound

    return decorate
