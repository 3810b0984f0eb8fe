"""Certified problems: FAMILIES, the table of those that every claim is tested on, and all that builds more of them.

A family draws one dimension d for the batch and everything else per instance. Classes and their certification are in
instances.py, quadratics.py, linear.py, samples.py; random constructors in draw.py; real data in real.py.
"""

from collections.abc import Callable

import torch
from torch import Generator

from validation.draw import (
    generalized,
    least_squares,
    noisy,
    paired_rows,
    quadratic,
    spread,
    worst_case_line,
)
from validation.instances import Problem, Restricted
from validation.linear import COSINE, LOGCOSH, LOGISTIC, WAVE, GeneralizedLinear, Link, huber
from validation.quadratics import LeastSquares, Quadratic
from validation.real import breast_cancer, digits, ridge_logistic
from validation.samples import Noisy, RowSampled

__all__ = [
    "COSINE",
    "FAMILIES",
    "LOGCOSH",
    "LOGISTIC",
    "WAVE",
    "GeneralizedLinear",
    "LeastSquares",
    "Link",
    "Noisy",
    "Problem",
    "Quadratic",
    "Restricted",
    "RowSampled",
    "breast_cancer",
    "digits",
    "generalized",
    "huber",
    "least_squares",
    "noisy",
    "paired_rows",
    "quadratic",
    "ridge_logistic",
    "worst_case_line",
]

DIMENSIONS = (1, 8)  # inclusive
ROWS = 6


def _dimension(generator: Generator, low: int = DIMENSIONS[0]) -> int:
    return int(torch.randint(low, DIMENSIONS[1] + 1, (), generator=generator))


def _line(size: int, generator: Generator) -> Problem:
    """L w^2/2 in one dimension, center 0, L from 0.1 to 10: the floors at constant rho are attained."""
    return worst_case_line(size, spread(size, (0.1, 10.0), generator))


def _isotropic(size: int, generator: Generator) -> Problem:
    """H = L I exactly: B1 and B3 are equalities."""
    return quadratic(size, _dimension(generator), generator=generator, kind="isotropic")


def _axes(size: int, generator: Generator) -> Problem:
    """Positive quadratics in their axes, the largest curvature L first and simple, the next q L with random q < 1."""
    d = _dimension(generator, 2)
    L, part = spread(size, (0.1, 10.0), generator), torch.rand(size, d, generator=generator, dtype=torch.float64)
    q = part[:, 1:2].clone()
    part[:, 2:] *= q
    part[:, 0] = 1.0
    zero = torch.zeros(size, d, dtype=torch.float64)
    return Quadratic.of(torch.diag_embed(part * L[:, None]), zero, name="axes")


def _strong(size: int, generator: Generator) -> Problem:
    """Rotated positive definite quadratics, kappa from 1 to 1e3."""
    return quadratic(size, _dimension(generator), generator=generator)


def _convex(size: int, generator: Generator) -> Problem:
    """Least squares with fewer rows than columns: convex, singular, PL."""
    d = _dimension(generator, 2)
    m = int(torch.randint(1, d, (), generator=generator))
    return least_squares(size, m, d, generator=generator, name="convex")


def _indefinite(size: int, generator: Generator) -> Problem:
    """Quadratics with negative eigenvalues: no minimum."""
    return quadratic(size, _dimension(generator), generator=generator, kind="indefinite")


def _cosine(size: int, generator: Generator) -> Problem:
    """Sums of 1 - cos: non-convex, bounded, minimum 0, no PL."""
    return generalized(size, ROWS, _dimension(generator), link=COSINE, generator=generator)


def _pl(size: int, generator: Generator) -> Problem:
    """Sums of z^2 + 3 sin^2 z over at most d independent rows: non-convex, yet PL."""
    d = _dimension(generator)
    return generalized(size, (d + 1) // 2, d, link=WAVE, generator=generator, name="pl")


def _logcosh(size: int, generator: Generator) -> Problem:
    """Sums of log cosh: convex, curved only near the minimum."""
    return generalized(size, ROWS, _dimension(generator), link=LOGCOSH, generator=generator)


def _logcosh_ridge(size: int, generator: Generator) -> Problem:
    """Sums of log cosh with a ridge: strongly convex, curvature varies."""
    d = _dimension(generator)
    return generalized(size, ROWS, d, link=LOGCOSH, generator=generator, ridge=(1e-3, 1.0), name="logcosh-ridge")


def _huber(size: int, generator: Generator) -> Problem:
    """Sums of Huber's function, delta = 0.3: convex, curvature jumps."""
    return generalized(size, ROWS, _dimension(generator), link=huber(0.3), generator=generator, name="huber")


def _noisy_strong(size: int, generator: Generator) -> Problem:
    """Strong with additive noise of two samples."""
    return noisy(_strong(size, generator), generator=generator)


def _noisy_convex(size: int, generator: Generator) -> Problem:
    """Convex with additive noise of two samples."""
    return noisy(_convex(size, generator), generator=generator)


def _noisy_cosine(size: int, generator: Generator) -> Problem:
    """Two samples, sums of 1 - cos(z - o) and 1 - cos(z + o): non-convex, and at odds at the minimum of their mean."""
    d = _dimension(generator)
    return paired_rows(size, ROWS, d, link=COSINE, generator=generator, batch=ROWS, name="noisy-cosine")


def _noisy_logcosh(size: int, generator: Generator) -> Problem:
    """Four samples, one row each, log cosh(z -+ o) and a ridge: strongly convex, of unequal curvature."""
    d = _dimension(generator)
    return paired_rows(size, 2, d, link=LOGCOSH, generator=generator, ridge=(1e-2, 1.0), name="noisy-logcosh")


FAMILIES: dict[str, Callable[[int, Generator], Problem]] = {
    "line": _line,
    "isotropic": _isotropic,
    "axes": _axes,
    "strong": _strong,
    "convex": _convex,
    "indefinite": _indefinite,
    "cosine": _cosine,
    "pl": _pl,
    "logcosh": _logcosh,
    "logcosh-ridge": _logcosh_ridge,
    "huber": _huber,
    "noisy-strong": _noisy_strong,
    "noisy-convex": _noisy_convex,
    "noisy-cosine": _noisy_cosine,
    "noisy-logcosh": _noisy_logcosh,
    "breast-cancer": breast_cancer,
    "digits": digits,
}
"""name -> builder(size, generator); each builder's docstring says in one line what it is."""
