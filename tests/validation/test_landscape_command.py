"""`s2sam landscape` as a user meets it: table and files for what `s2sam train` left, refusals."""

import json

import pytest
import torch
from typer.testing import CliRunner

from validation import landscape_command, training
from validation.cli import app
from validation.landscape import roughness, surfaces

SMALL = ("--grid", 3, "--directions", 2, "--images", 32)


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of two runs, by SGD and by S2-SAM."""
    out = tmp_path_factory.mktemp("runs")
    for optimizer in ("sgd", "s2sam"):
        config = training.Config(
            method="random", optimizer=optimizer, sparsity=0.9, epochs=1, train_size=128, batch=32, model="compact"
        )
        training.run(config, out)
    return out


def rows_of(out):
    return [json.loads(line) for line in (out / "landscape.jsonl").read_text().splitlines()]


def test_a_run_gets_its_numbers_and_a_figure(trained, tmp_path):
    file = trained / "random-sgd-0" / "checkpoint.pt"
    done = run("landscape", file, *SMALL, "--span", 0.5, "--batchnorm", "batch", "--unmasked", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert {p.name for p in tmp_path.iterdir()} == {"landscape.jsonl", "landscape.svg"}
    (row,) = rows_of(tmp_path)
    state = landscape_command.opened(file)
    stored = torch.load(file, weights_only=True)["model"]
    assert all(torch.equal(value, stored[name]) for name, value in state.model.state_dict().items())
    assert sum(int(mask.sum()) for mask in state.sparse.masks.values()) == state.sparse.nonzeros
    x, y = landscape_command.shown(state, 32)
    options = {"directions": 2, "points": 3, "radius": 0.5, "batchnorm": "batch"}
    tables = surfaces(state.model, x, y, **options)  # as from Python, on one's own network
    expected = [roughness(table)["Ra"] for table in tables]
    # stored with 12 digits
    assert row["Ra"] == {"unmasked, batch": pytest.approx(expected, rel=1e-11)}
    assert row["run"] == "random-sgd-0"
    assert (row["finished"], row["grid"], row["span"], row["loss_images"]) == (True, 3, 0.5, 32)
    words = done.output.split()
    for value in (sum(expected) / 2, row["top_eigenvalue"], row["loss"]):
        assert f"{value:.4g}" in words


def test_folders_of_runs_stand_side_by_side_and_the_same_command_gives_the_same(trained, tmp_path):
    seeds = torch.get_rng_state(), torch.get_num_threads()
    assert run("landscape", trained, *SMALL, "--out", tmp_path / "one").exit_code == 0
    assert torch.equal(torch.get_rng_state(), seeds[0])
    assert torch.get_num_threads() == seeds[1]
    two = [trained / "random-s2sam-0", trained / "random-sgd-0"]
    assert run("landscape", *two, *SMALL, "--out", tmp_path / "two").exit_code == 0
    one, other = (rows_of(tmp_path / name) for name in ("one", "two"))
    assert [row["run"] for row in one] == ["random-s2sam-0", "random-sgd-0"]
    assert one == other
    assert one[0]["Ra"] != one[1]["Ra"]
    files = [(tmp_path / name / "landscape.svg").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


def test_an_unfinished_run_is_called_so(trained, tmp_path):
    config = training.Config(method="dense", sparsity=0.0, epochs=1, train_size=128, batch=32, model="mlp")
    with pytest.raises(KeyboardInterrupt):
        training.run(config, tmp_path / "runs", lambda cut, done, total: done == 2)
    done = run("landscape", tmp_path / "runs", *SMALL, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "dense-s2sam-0, unfinished" in done.output
    assert (rows_of(tmp_path / "out")[0]["step"], rows_of(tmp_path / "out")[0]["finished"]) == (2, False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--grid", 4), "--grid must be odd and >= 3, so that the network is one of its points, got 4"),
        (("--span", 0), "--span must be finite and > 0, got 0"),
        (("--span", "nan"), "--span must be finite and > 0, got nan"),
        (("--directions", 0), "--directions must be >= 1, got 0"),
        (("--images", 0), "--images must be >= 1, got 0"),
        (("--batchnorm", "none"), "--batchnorm must be one of fixed, batch, got none"),
        (("--device", "warp"), "--device must be one that torch can use here, got warp"),
    ],
)
def test_bad_usage_is_one_line(arguments, words, trained, tmp_path):
    done = run("landscape", trained, *arguments, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert words in done.output
    assert done.output.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_network_that_diverged_is_refused(trained, tmp_path):
    state = torch.load(trained / "random-sgd-0" / "checkpoint.pt", weights_only=True)
    state["model"]["classifier.bias"].fill_(torch.nan)
    torch.save(state, tmp_path / "checkpoint.pt")
    done = run("landscape", tmp_path, *SMALL, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "CHECKPOINT must be a network with a finite loss, got nan in" in done.output


def damaged(kind, trained, tmp_path):
    """Return a path at which there is no run."""
    place = tmp_path / "run"
    if kind == "missing":
        return place
    place.mkdir()
    state = torch.load(trained / "random-sgd-0" / "checkpoint.pt", weights_only=True)
    if kind == "text":
        (place / "checkpoint.pt").write_text("not a checkpoint")
    if kind == "state dict":
        torch.save(state["model"], place / "checkpoint.pt")
    if kind == "other network":
        torch.save(state | {"config": state["config"] | {"model": "mlp"}}, place / "checkpoint.pt")
    if kind == "other version":
        torch.save(state | {"config": state["config"] | {"new": 1}}, place / "checkpoint.pt")
    if kind == "no configuration":
        torch.save(state | {"config": None}, place / "checkpoint.pt")
    return place


@pytest.mark.parametrize(
    "kind", ["missing", "empty", "text", "state dict", "other network", "other version", "no configuration"]
)
def test_what_is_no_run_is_refused_in_one_line(kind, trained, tmp_path):
    place = damaged(kind, trained, tmp_path)
    done = run("landscape", place, *SMALL, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "CHECKPOINT must be" in done.output
    assert str(place) in done.output
    assert done.output.count("\n") == 1
