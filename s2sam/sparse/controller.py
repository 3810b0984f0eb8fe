"""How masks act around any optimizer's step, and what a sparse-training method adds: when (`_due`), what (`_update`).

Gradients are masked after each evaluation and before S2-SAM copies its direction, so the perturbed weights stay in the
support; the topology changes after the step, at w.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from inspect import Signature, signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from s2sam.checks import HELD
from s2sam.sparse.distributions import DISTRIBUTIONS, budgets, check_sparsity, require
from s2sam.sparse.masks import Masks
from s2sam.wrapper import Wrapper


class Controller(Masks):
    """What all sparse-training methods share. A refused argument raises ValueError and leaves the model without masks.

    Args:
        model: the network; a buffer `weight_mask` appears beside each prunable weight.
        sparsity: fraction of the prunable weights that are zero, in [0, 1).
        distribution: "erk", "er", "uniform", or densities by weight name; None for the method's own.
        total_steps: optimizer steps of the training (of one round, in iterative methods).
        layers: names of the layers to prune, all Conv2d and Linear by default.
        dense: names of prunable layers kept at density 1. dense_first: whether the first layer is one of them.
        compensate: whether the other layers make up for the dense ones.
        seed: of the method's own generator, on the CPU: one seed gives the same draws on every device.

    Attributes:
        step: completed optimizer steps. last_update: how many there were at the last change of the topology, -1 before.
        optimizer: the attached one, or None. budget: non-zeros of each layer by the distribution, or None.
        generator: of every random choice.
    """

    own_distribution: str | None = "erk"  # None: one ranking of all layers
    needs_gradient = False  # whether `_update` wants the dense gradients of its step
    skip_step_on_update = False  # whether the batch of an update serves the topology only, without a step
    saves: tuple[str, ...] = ()  # names of the attributes that a method adds to the state

    def __init__(
        self,
        model: nn.Module,
        sparsity: float = 0.9,
        distribution: str | Mapping[str, float] | None = None,
        total_steps: int | None = None,
        *,
        layers: Collection[str] | None = None,
        dense: Collection[str] = (),
        dense_first: bool = False,
        compensate: bool = False,
        seed: int = 0,
    ) -> None:
        positive = total_steps is None or total_steps >= 1
        require(positive, f"total_steps must be >= 1, got {total_steps}; give the optimizer steps of the training")
        self.sparsity, self.total_steps = check_sparsity(sparsity), total_steps
        super().__init__(model, layers)
        self.step, self.last_update, self._skipped = 0, -1, False
        self._handles: list[Any] = []
        self._laid_by: list[tuple[Tensor, Tensor]] = []
        self._dense_gradients: dict[str, Tensor] = {}
        self.generator = torch.Generator().manual_seed(seed)
        dense = [name if name in self.shapes else f"{name}.weight" for name in dense]
        dense += [next(iter(self.shapes))] if dense_first else []
        self.distribution = distribution = self.own_distribution if distribution is None else distribution
        if distribution is None or isinstance(distribution, Mapping):
            named = "dense and compensate need a distribution by name, got another; give 'erk' or 'uniform'"
            require(not dense and not compensate, named)
        else:
            known = distribution in list(DISTRIBUTIONS)
            require(known, f"distribution must be one of {', '.join(DISTRIBUTIONS)}, got {distribution!r}")
            distribution = DISTRIBUTIONS[distribution](self.shapes, sparsity, dense=dense, compensate=compensate)
        self.budget = None if distribution is None else budgets(self.shapes, distribution)
        self._guard_weights()

    def __init_subclass__(cls) -> None:
        """Show in a method's signature the arguments that it passes on too."""
        every = [p for c in reversed(cls.__mro__) for p in signature(c.__init__).parameters.values()]  # type: ignore[misc]
        named = {p.name: p for p in every if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name != "self"}
        cls.__signature__ = Signature(sorted(named.values(), key=lambda p: p.kind))  # type: ignore[attr-defined]

    def prepare(self, model: nn.Module, batches: Iterable[Any], loss_fn: Callable[[Any, Any], Tensor]) -> None:
        """Choose the masks from data, in the methods that do so before training; others need nothing.

        `model` maps inputs to outputs: the network, or a wrapper around it. `batches` are pairs (inputs, targets), and
        `loss_fn(outputs, targets)` is a mean over the batch.
        """
        del model, batches, loss_fn

    def next_round(self) -> bool:
        """Begin the next round of training, in iterative methods; return False when there is none."""
        return False

    def attach(self, optimizer: Optimizer) -> None:
        """Act around the steps of an optimizer, in the place of a former one; masks weights and slots at once.

        Any torch optimizer will do, bare or inside `SAM` or `S2SAM`, by `step()` or `step(closure)`. ValueError when it
        holds no prunable weight or is a wrapper's base, RuntimeError while weights are perturbed.
        """
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        ours = not held.isdisjoint(id(w) for w in self.weights.values())
        require(ours, "optimizer must hold the model's weights, got none of the prunable ones; build it on them")
        outermost = isinstance(optimizer, Wrapper) or HELD not in optimizer.defaults
        require(outermost, "optimizer must be the wrapper, got the base inside SAM or S2SAM; attach to the outer one")
        self._refuse_perturbed(optimizer)
        self.detach()
        self.optimizer = optimizer
        if isinstance(optimizer, Wrapper):
            self._handles.append(optimizer.register_gradient_hook(self._take_gradients))
        else:
            self._handles.append(optimizer.register_step_pre_hook(self._before_step))
            # A fused step would hide the scale, and the skipped steps, of a gradient scaler: let the scaler do both.
            optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        self._handles.append(optimizer.register_step_post_hook(self._after_step))
        self.apply()

    def detach(self) -> None:
        """Stop acting on the optimizer; masks stay."""
        for handle in self._handles:
            handle.remove()
        self._handles, self.optimizer = [], None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handles": [], "optimizer": None}  # hooks are not copied, neither are torch's

    def finalize(self) -> nn.Module:
        """Detach, take the mask buffers off, and return the plain module, its pruned weights zero."""
        self.apply()
        self.detach()
        for module, attribute in self._owners.values():
            delattr(module, f"{attribute}_mask")
        self._owners = {}
        return self.model

    @torch.no_grad()
    def update(self) -> None:
        """Change the topology now, by the gradients in `p.grad` if any; RuntimeError while weights are perturbed."""
        self._refuse_perturbed()
        found, self._dense_gradients = self._dense_gradients, {}
        if self.needs_gradient and not found:
            found = self._gradients()
        self._update({name: self._reduce(g) for name, g in found.items()})
        self.apply()

    def state_dict(self) -> dict[str, Any]:
        """Return counters, generator and what the method adds, as tensors, numbers and text; masks are the model's."""
        state = {"step": self.step, "last_update": self.last_update, "generator": self.generator.get_state()}
        return {"method": type(self).__name__, **state, **self._extra_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state dict of the same method, else ValueError; load the model's, with the masks, beside it."""
        mine = type(self).__name__
        require(state.get("method") == mine, f"state must be of {mine}, got {state.get('method')}; load its own state")
        self.step, self.last_update = state["step"], state["last_update"]
        self.generator.set_state(state["generator"].cpu())
        self._load_extra(state)
        self.apply()

    def _due(self, step: int) -> bool:
        """Whether the topology changes when `step` steps are completed."""
        del step
        return False

    def _update(self, gradients: dict[str, Tensor]) -> None:
        """Change the masks by `_set`; `gradients`: dense ones of this step, by weight name, if `needs_gradient`."""

    def _extra_state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.saves}

    def _load_extra(self, state: Mapping[str, Any]) -> None:
        for name in self.saves:
            setattr(self, name, state[name])

    def _random(self, name: str) -> Tensor:
        """Return a random score for each entry of a weight: the highest k are k entries chosen uniformly."""
        w = self.weights[name]
        draw = torch.rand(w.shape, generator=self.generator, dtype=torch.float64)
        return draw.to(w.device)

    def _reduce(self, score: Tensor) -> Tensor:
        """Return the mean over the processes of a distributed run, so that all choose the same masks."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            score = score.clone()
            torch.distributed.all_reduce(score)
            score /= torch.distributed.get_world_size()
        return score

    def _gradients(self) -> dict[str, Tensor]:
        found = ((name, w, w.grad) for name, w in self.weights.items())
        return {name: torch.zeros_like(w) if g is None else g.clone() for name, w, g in found}

    @torch.no_grad()
    def _take_gradients(self) -> bool:
        """Mask the gradients; keep dense ones if an update follows; return whether this step is left out for it."""
        self._skipped = self.skip_step_on_update and self._due(self.step) and self.last_update != self.step
        if self.needs_gradient and (self._skipped if self.skip_step_on_update else self._due(self.step + 1)):
            self._dense_gradients = self._gradients()
        self._mask_gradients()
        return self._skipped

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        """Mask what is there, and what the closure, if there is one, will put there."""
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            return self._withhold(optimizer)

        def masked() -> Any:
            loss = closure()
            self._withhold(optimizer)
            return loss

        return args[:1], kwargs | {"closure": masked}

    def _withhold(self, optimizer: Optimizer) -> None:
        """Mask the gradients; if the step is left out, lay them by: without any, an optimizer does nothing."""
        if self._take_gradients():
            every = [p for group in optimizer.param_groups for p in group["params"]]
            self._laid_by = [(p, p.grad) for p in every if p.grad is not None]
            for p, _ in self._laid_by:
                p.grad = None

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        del optimizer, args, kwargs
        for p, g in self._laid_by:
            p.grad = g
        self._laid_by = []
        self.step += not self._skipped
        self.apply()  # before an update too: an optimizer may have moved what is about to grow from 0
        if self._skipped or (self._due(self.step) and not self.skip_step_on_update):
            self.last_update = self.step
            self.update()
