"""Small networks, loops and closures for the contract tests."""

import io

import torch
from optim_support import BASES, bits

from s2sam import S2SAM


def network(seed=0, dtype=torch.float32, batchnorm=False):
    """A small network, its data, and a loss function of the step."""
    generator = torch.Generator().manual_seed(seed)
    layers = [torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)]
    if batchnorm:
        layers.insert(1, torch.nn.BatchNorm1d(8))
    model = torch.nn.Sequential(*layers).to(dtype)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64) / 2)
    x = torch.randn(64, 10, 4, generator=generator, dtype=dtype)
    y = torch.randint(3, (64, 10), generator=generator)
    return model, lambda t: torch.nn.functional.cross_entropy(model(x[t % 64]), y[t % 64])


def train(opt, loss, steps, start=0):
    """Run the documented loop."""
    for t in range(start, start + steps):
        with opt.perturbed():
            loss(t).backward()
        opt.step()
        opt.zero_grad()


def sgd(parameters, wrap=S2SAM, rho=0.1, **options):
    return wrap(torch.optim.SGD(parameters, **{"lr": 0.1, **options}), rho=rho)


def closure_of(opt, loss, log=None):
    def closure():
        opt.zero_grad()
        if log is not None:
            log.append("closure")
        value = loss(0)
        value.backward()
        return value

    return closure


def stepped(rho=0.1, dtype=torch.float32, **options):
    """A network after one step, so that there is a direction."""
    model, loss = network(dtype=dtype)
    opt = S2SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), rho=rho, **options)
    train(opt, loss, 1)
    return model, loss, opt


def make(base="momentum", wrap=S2SAM, dtype=torch.float32, **options):
    model, loss = network(dtype=dtype)
    kind, _, settings = BASES[base]
    return model, loss, wrap(kind(model.parameters(), **settings), **{"rho": 0.1, **options})


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def attached():
    model, loss = network(batchnorm=True)
    opt = S2SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.3)
    return model, loss, opt, opt.attach(model)


def on_threads(**options):
    """Weights and norm after three steps of a tensor that threads share, for one thread, two and three: a set."""
    before, seen = torch.get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            generator = torch.Generator().manual_seed(0)
            p = torch.nn.Parameter(torch.randn(300_001, generator=generator))
            opt = S2SAM(torch.optim.SGD([p], lr=0.1, fused=True), rho=0.3, **options)
            for _ in range(3):
                p.grad = torch.randn(300_001, generator=generator)
                opt.perturb()
                opt.step()
            seen.add((tuple(bits([p])), opt._norm.of([opt.state[p]["ascent"]]).item()))
    finally:
        torch.set_num_threads(before)
    return seen
