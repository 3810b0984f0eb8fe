"""Five rungs of evidence: how high each claim stands, read off stored rows, and why where it does not reach one.

1 proof: the algebraic core, an identity that SymPy decides from the very formula that is measured. 2 exact worst case:
semidefinite programs over all functions of the hypothesis, or an instance that attains the bound in exact arithmetic.
3 property: random problems whose constants are certified. 4 adversary: a search for the largest measured/bound. 5 real
run: real data, or training of a network. Each could fail where the others cannot: a reader who distrusts one sees what
the others say.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from theory import Claim

Row = dict[str, Any]
NAMES = ("proof", "exact worst case", "property", "adversary", "real run")
REAL = {"breast-cancer", "digits", "digits-cnn"}

_IDENTITY = "an equality on one family of functions: no run is better or worse than another, errors are rounding"
_FINDING = "what the paper shows by experiment; only real runs can speak"
_LINE = "it speaks of one function, L w^2/2"
_ENUMERATED = "expectations are finite sums there only while all sample paths can be enumerated"
MISSING = "not reached by these rows"
# Why a rung does not apply, by rung and label (or group, for all its parts).
APART: dict[tuple[int, str], str] = {
    (2, "B1.isotropic"): _IDENTITY,
    (2, "B3.isotropic"): _IDENTITY,
    (2, "B1''"): "the noise enters through a sum over samples that the program does not have",
    (2, "B2"): "a weighted sum of B1 over a schedule: its steps are B1's, attained there",
    (2, "B6"): "the triangle inequality once; its distance form is attained",
    (2, "B7"): "it says which samples y_t depends on, not how large something is",
    (2, "B8"): "two programs make the same step; there is nothing to maximise",
    (2, "B8.changing"): "a sum of B1's steps and one more term for each change of the mask",
    (2, "B10"): "it speaks of the limit of infinitely many steps",
    (2, "C1"): "the inequality is between distributions, and holds with a probability",
    (2, "C1'"): "the inequality is between distributions, and holds with a probability",
    (3, "C1"): "its examples must be drawn from the distribution it speaks of: it is run on real data",
    (3, "C1'"): "its examples must be drawn from the distribution it speaks of: it is run on real data",
    (4, "C1"): "it holds with a probability: a bad sample refutes nothing",
    (4, "C1'"): "it holds with a probability: a bad sample refutes nothing",
    (4, "B8"): "two programs make the same step: random ones are as hard as any",
    (4, "B8.changing"): "the masks change at random; a search over masks is not built",
    (4, "B10.conjecture"): "its runs are a search already, for limits that would refute it",
    (5, "B2.quarter"): "run on certified problems only; B2.anytime is its form for any step sizes",
    (5, "B2.half"): "run on certified problems only; B2.anytime is its form for any step sizes",
    (5, "B8"): "the two programs are compared on certified problems only",
    (5, "B8.changing"): "masks that change are run on certified problems only",
    (5, "B1.isotropic"): "real losses are not isotropic quadratics",
    (5, "B3.isotropic"): "real losses are not isotropic quadratics",
    (5, "B1''"): _ENUMERATED,
    (5, "B5"): _LINE,
    (5, "B7"): _ENUMERATED,
    (5, "B10"): "it speaks of quadratics with given curvatures",
    **{(number, f"D{k}"): _FINDING for number in (2, 3, 4) for k in range(1, 11)},
}


@dataclass(frozen=True)
class Rung:
    """One rung of one claim.

    Attributes:
        number: 1 to 5. reached: whether something stands there. text: what, or why nothing can. ratio: the largest
            measured/bound (of rung 2: worst case/bound), None where there is none.
    """

    number: int
    reached: bool
    text: str
    ratio: float | None = None

    @property
    def name(self) -> str:
        """What the rung is called."""
        return NAMES[self.number - 1]


def rungs(claim: Claim, rows: Sequence[Row]) -> tuple[Rung, ...]:
    """Return the five rungs of a claim, from its rows alone."""
    mine = [r for r in rows if r["claim"] == claim.label]
    trained = [r for r in mine if r.get("series") == "finding"]
    tested = [r for r in mine if "verdict" in r and r["verdict"] != "OUTSIDE_DOMAIN" and r not in trained]
    found = [r for r in tested if r.get("series") == "extreme"]
    real = [r for r in tested if r["family"] in REAL]
    others = [r for r in tested if r["family"] not in REAL and r.get("series") != "extreme"]
    kinds = (
        ("in rational arithmetic", any(r.get("arithmetic") == "rational" for r in others)),
        ("expectations over all sample paths", any(r.get("exact_mean") for r in others)),
        ("the shipped optimizer too", any(r["rule"] in ("S2SAM", "SAM") for r in tested)),
    )
    certified = "; ".join(["comparisons on problems with certified constants", *(name for name, ok in kinds if ok)])
    return (
        _proof(mine),
        _exact(claim, [r for r in mine if r.get("series") == "worst-case"]),
        _measured(3, claim, others, certified),
        _measured(4, claim, found, f"comparisons, {sum(r.get('runs', 0) for r in found):,} runs searched"),
        _trained(trained)
        if trained
        else _measured(5, claim, real, f"comparisons on {', '.join(sorted({r['family'] for r in real}))}"),
    )


def programs(rows: Iterable[Row]) -> list[Row]:
    """Return the rows of semidefinite programs, less those that an instance contradicts: residuals are no proof."""
    return [r for r in rows if r.get("series") == "worst-case" and r["kind"] != "instance" and not r["contradicted"]]


def marks(ladder: Iterable[Rung]) -> str:
    """Return the evidence column: the numbers of the rungs reached, a dash for each other."""
    return " ".join(str(r.number) if r.reached else "-" for r in ladder)


def _why(number: int, claim: Claim) -> str:
    reasons = (APART.get((number, name)) for name in (claim.label, claim.group))
    return next((text for text in reasons if text), MISSING)


def _proof(rows: Sequence[Row]) -> Rung:
    row = next((r for r in rows if r.get("series") == "certificate"), None)
    if row is None:
        return Rung(1, False, MISSING)
    if not row["proved"]:
        return Rung(1, False, row["reason"])
    count = row["identities"]
    return Rung(1, True, f"{count} {'identity' if count == 1 else 'identities'}, decided in exact arithmetic")


def _exact(claim: Claim, rows: Sequence[Row]) -> Rung:
    solved = programs(rows)
    instances = [r for r in rows if r["kind"] == "instance"]
    if not solved + instances:
        return Rung(2, False, _why(2, claim))
    parts = []
    if solved:
        least = min(float(r["ratio"]) for r in solved)
        doubt = max(float(r["doubt"]) for r in solved)
        steps = max(r["at"]["T"] for r in solved)
        parts.append(
            f"{len(solved)} programs up to T = {steps}: worst case/bound from {least:.3f}, residuals {doubt:.0e}"
        )
    if instances:
        own = any(r["own"] for r in instances)
        parts.append(f"attained{'' if own else ', though not by S2-SAM itself'}: {instances[0]['text']}")
    return Rung(2, True, "; ".join(parts), max(float(r["ratio"]) for r in solved + instances))


def _trained(rows: Sequence[Row]) -> Rung:
    return Rung(5, True, "; ".join(f"{r['n']:,} numbers of {r['regime']}" for r in rows))


def _measured(number: int, claim: Claim, rows: Sequence[Row], what: str) -> Rung:
    if not rows:
        return Rung(number, False, _why(number, claim))
    ratio = None if claim.kind == "equality" else max(float(r["ratio"]) for r in rows)
    return Rung(number, True, f"{sum(r['n'] for r in rows):,} {what}", ratio)
