"""The command as a user meets it: results, exit codes, one-line refusals, interruption."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from theory import CLAIMS
from validation import cells as engine
from validation import cli, suite
from validation.cli import app
from validation.suite import Size

WHOLE = {"real": 1, "schedule": 30, "seeds": 1, "paths": 2, "network": 4, "orbits": 3, "restarts": 0}
TINY = Size(instances=3, count=4, horizons=(1, 4), **WHOLE)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Cells run in this process, where the tests can change what they are."""
    monkeypatch.setattr(cli, "_processes", lambda asked, plugin: asked or 1)


@pytest.fixture
def tiny(monkeypatch):
    """A suite of seconds."""
    monkeypatch.setitem(suite.SIZES, "quick", TINY)
    monkeypatch.setattr(suite, "REAL", ("breast-cancer",))


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_validate_leaves_rows_figures_and_report(tiny, tmp_path):
    done = run("validate", "--quick", "--claims", "A1,B5,B8", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert {r["claim"].partition(".")[0] for r in rows} == {"A1", "B5", "B8"}
    assert all("claim" in r for r in rows)
    drawn = {"A1.svg", "B5.svg", "B8.svg", "low-precision.svg"}
    assert {p.name for p in (tmp_path / "figures").iterdir()} == drawn
    page = (tmp_path / "report" / "index.html").read_text()
    assert page.count("<svg") == len(drawn) + 2  # and those of training runs and directions, which travel along
    assert "http" not in page.replace("http://www.w3.org", "").replace("https://matplotlib.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "")  # self-contained: nothing is loaded
    assert CLAIMS["A1"].title in page
    assert "SUPPORTED" in page


def test_figures_redraw_the_same_bytes_without_measuring(tiny, tmp_path, monkeypatch):
    assert run("validate", "--quick", "--claims", "B5,B6", "--out", tmp_path).exit_code == 0
    before = {p: p.read_bytes() for p in (tmp_path / "figures").iterdir()}
    page = (tmp_path / "report" / "index.html").read_bytes()
    monkeypatch.setattr(engine, "EXPERIMENTS", {})
    for p in before:
        p.unlink()
    done = run("figures", tmp_path)
    assert done.exit_code == 0, done.output
    assert {p: p.read_bytes() for p in (tmp_path / "figures").iterdir()} == before
    assert (tmp_path / "report" / "index.html").read_bytes() == page


def test_recompute_runs_again_what_is_stored(tiny, tmp_path, monkeypatch):
    calls = []
    original = engine.EXPERIMENTS["floor_rational"]
    monkeypatch.setitem(engine.EXPERIMENTS, "floor_rational", lambda **options: calls.append(1) or original(**options))
    command = ("validate", "--quick", "--claims", "B5", "--out", tmp_path)
    assert run(*command).exit_code == 0
    once = len(calls)
    assert run(*command).exit_code == 0
    assert len(calls) == once > 0
    assert run(*command, "--recompute").exit_code == 0
    assert len(calls) == 2 * once


def test_a_refuted_claim_ends_with_1_and_names_it(tiny, tmp_path, monkeypatch):
    def broken(**options):
        for row in original(**options):
            yield {**row, "verdict": "VIOLATED", "ratio": 2.0}

    original = engine.EXPERIMENTS["mask_fixed"]
    monkeypatch.setitem(engine.EXPERIMENTS, "mask_fixed", broken)
    done = run("validate", "--quick", "--claims", "B8", "--out", tmp_path)
    assert done.exit_code == 1
    assert "not as the registry expects: B8" in done.output
    page = (tmp_path / "report" / "index.html").read_text()
    assert "REFUTED" in page
    assert "counterexample" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("validate", "--claims", "B99"), ("--claims", "B99", "A1")),
        (("validate", "--quick", "--deep"), ("--quick and --deep exclude each other",)),
        (("validate", "--device", "warp"), ("--device must be one that torch can use here, got warp", "--device cpu")),
        (("validate", "--device", "cuda:63"), ("--device must be one that torch can use here, got cuda:63",)),
        (("validate", "--seed", "-1"), ("--seed must be >= 0, got -1",)),
        (("figures", "nowhere"), ("DIR must hold rows.jsonl, got nowhere", "s2sam validate --out nowhere")),
        (("bench", "everything"), ("WHAT must be one of trajectories", "everything")),
        (("validate", "--no-such-option"), ("--no-such-option",)),
        (("frobnicate",), ("frobnicate",)),
    ],
)
def test_bad_usage_is_one_clear_refusal_with_exit_code_2(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    for word in words:
        assert word in done.output, done.output
    assert not (tmp_path / "s2sam-out").exists() or not list((tmp_path / "s2sam-out").iterdir())


def test_an_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("kept")
    done = run("validate", "--out", tmp_path / "file")
    assert done.exit_code == 2
    assert "--out must be a folder that can be written" in done.output
    assert (tmp_path / "file").read_text() == "kept"


def test_figures_refuses_a_file_without_finished_cells(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"claim": "A1", "cell": "x", "cell_rows": 2}\n{"torn')
    done = run("figures", tmp_path)
    assert done.exit_code == 2
    assert "at least one finished cell" in done.output


def test_claims_lists_every_claim_and_json_parses():
    assert all(label in run("claims").output for label in ("A1", "B1''", "B8"))
    listed = [json.loads(line) for line in run("claims", "--json").output.splitlines()]
    assert [c["label"] for c in listed] == list(CLAIMS)
    assert all(c["statement"] and c["source"] for c in listed)


COMMAND = [
    sys.executable,
    "-c",
    "from validation import main; main()",
    "validate",
    "--quick",
    "--claims",
    "A3",
    "--workers",
    "1",
    "--out",
]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The rows of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    subprocess.run([*COMMAND, str(folder)], env=ENVIRONMENT, check=True, capture_output=True)
    return (folder / "rows.jsonl").read_text()


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_and_resumed_gives_the_rows_of_an_unbroken_run(tmp_path, kill, unbroken):
    """A real process is stopped in mid-run; the same command finishes, and no row is lost or doubled."""
    rows = tmp_path / "rows.jsonl"
    process = subprocess.Popen(
        [*COMMAND, str(tmp_path)], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (rows.exists() and rows.stat().st_size > 5_000):
        time.sleep(0.02)
    process.send_signal(kill)
    _, errors = process.communicate()
    assert process.returncode != 0
    assert 0 < rows.stat().st_size < len(unbroken)
    if kill is signal.SIGINT:
        assert "the same command resumes" in errors
        assert "Traceback" not in errors
    subprocess.run([*COMMAND, str(tmp_path)], env=ENVIRONMENT, check=True, capture_output=True)
    assert rows.read_text() == unbroken
