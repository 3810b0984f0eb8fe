"""SAM and S2SAM: sharpness-aware minimization around any torch optimizer that takes one gradient a step.

S2-SAM evaluates its one gradient at y = w + rho n(g_{t-1}), where g_{t-1} is the gradient of the step before; SAM takes
the gradient at w for it and so evaluates two. The formulas are `s2sam.rules`; delegation to the base optimizer,
restoring and the order inside `step()` are `s2sam.wrapper`; here is which direction is taken, and where it is kept.
S2SAM has one buffer per parameter, in the base's state. It holds g_{t-1} between steps (never read from `p.grad`, which
`zero_grad` clears); w while the parameters are at y; and after a restore without a step (a gradient scaler skips steps)
the perturbation y - w, so that a retry sees the same y. The group option `held_rho`, saved with the rest, marks the
last.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from s2sam.attach import Attachment
from s2sam.blocks import Scale, multiply
from s2sam.checks import BUFFER, HELD, check_radius
from s2sam.rounding import dither
from s2sam.rules import adaptive_ascent, scales
from s2sam.shards import local
from s2sam.wrapper import Wrapper

Direction = tuple[dict[str, Any], float | Tensor, Tensor, Tensor]  # group, radius, parameter at w, gradient


class S2SAM(Wrapper):
    """S2-SAM, single-step sharpness-aware minimization (Ji et al., NeurIPS 2024), around any base optimizer.

    `y_t = w_t + rho n(g_{t-1})`, `g_t = grad f(y_t)`, and the base optimizer updates w_t by g_t; one gradient a step.
    The first step, and the one after a zero gradient, is the base's own.

        opt = S2SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.05)
        for x, target in loader:
            with opt.perturbed():
                loss = loss_fn(model(x), target)
                loss.backward()
            opt.step()
            opt.zero_grad()

    Forward and backward both belong inside `perturbed()`. Autograd refuses a backward after it, with one exception:
    non-reentrant activation checkpointing recomputes the forward during backward, so a backward outside silently gives
    a wrong gradient. `step(closure)` and `attach(model)` are the other two ways. BatchNorm statistics are those of y;
    `torch.optim.swa_utils.update_bn` estimates them at w. When `attach` is used and a gradient scaler skipped the step,
    call `restore()` before reading weights elsewhere. Under data parallelism gradients are averaged before they get
    here, so the direction is the same on every worker ("m-sharpness" of each worker's own batch is not available).

    Args:
        base_optimizer: a torch optimizer that takes one dense gradient a step; used only through this object from then.
        rho: radius of the perturbation, in the units of the weights (of their relative change with `adaptive`): a
            number or a tensor of shape (), >= 0; an option of each group, it may be set, scheduled and saved like `lr`.
        adaptive: ASAM's perturbation `rho w^2 g/||w g||` (Kwon et al. 2021); an option of each group.
        rounding_seed: an integer >= 0 rounds y stochastically in bfloat16 and float16 parameters (`s2sam.rounding`),
            where rounding to nearest may lose the perturbation; an option of each group, saved, counted on each time.
            Other types are not affected. Not for CUDA graphs, whose random bits would repeat.
        fused: whether compiled loops (`s2sam.native`) go through memory, for plain float32 parameters on the CPU; it
            needs a C compiler. No part of the state dict.

    Attributes:
        base: the base optimizer.
        skipped_perturbations: int64 tensor of shape (), on the parameters' device, not saved: the number of gradients
            with an entry that is not finite. Such a gradient never becomes a direction: nothing is perturbed by it.

    Raises:
        TypeError, ValueError: when an argument, a parameter or the base optimizer is refused.
        RuntimeError: with `fused`, without a C compiler.
    """

    @torch.no_grad()
    def perturb(self) -> None:
        """Bring the parameters from w to y; nothing happens when they are there."""
        if self.is_perturbed:
            return
        radii = [(group, check_radius(group["rho"])) for group in self.param_groups]
        buffers = self._buffers()
        fresh: list[Direction] = []
        pairs: list[tuple[Tensor, Tensor]] = []
        resting: list[Tensor] = []
        marks: list[tuple[dict[str, Any], float | Tensor]] = []
        for group, rho in radii:
            members, held = [p for p in group["params"] if p in buffers], group[HELD]
            if _equal(held, 0):
                # At radius 0, where y = w needs no copy of w, the buffer takes and keeps the perturbation of radius 1.
                held = 1.0 if _equal(rho, 0) else _copy(rho)
                fresh += [(group, held, p, buffers[p]) for p in members]
                resting += members if _equal(rho, 0) else []
            elif not _equal(rho, 0) and not _equal(held, rho):
                ratio = torch.where(held == 0, held, rho / held) if isinstance(held, Tensor) else rho / held
                held = _copy(rho)
                for p in members:
                    buffers[p].mul_(ratio)
            marks.append((group, held))
            if not _equal(rho, 0):
                pairs += [(p, buffers[p]) for p in members]
        steps = zip(fresh, _scales(fresh, self._known_norm([buffer for *_, buffer in fresh])), strict=True)
        scale = {id(p): step for (*_, p, _), step in steps}
        for p in resting:
            multiply([local(buffers[p])], scale[id(p)])
        for group, held in marks:
            group[HELD] = held
        self._lift(pairs, [scale.get(id(p)) for p, _ in pairs])

    @contextmanager
    def perturbed(self) -> Iterator[None]:
        """Perturb on entry; restore on exit, on an exception too."""
        self.perturb()
        try:
            yield
        finally:
            self.restore()

    def attach(self, model: nn.Module) -> Attachment:
        """Perturb and restore by hooks on a model whose training loop one cannot edit; see `s2sam.attach`.

        Args:
            model: its forward in training mode with grad enabled perturbs, any other restores, and so does `step()`.

        Returns:
            A handle; `handle.remove()` restores and takes the hooks off.

        Raises:
            ValueError: when the model has a trainable parameter that the base optimizer lacks.
        """
        return Attachment(self, model)

    def direction(self, parameter: Tensor) -> Tensor | None:
        """Return the buffer that the next perturbation is made from, to be edited in place (masked, say).

        Args:
            parameter: one of the optimizer's.

        Returns:
            A tensor of the parameter's shape (the last gradient, or the perturbation of a step that was skipped), or
            None before the parameter's first step; from step post-hooks on, the new one.

        Raises:
            RuntimeError: while the parameters are perturbed.
            ValueError: when the parameter is not one of the optimizer's.
        """
        if self.is_perturbed:
            raise RuntimeError("direction must be read at w, got perturbed parameters; call restore() first")
        if not any(p is parameter for group in self.param_groups for p in group["params"]):
            raise ValueError("parameter must be one of the optimizer's, got another tensor; add it by add_param_group")
        self._norm = None  # whoever edits it past torch's notice (by numpy, say) had it from here
        return self.state.get(parameter, {}).get(BUFFER)

    def _evaluate(self, closure: Callable[[], Any] | None) -> Any:
        if closure is not None:
            self.perturb()
        return self._evaluate_here(closure)

    def _buffers(self) -> dict[Tensor, Tensor]:
        states = ((p, self.state.get(p, {})) for group in self.param_groups for p in group["params"])
        return {p: state[BUFFER] for p, state in states if BUFFER in state}

    def _applied(self) -> list[tuple[float, float | Tensor, Tensor, Tensor]]:
        groups, buffers = [g for g in self.param_groups if not _equal(g["rho"], 0)], self._buffers()
        groups = [group for group in groups if not _equal(group[HELD], 0)]
        return [(_sign(g), g[HELD], p, buffers[p]) for g in groups for p in g["params"] if p in buffers]

    def _take_direction(self) -> list[tuple[Tensor, Tensor]]:
        buffers = self._buffers()
        copies = self._copy_gradients(buffers)
        if copies:  # without any gradient a step is no step: the direction stays
            for group in self.param_groups:
                group[HELD] = 0.0
            for p in buffers.keys() - copies.keys():
                buffers[p].zero_()
        return [(p, copy) for p, copy in copies.items() if p not in buffers]


class SAM(Wrapper):
    """Exact SAM, sharpness-aware minimization (Foret et al., ICLR 2021): two gradients a step, so it needs a closure.

    `y_t = w_t + rho n(grad f(w_t))`, `g_t = grad f(y_t)`, and the base optimizer updates w_t by g_t.

        opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.05)
        loss = opt.step(closure)  # closure: zero_grad, forward, backward, return the loss; the loss at w comes back

    Arguments, attributes and errors are those of `S2SAM`. The state has no buffer of ours between steps.
    """

    _tried: list[tuple[float, float | Tensor, Tensor, Tensor]] = []  # noqa: RUF012 - replaced, never changed

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Evaluate the closure at w and at y, and step; return the loss at w.

        Raises:
            RuntimeError: without a closure.
        """
        if closure is None:
            raise RuntimeError("closure must be given, got None; SAM evaluates it twice, S2SAM needs none")
        return super().step(closure)

    step.hooked = True  # type: ignore[attr-defined]

    def _evaluate(self, closure: Callable[[], Any] | None) -> Any:
        self._tried = []
        radii = [(group, check_radius(group["rho"])) for group in self.param_groups]
        loss = self._evaluate_here(closure)
        copies = self._copy_gradients({})
        items = [(g, rho, p, copies[p]) for g, rho in radii for p in g["params"] if p in copies]
        steps = zip(items, _scales(items, self._known_norm(list(copies.values()))), strict=True)
        moving = [((p, copy), scale) for (_, rho, p, copy), scale in steps if not _equal(rho, 0)]
        self._lift([pair for pair, _ in moving], [scale for _, scale in moving])
        self._tried = [(_sign(g), rho, p, copy) for g, rho, p, copy in items if not _equal(rho, 0)]
        self._evaluate_here(closure)
        self._tried = []
        return loss

    def _applied(self) -> list[tuple[float, float | Tensor, Tensor, Tensor]]:
        return self._tried

    def _take_direction(self) -> list[tuple[Tensor, Tensor]]:
        return []


def _scales(directions: list[Direction], norm: Tensor | None) -> list[Scale]:
    """Return what makes the perturbations of a list of directions, of one global norm (over groups of every radius).

    An adaptive one is no multiple of the gradient: all are then written into the buffers, and for each None comes back.
    """
    if not directions:
        return []
    signed = {(id(group), id(rho)): (group, rho) for group, rho, *_ in directions}  # few, so that few factors are made
    factors_of = {key: _sign(group) * rho for key, (group, rho) in signed.items()}
    radii = [factors_of[id(group), id(rho)] for group, rho, *_ in directions]
    gradients = [g for *_, g in directions]
    if any(group["adaptive"] for group, *_ in directions):
        weights = [
            p if group["adaptive"] else torch.ones((), dtype=p.dtype, device=p.device).expand_as(local(p))
            for group, _, p, _ in directions
        ]
        for buffer, perturbation in zip(gradients, adaptive_ascent(gradients, weights, radii), strict=True):
            local(buffer).copy_(perturbation)
        return dither(directions, [None] * len(directions))
    power, factors = scales(gradients, radii, norm)
    return dither(directions, [(power, factor) for factor in factors])


def _sign(group: dict[str, Any]) -> float:
    """Return the side of the perturbation: a base that maximizes descends to y."""
    return -1.0 if group.get("maximize", False) else 1.0


def _equal(value: float | Tensor, other: float | Tensor) -> bool:
    """Whether both are numbers and equal; a tensor's value is not looked at, that would wait for the device."""
    return not isinstance(value, Tensor) and not isinstance(other, Tensor) and value == other


def _copy(rho: float | Tensor) -> float | Tensor:
    """Return a number, or a tensor's copy, which in-place scheduling does not change."""
    return rho.clone() if isinstance(rho, Tensor) else rho
