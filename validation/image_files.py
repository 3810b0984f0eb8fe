"""Files of images, read byte by byte or refused in one line: IDX, as MNIST and its kin are, and CIFAR's binary version.

Nothing is downloaded and nothing in a file is executed: the Python version of CIFAR is a pickle and is not read.
"""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

UNSIGNED_BYTE = 0x08  # type code of IDX; the only one that images and labels use
CIFAR_SIDE = 32
CIFAR_PIXELS = 3 * CIFAR_SIDE**2


class DataError(ValueError):
    """A data file is missing or is not what its format says; the message names the file and what to do."""


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


def read_cifar(paths: Sequence[Path], labels: int, classes: int) -> tuple[Tensor, Tensor]:
    """Return (images (n, 3, 32, 32) uint8, labels (n,) int64) of files of CIFAR's binary version, one after another.

    The format (Krizhevsky 2009, on the data's own page): records of the label bytes, then 1024 bytes each of red, green
    and blue, row by row. CIFAR-10 has one label byte; CIFAR-100 two, the coarse class and the fine one.

    Args:
        paths: the files, in order.
        labels: label bytes of a record; the last of them is the label.
        classes: labels must be below.

    Raises:
        DataError: when a file is missing, cannot be read, is empty or not whole records, or has a label out of range.
    """
    parts = [_records(path, labels, classes) for path in paths]
    data = parts[0] if len(parts) == 1 else np.concatenate(parts)
    images = data[:, labels:].reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE)
    return torch.from_numpy(images.copy()), torch.from_numpy(data[:, labels - 1].astype(np.int64))


def _records(path: Path, labels: int, classes: int) -> np.ndarray:
    """Return the bytes of a file as records (n, labels + 3072) uint8, their labels checked."""
    record, remedy = labels + CIFAR_PIXELS, "fetch the binary version again or give another folder"
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise DataError(f"{path}: a file of CIFAR must be readable, got {error}; {remedy}") from error
    if not len(data) or len(data) % record:
        raise DataError(f"{path}: its size must be a positive multiple of {record} bytes, got {len(data)}; {remedy}")
    data = data.reshape(-1, record)
    if (largest := int(data[:, labels - 1].max())) >= classes:
        raise DataError(f"{path}: labels must be 0..{classes - 1}, got {largest}; {remedy}")
    return data
