"""Error on corrupted test images as a cell: a configuration, trained as `training` trains it, then shown all of them.

Thirteen kinds at five severities (`validation.corruptions`), of the whole test set, in pixels, before standardisation.
What is random in a corruption depends on the run's seed alone: all arms of a seed see the same images.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from validation.cells import Row, experiment
from validation.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from validation.evidence.runs import BESIDE, BESIDE_CODE, MEASURED, alone
from validation.training import Config
from validation.training.config import seed_for
from validation.training.loop import CHUNK


@partial(experiment, runs=(*BESIDE_CODE, "validation/corruptions.py"))
def corruption(**options: Any) -> list[Row]:
    """Train one configuration in memory and measure its error on corrupted test images.

    Args:
        options: the fields of a `Config`.

    Returns:
        One row: that of `training` without its history, and `errors`: kind -> the part of the test images that is
        misclassified, for severities 1 to 5.
    """
    run, row = alone(Config(**options))
    scale = run.x.amin((0, 2, 3), keepdim=True), run.x.amax((0, 2, 3), keepdim=True)
    found = errors(run.model, *run.test, scale=scale, seed=seed_for("corruption", run.config.seed))
    return [row | {"errors": found}]


MEASURED["corruption"] = Config
BESIDE["corruption"] = 250  # measured: 0.45 seconds, where training for 400 takes 0.7


def errors(
    model: nn.Module, x: Tensor, y: Tensor, *, scale: tuple[Tensor | float, Tensor | float], seed: int = 0
) -> dict[str, list[float]]:
    """Return the errors of a network on corrupted images; the network is left in evaluation mode.

    Args:
        model: images -> logits.
        x: standardised images (n, channels, side, side).
        y: labels (n,).
        scale: standardised values of pixels 0 and 1, (1, channels, 1, 1) or numbers. Every data set here uses its whole
            range, so these are each channel's least and largest value of the images trained on.
        seed: of what is random in a corruption.

    Returns:
        kind -> part misclassified, in [0, 1], at severities 1 to 5.
    """
    low, high = scale
    pixels = ((x - low) / (high - low)).clamp(0, 1)  # a rounding may lead out
    return {
        kind: [_error(model, low + (high - low) * corrupted(pixels, kind, s, seed=seed), y) for s in SEVERITIES]
        for kind in CORRUPTIONS
    }


@torch.no_grad()
def _error(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the part misclassified."""
    model.eval()
    wrong = sum(int((model(a).argmax(1) != b).sum()) for a, b in zip(x.split(CHUNK), y.split(CHUNK), strict=True))
    return wrong / len(y)
