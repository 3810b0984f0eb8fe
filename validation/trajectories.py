"""Thousands of runs at once: the same step for every instance of a batch, in float64, through s2sam.rules.

A rule answers one question: along which direction is the next gradient perturbed? The rest of the step is the same for
SGD, SAM, S2-SAM and for any rule of yours, with momentum or without. Nothing is kept but what the probes ask for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from s2sam.rules import ascent
from validation.step import Scalar, Step

Oracle = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class View:
    """What a rule may look at: two gradient oracles, the state of the run, its constants, and a memory of its own.

    Attributes:
        w: weights, (N, d). g: the gradient of the step before, v: the momentum buffer before this step; 0 at first.
        sampled: differentiates the sample of this step. full: the whole objective; both map (N, d) to (N, d).
        eta, rho: step size and radius of this step, (N,). beta: momentum.
        memory: kept from step to step, empty at first; what a rule leaves in it, it replaces, never changes in place.
    """

    w: Tensor
    g: Tensor
    sampled: Oracle
    full: Oracle
    v: Any
    eta: Any
    rho: Any
    beta: Any
    memory: dict[str, Any]


Rule = Callable[[View], Tensor]



def _turned(view: View) -> Any:
    """S2-SAM given the first axis as its d_{-1}: by rotation any unit direction, where f is isotropic."""
    begun = view.memory.get("begun", False)
    view.memory["begun"] = True
    first = 0 * view.w
    first[..., 0] = first[..., 0] + 1
    return view.g if begun else first


RULES: dict[str, Rule] = {
    "sgd": lambda view: torch.zeros_like(view.w),
    "s2sam": lambda view: view.g,
    "sam": lambda view: view.full(view.w),
    "sam-same-batch": lambda view: view.sampled(view.w),
    "s2sam-turned": _turned,
}


def steps(
    problem,
    rule: str | Rule,
    w: Float[Tensor, "n d"],
    *,
    eta: Float[Tensor, " n"] | Callable[[int], Tensor],
    rho: Float[Tensor, " n"] | Callable[[int], Tensor],
    count: int,
    samples: Int[Tensor, "t n"] | None = None,
    masks: Bool[Tensor, "n d"] | Callable[[int], Tensor] | None = None,
    beta: float = 0.0,
) -> Iterator[Step]:
    """Yield the steps t = 0 .. count - 1 of a run of N instances, and last the state at t = count (with p = g = 0).

    Args:
        problem: a batch of N objectives (`validation.problems`).
        rule: a name in RULES, or a function from View to the direction (N, d); the perturbation is rho n(direction).
        w: start, (N, d); it is masked when masks are given.
        eta: step size, (N,), or a function of t.
        rho: radius, likewise.
        count: number of steps T.
        samples: sample index of every step and instance, (T, N); None takes full gradients.
        masks: support of the weights, (N, d), or a function of t: every gradient, and the weights, are zeroed off it.
        beta: momentum in [0, 1): w steps by the buffer v_t = beta v_{t-1} + g_t, v_{-1} = 0; 0 has no buffer.

    Raises:
        ValueError: when the rule's name is unknown, or beta outside [0, 1).
    """
    if not 0 <= beta < 1:
        raise ValueError(f"beta must be in [0, 1), got {beta}; 0 is no momentum")
    direction = resolve(rule)
    g = torch.zeros_like(w)
    v = torch.zeros_like(w) if beta else None
    previous = None
    memory: dict[str, Any] = {}
    for t in range(count):
        mask, eta_t, rho_t = _at(masks, t), _at(eta, t), _at(rho, t)
        index = None if samples is None else samples[t]
        w = _keep(mask, w)
        own = {"eta": eta_t, "rho": rho_t, "beta": beta, "v": g if v is None else v}
        move = partial(_perturbed, problem, direction, w, g, mask, own)
        replay = None if index is None else partial(_replayed, move, dict(memory), w)
        p, sampled = move(memory, index)
        g = sampled(w + p)
        step = Step(problem, rule, t, w, p, g, eta=eta_t, rho=rho_t, index=index, replay=replay, beta=beta, v=v,
                    previous=previous)  # fmt: skip
        yield step
        step.previous = None  # one step back is all that a probe may see; a chain would keep the whole run
        previous = step
        v = None if v is None else torch.add(g, v, alpha=beta)
        w = torch.addcmul(w, eta_t[:, None], g if v is None else v, value=-1)  # w - eta v in one pass
    w, zero = _keep(_at(masks, count), w), torch.zeros_like(w)
    yield Step(problem, rule, count, w, zero, zero, eta=_at(eta, count), rho=_at(rho, count), beta=beta, v=v,
               previous=previous)  # fmt: skip


def _perturbed(
    problem, direction: Rule, w: Tensor, g: Tensor, mask, own: dict[str, Any], memory: dict[str, Any], index
) -> tuple[Tensor, Oracle]:
    """The perturbation that the rule chooses when the step's sample is `index`, and that sample's gradient oracle."""

    def full(x: Tensor) -> Tensor:
        return _keep(mask, problem.grad(x))

    def sampled(x: Tensor) -> Tensor:
        return _keep(mask, problem.grad(x) if index is None else problem.sample_grad(x, index))

    view = View(w, g, sampled, full, memory=memory, **own)
    (p,) = ascent([_keep(mask, direction(view))], own["rho"], batched=True)
    return p, sampled


def _replayed(
    move: Callable[[dict[str, Any], Tensor], tuple[Tensor, Oracle]], memory: dict[str, Any], w: Tensor, index: Tensor
) -> Tensor:
    """The gradient of the step under another sample."""
    p, sampled = move(dict(memory), index)
    return sampled(w + p)


def _keep(mask: Tensor | None, x: Tensor) -> Tensor:
    """X on its support."""
    return x if mask is None else torch.where(mask, x, 0.0)


def _at(value: Any, t: int) -> Any:
    """A constant, or a schedule at t."""
    return value(t) if callable(value) else value


def resolve(rule: str | Rule) -> Rule:
    """Return the rule of that name, or the function itself."""
    if callable(rule):
        return rule
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)} or a function of a View, got {rule!r}")
    return RULES[rule]


Probe = Callable[[Any], Scalar]


@dataclass(frozen=True)
class Run:
    """A finished run: its constants and, for every probe, the values at t = 0 .. T.

    The lists hold float64 tensors (N,) from the batched runner, or numbers from the twin; the claims' left sides are
    written in arithmetic that both understand.
    """

    problem: Any
    rule: str | Rule
    eta: Any
    rho: Any
    records: Mapping[str, Any]
    T: int

    def __getitem__(self, name: str) -> Any:
        """Values of a probe at t = 0 .. T - 1."""
        return self.records[name][: self.T]

    def at(self, name: str, t: int) -> Any:
        """Value of a probe at one t; t = -1 is the final state."""
        return self.records[name][self.T if t < 0 else t]

    def until(self, T: int) -> "Run":
        """Return the same run, stopped after T steps."""
        if not 1 <= T <= self.T:
            raise ValueError(f"T must lie in 1 .. {self.T} (the length of the run), got {T}")
        return replace(self, T=T)


def record(stream: Iterable[Any], probes: Mapping[str, Probe], *, leaves: int = 1) -> dict[str, Any]:
    """Consume a stream of steps and keep what the probes return, a list over t = 0 .. T.

    Args:
        stream: Steps, or whatever the probes read (pairs of Steps for two runs side by side).
        probes: name -> function of one element of the stream.
        leaves: number of consecutive instances that are sample paths of one problem; what is kept is their mean, which
            is the exact expectation when the paths enumerate all samples (`sample_paths`).
    """
    table: dict[str, list[Any]] = {name: [] for name in probes}
    for step in stream:
        for name, probe in probes.items():
            value = probe(step)
            table[name].append(value if leaves == 1 else value.reshape(-1, leaves).mean(1))
    return table


def sample_paths(samples: int, count: int, instances: int) -> Int[Tensor, "t n"]:
    """Return every path of `count` draws from `samples` samples, for each instance: (count, instances * samples^count).

    The paths of one instance are consecutive, so the mean over them is the expectation, with no statistical error.
    """
    leaf = torch.arange(samples**count)
    digits = torch.stack([leaf // samples**t % samples for t in range(count)])
    return digits.repeat(1, instances)
