"""PyTorch's own checks of an optimizer's state, copies and hooks, on S2SAM and SAM around every base.

Not copied: each check is ours, of the behaviour that PyTorch's `test/test_optim.py` demands of its optimizers.
"""

import copy
import io

import pytest
import torch
from optim_support import bits
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch_suite import BASES, INFOS, drive, gradients, over, parameters

from s2sam import S2SAM

EACH = pytest.mark.parametrize("name", INFOS)


def started(info, steps=3, **kwargs):
    """Return parameters and an optimizer after some steps; float32, as torch casts NAdam's and ASGD's factors."""
    params = parameters((torch.float32,))
    opt = info.optim_cls(params, **kwargs)
    drive(opt, params, gradients(steps, params))
    return params, opt


def goes_on_equally(pairs, steps=3):
    """Whether several (parameters, optimizer) see the same weights from now on, bit for bit."""
    runs = []
    for params, opt in pairs:
        drive(opt, params, gradients(steps, params, seed=7), seen := [])
        runs.append((seen, bits(params)))
    return all(run == runs[0] for run in runs)


def fresh(info, params, **kwargs):
    """Return copies of the parameters and a new optimizer of them."""
    copies = [torch.nn.Parameter(p.detach().clone()) for p in params]
    return copies, info.optim_cls(copies, **kwargs)


def same(a, b):
    """Whether two nested states are equal, tensors bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and bits([a]) == bits([b])
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@EACH
def test_the_state_is_deterministic_and_loading_continues_the_run(name):
    info, _ = INFOS[name]
    params, opt = started(info)
    again = started(info)[1]
    assert same(opt.state_dict(), again.state_dict())
    saved = copy.deepcopy(opt.state_dict())
    given = copy.deepcopy(saved)
    copies, other = fresh(info, params, rho=9.0)
    other.load_state_dict(given)
    assert same(saved, given)
    assert goes_on_equally([(params, opt), (copies, other)])
    assert same(opt.state_dict(), other.state_dict())


@EACH
def test_state_that_is_saved_loads_with_weights_only(name):
    info, _ = INFOS[name]
    for kwargs in ({}, {"rho": torch.tensor(0.2)}):
        _, opt = started(info, **kwargs)
        file = io.BytesIO()
        torch.save(opt.state_dict(), file)
        file.seek(0)
        assert same(torch.load(file, weights_only=True), opt.state_dict())


@EACH
def test_an_older_state_without_the_newer_options_loads(name):
    info, _ = INFOS[name]
    params, opt = started(info)
    state = copy.deepcopy(opt.state_dict())
    for group in state["param_groups"]:
        for flag in info.not_og_supported_flags:
            group.pop(flag, None)
    copies, other = fresh(info, params)
    other.load_state_dict(state)
    assert {"rho", "adaptive", "held_rho"} <= other.param_groups[0].keys()
    drive(other, copies, gradients(1, copies))
    assert bits(copies) != bits(params)


@EACH
def test_a_state_whose_step_is_a_number_loads(name):
    info, _ = INFOS[name]
    params, opt = started(info)
    state = copy.deepcopy(opt.state_dict())
    for slots in state["state"].values():
        if isinstance(slots.get("step"), torch.Tensor):
            slots["step"] = slots["step"].item()
    copies, other = fresh(info, params)
    other.load_state_dict(state)
    assert goes_on_equally([(params, opt), (copies, other)])


@EACH
def test_a_state_loads_into_parameters_of_another_type(name):
    info, _ = INFOS[name]
    _, opt = started(info)
    copies = parameters((torch.float64,))
    other = info.optim_cls(copies)
    other.load_state_dict(opt.state_dict())
    if not info.step_requires_closure:
        assert all(other.state[p]["ascent"].dtype == p.dtype for p in copies)
    drive(other, copies, gradients(2, copies))
    assert all(p.isfinite().all() for p in copies)


@EACH
def test_a_state_loads_to_and_from_named_parameters(name):
    info, _ = INFOS[name]
    params, opt = started(info)
    named = [(f"layer{k}", torch.nn.Parameter(p.detach().clone())) for k, p in enumerate(params)]
    other = info.optim_cls(named)
    other.load_state_dict(copy.deepcopy(opt.state_dict()))  # torch's loading does not copy
    assert other.param_groups[0]["param_names"] == [n for n, _ in named]
    copies, back = fresh(info, params)
    back.load_state_dict(copy.deepcopy(other.state_dict()))
    assert goes_on_equally([(params, opt), ([p for _, p in named], other), (copies, back)])


@EACH
def test_there_is_state_and_one_buffer_of_ours(name):
    info, base = INFOS[name]
    params, opt = started(info)
    plain = base.optim_cls(copies := parameters())
    drive(plain, copies, gradients(1, copies))
    for p, q in zip(params, copies, strict=True):
        assert opt.state[p].keys() - plain.state[q].keys() == (set() if info.step_requires_closure else {"ascent"})
        assert plain.state[q].keys() <= opt.state[p].keys()


@EACH
def test_a_deep_copy_has_all_public_attributes_and_goes_on(name):
    info, _ = INFOS[name]
    params, opt = started(info)
    copies, other = copy.deepcopy((params, opt))
    assert {k for k in vars(other) if k[0] != "_"} == {k for k in vars(opt) if k[0] != "_"} >= {"base"}
    assert goes_on_equally([(params, opt), (copies, other)])


def test_going_on_equally_can_fail():
    class Forgetful(S2SAM):
        def state_dict(self):
            state = super().state_dict()
            return state | {"state": {k: {} for k in state["state"]}}

    info = over(Forgetful, BASES["SGD"])
    params, opt = started(info)
    copies, other = fresh(info, params)
    other.load_state_dict(opt.state_dict())
    assert not goes_on_equally([(params, opt), (copies, other)])


@EACH
def test_it_can_be_printed(name):
    info, base = INFOS[name]
    opt = info.optim_cls([{"params": parameters()[:1]}, {"params": parameters()[1:], "lr": 0.3, "rho": 0.7}])
    text = repr(opt)
    assert text.startswith(info.name)
    assert "Parameter Group 1" in text
    assert "rho: 0.7" in text
    assert all(f"{key}: " in text for key in base.optim_cls(parameters()).defaults)


@EACH
def test_step_hooks_run_once_in_order_local_and_global(name):
    info, _ = INFOS[name]
    params = parameters()
    opt, calls = info.optim_cls(params), []
    handles = [
        register_optimizer_step_pre_hook(lambda o, *_: calls.append(("global pre", o))),
        register_optimizer_step_post_hook(lambda o, *_: calls.append(("global post", o))),
        opt.register_step_pre_hook(lambda o, *_: calls.append(("pre", o))),
        opt.register_step_post_hook(lambda o, *_: calls.append(("post", o))),
    ]
    drive(opt, params, gradients(1, params))
    for handle in handles:
        handle.remove()
    drive(opt, params, gradients(1, params))
    assert [c for c, _ in calls] == ["global pre", "pre", "post", "global post"]
    assert all(o is opt for _, o in calls)


@EACH
def test_a_step_pre_hook_may_change_the_arguments(name):
    info, _ = INFOS[name]
    params = parameters()
    opt, seen = info.optim_cls(params), []
    replaced = lambda: seen.append(1) or torch.zeros(())  # noqa: E731
    handle = opt.register_step_pre_hook(lambda o, args, kwargs: ((o, replaced), {}))
    opt.step(lambda: pytest.fail("this closure was replaced"))
    handle.remove()
    assert len(seen) == 1 + info.step_requires_closure


@EACH
def test_state_dict_hooks(name):
    info, _ = INFOS[name]
    _, opt = started(info)
    seen = []
    handles = [
        opt.register_state_dict_pre_hook(lambda o: seen.append("late")),
        opt.register_state_dict_pre_hook(lambda o: seen.append("first"), prepend=True),
        opt.register_state_dict_post_hook(lambda o, state: state | {"note": 1}),
    ]
    assert opt.state_dict()["note"] == 1
    assert seen == ["first", "late"]
    for handle in handles:
        handle.remove()
    assert "note" not in opt.state_dict()


@EACH
def test_load_state_dict_hooks(name):
    info, _ = INFOS[name]
    params, opt = started(info)
    seen = []

    def slower(o, state):
        seen.append("pre")
        groups = [g | {"lr": 1e-4, "rho": 0.3} for g in state["param_groups"]]
        return state | {"param_groups": groups}

    opt.register_load_state_dict_pre_hook(slower)
    opt.register_load_state_dict_pre_hook(lambda o, state: seen.append("prepended"), prepend=True)
    opt.register_load_state_dict_post_hook(lambda o: seen.append(("post", o.param_groups[0]["lr"])))
    opt.load_state_dict(opt.state_dict())
    assert seen == ["prepended", "pre", ("post", 1e-4)]
    assert opt.param_groups[0]["rho"] == 0.3
    drive(opt, params, gradients(1, params))


@EACH
def test_the_gradient_scaler_skips_a_step_that_overflowed(name):
    info, _ = INFOS[name]
    params, opt = started(info)
    scaler, before = torch.amp.GradScaler("cpu", init_scale=4.0), bits(params)
    scaler.scale(torch.ones(()))
    if info.step_requires_closure:
        with pytest.raises(RuntimeError, match="Closure use is not currently supported"):
            scaler.step(opt, closure=lambda: None)
        return
    for grow, moved in ((float("inf"), False), (1.0, True)):
        with opt.perturbed():
            for p in params:
                p.grad = torch.full_like(p, grow * 4)
        scaler.step(opt)
        scaler.update()
        assert (bits(params) != before) == moved
    assert opt.skipped_perturbations == 0
