"""Real data that needs no download."""

import functools

import torch
from torch import Tensor


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
