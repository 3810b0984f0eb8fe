"""Random batches of certified problems, built from drawn parameters: spectra, rotations, weights, never entry by entry.

So condition numbers are spread over their whole range, with both ends present. All randomness comes from the generator.
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from validation.instances import Problem
from validation.linear import COSINE, GeneralizedLinear, Link
from validation.quadratics import LeastSquares, Quadratic
from validation.samples import Noisy, RowSampled, rounded

Range = float | tuple[float, float]
KINDS = ("strong", "diagonal", "isotropic", "indefinite")


def spread(size: int, interval: Range, generator: Generator) -> Float[Tensor, " n"]:
    """Draw log-uniformly from [low, high], 0 < low <= high; both ends are among the values when size >= 2.

    Raises:
        ValueError: when the interval is empty or not positive.
    """
    low, high = interval if isinstance(interval, tuple) else (interval, interval)
    if not 0 < low <= high:
        raise ValueError(f"a range must satisfy 0 < low <= high, got ({low}, {high})")
    part = torch.rand(size, generator=generator, dtype=torch.float64)
    part[torch.randperm(size, generator=generator)[:2]] = torch.tensor([0.0, 1.0], dtype=torch.float64)[:size]
    return (low * (high / low) ** part).clamp(low, high)


def normal(*shape: int, generator: Generator) -> Tensor:
    """Draw standard normal float64 numbers."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def spectrum(size: int, count: int, L: Range, kappa: Range, generator: Generator) -> Float[Tensor, "n k"]:
    """Draw `count` eigenvalues per instance, log-uniform between L/kappa and L; both ends are present if count >= 2.

    Raises:
        ValueError: when a kappa is below 1.
    """
    top, ratio = spread(size, L, generator), spread(size, kappa, generator)
    if float(ratio.min()) < 1:
        raise ValueError(f"kappa must be >= 1, got {ratio.min():g}")
    part = torch.rand(size, count, generator=generator, dtype=torch.float64)
    part[:, 1:2] = 1.0
    part[:, 0] = 0.0
    return top[:, None] / ratio[:, None] ** part


def rotations(size: int, d: int, generator: Generator) -> Float[Tensor, "n d d"]:
    """Draw matrices that are orthogonal up to rounding."""
    return torch.linalg.qr(normal(size, d, d, generator=generator)).Q


def quadratic(
    size: int,
    d: int,
    *,
    generator: Generator,
    L: Range = (0.1, 10.0),
    kappa: Range = (1.0, 1e3),
    kind: str = "strong",
    name: str = "",
) -> Quadratic:
    """Draw quadratics with a random center.

    Args:
        size: N.
        d: dimension.
        generator: of all random numbers.
        L: range of the largest |eigenvalue|.
        kappa: range of its ratio to the smallest.
        kind: "strong" (rotated, positive definite), "diagonal" (the same without rotation: constants exact),
            "isotropic" (H = L I exactly), "indefinite" (rotated, random signs, at least one negative).
        name: default the kind.

    Raises:
        ValueError: for another kind, or an empty range.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    lam = spectrum(size, d, L, 1.0 if kind == "isotropic" else kappa, generator)
    if kind == "indefinite":
        sign = torch.where(torch.rand(size, d, generator=generator) < 0.5, -1.0, 1.0).to(lam)
        sign[torch.arange(size), torch.randint(d, (size,), generator=generator)] = -1.0
        lam = lam * sign
    if kind in ("diagonal", "isotropic"):
        H = torch.diag_embed(lam)
    else:
        Q = rotations(size, d, generator)
        H = (Q * lam[:, None, :]) @ Q.mT
        H = (H + H.mT) / 2
    return Quadratic.of(H, normal(size, d, generator=generator), name=name or kind)


def worst_case_line(size: int, L: float | Float[Tensor, " n"] = 1.0) -> Quadratic:
    """Return L w^2/2 in one dimension, center 0: S2-SAM's and SAM's floors are attained on it."""
    zero = torch.zeros(size, 1, dtype=torch.float64)
    return Quadratic.of(zero[..., None] + (L[:, None, None] if isinstance(L, Tensor) else L), zero, name="line")


def least_squares(
    size: int,
    m: int,
    d: int,
    *,
    generator: Generator,
    L: Range = (0.1, 10.0),
    kappa: Range = (1.0, 1e3),
    name: str = "least-squares",
) -> LeastSquares:
    """Draw least-squares problems with A (m, d) of full rank; L and kappa are those of A^T A's non-zero part."""
    k = min(m, d)
    s = spectrum(size, k, L, kappa, generator).sqrt()
    left, right = rotations(size, m, generator)[..., :k], rotations(size, d, generator)[..., :k]
    return LeastSquares.of((left * s[:, None, :]) @ right.mT, normal(size, d, generator=generator), name=name)


def generalized(
    size: int,
    n: int,
    d: int,
    *,
    link: Link,
    generator: Generator,
    weight: Range = (0.1, 1.0),
    ridge: Range = 0.0,
    name: str = "",
) -> GeneralizedLinear:
    """Draw sums of phi over n random rows of length about 1, with positive weights, around a random center.

    A ridge of 0 means none; otherwise it is a range like the weights'.
    """
    X = normal(size, n, d, generator=generator) / d**0.5
    weights = spread(size * n, weight, generator).reshape(size, n)
    extra = spread(size, ridge, generator) if ridge else 0.0
    return GeneralizedLinear.of(link, X, normal(size, d, generator=generator), weight=weights, ridge=extra, name=name)


def paired_rows(
    size: int,
    n: int,
    d: int,
    *,
    link: Link,
    generator: Generator,
    offset: float = 1.0,
    ridge: Range = 0.0,
    batch: int = 1,
    name: str = "",
) -> RowSampled:
    """Draw row-sampled sums in which every row x comes twice, with offsets +o and -o, |o| <= offset: 2 n rows.

    With batch = n there are two samples, one of all +o and one of all -o. The samples disagree at the center, which
    still minimises their mean. Proof, for an even phi: phi(z - o) + phi(z + o) is even in z, hence, if phi is convex,
    least at z = 0; for phi = 1 - cos it is 2 - 2 cos(o) cos(z), least at z = 0 for |o| <= pi/2. f_star = f(center) is
    evaluated in float64 (`certificate`).

    Raises:
        ValueError: when the link is neither even and convex nor the cosine with offset <= 1.5.
    """
    if not ((link.even and link.least == 0) or (link is COSINE and offset <= 1.5)):
        raise ValueError(f"link must be even and convex, or cosine (offset <= 1.5), got {link.name} ({offset})")
    half = generalized(size, n, d, link=link, generator=generator, ridge=ridge)
    o = (2 * torch.rand(size, n, generator=generator, dtype=torch.float64) - 1) * offset
    X, weight = torch.cat([half.X, half.X], 1), torch.cat([half.weight, half.weight], 1) / 2
    whole = GeneralizedLinear.of(link, X, half.center, weight=weight, offset=torch.cat([o, -o], 1), ridge=half.ridge)
    whole = whole.with_minimum(half.center, excess=torch.zeros_like(half.L))
    return RowSampled.of(whole, batch=batch, name=name)


def noisy(
    problem: Problem, *, generator: Generator, samples: int = 2, level: Range = (0.01, 1.0), name: str = ""
) -> Noisy:
    """Add linear noise in +- pairs (an even number of samples), of a size log-uniform in level for each instance.

    Raises:
        ValueError: when samples is odd or < 2.
    """
    if samples < 2 or samples % 2:
        raise ValueError(f"samples must be even and >= 2, got {samples}")
    size = spread(problem.size, level, generator)
    c = rounded(normal(problem.size, samples // 2, problem.dim, generator=generator) * size[:, None, None])
    return Noisy.of(problem, torch.cat([c, -c], 1), name=name)
