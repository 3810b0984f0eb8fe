"""Where the adversary looks: families of certified problems with free data, each a smooth map from any real numbers.

A method that perturbs along a gradient does not see a rotation or a shift of the coordinates, so quadratics are
diagonal and every center is 0. L, mu, sigma^2 and the minimum are those that the certified constructors declare, and
they are differentiable in the data, because eigenvalues are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from validation.instances import Problem
from validation.linear import COSINE, WAVE, GeneralizedLinear, Link, huber
from validation.quadratics import Quadratic
from validation.samples import Noisy, RowSampled, rounded

Data = Mapping[str, Any]  # name -> float64 tensor (N, ...), or the same as nested lists
LOG_KAPPA = 7.0  # kappa up to e^7, about 1,100
LOG_GAP = 0.01  # least logarithm of 1/q where the largest curvature must be simple


@dataclass(frozen=True)
class Space:
    """A family of problems whose data the adversary is free to choose.

    Attributes:
        name: of the family.
        axes: name of each datum -> its axes after N: "d" the dimension, "n" the rows of data, a digit that length.
        squash: free real numbers, one tensor for each datum -> data within the family, smoothly; ends included.
        build: data -> certified problem; takes nested lists too, so that a printed instance can be pasted.
        rows: number of rows n in dimension d.
        least: smallest dimension.
        given: whether the problem is the caller's, so that printed code cannot build it.
    """

    name: str
    axes: Mapping[str, tuple[str, ...]]
    squash: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    build: Callable[..., Problem]
    rows: Callable[[int], int] = lambda d: d + 1
    least: int = 1
    given: bool = False

    def shapes(self, d: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each datum, without N, in dimension d."""
        lengths = {"d": d, "n": self.rows(d)}
        return {k: tuple(lengths[a] if a in lengths else int(a) for a in axes) for k, axes in self.axes.items()}

    def code(self, data: Data) -> str:
        """Return a Python expression for the problems of these data, "" where they are the caller's."""
        if self.given:
            return ""
        listed = ", ".join(f"{k}={v.tolist() if isinstance(v, Tensor) else v}" for k, v in data.items())
        return f'SPACES["{self.name}"].build({listed})'


def tensors(data: Data) -> dict[str, Tensor]:
    """Return data as float64 tensors."""
    return {k: torch.as_tensor(v, dtype=torch.float64) for k, v in data.items()}


def wave(x: Tensor) -> Tensor:
    """Return sin^2 x: the real line onto [0, 1], both ends reached, smooth and never flat for good."""
    return x.sin().square()


def diagonal(**data: Any) -> Problem:
    """Return the quadratics sum_k spectrum_k w_k^2/2; spectrum (N, d)."""
    spectrum = tensors(data)["spectrum"]
    return Quadratic.of(torch.diag_embed(spectrum), torch.zeros_like(spectrum), name="diagonal")


def sums(link: Link, **data: Any) -> Problem:
    """Return sum_j weight_j phi(<x_j, w> - offset_j) + ridge ||w||^2/2.

    X is (N, n, d), weight (N, n); offset (N, n) and ridge (N,) are 0 unless given.
    """
    given: dict[str, Any] = tensors(data)
    X = given.pop("X")
    return GeneralizedLinear.of(link, X, torch.zeros_like(X[:, 0]), **given)


def with_noise(build: Callable[..., Problem], **data: Any) -> Problem:
    """Return the problem with two samples, f + <shift, w> and f - <shift, w>; shift (N, d), kept to 20 bits."""
    shift = tensors(data)["shift"]
    exact = rounded(shift.detach()[:, None])[:, 0] + (shift - shift.detach())  # the value of one, the slope of both
    return Noisy.of(build(**{k: v for k, v in data.items() if k != "shift"}), torch.stack([exact, -exact], 1))


def by_rows(link: Link, **data: Any) -> Problem:
    """Return the sum of phi over rows with two samples: the first and the second half of the rows."""
    whole = sums(link, **data)
    assert isinstance(whole, GeneralizedLinear)
    return RowSampled.of(whole, batch=whole.X.shape[-2] // 2)


def _strong(free: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**free, "spectrum": torch.exp(-LOG_KAPPA * wave(free["spectrum"]))}


def _axes(free: dict[str, Tensor]) -> dict[str, Tensor]:
    rest = torch.exp(-LOG_KAPPA * wave(free["spectrum"][:, 1:]) - LOG_GAP)
    return {**free, "spectrum": torch.cat([torch.ones_like(rest[:, :1]), rest], 1)}


def _any_sign(free: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**free, "spectrum": free["spectrum"].sin()}


def _one_value(free: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**free, "spectrum": torch.exp(-LOG_KAPPA * wave(free["spectrum"][:, :1])).expand_as(free["spectrum"])}


def _positive(free: dict[str, Tensor]) -> dict[str, Tensor]:
    changed = {"weight": torch.exp(-LOG_KAPPA * wave(free["weight"]))}
    if "ridge" in free:
        changed["ridge"] = torch.exp(-LOG_KAPPA * wave(free["ridge"]))
    return {**free, **changed}


_ROWS = {"X": ("n", "d"), "weight": ("n",)}
_OFFSET = {**_ROWS, "offset": ("n",)}
_SPECTRUM = {"spectrum": ("d",)}
_SHIFT = {"shift": ("d",)}
_HUBER = partial(sums, huber(1.0))

SPACES: dict[str, Space] = {
    s.name: s
    for s in (
        Space("strong", _SPECTRUM, _strong, diagonal),
        Space("isotropic", _SPECTRUM, _one_value, diagonal),
        Space("axes", _SPECTRUM, _axes, diagonal, least=2),
        Space("indefinite", _SPECTRUM, _any_sign, diagonal),
        Space("huber", _ROWS, _positive, _HUBER),
        Space("huber-offset", _OFFSET, _positive, _HUBER),
        Space("huber-ridge", {**_ROWS, "ridge": ()}, _positive, _HUBER),
        Space("huber-ridge-offset", {**_OFFSET, "ridge": ()}, _positive, _HUBER),
        Space("cosine", _ROWS, _positive, partial(sums, COSINE)),
        Space("cosine-offset", _OFFSET, _positive, partial(sums, COSINE)),
        Space("pl", _ROWS, _positive, partial(sums, WAVE), rows=lambda d: d),
        Space("noisy-strong", {**_SPECTRUM, **_SHIFT}, _strong, partial(with_noise, diagonal)),
        Space("noisy-indefinite", {**_SPECTRUM, **_SHIFT}, _any_sign, partial(with_noise, diagonal)),
        Space("noisy-huber", {**_ROWS, **_SHIFT}, _positive, partial(with_noise, _HUBER)),
        Space("noisy-pl", {**_ROWS, **_SHIFT}, _positive, partial(with_noise, partial(sums, WAVE)), rows=lambda d: d),
        Space("rows-cosine", _OFFSET, _positive, partial(by_rows, COSINE), rows=lambda d: 2 * d),
        Space("rows-huber", _OFFSET, _positive, partial(by_rows, huber(1.0)), rows=lambda d: 2 * d),
    )
}
"""name -> space; those of `samples` > 1 serve claims in expectation, all sample paths being run."""


def around(problem: Problem) -> Space:
    """Return the space of one given problem (a batch of size 1): the adversary moves only start, step and radius."""

    def build(at: Any) -> Problem:
        return problem.repeat(len(torch.as_tensor(at)))

    return Space(problem.name, {"at": ()}, lambda free: {"at": 0 * free["at"]}, build, given=True)
