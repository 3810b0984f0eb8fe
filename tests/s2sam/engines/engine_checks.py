"""The problem that every engine trains, the plain loop, and how far rounding may take an engine away from it."""

from functools import cache

import pytest
import torch
from torch import nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import get_state_dict

from s2sam import S2SAM, SAM

STEPS, BATCH, RHO = 12, 8, 0.2
BASES = {
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, eps=1e-3),
}


class Net(nn.Module):
    """Rows of 7 and 3 and a parameter of one entry: over two processes uneven shards, and one that is empty."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh())
        self.head = nn.Linear(6, 3)
        self.gain = nn.Parameter(torch.ones(1))
        self.to(dtype)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64) / 2)

    def forward(self, x):
        return self.head(self.body(x)) * self.gain


@cache
def data(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(STEPS, BATCH, 5, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.randint(3, (STEPS, BATCH), generator=generator)


def loss_of(model, t, rows=slice(None), dtype=torch.float64):
    x, y = data(dtype)
    return nn.functional.cross_entropy(model(x[t][rows]), y[t][rows])


def build(parameters, base="momentum", wrap=S2SAM, **options):
    return wrap(BASES[base](parameters), **{"rho": RHO, **options})


def members(opt):
    """Return the optimizer's parameters; a module under FSDP2 may show its gathered copies instead."""
    return [p for group in opt.param_groups for p in group["params"]]


def vector(tensors):
    """Return all entries as one vector; of sharded tensors the whole."""
    whole = [t.full_tensor() if hasattr(t, "full_tensor") else t for t in tensors]
    return torch.cat([t.detach().reshape(-1) for t in whole]).clone()


def weights(opt):
    return vector(members(opt))


def directions(opt):
    return vector(map(opt.direction, members(opt)))


def one_step(opt, evaluate):
    """The documented loop of S2SAM, or of SAM; `evaluate` leaves the gradient."""
    if isinstance(opt, SAM):

        def closure():
            opt.zero_grad()
            evaluate()

        opt.step(closure)
    else:
        with opt.perturbed():
            evaluate()
        opt.step()
    opt.zero_grad()


def plain(base="momentum", steps=STEPS, kick=None, dtype=torch.float64, **options):
    """The documented loop in one process; `kick` = (time, vector, "w" or "g") is added there. Returns w_0 ... w_T."""
    model = Net(dtype)
    opt = build(model.parameters(), base, **options)
    path = [weights(opt)]

    def kicked(tensors):
        with torch.no_grad():
            for p, piece in zip(tensors, kick[1].split([p.numel() for p in members(opt)]), strict=True):
                p.add_(piece.view_as(p))

    for t in range(steps):
        if kick and kick[::2] == (t, "w"):
            kicked(members(opt))

        def evaluate(t=t):
            loss_of(model, t, dtype=dtype).backward()
            if kick and kick[::2] == (t, "g"):
                kicked([p.grad for p in members(opt)])

        one_step(opt, evaluate)
        path.append(weights(opt))
    return path


@cache
def reference(base="momentum", **options):
    """The path of one process, and how far rounding in float64 may take another order of the same sums away from it.

    A step computes each entry of a gradient by fewer than 128 roundings (sums over 5, 7 and 6 inputs and 8 examples,
    forward and back, three layers, two processes) and the rest of the step by fewer than 64, on numbers of size at most
    S, the largest entry met (at least 1: tanh and probabilities). An error of w or of g made at one time grows later by
    at most A, measured by kicking the loop at every time: T 192 eps S A; T 320 eps S A for SAM, with two gradients.
    """
    path = plain(base, **options)
    generator, size, growth = torch.Generator().manual_seed(2), 1e-7, 1.0
    for t in range(STEPS):
        for what in "wg":
            kick = torch.randn(path[0].shape, generator=generator, dtype=torch.float64)
            moved = plain(base, kick=(t, size * kick / kick.norm(), what), **options)
            growth = max(growth, max((a - b).abs().max().item() for a, b in zip(path, moved, strict=True)) / size)
    scale = max(1.0, max(w.abs().max().item() for w in path))
    return path, STEPS * (320 if options.get("wrap") is SAM else 192) * 2.0**-53 * scale * growth


def largest_difference(path, base="momentum", **options):
    expected, _ = reference(base, **options)
    assert len(path) == len(expected)
    return max((a - b).abs().max().item() for a, b in zip(path, expected, strict=True))


def assert_equals_one_process(path, base="momentum", **options):
    """All along the path; and the path goes somewhere, and is not the base optimizer's."""
    expected, allowed = reference(base, **options)
    error = largest_difference(path, base, **options)
    assert error <= allowed, f"off by {error:.3g} > {allowed:.3g}"
    assert (expected[-1] - expected[0]).abs().max() > 1e6 * allowed
    without = plain(base, **{**options, "rho": 0.0})
    assert (expected[-1] - without[-1]).abs().max() > 1e6 * allowed


def states(opt, model):
    """Return every tensor of the optimizer's state, whole, by parameter and slot."""
    found = {}
    for name, p in model.named_parameters():
        for slot, value in opt.state[p].items():
            found[f"{name} {slot}"] = value.full_tensor() if hasattr(value, "full_tensor") else value.clone()
    return found


def save_single(folder):
    """One process trains half the way and leaves a distributed checkpoint."""
    model = Net()
    opt = build(model.parameters(), "adamw")
    train(model, opt, 0, STEPS // 2)
    parameters, optimizer = get_state_dict(model, opt)
    with pytest.warns(UserWarning, match="assuming the intent is to save in a single process"):
        checkpoint.save({"model": parameters, "optimizer": optimizer}, checkpoint_id=folder, no_dist=True)


def train(model, opt, start, stop, rows=slice(None)):
    """The documented loop; returns the weights after each step."""
    path = []
    for t in range(start, stop):
        one_step(opt, lambda t=t: loss_of(model, t, rows).backward())
        path.append(weights(opt))
    return path
