"""Certified quadratics and least squares: exact in rational arithmetic, constants by rigorous eigenvalue enclosures."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from validation.arrays import matvec, minimum, transposed
from validation.instances import Problem
from validation.spectra import checked, enclosure, filled, gram
from validation.step import Scalar, Vector, dot


def spectral(problem: Problem, H: Tensor, error: Tensor | None, mask: Tensor) -> dict[str, Any]:
    """Return the constants of a quadratic with Hessian H (within error) on the weights of mask.

    The eigenvalues of the block are enclosed anew. Where it is positive definite its own minimiser is solved for, with
    one step of refinement: f(w) exceeds the minimum by at most ||grad||^2/(2 mu), far below the rounding of f itself.
    """
    known = Problem.restriction(problem, mask)
    block = filled(H, mask)
    low, high = enclosure(block, error)
    some = mask.any(-1)  # on the empty support f is a constant: the whole problem's constants are as good as any
    mu = torch.where(some, low.maximum(problem.mu), problem.mu)
    L = torch.where(some, low.abs().maximum(high.abs()).minimum(problem.L), problem.L)
    known |= {"L": L, "L_sample": L, "mu": mu, "pl": mu.clamp(min=0)}
    solvable = (mu > 0) & known["f_star"].isnan() & some
    solver = torch.where(solvable[:, None, None], block, torch.eye(problem.dim, dtype=H.dtype, device=H.device))
    w = torch.zeros_like(problem.center)
    for _ in range(2):
        w = w - torch.where(mask, torch.linalg.solve(solver, torch.where(mask, problem.grad(w), 0.0)), 0.0)
    f_star, g = problem.f(w), torch.where(mask, problem.grad(w), 0.0)
    excess = dot(g, g) / torch.where(solvable, mu, 1.0)  # twice the bound, because g is rounded too
    known["certificate"] = torch.where(solvable, excess + problem.f_error(w), known["certificate"])
    if known["w_star"] is not None:
        w = torch.where(solvable[:, None], w, known["w_star"])
    return known | minimum(torch.where(solvable, f_star, known["f_star"]), w)


@dataclass(frozen=True, kw_only=True, eq=False)
class Quadratic(Problem):
    """f(w) = <w - c, H (w - c)>/2, c the center, H (N, d, d) symmetric; f* = 0 at c, if H is positive definite."""

    H: Any

    @classmethod
    def of(cls, H: Tensor, center: Tensor, *, name: str = "quadratic") -> "Quadratic":
        """Certify a batch of quadratics.

        mu and L enclose the spectrum of H as stored: exact where H is diagonal, else widened by about 2 d (d + 3) 2^-53
        L (`spectra.enclosure`). Where mu <= 0 the function is treated as non-convex: no minimum is declared.

        Args:
            H: Hessians (N, d, d), exactly symmetric.
            center: minimisers or saddles, (N, d).
            name: of the family.

        Raises:
            ValueError: when H is not symmetric, not finite, or of another shape than center demands.
        """
        size, d = checked("center", center, None, None).shape
        checked("H", H, size, d, d)
        if not torch.equal(H, H.mT):
            raise ValueError(f"H must be symmetric, got a difference of {(H - H.mT).abs().max():g}; use (H + H.mT)/2")
        mu, high = enclosure(H)
        zero = torch.zeros_like(mu)
        L = mu.abs().maximum(high.abs())
        known = minimum(torch.where(mu > 0, zero, torch.nan), center)
        return cls(
            name=name,
            center=center,
            L=L,
            mu=mu,
            pl=mu.clamp(min=0),
            sigma2=zero,
            L_sample=L,
            f_noise=zero,
            certificate=zero,
            H=H,
            **known,
        )

    def f(self, w: Vector) -> Scalar:
        """Return <w - c, H (w - c)>/2."""
        return self.f_given(w, matvec(self.H, w - self.center))

    def f_given(self, w: Vector, gradient: Vector) -> Scalar:
        """Return <w - c, grad f(w)>/2."""
        return dot(w - self.center, gradient) / 2

    def grad(self, w: Vector) -> Vector:
        """Return H (w - c)."""
        return matvec(self.H, w - self.center)

    def restriction(self, mask: Bool[Tensor, "n d"]) -> dict[str, Any]:
        """Return the constants of the block of H on the support, and its own minimum where it is positive definite."""
        return spectral(self, self.H, None, mask)


@dataclass(frozen=True, kw_only=True, eq=False)
class LeastSquares(Problem):
    """f(w) = ||A (w - c)||^2/2, A (N, m, d): convex for any A, f* = 0 at c; not strongly convex if m < d, but PL."""

    A: Any

    @classmethod
    def of(cls, A: Tensor, center: Tensor, *, name: str = "least-squares") -> "LeastSquares":
        """Certify a batch of least-squares problems.

        L encloses the largest eigenvalue of A^T A. pl is a lower bound of its smallest non-zero one, the smallest of
        A A^T (m < d) or A^T A (m >= d); it is 0 if A is too close to a loss of rank. mu = pl if m >= d, else exactly 0.
        PL proof: r = A (w - c) lies in the range of A, so ||A^T r||^2 >= pl ||r||^2 = 2 pl f.

        Args:
            A: (N, m, d).
            center: minimisers, (N, d).
            name: of the family.

        Raises:
            ValueError: when A is not finite or of another shape than center demands.
        """
        size, d = checked("center", center, None, None).shape
        m = checked("A", A, size, None, d).shape[1]
        ones = torch.ones_like(A[..., 0])
        _, L = enclosure(*gram(A, ones))
        low, _ = enclosure(*(gram(A, ones) if m >= d else gram(A.mT, torch.ones_like(center))))
        zero, pl = torch.zeros_like(L), low.clamp(min=0)
        return cls(
            name=name,
            center=center,
            L=L,
            mu=pl if m >= d else zero,
            pl=pl,
            sigma2=zero,
            L_sample=L,
            f_star=zero,
            w_star=center,
            f_noise=zero,
            certificate=zero,
            A=A,
        )

    @property
    def width(self) -> int:
        """Dimension plus rows of A."""
        return self.dim + self.A.shape[-2]

    def f(self, w: Vector) -> Scalar:
        """Return ||A (w - c)||^2/2."""
        r = matvec(self.A, w - self.center)
        return dot(r, r) / 2

    def grad(self, w: Vector) -> Vector:
        """Return A^T A (w - c)."""
        return matvec(transposed(self.A), matvec(self.A, w - self.center))

    def restriction(self, mask: Bool[Tensor, "n d"]) -> dict[str, Any]:
        """Return the constants of the columns of A on the support, and their own minimum where they are independent."""
        return spectral(self, *gram(self.A, torch.ones_like(self.A[..., 0])), mask)
