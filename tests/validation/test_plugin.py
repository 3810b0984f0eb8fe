"""A plugin: its claims and rules in rows, table and report; every way it can be wrong is one line and exit code 2."""

import json

import pytest
from typer.testing import CliRunner

import theory
from validation import suite
from validation.cells import EXPERIMENTS
from validation.cli import app
from validation.measures import MEASURES
from validation.plugin import PluginError, load
from validation.suite import Size
from validation.trajectories import RULES

WHOLE = {"real": 1, "schedule": 30, "seeds": 1, "paths": 2, "network": 4, "orbits": 3, "restarts": 0}
TINY = Size(instances=2, count=3, horizons=(1, 3), h=(0.5,), rho=(0.1,), **WHOLE)

MINE = '''
from theory.claims import claim
from theory.requirements import nonnegative
from validation.measures import Measured, measure
from validation.plugin import rule
from validation.step import norm


@claim("M1", title="one step", kind="upper", origin="derived", measures="||w_{t+1} - w_t||",
       requires=nonnegative("eta", "norm_a", "L", "rho"))
def step_length(*, eta, norm_a, L, rho):
    """f L-smooth, exact gradients: ||w_{t+1} - w_t|| <= eta (||grad f(w_t)|| + L rho).

    Source: this test.

    Proof: smoothness and the triangle.
    """
    return FACTOR * eta * (norm_a + L * rho)


@measure("M1", ("s2sam",), applies=lambda p: p.samples == 1)
def _step_length(s):
    constants = {"eta": s.eta, "norm_a": norm(s.a), "L": s.problem.L, "rho": s.rho}
    return Measured(s.eta * norm(s.g), constants, s.eta * s.problem.L * (norm(s.w) + s.rho))


@rule("msam", claims=("B1", "B9", "M1"))
def msam(view):
    return -view.v
'''


@pytest.fixture(autouse=True)
def registries(monkeypatch):
    """Give back the registries as they were, and make the suite one of seconds."""
    monkeypatch.setitem(suite.SIZES, "quick", TINY)
    monkeypatch.setattr("validation.plugin.BUDGET", 200)
    everything = (theory.CLAIMS, MEASURES, RULES, EXPERIMENTS)
    before = [dict(r) for r in everything]
    yield
    for registry, old in zip(everything, before, strict=True):
        registry.clear()
        registry.update(old)


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def written(folder, factor):
    path = folder / "mine.py"
    path.write_text(MINE.replace("FACTOR", str(factor)))
    return path


def test_what_a_plugin_registers_stands_in_rows_table_and_report(tmp_path):
    path, out = written(tmp_path, 1), tmp_path / "out"
    done = run("validate", "--quick", "--claims", "M1", "--plugin", path, "--out", out)
    assert done.exit_code == 0, done.output
    assert "M1" in done.output
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert {r["rule"] for r in rows if r["claim"] == "M1"} == {"s2sam", "msam"}
    assert {(r["claim"], r["rule"]) for r in rows if r.get("series") == "extreme"} == {("M1", "s2sam"), ("M1", "msam")}
    assert "one step" in (out / "report" / "index.html").read_text()


def test_a_rule_of_a_plugin_meets_the_claims_it_names_with_momentum_where_they_speak_of_it(tmp_path):
    cells = load(written(tmp_path, 1)).cells("quick", ["B1", "B9"], 0)
    options = [dict(c.options) for c in cells]
    assert {o["rule"] for o in options} == {"msam"}
    assert {(x, o["beta"]) for o in options for x in o.get("labels", ())} >= {("B1", 0.0), ("B9", 0.5), ("B9", 0.9)}
    chosen = [c for c, o in zip(cells, options, strict=True) if o.get("family") in ("strong", "noisy-strong")]
    rows = [row for c in chosen for row in c.rows()]
    assert {(r["claim"], r["at"].get("beta", 0.0)) for r in rows} == {("B1", 0.0), ("B9", 0.5), ("B9", 0.9)}
    assert {r["verdict"] for r in rows} == {"HOLDS"}
    assert any(r["exact_mean"] for r in rows)


def test_a_false_claim_of_a_plugin_is_refuted_and_a_changed_file_is_measured_anew(tmp_path):
    out = tmp_path / "out"
    assert run("validate", "--quick", "--claims", "M1", "--plugin", written(tmp_path, 1), "--out", out).exit_code == 0
    for registry, label in ((theory.CLAIMS, "M1"), (MEASURES, "M1"), (RULES, "msam")):
        del registry[label]
    for label in ("B1", "B9"):
        MEASURES[label] = type(MEASURES[label])(**{**vars(MEASURES[label]), "rules": ("sgd", "sam", "s2sam")})
    done = run("validate", "--quick", "--claims", "M1", "--plugin", written(tmp_path, 0.9), "--out", out)
    assert done.exit_code == 1
    assert "not as the registry expects: M1" in done.output


def test_rows_of_a_plugin_need_it_to_be_redrawn(tmp_path):
    path, out = written(tmp_path, 1), tmp_path / "out"
    assert run("validate", "--quick", "--claims", "M1", "--plugin", path, "--out", out).exit_code == 0
    del theory.CLAIMS["M1"]
    done = run("figures", out)
    assert done.exit_code == 2
    assert "must speak of known claims, got M1; give the --plugin that registers them" in done.output


WRONG = {
    "missing": (None, "--plugin must be a Python file, got"),
    "syntax": ("def (", "--plugin must import without an error, got SyntaxError"),
    "error": ("x = 1\n1 / 0", "got ZeroDivisionError: division by zero"),
    "exit": ("raise SystemExit(3)", "got SystemExit: 3"),
    "empty": ("x = 1", "--plugin must register a claim, a measure or a rule, got none"),
    "label taken": (MINE.replace('"M1"', '"B1"'), "claim label must be new, got 'B1'"),
    "rule taken": (MINE.replace('"msam"', '"sam"'), "rule must have a new name, got 'sam'"),
    "unmeasured": (MINE.replace('@measure("M1", ("s2sam",), applies=lambda p: p.samples == 1)', ""), "got 'M1'"),
    "silent": (MINE.partition("@measure")[0], "--plugin must measure its claims, got none for M1"),
    "replaced": ("from validation.measures import measure\n@measure('B1')\ndef f(run):\n    return None\n",
                 "--plugin must not replace the measure of B1"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_plugin_is_refused_in_one_line_and_leaves_nothing_behind(name, tmp_path):
    text, words = WRONG[name]
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text.replace("FACTOR", "1"))
    before = [dict(r) for r in (theory.CLAIMS, MEASURES, RULES)]
    done = run("validate", "--quick", "--plugin", path, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert words in done.output
    assert "Traceback" not in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert [theory.CLAIMS, MEASURES, RULES] == before
    assert list(theory.CLAIMS) == list(before[0])
    assert not (tmp_path / "out").exists()


def test_the_line_of_an_error_is_named(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("x = 1\n\n1 / 0\n")
    with pytest.raises(PluginError, match=r"ZeroDivisionError: division by zero \(.*mine.py, line 3\)"):
        load(path)


def test_an_error_while_measuring_is_the_plugins(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE.replace("FACTOR", "1").replace("return -view.v", "return view.nothing"))
    done = run("validate", "--quick", "--claims", "M1", "--plugin", path, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "--plugin must measure without an error, got AttributeError" in done.output
    assert "Traceback" not in done.output
