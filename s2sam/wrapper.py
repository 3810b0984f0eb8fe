"""The optimizer around an optimizer: what SAM and S2SAM share, and no method of its own.

`state`, `param_groups` and `defaults` are the base's, so that one state dict, deepcopy or pickle holds the whole; hooks
are shared. The parameters are at w, except between `_lift` and `restore`, when each one's buffer holds its w: going
back copies, it never subtracts, so w returns bit for bit. The order inside `step()`, and why: restore; step pre-hooks;
gradient hooks (masks); copy the gradient (foreach Nesterov overwrites `p.grad` in the base step); base update without
its hooks (they would run twice); create our buffers (Adam takes an empty state as its sign to initialise); post-hooks.
"""

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_pre_hooks
from torch.utils.hooks import RemovableHandle

from s2sam import blocks, native
from s2sam.blocks import Lifted, Scale
from s2sam.checks import BUFFER, HELD, SEED, check_base, check_callable, check_group, fitting
from s2sam.delegation import HOOKS, noted, of_base
from s2sam.diagnostics import Diagnostics
from s2sam.gradients import KnownNorm, copy_finite, dense_gradients, keep_finite, kept_in_one_pass
from s2sam.rounding import warn_if_lost
from s2sam.shards import local, moved


class Wrapper(Optimizer):
    """What SAM and S2SAM share; their docstrings say what the arguments are."""

    fused = False

    def __init__(
        self,
        base_optimizer: Optimizer,
        rho: float | Tensor = 0.05,
        adaptive: bool = False,
        rounding_seed: int | None = None,
        fused: bool = False,
    ) -> None:
        check_base(base_optimizer)
        options = {"rho": rho, "adaptive": adaptive, SEED: rounding_seed, HELD: 0.0}
        for group in base_optimizer.param_groups:
            check_group(options | group, fused=fused)
        self.base = base_optimizer
        self.fused = fused
        self.base.defaults.update(options)
        for group in self.param_groups:
            for name, value in options.items():
                group.setdefault(name, value)
        first = next((p for group in self.param_groups for p in group["params"]), torch.empty(()))
        self.skipped_perturbations = torch.zeros((), dtype=torch.int64, device=first.device)
        self._now: dict[str, Any] = {"lifted": None}
        self._share_hooks()

    def _share_hooks(self) -> None:
        """Make hooks registered on either object act on both; a fresh copy has none, as in torch."""
        for name in HOOKS:
            setattr(self, name, getattr(self.base, name))
        self._gradient_hooks: OrderedDict[int, Callable[[], bool | None]] = OrderedDict()
        self._leave_out = False
        self._norm = None
        self._looked = False
        self._patch_step_function()

    @property
    def _passes(self) -> ModuleType:
        """What goes through memory for us; in a graph that is traced, torch's own operations."""
        return native if self.fused and not torch.compiler.is_compiling() else blocks

    state = of_base("state")
    param_groups = of_base("param_groups")
    defaults = of_base("defaults")
    _lifted = noted("lifted")  # list of (parameter at y, buffer with w), None when at w
    _norm = noted("norm")  # KnownNorm of the buffers, or None
    _leave_out = noted("leave_out")  # what the gradient hooks said last
    _looked = noted("looked")  # whether a first perturbation was seen to survive in half types, or not

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("base", "fused", "skipped_perturbations", "_lifted")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "base" not in state:  # from torch's load_state_dict, with what is the base's
            return self.base.__setstate__(state)
        self._now = {}
        for name, value in state.items():
            setattr(self, name, value)
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
        check_group(self.defaults | param_group, fused=self.fused)
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

        Raises:
            TypeError, ValueError: when it does not fit the groups, or has a bad option; nothing is loaded then.
        """
        self.restore()
        self._norm = None
        check = self.register_load_state_dict_pre_hook(fitting)  # the last of them: others may convert what is older
        try:
            super().load_state_dict(state_dict)
        finally:
            check.remove()

    def register_gradient_hook(self, hook: Callable[[], bool | None]) -> RemovableHandle:
        """Call `hook()` after every gradient evaluation, at w, before the gradient is used or copied.

        This is the place to mask or otherwise edit `p.grad`: torch's step pre-hooks run before a closure is evaluated.

        Args:
            hook: called without arguments: after the step pre-hooks when the gradient is already there, else after each
                evaluation of the closure (both of SAM's). Where the last call returns True, the base update of this
                step is left out; the direction is still taken, but by a parameter that never made a step.

        Returns:
            A handle; `handle.remove()` ends it.

        Raises:
            TypeError: when the hook cannot be called.
        """
        check_callable("hook", hook)
        handle = RemovableHandle(self._gradient_hooks)
        self._gradient_hooks[handle.id] = hook
        return handle

    def diagnostics(self) -> Diagnostics:
        """Measure every step from now on, and return the `s2sam.diagnostics.Diagnostics` to `read()` and `remove()`."""
        return Diagnostics(self)

    @property
    def is_perturbed(self) -> bool:
        """Whether the parameters are at y now; masks and other edits of the weights must wait for w."""
        return self._lifted is not None

    @torch.no_grad()
    def restore(self) -> None:
        """Bring the parameters back to w, bit for bit; nothing happens when they are there."""
        self._passes.lower([(local(p), local(b)) for p, b in self._lifted or []])
        moved([p for p, _ in self._lifted or []])
        self._lifted = None

    def _lift(self, pairs: list[Lifted], scales: Sequence[Scale] | None = None) -> None:
        """Add to each parameter the perturbation that scaling makes of its buffer, and keep w there."""
        scales = scales or [None] * len(pairs)
        if pairs and not self._looked:
            self._looked = warn_if_lost(pairs, scales)
        self._passes.lift([(local(p), local(b)) for p, b in pairs], scales)
        moved([p for p, _ in pairs])
        self._lifted = pairs

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step of the method; restores w first. Returns the closure's loss, if there is one."""
        if closure is not None:
            check_callable("closure", closure)
        if closure is not None or self._optimizer_step_pre_hooks or _global_optimizer_pre_hooks:
            self.restore()  # without anyone to see the weights before, in one pass with what follows
        return self._hooked_step(closure)

    step.hooked = True  # type: ignore[attr-defined]  # torch then leaves it as it is: w is restored before the pre-hooks

    @torch.no_grad()
    def _step(self, closure: Callable[[], Any] | None) -> Any:
        loss = self._evaluate(closure)
        created = self._take_direction()
        self.restore()
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

    @abstractmethod
    def _applied(self) -> list[tuple[float, float | Tensor, Tensor, Tensor]]:
        """Return sign, radius, parameter and y - w of each parameter that this step perturbed; for use at w."""

    def _evaluate_here(self, closure: Callable[[], Any] | None) -> Any:
        """Evaluate the closure, if any, where the parameters are; go back to w for gradient hooks, and run them."""
        loss = None
        try:
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
        except BaseException:
            self.restore()
            raise
        if self._gradient_hooks:
            self.restore()
        self._leave_out = any([hook() for hook in self._gradient_hooks.values()])
        return loss

    def _copy_gradients(self, buffers: Mapping[Tensor, Tensor]) -> dict[Tensor, Tensor]:
        """Go back to w; copy each gradient, into its buffer if it has one; zeros, counted, if any is not finite."""
        try:
            gradients = dense_gradients(self.param_groups)
        except RuntimeError:
            self.restore()
            raise
        if not gradients:
            return {}
        copies = {p: torch.empty_like(p) if (held := buffers.get(p)) is None else held for p in gradients}
        if kept_in_one_pass(list(gradients)):
            back = {id(p) for p, buffer in self._lifted or [] if copies.get(p) is buffer}  # a tensor's own hash is slow
            self._lifted = [pair for pair in self._lifted or [] if id(pair[0]) not in back]
            self.restore()  # parameters without a gradient
            items = [(p, copies[p], g, id(p) in back) for p, g in gradients.items()]
            finite, norm = keep_finite(self._passes.keep, items)
            self._norm = KnownNorm(norm, list(copies.values()))
        else:
            self.restore()
            finite = copy_finite(list(gradients.values()), list(copies.values()))
        self.skipped_perturbations += finite.logical_not().to(self.skipped_perturbations.device)
        return copies

    def _known_norm(self, buffers: list[Tensor]) -> Tensor | None:
        """Return the norm of buffers, remembered if they hold what `_copy_gradients` left there; None: unknown."""
        known, self._norm = self._norm, None
        norm = known and known.of(buffers)
        return native.norm(buffers) if norm is None and self._passes is native else norm
