"""Crops and flips: what a batch is shown is a window of the padded image, drawn by seed, epoch and image alone."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import pad
from training_runs import SIZE, Tiny, assert_same_run, config, tiny_images

from validation import datasets, models
from validation.datasets import Images
from validation.training import run
from validation.training.augment import AUGMENTATIONS, PAD, CropFlip, Plain
from validation.training.config import AUGMENTATIONS as NAMES
from validation.training.config import DEFAULTS, Config
from validation.training.loop import Training
from validation.training.side_by_side import SideBySide

N = 2000


def images():
    """Every pixel of every image another number, so that a crop tells where it is from."""
    return torch.arange(N * 2 * 8 * 8, dtype=torch.float64).reshape(N, 2, 8, 8)


def windows(x, black):
    """All 162 crops of one image (c, h, w), by (top, left, mirrored), made one by one."""
    wide = torch.stack([pad(channel, (PAD,) * 4, value=float(b)) for channel, b in zip(x, black, strict=True)])
    side = x.shape[-1]
    cut = {(i, j): wide[:, i : i + side, j : j + side] for i in range(9) for j in range(9)}
    return {(*place, m): w.flip(2) if m else w for place, w in cut.items() for m in (False, True)}


def drawn(made, x, index, epoch):
    """Return which crop each image of a batch was shown as."""
    black = x.amin((0, 2, 3))
    found = []
    for image, seen in zip(index.tolist(), made(index, epoch), strict=True):
        matches = [place for place, w in windows(x[image], black).items() if torch.equal(w, seen)]
        assert len(matches) == 1
        found += matches
    return found


def check_windows(build):
    """Each image seen is exactly one of its windows; all shifts and both sides occur, about equally often."""
    x = images()
    places = drawn(build(x, 3), x, torch.randperm(N, generator=torch.Generator().manual_seed(1))[:600], 5)
    for axis in (0, 1):
        # 600 draws of 9 equally likely: 66.7 each, deviation 7.7; five of these
        counts = [sum(place[axis] == k for place in places) for k in range(9)]
        assert max(abs(count - 600 / 9) for count in counts) < 39
    assert abs(sum(place[2] for place in places) - 300) < 62  # deviation 12.2; five of these
    diagonal = sum(place[0] == place[1] for place in places)  # rows and columns are drawn apart: 1 of 9
    assert abs(diagonal - 600 / 9) < 39


class Unflipped(CropFlip):
    def _draw(self, epoch):
        return super()._draw(epoch) * torch.tensor([[1], [1], [0]])


class Diagonal(CropFlip):
    def _draw(self, epoch):
        return super()._draw(epoch)[[0, 0, 2]]


class Narrow(CropFlip):
    def _draw(self, epoch):
        return super()._draw(epoch).clamp(max=7)


class Grey(CropFlip):
    def __init__(self, x, seed):
        super().__init__(x, seed)
        self.black = self.black + 1


def test_images_are_shown_as_windows_of_themselves():
    check_windows(CropFlip)


@pytest.mark.parametrize("mutant", [Plain, Unflipped, Diagonal, Narrow, Grey])
def test_other_ways_to_draw_fail_the_check(mutant):
    with pytest.raises(AssertionError):
        check_windows(mutant)


def test_what_is_drawn_depends_on_seed_epoch_and_image_alone():
    x, index = images(), torch.arange(64)
    one = CropFlip(x, 0)(index, 2)
    torch.rand(5)  # torch's own generator is no part of it
    other = CropFlip(x, 0)
    other(index, 1)
    assert torch.equal(other(index.flip(0), 2).flip(0), one)  # in another order, after another epoch
    assert not torch.equal(other(index, 3), one)
    assert not torch.equal(CropFlip(x, 1)(index, 2), one)
    assert torch.equal(Plain(x, 0)(index, 2), x[index])


def test_each_name_has_its_class_and_is_used_where_it_is_usual():
    assert tuple(AUGMENTATIONS) == NAMES
    assert {name: Config.of(name).augment for name in DEFAULTS} == {
        "digits": "none",
        "fashion-mnist": "none",
        "cifar10": "crop-flip",
        "cifar100": "crop-flip",
    }
    with pytest.raises(ValueError, match="augment must be one of none, crop-flip, got mirror"):
        Config(augment="mirror")


# --- in a run ---


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(datasets.DATASETS, "tiny", tiny_images)
    monkeypatch.setitem(models.MODELS, "tiny", Tiny)


@pytest.mark.parametrize("optimizer", ["sgd", "sam", "s2sam"])
def test_a_run_with_crops_stopped_after_every_batch_ends_bit_for_bit(tiny, optimizer, tmp_path):
    c = config(method="rigl", optimizer=optimizer, augment="crop-flip")
    rows = run(c, tmp_path / "whole")
    for _ in range(100):
        try:
            run(c, tmp_path / "pieces", lambda *where: True, resume=True)
            break
        except KeyboardInterrupt:
            continue
    assert_same_run(tmp_path / "whole" / c.name, tmp_path / "pieces" / c.name)
    plain = run(replace(c, augment="none"), tmp_path / "plain")
    assert plain[-1]["train_loss"] != rows[-1]["train_loss"]
    with pytest.raises(ValueError, match=r"augment must be crop-flip, that of .*, got none; resume with the same"):
        run(replace(c, augment="none"), tmp_path / "whole", resume=True)


def test_a_resumed_run_that_draws_anew_is_noticed(tiny, tmp_path, monkeypatch):
    c = config(method="set", augment="crop-flip")
    run(c, tmp_path / "whole")
    calls = []

    def anew(self, epoch):
        calls.append(epoch)
        return torch.cat([torch.full((2, SIZE), len(calls) % 9), torch.zeros(1, SIZE, dtype=torch.int64)])

    monkeypatch.setattr(CropFlip, "_draw", anew)
    run(c, tmp_path / "anew")
    with pytest.raises(AssertionError):
        assert_same_run(tmp_path / "whole" / c.name, tmp_path / "anew" / c.name)


def test_all_arms_of_a_seed_see_the_same_crops(tiny, monkeypatch):
    """Whatever method and optimizer, the n-th batch is the same tensor; what is measured on is not cropped."""
    seen = {}
    for method, optimizer in (("dense", "sgd"), ("mest", "sam"), ("set", "s2sam")):
        training = Training(config(method=method, optimizer=optimizer, augment="crop-flip"), tiny_images())
        shown, batches = training.shown, []
        training.shown = lambda index, epoch, shown=shown, kept=batches: kept.append(shown(index, epoch)) or kept[-1]
        training.train(lambda: None, None)
        seen[method] = torch.stack(batches)
        assert torch.equal(training.test[0], tiny_images().x_test)
        assert torch.equal(training.x, tiny_images().x_train)
    assert len(seen["dense"]) == 6
    assert torch.equal(seen["dense"], seen["mest"])
    assert torch.equal(seen["dense"], seen["set"])


def test_runs_side_by_side_see_the_crops_of_each_alone(monkeypatch):
    """In float64, after 9 steps; see test_side_by_side for the tolerance."""

    def wide(folder=None):
        data = tiny_images()
        return Images("wide", data.x_train.double(), data.y_train, data.x_test.double(), data.y_test, 4)

    monkeypatch.setitem(datasets.DATASETS, "wide", wide)
    build = models.MODELS["mlp"]
    monkeypatch.setitem(models.MODELS, "mlp", lambda **options: build(**options).double())
    base = config(dataset="wide", model="mlp", method="dense", sparsity=0.0, epochs=3, augment="crop-flip")
    configs = [base, replace(base, seed=1)]
    stack = SideBySide(configs, wide())
    stack.train()
    for together, c in zip(stack.runs, configs, strict=True):
        alone = Training(c, wide())
        alone.train(lambda: None, None)
        for p, q in zip(together.model.parameters(), alone.model.parameters(), strict=True):
            assert float((p - q).detach().abs().max()) < 1e-8
