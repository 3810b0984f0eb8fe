"""Training images changed at random, afresh in every epoch: the crops and flips with which networks learn CIFAR.

What is drawn depends on seed, epoch and image alone: all methods, optimizers and rounds of a seed see the same crops,
and a run that goes on in the middle of an epoch draws them again. Only the batches of training are changed; images that
weights are scored on before it, and those that measure, stay as they are.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from validation.training.config import seed_for

PAD = 4  # pixels on each side (He et al., CVPR 2016, Section 4.2)


class Plain:
    """Images as they are.

    Args:
        x: the training images (n, channels, side, side). seed: of the run.
    """

    def __init__(self, x: Tensor, seed: int) -> None:
        del seed
        self.x = x

    def __call__(self, index: Tensor, epoch: int) -> Tensor:
        """Return the images of these places."""
        del epoch
        return self.x[index]


class CropFlip:
    """Images cropped at random from themselves with four pixels added on each side, and mirrored half of the time.

    As for CIFAR in He et al. (CVPR 2016, Section 4.2) and in the released code of MEST and S2-SAM. Added pixels are
    black: each channel's least value, as images hold black somewhere. Each of the 81 places is equally likely.

    Args:
        x: the training images (n, channels, side, side). seed: of the run.
    """

    def __init__(self, x: Tensor, seed: int) -> None:
        self.x, self.seed = x, seed
        self.black = x.amin((0, 2, 3), keepdim=True)
        self._drawn = (-1, torch.empty(0))

    def __call__(self, index: Tensor, epoch: int) -> Tensor:
        """Return the images of these places as they are seen in an epoch; nothing waits for the device."""
        x = self.x[index]
        top, left, flip = self._draw(epoch)[:, index]
        along = torch.arange(x.shape[-1], device=x.device)
        rows, columns = top[:, None] + along, left[:, None] + torch.where(flip[:, None] > 0, along.flip(0), along)
        wide = self.black.repeat(len(x), 1, x.shape[-1] + 2 * PAD, x.shape[-1] + 2 * PAD)
        wide[..., PAD:-PAD, PAD:-PAD] = x
        image, channel = (torch.arange(size, device=x.device) for size in x.shape[:2])
        return wide[image[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None]]

    def _draw(self, epoch: int) -> Tensor:
        """Return (3, n) for an epoch: first row and first column of each crop, 0 to 8, and whether it is mirrored."""
        if self._drawn[0] != epoch:
            generator = torch.Generator().manual_seed(seed_for("crop", self.seed, epoch))
            places = torch.randint(2 * PAD + 1, (2, len(self.x)), generator=generator)
            flips = torch.randint(2, (1, len(self.x)), generator=generator)
            self._drawn = epoch, torch.cat([places, flips]).to(self.x.device)
        return self._drawn[1]


AUGMENTATIONS: dict[str, Callable[[Tensor, int], Plain | CropFlip]] = {"none": Plain, "crop-flip": CropFlip}
