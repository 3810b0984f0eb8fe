"""An outside oracle: `pytorch_optimizer.SAM`, another's implementation of SAM and ASAM, on a small network."""

import numpy as np
import pytest
import pytorch_optimizer
import torch
from optim_nets import network
from optim_support import vector

from s2sam import SAM

RHO, STEPS = 0.1, 20
BASES = {"sgd": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}), "adamw": (torch.optim.AdamW, {"lr": 0.01})}


def ours(base, adaptive, rho=RHO):
    model, loss = network(dtype=torch.float64)
    kind, options = BASES[base]
    opt = SAM(kind(model.parameters(), **options), rho=rho, adaptive=adaptive)
    path, norms = [vector(model.parameters())], []
    for t in range(STEPS):

        def closure(t=t):
            opt.zero_grad()
            value = loss(t)
            value.backward()
            g, w = vector([p.grad for p in model.parameters()]), vector(model.parameters())
            norms.append(np.linalg.norm(g * w if adaptive else g))
            return value

        opt.step(closure)
        path.append(vector(model.parameters()))
    return np.array(path), min(norms)


def theirs(base, adaptive):
    model, loss = network(dtype=torch.float64)
    kind, options = BASES[base]
    opt = pytorch_optimizer.SAM(model.parameters(), kind, rho=RHO, adaptive=adaptive, **options)
    path = [vector(model.parameters())]
    for t in range(STEPS):

        def closure(t=t):
            loss(t).backward()

        opt.zero_grad()
        closure()
        opt.step(closure)
        path.append(vector(model.parameters()))
    return np.array(path)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("base", BASES)
def test_sam_is_pytorch_optimizers_sam(base, adaptive):
    path, smallest = ours(base, adaptive)
    # Their denominator has an eps and is accumulated in float32 (one rounding for each of four tensors, the root, the
    # quotient), which is a radius of rho (1 + shrink) with |shrink| as below. How far the path moves with the radius is
    # measured; twice that covers radii that change from step to step in either direction.
    shrink = 1e-12 / smallest + 8 * 2.0**-24
    nudged, _ = ours(base, adaptive, RHO * (1 - 1e-6))
    sensitivity = np.abs(nudged - path).max() / 1e-6
    rounding = STEPS * 64 * 2.0**-53 * np.abs(path).max() * 100  # errors grow by less than 100 in 20 steps
    assert np.abs(theirs(base, adaptive) - path).max() <= 2 * sensitivity * shrink + rounding
    assert sensitivity * RHO > 1e-4  # a path without ascent would be far away
