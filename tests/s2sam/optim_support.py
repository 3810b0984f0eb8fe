"""Oracles for the optimizers: a literal numpy twin, the problem both run on, and the checks that mutants must fail.

Nothing of s2sam is used in the twin: base updates are the textbook formulas (momentum: Sutskever et al. 2013, as torch
documents it; Adam: Kingma & Ba 2015, algorithm 1; AdamW: Loshchilov & Hutter 2019, algorithm 2).
"""

import numpy as np
import torch

EPS = 2.0**-53
SHAPES = ((2, 2), (3,), (), (1, 4))
SIZES = [int(np.prod(shape)) for shape in SHAPES]
DIM = sum(SIZES)


class Problem:
    """f_t(w) = w.Hw/2 - sum cos(w) - b_t.w in R^12: smooth, not convex, a new b_t each step so that directions turn."""

    def __init__(self, seed=0, steps=30):
        rng = np.random.default_rng(seed)
        a = rng.standard_normal((DIM, DIM))
        self.H = a @ a.T / DIM
        self.b = rng.standard_normal((steps, DIM))
        self.w0 = rng.standard_normal(DIM)

    def grad(self, w, t):
        return self.H @ w + np.sin(w) - self.b[t]

    def loss(self, parameters, t):
        w = torch.cat([p.reshape(-1) for p in parameters])
        H, b = torch.from_numpy(self.H).to(w), torch.from_numpy(self.b[t]).to(w)
        return w @ (H @ w) / 2 - w.cos().sum() - b @ w

    def parameters(self, dtype=torch.float64):
        pieces = np.split(self.w0, np.cumsum(SIZES)[:-1])
        return [
            torch.nn.Parameter(torch.tensor(x.reshape(s), dtype=dtype)) for x, s in zip(pieces, SHAPES, strict=True)
        ]


def vector(parameters):
    return np.concatenate([p.detach().double().numpy().reshape(-1) for p in parameters])


def sgd_update(lr, momentum=0.0, nesterov=False, weight_decay=0.0, maximize=False):
    buf = None

    def update(w, g, t):
        nonlocal buf
        g = (-g if maximize else g) + weight_decay * w
        if momentum:
            buf = g if buf is None else momentum * buf + g
            g = g + momentum * buf if nesterov else buf
        return w - lr * g

    return update


def adam_update(lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, maximize=False, decoupled=False):
    m, v = 0.0, 0.0

    def update(w, g, t):
        nonlocal m, v
        g = -g if maximize else g
        if decoupled:
            w = w - lr * weight_decay * w
        else:
            g = g + weight_decay * w
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        m_hat, v_hat = m / (1 - betas[0] ** (t + 1)), v / (1 - betas[1] ** (t + 1))
        return w - lr * m_hat / (np.sqrt(v_hat) + eps)

    return update


def adamw_update(lr, weight_decay=0.01, **options):
    return adam_update(lr, weight_decay=weight_decay, decoupled=True, **options)


BASES = {
    "sgd": (torch.optim.SGD, sgd_update, {"lr": 0.1}),
    "momentum": (torch.optim.SGD, sgd_update, {"lr": 0.05, "momentum": 0.9}),
    "decay": (torch.optim.SGD, sgd_update, {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}),
    "nesterov": (torch.optim.SGD, sgd_update, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "maximize": (torch.optim.SGD, sgd_update, {"lr": 0.01, "momentum": 0.5, "maximize": True}),
    "adam": (torch.optim.Adam, adam_update, {"lr": 0.05, "weight_decay": 0.1}),
    "adam-max": (torch.optim.Adam, adam_update, {"lr": 0.05, "maximize": True}),
    "adamw": (torch.optim.AdamW, adamw_update, {"lr": 0.05, "weight_decay": 0.1}),
}


def twin(method, base, problem, rho, adaptive=False, kick=None):
    """Return the list of w_t and the list of y_t; `kick` = (t, vector) is added to w_t."""
    _, make, options = BASES[base]
    update, w, g = make(**options), problem.w0, np.zeros(DIM)
    ws, ys = [], []
    for t in range(len(problem.b)):
        if kick and kick[0] == t:
            w = w + kick[1]
        ws.append(w)
        if method == "sam":
            g = problem.grad(w, t)
        u = w * g if adaptive else g
        length = np.sqrt((u * u).sum())
        p = np.zeros(DIM) if length == 0 or method == "base" else rho * (w * u if adaptive else u) / length
        ys.append(w - p if options.get("maximize") else w + p)
        g = problem.grad(ys[-1], t)
        w = update(w, g, t)
    return [*ws, w], ys


def tolerance(method, base, problem, rho, adaptive=False, eps=EPS):
    """Return how far rounding in arithmetic of unit roundoff eps can take two runs of the same method apart.

    Each of the T steps does fewer than 64 roundings per entry on numbers of size at most S (the largest entry met), and
    an error made at one time grows later by at most A, measured by kicking the twin at every time along its own
    gradient and along a random direction: T 64 eps S A. Errors in a momentum buffer reach w multiplied by lr < 1.
    """
    ws, ys = twin(method, base, problem, rho, adaptive)
    steps, rng = len(ys), np.random.default_rng(1)
    growth = 1.0
    for t in range(steps):
        for direction in (problem.grad(ys[t], t), rng.standard_normal(DIM)):
            size = 1e-7
            moved, _ = twin(method, base, problem, rho, adaptive, (t, size * direction / np.linalg.norm(direction)))
            growth = max(growth, max(np.abs(a - b).max() for a, b in zip(ws[t:], moved[t:], strict=True)) / size)
    scale = max(np.abs(x).max() for x in ws + ys)
    return steps * 64 * eps * scale * growth


def run(make, problem, form="loop", dtype=torch.float64, set_to_none=True, groups=None):
    """Run an optimizer along the problem; return the w_t, the y_t, and the optimizer.

    Args:
        make: parameters or groups -> optimizer.
        form: "loop", "closure" or "attach" (hooks on a module that holds the parameters).
    """
    parameters = problem.parameters(dtype)
    opt = make(parameters if groups is None else groups(parameters))
    ws, ys = [vector(parameters)], []
    model = Holder(parameters, problem)
    handle = opt.attach(model) if form == "attach" else None
    for t in range(len(problem.b)):
        if form == "closure":
            seen = []

            def closure(t=t, seen=seen):
                opt.zero_grad(set_to_none=set_to_none)
                seen.append(vector(parameters))
                loss = problem.loss(parameters, t)
                loss.backward()
                return loss

            opt.step(closure)
            ys.append(seen[-1])
        elif form == "attach":
            loss = model(t)
            ys.append(vector(parameters))
            loss.backward()
            opt.step()
        else:
            with opt.perturbed():
                ys.append(vector(parameters))
                problem.loss(parameters, t).backward()
            opt.step()
        ws.append(vector(parameters))
        opt.zero_grad(set_to_none=set_to_none)
    if handle:
        handle.remove()
    return ws, ys, opt


class Holder(torch.nn.Module):
    def __init__(self, parameters, problem):
        super().__init__()
        self.held = torch.nn.ParameterList(parameters)
        self.problem = problem

    def forward(self, t):
        return self.problem.loss(list(self.held), t)


def assert_same_path(paths, expected, tol):
    """Every w_t and every y_t agree to tol."""
    for name, got, want in zip("wy", paths[:2], expected[:2], strict=True):
        assert len(got) == len(want)
        for t, (a, b) in enumerate(zip(got, want, strict=True)):
            error = np.abs(a - b).max()
            assert error <= tol, f"{name}_{t} is off by {error:.3g} > {tol:.3g}"


def assert_follows_twin(wrap, method, base, *, rho=0.1, adaptive=False, form="loop", seed=0, **options):
    """The optimizer that `wrap` builds around the base follows the twin, all along."""
    problem = Problem(seed)
    kind, _, settings = BASES[base]
    paths = run(lambda ps: wrap(kind(ps, **settings, **options), rho=rho, adaptive=adaptive), problem, form)
    assert_same_path(paths, twin(method, base, problem, rho, adaptive), tolerance(method, base, problem, rho, adaptive))


def bits(tensors):
    """Return the bytes of tensors, so that == means bit for bit (0.0 and -0.0 differ, nan equals itself)."""
    flat = [t.detach().cpu().clone(memory_format=torch.contiguous_format).view(-1) for t in tensors]
    return [t.view(torch.uint8).numpy().tobytes() for t in flat]


def assert_returns_bit_for_bit(wrap, dtype=torch.float32, steps=5):
    """Perturbing moves the weights, and leaving brings every bit back."""
    problem = Problem(steps=steps)
    parameters = problem.parameters(dtype)
    opt = wrap(torch.optim.SGD(parameters, lr=0.1), rho=0.3)
    moved = 0
    for t in range(steps):
        before = bits(parameters)
        with opt.perturbed():
            moved += bits(parameters) != before
            problem.loss(parameters, t).backward()
        assert bits(parameters) == before
        opt.step()
        opt.zero_grad()
    assert moved == steps - 1
