"""Training runs: what they compute, that methods meet on equal terms, what they cost, what they refuse."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from training_runs import SIZE, Tiny, config, leaves, plain, tiny_images

from s2sam import S2SAM, SAM
from validation import datasets, models
from validation.training import METHODS, OPTIMIZERS, check, find, loop, run, summary
from validation.training.loop import Training


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(datasets.DATASETS, "tiny", tiny_images)
    monkeypatch.setitem(models.MODELS, "tiny", Tiny)


def literal(optimizer, c):
    """Train densely by a plain loop; return the network, and the mean loss and accuracy of each epoch."""
    x, y = tiny_images().x_train, tiny_images().y_train
    torch.manual_seed(loop.seed_for("init", c.seed))
    model = Tiny()
    torch.manual_seed(loop.seed_for("train", c.seed))
    base = torch.optim.SGD(model.parameters(), lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay)
    opt = {"sgd": lambda: base, "sam": lambda: SAM(base, c.rho), "s2sam": lambda: S2SAM(base, c.rho)}[optimizer]()
    steps, t, epochs = c.epochs * (SIZE // c.batch), 0, []
    for epoch in range(c.epochs):
        seed = loop.seed_for("order", c.seed, epoch)
        order = torch.randperm(SIZE, generator=torch.Generator().manual_seed(seed)).tolist()
        losses, hits = [], 0
        while order:
            index, order = order[: c.batch], order[c.batch :]
            for group in opt.param_groups:
                group["lr"] = c.lr * (1 + math.cos(math.pi * t / steps)) / 2
            logits = []

            def closure(index=index, logits=logits):
                opt.zero_grad()
                logits.append(model(x[index]))
                loss = nn.functional.cross_entropy(logits[-1], y[index])
                loss.backward()
                return loss

            if optimizer == "s2sam":
                with opt.perturbed():
                    loss = closure()
                opt.step()
            else:
                loss = opt.step(closure)
            losses.append(float(loss.detach().double()))
            hits += sum(int(row.argmax()) == label for row, label in zip(logits[0], y[index].tolist(), strict=True))
            t += 1
        epochs.append((sum(losses) / len(losses), hits / SIZE))
    return model, epochs


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_dense_run_is_the_plain_loop_bit_for_bit(optimizer, tmp_path):
    c = config(method="dense", optimizer=optimizer, seed=3, epochs=3)
    rows = run(c, tmp_path)
    model, epochs = literal(optimizer, c)
    state = torch.load(tmp_path / c.name / "checkpoint.pt", weights_only=True)["model"]
    for name, value in model.state_dict().items():
        assert torch.equal(state[name], value), name
    for row, (loss, accuracy) in zip(rows, epochs, strict=True):
        # both are float64 sums of the same 3 numbers, in one order, divided once
        assert row["train_loss"] == loss
        assert row["train_accuracy"] == accuracy
        assert row["loss_at"] == ("y" if optimizer == "s2sam" else "w")
    data = tiny_images()
    with torch.no_grad():
        logits = model.eval()(data.x_test).double().numpy()
    assert rows[-1]["test_accuracy"] == np.mean(logits.argmax(1) == data.y_test.numpy())
    entropy = np.log(np.exp(logits).sum(1)) - logits[np.arange(20), data.y_test.numpy()]
    # float32 cross-entropies: a few units in the last place of the largest term each, and the logits' own rounding
    assert rows[-1]["test_loss"] == pytest.approx(entropy.mean(), abs=2e-6 * np.abs(logits).max())


def test_methods_and_optimizers_meet_on_equal_weights_and_equal_batches():
    pairs = itertools.product(METHODS, OPTIMIZERS)
    runs = [Training(config(method=m, optimizer=o), tiny_images()) for m, o in pairs]
    first = runs[0]
    for other in runs[1:]:
        for (name, p), q in zip(first.model.named_parameters(), other.model.parameters(), strict=True):
            assert torch.equal(torch.where(q == 0, 0, p), q), name  # cut, or as it was
        assert torch.equal(first._permutation(1), other._permutation(1))
    assert not torch.equal(first._permutation(0), first._permutation(1))
    another = Training(config(seed=1), tiny_images())
    assert not torch.equal(first._permutation(0), another._permutation(0))
    assert not torch.equal(next(first.model.parameters()), next(another.model.parameters()))


def test_the_cosine_is_that_of_the_direction_used_and_the_gradient_at_w(tmp_path):
    """Recomputed for the second epoch's first batch from a run stopped just before it."""
    c = config(method="dense", optimizer="s2sam", epochs=2)
    with pytest.raises(KeyboardInterrupt):
        run(c, tmp_path / "part", lambda cut, done, total: done == 3)
    training = Training(c, tiny_images())
    training.load_state_dict(find(c, tmp_path / "part", True))
    stale = [training.optimizer.direction(p).double().flatten() for p in training.model.parameters()]
    index = training._permutation(1)[:16]
    training.model.train()
    nn.functional.cross_entropy(training.model(training.x[index]), training.y[index]).backward()
    fresh = [p.grad.double().flatten() for p in training.model.parameters()]
    a, b = torch.cat(stale).numpy(), torch.cat(fresh).numpy()
    expected = a @ b / np.sqrt(a @ a * (b @ b))
    rows = run(c, tmp_path / "whole")
    # y - w is rounded to float32: each entry is off by at most 2^-24 |y| < 2^-24, out of a length of rho
    off = math.sqrt(len(a)) * 2**-24 / c.rho * 2
    assert rows[1]["cos"] == pytest.approx(expected, abs=off)
    assert abs(expected) > 100 * off
    assert rows[0]["cos"] is None  # the first step has no direction
    assert [r["cos"] for r in run(config(optimizer="sgd"), tmp_path)] == [None, None]
    assert [r["cos"] for r in run(config(optimizer="s2sam", rho=0.0), tmp_path)] == [None, None]
    for row in run(config(method="rigl", optimizer="sam"), tmp_path):
        assert row["cos"] == pytest.approx(1, abs=off)


@pytest.mark.parametrize("optimizer", ["sam", "s2sam"])
def test_measuring_the_cosine_changes_nothing(optimizer, tmp_path, monkeypatch):
    c = config(method="rigl", optimizer=optimizer)
    rows = run(c, tmp_path / "measured")
    monkeypatch.setattr(Training, "_at_w", lambda self, x, y: None)
    other = run(c, tmp_path / "not")
    assert [{**plain(r), "cos": None} for r in rows] == list(map(plain, other))
    a, b = (torch.load(tmp_path / f / c.name / "checkpoint.pt", weights_only=True) for f in ("measured", "not"))
    for part in ("model", "optimizer", "controller", "rng"):
        assert repr(list(leaves(a[part]))) == repr(list(leaves(b[part])))


LAYERS = {"0.weight": (54, 16), "3.weight": (432, 4), "8.weight": (128, 1)}  # weights, and how often each is used


def forward(kept):
    return sum(2 * n * uses * kept.get(name, n) / n for name, (n, uses) in LAYERS.items())


def test_costs_are_those_counted_by_hand(tmp_path):
    dense, images_ = forward({}), 2 * SIZE

    def cost(**given):
        return run(config(**given), tmp_path)[-1]["cost"]

    assert dense == 2 * (54 * 16 + 432 * 4 + 128)
    assert cost(method="dense", optimizer="sgd") == 3 * dense * images_
    assert cost(method="dense", optimizer="s2sam") == 3 * dense * images_
    assert cost(method="dense", optimizer="sam") == 6 * dense * images_
    c = config(method="snip", optimizer="sgd")
    sparse = Training(c, tiny_images())
    sparse.prepare()
    kept = forward({name: int(mask.sum()) for name, mask in sparse.sparse.masks.items()})
    assert cost(method="snip", optimizer="sgd") == pytest.approx(3 * dense * 16 + 3 * kept * images_, rel=1e-12)
    assert cost(method="grasp", optimizer="sgd") > 12 * dense * 40
    # RigL's uniform updates: 6 batches, interval 1, an update before each step but the first and from 3/4 on
    training = Training(config(method="rigl", optimizer="sgd"), tiny_images())
    kept = forward({name: int(mask.sum()) for name, mask in training.sparse.masks.items()})
    rows = run(config(method="rigl", optimizer="sgd"), tmp_path)
    updates = 6 - rows[-1]["step"]
    assert updates > 0
    expected = (3 * kept * (6 - updates) + (2 * kept + dense) * updates) * 16
    assert rows[-1]["cost"] == pytest.approx(expected, rel=1e-12)
    doubled = run(config(method="rigl", optimizer="sam"), tmp_path)[-1]["cost"]
    assert doubled == pytest.approx(expected + 3 * kept * images_, rel=1e-12)
    assert rows[-1]["relative_cost"] == pytest.approx(expected / (3 * dense * images_), rel=1e-12)


def test_lottery_tickets_pay_for_each_of_their_rounds(tmp_path):
    c = config(method="lt", optimizer="s2sam", sparsity=0.5)
    rows, starts = [], []
    run(c, tmp_path, lambda cut, done, total: starts.append((cut, done)))
    rows = [json.loads(line) for line in (tmp_path / c.name / "rows.jsonl").read_text().splitlines()]
    kept, n = [614], 614
    while n > 307:
        n = max(n - math.floor(0.2 * n + 1e-6), 307)
        kept.append(n)
    assert [row["nonzeros"] for row in rows[::2]] == kept
    assert [row["round"] for row in rows] == [r for r in range(len(kept)) for _ in range(2)]
    assert starts == [(r, b) for r in range(len(kept)) for b in range(1, 7)]
    assert rows[1]["relative_cost"] == 1
    assert 1 + 0.5 * (len(kept) - 1) * 0.5 < rows[-1]["relative_cost"] < len(kept)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"method": "magic"}, ("method must be one of dense", "got magic")),
        ({"optimizer": "adam"}, ("optimizer must be one of sgd, sam, s2sam, random, unmasked, got adam",)),
        ({"dataset": "mnist"}, ("dataset must be one of digits", "got mnist")),
        ({"model": "big"}, ("model must be one of mlp", "got big")),
        ({"sparsity": 1.0}, ("sparsity must be in [0, 1), got 1.0",)),
        ({"sparsity": math.nan}, ("sparsity must be in [0, 1), got nan",)),
        ({"rho": -0.1}, ("rho must be finite and >= 0, got -0.1",)),
        ({"rho": math.inf}, ("rho must be finite and >= 0, got inf",)),
        ({"epochs": 0}, ("epochs must be >= 1, got 0",)),
        ({"batch": 0}, ("batch must be >= 1, got 0",)),
        ({"lr": 0.0}, ("lr must be > 0, got 0.0",)),
        ({"lr": math.inf}, ("lr must be finite and > 0, got inf",)),
        ({"momentum": 1.0}, ("momentum must be in [0, 1), got 1.0",)),
        ({"weight_decay": -1.0}, ("weight_decay must be finite and >= 0, got -1.0",)),
        ({"schedule": "warm"}, ("schedule must be one of cosine, steps, constant, got warm",)),
        ({"validation": 1.0}, ("validation must be in [0, 1), got 1.0",)),
        ({"label_noise": -0.1}, ("label_noise must be in [0, 1), got -0.1",)),
        ({"train_size": 0}, ("train_size must be >= 1, or None for all, got 0",)),
        ({"seed": -1}, ("seed must be >= 0, got -1",)),
        ({"threads": 0}, ("threads must be >= 1, got 0",)),
    ],
)
def test_a_bad_argument_is_one_line(given, words):
    with pytest.raises(ValueError, match="must be") as refusal:
        config(**given)
    assert all(word in str(refusal.value) for word in words)
    assert "\n" not in str(refusal.value)


def test_a_batch_larger_than_the_data_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="batch must be <= 48, all training images, got 49"):
        run(config(batch=49), tmp_path)
    with pytest.raises(ValueError, match="batch must be <= 48"):
        check([config(batch=49)], tmp_path, False)
    assert not list(tmp_path.iterdir())


def test_the_summary_holds_configuration_and_outcome_but_no_path(tmp_path):
    c = config(method="lrr", optimizer="sgd", data_dir="/somewhere")
    rows = run(c, tmp_path)
    row = summary(c, rows)
    assert row["run"] == "lrr-sgd-0"
    assert row["rounds"] == rows[-1]["round"] + 1 == 5
    assert row["lr"] == 0.1
    assert row["test_accuracy"] == rows[-1]["test_accuracy"]
    assert row["seconds"] == pytest.approx(sum(r["seconds"] for r in rows), rel=1e-12)
    assert "/somewhere" not in json.dumps(row)


def test_a_run_leaves_torch_as_it_was_when_stopped_too(tmp_path):
    torch.manual_seed(9)
    before, threads, seen = torch.get_rng_state(), torch.get_num_threads(), []
    with pytest.raises(KeyboardInterrupt):
        run(config(threads=threads + 1), tmp_path, lambda *where: seen.append(torch.get_num_threads()) or True)
    assert seen == [threads + 1]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
