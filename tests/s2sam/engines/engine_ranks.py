"""What each of two processes does for the tests of DDP and FSDP2, in a module of its own so that both can import it."""

import copy
import itertools
import os
import warnings
from contextlib import nullcontext

import torch
from engine_checks import (
    STEPS,
    Net,
    build,
    directions,
    loss_of,
    members,
    states,
    train,
    weights,
)
from torch import distributed as dist
from torch import nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

import s2sam.wrapper
from s2sam import SAM
from s2sam.rules import ascent, global_norm


def mine(rank):
    """The rows of a batch that this process sees."""
    return slice(rank, None, 2)


def sharded(mesh=None, dtype=torch.float64, **options):
    """The network under FSDP2, three units and the root."""
    model, mesh = Net(dtype), mesh or init_device_mesh("cpu", (2,))
    for unit in (model.body, model.head, model):
        fully_shard(unit, mesh=mesh, **options)
    return model


def parallel():
    return DistributedDataParallel(Net())


def looped(model, rank, base="momentum", attach=False, evaluate=False, **options):
    """The documented loop, or an attached one; with `evaluate` forwards without grad between those that train."""
    opt, kept = build(model.parameters(), base, **options), []
    path, handle = [weights(opt)], opt.attach(model) if attach else None

    def look(t):
        model.eval()
        with torch.no_grad():
            loss = loss_of(model, t, mine(rank))
        model.train()
        return loss

    for t in range(STEPS):
        if evaluate:
            at_w = look(t)
            with nullcontext() if attach else opt.perturbed():
                loss_of(model, t, mine(rank))  # and no backward
            kept.append(torch.equal(look(t), at_w))
        with nullcontext() if attach else opt.perturbed():
            loss_of(model, t, mine(rank)).backward()
        opt.step()
        opt.zero_grad()
        path.append(weights(opt))
    if handle:
        handle.remove()
    return {"path": path, "direction": directions(opt), "kept": all(kept)}


def by_closure(model, rank):
    """Exact SAM, two evaluations a step, both averaged over the processes."""
    opt = build(model.parameters(), wrap=SAM)
    path = [weights(opt), *train(model, opt, 0, STEPS, mine(rank))]
    return {"path": path, "direction": path[-1]}


def accumulated(model, rank, base="momentum"):
    """Two micro-batches a step; only the second is averaged over the processes."""
    opt, positions = build(model.parameters(), base), []
    path = [weights(opt)]
    for t in range(STEPS):
        for micro in range(2):
            last = micro == 1
            if hasattr(model, "set_requires_gradient_sync"):
                model.set_requires_gradient_sync(last)
                model.set_reshard_after_backward(last)
            rows = slice(2 * rank + micro, None, 4)
            with nullcontext() if last or not hasattr(model, "no_sync") else model.no_sync(), opt.perturbed():
                positions.append(weights(opt))
                (loss_of(model, t, rows) / 2).backward()
        opt.step()
        opt.zero_grad()
        path.append(weights(opt))
    same = all(torch.equal(a, b) for a, b in zip(positions[::2], positions[1::2], strict=True))
    return {"path": path, "direction": directions(opt), "same y": same}


def scaled(model, rank):
    """A gradient scaler; one process meets an inf at some steps, so all skip them and try again."""
    opt, scaler = build(model.parameters()), torch.amp.GradScaler("cpu", init_scale=256.0)
    path, scales = [weights(opt)], []
    for t in range(STEPS):
        for spoil in (True, False) if t in (0, 4, 5) else (False,):
            with opt.perturbed():
                scaler.scale(loss_of(model, t, mine(rank))).backward()
            if spoil and rank == 1:
                here = members(opt)[1].grad
                (here.to_local() if isinstance(here, DTensor) else here).view(-1)[0] = torch.inf
            scaler.step(opt)
            scaler.update()
            opt.zero_grad()
            scales.append(scaler.get_scale())
        path.append(weights(opt))
    return {"path": path, "direction": directions(opt), "scales": scales}


def flattened():
    """What the older FullyShardedDataParallel makes of parameters, whole or in views."""
    found = []
    for views in (True, False):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is older
            model = FullyShardedDataParallel(Net(), device_id=torch.device("cpu"), use_orig_params=views)
        try:
            build(model.parameters())
        except ValueError as error:
            found.append(str(error))
    return found


def watched(model, rows):
    """The norm of y - w over all shards, each step, and what `diagnostics()` reads."""
    opt, found, readings = build(model.parameters()), [], []
    with opt.diagnostics() as watch:
        for t in range(STEPS):
            w = weights(opt)
            with opt.perturbed():
                found.append((weights(opt) - w).norm())
                loss_of(model, t, rows).backward()
            opt.step()
            opt.zero_grad()
            reading = watch.read()
            readings.append(
                torch.tensor([reading.perturbation, reading.direction, reading.cosine], dtype=torch.float64)
            )
    return {"lengths": torch.stack(found), "readings": torch.stack(readings)}


def resumed(rank, folder, base):
    """Half the way, a distributed checkpoint, a fresh model and optimizer; and the run that was never interrupted."""
    model = sharded()
    opt = build(model.parameters(), base)
    train(model, opt, 0, STEPS // 2, mine(rank))
    parameters, optimizer = get_state_dict(model, opt)
    checkpoint.save({"model": parameters, "optimizer": optimizer}, checkpoint_id=f"{folder}/{base}")
    flat = get_optimizer_state_dict(model, opt, options=StateDictOptions(flatten_optimizer_state_dict=True))
    flat = copy.deepcopy(flat)  # its tensors are the optimizer's, which goes on

    def fresh():
        other = sharded()
        with torch.no_grad():
            for p in other.parameters():
                p.zero_()
        return other, build(other.parameters(), base, rho=0.0)

    other, again = fresh()
    parameters, optimizer = get_state_dict(other, again)
    checkpoint.load({"model": parameters, "optimizer": optimizer}, checkpoint_id=f"{folder}/{base}")
    set_state_dict(other, again, model_state_dict=parameters, optim_state_dict=optimizer)
    flattened, last = fresh()
    set_model_state_dict(flattened, parameters)
    path = train(other, again, STEPS // 2, STEPS, mine(rank))
    options = StateDictOptions(flatten_optimizer_state_dict=True)
    set_optimizer_state_dict(flattened, last, optim_state_dict=flat, options=options)
    on = train(model, opt, STEPS // 2, STEPS, mine(rank))
    expected = states(opt, model)
    train(flattened, last, STEPS // 2, STEPS, mine(rank))
    found = {"states": states(again, other), "flat": states(last, flattened)}
    return {"path": path, "expected path": on, "expected": expected, **found}


def resumed_by_file(rank, folder):
    """DDP: half the way, the usual checkpoint through a file, a fresh model and optimizer, and on."""
    model = parallel()
    opt = build(model.parameters())
    path = [weights(opt), *train(model, opt, 0, STEPS // 2, mine(rank))]
    torch.save({"model": model.state_dict(), "optimizer": opt.state_dict()}, f"{folder}/ddp{rank}.pt")
    saved = torch.load(f"{folder}/ddp{rank}.pt", weights_only=True)
    other = parallel()
    again = build(other.parameters(), rho=0.0)
    other.load_state_dict(saved["model"])
    again.load_state_dict(saved["optimizer"])
    return {"path": path + train(other, again, STEPS // 2, STEPS, mine(rank)), "direction": directions(again)}


def from_one_process(rank, folder):
    """Go on with the checkpoint that one process left."""
    model = sharded()
    opt = build(model.parameters(), "adamw", rho=0.0)
    parameters, optimizer = get_state_dict(model, opt)
    checkpoint.load({"model": parameters, "optimizer": optimizer}, checkpoint_id=f"{folder}/single")
    set_state_dict(model, opt, model_state_dict=parameters, optim_state_dict=optimizer)
    loaded = states(opt, model)
    return {"loaded": loaded, "path": train(model, opt, STEPS // 2, STEPS, mine(rank))}


def placements(dtype):
    """The norm of a list of tensors split in every way is the norm of the whole tensors."""
    mesh, flat = init_device_mesh("cpu", (1, 2)), init_device_mesh("cpu", (2,))
    generator = torch.Generator().manual_seed(3)
    whole = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in ((7, 3), (1,), (600,))]
    split = [
        distribute_tensor(whole[0], flat, [Shard(1)]),
        distribute_tensor(whole[1], mesh, [Replicate(), Shard(0)]),
        distribute_tensor(whole[2], flat, [Replicate()]),
        whole[2],
    ]
    parts = ascent(split, 0.5)
    return {
        "norm": global_norm(split),
        "expected": global_norm([*whole, whole[2]]),
        "ascent": global_norm(
            [DTensor.from_local(parts[0], flat, [Shard(1)], shape=(7, 3), stride=(3, 1)), *parts[2:]]
        ),
        "expected ascent": global_norm([e for i, e in enumerate(ascent([*whole, whole[2]], 0.5)) if i != 1]),
    }


def unsummed(rank):
    """Gradients that tensor parallelism left unsummed: the direction is their sum."""
    mesh = init_device_mesh("cpu", (2,))
    p = nn.Parameter(distribute_tensor(torch.ones(4, dtype=torch.float64), mesh, [Replicate()]))
    opt = build([p])
    here = torch.arange(4.0, dtype=torch.float64) + rank
    p.grad = DTensor.from_local(here, mesh, [Partial()])
    opt.step()
    return opt.direction(p).to_local().clone()


def stale(rank):
    """A backward after `perturbed()`: autograd must refuse it for tensors split without FSDP2 too."""
    mesh = init_device_mesh("cpu", (2,))
    p = nn.Parameter(distribute_tensor(torch.ones(4, dtype=torch.float64), mesh, [Shard(0)]))
    opt = build([p])
    p.square().sum().backward()
    opt.step()
    opt.zero_grad()
    with opt.perturbed():
        loss = p.square().sum()
    try:
        loss.backward()
    except RuntimeError as error:
        return str(error)
    return "no error"


def too_late(rank):
    """A backward after `perturbed()` under FSDP2, which gathers the parameters anew for it: at w."""
    model = sharded()
    opt = build(model.parameters())
    path = [weights(opt)]
    for t in range(STEPS):
        with opt.perturbed():
            loss = loss_of(model, t, mine(rank))
        loss.backward()
        opt.step()
        opt.zero_grad()
        path.append(weights(opt))
    return path


def inner_attachment():
    model = sharded()
    try:
        build(model.parameters()).attach(model.body)
    except ValueError as error:
        return str(error)
    return "no error"


def without_gathering_anew(rank, when):
    """The mutants: FSDP2 is not told that the shards moved, at the perturbation or at the restoration."""
    kept, calls = s2sam.wrapper.moved, itertools.count()
    s2sam.wrapper.moved = lambda parameters: kept(parameters) if next(calls) % 2 != when else None
    try:
        return looped(sharded(), rank, evaluate=True)
    finally:
        s2sam.wrapper.moved = kept


def unaveraged(rank):
    """The mutant of data parallelism: each process keeps its own gradient."""
    model = Net()
    opt = build(model.parameters())
    train(model, opt, 0, 2, mine(rank))
    return directions(opt)


def work(rank, folder):
    """Run every scenario and leave the results in `folder`."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = {
        "ddp": looped(parallel(), rank),
        "ddp attached": looped(parallel(), rank, attach=True, evaluate=True),
        "ddp sam": by_closure(parallel(), rank),
        "ddp accumulated": accumulated(parallel(), rank),
        "ddp resumed": resumed_by_file(rank, folder),
        "ddp unaveraged": unaveraged(rank),
        "fsdp": looped(sharded(), rank),
        "fsdp adamw": looped(sharded(), rank, "adamw"),
        "fsdp adaptive": looped(sharded(), rank, adaptive=True),
        "fsdp evaluated": looped(sharded(), rank, evaluate=True),
        "fsdp attached": looped(sharded(), rank, attach=True, evaluate=True),
        "fsdp kept gathered": looped(sharded(reshard_after_forward=False), rank, evaluate=True),
        "fsdp replicated": looped(sharded(init_device_mesh("cpu", (2, 1), mesh_dim_names=("copies", "shards"))), rank),
        "fsdp sam": by_closure(sharded(), rank),
        "fsdp scaled": scaled(sharded(), rank),
        "fsdp accumulated": accumulated(sharded(), rank),
        "fsdp old w": without_gathering_anew(rank, 0),
        "fsdp old y": without_gathering_anew(rank, 1),
        "fsdp watched": watched(sharded(), mine(rank)),
        "resumed momentum": resumed(rank, folder, "momentum"),
        "resumed adamw": resumed(rank, folder, "adamw"),
        "from one process": from_one_process(rank, folder),
        "placements": {str(dtype): placements(dtype) for dtype in (torch.float32, torch.float64)},
        "unsummed": unsummed(rank),
        "late backward": stale(rank),
        "too late": too_late(rank),
        "flattened": flattened(),
        "inner": inner_attachment(),
    }
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()
