"""Images to train on, none downloaded: scikit-learn's digits; Fashion-MNIST and CIFAR from folders of their files."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from validation.image_files import DataError, read_cifar, read_idx

FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts it
CIFAR = {  # classes -> folder of the binary version, label bytes (the last counts), files of training, file of test
    10: ("cifar-10-batches-bin", 1, tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"),
    100: ("cifar-100-binary", 2, ("train.bin",), "test.bin"),
}


@dataclass(frozen=True)
class Images:
    """Images and labels of a classification task, split, and standardised by the training pixels.

    Attributes:
        name: of the data set.
        x_train, x_test: (n, channels, side, side) float32: pixels minus the mean over all training pixels of the
            channel, divided by their standard deviation. The test images are given the same numbers.
        y_train, y_test: (n,) int64 in 0..classes - 1.
        classes: their number.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.x_train.shape[1]

    @property
    def side(self) -> int:
        """Height and width of an image, in pixels."""
        return self.x_train.shape[-1]


@functools.cache
def digits() -> tuple[Tensor, Tensor]:
    """Return scikit-learn's handwritten digits: images (1797, 1, 8, 8) float32 in [0, 1] and labels (1797,) int64.

    Raises:
        ModuleNotFoundError: when scikit-learn is missing; the message names the extra that brings it.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the digits data need scikit-learn: pip install 's2sam[validation]'") from error
    raw = load_digits()
    return torch.tensor(raw.images / 16, dtype=torch.float32)[:, None], torch.tensor(raw.target)


def _find(folder: Path, name: str) -> Path:
    """Return the file of that name, plain or gzipped, in the folder or where torchvision puts it below."""
    for place in (folder, folder / "FashionMNIST" / "raw"):
        for path in (place / name, place / f"{name}.gz"):
            if path.is_file():
                return path
    raise DataError(
        f"{folder} must hold {name} or {name}.gz, itself or in FashionMNIST/raw, got neither; "
        "install Debian's package dataset-fashion-mnist or name a folder that has them with --data-dir"
    )


def _labelled(folder: Path, part: str, classes: int) -> tuple[Tensor, Tensor]:
    """Return (images (n, side, side) uint8, labels (n,) int64) of one part, checked against each other."""
    images_at, labels_at = _find(folder, f"{part}-images-idx3-ubyte"), _find(folder, f"{part}-labels-idx1-ubyte")
    x, y = read_idx(images_at, dimensions=3), read_idx(labels_at, dimensions=1).long()
    remedy = "take both files from one source"
    if not len(x) == len(y) > 0:
        raise DataError(f"{images_at} and {labels_at}: counts must agree and be > 0, got {len(x)}, {len(y)}; {remedy}")
    if y.max() >= classes:
        raise DataError(f"{labels_at}: labels must be 0..{classes - 1}, got {int(y.max())}; {remedy}")
    return x, y


def _standardised(name: str, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int) -> Images:
    """Return the data set from uint8 images (n, channels, side, side) and their labels, a pair for each part."""
    height, width = train[0].shape[2:]
    if height != width or train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(
            f"{name}: images of both parts must be square and of one size, got {tuple(train[0].shape[2:])} and "
            f"{tuple(test[0].shape[2:])}; take both from one source"
        )
    x_train, x_test = train[0].float(), test[0].float()
    value = torch.arange(256).double()
    for channel in range(train[0].shape[1]):
        count = torch.bincount(train[0][:, channel].flatten(), minlength=256).double()  # sums of integers are exact
        mean = count @ value / count.sum()
        deviation = (count @ (value - mean) ** 2 / count.sum()).sqrt()
        if not deviation > 0:
            raise DataError(
                f"{name}: training pixels must differ to be standardised, got one value; fetch the files again"
            )
        for x in (x_train, x_test):
            x[:, channel].sub_(mean).div_(deviation)
    return Images(name, x_train, train[1], x_test, test[1], classes)


def _digits(data_dir: Path | None) -> Images:
    """Split the digits; scikit-learn brings them, so no folder is read."""
    del data_dir
    from sklearn.model_selection import train_test_split

    x, y = digits()
    x = (16 * x).to(torch.uint8)  # back to the integers 0..16, exactly: 16 is a power of two
    train, test = train_test_split(np.arange(len(y)), test_size=360, stratify=y.numpy(), random_state=0)
    return _standardised("digits", (x[train], y[train]), (x[test], y[test]), 10)


def _fashion(data_dir: Path | None) -> Images:
    folder = FASHION_FOLDER if data_dir is None else data_dir
    (x_train, y_train), (x_test, y_test) = (_labelled(folder, part, 10) for part in ("train", "t10k"))
    return _standardised("fashion-mnist", (x_train[:, None], y_train), (x_test[:, None], y_test), 10)


def _cifar(classes: int, data_dir: Path | None) -> Images:
    name, (official, labels, train, test) = f"cifar{classes}", CIFAR[classes]
    remedy = f"name with --data-dir the folder {official} of the binary version, or the one it is in"
    if data_dir is None:
        raise DataError(f"{name} must be given its folder, got none; {remedy}")
    folder = next((f for f in (data_dir, data_dir / official) if (f / train[0]).is_file()), data_dir)
    if missing := [file for file in (*train, test) if not (folder / file).is_file()]:
        got = "no such file" if data_dir.is_dir() else "no such folder"
        raise DataError(f"{folder} must hold {missing[0]}, got {got}; {remedy}")
    first, last = (read_cifar([folder / file for file in files], labels, classes) for files in (train, (test,)))
    return _standardised(name, first, last, classes)


DATASETS: dict[str, Callable[[Path | None], Images]] = {
    "digits": _digits,
    "fashion-mnist": _fashion,
    "cifar10": functools.partial(_cifar, 10),
    "cifar100": functools.partial(_cifar, 100),
}


def load(name: str, data_dir: str | Path | None = None) -> Images:
    """Return a data set by name, standardised, always in the same order.

    "digits": 1,437 training and 360 test images of 8 x 8, a fixed split with each class's share the same in both parts
    up to rounding. "fashion-mnist" (Xiao, Rasul & Vollgraf 2017): the 60,000 and 10,000 images of 28 x 28 in
    train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each possibly
    with .gz. MNIST's own files have these names too and cannot be told apart. "cifar10" and "cifar100" (Krizhevsky
    2009): the 50,000 and 10,000 images of 3 x 32 x 32 in data_batch_1.bin to data_batch_5.bin and test_batch.bin, or in
    train.bin and test.bin, of which the fine labels are taken; 0.8 GB of memory.

    Args:
        name: a key of `DATASETS`.
        data_dir: the folder of Fashion-MNIST: of the four files, or the root that torchvision was given (then they are
            in FashionMNIST/raw); by default the one of Debian's package dataset-fashion-mnist. That of CIFAR: of the
            files, or where cifar-10-batches-bin or cifar-100-binary was unpacked; it has no default. Digits need none.

    Raises:
        ValueError: when there is no data set of that name.
        DataError: when a file is missing or is not what its format says, or files do not fit together.
        ModuleNotFoundError: when the digits are wanted and scikit-learn is missing.
    """
    if name not in DATASETS:
        raise ValueError(f"name must be one of {', '.join(DATASETS)}, got {name!r}; pick one of them")
    return DATASETS[name](None if data_dir is None else Path(data_dir))
