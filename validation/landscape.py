"""Loss surfaces: the loss on a random plane through trained weights, its roughness Ra, and the top Hessian eigenvalue.

The plane is w + a u + b v with u, v Gaussian and normalised filter by filter: each filter's part has the length of the
filter itself, and parameters with one axis (biases, BatchNorm) stay where they are (Li et al., NeurIPS 2018). Of a
sparse network the directions are masked before they are normalised, unless one asks for what happens outside the
support. BatchNorm either keeps the statistics it was trained to ("fixed"), or takes those of the images at every point
of the plane ("batch"): the two differ, so every number says which. Ra is the mean absolute deviation of the loss over
the grid (Ji et al. 2024, Figure 1), log-Ra that of its logarithm, form-free Ra that from the quadratic that fits best;
sharpness itself is the largest eigenvalue of the Hessian on the support, by Lanczos (ARPACK) on Hessian-vector
products.
"""

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from validation.training.config import seed_for

Parameters = dict[str, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
BATCHNORM = ("fixed", "batch")


def filter_direction(
    model: nn.Module, generator: torch.Generator, masks: Mapping[str, Tensor] | None = None
) -> Parameters:
    """Return a random direction, each filter of it as long as the network's own (Li et al. 2018, section 4).

    Args:
        model: its weights w; a filter is w[i] of a weight with two axes or more.
        generator: of the Gaussian, on the CPU; the same numbers for a dense and a masked direction.
        masks: bool tensors by parameter name: entries outside get 0, before filters are normalised.

    Returns:
        A tensor for each parameter of the model: 0 for those with one axis and for filters that are 0.
    """
    direction = {}
    for name, w in model.named_parameters():
        drawn = torch.randn(w.shape, generator=generator, dtype=torch.float64).to(w)
        if masks is not None and name in masks:
            drawn = drawn * masks[name]
        if w.ndim < 2:
            direction[name] = torch.zeros_like(w)
            continue
        own, its = (t.detach().flatten(1).norm(dim=1) for t in (w, drawn))
        scale = torch.where(its > 0, own / its.clamp(min=torch.finfo(w.dtype).tiny), 0.0)
        direction[name] = drawn * scale.view(-1, *[1] * (w.ndim - 1))
    return direction


def surface(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    u: Parameters,
    v: Parameters,
    *,
    radius: float = 1.0,
    points: int = 21,
    batchnorm: str = "fixed",
    loss: Loss = cross_entropy,
    tick: Callable[[], object] | None = None,
) -> Tensor:
    """Return the mean loss at w + a u + b v on a square grid of a and b in [-radius, radius].

    Args:
        model: the network; weights, buffers and mode are as before afterwards.
        images: (n, ...), taken as one batch.
        labels: (n,).
        u: direction of the first axis, as of `filter_direction`.
        v: of the second.
        radius: half the side of the square, in units of the filters' own lengths.
        points: of a side; odd, so that w is one of them.
        batchnorm: "fixed", statistics of training; "batch", those of the images at each point.
        loss: of logits and labels, a mean.
        tick: called after each line of the grid.

    Returns:
        Losses (points, points) in float64 on the CPU; the first axis belongs to u.

    Raises:
        ValueError: for another `batchnorm`, a radius that is not positive, or less than two points.
    """
    if batchnorm not in BATCHNORM:
        raise ValueError(f"batchnorm must be one of {', '.join(BATCHNORM)}, got {batchnorm!r}; pick one")
    if not radius > 0 or points < 2:
        raise ValueError(f"radius must be > 0 and points >= 2, got {radius} and {points}; 1.0 and 21 are usual")
    steps = torch.linspace(-radius, radius, points, dtype=torch.float64).tolist()
    weights = {name: p.detach() for name, p in model.named_parameters()}
    table = torch.empty(points, points, dtype=torch.float64)
    with torch.no_grad(), _mode(model, batchnorm):
        for i, a in enumerate(steps):
            line = {name: w + a * u[name] for name, w in weights.items()}
            for j, b in enumerate(steps):
                here = {name: w + b * v[name] for name, w in line.items()}
                table[i, j] = loss(_call(model, here, images), labels).double().cpu()
            if tick is not None:
                tick()
    return table


def surfaces(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    masks: Mapping[str, Tensor] | None = None,
    *,
    directions: int = 5,
    seed: int = 0,
    **options: Any,
) -> Tensor:
    """Return the surfaces on several random planes: for one network of one's own, the call that does it all.

    Args:
        model: the network.
        images: (n, ...), taken as one batch.
        labels: (n,).
        masks: bool tensors by parameter name, for directions in the support; None for all of space.
        directions: planes, >= 1, each of two directions of its own.
        seed: plane k of a seed has the same Gaussian for every network of this shape, dense or sparse.
        options: of `surface`.

    Returns:
        Losses (directions, points, points) in float64 on the CPU.

    Raises:
        ValueError: when directions < 1, or as `surface`.
    """
    if directions < 1:
        raise ValueError(f"directions must be >= 1, got {directions}; 5 show how far planes differ")
    tables = []
    for k in range(directions):
        generator = torch.Generator().manual_seed(seed_for("plane", seed, k))
        u, v = (filter_direction(model, generator, masks) for _ in range(2))
        tables.append(surface(model, images, labels, u, v, **options))
    return torch.stack(tables)


def roughness(table: Tensor) -> dict[str, float]:
    """Return three means of absolute deviations: Ra, log-Ra and form-free Ra.

    Ra is that of the losses from their mean, and log-Ra that of their logarithms. Form-free Ra is that of the losses
    from the quadratic that fits them best: surface metrology takes Ra only after such a form is removed (ISO 25178-2),
    and a smooth bowl, steep as it may be, then has none.

    Args:
        table: losses > 0, (m, n), at points of equal distance; m, n >= 3.

    >>> {name: round(size, 9) for name, size in roughness(torch.tensor([[2.0, 1, 2]] * 3).double()).items()}
    {'Ra': 0.444444444, 'log-Ra': 0.308065414, 'form-free Ra': 0.0}
    """
    logs = table.clamp(min=torch.finfo(table.dtype).tiny).log()
    sizes = {"Ra": table - table.mean(), "log-Ra": logs - logs.mean(), "form-free Ra": table - _form(table)}
    return {name: float(t.abs().mean()) for name, t in sizes.items()}


def _form(table: Tensor) -> Tensor:
    """Return the quadratic in both coordinates that fits a table best, by least squares."""
    axes = [torch.linspace(-1, 1, n, dtype=table.dtype) for n in table.shape]
    a, b = torch.meshgrid(*axes, indexing="ij")
    terms = torch.stack([torch.ones_like(a), a, b, a * a, a * b, b * b], -1)
    q, _ = torch.linalg.qr(terms.flatten(0, 1))
    return (q @ (q.T @ table.flatten())).view_as(table)


def top_eigenvalue(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    masks: Mapping[str, Tensor] | None = None,
    *,
    loss: Loss = cross_entropy,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> float:
    """Return the largest eigenvalue (not magnitude) of the Hessian of the loss at the weights, on the support.

    BatchNorm keeps its statistics. Memory is that of one gradient, time that of some tens of Hessian-vector products.

    Args:
        model: the network; it stays as it is.
        images: (n, ...), one batch.
        labels: (n,).
        masks: bool tensors by parameter name; the Hessian is restricted to their entries, others count whole.
        loss: of logits and labels.
        tolerance: relative, of Lanczos.
        seed: of its start.
    """
    weights = {name: p.detach().double().requires_grad_() for name, p in model.named_parameters()}
    kept = torch.cat([(masks[n] if masks and n in masks else torch.ones_like(w)).flatten() for n, w in weights.items()])
    support = kept.bool().nonzero().squeeze(1)
    buffers = {name: b.double() if b.is_floating_point() else b for name, b in model.named_buffers()}
    with _mode(model, "fixed"):
        value = loss(torch.func.functional_call(model, weights | buffers, (images.double(),)), labels)
        slopes = torch.autograd.grad(value, list(weights.values()), create_graph=True)
        gradient = torch.cat([g.flatten() for g in slopes])[support]

        def times(vector: np.ndarray) -> np.ndarray:
            product = torch.autograd.grad(
                gradient, list(weights.values()), torch.from_numpy(vector.reshape(-1)).to(gradient), retain_graph=True
            )
            return torch.cat([g.flatten() for g in product])[support].cpu().numpy()

        size = len(support)
        if size < 3:  # Lanczos wants more
            columns = np.stack([times(e) for e in np.eye(size)])
            return float(np.linalg.eigvalsh((columns + columns.T) / 2)[-1])
        operator: Any = LinearOperator((size, size), matvec=times, dtype=np.float64)
        start = np.random.default_rng(seed).normal(size=size)
        return float(eigsh(operator, k=1, which="LA", tol=tolerance, v0=start, return_eigenvectors=False)[0])


def _call(model: nn.Module, weights: Parameters, images: Tensor) -> Tensor:
    buffers = {name: b.clone() for name, b in model.named_buffers()}  # BatchNorm writes into them
    return torch.func.functional_call(model, weights | buffers, (images,))


@contextmanager
def _mode(model: nn.Module, batchnorm: str) -> Any:
    """Evaluate, but let BatchNorm take the statistics of the batch where asked; every module's mode comes back."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and batchnorm == "batch":
            module.training = True
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
