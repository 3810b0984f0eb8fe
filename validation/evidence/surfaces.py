"""The loss surface around a trained network as a cell: a configuration, trained as `training` trains it, then measured.

The loss is the mean cross-entropy, without weight decay, of the images it was trained on: the surface that training
moves on and that perturbations are made of, as in the paper's Figures 1 and 3. It is that of 512 images, the same for
all arms of a seed, as are the Gaussians that directions are made of. Five planes each give an Ra; their mean counts.
Two questions double every number: do directions stay in the support ("masked") or leave it ("unmasked"), and does
BatchNorm keep its statistics ("fixed") or take those of the images at every point ("batch")?
"""

import math
from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from validation.cells import Row, experiment
from validation.evidence.runs import BESIDE, BESIDE_CODE, MEASURED, alone
from validation.landscape import BATCHNORM, roughness, surfaces, top_eigenvalue
from validation.training import Config
from validation.training.config import seed_for
from validation.training.loop import Training

IMAGES = 512  # in a first look, Ra of all 1,150 digits differed from that of 512 by 1 to 3 %
PLANES = 5
POINTS = 21  # of a side; the square goes from -1 to 1 lengths of the filters
WHERE = ("masked", "unmasked")
VARIANTS = tuple(f"{where}, {norm}" for where, norm in product(WHERE, BATCHNORM))
KEPT = 4  # digits of the losses that a row keeps for its figure


@partial(experiment, runs=(*BESIDE_CODE, "validation/landscape.py"))
def landscape(**options: Any) -> list[Row]:
    """Train one configuration in memory and measure the surface around it.

    Args:
        options: the fields of a `Config`.

    Returns:
        One row: that of `training` without its history, and what `measured` says of the surface at its end.
    """
    run, row = alone(Config(**options))
    x, y = shown(run, IMAGES)
    around = measured(run.model, x, y, run.sparse.masks, planes=PLANES, points=POINTS, seed=run.config.seed)
    return [row | around]


MEASURED["landscape"] = Config
BESIDE["landscape"] = 6000  # measured: 8 and 14 seconds, dense and sparse, where training for 400 takes 0.7


def shown(run: Training, images: int) -> tuple[Tensor, Tensor]:
    """Return that many of a run's training images and their labels, drawn by its seed alone; all where it has less."""
    generator = torch.Generator().manual_seed(seed_for("surface", run.config.seed))
    chosen = torch.randperm(len(run.x), generator=generator)[:images].to(run.x.device)
    return run.x[chosen], run.y[chosen]


def measured(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    masks: Mapping[str, Tensor],
    *,
    planes: int,
    seed: int,
    variants: tuple[str, ...] = VARIANTS,
    **options: Any,
) -> Row:
    """Return what is measured of the surface around a network.

    Args:
        model: the network.
        images: (n, ...), one batch.
        labels: (n,).
        masks: bool tensors by parameter name.
        planes: how many.
        seed: of their directions.
        variants: of `VARIANTS`.
        options: of `validation.landscape.surface`.

    Returns:
        Ra (nats), log-Ra and form-free Ra: variant -> a number for each plane; a dense network has no other space than
        its support, and one without BatchNorm no statistics, so what is the same is measured once. top_eigenvalue: of
        the Hessian on the support, BatchNorm fixed; nan where the loss is not finite. surface: losses on the first
        plane, of the first variant, to four digits, as lists. loss: in its middle, at the weights where `points` is
        odd.
    """
    sparse = any(not bool(mask.all()) for mask in masks.values())
    normed = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    found: dict[tuple[bool, str], Tensor] = {}
    row: Row = {"loss_images": len(labels)}
    for variant in variants:
        where, norm = variant.split(", ")
        key = sparse and where == "masked", norm if normed else BATCHNORM[0]
        if key not in found:
            within = masks if key[0] else None
            own: dict[str, Any] = {"directions": planes, "seed": seed, "batchnorm": key[1]}
            found[key] = surfaces(model, images, labels, within, **own, **options)
        numbers = [roughness(table) for table in found[key]]
        for name in numbers[0]:
            row.setdefault(name, {})[variant] = [each[name] for each in numbers]
    first = next(iter(found.values()))[0]
    row["surface"] = [[float(f"{value:.{KEPT}g}") for value in line] for line in first.tolist()]
    row["loss"] = float(first[len(first) // 2, len(first) // 2])
    finite = math.isfinite(row["loss"])  # of a network that diverged there is no Hessian
    row["top_eigenvalue"] = top_eigenvalue(model, images, labels, masks) if finite else math.nan
    return row
