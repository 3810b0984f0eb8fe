"""CIFAR's binary version: every byte where it belongs, both folders found, every damage refused in one line."""

import numpy as np
import pytest
import torch
from cifar_files import FOLDER, TEST, TRAIN, files, label, pixel, record, write

from validation.datasets import load
from validation.image_files import DataError, read_cifar

CLASSES = (10, 100)
LABELS = {10: 1, 100: 2}


def check_reader(read, folder, classes):
    """Each pixel and label of each image, against the formula that made it."""
    x, y = read([folder / name for name in TRAIN[classes]], LABELS[classes], classes)
    assert x.dtype == torch.uint8
    assert y.dtype == torch.int64
    n = 4 * len(TRAIN[classes])
    assert y.tolist() == [label(image, classes) for image in range(n)]
    image, channel, row, column = np.indices((n, 3, 32, 32))
    assert bool((x.numpy() == pixel(image, channel, row, column)).all())


@pytest.mark.parametrize("classes", CLASSES)
def test_every_byte_is_where_it_belongs(tmp_path, classes):
    check_reader(read_cifar, write(tmp_path, files(classes)), classes)


MUTANTS = {
    "planes": lambda paths, labels, classes: swapped(read_cifar(paths, labels, classes), lambda x: x.flip(1)),
    "columns": lambda paths, labels, classes: swapped(read_cifar(paths, labels, classes), lambda x: x.mT),
    "interleaved": lambda paths, labels, classes: swapped(
        read_cifar(paths, labels, classes), lambda x: x.reshape(-1, 32, 32, 3).permute(0, 3, 1, 2)
    ),
    "files": lambda paths, labels, classes: swapped(read_cifar(paths, labels, classes), lambda x: x.roll(4, 0)),
}


def swapped(read, change):
    return change(read[0]), read[1]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_reader_with_another_order_fails_the_check(tmp_path, mutant):
    with pytest.raises(AssertionError):
        check_reader(MUTANTS[mutant], write(tmp_path, files(10)), 10)


def test_a_reader_of_coarse_labels_fails_the_check(tmp_path):
    def coarse(paths, labels, classes):
        data = np.frombuffer(paths[0].read_bytes(), np.uint8).reshape(-1, 3074)
        return read_cifar(paths, labels, classes)[0], torch.from_numpy(data[:, 0].astype(np.int64))

    with pytest.raises(AssertionError):
        check_reader(coarse, write(tmp_path, files(100)), 100)


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("below", [False, True])
def test_both_folders_and_each_channel_standardised_by_its_training_pixels(tmp_path, classes, below):
    content = files(classes)
    write(tmp_path / FOLDER[classes] if below else tmp_path, content)
    data = load(f"cifar{classes}", tmp_path)
    assert (data.name, data.classes, data.channels, data.side) == (f"cifar{classes}", classes, 3, 32)
    assert data.y_test.tolist() == [label(1000 + image, classes) for image in range(6)]
    train = np.fromfunction(pixel, (4 * len(TRAIN[classes]), 3, 32, 32), dtype=int)
    test = np.fromfunction(lambda image, *rest: pixel(1000 + image, *rest), (6, 3, 32, 32), dtype=int)
    mean, deviation = (f(train, axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.std))
    for x, pixels in ((data.x_train, train), (data.x_test, test)):
        wanted = (pixels - mean) / deviation
        # as for Fashion-MNIST: four roundings of 2^-24, of the mean over the deviation and thrice of |x|; both are < 3
        assert np.abs(wanted).max() < 3
        assert (mean / deviation).max() < 3
        assert np.abs(x.double().numpy() - wanted).max() < 12 * 2.0**-24
    assert float(np.ptp(mean / deviation.mean())) > 0.1  # one mean for all channels would have been noticed
    assert torch.equal(load(f"cifar{classes}", str(tmp_path)).x_train, data.x_train)


def without(classes, name):
    return {key: data for key, data in files(classes, each=1, test=1).items() if key != name}


def with_label(classes, value):
    """A test file whose label is out of range; with 100 classes the fine one, whatever the coarse one."""
    data = bytearray(record(0, classes))
    data[LABELS[classes] - 1] = value
    return files(classes, each=1, test=1) | {TEST[classes]: bytes(data)}


WRONG = {
    "no second batch": (
        10,
        without(10, "data_batch_2.bin"),
        "must hold data_batch_2.bin, got no such file; name",
    ),
    "no test": (10, without(10, "test_batch.bin"), "must hold test_batch.bin, got no such file"),
    "no train": (100, without(100, "train.bin"), "must hold train.bin, got no such file"),
    "nothing": (100, {}, "must hold train.bin, got no such file"),
    "cut": (
        10,
        files(10, 1, 1) | {"data_batch_3.bin": record(0, 10)[:-1]},
        "multiple of 3073 bytes, got 3072;",
    ),
    "empty": (10, files(10, 1, 1) | {"data_batch_1.bin": b""}, "data_batch_1.bin: its size must be .* got 0; fetch"),
    "of the other": (100, files(100, 1, 1) | {"test.bin": record(0, 10)}, "multiple of 3074 bytes, got 3073;"),
    "label": (10, with_label(10, 10), r"test_batch.bin: labels must be 0\.\.9, got 10; fetch"),
    "fine label": (100, with_label(100, 100), r"test.bin: labels must be 0\.\.99, got 100; fetch"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_refused_in_one_line(tmp_path, what):
    classes, content, message = WRONG[what]
    with pytest.raises(DataError, match=message) as error:
        load(f"cifar{classes}", write(tmp_path, content))
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("classes", CLASSES)
def test_a_missing_folder_names_the_remedy(tmp_path, classes):
    remedy = f"; name with --data-dir the folder {FOLDER[classes]} of the binary version, or the one it is in"
    with pytest.raises(DataError, match=rf"absent must hold {TRAIN[classes][0]}, got no such folder{remedy}"):
        load(f"cifar{classes}", tmp_path / "absent")
    with pytest.raises(DataError, match=rf"cifar{classes} must be given its folder, got none{remedy}"):
        load(f"cifar{classes}")


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"must be readable, got .*; fetch the binary version again"):
        read_cifar([tmp_path], 1, 10)
