"""`s2sam evidence` as a user meets it: files, table, refusals, and what a stop leaves."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from validation.cells import read, write
from validation.cli import app
from validation.evidence import runs
from validation.evidence.experiments import EXPERIMENTS
from validation.evidence.protocol import BASES, TUNING
from validation.evidence.runs import Runs, cell, weight
from validation.training import Config

IMPORTS = "import validation; from dataclasses import replace; from validation.evidence.protocol import BASES"
SMALL = ("--claims", "D6", "--seeds", 2, "--epochs", 2, "--model", "mlp", "--together", 1)


def run(*arguments, catch=True):
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=catch)


SHORT = "BASES.update(digits=replace(BASES['digits'], batch=512))"  # 2 steps an epoch: what is learned is not the point


@pytest.fixture(scope="module", autouse=True)
def _short():
    before = dict(BASES)
    exec(SHORT, {"BASES": BASES, "replace": replace})
    yield
    BASES.update(before)


@pytest.fixture(scope="module")
def whole(_short, tmp_path_factory):
    """The folder of an undisturbed command, and what it printed."""
    out = tmp_path_factory.mktemp("whole")
    done = run("evidence", *SMALL, "--out", out)
    assert done.exit_code == 0, done.output
    return out, done.output


@pytest.fixture(scope="module")
def stacked(_short, tmp_path_factory):
    """The folder of an undisturbed command whose runs share steps."""
    out = tmp_path_factory.mktemp("stacked")
    done = run("evidence", *SMALL, "--together", 5, "--out", out)
    assert done.exit_code == 0, done.output
    return out


def asked(out):
    """How many runs SMALL makes: for each arm of both regimes the settings it tried, by one seed, and two seeds."""
    (finding,) = json.loads((out / "findings.json").read_text())
    tried = [choice["tried"] for choice in finding["chosen"]]
    assert len(tried) == 5 + 6
    assert min(tried) >= 9  # more at the ends of ranges
    return sum(tried) + 2 * len(tried)


def plain(rows):
    """Rows without what may differ between equal runs: the time, and whether a checkout or a copy of it was run."""
    kept = ({k: v for k, v in row.items() if k not in ("seconds", "commit")} for row in rows)
    return sorted(json.dumps(row, sort_keys=True) for row in kept)


def test_one_command_leaves_rows_findings_and_figures(whole):
    out, text = whole
    assert {p.name for p in out.iterdir()} == {"rows.jsonl", "findings.json", "D6.svg"}
    assert "D6 " in text
    assert "S2-SAM less SAM, equal gradient evaluations, 90%" in text
    assert "digits, mlp network, 2 epochs, 2 seeds" in text
    rows = read(out / "rows.jsonl")
    assert len(rows) == asked(out)
    (finding,) = json.loads((out / "findings.json").read_text())
    assert finding["verdict"] in ("SUPPORTED", "REFUTED", "INCONCLUSIVE")
    for row in rows:
        assert {"seed", "optimizer", "method", "cost", "versions", "commit", "device", "evaluations"} <= row.keys()
        assert len(row["history"]["validation_accuracy"]) == row["rounds"] * row["epochs"]
        assert row["history"]["test_accuracy"][-1] == pytest.approx(row["test_accuracy"], rel=1e-5)  # 6 digits
        assert row["evaluations"] == 2 * row["epochs"] * (2 if row["optimizer"] == "sam" else 1)


def test_the_same_command_measures_nothing_and_figures_redraw_from_rows_alone(whole, tmp_path, monkeypatch):
    out, text = whole
    files = {p: p.read_bytes() for p in out.iterdir()}
    monkeypatch.setattr(runs, "Training", lambda *_: pytest.fail("trained again"))
    again = run("evidence", *SMALL, "--out", out)
    assert again.exit_code == 0
    assert again.output == text
    assert {p: p.read_bytes() for p in out.iterdir()} == files
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress((out / "rows.jsonl").read_bytes()))  # as it is committed
    assert run("figures", tmp_path).exit_code == 0
    for name in ("findings.json", "D6.svg"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def test_rows_of_older_code_are_run_again_unless_they_are_asked_for(whole, tmp_path, monkeypatch):
    older = [row | {"cell": f"older {i}", "code": "older"} for i, row in enumerate(read(whole[0] / "rows.jsonl"))]
    write(tmp_path / "rows.jsonl", older)
    monkeypatch.setattr(runs, "Training", lambda *_: pytest.fail("trained again"))
    assert run("evidence", *SMALL, "--older", "--out", tmp_path).exit_code == 0
    assert read(tmp_path / "rows.jsonl") == older
    assert (tmp_path / "findings.json").read_bytes() == (whole[0] / "findings.json").read_bytes()
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        run("evidence", *SMALL, "--out", tmp_path, catch=False)


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_other_claims_keep_it_too(whole, tmp_path, monkeypatch):
    train, count = runs.Training.train, []

    def interrupted(self, *arguments):
        count.append(1)
        if len(count) in (10, 81):  # once among the trials, once among what is judged
            raise KeyboardInterrupt
        train(self, *arguments)

    monkeypatch.setattr(runs.Training, "train", interrupted)
    for done in (9, 79):
        stopped = run("evidence", *SMALL, "--out", tmp_path)
        assert stopped.exit_code == 130
        assert "the same command resumes" in stopped.output
        assert len(read(tmp_path / "rows.jsonl")) == done
    assert run("evidence", *SMALL, "--out", tmp_path).exit_code == 0
    assert len(count) == len(read(whole[0] / "rows.jsonl")) + 2
    assert plain(read(tmp_path / "rows.jsonl")) == plain(read(whole[0] / "rows.jsonl"))
    assert (tmp_path / "findings.json").read_bytes() == (whole[0] / "findings.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("together", [1, 5])
def test_killed_twice_with_two_workers_it_gives_the_same_table(together, whole, stacked, tmp_path):
    undisturbed = stacked if together > 1 else whole[0]
    arguments = [*map(str, SMALL), "--together", str(together), "--workers", "2", "--out", str(tmp_path)]
    command = [sys.executable, "-c", f"{IMPORTS}; {SHORT}; validation.main()", "evidence", *arguments]
    rows = tmp_path / "rows.jsonl"
    for least in (5, 60):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and (not rows.exists() or rows.read_bytes().count(b"\n") < least):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)
        assert process.returncode == -signal.SIGKILL
    assert run("evidence", *SMALL, "--together", together, "--out", tmp_path).exit_code == 0
    assert plain(read(rows)) == plain(read(undisturbed / "rows.jsonl"))
    assert (tmp_path / "findings.json").read_bytes() == (undisturbed / "findings.json").read_bytes()


def test_runs_in_one_step_give_the_same_kind_of_rows_and_are_found_alike(whole, stacked):
    rows, others = read(stacked / "rows.jsonl"), read(whole[0] / "rows.jsonl")
    assert len({row["cell"] for row in rows}) < len(rows) == asked(stacked)
    assert {row["together"] for row in rows} | {1} == {1, 2, 4, 5}  # a longer range, if any; seeds; radii; rates
    names = {f for f in rows[0] if f not in ("cell", "cell_rows", "seconds", "together")}
    assert names == {f for f in others[0] if f not in ("cell", "cell_rows", "seconds", "together")}
    alone = Runs(others)
    for config in Runs(rows).configs():
        if config.seed >= TUNING:  # judged runs are at trials that may be chosen otherwise, by a rounding
            one, other = alone[config], Runs(rows)[config]
            assert one["cost"] == pytest.approx(other["cost"], rel=1e-12)
            # float32, four steps from one start: losses of size 1 with some 1e3 roundings of 6e-8, grown a few times
            assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-3)


@pytest.mark.parametrize(("device", "largest"), [("cpu", 3), ("cuda", 10)])
def test_on_a_cpu_a_kill_loses_little_of_what_shares_steps(device, largest):
    long = [Config(method="lrr", sparsity=0.95, epochs=20, seed=s, device=device) for s in range(12)]
    short = [replace(config, method="mest") for config in long]
    assert 3 * weight("training", long[0]) <= runs.LONGEST < 4 * weight("training", long[0])
    for configs, most in ((long, largest), (short, 10)):
        cells = runs.grouped(configs, 10)
        assert max(len(runs.configs(c)) for c in cells) == most
        assert {config for c in cells for config in runs.configs(c)} == set(configs)


def test_sparsities_that_share_their_rounds_are_trained_in_one_cell():
    own = [Config(method="lt", sparsity=s, epochs=20, seed=n) for s in (0.9, 0.8, 0.95) for n in range(7)]
    other = [Config(method="lt", sparsity=0.8, epochs=20, seed=9, rho=0.1), Config(method="mest", epochs=20)]
    cells = runs.grouped([*other, *own], 10)
    sparsities = [sorted({c.sparsity for c in runs.configs(each)}) for each in cells]
    assert sparsities == [[0.8, 0.9, 0.95]] * 3 + [[0.8], [0.9]]
    assert {config for each in cells for config in runs.configs(each)} == {*own, *other}
    assert [len(runs.configs(each)) for each in cells] == [9, 9, 3, 1, 1]
    assert 2 * runs.total(own) < sum(weight("training", c) for c in own)
    assert {len(runs.configs(each)) for each in runs.grouped(own, 1)} == {1}


def test_a_cell_of_several_sparsities_gives_a_row_for_each_configuration_in_order():
    own = [Config(method="lrr", sparsity=s, epochs=1, train_size=64, seed=n) for s in (0.5, 0.2) for n in (0, 1)]
    (only,) = runs.grouped(own, 10)
    rows = only.rows()
    wanted = [(c.sparsity, c.seed) for c in runs.configs(only)]
    assert wanted == [(0.2, 0), (0.2, 1), (0.5, 0), (0.5, 1)]
    assert [(row["sparsity"], row["seed"]) for row in rows] == wanted
    assert [row["rounds"] for row in rows] == [2, 2, 5, 5]
    assert all(row["kept"] == row["promised"] and row["together"] == 2 for row in rows)
    assert [len(row["history"]["test_loss"]) for row in rows] == [2, 2, 5, 5]
    assert Runs(rows).configs() == runs.configs(only)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--claims", "D4,D99"), f"--claims must be of {', '.join(EXPERIMENTS)}, got D99"),
        (("--seeds", 1), "--seeds must be >= 2, got 1"),
        (("--dataset", "cifar"), "--dataset must be one of digits, fashion-mnist, cifar10, cifar100, got cifar"),
        (("--epochs", 0), "--epochs must be >= 1, got 0"),
        (("--train-size", 0), "--train-size must be >= 1, or None for all, got 0"),
        (("--model", "big"), "--model must be one of mlp"),
        (("--together", 0), "--together must be >= 1, got 0"),
        (("--workers", 0), "--workers must be >= 1, got 0"),
        (("--executor", "here"), "--executor must be dask://HOST:PORT, got here"),
        (("--device", "warp"), "--device must be one that torch can use here"),
    ],
)
def test_bad_usage_is_one_line(arguments, words, tmp_path):
    done = run("evidence", *arguments, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert words in done.output
    assert done.output.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--train-size", 1151), "s2sam: --train-size must be <= 1150, the images left to train on, got 1151"),
        (("--dataset", "cifar100"), "s2sam: cifar100 must be given its folder, got none; name with --data-dir"),
    ],
)
def test_what_the_data_refuse_is_one_line_below_the_bar(arguments, words, tmp_path):
    done = run("evidence", "--claims", "D6", *arguments, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert done.output.strip().startswith(words)
    assert done.output.strip().count("\n") == 0


def test_a_run_is_found_by_what_it_is_and_where_it_ran_is_not_part_of_that():
    config = Config(method="dense", sparsity=0.0, model="mlp", epochs=1, train_size=64, validation=0.2)
    rows = cell(config).rows()
    assert Runs(rows)[Config(**{**config.__dict__, "device": "cuda"})] is rows[0]
    assert rows[0]["experiment"] == "training"
    with pytest.raises(KeyError):
        Runs(rows)[Config(**{**config.__dict__, "seed": 1})]


def test_weights_are_about_the_time_that_runs_take():
    dense = Config(method="dense", sparsity=0.0)
    plain = weight("training", dense)
    assert weight("training", Config(method="dense", sparsity=0.0, optimizer="sam")) > 1.7 * plain
    assert weight("training", Config(method="lt", sparsity=0.9)) == 12 * plain
    assert weight("training", Config(method="lt", sparsity=0.0)) == plain
    assert weight("landscape", dense) > 10 * plain > weight("corruption", dense) > plain
