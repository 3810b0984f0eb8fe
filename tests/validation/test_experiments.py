"""The experiments yield what their protocols say; figures, report and README are functions of their rows."""

import dataclasses
import html
import re
import shlex
from itertools import pairwise

import pytest
import torch

from theory import CLAIMS
from validation import figures, readme, report, standing
from validation.cells import EXPERIMENTS, read
from validation.experiments import network
from validation.figures.convergence import slope
from validation.measures import MEASURES
from validation.problems import FAMILIES
from validation.suite import SIZES, cells


@pytest.mark.parametrize("h", ["1/10", "1/2", "9/10"])
def test_s2sam_on_the_line_is_its_closed_form_exactly(h):
    """w_t + rho sign(w_0) = (1 - h)^(t-1) y_1 for all t up to 200, in rational arithmetic: no tolerance."""
    (row,) = EXPERIMENTS["floor_rational"](h=h, rho="1/3", w0="5/7", count=200)
    assert row["measured"] == 0.0
    assert row["slack"] == 0.0
    assert row["n"] == 200
    assert row["verdict"] == "HOLDS"


def test_floors_to_nine_digits():
    """In float64, before rounding ends the run: distance rho, and SAM's cycle L rho h/(2 - h)."""
    rows = list(EXPERIMENTS["floor_float"](h=[0.05, 0.3, 0.5, 0.9, 1.2, 1.9], rho=0.37, w0=[1.0, 0.2], L=3.0))
    for row in rows:
        assert row["verdict"] == "HOLDS"
        assert abs(abs(row["measured"]) - abs(row["bound"])) < 1e-9
    sam = {r["at"]["h"]: r["measured"] for r in rows if r["claim"] == "B5.sam"}
    assert sam[0.5] == pytest.approx(3.0 * 0.37 * 0.5 / 1.5, abs=1e-9)
    distances = [r["distance"] for r in rows if r["claim"] == "B5.s2sam"]
    assert len(distances) == 4 * 2
    assert max(map(abs, distances)) < 1e-9


@pytest.mark.parametrize("family", ["strong", "cosine", "logcosh"])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_masked_s2sam_is_s2sam_on_the_restriction_bit_for_bit(family, sparsity):
    (row,) = EXPERIMENTS["mask_fixed"](family=family, size=16, sparsity=sparsity, h=0.5, rho=0.3, count=30, seed=1)
    assert row["measured"] == row["slack"] == 0.0
    assert row["verdict"] == "HOLDS"


def test_changing_masks_need_their_jumps(monkeypatch):
    """With the jumps B1 holds; forgotten, it fails on some family."""
    options = {"size": 32, "sparsity": 0.5, "h": 0.5, "rho": 0.3, "count": 16, "every": 4, "seed": 1}
    assert all(
        next(EXPERIMENTS["mask_changing"](family=f, **options))["verdict"] == "HOLDS" for f in ("strong", "cosine")
    )
    claim = CLAIMS["B8.changing"]

    def forgetful(*, eta, L, gap, T, P2, sigma2, jumps):
        return claim.bound(eta=eta, L=L, gap=gap, T=T, P2=P2, sigma2=sigma2, jumps=0 * jumps)

    monkeypatch.setitem(CLAIMS, "B8.changing", dataclasses.replace(claim, bound=forgetful))
    verdicts = {next(EXPERIMENTS["mask_changing"](family=f, **options))["verdict"] for f in ("strong", "cosine")}
    assert "VIOLATED" in verdicts


@pytest.mark.parametrize("rule", ["s2sam", "sam"])
def test_schedules_converge_at_the_predicted_slope(rule):
    """Isotropic quadratics: the mean square gradient falls like T^(-1/2); fitted over a decade, within a tenth."""
    horizons = [30, 100, 300]
    for kind, options in (("schedule_fixed", {}), ("schedule_anytime", {"decay": "half"})):
        rows = [
            r
            for r in EXPERIMENTS[kind](
                family="isotropic", rule=rule, size=8, rho0=1.0, horizons=horizons, seed=0, **options
            )
            if r["claim"] in ("B2.fixed", "B2.anytime")
        ]
        assert [r["at"]["T"] for r in rows] == horizons
        assert all(r["verdict"] == "HOLDS" for r in rows)
        assert slope(horizons, [r["curve"] for r in rows]) == pytest.approx(-0.5, abs=0.1)


@pytest.mark.parametrize("seed", range(6))
def test_schedules_take_any_sign_of_delta(seed):
    """A run may end above its start; then Delta is taken as 0, which is no smaller."""
    rows = list(
        EXPERIMENTS["schedule_fixed"](family="cosine", rule="s2sam", size=16, rho0=1.0, horizons=[10, 30], seed=seed)
    )
    assert all(r["verdict"] == "HOLDS" for r in rows)


@pytest.mark.parametrize(
    ("drop", "family", "rho0"),
    [("rho0", "isotropic", 1.0), ("gap", "isotropic", 1.0)],
)
def test_each_term_of_the_schedule_is_needed(monkeypatch, drop, family, rho0):
    claim = CLAIMS["B2.fixed"]

    def lacking(*, L, gap, T, rho0, c, sigma2):
        constants = {"L": L, "gap": gap, "T": T, "rho0": rho0, "c": c, "sigma2": sigma2}
        return claim.bound(**{**constants, drop: 0 * constants[drop]})

    options = {"family": family, "rule": "s2sam", "size": 16, "rho0": rho0, "horizons": [100, 300], "seed": 2}
    assert {r["verdict"] for r in EXPERIMENTS["schedule_fixed"](**options)} == {"HOLDS"}
    monkeypatch.setitem(CLAIMS, "B2.fixed", dataclasses.replace(claim, bound=lacking))
    assert "VIOLATED" in {r["verdict"] for r in EXPERIMENTS["schedule_fixed"](**options)}


def test_the_excess_over_the_conjectured_limit_shrinks_with_the_step():
    """At q = 0.2 as it does for small h, by some h^0.4 a halving; the first halvings need not (q = 0.8)."""
    found = list(EXPERIMENTS["orbit_limit"](dim=2, size=4, q=[0.2, 0.5], halvings=3, seed=0))
    assert [r["at"]["q"] for r in found] == [0.2, 0.5]
    for row in found:
        assert "verdict" not in row  # no finite h refutes a limit
        assert row["x"] == [0.5, 0.25, 0.125]
        assert all(b < a for a, b in pairwise(row["y"]))
        assert all(m <= y for m, y in zip(row["median_y"], row["y"], strict=True))
        assert 0.2 < row["slope"] < 0.6


def test_the_network_is_trained_and_its_rows_are_marked_as_estimates():
    rows = list(
        EXPERIMENTS["network_claims"](labels=["A1", "A2", "A5", "B1"], images=60, eta=0.1, rho=0.05, count=8, seed=0)
    )
    assert {r["claim"]: r["estimate"] for r in rows} == {"A1": False, "A2": True, "A5": True, "B1": True}
    assert all(r["rule"] == "S2SAM" and r["verdict"] == "HOLDS" for r in rows)
    assert all(r["L_hat"] > 0 for r in rows)


def test_a_secant_never_exceeds_a_known_constant_and_reaches_it():
    from validation.trajectories import steps

    problem = FAMILIES["isotropic"](1, torch.Generator().manual_seed(0))
    run = list(
        steps(
            problem,
            "s2sam",
            problem.start(torch.Generator().manual_seed(1), 1.0),
            eta=0.5 / problem.L,
            rho=torch.tensor([0.1], dtype=torch.float64),
            count=5,
        )
    )
    assert network.largest_secant(run) == pytest.approx(float(problem.L), rel=1e-7)  # 2^-26


def test_momentum_along_the_network_is_measured_at_its_own_point():
    """B9 holds along a run with momentum, with an estimated L; measured at f(w_T) instead of f(z_T) it is other."""
    options = {"labels": ["B9"], "images": 60, "eta": 0.05, "rho": 0.05, "count": 8, "seed": 0}
    (row,) = EXPERIMENTS["network_claims"](beta=0.5, **options)
    assert (row["claim"], row["verdict"], row["estimate"]) == ("B9", "HOLDS", True)
    assert row["at"]["beta"] == 0.5
    assert row["at"]["h"] == pytest.approx(0.05 * row["L_hat"])
    (faster,) = EXPERIMENTS["network_claims"](beta=0.9, **options)
    assert faster["constants"]["gap"] > 2 * row["constants"]["gap"]  # alpha is five times as large
    (far,) = EXPERIMENTS["network_claims"](beta=0.5, **{**options, "eta": 2.0})  # beyond (1 - beta)^2/((1 + beta) L)
    assert far["verdict"] == "OUTSIDE_DOMAIN"


def test_the_suite_measures_directions_when_a5_is_asked():
    both = [c for c in cells("quick", ["A5"]) if c.name == "network_alignment"]
    assert [dict(c.options)["batch"] for c in both] == [32, 256]
    assert not [c for c in cells("quick", ["A1", "B9"]) if c.name == "network_alignment"]
    (along,) = [dict(c.options) for c in cells("quick", ["B9"]) if c.name == "network_claims"]
    assert (along["labels"], along["beta"]) == (["B9"], 0.5)


def rows_for(*verdicts, **extra):
    return [
        {"claim": "B7", "problem": "x", "family": "strong", "rule": "s2sam", "verdict": v, "ratio": r, "n": 3, **extra}
        for v, r in verdicts
    ]


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([], "NOT TESTED HERE"),
        (rows_for(("HOLDS", 0.5), ("OUTSIDE_DOMAIN", 9.0)), "SUPPORTED IF samples independent across steps"),
        (rows_for(("HOLDS", 0.5), ("VIOLATED", 1.5)), "REFUTED"),
        (rows_for(("OUTSIDE_DOMAIN", 0.5)), "INCONCLUSIVE"),
        (rows_for(("VACUOUS", 0.5)), "INCONCLUSIVE (vacuous)"),
        (rows_for(("VIOLATED", 1.5), estimate=True), "INCONCLUSIVE"),
        (
            rows_for(("HOLDS", 0.5)) + rows_for(("VIOLATED", 1.5), estimate=True),
            "SUPPORTED IF samples independent across steps",
        ),
    ],
)
def test_standing_follows_from_the_rows(rows, verdict):
    s = standing.standing(CLAIMS["B7"], rows)
    assert s.verdict == verdict
    assert s.expected == verdict.startswith("SUPPORTED")
    assert (s.counterexample is not None) == (verdict == "REFUTED")


@pytest.mark.parametrize(
    ("label", "verdicts", "verdict", "expected"),
    [
        ("B10.conjecture", ["HOLDS"], "NOT REFUTED (conjecture)", True),
        ("B10.conjecture", ["HOLDS", "VIOLATED"], "REFUTED", False),
        ("B10.conjecture", [], "NOT TESTED HERE", False),
        ("C1", ["VACUOUS"], "INCONCLUSIVE (vacuous)", True),
        ("C1'", ["VACUOUS"], "INCONCLUSIVE (vacuous)", False),
        ("D3", ["HOLDS"], "SUPPORTED", True),
        ("D3", ["VIOLATED"], "REFUTED", True),
    ],
)
def test_conjectures_illustrations_and_findings_stand_as_they_can(label, verdicts, verdict, expected):
    rows = [{**r, "claim": label} for r in rows_for(*((v, 0.5) for v in verdicts))]
    s = standing.standing(CLAIMS[label], rows)
    assert (s.verdict, s.expected) == (verdict, expected)


def test_an_untested_finding_says_why():
    s = standing.standing(CLAIMS["D4"], [])
    assert s.verdict == "NOT TESTED HERE: no rows of it are stored; s2sam evidence --claims D4 makes them"
    assert s.expected


def test_every_claim_is_in_the_default_suite_and_every_figure_has_a_claim():
    labels = list(CLAIMS)
    own = {name for name, f in EXPERIMENTS.items() if f.__module__.startswith("validation.experiments")}
    for size in SIZES:
        names = {c.name for c in cells(size, labels)}
        searched = set() if SIZES[size].restarts else {"extreme", "certificates"}
        assert names == own - searched - (set() if SIZES[size].programs else {"worst_case"})
    special = {"B8.changing", "B10.conjecture", "C1", "C1'"}
    bounded = {x for x in labels if CLAIMS[x].bound}
    assert set(MEASURES) | special == bounded
    assert {CLAIMS[x].group for x in bounded} == set(figures.FIGURES) - set(figures.SUMMARY)


def test_committed_rows_say_that_every_claim_stands():
    table = standing.standings(read(readme.stored()))
    assert [s.claim.label for s in table] == list(CLAIMS)
    assert [s.claim.label for s in table if not s.expected] == []
    assert all(s.n > 0 for s in table if s.claim.bound)


def test_figures_are_functions_of_the_rows(tmp_path):
    rows = read(readme.stored())
    first, second = figures.draw(rows, tmp_path / "a"), figures.draw(rows, tmp_path / "b")
    assert set(first) == set(figures.FIGURES) | {figures.LADDER.format(group) for group in figures.sandwich.known(rows)}
    for name, path in first.items():
        assert path.read_bytes() == second[name].read_bytes()
        assert path.stat().st_size > 8000
    changed = [{**r, "measured": r["measured"] / 2} if r.get("claim") == "A1" and "measured" in r else r for r in rows]
    third = figures.draw(changed, tmp_path / "c")
    assert third["A1"].read_bytes() != first["A1"].read_bytes()
    assert third["B5"].read_bytes() == first["B5"].read_bytes()


def test_the_report_has_no_clashing_ids_and_names_a_command_for_each_claim(tmp_path):
    rows = read(readme.stored())
    report.write(rows, figures.draw(rows, tmp_path / "figures"), tmp_path / "report" / "index.html")
    page = (tmp_path / "report" / "index.html").read_text()
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for target in set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)):
        assert target in ids
    for claim in CLAIMS.values():
        assert f'<a href="#{claim.group.replace(chr(39), "&#39;")}">' in page
    tested = list(dict.fromkeys(c.group for c in CLAIMS.values() if c.bound))  # nothing reproduces a finding here
    assert page.count("<pre>s2sam validate --claims") == len(tested)
    commands = [html.unescape(line) for line in re.findall(r"<pre>(s2sam validate --claims .*)</pre>", page)]
    assert [shlex.split(line)[-1] for line in commands] == tested
    assert page.count("Not measured here.</caption>") == sum(len(c.references) for c in CLAIMS.values())
    assert "<td>with S2-SAM</td>" in page
