"""Half types: what is left of a perturbation that is added to bfloat16 or float16 weights, and how to keep its mean.

A perturbation of norm rho over n entries has entries near rho/sqrt(n). Where that is below half the spacing of the
format at the weight, w + p rounds back to w and nothing is perturbed. Stochastic rounding takes the neighbour above
with the probability that makes the mean w + p: the mean survives at any size, at the price of noise, of variance up to
a quarter of the spacing squared in each entry. Only y is rounded so; w returns bit for bit, and a retry sees the same
y. The random bits of the t-th perturbation come from a generator of their own, seeded by the group's `rounding_seed`,
which counts on and is saved with the group: a run resumes bit for bit, and the global generators are not touched.
"""

import warnings
from collections.abc import MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor

from s2sam.blocks import Lifted, Scale
from s2sam.checks import SEED
from s2sam.shards import local

DIGITS = {torch.bfloat16: 7, torch.float16: 10}  # explicit bits of the significand; float32 has 23
_LEAST = {torch.bfloat16: 1, torch.float16: 103}  # float32 exponent field of the smallest spacing: 2^-126, 2^-24
_LOST = 0.5  # of the perturbation: less than that survives, and a warning says so


def rounded(x: Tensor, bits: Tensor, dtype: torch.dtype) -> Tensor:
    """Round to a half type, up or down at random, so that the mean over all random bits is x, exactly.

    Args:
        x: float32 tensor.
        bits: integer tensor of x's shape, uniform in 0 ... 2^(23 - DIGITS[dtype]) - 1.
        dtype: bfloat16 or float16.

    Returns:
        Tensor of that type. Where |x| < 2^-119, bfloat16 gets multiples of 2^-126. This project.

    >>> bits = torch.arange(2**16)
    >>> rounded(torch.full((2**16,), 1.001), bits, torch.bfloat16).double().mean().item()  # 1.001 in float32
    1.0010000467300415
    """
    digits = DIGITS[dtype]
    exponent = (x.view(torch.int32) & 0x7F800000) - (digits << 23)
    spacing = exponent.clamp_(min=_LEAST[dtype] << 23).view(torch.float32)
    # Powers of two scale exactly, and the sum has 24 bits: 1 + digits before the point, as many as `bits` after it.
    steps = (x / spacing).add_(bits.to(torch.float32).mul_(2.0 ** (digits - 23))).floor_()
    return steps.mul_(spacing).to(dtype)


def dither(
    directions: Sequence[tuple[MutableMapping[str, Any], Any, Tensor, Tensor]], scales: list[Scale]
) -> list[Scale]:
    """Make the perturbations of half parameters that round stochastically; return the scales of those left to make.

    Args:
        directions: group, radius, parameter at w, gradient, which becomes y - w.
        scales: what makes a perturbation of each gradient; None: it is one already.

    Returns:
        The scales, None where a perturbation was made here.
    """
    made = list(scales)
    groups: dict[int, tuple[int, Any]] = {}
    generators: dict[tuple[int, torch.device], torch.Generator] = {}
    for k, (group, _, p, buffer) in enumerate(directions):
        if group[SEED] is None or p.dtype not in DIGITS:
            continue
        index, _ = groups.setdefault(id(group), (len(groups), group))
        if (index, p.device) not in generators:  # odd multipliers spread (seed, index): no stream meets another
            seed = (group[SEED] * 0x9E3779B97F4A7C15 + index * 0xBF58476D1CE4E5B9) % 2**63
            generators[index, p.device] = torch.Generator(p.device).manual_seed(seed)
        w, d = local(p), local(buffer)
        y = rounded(w.float() + _perturbation(d, scales[k]), _bits(w, generators[index, p.device]), p.dtype)
        d.copy_(y.float() - w.float())  # exact for y within a factor 2 of w; fl(w + this) is y then
        made[k] = None
    for _, group in groups.values():
        group[SEED] += 1
    return made


def warn_if_lost(pairs: Sequence[Lifted], scales: Sequence[Scale]) -> bool:
    """Warn when less than half of a perturbation p survives the rounding of w + p to half parameters.

    What survives is the component of y - w along p: few entries that jump by a whole spacing may have p's norm, and yet
    hardly its direction. It looks at values, so it waits for the device; it is called once for an optimizer.

    Args:
        pairs: parameter at w, buffer with the direction.
        scales: what makes a perturbation of each direction; None: it is one already.

    Returns:
        Whether it could look: not while a graph is captured or traced.
    """
    half = [(local(p), local(d), scale) for (p, d), scale in zip(pairs, scales, strict=True) if p.dtype in DIGITS]
    if torch.compiler.is_compiling() or any(p.is_cuda and torch.cuda.is_current_stream_capturing() for p, *_ in half):
        return False
    sizes = [torch.zeros(2, dtype=torch.float64)]
    for w, d, scale in half:
        wanted = _perturbation(d, scale)
        kept = (w.float() + wanted).to(w.dtype).float() - w.float()
        sizes.append(torch.stack([(kept * wanted).double().sum(), wanted.double().square().sum()]).cpu())
    kept, wanted = torch.stack(sizes).sum(0)
    if kept < _LOST * wanted:
        warnings.warn(
            f"perturbation must survive rounding to {half[0][0].dtype}, got {float(kept / wanted):.1%} of it; keep "
            "float32 parameters under autocast, or give rounding_seed for stochastic rounding",
            stacklevel=2,
        )
    return True


def _perturbation(direction: Tensor, scale: Scale) -> Tensor:
    """Return the perturbation of a half parameter, in float32."""
    p = direction.float()
    return p if scale is None else p.mul_(scale[0].to(p.device)).mul_(scale[1].to(p.device))


def _bits(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return random integers for `rounded`."""
    top = 2 ** (23 - DIGITS[like.dtype])
    return torch.randint(top, like.shape, generator=generator, dtype=torch.int32, device=like.device)
