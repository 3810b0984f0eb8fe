"""Real data: IDX files read byte by byte or refused in one line, the digits' split, Fashion-MNIST as published."""

import gzip
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from validation.datasets import DATASETS, FASHION_FOLDER, Images, digits, load
from validation.image_files import DataError, read_idx

NAMES = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def idx(sizes: tuple[int, ...], entries: bytes, code: int = 8) -> bytes:
    """An IDX file, put together here byte by byte."""
    return bytes([0, 0, code, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes) + entries


def small_images(count: int, side: int = 4, shift: int = 0) -> bytes:
    return idx((count, side, side), bytes((7 * i + shift) % 256 for i in range(count * side * side)))


def files(train: int = 6, test: int = 3) -> dict[str, bytes]:
    """The four files of a small data set with labels 0, 1, 2, ... modulo 10."""
    made = {}
    for part, count, shift in (("train", train, 0), ("t10k", test, 100)):
        made[f"{part}-images-idx3-ubyte"] = small_images(count, shift=shift)
        made[f"{part}-labels-idx1-ubyte"] = idx((count,), bytes(i % 10 for i in range(count)))
    return made


def write(folder: Path, content: dict[str, bytes], *, zipped: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)
    return folder


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    """The message, known to be one line."""
    message = str(error.value)
    assert "\n" not in message
    return message


# --- IDX ---


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("sizes", [(), (5,), (0,), (2, 3), (2, 3, 300), (2, 1, 2, 2)])
def test_idx_is_read_entry_by_entry(tmp_path, sizes, zipped):
    n = int(np.prod(sizes))
    data = idx(sizes, bytes((3 * i + 1) % 256 for i in range(n)))
    path = tmp_path / "file"  # whether it is gzipped is seen from its content
    path.write_bytes(gzip.compress(data) if zipped else data)
    read = read_idx(path, dimensions=len(sizes))
    assert read.dtype == torch.uint8
    assert tuple(read.shape) == sizes
    for flat, where in enumerate(product(*map(range, sizes))):
        assert int(read[where]) == (3 * flat + 1) % 256
    read.fill_(0)  # the array is the caller's own
    assert torch.equal(read_idx(str(path)), read) == (n == 0)


GOOD = idx((2, 3), bytes(range(6)))
ZIPPED = gzip.compress(GOOD)
BAD = {
    "magic": (b"\x01" + GOOD[1:], "must begin with two zero bytes, got 0100"),
    "magic, second byte": (b"\x00\x01" + GOOD[2:], "must begin with two zero bytes, got 0001"),
    "signed bytes": (idx((2, 3), bytes(6), code=9), r"type code must be 0x08 \(unsigned byte\), got 0x09"),
    "floats": (idx((2, 3), bytes(24), code=0x0D), r"type code must be 0x08 \(unsigned byte\), got 0x0d"),
    "dimensions": (idx((6,), bytes(6)), "number of dimensions must be 2, got 1"),
    "empty": (b"", "must begin with two zero bytes, got nothing"),
    "three bytes": (GOOD[:3], "header of an IDX file must be whole, got 3 bytes"),
    "cut header": (GOOD[:11], "header of an IDX file must be whole, got 11 bytes"),
    "cut data": (GOOD[:-1], r"sizes \(2, 3\) must be followed by 6 bytes, got 5"),
    "trailing byte": (GOOD + b"\0", r"sizes \(2, 3\) must be followed by 6 bytes, got 7"),
    "another size": (GOOD[:4] + b"\x01" + GOOD[5:], r"must be followed by 50331654 bytes, got 6"),  # (2^24 + 2) * 3
    "cut gzip": (ZIPPED[:-9], "must be readable, plain or gzipped, got Compressed file ended"),
    "cut gzip trailer": (ZIPPED[:-2], "must be readable, plain or gzipped, got Compressed file ended"),
    "gzip header only": (ZIPPED[:5], "must be readable, plain or gzipped, got Compressed file ended"),
    "gzip checksum": (ZIPPED[:-8] + bytes([ZIPPED[-8] ^ 1]) + ZIPPED[-7:], "must be readable.*CRC check failed"),
    "gzip stream": (ZIPPED[:10] + b"\xff" + ZIPPED[11:], "must be readable.*[Ee]rror"),
    "after gzip": (ZIPPED + b"more", "must be readable.*[Nn]ot a gzipped file"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_damaged_idx_file_is_refused_in_one_line(tmp_path, what):
    data, message = BAD[what]
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as error:
        read_idx(path, dimensions=2)
    assert one_line(error).startswith(f"{path}: ")
    assert one_line(error).endswith("; fetch the file again or give another folder")


def test_every_flipped_header_byte_and_every_cut_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(GOOD)
    assert read_idx(path, dimensions=2).tolist() == [[0, 1, 2], [3, 4, 5]]
    flipped = [GOOD[:i] + bytes([GOOD[i] ^ 255]) + GOOD[i + 1 :] for i in range(12)]
    cut = [data[:i] for data in (GOOD, ZIPPED) for i in range(len(data))]
    for data in flipped + cut:
        path.write_bytes(data)
        with pytest.raises(DataError):
            read_idx(path, dimensions=2)


@pytest.mark.parametrize("place", ["absent", "."])
def test_a_file_that_cannot_be_opened_is_refused(tmp_path, place):
    with pytest.raises(DataError, match="must be readable") as error:
        read_idx(tmp_path / place)
    assert str(tmp_path) in one_line(error)


# --- Fashion-MNIST from a folder ---


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("below", [".", "FashionMNIST/raw"])
def test_both_layouts_plain_or_gzipped(tmp_path, below, zipped):
    """Pixels are standardised by the mean and deviation of all training pixels, computed here by numpy in float64."""
    content = files()
    write(tmp_path / below, content, zipped=zipped)
    data = load("fashion-mnist", str(tmp_path))
    assert (data.name, data.classes, data.channels, data.side) == ("fashion-mnist", 10, 1, 4)
    pixels = {part: np.frombuffer(content[f"{part}-images-idx3-ubyte"][16:], np.uint8) for part in ("train", "t10k")}
    mean, deviation = np.mean(pixels["train"], dtype=float), np.std(pixels["train"], dtype=float)
    for x, part, count in ((data.x_train, "train", 6), (data.x_test, "t10k", 3)):
        assert x.shape == (count, 1, 4, 4)
        assert x.dtype == torch.float32
        wanted = (pixels[part].astype(float) - mean) / deviation
        # Four roundings of 2^-24: of the mean, divided by the deviation, and relative to |x| < 2 of the difference, the
        # deviation and the quotient: together below 2^-24 * (mean/deviation + 3 * 2).
        assert np.abs(wanted).max() < 2
        assert mean / deviation < 4
        assert np.abs(x.double().numpy().ravel() - wanted).max() < 10 * 2.0**-24
    assert data.y_train.tolist() == [0, 1, 2, 3, 4, 5]
    assert data.y_test.tolist() == [0, 1, 2]
    assert data.y_train.dtype == torch.int64


def test_the_test_images_do_not_enter_the_standardisation(tmp_path):
    """A shift of every test pixel moves x_test and nothing else; were they used, x_train would move too."""
    base = load("fashion-mnist", write(tmp_path / "a", files()))
    moved = files()
    moved["t10k-images-idx3-ubyte"] = small_images(3, shift=3)
    other = load("fashion-mnist", write(tmp_path / "b", moved))
    assert torch.equal(base.x_train, other.x_train)
    assert not torch.equal(base.x_test, other.x_test)


def damaged(**changes: bytes) -> dict[str, bytes]:
    """The small data set with some files replaced: train_images=..., t10k_labels=..."""
    ends = {"images": "images-idx3-ubyte", "labels": "labels-idx1-ubyte"}
    content = files()
    for key, data in changes.items():
        part, kind = key.split("_")
        content[f"{part}-{ends[kind]}"] = data
    return content


WRONG = {
    "counts": (damaged(train_labels=idx((5,), bytes(5))), r"train-images.*train-labels.*counts must agree.*got 6, 5"),
    "none": (
        damaged(t10k_images=small_images(0), t10k_labels=idx((0,), b"")),
        r"t10k.*must agree and be > 0, got 0, 0",
    ),
    "label": (
        damaged(t10k_labels=idx((3,), bytes([0, 10, 2]))),
        r"t10k-labels-idx1-ubyte: labels must be 0\.\.9, got 10",
    ),
    "swapped": (damaged(train_images=idx((6,), bytes(6))), r"train-images.*number of dimensions must be 3, got 1"),
    "labels of images": (damaged(train_labels=small_images(6)), r"train-labels.*number of dimensions must be 1, got 3"),
    "sides": (damaged(t10k_images=small_images(3, side=5)), r"square and of one size, got \(4, 4\) and \(5, 5\)"),
    "not square": (
        damaged(train_images=idx((6, 2, 8), bytes(range(96))), t10k_images=idx((3, 2, 8), bytes(48))),
        r"square and of one size, got \(2, 8\) and \(2, 8\)",
    ),
    "one grey": (damaged(train_images=idx((6, 4, 4), bytes([9] * 96))), "pixels must differ to be standardised"),
}


@pytest.mark.parametrize("what", WRONG)
def test_files_that_do_not_fit_together_are_refused(tmp_path, what):
    content, message = WRONG[what]
    with pytest.raises(DataError, match=message) as error:
        load("fashion-mnist", write(tmp_path, content))
    assert ";" in one_line(error)


@pytest.mark.parametrize("missing", NAMES)
def test_a_missing_file_names_where_it_was_sought_and_the_remedy(tmp_path, missing):
    write(tmp_path, {name: data for name, data in files().items() if name != missing}, zipped=True)
    with pytest.raises(DataError, match="got neither") as error:
        load("fashion-mnist", tmp_path)
    assert one_line(error).startswith(f"{tmp_path} must hold {missing} or {missing}.gz, itself or in FashionMNIST/raw")
    assert one_line(error).endswith("dataset-fashion-mnist or name a folder that has them with --data-dir")


def test_an_unknown_name_is_refused():
    assert list(DATASETS) == ["digits", "fashion-mnist", "cifar10", "cifar100"]
    with pytest.raises(ValueError, match="name must be one of digits, fashion-mnist, cifar10, cifar100, got 'mnist'"):
        load("mnist")


# --- digits ---


def rows(x: torch.Tensor, y: torch.Tensor) -> list[tuple]:
    return [(*image, label) for image, label in zip(x.flatten(1).tolist(), y.tolist(), strict=True)]


def check_split(data: Images) -> None:
    """Nothing lost, nothing twice, and each class's share of the test set within one image of exact."""
    x, y = digits()
    assert data.x_train.shape == (1437, 1, 8, 8)
    assert data.x_test.shape == (360, 1, 8, 8)
    # Standardising is increasing, so an image is known by the ranks of its values among all values that occur.
    both = torch.cat([data.x_train, data.x_test])
    values, rank = both.unique(return_inverse=True)
    assert len(values) == 17
    same = sorted(rows(rank, torch.cat([data.y_train, data.y_test]))) == sorted(rows((16 * x).long(), y))
    assert same  # not of two lists: where pytest shows all of a difference, that of 100,000 numbers takes minutes
    for label in range(10):
        whole, part = int((y == label).sum()), int((data.y_test == label).sum())
        assert abs(part - 360 * whole / 1797) < 1


def test_the_digits_are_split_by_class():
    data = load("digits")
    check_split(data)
    train, test = data.x_train, data.x_test
    twice = Images("digits", train, data.y_train, torch.cat([test[:-1], train[:1]]), data.y_test, 10)
    first = Images("digits", train, data.y_train[torch.arange(1437) - 1], test, data.y_test, 10)
    x, y = digits()
    by_label = y.argsort(stable=True)
    in_order = Images("digits", x[by_label[:1437]], y[by_label[:1437]], x[by_label[1437:]], y[by_label[1437:]], 10)
    for mutant in (twice, first, in_order):
        with pytest.raises(AssertionError):
            check_split(mutant)


def test_the_split_of_the_digits_is_always_the_same():
    """Whatever the global seeds; the first labels are pinned, since rows are committed that depend on them."""
    once = load("digits")
    torch.manual_seed(17)
    again = load("digits", "a folder that is not read")
    for key in ("x_train", "y_train", "x_test", "y_test"):
        assert torch.equal(getattr(once, key), getattr(again, key))
    assert once.y_train[:12].tolist() == [3, 9, 1, 3, 1, 9, 4, 4, 2, 8, 3, 5]


def test_the_digits_are_standardised_by_the_training_images():
    """Each entry is within 2^-24 * (mean/deviation + 3 |x|) < 7 * 2^-24 of exact (see above), so are both moments."""
    data = load("digits")
    x = data.x_train.double()
    assert x.abs().max() < 2
    assert float(x.min()) > -1  # minus mean/deviation: the background is 0
    assert abs(float(x.mean())) < 7 * 2.0**-24
    assert abs(float(x.std(correction=0)) - 1) < 7 * 2.0**-24
    assert abs(float(data.x_test.double().mean())) > 7 * 2.0**-24  # those of the test images are others


def test_raw_digits_stay_as_they_were():
    x, y = digits()
    assert x.shape == (1797, 1, 8, 8)
    assert x.dtype == torch.float32
    assert (float(x.min()), float(x.max())) == (0.0, 1.0)
    assert y[:10].tolist() == list(range(10))


# --- the published files ---

published = pytest.mark.skipif(
    not FASHION_FOLDER.is_dir(), reason="needs Fashion-MNIST: Debian's package dataset-fashion-mnist is not installed"
)


@published
def test_fashion_mnist_as_published():
    """Counts, balance and first labels as published; mean 0.2860 and deviation 0.3530 of pixels in [0, 1]."""
    data = load("fashion-mnist")
    assert data.x_train.shape == (60_000, 1, 28, 28)
    assert data.x_test.shape == (10_000, 1, 28, 28)
    assert data.y_train.bincount().tolist() == [6000] * 10
    assert data.y_test.bincount().tolist() == [1000] * 10
    assert data.y_train[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert data.y_test[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    low, high = float(data.x_train.min()), float(data.x_train.max())  # -mean/deviation and (1 - mean)/deviation
    deviation = 1 / (high - low)
    assert round(deviation, 4) == 0.3530
    assert round(-low * deviation, 4) == 0.2860


@published
def test_the_first_boot_is_where_it_belongs():
    """The first training image is an ankle boot: nothing above it, its sole across the rows at the bottom."""
    with gzip.open(FASHION_FOLDER / "train-images-idx3-ubyte.gz") as file:
        raw = list(file.read(16 + 784)[16:])
    first = read_idx(FASHION_FOLDER / "train-images-idx3-ubyte.gz", dimensions=3)[0]
    assert first.flatten().tolist() == raw
    assert not first[:3].any()
    assert (first[20:24] > 0).float().mean() > 0.9
