"""A state machine: S2SAM under any sequence of events, beside a plain model of what it must hold.

The model is three arrays (w, the momentum, the direction or the held perturbation) and a flag, in numpy's arithmetic
in float64. The path is compared within rounding, and everything that must hold to the last bit is compared bit for bit.
"""

import numpy as np
import torch
from hypothesis.stateful import (
    RuleBasedStateMachine,
)
from optim_support import bits

from s2sam import S2SAM

MOMENTUM, CENTRE = 0.5, np.array([1.0, -2.0, 0.5, 3.0, -1.0])


class Model(torch.nn.Module):
    """f(w) = ||w - c||^2/2 over the parameters that take part."""

    def __init__(self, size):
        super().__init__()
        self.parts = torch.nn.ParameterList([torch.zeros(2, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
        for _ in range(size - 2):
            self.grow()

    def grow(self):
        self.parts.append(torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)))

    def forward(self):
        w = torch.cat([p.view(-1) for p in self.parts])
        return (w - torch.from_numpy(CENTRE[: len(w)])).square().sum() / 2


class Careful(torch.optim.SGD):
    """SGD that leaves out a step with a gradient that is not finite: it would not survive it, its own affair."""

    def step(self, closure=None):
        if all(p.grad.isfinite().all() for g in self.param_groups for p in g["params"] if p.grad is not None):
            super().step()


class Reference(RuleBasedStateMachine):
    """The plain model, beside the optimizer; `test_machine.py` has the events."""

    kind = S2SAM

    def __init__(self):
        super().__init__()
        self.model = Model(2)
        self.opt = self.kind(Careful(self.model.parameters(), lr=0.25, momentum=MOMENTUM), rho=0.5)
        self.scheduler = self.handle = None
        self.w, self.buf, self.lr = np.zeros(3), None, 0.25
        self.rho = [0.5]
        self.sizes = [3]
        self.d = np.zeros(3)  # g_{t-1}, or the perturbation itself
        self.held = None  # the radii of the perturbation held, None when d is a gradient
        self.lifted = False
        self.skipped = 0
        self.fixed_y = None

    # The model's side.
    def perturbation(self):
        if self.held is not None:
            return self.d * self.spread([r / h if h else 1.0 for r, h in zip(self.rho, self.held, strict=True)])
        norm = np.linalg.norm(self.d)
        return self.d / norm * self.spread(self.rho) if norm else self.d

    def spread(self, values):
        return np.repeat(values, self.sizes)

    def lift(self):
        """Model and optimizer go to y; a retry at unchanged radii must see the very same y."""
        if not self.lifted:
            same = self.held == self.rho
            self.d, self.held, self.lifted = self.perturbation(), list(self.rho), True
            y = bits(self.model.parameters())
            assert not same or self.fixed_y is None or y == self.fixed_y
            self.fixed_y = y
        assert self.opt.is_perturbed

    def lower(self):
        self.lifted = False
        assert not self.opt.is_perturbed

    def stepped(self, g):
        """The model takes a step with gradient g (None: no gradient)."""
        self.lower()
        if g is None:
            return
        self.d, self.held, self.fixed_y = g, None, None
        known = 0 if self.buf is None else len(self.buf)
        old = np.zeros(0) if self.buf is None else self.buf
        self.buf = np.concatenate([MOMENTUM * old + g[:known], g[known:]])
        self.w = self.w - self.lr * self.buf

    def backward(self):
        self.opt.zero_grad()
        self.model().backward()
        return np.concatenate([p.grad.numpy().reshape(-1) for p in self.model.parameters()])

    def slack(self):
        # At most 50 steps of 64 roundings on entries below 32; the map contracts (lr <= 1/4, momentum 1/2), but for the
        # direction, which can turn an error by 1/||g||: ||g|| > 1e-3 unless g is 0 exactly, since ||y - w|| >= 1/4.
        return 50 * 64 * 2.0**-53 * 32 * 1e3
