"""S2-SAM in a training loop that one cannot edit: `opt.attach(model)`, and the loop stays as it is.

A forward of the attached model in training mode with grad enabled brings the parameters to y, `opt.step()` brings them
back; any other forward (evaluation, `no_grad` as in `update_bn`), `state_dict` and `load_state_dict` of the model go
back to w first. Nothing else does: after a step that was skipped, code that reads weights elsewhere calls
`opt.restore()`. The hooks act for the very module they were attached to. Its copies (deepcopy as in `AveragedModel`,
pickle, replicas) are not attached.
"""

import weakref
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from s2sam.shards import check_root

if TYPE_CHECKING:
    from s2sam.optim import S2SAM


class Attachment:
    """The hooks of one optimizer on one model; also a context manager that removes them on exit.

    Args:
        optimizer: the optimizer that perturbs.
        model: the module whose forward is watched, the outermost one that the loop calls.

    Raises:
        ValueError: when the model has a trainable parameter that the base optimizer lacks (it would stay at w), or lies
            inside a module under `fully_shard` (its forward comes when the root has gathered its parameters).
    """

    def __init__(self, optimizer: "S2SAM", model: nn.Module) -> None:
        known = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for name, p in model.named_parameters():
            if p.requires_grad and id(p) not in known:
                raise ValueError(
                    f"model must have its trainable parameters in base_optimizer, got {name!r} outside; "
                    "add it by add_param_group, freeze it, or attach a submodule"
                )
        check_root(model)
        self._optimizer: S2SAM | None = optimizer
        self._model: weakref.ref[nn.Module] | None = weakref.ref(model)
        self._handles = [
            model.register_forward_pre_hook(self._before_forward, prepend=True),  # before a sharded model gathers
            model.register_state_dict_pre_hook(self._before_state_dict),
            model._register_load_state_dict_pre_hook(self._before_state_dict, with_module=True),
        ]

    def remove(self) -> None:
        """Go back to w and take the hooks off."""
        if self._optimizer is not None:
            self._optimizer.restore()
        for handle in self._handles:
            handle.remove()
        self._optimizer = self._model = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as an attachment that does nothing: a copied model carries its hooks along."""
        return _nothing, ()

    def _here(self, module: nn.Module) -> "S2SAM | None":
        """Return the optimizer if `module` is the attached one."""
        return self._optimizer if self._model is not None and self._model() is module else None

    def _before_forward(self, module: nn.Module, args: Any) -> None:
        del args
        if (optimizer := self._here(module)) is None:
            return
        if module.training and torch.is_grad_enabled():
            optimizer.perturb()
        else:
            optimizer.restore()

    def _before_state_dict(self, module: nn.Module, *rest: Any) -> None:
        del rest
        if (optimizer := self._here(module)) is not None:
            optimizer.restore()


def _nothing() -> Attachment:
    """Return an attachment without optimizer, model and hooks."""
    attachment = Attachment.__new__(Attachment)
    attachment._optimizer = attachment._model = None
    attachment._handles = []
    return attachment
