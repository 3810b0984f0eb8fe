"""The five rungs of evidence follow from the rows, and nothing reaches a rung without a row."""

import pytest

from theory import CLAIMS
from validation import rungs
from validation.cells import Cell, read
from validation.experiments import certificates
from validation.figures import sandwich
from validation.readme import stored
from validation.standing import standing


def row(label="A4.convex", **fields):
    measured = {"verdict": "HOLDS", "ratio": 0.5, "n": 7, "family": "strong", "rule": "s2sam"}
    return {"claim": label, **measured, **fields}


EXTREME = {"series": "extreme", "runs": 100, "held": {}, "bound": 2.0, "median": 0.25}
PROOF = {"claim": "A4.convex", "series": "certificate", "proved": True, "reason": "", "identities": 2, "formula": "="}
PROGRAM = {"claim": "A4.convex", "series": "worst-case", "kind": "any", "ratio": 0.75, "doubt": 1e-7}
PROGRAM |= {"at": {"T": 2, "h": 0.5}, "contradicted": False}


@pytest.mark.parametrize(
    ("rows", "marks"),
    [
        ([], "- - - - -"),
        ([PROOF], "1 - - - -"),
        ([PROOF | {"proved": False, "reason": "step: off"}], "- - - - -"),
        ([PROGRAM], "- 2 - - -"),
        ([PROGRAM | {"contradicted": True}], "- - - - -"),
        ([row()], "- - 3 - -"),
        ([row(verdict="OUTSIDE_DOMAIN")], "- - - - -"),
        ([row(**EXTREME)], "- - - 4 -"),
        ([row(family="digits")], "- - - - 5"),
        ([PROOF, PROGRAM, row(), row(**EXTREME), row(family="digits-cnn", estimate=True)], "1 2 3 4 5"),
        ([row("A4.strong")], "- - - - -"),
    ],
)
def test_a_rung_is_reached_by_rows_of_its_own(rows, marks):
    assert rungs.marks(rungs.rungs(CLAIMS["A4.convex"], rows)) == marks


def test_a_rung_shows_the_largest_ratio_and_counts_what_was_compared():
    found = rungs.rungs(CLAIMS["A4.convex"], [row(n=3), row(ratio=0.75, n=4), row(**EXTREME, ratio=0.9)])
    assert (found[2].ratio, found[3].ratio) == (0.75, 0.9)
    assert found[2].text.startswith("7 ")
    assert rungs.rungs(CLAIMS["B1.isotropic"], [row("B1.isotropic")])[2].ratio is None  # an equality has no room


def test_a_claim_whose_certificate_fails_does_not_stand():
    good, bad = ([PROOF | {"proved": proved, "reason": "r"}, row()] for proved in (True, False))
    assert standing(CLAIMS["A4.convex"], good).expected
    assert not standing(CLAIMS["A4.convex"], bad).expected
    assert standing(CLAIMS["A4.convex"], [*bad, row(verdict="VIOLATED", ratio=2.0)]).verdict == "REFUTED"


def test_certificates_are_rows_and_a_wrong_one_is_a_row_too(monkeypatch):
    (right, none) = Cell.of("certificates", labels=["A3.step", "B7"]).rows()
    assert (right["proved"], none["proved"]) == (True, None)
    assert "smoothness" in right["formula"]
    assert "checked by exact enumeration" in none["reason"]

    class Wrong:
        identities = ()

        def verify(self):
            raise certificates.CertificateError("step: 1 is not 0")

        def formula(self):
            return "1 = 0"

    monkeypatch.setattr(certificates, "CERTIFICATES", {"A3.step": Wrong()})
    (wrong,) = certificates.certificates(labels=["A3.step"])
    assert (wrong["proved"], wrong["reason"]) == (False, "step: 1 is not 0")


def test_every_claim_reaches_its_rungs_or_says_why_not():
    """On the committed rows: a claim with a bound stands on rungs 1 to 5, or a reason stands in its place."""
    rows = read(stored())
    for label, claim in CLAIMS.items():
        for rung in rungs.rungs(claim, rows):
            assert rung.reached or (rung.text and (rung.text != rungs.MISSING or not claim.bound)), (label, rung)


def test_reasons_speak_of_claims_that_exist():
    known = set(CLAIMS) | {c.group for c in CLAIMS.values()}
    assert {name for _, name in rungs.APART} <= known


def test_layers_of_the_sandwich_lie_in_order_on_the_committed_rows():
    """Typical <= adversarial <= 1; and for S2-SAM held at one h no search exceeds the exact worst case there."""
    rows = read(stored())
    for label in CLAIMS:
        found = sandwich.layers(rows, label)
        assert list(found.values()) == sorted(found.values()) or "exact" in found
        assert found.get("typical", 0) <= found.get("adversarial", 1) <= 1 + 1e-9
        assert found.get("exact", 1) <= 1 + 1e-6


def test_a_layer_needs_rows_and_room():
    rows = [row(**EXTREME), row("B6", **EXTREME | {"bound": 0.0}), row("B1.isotropic", **EXTREME)]
    assert sandwich.layers(rows, "A4.convex") == {"typical": 0.25, "adversarial": 0.5}
    assert sandwich.layers(rows, "B6") == sandwich.layers(rows, "B1.isotropic") == {}
    assert sandwich.known(rows) == ["A4"]
    assert sandwich.along([*rows, PROGRAM], "A4.convex") == {}  # nothing was searched at that h
    held = row(**EXTREME | {"held": {"h": 0.5}}, x=[1, 2], y=[0.4, 0.5], median_y=[0.2, 0.3])
    drawn = sandwich.along([held, PROGRAM, PROGRAM | {"at": {"T": 2, "h": 1.0}, "ratio": 1.0}], "A4.convex")
    assert drawn == {"exact": [(2, 0.75)], "typical": [(1, 0.2), (2, 0.3)], "adversarial": [(1, 0.4), (2, 0.5)]}
