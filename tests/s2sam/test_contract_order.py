"""The order inside `step()`, hooks, closures, gradient hooks and schedulers."""

import contextlib
import warnings

import numpy as np
import pytest
import torch
from optim_nets import closure_of, network, sgd, train
from optim_support import Problem, assert_follows_twin, bits, run, vector
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, StepLR
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from s2sam import S2SAM, SAM

WRAPS = [S2SAM, SAM]


@pytest.mark.parametrize("wrap", WRAPS)
def test_foreach_nesterov_overwrites_the_gradient_and_the_direction_is_still_the_gradient(wrap):
    problem = Problem(steps=2)
    parameters = problem.parameters()
    torch_overwrites = torch.optim.SGD(parameters, lr=0.0, momentum=0.9, nesterov=True, foreach=True)
    opt = wrap(torch_overwrites, rho=0.1)
    given = []
    opt.register_gradient_hook(lambda: given.append(vector([p.grad for p in parameters])))
    opt.step(closure_of(opt, lambda t: problem.loss(parameters, t)))
    assert not np.array_equal(vector([p.grad for p in parameters]), given[-1])  # torch's doing: the reason for the rule
    if wrap is S2SAM:
        assert np.array_equal(vector([opt.direction(p) for p in parameters]), given[-1])
    assert_follows_twin(wrap, wrap.__name__.lower(), "nesterov", form="closure", foreach=True)


@pytest.mark.parametrize(
    "kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.Rprop]
)
def test_a_base_that_initialises_lazily_finds_its_own_empty_state(kind):
    """For a parameter that appears late too: its first gradient comes when the others have a state."""
    model, loss = network()
    opt = S2SAM(kind(model.parameters()), rho=0.1)
    model[2].requires_grad_(False)
    train(opt, loss, 2)
    late = list(model[2].parameters())
    assert all("ascent" not in opt.state.get(p, {}) for p in late)
    model[2].requires_grad_(True)
    train(opt, loss, 2, start=2)
    reference = kind([torch.nn.Parameter(torch.ones(2))])
    reference.param_groups[0]["params"][0].grad = torch.ones(2)
    reference.step()
    (slots,) = reference.state.values()
    assert all(opt.state[p].keys() == slots.keys() | {"ascent"} for p in model.parameters())


@pytest.mark.parametrize("wrap", WRAPS)
def test_every_hook_fires_once_and_in_order(wrap):
    model, loss = network()
    opt = sgd(model.parameters(), wrap)
    log = []
    train_first = closure_of(opt, loss)
    opt.step(train_first)

    def record(name):
        def hook(optimizer, args, kwargs):
            assert optimizer is opt
            assert not opt.is_perturbed
            log.append(name)

        return hook

    original = type(opt.base).step.__wrapped__

    class Loud(torch.optim.SGD):
        def step(self, closure=None):
            assert closure is None
            assert not opt.is_perturbed
            log.append("base")
            return original(self)

    opt.base.__class__ = Loud
    opt.base._patch_step_function()
    with contextlib.ExitStack() as stack:
        for handle in (
            register_optimizer_step_pre_hook(record("global pre")),
            register_optimizer_step_post_hook(record("global post")),
            opt.register_step_pre_hook(record("pre")),
            opt.base.register_step_pre_hook(record("base pre")),
            opt.register_step_post_hook(record("post")),
            opt.base.register_step_post_hook(record("base post")),
            opt.register_gradient_hook(lambda: log.append("gradient")),
        ):
            stack.callback(handle.remove)
        opt.step(closure_of(opt, loss, log))
    evaluations = ["closure", "gradient"] * (2 if wrap is SAM else 1)
    after = ["base", "post", "base post", "global post"]
    assert log == ["global pre", "pre", "base pre", *evaluations, *after]
    log.clear()
    opt.step(closure_of(opt, loss))
    assert log == ["base"]


def test_step_hooks_see_the_weights_w_when_step_is_called_inside_perturbed():
    model, loss = network()
    opt = sgd(model.parameters())
    train(opt, loss, 1)
    w, seen = bits(model.parameters()), []
    opt.register_step_pre_hook(lambda *_: seen.append(bits(model.parameters())))
    opt.register_gradient_hook(lambda: seen.append(bits(model.parameters())))
    with opt.perturbed():
        loss(1).backward()
        opt.step()
    assert seen == [w, w]


def masked_run(wrap, form, steps=4):
    """A sparse run by a gradient hook: gradients are masked after every evaluation, the weights once."""
    problem = Problem(steps=steps)
    mask = np.arange(12) % 3 != 1
    problem.w0 = problem.w0 * mask
    inside = []

    def make(parameters):
        opt = sgd(parameters, wrap, momentum=0.9)
        pieces = torch.from_numpy(mask).split([p.numel() for p in parameters])
        masks = [m.reshape(p.shape) for m, p in zip(pieces, parameters, strict=True)]

        def hook():
            for p, m in zip(parameters, masks, strict=True):
                p.grad.mul_(m)

        opt.register_gradient_hook(hook)
        return opt

    ws, ys, opt = run(make, problem, form)
    inside += [y[~mask] for y in ys] + [w[~mask] for w in ws]
    return problem, mask, ws, ys, opt, inside


@pytest.mark.parametrize(("wrap", "form"), [(S2SAM, "loop"), (S2SAM, "closure"), (S2SAM, "attach"), (SAM, "closure")])
def test_a_mask_by_gradient_hook_keeps_y_inside_the_support(wrap, form):
    problem, mask, ws, ys, opt, inside = masked_run(wrap, form)
    assert all((x == 0).all() for x in inside)
    if wrap is S2SAM:
        d = vector([opt.direction(p) for p in opt.param_groups[0]["params"]])
        assert (d[~mask] == 0).all()
        assert (d[mask] != 0).all()
    # The masked run is the dense run of the problem restricted to the support: same norm, same path.
    w, g, buf = problem.w0, np.zeros(12), 0
    for t, y in enumerate(ys):
        if wrap is SAM:
            g = problem.grad(w, t) * mask
        p = 0.1 * g / np.linalg.norm(g) if g.any() else g
        # 4 steps of fewer than 64 + 2*12 roundings on entries below 4, growing by less than 10 in 4 steps of lr 0.1.
        assert np.abs(y - (w + p)).max() <= 4 * 88 * 2.0**-53 * 4 * 10
        g = problem.grad(w + p, t) * mask
        buf = 0.9 * buf + g
        w = w - 0.1 * buf
    assert np.abs(ws[-1] - w).max() <= 4 * 88 * 2.0**-53 * 4 * 10


def test_a_removed_gradient_hook_is_silent():
    model, loss = network()
    opt, calls = sgd(model.parameters()), []
    handle = opt.register_gradient_hook(lambda: calls.append(1))
    train(opt, loss, 2)
    handle.remove()
    train(opt, loss, 2)
    assert calls == [1, 1]


def test_the_direction_can_be_edited_after_the_base_step_and_not_while_perturbed():
    model, loss = network()
    opt = sgd(model.parameters())
    p = model[0].weight
    assert opt.direction(p) is None

    def prune(*_):
        p.data[0] = 0
        opt.direction(p)[0] = 0

    opt.register_step_post_hook(prune)
    train(opt, loss, 2)
    with opt.perturbed():
        assert (p[0] == 0).all()
        assert (p[1] != 0).all()
        with pytest.raises(RuntimeError, match=r"direction must be read at w, got .*; call restore\(\)"):
            opt.direction(p)
    assert (opt.direction(p)[0] == 0).all()  # now the perturbation of a skipped step


def test_closures_run_with_grad_enabled_and_return_the_loss_at_y_or_w():
    model, loss = network()
    opt = sgd(model.parameters())
    train(opt, loss, 1)
    with torch.no_grad():
        at_w = loss(0).item()
        with opt.perturbed():
            at_y = loss(0).item()
        assert at_y != at_w
        assert opt.step(closure_of(opt, loss)).item() == at_y
        at_w = loss(0).item()
        sam = SAM(torch.optim.SGD(model.parameters(), lr=0.1))
        assert sam.step(closure_of(sam, loss)).item() == at_w
    train(opt, loss, 1)
    assert opt.step() is None


def test_sam_evaluates_twice_at_w_and_at_y():
    model, loss = network()
    opt, seen = sgd(model.parameters(), SAM), []
    opt.step(lambda: (seen.append(bits(model.parameters())), closure_of(opt, loss)())[1])
    assert len(seen) == 2
    assert seen[0] == bits(network()[0].parameters()) != seen[1]


SCHEDULERS = [
    lambda o: StepLR(o, 1, 0.5),
    lambda o: OneCycleLR(o, 1.0, 9),
    lambda o: LambdaLR(o, lambda t: 1 / (t + 1)),
]


@pytest.mark.parametrize("schedule", SCHEDULERS, ids=["step", "one-cycle", "lambda"])
@pytest.mark.parametrize("on_base", [False, True])
@pytest.mark.parametrize("wrap", WRAPS)
def test_a_scheduler_on_either_object_sees_the_steps(wrap, on_base, schedule):
    model, loss = network()
    opt = sgd(model.parameters(), wrap, momentum=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "lr_scheduler.step() before optimizer.step()" and "step() was overridden"
        scheduler = schedule(opt.base if on_base else opt)
        reference = schedule(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9))
        for _ in range(4):
            opt.step(closure_of(opt, loss))
            scheduler.step()
            reference.optimizer.step()
            reference.step()
            assert opt.param_groups[0]["lr"] == reference.optimizer.param_groups[0]["lr"] == scheduler.get_last_lr()[0]
