"""The optimizers that runs compare: SGD, SAM, S2-SAM, and two controls made of S2-SAM itself by one hook each.

Both controls are `s2sam.S2SAM`, step and radius unchanged; a hook alone writes another direction where the next
perturbation is made from (`S2SAM.direction`). `random` asks whether the former gradient matters at all; `unmasked`
perturbs along the dense former gradient, weights outside the mask too, as the authors' public code does.
"""

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
        _draw_direction(made, sparse, c.seed)  # before the masks, whose hook clears it outside the support
    dense = _keep_dense(made) if c.optimizer == "unmasked" else None
    sparse.attach(made)
    if dense is not None:
        _direct_along(made, dense)  # after the masks, whose hook would clear it
    return made


def _draw_direction(made: S2SAM, sparse: Controller, seed: int) -> None:
    """Let every direction be Gaussian, drawn afresh after each step; the same again when a run is resumed."""
    parameters = list(sparse.model.parameters())

    def draw(*_: Any) -> None:
        generator = torch.Generator(parameters[0].device)
        generator.manual_seed(seed_for("direction", seed, getattr(sparse, "round", 0), sparse.step))
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
