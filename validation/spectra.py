"""Rigorous enclosures of eigenvalues, for float64 matrices as stored: they turn data into certified constants.

Everything works on batches (..., d, d) of torch float64 tensors. U = 2^-53 is the unit roundoff; gamma_k =
k U/(1 - k U) bounds the relative error of k roundings (Higham 2002, section 3.1), in whatever order a sum is taken.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

U = 2.0**-53
SPARE = 1.01  # covers the second-order terms, and the roundings of a margin's own evaluation, for d, n <= 10^6


def checked(name: str, data: Tensor, *shape: int | None) -> Tensor:
    """Return data, a finite float64 tensor of that shape (None: any length).

    Raises:
        ValueError: otherwise, naming the argument.
    """
    wanted = tuple("*" if n is None else n for n in shape)
    fits = data.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, data.shape, strict=True))
    if not fits or data.dtype != torch.float64:
        raise ValueError(f"{name} must be a float64 tensor of shape {wanted}, got {data.dtype} {tuple(data.shape)}")
    if not bool(data.isfinite().all()):
        raise ValueError(f"{name} must be finite, got nan or infinity in it")
    return data


def upward(x: Tensor, roundings: int) -> Tensor:
    """Return at least the exact value of a non-negative x that was computed with at most so many relative roundings."""
    return x * (1 + 2 * (roundings + 1) * U)


def downward(x: Tensor, roundings: int) -> Tensor:
    """Return at most the exact value of a non-negative x that was computed with at most so many relative roundings."""
    return x * (1 - 2 * (roundings + 1) * U)


def gram(X: Float[Tensor, "*n m d"], weight: Float[Tensor, "*n m"]) -> tuple[Tensor, Tensor]:
    """Return G = X^T diag(weight) X, symmetric as stored, and a bound of the spectral norm of its rounding error.

    Entry by entry the error is at most gamma_{m+2} |X|^T diag(weight) |X|, whose Frobenius norm is at most
    sum_j weight_j ||x_j||^2, the trace of G; weight >= 0.
    """
    G = X.mT @ (weight[..., None] * X)
    trace = G.diagonal(dim1=-2, dim2=-1).sum(-1)
    return (G + G.mT) / 2, SPARE * (X.shape[-2] + 3) * U * trace


def enclosure(
    G: Float[Tensor, "*n d d"], error: Float[Tensor, "*n"] | None = None
) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """Return (low, high) with low <= every eigenvalue <= high, for all symmetric matrices within `error` of G.

    Exact when G is diagonal and error is None. Otherwise an a-posteriori bound that trusts no eigensolver: for any V
    and lam, with E = G - V diag(lam) V^T and delta = ||V^T V - I||, the polar form V = Q P has ||P - I|| <= delta, so
    ||G - Q diag(lam) Q^T|| <= ||E|| + (2 delta + delta^2) max|lam|, and Weyl's inequality bounds each eigenvalue's
    distance from lam by that. E and V^T V - I are evaluated with error at most gamma_{d+2} ||V||_F^2 (times max|lam|):
    about 2 d (d + 3) U max|lam| in all when V is orthogonal to rounding.

    Args:
        G: symmetric, (..., d, d).
        error: bound of the spectral norm of what G misses, (...).
    """
    d = G.shape[-1]
    diagonal = G.diagonal(dim1=-2, dim2=-1)
    lam, V = torch.linalg.eigh(G)
    V = V.detach()  # whoever differentiates an eigenvalue must not divide by the gaps between them, which V would
    top = lam.abs().amax(-1)
    size = (V * V).sum((-2, -1))
    rest = torch.linalg.matrix_norm(G - (V * lam[..., None, :]) @ V.mT) + (d + 3) * U * top * size
    delta = torch.linalg.matrix_norm(V.mT @ V - torch.eye(d, dtype=G.dtype, device=G.device)) + (d + 3) * U * size
    margin = SPARE * (rest + (2 + delta) * delta * top + 2 * U * top)
    if error is not None:
        return lam.amin(-1) - (margin + SPARE * error), lam.amax(-1) + (margin + SPARE * error)
    exact = (G == torch.diag_embed(diagonal)).flatten(-2).all(-1)
    low = torch.where(exact, diagonal.amin(-1), lam.amin(-1) - margin)
    return low, torch.where(exact, diagonal.amax(-1), lam.amax(-1) + margin)


def filled(H: Float[Tensor, "n d d"], mask: Bool[Tensor, "n d"]) -> Float[Tensor, "n d d"]:
    """Return H on the support of mask, and off it a multiple of the identity that leaves the extreme eigenvalues alone.

    The multiple is a diagonal entry of the support's block, hence between that block's extreme eigenvalues (1 when the
    support is empty).
    """
    diagonal = H.diagonal(dim1=-2, dim2=-1)
    first = mask.to(torch.int8).argmax(-1, keepdim=True)
    value = torch.where(mask.any(-1, keepdim=True), diagonal.gather(-1, first), 1.0)
    block = torch.where(mask[:, :, None] & mask[:, None, :], H, 0.0)
    return block + torch.diag_embed(torch.where(mask, torch.zeros_like(diagonal), value.expand_as(diagonal)))
