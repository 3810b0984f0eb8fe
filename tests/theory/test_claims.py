"""Claims as values: the registry, the decorator, selection, and what every claim must say."""

import dataclasses
import doctest
import importlib
import inspect

import pytest

import theory
from theory import CLAIMS, NOTATION, Claim, Reference, Requirement, bounds, claim, claims, register, select

LABELS = (
    "A1 A1.cos A2 A2.cos A3 A3.start A3.step A4.smooth A4.convex A4.convex-linear A4.strong A4.strong-linear A5 "
    "B1 B1.isotropic B1' B1'.fstar B1'' B2.fixed B2.anytime B2.quarter B2.half B3 B3.isotropic B4.path B4 B4' "
    "B5.s2sam B5.sam B5.lower B6 B6.distance B7 B7.same-batch B7.full B7.independent B8 B8.changing "
    "B9 B10.gap B10.isotropic B10.conjecture C1 C1'"
).split()
FINDINGS = [f"D{k}" for k in range(1, 11)]


@pytest.fixture
def registry(monkeypatch):
    """An empty registry in place of the real one, which other tests read."""
    monkeypatch.setattr(claims, "CLAIMS", {})
    return claims


def new(label, **changes):
    """A claim that is not registered."""
    return dataclasses.replace(CLAIMS["A3"], label=label, **changes)


def test_registry_is_complete_and_in_order():
    assert list(CLAIMS) == LABELS + FINDINGS
    assert all(label == c.label for label, c in CLAIMS.items())


@pytest.mark.parametrize("label", LABELS)
def test_every_claim_says_everything(label):
    c = CLAIMS[label]
    for text in (c.title, c.statement, c.source, c.measures, c.proof):
        assert text == text.strip() != ""
        assert "\n" not in text
        assert text.isascii()
    assert len(c.statement) > 60  # a statement, not a title
    assert c.condition == "" or c.condition[-1] != "."
    assert c.origin in ("derived", "conjecture") or "Ji et al." in c.source
    assert "derived" in c.source or "project" in c.source  # every inequality here is; the paper's record has none
    assert c.kind == "equality" or any(sign in c.statement for sign in ("<=", ">=", "equals", "exactly", "at most"))


@pytest.mark.parametrize("label", LABELS)
def test_every_bound_is_documented_by_an_example(label):
    bound = CLAIMS[label].bound
    (test,) = doctest.DocTestFinder(recurse=False).find(bound, globs={bound.__name__: bound})
    assert any(bound.__name__ in example.source for example in test.examples)
    assert all(p.kind is p.KEYWORD_ONLY for p in inspect.signature(bound).parameters.values())


def test_trivial_bounds_ignore_other_constants():
    values = {label: c.trivial(rho=3, gap=4, R2=6, L=5, T=9, W=2) for label, c in CLAIMS.items() if c.trivial}
    known = {"A1": 6, "A1.cos": -1, "A2.cos": -1, "B3": 15, "B4.path": 4, "B4": 4, "B4'": 6}
    assert values == known | {"B10.isotropic": 450, "C1": 1, "C1'": 1}


def test_conditions():
    given = {label for label, c in CLAIMS.items() if c.condition}
    assert given == {label for label in LABELS if label[:2] in ("B2", "B7", "C1")} | {"B5.s2sam", "B8.changing"}
    assert CLAIMS["B2.fixed"].condition == "rho_t -> 0 (at constant rho B5 is the counterexample)"
    assert CLAIMS["B7"].condition == "samples independent across steps"


def test_what_the_registry_expects_of_a_claim():
    special = {label: c.expects for label, c in CLAIMS.items() if c.expects != "SUPPORTED"}
    assert special == {
        "B10.conjecture": "NOT REFUTED", "C1": "INCONCLUSIVE (vacuous)", **dict.fromkeys(FINDINGS, ""),
    }
    assert [label for label, c in CLAIMS.items() if c.origin == "conjecture"] == ["B10.conjecture"]
    assert CLAIMS["B10.conjecture"].proof.startswith("none, it is a conjecture")


@pytest.mark.parametrize("label", FINDINGS)
def test_a_finding_says_what_it_is_and_pretends_no_bound(label):
    c = CLAIMS[label]
    assert (c.kind, c.origin, c.bound, c.proof, c.requires, c.constants) == ("finding", "paper", None, "", (), ())
    assert c.source.startswith("Ji et al. (NeurIPS 2024)")
    assert c.untested
    for use in (c, c.domain, c.evaluate):
        with pytest.raises(TypeError, match=f"{label} is a finding and has no bound"):
            use(L=1)
    for r in c.references:
        assert r.source.startswith("Ji et al. (NeurIPS 2024): ")
        assert r.quantity
        assert all(len(numbers) == len(r.columns) for numbers in r.rows.values())


def test_the_numbers_of_the_paper_are_the_statements_data():
    """What each finding says is what its numbers show, where the paper gives them."""
    def gains(label):
        (r,) = CLAIMS[label].references
        return [round(b - a, 2) for a, b in zip(r.rows["without S2-SAM"], r.rows["with S2-SAM"], strict=True)]

    assert gains("D4") == [0.41, 0.32, 0.46, 0.53, 0.65, 0.87, 0.43, 2.0]
    assert gains("D5") == [0.19, 0.34, 0.4]
    assert gains("D7") == [0.27, 0.61, 0.71]
    assert gains("D9") == [0.3, 0.4, 0.8]
    assert gains("D10") == [0.81, 0.86, 0.83, 0.73]
    assert [r.rows["ResNet-32"] for r in CLAIMS["D6"].references if "ResNet-32" in r.rows] == [(94.58, 94.99, 95.32)]
    for r in CLAIMS["D6"].references:
        assert r.columns == ("SGD", "S2-SAM", "SAM")
        assert all(a < b < c for a, b, c in r.rows.values())


def test_a_reference_with_a_hole_is_refused():
    with pytest.raises(ValueError, match="'x' must have 2 numbers, one a column, got 1"):
        Reference(source="s", quantity="q", columns=("a", "b"), rows={"x": (1.0,)})
    assert Reference(source="s", quantity="q", columns=("a", "b"), rows={"x": (1.0, None)}).rows["x"][1] is None


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CLAIMS["A1"].kind = "lower"
    with pytest.raises(dataclasses.FrozenInstanceError):
        CLAIMS["A1"].requires[0].text = "1"


def test_groups():
    assert CLAIMS["B1.isotropic"].group == CLAIMS["B1"].group == "B1"
    assert CLAIMS["B1''"].group == "B1''"


def test_duplicate_is_refused():
    before = dict(CLAIMS)
    with pytest.raises(ValueError, match=r"claim label must be new, got 'A3', taken by 'gradient error'"):
        register(CLAIMS["A3"])
    assert before == CLAIMS


def test_decorator_refuses_the_label_of_another_function():
    options = {f.name: getattr(CLAIMS["A3"], f.name) for f in dataclasses.fields(Claim)}
    del options["label"], options["bound"], options["untested"], options["references"]  # of findings
    with pytest.raises(ValueError, match="must be new"):
        claim("A3", **options)(lambda *, L, rho: 3 * L * rho)


def test_executing_a_module_again_replaces_its_claims():
    """importlib.reload and doctest collectors do; it must change neither order nor number."""
    old = CLAIMS["B5.sam"]
    importlib.reload(bounds.limits)
    assert list(CLAIMS) == LABELS + FINDINGS
    assert CLAIMS["B5.sam"] is not old
    assert CLAIMS["B5.sam"].statement == old.statement


def test_order_does_not_depend_on_registration(registry):
    for label in ("custom", "B10", "B1'", "B2", "A3", "B1.z", "B1", "other"):
        registry.register(new(label))
    assert list(registry.CLAIMS) == ["A3", "B1.z", "B1", "B1'", "B2", "B10", "custom", "other"]


def test_decorator_reads_the_docstring_and_leaves_the_function_plain(registry):
    def double(*, L):
        """It is at most
        twice L.

        Setting: none.

        Source: a test.

        Proof: by
        addition.
        """
        return 2 * L

    common = {"title": "t", "kind": "upper", "origin": "derived", "measures": "m"}
    decorated = registry.claim("X2", **common)(registry.claim("X1", **common, statement="own", proof="too")(double))
    assert decorated is double
    one, two = registry.CLAIMS.values()
    assert (one.label, one.statement, one.source, one.proof) == ("X1", "own", "a test.", "too")
    assert (two.label, two.statement) == ("X2", "It is at most twice L.")
    assert (two.source, two.proof) == ("a test.", "by addition.")
    assert two(L=4, extra=1) == 8
    assert (two.requires, two.trivial, two.condition, two.constants) == ((), None, "", ("L",))


def test_malformed_claims_are_refused():
    with pytest.raises(ValueError, match="kind must be one of"):
        new("X1", kind="tight")
    with pytest.raises(ValueError, match="origin"):
        new("X1", origin="mine")
    with pytest.raises(ValueError, match="X1: proof must not be empty"):
        new("X1", proof=" ")
    with pytest.raises(ValueError, match="X1: a finding has no bound and every other claim has one, got 'finding'"):
        new("X1", kind="finding")
    with pytest.raises(ValueError, match="every other claim has one, got 'upper'"):
        new("X1", bound=None)
    with pytest.raises(ValueError, match="X1: untested must not be empty"):
        new("X1", kind="finding", bound=None)


def test_select_by_group_and_label():
    assert [c.label for c in select("B5, B1")] == ["B1", "B1.isotropic", "B5.s2sam", "B5.sam", "B5.lower"]
    assert [c.label for c in select("A4.strong,A4.strong,B1''")] == ["A4.strong", "B1''"]
    assert [c.label for c in select("B4")] == ["B4.path", "B4"]


@pytest.mark.parametrize("text", ["B99", "", "B1,,B2", "b1"])
def test_select_names_the_unknown_and_lists_the_known(text):
    with pytest.raises(ValueError, match=r"named by label or group, got .*; known: A1, A1\.cos, .*B8\.changing"):
        select(text)


def test_constants_are_named_and_missing_ones_refused():
    assert CLAIMS["B1"].constants == ("eta", "L", "gap", "T", "P2", "sigma2")
    assert CLAIMS["B1.isotropic"].constants == (*CLAIMS["B1"].constants, "mu")
    assert CLAIMS["B2.anytime"].constants == ("L", "gap", "sigma2", "sum_eta", "sum_eta_p2", "sum_eta2")
    for use in (CLAIMS["A3"], CLAIMS["A3"].domain, CLAIMS["A3"].evaluate):
        with pytest.raises(TypeError, match="A3 needs the constants L, rho; add rho"):
            use(L=1)


def test_notation_covers_every_constant():
    codes = [code for row in NOTATION for code in row.code.split(", ")]
    assert len(codes) == len(set(codes))
    assert {name for c in CLAIMS.values() for name in c.constants} <= set(codes)
    assert all(cell.strip() for row in NOTATION for cell in dataclasses.astuple(row))
    by_code = {row.code: row for row in NOTATION}
    assert by_code["gap"].symbol == "Delta"
    assert by_code["diff"].symbol == "||a - b||"
    with pytest.raises(dataclasses.FrozenInstanceError):
        NOTATION[0].code = "x"


def test_public_names():
    expected = {"CLAIMS", "NOTATION", "Claim", "DomainError", "Requirement", "claim", "register", "select"}
    assert set(theory.__all__) >= expected
    assert all(hasattr(theory, name) for name in theory.__all__)
    for module in (getattr(bounds, name) for name in bounds.__all__):
        assert all(callable(getattr(module, name)) for name in module.__all__)
    assert Requirement("rho", ">=", lambda **_: 0, "0").constants == ("rho",)
