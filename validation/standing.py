"""Where each claim stands, read off stored rows: the first table of the report and of README."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from theory import CLAIMS, Claim
from validation.rungs import Rung, rungs

Row = dict[str, Any]

SUPPORTED = "SUPPORTED"
REFUTED = "REFUTED"
INCONCLUSIVE = "INCONCLUSIVE"
VACUOUS = "INCONCLUSIVE (vacuous)"
UNPROVED = "INCONCLUSIVE (the certificate of its proof fails)"
NOT_REFUTED = "NOT REFUTED (conjecture)"
NOT_TESTED = "NOT TESTED HERE"


@dataclass(frozen=True)
class Standing:
    """The verdict on one claim, and the evidence behind it.

    Attributes:
        claim: the statement. verdict: SUPPORTED, "SUPPORTED IF ...", REFUTED, INCONCLUSIVE (and vacuous where no bound
            says more than is known without it), NOT REFUTED of a conjecture, or NOT TESTED HERE and why.
        rungs: the five rungs of evidence. n: comparisons. steps: the instance-steps behind them, those of several
            horizons of one run counted once. ratio: the worst, above 1 exactly when refuted.
        counterexample: the worst row, when refuted. estimates: rows with an estimated constant (they never refute).
        formula: the certificate of the proof in print, "" where there is none. findings: what training says of a claim
        of the paper's experiments, the scale with the most seeds first; the verdict is that one's.
    """

    claim: Claim
    verdict: str
    rungs: tuple[Rung, ...]
    n: int
    steps: int
    ratio: float | None
    counterexample: Row | None
    estimates: tuple[Row, ...]
    formula: str
    findings: tuple[Row, ...] = ()

    @property
    def expected(self) -> bool:
        """Whether the claim stands as the registry expects: supported, unless it says otherwise of itself."""
        return self.verdict.startswith((SUPPORTED, self.claim.expects))


def standing(claim: Claim, rows: Sequence[Row]) -> Standing:
    """Return where one claim stands on these rows."""
    found = tuple(r for r in rows if r["claim"] == claim.label and r.get("series") == "finding")
    mine = [r for r in rows if r["claim"] == claim.label and "verdict" in r and r not in found]
    firm = [r for r in mine if not r.get("estimate")]
    estimates = tuple(r for r in mine if r.get("estimate"))
    inside = [r for r in firm if r["verdict"] != "OUTSIDE_DOMAIN"]
    violated = [r for r in inside if r["verdict"] == "VIOLATED"]
    certificate = next((r for r in rows if r["claim"] == claim.label and r.get("series") == "certificate"), {})
    top = max(inside, key=lambda r: float(r["ratio"]), default=None)
    if found:
        verdict = f"{found[0]['verdict']}: {found[0]['told']}"
    elif violated:
        verdict, top = REFUTED, max(violated, key=lambda r: float(r["ratio"]))
    elif certificate.get("proved") is False:
        verdict = UNPROVED
    elif any(r["verdict"] == "HOLDS" for r in inside):
        verdict = f"{SUPPORTED} IF {claim.condition}" if claim.condition else SUPPORTED
        verdict = NOT_REFUTED if claim.origin == "conjecture" else verdict
    elif mine:
        verdict = VACUOUS if any(r["verdict"] == "VACUOUS" for r in inside) and not estimates else INCONCLUSIVE
    else:
        verdict = f"{NOT_TESTED}: {claim.untested}" if claim.untested else NOT_TESTED
    return Standing(
        claim,
        verdict,
        rungs(claim, rows),
        sum(r["n"] for r in (*inside, *found)),
        sum(r.get("steps", 0) for r in inside),
        float(top["ratio"]) if top else None,
        top if violated else None,
        estimates,
        certificate.get("formula", ""),
        found,
    )


def standings(rows: Sequence[Row], labels: Sequence[str] | None = None) -> list[Standing]:
    """Return the standing of each of these claims (default: all), in the registry's order."""
    return [standing(claim, rows) for label, claim in CLAIMS.items() if labels is None or label in labels]
