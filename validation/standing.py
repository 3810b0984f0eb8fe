"""Where each claim stands, read off stored rows: the first table of the report and of README."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from theory import CLAIMS, Claim

Row = Mapping[str, Any]
REAL = {"breast-cancer", "digits", "digits-cnn"}

SUPPORTED = "SUPPORTED"
REFUTED = "REFUTED"
INCONCLUSIVE = "INCONCLUSIVE"
VACUOUS = "INCONCLUSIVE (vacuous)"
NOT_REFUTED = "NOT REFUTED (conjecture)"
NOT_TESTED = "NOT TESTED HERE"


@dataclass(frozen=True)
class Standing:
    """The verdict on one claim, and the evidence behind it.

    Attributes:
        claim: the statement. verdict: SUPPORTED, "SUPPORTED IF ...", REFUTED, INCONCLUSIVE (and vacuous where no bound
            says more than is known without it), NOT REFUTED of a conjecture, or NOT TESTED HERE and why.
        evidence: what kinds of run stand behind it. n: comparisons. ratio: the worst, above 1 exactly when refuted.
        counterexample: the worst row, when refuted. estimates: rows with an estimated constant (they never refute).
    """

    claim: Claim
    verdict: str
    evidence: tuple[str, ...]
    n: int
    ratio: float | None
    counterexample: Row | None
    estimates: tuple[Row, ...]

    @property
    def expected(self) -> bool:
        """Whether the claim stands as the registry expects: supported, unless it says otherwise of itself."""
        return self.verdict.startswith((SUPPORTED, self.claim.expects))


def standing(claim: Claim, rows: Sequence[Row]) -> Standing:
    """Return where one claim stands on these rows."""
    mine = [r for r in rows if r["claim"] == claim.label and "verdict" in r]
    firm = [r for r in mine if not r.get("estimate")]
    estimates = tuple(r for r in mine if r.get("estimate"))
    inside = [r for r in firm if r["verdict"] != "OUTSIDE_DOMAIN"]
    violated = [r for r in inside if r["verdict"] == "VIOLATED"]
    top = max(inside, key=lambda r: float(r["ratio"]), default=None)
    if violated:
        verdict, top = REFUTED, max(violated, key=lambda r: float(r["ratio"]))
    elif any(r["verdict"] == "HOLDS" for r in inside):
        verdict = f"{SUPPORTED} IF {claim.condition}" if claim.condition else SUPPORTED
        verdict = NOT_REFUTED if claim.origin == "conjecture" else verdict
    elif mine:
        verdict = VACUOUS if inside and not estimates else INCONCLUSIVE
    else:
        verdict = f"{NOT_TESTED}: {claim.untested}" if claim.untested else NOT_TESTED
    return Standing(
        claim,
        verdict,
        evidence(inside, estimates),
        sum(r["n"] for r in inside),
        float(top["ratio"]) if top else None,
        top if violated else None,
        estimates,
    )


def evidence(rows: Sequence[Row], estimates: Sequence[Row]) -> tuple[str, ...]:
    """Name the kinds of run behind a claim."""
    kinds = (
        ("exact arithmetic", any(r.get("arithmetic") == "rational" for r in rows)),
        ("certified problems", any(r["family"] not in REAL for r in rows)),
        ("exact expectations", any(r.get("exact_mean") for r in rows)),
        ("real data", any(r["family"] in REAL for r in rows)),
        ("shipped optimizer", any(r["rule"] in ("S2SAM", "SAM") for r in (*rows, *estimates))),
        ("adversarial search", any(r.get("series") == "extreme" for r in rows)),
        ("network, L estimated", bool(estimates)),
    )
    return tuple(name for name, present in kinds if present)


def standings(rows: Sequence[Row], labels: Sequence[str] | None = None) -> list[Standing]:
    """Return the standing of each of these claims (default: all), in the registry's order."""
    return [standing(claim, rows) for label, claim in CLAIMS.items() if labels is None or label in labels]
