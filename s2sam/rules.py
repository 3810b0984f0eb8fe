"""The method as pure functions: the perturbation p = rho n(g), with n(x) = x/||x|| and n(0) = 0, exactly.

S2-SAM (Ji et al. 2024) takes g = g_{t-1}, the gradient of the step before; SAM (Foret et al. 2021) the gradient at w;
ASAM (Kwon et al. 2021) measures lengths in units of the weights. There is one norm for a whole list of tensors (a
model's parameters), or one for each instance of a batch (first axis). There is no eps: near a minimum the perturbed
gradient goes to zero while its direction stays, so an eps in the denominator would change the method. Instead the
direction is first multiplied by a power of two that brings it near 1, which rounds nothing, and then by rho/norm, which
rounds once; norms accumulate in float64. So gradients of 1e-25 and 1e25 neither vanish nor overflow, and no branch
depends on a value (nothing here waits for the device). Half types are worked on in float32, mixed lists in their widest
type.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from s2sam.blocks import one_pass, squares, total
from s2sam.shards import combined, local

Radius = float | Tensor | Sequence[float | Tensor]

_EXPONENT_BITS = 0x7FF0000000000000  # of a float64: masking all else leaves the power of two just below


def global_norm(tensors: Sequence[Tensor], *, batched: bool = False) -> Tensor:
    """Return the Euclidean norm of a list of tensors taken as one vector, as a float64 tensor.

    It overflows and underflows only where the norm itself does, and errs by a few ulp of float64 at any size.

    Args:
        tensors: real floating-point tensors of any shape; with `batched`, all share their first axis, of length N.
        batched: one norm for each instance (over all axes but the first) instead of a single one.

    Returns:
        Tensor of shape (), or (N,) with `batched`, on the first tensor's device.

    Raises:
        TypeError: when a tensor is not real floating-point.

    >>> global_norm([torch.tensor([3e25]), torch.tensor([[4e25]])]).item() / 1e25  # 3e25 is rounded to float32
    4.99999...
    """
    scale, norm = _size(tensors, [local(t) for t in tensors], batched)
    return norm / scale  # the power of two rounds nothing where the quotient is a normal number


def scales(direction: Sequence[Tensor], rho: Radius, norm: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
    """Return the power of two s and the factors f with which `ascent` makes (g s) f of each tensor g.

    Args:
        direction: gradients, real floating-point tensors.
        rho: radius, as for `ascent`.
        norm: the `global_norm` of the direction where it is known, for a direction without float64 tensors.

    Returns:
        s and, for each tensor, f: of shape (), in the working type. 0 < s, and (g s) f is 0 for a zero direction.

    Raises:
        TypeError: when a tensor is not real floating-point.

    >>> s, (f,) = scales([torch.tensor([3e-25, -4e-25])], 0.5)
    >>> torch.tensor([3e-25, -4e-25]) * s * f
    tensor([ 0.3000, -0.4000])
    """
    work = _working_type(direction)
    if norm is None:
        scale, norm = _size(direction, [local(g) for g in direction], batched=False)
    else:
        scale = _power(norm, work)
        norm = norm * scale
    radii = list(rho) if isinstance(rho, Sequence) else [rho] * len(direction)
    factors = {key: _factor(r, norm).to(work) for key, r in {id(r): r for r in radii}.items()}
    return scale.to(work), [factors[id(r)] for r in radii]


def ascent(direction: Sequence[Tensor], rho: Radius, *, batched: bool = False) -> list[Tensor]:
    """Return rho n(direction), the perturbation of SAM and S2-SAM (Foret et al. 2021, eq. 2; Ji et al. 2024).

    Args:
        direction: gradients, real floating-point tensors; with `batched`, all share their first axis, of length N.
        rho: radius: a number, a tensor of shape () or, with `batched`, (N,); or a list with one of these for each
            tensor (the norm of `direction` is still one). A negative radius descends.
        batched: one norm for each instance instead of one for the whole list.

    Returns:
        New tensors of the direction's shapes, types and devices, of norm rho together; zeros for a zero direction, nan
        for a direction with an entry that is not finite.

    Raises:
        TypeError: when a tensor is not real floating-point.

    >>> ascent([torch.tensor([3e-25, -4e-25])], 0.5)
    [tensor([ 0.3000, -0.4000])]
    """
    return _typed_as(direction, _ascent(direction, rho, batched))


def adaptive_ascent(
    direction: Sequence[Tensor], weights: Sequence[Tensor], rho: Radius, *, batched: bool = False
) -> list[Tensor]:
    """Return rho w^2 g/||w g||, products entry by entry: the perturbation of ASAM (Kwon et al. 2021), without its eta.

    It is w rho n(w g); w and g are brought near 1 before they are multiplied, so that w g may lie outside the range of
    the type. A product entry is lost only 1e-38 (float32; 1e-308 in float64) below max|w| max|g|.

    Args:
        direction: gradients g, as for `ascent`.
        weights: tensors w that broadcast to the shapes of `direction` (ones where lengths are not adaptive).
        rho: radius, as for `ascent`.
        batched: one norm for each instance instead of one for the whole list.

    Returns:
        New tensors of the direction's shapes and types.

    Raises:
        TypeError: when a tensor is not real floating-point.

    >>> adaptive_ascent([torch.tensor([3.0, 2.0])], [torch.tensor([1.0, -2.0])], 5.0)
    [tensor([3., 8.])]
    """
    work = _working_type([*direction, *weights])
    scales = _power(_peak(direction, batched), work), _power(_peak(weights, batched), work).clamp(min=1.0)
    # A scale below 1 for w is not needed (|g| < 1 now, unless it was above 2^127) and could flush entries that matter.
    product = _times(_times([local(g).to(work) for g in direction], scales[0] / 2, batched), scales[1], batched)
    here = [local(w) for w in weights]
    product = [x.mul_(w) for x, w in zip(product, here, strict=True)]
    return _typed_as(direction, map(Tensor.mul_, _ascent(product, rho, batched, direction), here))


def _ascent(
    direction: Sequence[Tensor], rho: Radius, batched: bool, split_as: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """Return rho n(direction) in the working type, of distributed tensors the local part."""
    if not direction:
        return []
    work = _working_type(direction)
    parts = [local(g).to(work) for g in direction]
    scale, norm = _size(direction if split_as is None else split_as, parts, batched)
    scaled = _times(parts, scale, batched)
    inplace = not any(x.requires_grad for x in scaled)  # whoever differentiates through a step needs the old values
    if isinstance(rho, Sequence):
        pairs = zip(scaled, rho, strict=True)
        return [p for x, r in pairs for p in _times([x], _factor(r, norm), batched, inplace)]
    return _times(scaled, _factor(rho, norm), batched, inplace)


def _typed_as(direction: Sequence[Tensor], parts: Iterable[Tensor]) -> list[Tensor]:
    """Return the parts in the types of a direction."""
    return [p.to(g.dtype) for p, g in zip(parts, direction, strict=True)]


def _factor(rho: float | Tensor, norm: Tensor) -> Tensor:
    """Return rho/norm, and rho where the norm is 0: any finite number serves there, as 0 x = 0."""
    return rho / (norm + (norm == 0))


def _size(tensors: Sequence[Tensor], parts: Sequence[Tensor], batched: bool) -> tuple[Tensor, Tensor]:
    """Return a power of two that brings the parts near 1, and the norm of all tensors times it, both float64."""
    work = _working_type(parts)
    if work is torch.float64:
        scale = _power(_peak(parts, batched, tensors), work)
        return scale, _norm_of_all(tensors, parts, batched, scale)
    norm = _norm_of_all(tensors, parts, batched)  # the square of a float32 is far inside the range of float64
    scale = _power(norm, work)
    return scale, norm * scale


def _working_type(tensors: Sequence[Tensor]) -> torch.dtype:
    """Return float64 if any tensor is, else float32."""
    kinds = {t.dtype for t in tensors}
    for kind in kinds:
        if not kind.is_floating_point:
            raise TypeError(f"tensors must be real floating-point, got {kind}; convert them first")
    return torch.float64 if torch.float64 in kinds else torch.float32


def _power(size: Tensor, work: torch.dtype) -> Tensor:
    """Return 1/2^k with 2^k just below `size`, k clamped to what the working type can multiply by; float64."""
    least = torch.finfo(work).tiny
    power = (size.double().view(torch.int64) & _EXPONENT_BITS).view(torch.float64)
    return power.clamp_(least, 1 / least).reciprocal_()


def _peak(tensors: Sequence[Tensor], batched: bool, split_as: Sequence[Tensor] | None = None) -> Tensor:
    """Return the largest magnitude, shape () or (N,), over all processes."""
    parts = [local(t) for t in tensors]
    return combined(split_as or tensors, parts, lambda members: _local_peak(members, batched), "max")


def _norm_of_all(
    tensors: Sequence[Tensor], parts: Sequence[Tensor], batched: bool, scale: Tensor | None = None
) -> Tensor:
    """Return the float64 norm of tensors (times a scale) over all processes, from their local parts."""
    return combined(tensors, parts, lambda members: _norm(members, batched, scale), "norm")


def _local_peak(tensors: Sequence[Tensor], batched: bool) -> Tensor:
    """Return the largest magnitude, shape () or (N,)."""
    if batched:
        peaks = [t[..., None].flatten(1).abs().amax(1) for t in tensors if t.numel()]
    else:  # in one pass, without a copy of the tensor
        peaks = [torch.stack(torch.aminmax(t)).abs_().amax() for t in tensors if t.numel()]
    first, *_ = tensors
    if not peaks:
        return torch.zeros(len(first) if batched else (), device=first.device)
    return torch.stack([peak.double().to(first.device) for peak in peaks]).amax(0)


def _norm(tensors: Sequence[Tensor], batched: bool, scale: Tensor | None) -> Tensor:
    """Return the float64 norm, shape () or (N,), of tensors whose squares (times a scale's) float64 can hold."""
    if not tensors:
        return torch.zeros((), dtype=torch.float64)
    first, *_ = tensors
    here = [t for t in tensors if one_pass(t) and not batched]
    others = [t for t in tensors if not one_pass(t) or batched]
    if scale is not None:
        others = _times([t.double() for t in others], scale, batched)
    if batched:
        norm: Any = torch.linalg.vector_norm
        parts = [norm(t[..., None].flatten(1), dim=1, dtype=torch.float64) for t in others]
        return torch.stack(parts).square_().sum(0).sqrt_()
    parts = [squares(here, scale)] if here else []
    if others:  # one launch for them all
        norms = torch._foreach_norm(others, 2, dtype=torch.float64)
        parts += [torch.stack([norm.to(first.device) for norm in norms]).square()]
    return total(torch.cat([part.to(first.device) for part in parts])).sqrt()


def _times(tensors: list[Tensor], factor: Tensor, batched: bool, inplace: bool = False) -> list[Tensor]:
    """Return the tensors times a factor of shape () or (N,), cast to their type first."""
    if not tensors:
        return []
    first, *_ = tensors
    factor = factor.to(first.dtype)
    same = not batched and all(t.device == factor.device for t in tensors)
    if same and not factor.requires_grad:  # torch cannot differentiate _foreach_mul by its factor
        if inplace:
            torch._foreach_mul_(tensors, factor)
            return tensors
        return list(torch._foreach_mul(tensors, factor))
    factors = [factor.to(t.device) for t in tensors]
    if batched:
        factors = [f.view(-1, *[1] * (t.ndim - 1)) for f, t in zip(factors, tensors, strict=True)]
    return list(map(Tensor.mul_ if inplace else Tensor.mul, tensors, factors))
