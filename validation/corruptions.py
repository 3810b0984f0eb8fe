"""Corrupted test images: the protocol of ImageNet-C (Hendrycks & Dietterich, ICLR 2019) for small images.

Thirteen kinds in four families (noise, blur, weather and light, digital), five severities each, of pixels in [0, 1].
Lengths are in units of the image's side, so that 8 x 8 digits and 28 x 28 clothes are corrupted alike; the magnitudes
are this project's, chosen for small images, so numbers compare optimizers here and not with ImageNet-C.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

SEVERITIES = (1, 2, 3, 4, 5)
Pixels = np.ndarray  # (n, channels, side, side) in [0, 1]
Corruption = Callable[[Pixels, float, np.random.Generator], Pixels]


def _gaussian_noise(x: Pixels, size: float, rng: np.random.Generator) -> Pixels:
    return x + rng.normal(scale=size, size=x.shape)


def _shot_noise(x: Pixels, size: float, rng: np.random.Generator) -> Pixels:
    return rng.poisson(x / size) * size  # photons of that size


def _impulse_noise(x: Pixels, size: float, rng: np.random.Generator) -> Pixels:
    return np.where(rng.random(x.shape) < size, rng.integers(0, 2, x.shape), x)


def _speckle_noise(x: Pixels, size: float, rng: np.random.Generator) -> Pixels:
    return x * (1 + rng.normal(scale=size, size=x.shape))


def _gaussian_blur(x: Pixels, size: float, rng: np.random.Generator) -> Pixels:
    del rng
    return ndimage.gaussian_filter(x, (0, 0, size * x.shape[-1], size * x.shape[-1]), mode="nearest")


def _motion_blur(x: Pixels, size: float, rng: np.random.Generator) -> Pixels:
    """Average along a line of that length, each image in a direction of its own."""
    away = np.linspace(-0.5, 0.5, 9) * size * x.shape[-1]
    angles = rng.uniform(0, math.pi, len(x))
    moved = [
        [ndimage.shift(image, (0, d * math.sin(a), d * math.cos(a)), order=1, mode="nearest") for d in away]
        for image, a in zip(x, angles, strict=True)
    ]
    return np.mean(moved, axis=1)


def _zoom_blur(x: Pixels, size: float, rng: np.random.Generator) -> Pixels:
    del rng
    return np.mean([_sampled(x, _grid(x) / (1 + part * size)) for part in np.linspace(0, 1, 7)], axis=0)


def _brightness(x: Pixels, size: float, rng: np.random.Generator) -> Pixels:
    del rng
    return x + size


def _contrast(x: Pixels, size: float, rng: np.random.Generator) -> Pixels:
    del rng
    mean = x.mean((1, 2, 3), keepdims=True)
    return mean + (1 - size) * (x - mean)


def _fog(x: Pixels, size: float, rng: np.random.Generator) -> Pixels:
    """Mix with a smooth random field between 0 and 1."""
    side = x.shape[-1]
    field = ndimage.gaussian_filter(rng.normal(size=x[:, :1].shape), (0, 0, side / 6, side / 6), mode="wrap")
    low, high = (f(field, axis=(2, 3), keepdims=True) for f in (np.min, np.max))
    return (1 - size) * x + size * (field - low) / (high - low)


def _pixelate(x: Pixels, size: float, rng: np.random.Generator) -> Pixels:
    """Average over blocks, (1 - size) as many a side as pixels, and back; both by the area they share."""
    del rng
    side = x.shape[-1]
    blocks = max(2, round(side * (1 - size)))
    pixel, block = (np.arange(n + 1) / n for n in (side, blocks))
    ends = np.minimum(pixel[1:, None], block[1:]), np.maximum(pixel[:-1, None], block[:-1])
    shared = np.maximum(ends[0] - ends[1], 0)  # (side, blocks)
    average = side * blocks * shared @ shared.T  # down and up again
    return average @ x @ average.T


def _elastic(x: Pixels, size: float, rng: np.random.Generator) -> Pixels:
    """Move each point by a smooth random field of that root mean square."""
    side = x.shape[-1]
    field = ndimage.gaussian_filter(rng.normal(size=(len(x), 2, side, side)), (0, 0, side / 8, side / 8), mode="wrap")
    field *= size * side / np.sqrt((field**2).mean((1, 2, 3), keepdims=True))
    return _sampled(x, _grid(x) + field)


def _occlusion(x: Pixels, size: float, rng: np.random.Generator) -> Pixels:
    """Grey out a square with that part of the side."""
    side = x.shape[-1]
    width = round(size * side)
    corners = rng.integers(0, side - width + 1, (len(x), 2, 1, 1))
    rows, columns = (np.abs(_whole(x)[:, k] - corners[:, k] - (width - 1) / 2) < width / 2 for k in (0, 1))
    return np.where((rows & columns)[:, None], 0.5, x)


def _whole(x: Pixels) -> np.ndarray:
    """Row and column of each pixel, (1, 2, side, side)."""
    return np.indices(x.shape[-2:])[None]


def _grid(x: Pixels) -> np.ndarray:
    """Row and column of each pixel from the middle, (1, 2, side, side)."""
    return _whole(x) - (x.shape[-1] - 1) / 2


def _sampled(x: Pixels, where: np.ndarray) -> Pixels:
    """Read the images, linearly, at places counted from the middle, (n or 1, 2, side, side)."""
    places = np.broadcast_to(where + (x.shape[-1] - 1) / 2, (len(x), *where.shape[1:]))
    return np.stack([
        [ndimage.map_coordinates(channel, at, order=1, mode="nearest") for channel in image]
        for image, at in zip(x, places, strict=True)
    ])


# Each kind with its magnitudes at severities 1 to 5.
CORRUPTIONS: Mapping[str, tuple[Corruption, tuple[float, float, float, float, float]]] = {
    "gaussian noise": (_gaussian_noise, (0.08, 0.14, 0.2, 0.28, 0.38)),
    "shot noise": (_shot_noise, (0.03, 0.07, 0.13, 0.22, 0.35)),
    "impulse noise": (_impulse_noise, (0.02, 0.05, 0.09, 0.15, 0.23)),
    "speckle noise": (_speckle_noise, (0.15, 0.25, 0.38, 0.52, 0.7)),
    "gaussian blur": (_gaussian_blur, (0.03, 0.05, 0.07, 0.09, 0.12)),
    "motion blur": (_motion_blur, (0.12, 0.2, 0.28, 0.36, 0.45)),
    "zoom blur": (_zoom_blur, (0.12, 0.22, 0.34, 0.46, 0.6)),
    "brightness": (_brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (_contrast, (0.3, 0.45, 0.6, 0.75, 0.87)),
    "fog": (_fog, (0.2, 0.32, 0.44, 0.56, 0.68)),
    "pixelate": (_pixelate, (0.2, 0.35, 0.5, 0.62, 0.72)),
    "elastic": (_elastic, (0.02, 0.035, 0.05, 0.07, 0.09)),
    "occlusion": (_occlusion, (0.15, 0.25, 0.35, 0.45, 0.55)),
}


def corrupted(pixels: Tensor, kind: str, severity: int, *, seed: int = 0) -> Tensor:
    """Return the images with one corruption.

    Args:
        pixels: (n, channels, side, side) in [0, 1]; they stay as they are.
        kind: a name in CORRUPTIONS.
        severity: 1 to 5.
        seed: of what is random; the same images are hit alike whatever is trained.

    Returns:
        Pixels in [0, 1], of the same shape and type.

    Raises:
        ValueError: for an unknown kind or severity, or pixels outside [0, 1].
    """
    if kind not in CORRUPTIONS or severity not in SEVERITIES:
        raise ValueError(
            f"kind must be one of {', '.join(CORRUPTIONS)} and severity 1 to 5, got {kind!r} and {severity}; pick them"
        )
    if pixels.numel() and not (0 <= float(pixels.min()) and float(pixels.max()) <= 1):
        raise ValueError(
            f"pixels must lie in [0, 1], got {float(pixels.min()):g} to {float(pixels.max()):g}; undo the scaling first"
        )
    function, sizes = CORRUPTIONS[kind]
    rng = np.random.default_rng([seed, list(CORRUPTIONS).index(kind), severity])
    result = function(pixels.double().cpu().numpy(), sizes[severity - 1], rng)
    return torch.from_numpy(np.clip(result, 0, 1)).to(pixels)


def mean_corruption_error(errors: Mapping[str, list[float]], reference: Mapping[str, list[float]]) -> float:
    """Return mCE: over kinds, the mean of the error summed over severities relative to the reference's (100 is equal).

    Args:
        errors: of each kind, at each severity.
        reference: the same of the baseline (AlexNet in the paper, here SGD).

    Raises:
        ValueError: when the kinds differ, or a kind's reference makes no error at all.

    >>> mean_corruption_error({"fog": [0.1, 0.2]}, {"fog": [0.2, 0.2]})
    75.0...
    """
    if errors.keys() != reference.keys() or not errors:
        kinds = f"{list(reference)} of the reference, got {list(errors)}"
        raise ValueError(f"errors must have the kinds {kinds}; measure both")
    if none := [kind for kind, values in reference.items() if not sum(values)]:
        raise ValueError(f"reference must make errors, got none for {', '.join(none)}; raise the severity")
    return 100 * float(np.mean([sum(errors[kind]) / sum(reference[kind]) for kind in errors]))
