"""What is left of a perturbation in half parameters, against the size of the network.

Protocol. A fully connected network on the digits (two hidden layers of one width), after `count` steps of S2-SAM at the
largest radius in float32; its weights and its last mini-batch gradient are cast to each format. The S2SAM class then
perturbs them by that gradient, and y - w is compared with the perturbation p that was asked for, of norm rho: `y` is
||y - w||/rho, how much of the norm survives, and `along` is <y - w, p>/rho^2, how much of it lies where it was wanted
(noise of stochastic rounding adds to the first and not to the second). No verdict is taken: the rows are for a figure.
"""

import warnings
from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor, nn

from s2sam import S2SAM
from s2sam.rules import ascent
from validation.cells import Row, experiment
from validation.datasets import digits
from validation.models import MLP

BATCH, ETA = 64, 0.05
FORMATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def trained(width: int, rho: float, count: int, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return weights and last gradient of a network of this width, in float32."""
    torch.manual_seed(seed)
    x, y = digits()
    model = MLP(side=8, widths=(width, width))
    opt = S2SAM(torch.optim.SGD(model.parameters(), lr=ETA), rho=rho)
    draw = torch.Generator().manual_seed(seed)
    gradients: list[Tensor] = []
    for _ in range(count):
        index = torch.randint(len(y), (BATCH,), generator=draw)
        opt.zero_grad()
        with opt.perturbed():
            nn.functional.cross_entropy(model(x[index]), y[index]).backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        opt.step()
    return [p.detach() for p in model.parameters()], gradients


def surviving(
    weights: list[Tensor], gradients: list[Tensor], dtype: torch.dtype, rho: float, rounding_seed: int | None
) -> tuple[float, float]:
    """Return ||y - w||/rho and <y - w, p>/rho^2 of the S2SAM class on weights and gradients in a format."""
    parameters = [nn.Parameter(w.to(dtype)) for w in weights]
    opt = S2SAM(torch.optim.SGD(parameters, lr=0.0), rho=rho, rounding_seed=rounding_seed)
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = g.to(dtype)
    wanted = ascent([p.grad.double() for p in parameters if p.grad is not None], rho)
    opt.step()
    before = [p.detach().double() for p in parameters]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is lost is what is measured here
        with opt.perturbed():
            moved = [p.detach().double() - w for p, w in zip(parameters, before, strict=True)]
    along = sum(float((m * p).sum()) for m, p in zip(moved, wanted, strict=True))
    return sum(float(m.square().sum()) for m in moved) ** 0.5 / rho, along / rho**2


@experiment
def low_precision(*, widths: list[int], rho: list[float], count: int, seed: int) -> Iterator[Row]:
    """Yield one series row for each radius, format and rounding, over the number of parameters."""
    networks = [trained(width, max(rho), count, seed) for width in widths]
    chosen = [("float32", "nearest", None)]
    chosen += [(name, *how) for name in ("float16", "bfloat16") for how in (("nearest", None), ("stochastic", seed))]
    for radius, (name, rounding, given) in product(rho, chosen):
        found = [surviving(weights, gradients, FORMATS[name], radius, given) for weights, gradients in networks]
        yield {
            "claim": "A1",
            "problem": "digits-mlp",
            "family": "digits-mlp",
            "rule": "S2SAM",
            "series": "low-precision",
            "seed": seed,
            "at": {"rho": radius, "count": count},
            "format": name,
            "rounding": rounding,
            "x": [sum(w.numel() for w in weights) for weights, _ in networks],
            "y": [norm for norm, _ in found],
            "along": [along for _, along in found],
        }
