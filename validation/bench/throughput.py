"""Claim D1, measured: gradients per step, counted, and throughput of training by SGD, S2-SAM and SAM, dense and sparse.

Two networks: ResNet-32 on 3 x 32 x 32 images, batch 128, and a small Transformer on sequences of 64 tokens, batch 32.
"""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from s2sam import S2SAM, SAM
from s2sam.sparse.static import RandomMask
from validation.bench.contenders import FUSED, RHO, compiled, sgd
from validation.bench.timing import machine, median_interval, side_by_side
from validation.models import ResNet

METHODS = ("SGD", "S2SAM", FUSED, "SAM")


class Block(nn.Module):
    """A Transformer block with the norms first (Xiong et al., ICML 2020, Figure 1b).

    Args:
        width: of the residual stream. heads: of the attention, a divisor of the width.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, length, width) to the same shape."""
        n, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(n, length, 3, self.heads, width // self.heads).transpose(1, 3)
        q, k, v = qkv.unbind(2)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, length, width))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Embedding, blocks, and next-token logits.

    Args:
        tokens: size of the vocabulary. width, heads: of each block. blocks: number of blocks.
    """

    def __init__(self, tokens: int = 256, width: int = 256, heads: int = 4, blocks: int = 2):
        super().__init__()
        self.embed = nn.Embedding(tokens, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, tokens)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (n, length) to logits (n, tokens, length)."""
        return self.head(self.norm(self.blocks(self.embed(x)))).transpose(1, 2)


def images(batch: int = 128, depth: int = 32) -> tuple[Callable[[], nn.Module], Tensor, Tensor]:
    """Return what makes the network, and a batch: images and classes."""
    return partial(ResNet, depth), torch.randn(batch, 3, 32, 32), torch.arange(batch) % 10


def text(batch: int = 32, length: int = 64, **sizes: int) -> tuple[Callable[[], nn.Module], Tensor, Tensor]:
    """Return what makes the network, and a batch: tokens, and those that follow them."""
    tokens = torch.randint(256, (batch, length + 1))
    return partial(Transformer, **sizes), tokens[:, :-1], tokens[:, 1:]


NETWORKS: dict[str, Callable[[], tuple[Callable[[], nn.Module], Tensor, Tensor]]] = {
    "ResNet-32": images,
    "Transformer": text,
}


def training(repetitions: int = 31, networks: dict[str, Any] = NETWORKS) -> dict[str, Any]:
    """Time training steps, rows for each network, sparsity and method.

    "gradients a step" counts backward passes, by a hook on the network's parameters. "throughput" is that of the
    method over SGD's, the median over repetitions of the ratios of steps done next to each other, with a 95% interval
    for the true median ("low", "high"); "ratios" has them all. "processors" is the same of processors' time, without
    the interval: other work on the machine disturbs it less.
    """
    rows: list[dict[str, Any]] = []
    methods = [method for method in METHODS if method != FUSED or not compiled()]
    for name, network in networks.items():
        for sparsity in (0.0, 0.9):
            torch.manual_seed(0)
            make, x, y = network()
            counts: dict[str, list[int]] = {method: [0] for method in methods}
            steps = {method: _step(method, make(), sparsity, x, y, counts[method]) for method in methods}
            table = side_by_side(repetitions, steps)
            for method in methods:
                pairs = list(zip(table["SGD"], table[method], strict=True))
                ratios = [a / b for (a, _), (b, _) in pairs]
                low, middle, high = median_interval(ratios)
                rows.append(
                    {
                        "network": name,
                        "sparsity": sparsity,
                        "method": method,
                        "gradients a step": counts[method][0] / (repetitions + 1),
                        "ms": round(1e3 * statistics.median(a for a, _ in table[method]), 2),
                        "throughput": round(middle, 4),
                        "low": round(low, 4),
                        "high": round(high, 4),
                        "processors": round(statistics.median(a / b for (_, a), (_, b) in pairs), 4),
                        "ratios": [round(ratio, 4) for ratio in ratios],
                    }
                )
    return {"machine": machine(), "repetitions": repetitions, "fused": compiled() or "compiled", "rows": rows}


def _step(method: str, model: nn.Module, sparsity: float, x: Tensor, y: Tensor, count: list[int]) -> Callable[[], None]:
    """Return a training step of a network, masked where it is to be sparse; it counts its backward passes."""
    base = sgd(model.parameters(), weight_decay=5e-4)
    optimizer: Any = base
    if method != "SGD":
        optimizer = SAM(base, rho=RHO) if method == "SAM" else S2SAM(base, rho=RHO, fused=method == FUSED)
    if sparsity:
        RandomMask(model, sparsity).attach(optimizer)

    def counted(parameter: Tensor) -> None:
        del parameter
        count[0] += 1

    next(model.parameters()).register_post_accumulate_grad_hook(counted)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    def step() -> None:
        optimizer.step(closure)

    return step
