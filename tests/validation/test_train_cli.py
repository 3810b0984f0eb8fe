"""`s2sam train` as a user meets it: table and files, refusals, Ctrl-C."""

import json
import os
import signal

import pytest
from typer.testing import CliRunner

from validation import bench, training
from validation.cli import app
from validation.training import loop

SHORT = ("--epochs", 1, "--sparsity", 0.5, "--model", "mlp", "--batch", 256)


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_combination_is_a_folder_and_a_line_of_the_table(tmp_path):
    lists = ("--method", "rigl, snip", "--optimizer", "sgd,s2sam", "--seed", "0,1")
    done = run("train", *lists, *SHORT, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    names = {f"{m}-{o}-{s}" for m in ("rigl", "snip") for o in ("sgd", "s2sam") for s in (0, 1)}
    assert {p.name for p in tmp_path.iterdir()} == names | {"rows.jsonl", "training.svg"}
    rows = {row["run"]: row for row in rows_of(tmp_path / "rows.jsonl")}
    assert rows.keys() == names
    for name, row in rows.items():
        last = rows_of(tmp_path / name / "rows.jsonl")[-1]
        assert last.items() <= row.items() | {("seconds", last["seconds"])}
        assert row["nonzeros"] == row["kept"] == row["promised"] == 25100
        assert row["versions"]
    for method in ("rigl", "snip"):
        line = next(x.split() for x in done.output.splitlines() if x.split()[:1] == [method])
        assert line[3:6] == ["2", "25,100", "yes"]
        for optimizer, cell in zip(("sgd", "s2sam"), line[1:3], strict=True):
            a, b = (100 * rows[f"{method}-{optimizer}-{seed}"]["test_accuracy"] for seed in (0, 1))
            assert cell == f"{(a + b) / 2:.2f}±{abs(a - b) / 2**0.5:.2f}"  # of two: |a - b|/sqrt(2)


def test_a_later_command_adds_its_runs_and_resume_changes_nothing(tmp_path):
    assert run("train", "--method", "set", *SHORT, "--out", tmp_path).exit_code == 0
    assert run("train", "--method", "random", *SHORT, "--out", tmp_path).exit_code == 0
    files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert [row["run"] for row in rows_of(tmp_path / "rows.jsonl")] == ["set-s2sam-0", "random-s2sam-0"]
    again = run("train", "--method", "set,random", *SHORT, "--out", tmp_path, "--resume")
    assert again.exit_code == 0
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == files


def test_dense_beside_all_names_every_method_once(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("validation.training.command.check", lambda configs, out, resume: seen.extend(configs))
    monkeypatch.setattr("validation.training.command.run", lambda *_, **__: pytest.skip.Exception)
    run("train", "--method", "dense,all,rigl", "--optimizer", "all", "--out", tmp_path)
    assert len({config.name for config in seen}) == len(seen) == 12 * 3
    assert {config.method for config in seen} == training.METHODS.keys() - {"random", "lt-30", "lt-40"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--method", "magic"), ("--method must be of dense", "got magic")),
        (("--method", ""), ("--method must be of dense", "got nothing")),
        (("--optimizer", "sgd,adam"), ("--optimizer must be of sgd, sam, s2sam", "got adam")),
        (("--seed", "one"), ("--seed must be whole numbers", "got one")),
        (("--seed", "-1"), ("--seed must be >= 0, got -1",)),
        (("--sparsity", "1"), ("--sparsity must be in [0, 1), got 1.0",)),
        (("--weight-decay", "-1"), ("--weight-decay must be finite and >= 0, got -1.0",)),
        (("--batch", "2000"), ("--batch must be <= 1437", "got 2000")),
        (("--dataset", "mnist"), ("--dataset must be one of digits", "got mnist")),
        (("--model", "big"), ("--model must be one of mlp", "got big")),
        (("--device", "warp"), ("--device must be one that torch can use here, got warp",)),
        (("--dataset", "fashion-mnist", "--data-dir", "nowhere"), ("nowhere must hold", "--data-dir")),
        (("--method", "chex", "--model", "mlp"), ("channels",)),
        (("--epochs", "many"), ("--epochs",)),
    ],
)
def test_bad_usage_is_one_clear_refusal_and_nothing_is_trained(arguments, words, tmp_path):
    done = run("train", *arguments, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    for word in words:
        assert word in done.output, done.output
    if "--epochs" not in arguments:
        assert done.output.count("\n") == 1
    assert not list(tmp_path.rglob("*.pt"))


def test_folders_are_not_overwritten_and_one_refusal_stops_all_before_training(tmp_path):
    assert run("train", "--method", "set", *SHORT, "--out", tmp_path).exit_code == 0
    done = run("train", "--method", "random,set", *SHORT, "--out", tmp_path)
    assert done.exit_code == 2
    assert "--out must hold no run set-s2sam-0 yet" in done.output
    assert "add --resume" in done.output
    done = run("train", "--method", "random,set", *SHORT, "--lr", 0.2, "--out", tmp_path, "--resume")
    assert done.exit_code == 2
    assert "--lr must be 0.1" in done.output
    assert not (tmp_path / "random-s2sam-0").exists()
    (tmp_path / "file").write_text("kept")
    assert "--out must be a folder that can be written" in run("train", "--out", tmp_path / "file").output
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "rows.jsonl").write_text('{"claim": "A1"}\n')
    done = run("train", *SHORT, "--out", tmp_path / "else")
    assert done.exit_code == 2
    assert "--out must hold rows of training runs only" in done.output
    assert (tmp_path / "else" / "rows.jsonl").read_text() == '{"claim": "A1"}\n'


def test_ctrl_c_finishes_the_batch_saves_and_resume_ends_as_an_unbroken_run(tmp_path, monkeypatch):
    arguments = ("--method", "rigl", "--epochs", 3, "--batch", 256, "--model", "mlp", "--out")
    assert run("train", *arguments, tmp_path / "whole").exit_code == 0
    step, count = loop.Training._train_batch, []

    def interrupted(self):
        count.append(self.batch)
        if self.batch == 7:
            os.kill(os.getpid(), signal.SIGINT)
        step(self)

    monkeypatch.setattr(loop.Training, "_train_batch", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    stopped = run("train", *arguments, tmp_path / "cut")
    assert signal.getsignal(signal.SIGINT) is handler
    assert stopped.exit_code == 130
    assert "the same command with --resume goes on" in stopped.output
    assert "Traceback" not in stopped.output
    assert count == list(range(8))  # the batch was finished
    monkeypatch.setattr(loop.Training, "_train_batch", step)
    assert run("train", *arguments, tmp_path / "cut", "--resume").exit_code == 0
    whole, cut = (rows_of(tmp_path / name / "rigl-s2sam-0" / "rows.jsonl") for name in ("whole", "cut"))
    assert [{**row, "seconds": 0} for row in whole] == [{**row, "seconds": 0} for row in cut]


def test_the_sparse_bench_measures_all_three(monkeypatch):
    monkeypatch.setitem(bench.BENCHES, "sparse", lambda: bench.sparse(depth=8, batch=2, repetitions=1))
    done = run("bench", "sparse", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.output)
    assert "threads" in result["machine"]
    assert all(value > 0 for name, value in result.items() if name.endswith(", ms"))
    # half of the channels between the two convolutions of a block: these cost half, stem and shortcuts the whole
    assert 1.5 < result["ratio of FLOPs"] < 2
    assert result["largest difference of logits"] < 1e-5  # float32, logits of size 0.1 and sums in another order
