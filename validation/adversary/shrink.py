"""A counterexample made small: fewer steps, fewer dimensions, fewer rows, numbers with few digits."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from validation.adversary.trials import Question, Trial, failures, judged, proven

CLEAR = 1000.0  # rounding allowances by which the small one must fail as well, if the large one did


def shrunk(question: Question, trial: Trial, t: int) -> tuple[Question, Trial]:
    """Return a smaller run (a batch of one) that still fails, in 50 digits too; greedy, hence not least of all.

    Args:
        question: what was asked.
        trial: a run that fails at t.
        t: step, or number of steps.
    """
    per_step = question.measure.per_step
    first = _failure(question, trial, 1.0)
    if first is None:
        return question, trial
    clear, small, q = min(CLEAR, first[1]), trial, question.until(first[0] + per_step)

    def fails(candidate: Trial) -> bool:
        return _failure(q, candidate, clear) is not None

    while (fewer := next(filter(fails, _fewer(small)), None)) is not None:
        small = fewer
    before = None
    while before is not small:
        before = small
        for name, i in _slots(small):
            small = next(filter(fails, _rounder(small, name, i)), small)
    end = _failure(q, small, clear)
    if end is not None and proven(q, small, 0, end[0]):
        return q.until(end[0] + per_step), small
    return question.until(t + per_step), trial


def _failure(question: Question, trial: Trial, clear: float) -> tuple[int, float] | None:
    """Return the first t at which the run fails by so many rounding allowances, and by how many it does there."""
    try:
        problem = trial.problem()
    except ValueError:  # data that the certified constructor refuses
        return None
    if not question.measure.applies(problem):
        return None
    for t, j in judged(question, trial, problem):
        if bool(failures(j)) and float(j.excess) >= clear:
            return t, float(j.excess)
    return None


def _fewer(trial: Trial) -> Iterator[Trial]:
    """Yield the run without one of its coordinates, or one of its rows of data."""
    for axis in ("d", "n"):
        sizes = {v.shape[1 + axes.index(axis)] for v, axes in _with_axis(trial, axis)}
        for k in range(max(sizes, default=1)) if max(sizes, default=1) > 1 else ():
            yield _without(trial, axis, k)


def _with_axis(trial: Trial, axis: str) -> list[tuple[Tensor, tuple[str, ...]]]:
    return [(trial.data[k], axes) for k, axes in trial.space.axes.items() if axis in axes]


def _without(trial: Trial, axis: str, k: int) -> Trial:
    def cut(x: Tensor, dim: int) -> Tensor:
        return x.index_select(dim, torch.tensor([i for i in range(x.shape[dim]) if i != k]))

    axes = trial.space.axes
    data = {name: cut(v, 1 + axes[name].index(axis)) if axis in axes[name] else v for name, v in trial.data.items()}
    return replace(trial, data=data, start=cut(trial.start, 1) if axis == "d" else trial.start)


def _numbers(trial: Trial) -> dict[str, Tensor]:
    return {"h": trial.h, "rho": trial.rho, "start": trial.start, **trial.data}


def _slots(trial: Trial) -> list[tuple[str, int]]:
    """Name every single number of the run."""
    return [(name, i) for name, x in _numbers(trial).items() for i in range(x.numel())]


def _rounder(trial: Trial, name: str, i: int) -> Iterator[Trial]:
    """Yield the run with one of its numbers replaced by a simpler one, simplest first."""
    old = _numbers(trial)[name]
    for simple in simpler(float(old.flatten()[i])):
        new = old.clone()
        new.view(-1)[i] = simple
        own = {"h": new} if name == "h" else {"rho": new} if name == "rho" else {"start": new}
        yield replace(trial, **(own if name in ("h", "rho", "start") else {"data": {**trial.data, name: new}}))


def simpler(value: float) -> Iterator[float]:
    """Yield simpler numbers near a number, simplest first: 0, 1 (or -1), then one to four digits.

    >>> list(simpler(0.23456)), list(simpler(-2.0)), list(simpler(1.0))
    ([0.0, 1.0, 0.2, 0.23, 0.235, 0.2346], [0.0, -1.0], [0.0])
    """
    chain = [0.0, 1.0 if value > 0 else -1.0, *(float(f"{value:.{k}g}") for k in (1, 2, 3, 4))]
    yield from dict.fromkeys(chain[: chain.index(value)] if value in chain else chain)
