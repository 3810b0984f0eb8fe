"""What a run learns from: a validation part and a smaller training set carved out, and labels made wrong, by seed.

None of it looks at method or optimizer, so all arms of one seed see the same images and the same wrong labels. The test
images are never touched.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from validation.datasets import Images
from validation.training.config import Config, seed_for


class Parts(NamedTuple):
    """Images (n, channels, side, side) and labels (n,) of the parts; `validation` is None where none was asked for."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor] | None
    test: tuple[Tensor, Tensor]


def carved(data: Images, config: Config) -> Parts:
    """Return the parts of a data set for a run.

    The validation part is the first round(validation * n) training images in an order of the seed's, with their true
    labels; the next `train_size` are trained on, in the data set's order. Of these round(label_noise * n) labels are
    replaced by another class, each of the others being equally likely (symmetric noise; exact in number).

    Args:
        data: as loaded.
        config: of the run.

    Raises:
        ValueError: when the data set has fewer images than train_size and validation ask for.
    """
    order = torch.randperm(len(data.y_train), generator=_generator("split", config))
    held = round(config.validation * len(order))
    left = len(order) - held
    size = left if config.train_size is None else config.train_size
    if size > left:
        raise ValueError(f"train_size must be <= {left}, the images left to train on, got {size}; take a smaller")
    chosen, out = order[held : held + size].sort().values, order[:held].sort().values
    y = data.y_train[chosen]
    wrong = torch.randperm(size, generator=_generator("wrong", config))[: round(config.label_noise * size)]
    shift = torch.randint(1, data.classes, (len(wrong),), generator=_generator("label", config))
    y[wrong] = (y[wrong] + shift) % data.classes
    held_out = (data.x_train[out], data.y_train[out]) if held else None
    x = data.x_train if size == len(order) else data.x_train[chosen]  # a large data set need not be copied
    return Parts((x, y), held_out, (data.x_test, data.y_test))


def _generator(what: str, config: Config) -> torch.Generator:
    return torch.Generator().manual_seed(seed_for(what, config.seed))
