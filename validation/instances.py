"""The base of every certified problem: N instances at once, or one instance in any arithmetic, by the same code.

A problem carries its constants and its data, true by construction: what is declared holds for the float64 numbers as
stored, because every constant is exact or rounded to the safe side. `f` and `grad` use only operations that torch
batches (leading axis N) and numpy object arrays (one instance: 50-digit numbers, fractions) have in common.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from validation.arrays import Number, exact, keep, minimum
from validation.spectra import SPARE, U
from validation.step import Scalar, Vector, dot, scale, unit

P = TypeVar("P", bound="Problem")


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem(ABC):
    """N certified objectives on R^d; every constant is a float64 tensor (N,), in the units of f and w.

    Attributes:
        name: the family.
        center: (N, d), the point around which starts are drawn.
        L: smoothness.
        mu: strong convexity (0: convex; negative: lower bound of the curvature of a non-convex f).
        pl: constant of the Polyak-Lojasiewicz inequality ||grad f||^2 >= 2 pl (f - min f), 0 where none is proved.
        sigma2: bound of E||sample_grad - grad||^2 at every point.
        L_sample: smoothness of every sample's function.
        f_star: the minimum, nan where unknown.
        w_star: a minimiser (N, d), a row of nan where unknown, None if all are.
        f_noise: size of what cancels inside f even at the center (`f_size` adds what cancels at w).
        certificate: bound of |f_star - min f| and of f(w_star) - min f; 0 where both are exact.
    """

    name: str
    center: Vector
    L: Scalar
    mu: Scalar
    pl: Scalar
    sigma2: Scalar
    L_sample: Scalar
    f_star: Scalar
    w_star: Vector | None
    f_noise: Scalar
    certificate: Scalar

    @abstractmethod
    def f(self, w: Vector) -> Scalar:
        """Return the objective: (N, d) -> (N,), or (d,) -> a number."""

    @abstractmethod
    def grad(self, w: Vector) -> Vector:
        """Return its gradient: (N, d) -> (N, d), or (d,) -> (d,)."""

    def f_size(self, w: Vector) -> Scalar:
        """Return the size of the terms of f(w), and of their factors: what its rounding is relative to."""
        x = w - self.center
        return abs(self.f(w)) + self.dim * self.L * dot(x, x) + self.f_noise

    def f_error(self, w: Vector) -> Scalar:
        """Return a bound of the rounding error of f(w) in float64: gamma(2 width + 16) f_size(w).

        Inner products and sums take at most 2 width roundings, link functions and scalings at most 16; a link turns an
        error of its argument into one of f that f_size covers, by its bounded slope or its curvature.
        """
        return SPARE * 2 * (self.width + 8) * U * self.f_size(w)

    def f_given(self, w: Vector, gradient: Vector) -> Scalar:
        """Return f(w), given grad f(w), by whose help it may cost less."""
        del gradient
        return self.f(w)

    @property
    def samples(self) -> int:
        """Number S of equally likely samples whose gradients average to grad; 1 when deterministic."""
        return 1

    def sample_grad(self, w: Vector, index: Any) -> Vector:
        """Return the gradient of sample index[i] of instance i; index is (N,), or an int for a single instance."""
        del index
        return self.grad(w)

    def sample_grads(self, w: Vector) -> Any:
        """Return all samples' gradients, (N, S, d) or (S, d)."""
        return self.grad(w)[..., None, :]

    @property
    def size(self) -> int:
        """Number N of instances."""
        return len(self.L)

    @property
    def dim(self) -> int:
        """Dimension d."""
        return self.center.shape[-1]

    @property
    def width(self) -> int:
        """Number of terms in the sums behind one number: dimension plus rows of data."""
        return self.dim

    @property
    def shared(self) -> tuple[str, ...]:
        """Names of the data that all instances share, hence without the leading axis."""
        return ()

    def constants(self) -> dict[str, Any]:
        """Return the attributes listed above by name."""
        return {field.name: getattr(self, field.name) for field in fields(Problem)}

    def _map(self: P, batched: Callable[[Tensor], Any], shared: Callable[[Tensor], Any] = lambda x: x) -> P:
        changes: dict[str, Any] = {}
        for field in fields(self):
            if isinstance(value := getattr(self, field.name), Problem):
                changes[field.name] = value._map(batched, shared)
            elif isinstance(value, Tensor):
                changes[field.name] = (shared if field.name in self.shared else batched)(value)
        return replace(self, **changes)

    def take(self: P, index: Int[Tensor, " k"] | Bool[Tensor, " n"]) -> P:
        """Return the instances of that index, or where a mask over the instances holds."""
        return self._map(lambda x: x[index])

    def repeat(self: P, k: int) -> P:
        """Return every instance k times in a row; ValueError when k < 1."""
        if k < 1:
            raise ValueError(f"k must be a number of copies >= 1, got {k}")
        return self._map(lambda x: x.repeat_interleave(k, dim=0))

    def to(self: P, device: torch.device | str) -> P:
        """Return the same problem on a device."""
        return self._map(lambda x: x.to(device), lambda x: x.to(device))

    def instance(self: P, i: int, number: Number) -> P:
        """Return instance i without the leading axis, on numpy object arrays of `number`, digit for digit.

        Args:
            i: which instance.
            number: conversion from float: mpmath.mpf, or fractions.Fraction (quadratics and least squares only).
        """
        return self._map(lambda x: exact(x[i], number), lambda x: exact(x, number))

    def start(self, generator: torch.Generator, radius: float | Float[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """Return a random point of each instance, uniform on the sphere of that radius around the center.

        A restricted problem starts on the sphere within its subspace (at the center, if the mask keeps nothing).
        """
        x = torch.randn(self.center.shape, generator=generator, dtype=torch.float64, device=generator.device)
        return self.center + scale(radius, unit(self.project(x.to(self.center.device))))

    def project(self, x: Vector) -> Vector:
        """Return the part of x in the subspace on which the problem lives: x itself, unless restricted."""
        return x

    def with_minimum(
        self: P, w_star: Float[Tensor, "n d"], *, excess: Float[Tensor, " n"], f_star: Float[Tensor, " n"] | None = None
    ) -> P:
        """Return the problem with a minimiser that the caller proves to be one up to f(w_star) - min f <= excess.

        f_star is f(w_star) in float64, its rounding counted in the certificate, unless it is given to one rounding.
        """
        value, error = (self.f(w_star), self.f_error(w_star)) if f_star is None else (f_star, U * f_star.abs())
        return replace(self, w_star=w_star, f_star=value, certificate=excess + error)

    def restriction(self, mask: Bool[Tensor, "n d"]) -> dict[str, Any]:
        """Return the constants of f on the subspace {w: w = 0 off mask}; overridden where more is known.

        L, mu, sigma2 and L_sample can only improve, so they are kept. A PL constant is not inherited: 0, unless strong
        convexity gives one. A minimiser is inherited if it lies in the subspace.
        """
        known = self.constants() | {"pl": self.mu.clamp(min=0), "center": keep(mask, self.center)}
        lost = self.center - known["center"]
        known["f_noise"] = self.f_noise + 2 * self.dim * self.L * dot(lost, lost)  # the center's terms off the support
        if self.w_star is not None:
            inside = (keep(mask, self.w_star) == self.w_star).all(-1)
            known |= minimum(torch.where(inside, self.f_star, torch.nan), self.w_star)
        return known

    def restrict(self, mask: Bool[Tensor, "n d"]) -> "Restricted":
        """Return f restricted to the weights where mask holds, in the dense layout: f(m w), m grad f(m w)."""
        return Restricted(parent=self, mask=mask, **self.restriction(mask))


@dataclass(frozen=True, kw_only=True, eq=False)
class Wrapped(Problem):
    """A problem that differentiates its parent, on the subspace that `project` names or by other samples."""

    parent: Any

    def f(self, w: Vector) -> Scalar:
        """Return the parent's objective at the projected w."""
        return self.parent.f(self.project(w))

    def grad(self, w: Vector) -> Vector:
        """Return the parent's gradient at the projected w, projected."""
        return self.project(self.parent.grad(self.project(w)))

    def f_size(self, w: Vector) -> Scalar:
        """Return the size of the terms of the parent's objective."""
        return self.parent.f_size(self.project(w))

    @property
    def width(self) -> int:
        """The parent's number of terms."""
        return self.parent.width

    def restriction(self, mask: Bool[Tensor, "n d"]) -> dict[str, Any]:
        """Return the parent's constants on the subspace, with the own samples' constants."""
        own = {name: getattr(self, name) for name in ("name", "sigma2", "L_sample")}
        return self.parent.restriction(mask) | own


@dataclass(frozen=True, kw_only=True, eq=False)
class Restricted(Wrapped):
    """The restricted function in the dense layout with zeros: f(m w), with gradients m grad f(m w), m the mask.

    Its constants hold on the subspace {w: w = 0 off mask}, which runs started in it never leave; mu, pl and the minimum
    are the restriction's own.
    """

    mask: Any

    def project(self, x: Vector) -> Vector:
        """Return x with zeros where the mask does not hold."""
        return keep(self.mask, x)

    @property
    def samples(self) -> int:
        """The parent's number of samples."""
        return self.parent.samples

    def sample_grad(self, w: Vector, index: Any) -> Vector:
        """Return the masked gradient of each instance's sample at m w."""
        return self.project(self.parent.sample_grad(self.project(w), index))

    def sample_grads(self, w: Vector) -> Any:
        """Return the masked gradients of all samples at m w."""
        return keep(self.mask[..., None, :], self.parent.sample_grads(self.project(w)))

    def restrict(self, mask: Bool[Tensor, "n d"]) -> "Restricted":
        """Return the parent on the weights that both masks keep."""
        return self.parent.restrict(self.mask & mask)
