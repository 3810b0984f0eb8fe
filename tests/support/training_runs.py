"""A data set and a network of milliseconds for training runs, and the comparison of two runs bit for bit."""

import json

import torch
from torch import nn

from validation.datasets import Images
from validation.training import Config

SIZE = 48  # images; 3 batches of 16


class Tiny(nn.Sequential):
    """Two convolutions with norms, and dropout, which makes a run depend on torch's generator."""

    def __init__(self, classes=4, *, channels=1, side=8):
        conv = [nn.Conv2d(channels, 6, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU()]
        conv += [nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
        super().__init__(*conv, nn.Flatten(), nn.Dropout(0.2), nn.Linear(8 * (side // 4) ** 2, classes))


def tiny_images(folder=None):
    generator = torch.Generator().manual_seed(5)
    y = torch.arange(SIZE + 20) % 4
    x = torch.randn(SIZE + 20, 1, 8, 8, generator=generator) + y.view(-1, 1, 1, 1)
    return Images("tiny", x[:SIZE], y[:SIZE], x[SIZE:], y[SIZE:], 4)


def config(**given):
    return Config(**{"dataset": "tiny", "model": "tiny", "batch": 16, "epochs": 2, "sparsity": 0.5} | given)


def plain(row):
    return {name: value for name, value in row.items() if name != "seconds"}


def leaves(value, at=""):
    """Yield (path, leaf) of nested dicts and lists, clocks left out."""
    if isinstance(value, dict):
        for key in value:
            if key != "seconds":
                yield from leaves(value[key], f"{at}/{key}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from leaves(item, f"{at}/{i}")
    else:
        yield at, value


def assert_same_run(one, other):
    """Compare two run folders bit for bit: every tensor and number of the checkpoints, every row of the files."""
    a, b = (dict(leaves(torch.load(f / "checkpoint.pt", weights_only=True))) for f in (one, other))
    assert a.keys() == b.keys()
    assert {"/finished", "/rng/cpu", "/controller/step"} < a.keys()
    for at, value in a.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == b[at].dtype, at
            assert value.numpy().tobytes() == b[at].numpy().tobytes(), at
        else:
            assert repr(value) == repr(b[at]), at  # of floats too: equal repr is equal bits
    rows = [[plain(json.loads(line)) for line in (f / "rows.jsonl").read_text().splitlines()] for f in (one, other)]
    assert rows[0] == rows[1]
    assert rows[0]
