"""What each of two processes does in `test_distributed.py`, in a module of its own so that a process can import it."""

import os

import torch
from method_table import METHODS, build
from sparse_checks import BASES, WRAPS, assert_masked, batch, masked_parameters, network
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

RUNS = ("rigl", "rigl-after", "set", "dsr", "mest", "mest-soft", "snip", "grasp", "lrr", "chex", "chase")


def data_of(rank, t):
    """The ranks' batches differ."""
    return batch(100 * (rank + 1) + t)


def reached(model, parallel, sparse, rank, steps=8):
    """Train on this rank's data with S2-SAM; return the first masks, what was reached, and how often masks moved."""
    sparse.prepare(parallel, [data_of(rank, -1)], nn.functional.cross_entropy)
    chosen = {n: m.clone() for n, m in sparse.masks.items()}
    opt = WRAPS["s2sam"](BASES["momentum"](parallel.parameters()))
    sparse.attach(opt)
    moves = 0
    for t in range(steps):
        before = {n: m.clone() for n, _, m in masked_parameters(model)}
        x, y = data_of(rank, t)
        with opt.perturbed():
            nn.functional.cross_entropy(parallel(x), y).backward()
        opt.step()
        opt.zero_grad()
        assert_masked(model, opt)
        if sparse.step == sparse.total_steps:
            sparse.next_round()
        moves += any(not torch.equal(before[n], m) for n, _, m in masked_parameters(model))
    masks = {n: m.clone() for n, _, m in masked_parameters(model)}
    weights = {n: p.detach().clone() for n, p in model.named_parameters()}
    return {"chosen": chosen, "masks": masks, "weights": weights, "moves": moves}


def train(name, rank, where="before", **changes):
    """One method under data parallelism, its controller made before or after wrapping, or on the wrapper itself."""
    model = network()
    if where == "before":
        sparse = build(name, model)
        parallel = DistributedDataParallel(model)
    else:
        parallel = DistributedDataParallel(model)
        sparse = build(name, model if where == "after" else parallel)
    for attribute, value in changes.items():
        setattr(sparse, attribute, value)
    return reached(model, parallel, sparse, rank, steps=0 if changes else 8)


def by_hand(rank, **changes):
    """An update of RigL where nobody has averaged the gradients: equal weights, each rank its own gradient."""
    model = network()
    sparse = build("rigl", model)
    for attribute, value in changes.items():
        setattr(sparse, attribute, value)
    x, y = data_of(rank, 0)
    nn.functional.cross_entropy(model(x), y).backward()
    before = [m.clone() for m in sparse.masks.values()]
    sparse.update()
    moves = sum(not torch.equal(a, b) for a, b in zip(before, sparse.masks.values(), strict=True))
    return {"masks": {n: m.clone() for n, m in sparse.masks.items()}, "moves": moves}


def corrected():
    """Rank 1's masks are spoilt; the broadcast of buffers before a forward pass brings rank 0's."""
    model = network()
    sparse = build("random", model)
    parallel = DistributedDataParallel(model)
    if dist.get_rank() == 1:
        for name, mask in sparse.masks.items():
            sparse._set(name, ~mask)
    parallel(batch(0)[0])
    return {"masks": {n: m.clone() for n, m in sparse.masks.items()}}


def work(rank, folder):
    """Run every scenario and leave the results in `folder`."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = {name: train(name, rank) for name in RUNS}
    results |= {f"rigl {where}": train("rigl", rank, where) for where in ("after", "wrapper")}
    results |= {f"{name} unreduced": train(name, rank, _reduce=lambda t: t) for name in ("snip", "grasp")}
    results |= {"by hand": by_hand(rank), "by hand unreduced": by_hand(rank, _reduce=lambda t: t)}
    results["corrected"] = corrected()
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


assert set(RUNS) <= METHODS.keys()
