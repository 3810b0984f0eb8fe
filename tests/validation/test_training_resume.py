"""A run stopped or killed at any moment goes on bit for bit; nothing is overwritten, damage is named."""

import contextlib
import os
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
import torch
from training_runs import Tiny, assert_same_run, config, plain, tiny_images

from validation import datasets, models
from validation.training import METHODS, OPTIMIZERS, checkpoint, run
from validation.training.loop import Training


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(datasets.DATASETS, "tiny", tiny_images)
    monkeypatch.setitem(models.MODELS, "tiny", Tiny)


def in_pieces(config, out):
    """Run with a stop, and a fresh process's worth of objects, after every single batch."""
    pieces = 0
    while True:
        try:
            return run(config, out, lambda *where: True, resume=True), pieces
        except KeyboardInterrupt:
            pieces += 1
            assert pieces < 1000


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", METHODS)
def test_a_run_stopped_after_every_batch_ends_bit_for_bit_as_an_unbroken_one(method, optimizer, tmp_path):
    sparsity = {"lt": 0.3, "lrr": 0.3, "chase": 0.7}.get(method, 0.5)  # few rounds; room in half of the channels
    c = config(method=method, optimizer=optimizer, sparsity=sparsity)
    rows = run(c, tmp_path / "whole")
    torch.rand(7)  # the state of torch's generator outside of a run is no part of it
    found, pieces = in_pieces(c, tmp_path / "pieces")
    assert pieces == 3 * len(rows)
    assert list(map(plain, found)) == list(map(plain, rows))
    assert_same_run(tmp_path / "whole" / c.name, tmp_path / "pieces" / c.name)
    assert rows[-1]["kept"] == rows[-1]["promised"]


@pytest.mark.parametrize("forgotten", ["model", "optimizer", "controller", "sums", "rng", "cost"])
def test_resuming_without_a_part_of_the_state_is_noticed(forgotten, tmp_path, monkeypatch):
    """Each part of the checkpoint matters, and the comparison sees it."""
    c = config(method="set", optimizer="s2sam")
    run(c, tmp_path / "whole")
    load = Training.load_state_dict

    def forgetful(self, state):
        load(self, {**state, forgotten: self.state_dict()[forgotten]})

    monkeypatch.setattr(Training, "load_state_dict", forgetful)
    in_pieces(c, tmp_path / "pieces")
    with pytest.raises(AssertionError):
        assert_same_run(tmp_path / "whole" / c.name, tmp_path / "pieces" / c.name)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    c = config(epochs=1)
    rows = run(c, tmp_path)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / c.name).iterdir()}
    with pytest.raises(ValueError, match="out must hold no run rigl-s2sam-0 yet"):
        run(c, tmp_path)
    for name, value in {"lr": 0.2, "epochs": 3, "sparsity": 0.6, "threads": 2}.items():
        with pytest.raises(ValueError, match=rf"^{name} must be .*, got {value}; resume with the same") as refusal:
            run(replace(c, **{name: value}), tmp_path, resume=True)
        assert "\n" not in str(refusal.value)
    assert run(replace(c, data_dir="elsewhere"), tmp_path, resume=True) == rows  # a folder may move
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / c.name).iterdir()} == before


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped", "foreign", "keys", "config", "content"])
def test_a_damaged_checkpoint_is_one_line_and_stays(damage, tmp_path):
    c = config(epochs=1)
    run(c, tmp_path)
    path = tmp_path / c.name / "checkpoint.pt"
    data = path.read_bytes()
    if damage == "foreign":
        torch.save([1, 2], path)
    elif damage in ("keys", "config", "content"):
        state = torch.load(path, weights_only=True)
        wrong = {"keys": {"more": 1}, "config": {"config": {"colour": "red"}}, "content": {"model": {}}}
        torch.save(state | {"finished": False} | wrong[damage], path)
    else:
        at = data.index(b"momentum_buffer")
        flipped = data[:at] + bytes(255 - b for b in data[at : at + 9]) + data[at + 9 :]
        path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"hello", "flipped": flipped}[damage])
    broken = path.read_bytes()
    with pytest.raises(ValueError, match="checkpoint must be a file that s2sam train wrote, got") as refusal:
        run(c, tmp_path, resume=True)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert path.read_bytes() == broken


def in_place(path, state):
    """A mutant of `checkpoint.save`."""
    with path.open("wb") as file:
        torch.save(state, file)
        os.fsync(file.fileno())


def assert_survives(save, path, monkeypatch):
    """Let every call that `save` makes fail in turn, after half of the bytes; the former state must stay."""
    save(path, {"a": torch.zeros(1000)})
    before = path.read_bytes()

    def half(state, file):
        torch_save(state, file)
        file.truncate(file.tell() // 2)
        raise OSError("no space left")

    def refused(*_):
        raise OSError("no space left")

    torch_save = torch.save
    for owner, name, broken in ((torch, "save", half), (os, "fsync", refused), (os, "replace", refused)):
        with monkeypatch.context() as patch, contextlib.suppress(OSError):
            patch.setattr(owner, name, broken)
            save(path, {"a": torch.ones(1000)})
        assert path.read_bytes() == before, name
    save(path, {"a": torch.ones(1000)})
    assert checkpoint.load(path, frozenset("a"))["a"].sum() == 1000


def test_a_checkpoint_is_replaced_in_one_step_or_not_at_all(tmp_path, monkeypatch):
    assert_survives(checkpoint.save, tmp_path / "one.pt", monkeypatch)
    with pytest.raises(AssertionError):
        assert_survives(in_place, tmp_path / "two.pt", monkeypatch)


KILLED = """
    import os, random, signal, sys, time
    from pathlib import Path
    from validation.training import Config, run, loop

    def version(path):
        return path.stat().st_ino if path.exists() else None

    loop.SAVE_EVERY = 0.0  # a checkpoint after every batch: many moments are inside the writing of one
    config = Config(method="rigl", epochs=3, batch=128, model="mlp")
    out, kills, moments = Path(sys.argv[1]), 0, random.Random(0)
    run(config, out / "whole")
    path = out / "killed" / config.name / "checkpoint.pt"
    while True:
        child = os.fork()
        if not child:
            run(config, out / "killed", resume=True)
            os._exit(0)
        for _ in range(moments.randint(0, 2)):  # wait for so many checkpoints, and then a little
            before = version(path)
            while version(path) == before and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                time.sleep(0.0005)
        time.sleep(moments.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        if os.waitpid(child, 0)[1] == 0:
            break
        kills += 1
    print(kills, flush=True)
    os._exit(0)
"""


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_bit_for_bit_as_an_unbroken_one(tmp_path):
    """SIGKILL leaves no time for anything; each time a new process goes on from the file."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 2
    assert_same_run(tmp_path / "whole" / "rigl-s2sam-0", tmp_path / "killed" / "rigl-s2sam-0")
    left = {p.name for p in (tmp_path / "killed" / "rigl-s2sam-0").iterdir()}
    assert left == {"checkpoint.pt", "rows.jsonl"}
