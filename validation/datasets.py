"""Real data that needs no download: scikit-learn's digits, and Fashion-MNIST from a folder of IDX files."""

import functools
import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts it
UNSIGNED_BYTE = 0x08  # type code of IDX; the only one that images and labels use


class DataError(ValueError):
    """A data file is missing or is not what its format says; the message names the file and what to do."""


@dataclass(frozen=True)
class Images:
    """Images and labels of a classification task, split, and standardised by the training pixels.

    Attributes:
        name: of the data set.
        x_train, x_test: (n, channels, side, side) float32: pixels minus the mean over all training pixels, divided by
            their standard deviation. The test images are given the same two numbers.
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


def read_idx(path: str | Path, *, dimensions: int | None = None) -> Tensor:
    """Return the array of an IDX file of unsigned bytes, gzipped or not, as uint8.

    The format is that of MNIST (LeCun, Cortes & Burges): two zero bytes, a type code, the number of dimensions, each
    size as four bytes, highest first; then the entries, the last index moving fastest, and nothing after them.

    Args:
        path: the file; whether it is gzipped is seen from its content.
        dimensions: how many the array must have; any number by default.

    Raises:
        DataError: when the file cannot be read, is cut or too long, or holds another type or number of dimensions.
    """

    def refuse(what: str) -> DataError:
        return DataError(f"{path}: {what}; fetch the file again or give another folder")

    try:
        data = Path(path).read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise refuse(f"an IDX file must be readable, plain or gzipped, got {error}") from error
    if data[:2] != b"\0\0":
        raise refuse(f"an IDX file must begin with two zero bytes, got {data[:2].hex() or 'nothing'}")
    if len(data) < 4 or len(data) < 4 + 4 * data[3]:
        raise refuse(f"the header of an IDX file must be whole, got {len(data)} bytes")
    if data[2] != UNSIGNED_BYTE:
        raise refuse(f"the type code must be 0x08 (unsigned byte), got 0x{data[2]:02x}")
    if dimensions not in (None, data[3]):
        raise refuse(f"the number of dimensions must be {dimensions}, got {data[3]}")
    sizes = tuple(int(size) for size in np.frombuffer(data, ">u4", count=data[3], offset=4))
    entries = len(data) - 4 - 4 * len(sizes)
    if entries != math.prod(sizes):
        raise refuse(f"sizes {sizes} must be followed by {math.prod(sizes)} bytes, got {entries}")
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=4 + 4 * len(sizes)).reshape(sizes).copy())


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
    """Return the data set from uint8 images (n, side, side) and their labels, a pair for each part."""
    height, width = train[0].shape[1:]
    if height != width or train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(
            f"{name}: images of both parts must be square and of one size, got {tuple(train[0].shape[1:])} and "
            f"{tuple(test[0].shape[1:])}; take both from one source"
        )
    count = torch.bincount(train[0].flatten(), minlength=256).double()  # sums over a histogram of integers are exact
    value = torch.arange(256).double()
    mean = count @ value / count.sum()
    deviation = (count @ (value - mean) ** 2 / count.sum()).sqrt()
    if not deviation > 0:
        raise DataError(f"{name}: training pixels must differ to be standardised, got one value; fetch the files again")
    x_train, x_test = (x.float().sub_(mean).div_(deviation)[:, None] for x in (train[0], test[0]))
    return Images(name, x_train, train[1], x_test, test[1], classes)


def _digits(data_dir: Path | None) -> Images:
    """Split the digits; scikit-learn brings them, so no folder is read."""
    del data_dir
    from sklearn.model_selection import train_test_split

    x, y = digits()
    x = (16 * x[:, 0]).to(torch.uint8)  # back to the integers 0..16, exactly: 16 is a power of two
    train, test = train_test_split(np.arange(len(y)), test_size=360, stratify=y.numpy(), random_state=0)
    return _standardised("digits", (x[train], y[train]), (x[test], y[test]), 10)


def _fashion(data_dir: Path | None) -> Images:
    folder = FASHION_FOLDER if data_dir is None else data_dir
    return _standardised("fashion-mnist", _labelled(folder, "train", 10), _labelled(folder, "t10k", 10), 10)


DATASETS = {"digits": _digits, "fashion-mnist": _fashion}


def load(name: str, data_dir: str | Path | None = None) -> Images:
    """Return a data set by name, standardised, always in the same order.

    "digits": 1,437 training and 360 test images of 8 x 8, a fixed split with each class's share the same in both parts
    up to rounding. "fashion-mnist" (Xiao, Rasul & Vollgraf 2017): the 60,000 and 10,000 images of 28 x 28 in
    train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each possibly
    with .gz. MNIST's own files have these names too and cannot be told apart.

    Args:
        name: a key of `DATASETS`.
        data_dir: the folder of Fashion-MNIST: of the four files, or the root that torchvision was given (then they are
            in FashionMNIST/raw). By default the one of Debian's package dataset-fashion-mnist. Digits need none.

    Raises:
        ValueError: when there is no data set of that name.
        DataError: when a file is missing or is not what its format says, or files do not fit together.
        ModuleNotFoundError: when the digits are wanted and scikit-learn is missing.
    """
    if name not in DATASETS:
        raise ValueError(f"name must be one of {', '.join(DATASETS)}, got {name!r}; pick one of them")
    return DATASETS[name](None if data_dir is None else Path(data_dir))
