"""The optimizer around an optimizer: what SAM and S2SAM share, and no method of its own.

`state`, `param_groups` and `defaults` are the base's, so that one state dict, deepcopy or pickle holds the whole; hooks
are shared. The parameters are at w, except between `_lift` and `restore`, when each one's buffer holds its w: going
back copies, it never subtracts, so w returns bit for bit. The order inside `step()`, and why: restore; step pre-hooks;
gradient hooks (masks); copy the gradient (foreach Nesterov overwrites `p.grad` in the base step); base update without
its hooks (they would run twice); create our buffers (Adam takes an empty state as its sign to initialise); post-hooks.
"""

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from s2sam.checks import HELD, check_base, check_group
from s2sam.rules import global_norm

BUFFER = "ascent"  # key of the buffer in `state[p]`
_HOOKS = [f"_optimizer_{name}_hooks" for name in ("step_pre", "step_post", "state_dict_pre", "state_dict_post")]
_HOOKS += [f"_optimizer_load_state_dict_{when}_hooks" for when in ("pre", "post")]


def _of_base(name: str) -> Any:
    """Return a property that is the base optimizer's attribute (which it replaces on `load_state_dict`)."""
    return property(lambda self: getattr(self.base, name), lambda self, value: setattr(self.base, name, value))


def _batches(pairs: list[tuple[Tensor, Tensor]]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Return pairs as lists: all at once where a call launches kernels, one by one where temporaries want a cache."""
    on_cpu = [pair for pair in pairs if pair[0].device.type == "cpu"]
    others = [pair for pair in pairs if pair[0].device.type != "cpu"]
    return [([p], [b]) for p, b in on_cpu] + ([([p for p, _ in others], [b for _, b in others])] if others else [])


class Wrapper(Optimizer):
    """What SAM and S2SAM share; their docstrings say what the arguments are."""

    def __init__(self, base_optimizer: Optimizer, rho: float | Tensor = 0.05, adaptive: bool = False) -> None:
        check_base(base_optimizer)
        options = {"rho": rho, "adaptive": adaptive, HELD: 0.0}
        for group in base_optimizer.param_groups:
            check_group(options | group)
        self.base = base_optimizer
        self.base.defaults.update(options)
        for group in self.param_groups:
            for name, value in options.items():
                group.setdefault(name, value)
        first = next((p for group in self.param_groups for p in group["params"]), torch.empty(()))
        self.skipped_perturbations = torch.zeros((), dtype=torch.int64, device=first.device)
        self._lifted: list[tuple[Tensor, Tensor]] | None = None  # (parameter at y, buffer with w), None when at w
        self._share_hooks()

    def _share_hooks(self) -> None:
        """Make hooks registered on either object act on both; a fresh copy has none, as in torch."""
        for name in _HOOKS:
            setattr(self, name, getattr(self.base, name))
        self._gradient_hooks: OrderedDict[int, Callable[[], bool | None]] = OrderedDict()
        self._leave_out = False  # what the gradient hooks said last
        self._patch_step_function()

    state = _of_base("state")
    param_groups = _of_base("param_groups")
    defaults = _of_base("defaults")

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("base", "skipped_perturbations", "_lifted")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "base" not in state:  # from torch's load_state_dict, with what is the base's
            return self.base.__setstate__(state)
        self.__dict__.update(state)
        self._share_hooks()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the base optimizer; it may have its own `rho` and `adaptive`.

        Args:
            param_group: as for torch; checked first, so a refused group leaves the optimizer as it was.

        Raises:
            TypeError, ValueError: when an option or a parameter is refused.
        """
        if not isinstance(param_group.get("params"), Tensor | set):
            param_group["params"] = list(param_group["params"])
        check_group(self.defaults | param_group)
        self.base.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the base optimizer and ours as one dict, as torch does; restores w first."""
        self.restore()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict of this class, or of the base optimizer alone; restores w first.

        Args:
            state_dict: options of ours that it lacks keep their present values. Without our buffers the first step is
                not perturbed.
        """
        self.restore()
        mine = [{"rho": group["rho"], "adaptive": group["adaptive"], HELD: 0.0} for group in self.param_groups]
        saved = state_dict["param_groups"]
        groups = [a | b for a, b in zip(mine, saved, strict=False)] if len(mine) == len(saved) else saved
        super().load_state_dict(state_dict | {"param_groups": groups})

    def register_gradient_hook(self, hook: Callable[[], bool | None]) -> RemovableHandle:
        """Call `hook()` after every gradient evaluation, at w, before the gradient is used or copied.

        This is the place to mask or otherwise edit `p.grad`: torch's step pre-hooks run before a closure is evaluated.

        Args:
            hook: called without arguments: after the step pre-hooks when the gradient is already there, else after each
                evaluation of the closure (both of SAM's). Where the last call returns True, the base update of this
                step is left out; the direction is still taken, but by a parameter that never made a step.

        Returns:
            A handle; `handle.remove()` ends it.
        """
        handle = RemovableHandle(self._gradient_hooks)
        self._gradient_hooks[handle.id] = hook
        return handle

    @property
    def is_perturbed(self) -> bool:
        """Whether the parameters are at y now; masks and other edits of the weights must wait for w."""
        return self._lifted is not None

    @torch.no_grad()
    def restore(self) -> None:
        """Bring the parameters back to w, bit for bit; nothing happens when they are there."""
        for parameters, buffers in _batches(self._lifted or []):
            perturbations = torch._foreach_sub(parameters, buffers)
            torch._foreach_copy_(parameters, buffers)
            torch._foreach_copy_(buffers, perturbations)
        self._lifted = None

    def _lift(self, pairs: list[tuple[Tensor, Tensor]]) -> None:
        """Add to each parameter the perturbation in its buffer, and keep w there."""
        for parameters, buffers in _batches(pairs):
            perturbed = torch._foreach_add(parameters, buffers)
            # A retry adds p = fl(y - w), so y = fl(w + p) from the start: fl(w + fl(y - w)) may differ from y (on a tie
            # rounded to a power of two), but doing it once more changes nothing (this project; tested exhaustively).
            torch._foreach_copy_(buffers, perturbed)
            torch._foreach_sub_(buffers, parameters)
            perturbed = torch._foreach_add(parameters, buffers)
            torch._foreach_copy_(buffers, parameters)
            torch._foreach_copy_(parameters, perturbed)
        self._lifted = pairs

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step of the method; restores w first. Returns the closure's loss, if there is one."""
        self.restore()
        return self._hooked_step(closure)

    step.hooked = True  # type: ignore[attr-defined]  # torch then leaves it as it is: w is restored before the pre-hooks

    @torch.no_grad()
    def _step(self, closure: Callable[[], Any] | None) -> Any:
        loss = self._evaluate(closure)
        created = self._take_direction()
        update = type(self.base).step
        if getattr(update, "hooked", False):  # the hooks are shared: called with them, they would run twice
            update = update.__wrapped__  # type: ignore[attr-defined]
        if not self._leave_out:
            update(self.base)
        self.base._opt_called = True  # type: ignore[attr-defined]  # what a scheduler on the base looks for
        for p, buffer in created if not self._leave_out else []:  # left out, Adam would find a state it did not make
            self.state[p][BUFFER] = buffer
        return loss

    _hooked_step = Optimizer.profile_hook_step(_step)

    @abstractmethod
    def _evaluate(self, closure: Callable[[], Any] | None) -> Any:
        """Leave in `p.grad` the gradient that the base applies, the parameters at w; return the loss."""

    @abstractmethod
    def _take_direction(self) -> list[tuple[Tensor, Tensor]]:
        """Keep what the next step needs of `p.grad`; return the buffers that are not in the state yet."""

    def _evaluate_here(self, closure: Callable[[], Any] | None) -> Any:
        """Evaluate the closure, if any, where the parameters are; go back to w, run the gradient hooks."""
        loss = None
        try:
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
        finally:
            self.restore()
        self._leave_out = any([hook() for hook in self._gradient_hooks.values()])
        return loss

    def _copy_gradients(self, buffers: Mapping[Tensor, Tensor]) -> dict[Tensor, Tensor]:
        """Copy each gradient, into its buffer if it has one; zeros, counted, if any entry of any is not finite."""
        gradients = {p: p.grad for group in self.param_groups for p in group["params"] if p.grad is not None}
        for g in gradients.values():
            if g.layout is not torch.strided:
                raise RuntimeError(f"gradients must be dense, got {g.layout}; use sparse=False")
        if not gradients:
            return {}
        finite = torch.isfinite(global_norm(list(gradients.values())))
        self.skipped_perturbations += finite.logical_not().to(self.skipped_perturbations.device)
        copies = {p: buffers[p] if p in buffers else torch.empty_like(p) for p in gradients}
        for p, g in gradients.items():
            zero = torch.zeros((), dtype=p.dtype, device=p.device)  # 0 * g would be nan where g is not finite
            torch.where(finite.to(p.device), g.to(p.dtype), zero, out=copies[p])
        return copies
