"""A proof as a value: exact identities "right side - left side = non-negative multiples of assumptions + squares".

`Certificate.verify` decides each identity and each sign exactly. An identity without terms and squares is an equality;
so the step of a proof, and the sum or the induction that leads from the step to the bound, have one form.
"""

import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from theory.arithmetic import Number
from theory.certificates.algebra import Vector, dot, never_negative, vanishes

__all__ = ["EVERYWHERE", "Certificate", "CertificateError", "Identity", "Range", "Reason", "Square", "Term"]


class CertificateError(ValueError):
    """An identity that does not hold, or a multiplier that may be negative; the message says where."""


@dataclass(frozen=True)
class Range:
    """A set of constants, written in parameters >= 0, on which the signs of multipliers are decided.

    Attributes:
        text: the condition, "h <= 1".
        values: constants in terms of the parameters.
        parameters: the parameters in terms of the constants: where these are >= 0, the constants are in the range.
    """

    text: str
    values: tuple[tuple[Number, Number], ...] = ()
    parameters: tuple[tuple[Number, Number], ...] = ()

    def verify(self) -> None:
        """Refuse parameters that do not lead back to the constants: CertificateError."""
        for constant, value in self.values:
            if not vanishes(value.subs(dict(self.parameters)) - constant):
                raise CertificateError(f"range {self.text!r}: the parameters do not give {constant} back")


EVERYWHERE = Range("")


@dataclass(frozen=True)
class Term:
    """A multiple of an assumption: multiplier >= 0 on the range, slack >= 0 because of `why`."""

    name: str
    multiplier: Number
    slack: Number
    why: str


@dataclass(frozen=True)
class Square:
    """A multiple of a square: of the norm of a vector, or of a number."""

    coefficient: Number
    root: Vector | Number

    @property
    def value(self) -> Number:
        """The square without its coefficient."""
        return dot(self.root, self.root) if isinstance(self.root, Vector) else self.root**2


@dataclass(frozen=True)
class Identity:
    """difference = sum of terms + sum of squares, hence difference >= 0 on the range.

    Attributes:
        name: what it proves, "one step".
        difference: right side minus left side of an upper bound, left minus right of a lower one.
        terms: multiples of assumptions. squares: multiples of squares.
        range: the constants for which the multipliers are >= 0.
        where: abbreviations, symbols and what they stand for; one may use those after it. A third entry says in words
            what is too long to print.
    """

    name: str
    difference: Number
    terms: tuple[Term, ...] = ()
    squares: tuple[Square, ...] = ()
    range: Range = EVERYWHERE
    where: tuple[tuple[Any, ...], ...] = ()

    def plain(self, expression: Number) -> Number:
        """The expression without abbreviations."""
        import sympy

        expression = sympy.sympify(expression)
        for symbol, meaning, *_ in self.where:
            expression = expression.xreplace({symbol: sympy.sympify(meaning)})
        return expression

    def used(self) -> list[tuple[Any, ...]]:
        """The abbreviations that occur in the identity, or in the meaning of one that does."""
        parts = [self.difference, *(x for t in self.terms for x in (t.multiplier, t.slack))]
        parts += [x for s in self.squares for x in (s.coefficient, s.value)]
        symbols = {x for part in parts for x in getattr(part, "free_symbols", ())}
        found = []
        for symbol, meaning, *words in self.where:
            if symbol in symbols:
                found.append((symbol, meaning, *words))
                symbols |= set() if words else getattr(meaning, "free_symbols", set())
        return found

    def verify(self) -> None:
        """Refuse a wrong identity or sign: CertificateError."""
        total = sum(t.multiplier * t.slack for t in self.terms) + sum(s.coefficient * s.value for s in self.squares)
        if not vanishes(self.plain(self.difference - total)):
            raise CertificateError(f"{self.name}: the two sides differ")
        self.range.verify()
        weights = [(t.name, t.multiplier) for t in self.terms]
        weights += [(f"the square of {_text(s.root)}", s.coefficient) for s in self.squares]
        # a slack without variables is a number: no hypothesis makes it positive, it is or it is not
        weights += [(t.name, t.slack) for t in self.terms if not getattr(t.slack, "free_symbols", True)]
        for name, weight in weights:
            if not never_negative(self.plain(weight), dict(self.range.values)):
                raise CertificateError(f"{self.name}: {_text(weight)}, the weight of {name}, may be negative")


@dataclass(frozen=True)
class Certificate:
    """The algebraic core of a claim, all of it: the identities from the assumptions to the bound.

    Attributes:
        label: of the claim. identities: in the order of the proof, the step first, then what leads to the bound.
    """

    label: str
    identities: tuple[Identity, ...]

    @property
    def assumptions(self) -> dict[str, str]:
        """Names of the assumptions used and why each slack is >= 0."""
        return {t.name: t.why for i in self.identities for t in i.terms}

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of all symbols: constants, function values, norms and inner products."""
        found = {s.name for i in self.identities for s in getattr(i.plain(i.difference), "free_symbols", ())}
        return tuple(sorted(found))

    def verify(self) -> "Certificate":
        """Return the certificate itself if every identity and every sign holds exactly; else CertificateError."""
        for identity in self.identities:
            try:
                identity.verify()
            except CertificateError as error:
                raise CertificateError(f"{self.label}, {error}") from None
        return self

    def formula(self, *, latex: bool = False) -> str:
        """The certificate in print: plain text in lines of 110, or lines of LaTeX for math mode.

        An identity, its abbreviations and its assumptions, one identity after another.
        """
        lines = dict.fromkeys(line for i in self.identities for line in _lines(i, latex))
        return "\n".join(lines if latex else (_wrapped(line) for line in lines))


@dataclass(frozen=True)
class Reason:
    """Why a claim has no certificate: what it says is not an inequality of Gram variables."""

    label: str
    text: str


def _wrapped(line: str) -> str:
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(line.strip(), 110, initial_indent=indent, subsequent_indent=" " * 8, break_long_words=False,
                         break_on_hyphens=False)


def _lines(identity: Identity, latex: bool) -> Iterator[str]:
    """One identity in print, then its abbreviations and its assumptions."""
    show, words = (_latex, _words) if latex else (_text, str)
    times, equals, least = (r"\,\cdot\,", r"\;=\;", r"\ge") if latex else (" * ", " = ", ">=")
    weighed = [(t.multiplier, f"[{words(t.name)}]") for t in identity.terms]
    weighed += [(s.coefficient, _squared(s.root, show, latex)) for s in identity.squares]
    right = " + ".join(what if by == 1 else f"{_bracketed(_factored(by), show)}{times}{what}" for by, what in weighed)
    tail = f"   ({words(identity.range.text)})" if identity.range.text else ""
    yield f"{words(identity.name + ':')} {show(identity.difference)}{equals}{right or '0'}{tail}"
    for symbol, meaning, *told in identity.used():
        yield f"    {show(symbol)}{equals}{words(told[0]) if told else show(meaning)}"
    for t in identity.terms:
        yield f"    [{words(t.name)}] = {show(t.slack)} {least} 0, {words(t.why)}"


def _squared(root: Vector | Number, show: Callable[[Vector | Number], str], latex: bool) -> str:
    left, right = (r"\|" if latex else "||",) * 2 if isinstance(root, Vector) else "()"
    return f"{left}{show(root)}{right}^2"


def _bracketed(weight: Number, show: Callable[[Vector | Number], str]) -> str:
    return show(weight) if getattr(weight, "is_Atom", True) and not str(weight).startswith("-") else f"({show(weight)})"


def _factored(weight: Number) -> Number:
    import sympy

    return sympy.factor(weight)


def _expression(value: Vector | Number) -> Number:
    """A vector as the linear form that it is, its names turned into symbols, for printing only."""
    import sympy

    if isinstance(value, Vector):
        return sum(sympy.factor(c) * sympy.Symbol(name) for name, c in value.parts)
    return sympy.sympify(value)


def _text(value: Vector | Number) -> str:
    return str(_expression(value)).replace("**", "^")


def _latex(value: Vector | Number) -> str:
    import sympy

    expression = _expression(value)
    names = {s: _symbol(s.name) for s in expression.free_symbols}
    return str(sympy.latex(expression, symbol_names=names))


def _words(text: str) -> str:
    """Words within a formula."""
    return r"\text{" + re.sub(r"[_^#&%]", lambda m: rf"\{m[0]}" + "{}" * (m[0] == "^"), text) + "}"


def _symbol(name: str) -> str:
    """LaTeX of a symbol's name: <a,b> and ||a|| as inner product and norm, primes and Greek letters as usual."""
    if pair := re.fullmatch(r"<(.*),(.*)>", name):
        return rf"\langle {_symbol(pair[1])}, {_symbol(pair[2])}\rangle"
    if norm := re.fullmatch(r"\|\|(.*)\|\|", name):
        return rf"\|{_symbol(norm[1])}\|"
    stem, primes = name.rstrip("'"), "'" * (len(name) - len(name.rstrip("'")))
    if square := re.fullmatch(r"(sigma|P|R)2(_.*)?", stem):  # the square of a letter, which may have an index
        return rf"{_symbol(square[1] + (square[2] or ''))}^2{primes}"
    greek = re.sub(r"^(eta|rho|sigma|mu|tau|beta|Delta)(?=_|\d|$)", r"\\\1", stem)
    return re.sub(r"(?<=[a-zA-Z])(\d+)$|_(\w+)$", lambda m: f"_{{{m[1] or m[2]}}}", greek) + primes
