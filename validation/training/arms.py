"""The optimizers that runs compare: SGD, SAM, S2-SAM, and two controls made of S2-SAM itself by one hook each.

Both controls are `s2sam.S2SAM`, step and radius unchanged; a hook alone writes another direction where the next
perturbation is made from (`S2SAM.direction`). `random` asks whether the former gradient matters at all; `unmasked`
perturbs along the dense former gradient, weights outside the mask too, as the authors' public code does.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from s2sam import S2SAM, SAM
from s2sam.rules import global_norm
from s2sam.sparse.controller import Controller
from validation.training.config import Config, seed_for


def optimizer(config: Config, sparse: Controller) -> Any:
    """Return a fresh optimizer of the configuration, the masks attached to it.

    Args:
        config: of the run.
        sparse: holds network and masks.
    """
    c, parameters = config, list(sparse.model.parameters())
    base = torch.optim.SGD(parameters, lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay)
    if c.optimizer in ("sgd", "sam"):
        plain = base if c.optimizer == "sgd" else SAM(base, c.rho)
        sparse.attach(plain)
        return plain
    made = S2SAM(base, c.rho)
    if c.optimizer == "random":
        # Before the masks, whose hook clears it outside the support; by step, so the same again in a resumed run.
        draw_direction(made, parameters, lambda: seed_for("direction", c.seed, _round(sparse), sparse.step))
    dense = _keep_dense(made) if c.optimizer == "unmasked" else None
    sparse.attach(made)
    if dense is not None:
        _direct_along(made, dense)  # after the masks, whose hook would clear it
    return made


def _round(sparse: Controller) -> int:
    return getattr(sparse, "round", 0)


def draw_direction(made: S2SAM, parameters: Sequence[Tensor], seed: Callable[[], int]) -> None:
    """Let every direction be Gaussian, drawn afresh after each step.

    Args:
        made: the optimizer.
        parameters: its own, on one device, in the order in which they are drawn for.
        seed: gives the one of a step, after it.
    """

    def draw(*_: Any) -> None:
        generator = torch.Generator(parameters[0].device)
        generator.manual_seed(seed())
        for p in parameters:
            if (direction := made.direction(p)) is not None:
                direction.normal_(generator=generator)

    made.register_step_post_hook(draw)


def _keep_dense(made: S2SAM) -> dict[Tensor, Tensor]:
    """Return a dict that holds the gradients of the last evaluation, as they were before the masks."""
    kept: dict[Tensor, Tensor] = {}

    def keep() -> None:
        held = (p for group in made.param_groups for p in group["params"] if p.grad is not None)
        kept.update({p: p.grad.detach().clone() for p in held})

    made.register_gradient_hook(keep)
    return kept


def _direct_along(made: S2SAM, kept: dict[Tensor, Tensor]) -> None:
    """Let every direction be the gradient kept; zero where an entry of it is not finite, as S2-SAM's own."""

    def direct(*_: Any) -> None:
        finite = torch.isfinite(global_norm(list(kept.values())))
        for p, g in kept.items():
            if (direction := made.direction(p)) is not None:
                direction.copy_(torch.where(finite, g, torch.zeros_like(g)))

    made.register_step_post_hook(direct)
