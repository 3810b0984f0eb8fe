"""Certified problems from real data: ridge-regularised logistic regression on two data sets that scikit-learn carries.

f(w) = (1/n) sum_j log(1 + exp(-y_j <x_j, w>)) + ridge ||w||^2/2, labels y_j = +-1 absorbed in the rows. mu = ridge
exactly, L = lambda_max(X^T X)/(4 n) + ridge, rounded up. The minimiser is computed in float64 and certified in 50
digits: f(w*) - min f <= ||grad f(w*)||^2/(2 mu) must not exceed 1e-12.
"""

import importlib
from functools import cache

import mpmath
import numpy as np
import torch
from torch import Generator, Tensor

from validation.arrays import exact, transposed
from validation.linear import LOGISTIC, GeneralizedLinear
from validation.spectra import U
from validation.step import norm

CERTIFIED = 1e-12


def _bunch(loader: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ImportError as missing:
        raise RuntimeError("real data need scikit-learn, not found; run: pip install 's2sam[validation]'") from missing
    return getattr(datasets, loader)(return_X_y=True)


def breast_cancer_data() -> tuple[Tensor, Tensor]:
    """Return (X, y): Wisconsin breast cancer, 569 x 31, standardised columns and a bias; y = +1 benign, else -1."""
    raw, label = _bunch("load_breast_cancer")
    X = (raw - raw.mean(0)) / raw.std(0)
    return _with_bias(X), torch.from_numpy(2.0 * label - 1.0)


def digits_data() -> tuple[Tensor, Tensor]:
    """Return (X, y): handwritten digits, 1797 x 65, 8 x 8 pixels in [0, 1] and a bias; y = +1 for even, -1 for odd."""
    raw, label = _bunch("load_digits")
    return _with_bias(raw / 16.0), torch.from_numpy(1.0 - 2.0 * (label % 2))


def _with_bias(X: np.ndarray) -> Tensor:
    return torch.from_numpy(np.column_stack([X, np.ones(len(X))]))


def ridge_logistic(X: Tensor, y: Tensor, *, ridge: float, name: str) -> GeneralizedLinear:
    """Return one instance of ridge-regularised logistic regression with a certified minimum.

    Args:
        X: rows, (n, d) float64.
        y: labels, +1 or -1, (n,).
        ridge: > 0.
        name: of the problem.

    Raises:
        ValueError: when ridge is not positive or a label is neither +1 nor -1.
        RuntimeError: when Newton's method does not reach the certificate, which a badly scaled X can cause.
    """
    if not ridge > 0:
        raise ValueError(f"ridge must be > 0, got {ridge}")
    if not bool((y.abs() == 1).all()):
        raise ValueError(f"y must hold labels +1 or -1, got {y[y.abs() != 1][0]:g}")
    n, d = X.shape
    weight = torch.full((n,), 1.0 / n, dtype=torch.float64)
    center = torch.zeros(1, d, dtype=torch.float64)
    problem = GeneralizedLinear.of(LOGISTIC, y[:, None] * X, center, weight=weight, ridge=ridge, name=name)
    w = newton(problem)
    value, slope = fifty_digits(problem, w)
    excess = slope**2 / (2 * ridge)
    if not excess <= CERTIFIED:
        raise RuntimeError(f"f(w*) - min f of {name} must be <= {CERTIFIED:g}, got {excess:g}; rescale X's columns")
    zero = torch.zeros_like(problem.L)
    return problem.with_minimum(w, excess=zero + excess, f_star=zero + value)


def fifty_digits(problem: GeneralizedLinear, w: Tensor) -> tuple[float, float]:
    """Return f(w) and ||grad f(w)|| of the one instance, in 50 digits, then rounded once, the latter upwards."""
    with mpmath.workdps(50):
        one, at = problem.instance(0, mpmath.mpf), exact(w[0], mpmath.mpf)
        return float(one.f(at)), float(norm(one.grad(at))) * (1 + 2 * U)


def newton(problem: GeneralizedLinear, *, limit: int = 100) -> Tensor:
    """Minimise a single-instance logistic problem by Newton steps, halved while f would not decrease; return (1, d).

    Stops when a step no longer shrinks the gradient, that is, at rounding.
    """
    w, g = problem.center, problem.grad(problem.center)
    for _ in range(limit):
        s = -problem.link.slope(problem.forms(w))[0]  # the logistic function of -z, and phi'' = s (1 - s)
        hessian = transposed(problem.X) @ ((problem.weight * s * (1 - s))[:, None] * problem.X)
        step = torch.linalg.solve(hessian + problem.ridge * torch.eye(problem.dim, dtype=torch.float64), g[0])
        length = 1.0
        while float(problem.f(w - length * step)) > float(problem.f(w) + problem.f_error(w)) and length > 1e-6:
            length /= 2
        new = w - length * step
        slope = problem.grad(new)
        if length == 1.0 and not float(norm(slope)) < float(norm(g)):
            break
        w, g = new, slope
    return w


@cache
def _breast_cancer(ridge: float) -> GeneralizedLinear:
    return ridge_logistic(*breast_cancer_data(), ridge=ridge, name="breast-cancer")


@cache
def _digits(ridge: float) -> GeneralizedLinear:
    return ridge_logistic(*digits_data(), ridge=ridge, name="digits")


def breast_cancer(size: int, generator: Generator | None = None, *, ridge: float = 1e-2) -> GeneralizedLinear:
    """Logistic regression on the breast-cancer data, `size` copies (start them apart); nothing is drawn."""
    del generator
    return _breast_cancer(ridge).repeat(size)


def digits(size: int, generator: Generator | None = None, *, ridge: float = 1e-2) -> GeneralizedLinear:
    """Logistic regression, even against odd digits, `size` copies (start them apart); nothing is drawn."""
    del generator
    return _digits(ridge).repeat(size)
