"""Certified finite sums: problems whose gradient is the mean of S equally likely sample gradients.

Noisy adds linear terms to a problem, so its variance is the same number everywhere, known exactly. RowSampled draws
rows of a generalized linear objective, so its samples differ in curvature too; its variance is bounded, not equal.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from validation.arrays import matvec, pick, transposed
from validation.instances import Problem, Wrapped
from validation.linear import GeneralizedLinear
from validation.spectra import checked, enclosure, gram, upward
from validation.step import Vector, dot, scale

BITS = 20  # squares of such numbers have 40 bits: a sum of up to 2^13 of them is exact in float64


def quantum(shifts: Float[Tensor, "n s d"]) -> Float[Tensor, "n 1 1"]:
    """Return, for each instance, 2^-BITS times the least power of two above its largest |entry| (1 if all are 0)."""
    largest = shifts.abs().amax((1, 2), keepdim=True)
    return torch.where(largest > 0, torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent - BITS), 1.0)


def rounded(shifts: Float[Tensor, "n s d"]) -> Float[Tensor, "n s d"]:
    """Return shifts rounded towards zero to multiples of their quantum, as `Noisy.of` wants them."""
    unit = quantum(shifts)
    return (shifts / unit).trunc() * unit


@dataclass(frozen=True, kw_only=True, eq=False)
class Noisy(Wrapped):
    """f_i(w) = f(w) + <c_i, w>, i = 1 .. S, with sum_i c_i = 0: shifts (N, S, d), sigma2 = (1/S) sum_i ||c_i||^2."""

    shifts: Any

    @classmethod
    def of(cls, parent: Problem, shifts: Tensor, *, name: str = "") -> "Noisy":
        """Add noise of a constant, known variance to a deterministic problem.

        The shifts must be multiples of 2^-20 of a power of two above the largest, so that their sum and the sum of
        their squares are exact. sigma2 is exact for S a power of two, else rounded up. L_sample = L.

        Raises:
            ValueError: when the shifts do not sum to exactly zero, carry more than 20 bits, or do not fit the parent,
                or when the parent is itself sampled.
        """
        S = checked("shifts", shifts, parent.size, None, parent.dim).shape[1]
        if parent.samples > 1:
            raise ValueError(f"parent must be deterministic, got {parent.samples} samples; add up the noise beforehand")
        if not torch.equal(rounded(shifts), shifts):
            raise ValueError(f"shifts must have {BITS} bits below their largest entry, got more; use rounded(shifts)")
        if bool(shifts.sum(1).any()):
            raise ValueError(f"shifts must sum to zero over samples, got {shifts.sum(1).abs().max():g}; subtract it")
        unit = quantum(shifts)
        total = ((shifts / unit) ** 2).sum((1, 2))
        mean = total / S if S & (S - 1) == 0 else upward(total / S, 1)
        own = {"name": name or f"noisy-{parent.name}", "sigma2": mean * unit[:, 0, 0] ** 2}
        return cls(**parent.constants() | own, parent=parent, shifts=shifts)

    @property
    def samples(self) -> int:
        """Number of shifts."""
        return self.shifts.shape[-2]

    def sample_grad(self, w: Vector, index: Any) -> Vector:
        """Return grad f(w) + c_i."""
        return self.parent.grad(w) + pick(self.shifts, index, shared=self.shifts.ndim == 2)

    def sample_grads(self, w: Vector) -> Any:
        """Return grad f(w) + c_i for all i, (N, S, d)."""
        return self.parent.grad(w)[..., None, :] + self.shifts


@dataclass(frozen=True, kw_only=True, eq=False)
class RowSampled(Wrapped):
    """A generalized linear objective whose samples are its rows, or blocks of `batch` consecutive rows, S of them.

    f_i(w) = S sum_{j in block i} weight_j phi(<x_j, w - c> - offset_j) + ridge ||w - c||^2/2.
    """

    batch: int

    @classmethod
    def of(cls, parent: GeneralizedLinear, *, batch: int = 1, name: str = "") -> "RowSampled":
        """Sample the blocks uniformly.

        sigma2 = (1/S) sum_i (S sum_{j in i} weight_j steepest ||x_j||)^2 bounds the second moment of the sampled part,
        hence its variance, at every w; the ridge is in every sample. L_sample = max_i S c top_i + ridge, with
        c = max(curvature, least) and top_i above the eigenvalues of the block's X^T diag(weight) X. Both are rounded
        up.

        Raises:
            ValueError: when the link's slope is not bounded, or the rows do not divide into blocks.
        """
        link, (n, d) = parent.link, parent.X.shape[-2:]
        if not link.steepest < float("inf"):
            raise ValueError(f"parent must have a link of bounded slope, got {link.name}; use Noisy instead")
        if batch < 1 or n % batch:
            raise ValueError(f"batch must be >= 1 and divide the {n} rows, got {batch}")
        S = n // batch
        X, weight = parent.X.unflatten(-2, (S, batch)), parent.weight.unflatten(-1, (S, batch))
        length = (weight * dot(X, X).sqrt()).sum(-1)
        sigma2 = upward(S * link.steepest**2 * (length**2).mean(-1), S + 2 * d + 2 * batch + 16) * S
        top = upward((weight * dot(X, X)).sum(-1), d + 2) if batch == 1 else enclosure(*gram(X, weight))[1]
        L_sample = upward(S * max(link.curvature, link.least) * top.amax(-1) + parent.ridge, 3)
        own = {"name": name or f"rows-{parent.name}", "sigma2": sigma2 + 0 * parent.L, "L_sample": L_sample}
        return cls(**parent.constants() | own, parent=parent, batch=batch)

    @property
    def samples(self) -> int:
        """Number of blocks."""
        return self.parent.X.shape[-2] // self.batch

    def _blocks(self, A: Any) -> Any:
        """Return the rows' data with the rows' axis split in (S, batch)."""
        axis = self.parent.weight.ndim - 1
        return A.reshape(*A.shape[:axis], self.samples, self.batch, *A.shape[axis + 1 :])

    def sample_grad(self, w: Vector, index: Any) -> Vector:
        """Return S sum_{j in block i} weight_j phi'_j x_j + ridge (w - c)."""
        g, x = self.parent, w - self.parent.center
        X, weight, offset = (pick(self._blocks(A), index, shared=g.X.ndim == 2) for A in (g.X, g.weight, g.offset))
        slope = g.link.slope(matvec(X, x) - offset)
        return self.samples * matvec(transposed(X), weight * slope) + scale(g.ridge, x)

    def sample_grads(self, w: Vector) -> Any:
        """Return the gradients of all blocks, (N, S, d)."""
        g = self.parent
        slopes = self.samples * g.weight * g.link.slope(g.forms(w))
        parts = slopes[..., None] * g.X
        blocks = parts.reshape(*parts.shape[:-2], self.samples, self.batch, self.dim).sum(-2)
        return blocks + scale(g.ridge, w - g.center)[..., None, :]
