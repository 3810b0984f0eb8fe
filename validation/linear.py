"""Certified generalized linear objectives: sums of one scalar function of linear forms, convex or not.

A Link is the scalar function phi with its constants, each proved in one line below; the objective inherits L, mu and,
where it can be proved, a Polyak-Lojasiewicz constant. phi uses theory.arithmetic only, so it runs on floats, tensors
and 50-digit numbers alike, and is written so that neither overflow nor cancellation spoils it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from theory.arithmetic import exp, log, minimum, sin, tanh
from validation.arrays import matvec, transposed
from validation.instances import Problem
from validation.spectra import checked, downward, enclosure, gram, upward
from validation.step import Scalar, Vector, dot, scale


@dataclass(frozen=True, kw_only=True)
class Link:
    """A scalar function phi >= 0 with -least <= phi'' <= curvature and |phi'| <= steepest.

    Attributes:
        name: of the function. value, slope: phi and phi'.
        curvature, least: bounds of phi'' from above and (with the sign changed) from below.
        steepest: bound of |phi'|, infinite if there is none.
        vanishes: whether phi(0) = 0, the minimum.
        pl: phi'^2 >= 2 pl phi, 0 where none is proved.
        even: whether phi(-z) = phi(z).
        noise: absolute rounding of phi in units of the roundoff, beyond a relative one, where phi itself is small.
    """

    name: str
    value: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    curvature: float = 1.0
    least: float = 0.0
    steepest: float = 1.0
    vanishes: bool = True
    pl: float = 0.0
    even: bool = True
    noise: float = 0.0


def _logcosh(z: Any) -> Any:
    a = abs(z)
    return a + log((1 + exp(-2 * a)) / 2)


def _logistic(z: Any) -> Any:
    a = abs(z)
    return (a - z) / 2 + log(1 + exp(-a))


def _logistic_slope(z: Any) -> Any:
    a = abs(z)
    return -exp(-(a + z) / 2) / (1 + exp(-a))


def _huber(z: Any, delta: float) -> Any:
    inner = minimum(abs(z), delta)
    return inner * (abs(z) - inner / 2)


def _huber_slope(z: Any, delta: float) -> Any:
    return -minimum(-minimum(z, delta), delta)


def _cosine(z: Any) -> Any:
    half = sin(z / 2)
    return 2 * half * half


def _wave(z: Any) -> Any:
    s = sin(z)
    return z * z + 3 * s * s


def _wave_slope(z: Any) -> Any:
    s = sin(2 * z)
    return 2 * z + 3 * s


LOGCOSH = Link(name="logcosh", value=_logcosh, slope=tanh, noise=1.0)
"""log cosh z: convex, phi'' = 1 - tanh^2 z in (0, 1]."""

LOGISTIC = Link(
    name="logistic", value=_logistic, slope=_logistic_slope, curvature=0.25, vanishes=False, even=False, noise=1.0
)
"""log(1 + e^-z): convex, phi'' = s (1 - s) <= 1/4 with s = 1/(1 + e^-z); no minimum."""

COSINE = Link(name="cosine", value=_cosine, slope=sin, least=1.0)
"""1 - cos z, evaluated as 2 sin^2(z/2): phi'' = cos z, non-convex; not PL, since z = pi is stationary."""

WAVE = Link(name="wave", value=_wave, slope=_wave_slope, curvature=8.0, least=4.0, steepest=math.inf, pl=0.125)
"""z^2 + 3 sin^2 z: non-convex and PL (Karimi, Nutini and Schmidt 2016, who state L = 8 and the PL constant 1/32).

phi'' = 2 + 6 cos 2z lies in [-4, 8]. PL with 1/8, proof: let u = 2|z|, so |phi'| = |u + 3 sin u| and
phi = u^2/4 + 3 sin^2(u/2). For u <= pi, |phi'| >= u and phi <= u^2 (as |sin(u/2)| <= u/2): phi'^2/(2 phi) >= 1/2. For
pi <= u <= 5, u + 3 sin u is least at cos u = -1/3, where it is pi + arccos(1/3) - sqrt 8 > 1.544, and phi <= 25/4 + 3:
a ratio > 0.128. For u >= 5 the ratio is at least (u - 3)^2/(2 (u^2/4 + 3)), increasing in u from 4/18.5 > 0.216.
"""


def huber(delta: float) -> Link:
    """Return Huber's function: z^2/2 for |z| <= delta, delta (|z| - delta/2) beyond; convex, phi'' is 1 or 0."""
    if not 0 < delta < math.inf:
        raise ValueError(f"delta must be finite and > 0, got {delta}")
    return Link(
        name=f"huber({delta:g})",
        value=partial(_huber, delta=delta),
        slope=partial(_huber_slope, delta=delta),
        steepest=delta,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class GeneralizedLinear(Problem):
    """f(w) = sum_j weight_j phi(<x_j, w - c> - offset_j) + ridge ||w - c||^2/2, c the center.

    X is (N, n, d), with weight and offset (N, n); or all instances share X (n, d), with weight and offset (n,).
    """

    link: Link
    X: Any
    weight: Any
    offset: Any
    ridge: Scalar

    @classmethod
    def of(
        cls,
        link: Link,
        X: Tensor,
        center: Tensor,
        *,
        weight: Tensor,
        offset: Tensor | None = None,
        ridge: float | Tensor = 0.0,
        name: str = "",
    ) -> "GeneralizedLinear":
        """Certify a batch.

        L = curvature top + ridge and mu = ridge - least top, where top bounds the largest eigenvalue of
        X^T diag(weight) X (`spectra`), rounded outwards; mu = ridge exactly for a convex phi. pl = mu if that is > 0.
        Else, if phi is PL, ridge = 0, offset = 0 and n <= d, pl = link.pl min(weight) low with low below the
        eigenvalues of X X^T: ||X^T (weight phi')||^2 >= low sum_j (weight_j phi'_j)^2 >= 2 link.pl min(weight) low f.
        The minimum is 0 at c if offset = 0 and phi vanishes at 0, else it is left unknown (see `with_minimum`).

        Args:
            link: phi.
            X: linear forms, (N, n, d) or shared (n, d).
            center: (N, d).
            weight: non-negative, (N, n) or (n,).
            offset: as weight, of any sign; default 0.
            ridge: >= 0, a number or (N,).
            name: of the family, default the link's.

        Raises:
            ValueError: when a shape does not fit, a number is not finite, or weight or ridge is negative.
        """
        size, d = checked("center", center, None, None).shape
        lead = (size,) if X.ndim == 3 else ()
        n = checked("X", X, *lead, None, d).shape[-2]
        offset = torch.zeros_like(X[..., 0]) if offset is None else checked("offset", offset, *lead, n)
        ridge = torch.zeros_like(center[:, 0]) + ridge
        if bool((checked("weight", weight, *lead, n) < 0).any()) or bool((checked("ridge", ridge, size) < 0).any()):
            raise ValueError(f"weight and ridge must be >= 0, got a minimum of {weight.min():g} and {ridge.min():g}")
        zero = torch.zeros_like(ridge)
        top = enclosure(*gram(X, weight))[1] + zero
        mu = torch.nextafter(ridge - upward(link.least * top, 1), -torch.ones_like(zero)) if link.least else ridge
        pl = mu.clamp(min=0)
        if link.pl and n <= d and not bool(offset.any()):
            low = enclosure(*gram(X.mT, torch.ones_like(X[..., 0, :])))[0].clamp(min=0)
            pl = torch.where(ridge == 0, pl.maximum(downward(link.pl * weight.amin(-1) * low, 4)), pl)
        plain = link.vanishes and not bool(offset.any())
        noise = (weight * (link.noise + (0 if plain else (1 + offset.abs()) ** 2))).sum(-1) + zero
        L = upward(link.curvature * top + ridge, 2)
        return cls(
            name=name or link.name,
            center=center,
            L=L,
            mu=mu,
            pl=pl,
            sigma2=zero,
            L_sample=L,
            f_noise=noise,
            certificate=zero,
            f_star=zero if plain else zero + torch.nan,
            w_star=center if plain else None,
            link=link,
            X=X,
            weight=weight,
            offset=offset,
            ridge=ridge,
        )

    @property
    def shared(self) -> tuple[str, ...]:
        """X, weight and offset, if there is one X for all instances."""
        return ("X", "weight", "offset") if self.X.ndim == 2 else ()

    @property
    def width(self) -> int:
        """Dimension plus rows of data."""
        return self.dim + self.X.shape[-2]

    def forms(self, w: Vector) -> Vector:
        """Return the arguments of phi, <x_j, w - c> - offset_j: (N, d) -> (N, n)."""
        return matvec(self.X, w - self.center) - self.offset

    def f(self, w: Vector) -> Scalar:
        """Return the weighted sum of phi plus the ridge."""
        x = w - self.center
        return (self.weight * self.link.value(self.forms(w))).sum(-1) + self.ridge * dot(x, x) / 2

    def grad(self, w: Vector) -> Vector:
        """Return X^T (weight phi') + ridge (w - c)."""
        pull = matvec(transposed(self.X), self.weight * self.link.slope(self.forms(w)))
        return pull + scale(self.ridge, w - self.center)
