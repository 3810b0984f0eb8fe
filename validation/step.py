"""One step of a run, as the claims see it: w, p, y = w + p, g, and whatever is asked of them, computed once.

A `Step` works on batches (torch, one row per instance) and on a single instance in any arithmetic (numpy object arrays
of 50-digit or rational numbers), because it uses only the problem's own `f` and `grad`, sums and square roots. The
batched runner and the literal twin both produce Steps, so that one definition of every measured quantity serves both.
"""

from functools import cached_property
from typing import Any

import numpy as np
import torch

from theory.arithmetic import sqrt

Vector = Any  # (N, d) float64 tensor, or (d,) numpy object array
Scalar = Any  # (N,) float64 tensor, or one number


def dot(x: Vector, y: Vector) -> Scalar:
    """Return the inner product over the last axis: (N, d), (N, d) -> (N,), or (d,), (d,) -> a number."""
    return (x * y).sum(-1)


def norm(x: Vector) -> Scalar:
    """Return the Euclidean norm over the last axis."""
    return sqrt(dot(x, x))


def scale(c: Scalar, x: Vector) -> Vector:
    """Return c x with c one number per instance."""
    return c[..., None] * x if isinstance(c, torch.Tensor) and c.ndim else c * x


def unit(x: Vector) -> Vector:
    """Return n(x) = x/||x||, and 0 where x = 0 (the probes' own copy: they share no code with s2sam.rules)."""
    length = norm(x)
    return scale(1 / (length + (length == 0)), x)


def zeros_like(x: Vector) -> Vector:
    """Return the zero vector in the arithmetic of x."""
    return torch.zeros_like(x) if isinstance(x, torch.Tensor) else np.array([type(v)(0) for v in x], dtype=object)


class Step:
    """The state of a run at step t, before the update; derived quantities are computed when first read.

    Args:
        problem: the objective; `rule` names the method that chose p.
        t: step index; w, p, g: weights, perturbation and (sampled) gradient at y = w + p, shape (N, d) or (d,).
        eta, rho: step size and radius of this step, one number per instance.
        index: sample drawn at this step, (N,) or int, None when deterministic.
        replay: function of a sample index: the g of this step, had that sample been drawn; None for the twin's runs.
        beta, v: momentum, and the buffer before this step, shape of w; None without momentum.
        previous: the step before, None at t = 0.
    """

    def __init__(self, problem, rule, t, w, p, g, *, eta, rho, index=None, replay=None, beta=0.0, v=None,
                 previous=None):  # fmt: skip
        self.problem, self.rule, self.t, self.w, self.p, self.g = problem, rule, t, w, p, g
        self.eta, self.rho, self.index, self.replay, self.previous = eta, rho, index, replay, previous
        self.beta, self.v = beta, v

    @cached_property
    def y(self) -> Vector:
        """The perturbed weights, where the one gradient is taken."""
        return self.w + self.p

    @cached_property
    def a(self) -> Vector:
        """The full gradient at w."""
        return self.problem.grad(self.w)

    @cached_property
    def b(self) -> Vector:
        """The full gradient at y; the very g when nothing is sampled."""
        return self.g if self.index is None else self.problem.grad(self.y)

    @cached_property
    def f_w(self) -> Scalar:
        """The objective at w."""
        return self.problem.f_given(self.w, self.a)

    @cached_property
    def f_y(self) -> Scalar:
        """The objective at y."""
        return self.problem.f_given(self.y, self.b)

    @cached_property
    def z(self) -> Vector:
        """The point that steps by -eta/(1 - beta) g_t under momentum: w - (eta beta/(1 - beta)) v; w itself without."""
        return self.w if self.v is None else self.w - scale(self.eta * self.beta / (1 - self.beta), self.v)

    @cached_property
    def p_sam(self) -> Vector:
        """The perturbation that full-gradient SAM would choose at this w."""
        return scale(self.rho, unit(self.a))

    @cached_property
    def cos(self) -> Scalar:
        """Cosine between the perturbation and the full gradient at w; 0 where either vanishes."""
        return dot(unit(self.p), unit(self.a))

    @cached_property
    def dist_sq(self) -> Scalar:
        """Squared distance of w to the minimiser."""
        gap = self.w - self.problem.w_star
        return dot(gap, gap)

    @cached_property
    def mean_g(self) -> Vector:
        """E[g_t | past]: the mean of g over the samples that this step could have drawn, the rule replayed for each."""
        if self.index is None:
            return self.b
        total = zeros_like(self.w)
        for k in range(self.problem.samples):
            index = torch.full_like(self.index, k) if isinstance(self.index, torch.Tensor) else k
            total = total + (self.replay or self._by_name)(index)
        return total / self.problem.samples

    def _by_name(self, index: Any) -> Vector:
        y = self.y
        if self.rule == "sam-same-batch":
            y = self.w + scale(self.rho, unit(self.problem.sample_grad(self.w, index)))
        return self.problem.sample_grad(y, index)
