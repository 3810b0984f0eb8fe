"""What determines a training run, checked once: a frozen `Config`, defaults for each data set, and seeds by axis."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from validation.datasets import DATASETS
from validation.models import MODELS
from validation.training.methods import METHODS

OPTIMIZERS = ("sgd", "sam", "s2sam")
CONTROLS = ("random", "unmasked")  # S2-SAM along another direction; see validation.training.arms
SCHEDULES: dict[str, Callable[[float], float]] = {  # part of a round that is over, in [0, 1) -> learning rate over lr
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "steps": lambda done: 0.1 ** ((done >= 0.5) + (done >= 0.75)),  # He et al., CVPR 2016: at 32k and 48k of 64k
    "constant": lambda done: 1.0,
}
AUGMENTATIONS = ("none", "crop-flip")  # see validation.training.augment
_CIFAR = {"model": "resnet32", "epochs": 160, "batch": 64, "augment": "crop-flip"}  # released code of MEST and S2-SAM
DEFAULTS: dict[str, dict[str, Any]] = {  # else Config's own
    "digits": {},
    "fashion-mnist": {"epochs": 10, "batch": 128},
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """What determines a run.

    Args:
        method: a key of `METHODS`. optimizer: one of `OPTIMIZERS` or `CONTROLS`. dataset: a key of `DATASETS`. model:
            of `MODELS`.
        sparsity: fraction of the prunable weights (of the channels, in the channel methods) that are removed.
        rho: radius of the perturbation, for all but sgd. epochs: of each round.
        batch: images of a step; what is left of an epoch after the last whole batch is not used in it.
        lr: learning rate at the beginning of a round. schedule: a key of `SCHEDULES`, how it goes on from there.
        momentum, weight_decay: of SGD.
        validation: fraction of the training images that are held out, in [0, 1); accuracy on them is measured too.
        train_size: images trained on, taken from the others; all if None. label_noise: fraction of their labels that
            are made wrong, in [0, 1). augment: one of `AUGMENTATIONS`, what is done to the images of a batch.
        seed: of every random choice, >= 0. device: a torch device.
        threads: of torch. Sums depend on it in their last bits, so the default is not the machine's number of cores.
        data_dir: folder of the images, where the data set needs one; a run may go on with another.

    Raises:
        ValueError: naming argument, rule, value and remedy.
    """

    method: str = "rigl"
    optimizer: str = "s2sam"
    dataset: str = "digits"
    model: str = "compact"
    sparsity: int | float = 0.9
    rho: int | float = 0.05
    epochs: int = 20
    batch: int = 64
    lr: int | float = 0.1
    momentum: int | float = 0.9
    schedule: str = "cosine"
    weight_decay: int | float = 5e-4
    validation: int | float = 0.0
    train_size: int | None = None
    label_noise: int | float = 0.0
    augment: str = "none"
    seed: int = 0
    device: str = "cpu"
    threads: int = 1
    data_dir: str | None = field(default=None, compare=False)

    @classmethod
    def of(cls, dataset: str = "digits", **given: Any) -> "Config":
        """Return the configuration with the data set's defaults for what is missing or None.

        >>> Config.of("fashion-mnist", lr=0.2, batch=None).batch
        128
        """
        stated = {name: value for name, value in given.items() if value is not None}
        return cls(dataset=dataset, **DEFAULTS.get(dataset, {}) | stated)

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)}; pick one")
        for name, (least, limit, rule, remedy) in _RANGES.items():
            if not least <= getattr(self, name) < limit:
                raise ValueError(f"{name} must be {rule}, got {getattr(self, name)}; {remedy}")
        if self.train_size is not None and self.train_size < 1:
            raise ValueError(f"train_size must be >= 1, or None for all, got {self.train_size}; give images")
        if not self.lr > 0:
            raise ValueError(f"lr must be > 0, got {self.lr}; 0.1 is usual")

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return f"{self.method}-{self.optimizer}-{self.seed}"

    def difference(self, other: "Config") -> str | None:
        """Return the first field in which another configuration determines another run, None when there is none."""
        names = [f.name for f in fields(self) if f.compare]
        return next((name for name in names if getattr(self, name) != getattr(other, name)), None)


_CHOICES = {"method": METHODS, "optimizer": (*OPTIMIZERS, *CONTROLS), "dataset": DATASETS, "model": MODELS}
_CHOICES |= {"schedule": SCHEDULES, "augment": AUGMENTATIONS}
_RANGES: dict[str, tuple[float, float, str, str]] = {  # least value, limit, the rule in words, remedy
    "sparsity": (0.0, 1.0, "in [0, 1)", "give the fraction to remove"),
    "rho": (0.0, math.inf, "finite and >= 0", "0.05 is usual"),
    "epochs": (1.0, math.inf, ">= 1", "give the passes over the training images"),
    "batch": (1.0, math.inf, ">= 1", "give the images of a step"),
    "lr": (0.0, math.inf, "finite and > 0", "0.1 is usual"),
    "momentum": (0.0, 1.0, "in [0, 1)", "0.9 is usual"),
    "weight_decay": (0.0, math.inf, "finite and >= 0", "5e-4 is usual"),
    "validation": (0.0, 1.0, "in [0, 1)", "give the fraction to hold out"),
    "label_noise": (0.0, 1.0, "in [0, 1)", "give the fraction of wrong labels"),
    "seed": (0.0, math.inf, ">= 0", "use 0, 1, 2, ..."),
    "threads": (1.0, math.inf, ">= 1", "1 is best for small networks"),
}


def seed_for(*parts: str | int) -> int:
    """Return a seed, the same for the same parts and unrelated for others.

    >>> seed_for("order", 0, 1) == seed_for("order", 0, 1), seed_for("order", 0, 1) == seed_for("order", 1, 0)
    (True, False)
    """
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big")
