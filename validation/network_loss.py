"""The loss of a network on given images as a problem: a function of one flat weight vector, in float64."""

import torch
from torch import Tensor, nn


class NetworkLoss:
    """The mean cross-entropy of a network as a function of one flat weight vector, with the interface of a problem.

    A batch of one instance: w is (1, d). Nothing is known of it but the data; `L` is nan until estimated.

    Args:
        model: the network, converted to dtype. x, y: images (n, ...) and labels (n,).
        name: for rows.
        dtype: of weights and images.
    """

    samples, size, w_star, certificate = 1, 1, None, 0.0

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor, name: str, dtype: torch.dtype = torch.float64):
        self.model, self.x, self.y, self.name = model.to(dtype), x.to(dtype), y, name
        self.shapes = {k: p.shape for k, p in model.named_parameters()}
        zero = torch.zeros(1, dtype=torch.float64)
        self.L, self.mu, self.pl, self.sigma2, self.f_noise = zero * torch.nan, zero - torch.inf, zero, zero, zero + 1.0
        self.dim = sum(s.numel() for s in self.shapes.values())
        self.width = len(y)  # the loss is a mean over the images: its longest sum

    def start(self) -> Tensor:
        """Return the network's own initial weights, (1, d)."""
        return torch.cat([p.detach().reshape(-1) for p in self.model.parameters()])[None].clone()

    def take(self, index: Tensor) -> "NetworkLoss":
        """Return the problem itself: there is one instance."""
        del index
        return self

    def logits(self, w: Tensor, x: Tensor) -> Tensor:
        """Return the outputs of the network with weights w, (1, d), on images x, (n, ...) -> (n, classes)."""
        sizes = [s.numel() for s in self.shapes.values()]
        parts = {k: v.view(s) for (k, s), v in zip(self.shapes.items(), w[0].split(sizes), strict=True)}
        return torch.func.functional_call(self.model, parts, (x,))

    def f(self, w: Tensor) -> Tensor:
        """Return the loss at w, (1, d) -> (1,)."""
        return nn.functional.cross_entropy(self.logits(w, self.x), self.y)[None]

    def f_given(self, w: Tensor, gradient: Tensor) -> Tensor:
        """Return the loss at w, (1,); the gradient does not help."""
        del gradient
        return self.f(w)

    def f_size(self, w: Tensor) -> Tensor:
        """Return the size of the numbers whose rounding f carries: the loss itself and the logits behind it, (1,)."""
        return self.f(w) + 1

    def grad(self, w: Tensor) -> Tensor:
        """Return the gradient at w, (1, d) -> (1, d)."""
        w = w.detach().clone().requires_grad_(True)
        return torch.autograd.grad(self.f(w).sum(), w)[0]
