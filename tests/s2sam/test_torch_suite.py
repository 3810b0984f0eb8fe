"""PyTorch's own checks of what an optimizer computes, on S2SAM and SAM around every base (records: `torch_suite`).

Not copied: each check is ours, of the behaviour that PyTorch's `test/test_optim.py` demands of its optimizers.
"""

import pytest
import torch
from optim_support import bits
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.testing._internal.common_optimizers import TensorTracker
from torch.testing._internal.common_utils import TestCase
from torch_suite import BASES, INFOS, RHO, bare, configurations, drive, gradients, over, parameters, quadratic

from s2sam import S2SAM

EACH = pytest.mark.parametrize("name", INFOS)
FORMS = {
    "float64": {},
    "mixed types": {"dtypes": (torch.float32, torch.float64)},
    "bfloat16": {"dtypes": (torch.bfloat16,)},
    "strided": {"strided": True},
}


def assert_moves_as_the_base(info, base, kwargs, form, groups=list, start=0, steps=4):
    """For given gradients, weights, gradients and the base's slots agree with the bare base's, bit for bit."""
    ours, theirs = parameters(**form), parameters(**form)
    opt, plain = info.optim_cls(groups(ours), **kwargs), bare(base, kwargs, groups(theirs))
    tracker = TensorTracker({"rtol": 0, "atol": 0})
    for given in gradients(steps, ours, seed=start):
        drive(plain, theirs, [given])
        for p in theirs:
            tracker.add(p)
            tracker.add(p.grad)
        drive(opt, ours, [given])
        for p in ours:
            tracker.pop_check_set(p, TestCase())
            tracker.pop_check_set(p.grad, TestCase())
    assert tracker.all_popped()
    for p, q in zip(ours, theirs, strict=True):
        assert p.stride() == q.stride()
        for key, value in plain.state[q].items():
            assert torch.equal(torch.as_tensor(opt.state[p][key]), torch.as_tensor(value)), key


@EACH
def test_every_configuration_moves_as_the_base_for_given_gradients(name):
    info, base = INFOS[name]
    for kwargs in configurations(info):
        assert_moves_as_the_base(info, base, kwargs, {})


@EACH
@pytest.mark.parametrize("form", FORMS)
def test_types_and_strides_move_as_the_base(name, form):
    info, base = INFOS[name]
    for impl in ({}, {"foreach": True} if "foreach" in info.supported_impls else {}):
        assert_moves_as_the_base(info, base, impl, FORMS[form])


@EACH
def test_learning_rate_and_weight_decay_of_a_group(name):
    info, base = INFOS[name]
    decay = {"weight_decay": 0.1} if "weight_decay" in base.optim_cls(parameters()).defaults else {}
    own = {"lr": 0.02} | decay
    assert_moves_as_the_base(info, base, {}, {}, lambda ps: [{"params": ps[:2]}, {"params": ps[2:], **own}])
    assert_moves_as_the_base(info, base, {"lr": 0.02}, {}, lambda ps: [{"params": ps[:1], **decay}, {"params": ps[1:]}])


def test_moving_as_the_base_can_fail():
    class Leaky(S2SAM):
        def restore(self):
            self._lifted = None  # the weights stay at y

    info = over(Leaky, BASES["SGD"])
    with pytest.raises(AssertionError):
        assert_moves_as_the_base(info, BASES["SGD"], {}, {})


@EACH
@pytest.mark.parametrize("sign", [1, -1])
def test_gradients_are_taken_at_the_radius_along_the_direction(name, sign):
    info, base = INFOS[name]
    if sign < 0 and "maximize" not in base.optim_cls(parameters()).defaults:
        pytest.skip("the base has no option maximize")
    params = parameters()
    opt, steps = info.optim_cls(params, **({"maximize": True} if sign < 0 else {})), gradients(4, params)
    before, seen = None, []
    for given in steps:
        w, start = [p.detach().clone() for p in params], len(seen)
        drive(opt, params, [given], seen)
        direction = given if info.step_requires_closure else before
        size = sum(float(g.square().sum()) for g in direction) ** 0.5 if direction else 1.0
        for x, seen_there, g in zip(w, unpacked(seen[-1], w), direction or given, strict=True):
            # Fewer than 16 roundings of numbers below 8, and of y itself twice.
            y = x + sign * RHO * g / size if direction else x
            assert (seen_there - y).abs().max() <= 16 * 8 * 2.0**-53
        assert len(seen) - start == 1 + info.step_requires_closure
        assert seen[start] == bits(w) or not info.step_requires_closure
        before = given


def unpacked(packed, like):
    return [torch.frombuffer(bytearray(b), dtype=x.dtype).view(x.shape) for b, x in zip(packed, like, strict=True)]


@EACH
def test_foreach_and_fused_match_the_loop(name):
    info, _ = INFOS[name]
    impls = [i for i in ("foreach", "fused") if i in info.supported_impls and (i != "fused" or info.supports_fused_on)]
    impls = [i for i in impls if i != "fused" or "cpu" in info.supports_fused_on]
    # Both implementations take fewer than 64 roundings of numbers below 8 in a step, and start each from equal weights.
    # The base ASGD keeps its step size in float32, in one of the two.
    tracker = TensorTracker({"rtol": 0, "atol": 64 * 8 * (2.0**-24 if "ASGD" in name else 2.0**-53)})
    for impl in impls:
        for flags, use in (
            ({impl: False}, tracker.add),
            ({impl: True}, lambda p: tracker.pop_check_set(p, TestCase())),
        ):
            params = parameters()
            opt = info.optim_cls(params, **flags)

            def closure(opt=opt, params=params):
                opt.zero_grad()
                loss = quadratic(params)
                loss.backward()
                return loss

            for _ in range(5):
                opt.step(closure)
                for p in params:
                    use(p)
        assert tracker.all_popped()


@EACH
def test_with_schedulers_it_goes_in_the_right_direction(name):
    info, _ = INFOS[name]
    for constructors in info.scheduler_inputs:
        for maximize in (False, True):
            if maximize and "maximize" not in info.optim_cls(parameters()).defaults:
                continue
            params = parameters()
            # A step must be longer than rho for the loss to fall from step to step, so the radius is small.
            opt = info.optim_cls(params, rho=0.001, **({"maximize": True} if maximize else {}))
            schedulers = [build(opt) for build in constructors]

            def closure(opt=opt, params=params):
                opt.zero_grad()
                loss = quadratic(params)
                loss.backward()
                return loss

            before = float(quadratic(params).detach())
            for _ in range(12):
                loss = opt.step(closure)
                for scheduler in schedulers:
                    scheduler.step(*([float(loss.detach())] if isinstance(scheduler, ReduceLROnPlateau) else []))
            after = float(quadratic(params).detach())
            assert (after > before) if maximize else (after < before)


@EACH
def test_without_gradients_nothing_happens(name):
    info, base = INFOS[name]
    params = parameters()
    opt = info.optim_cls(params)
    before = bits(params)
    drive(opt, params, [[None] * len(params)] * 2)
    assert bits(params) == before
    fresh = base.optim_cls(params)
    drive(fresh, params, [[None] * len(params)])
    assert str(opt.state) == str(fresh.state)


@EACH
def test_a_parameter_without_entries(name):
    info, base = INFOS[name]
    if base.name in ("Adafactor", "Muon"):
        pytest.skip("the base itself divides by the number of entries")
    for impl in [{}, *({i: True} for i in info.supported_impls if i != "fused" or "cpu" in info.supports_fused_on)]:
        assert_moves_as_the_base(info, base, impl, {"shapes": ((2, 0), (2, 2))})
        alone = parameters(shapes=((2, 0),))
        drive(info.optim_cls(alone, **impl), alone, gradients(2, alone))


@EACH
def test_zero_gradients_do_what_the_base_does_and_perturb_nothing(name):
    info, base = INFOS[name]
    ours, theirs, seen = parameters(), parameters(), []
    zeros = [[torch.zeros_like(p) for p in ours]] * 3
    drive(opt := info.optim_cls(ours), ours, zeros, seen)
    drive(bare(base, {}, theirs), theirs, zeros)
    assert bits(ours) == bits(theirs)
    decays = {"weight_decay", "lambd"} & {k for k, v in base.optim_cls(theirs).defaults.items() if v}
    assert (bits(ours) == bits(parameters())) == (not decays)
    if info.step_requires_closure:
        assert seen[::2] == seen[1::2]
    else:
        assert all(not opt.state[p]["ascent"].any() for p in ours)


@EACH
def test_some_parameters_without_gradient(name):
    info, base = INFOS[name]
    ours, theirs = parameters(), parameters()
    steps = [[None if (k + t) % 3 == 0 else g for k, g in enumerate(gs)] for t, gs in enumerate(gradients(6, ours))]
    drive(info.optim_cls(ours), ours, steps)
    drive(bare(base, {}, theirs), theirs, steps)
    assert bits(ours) == bits(theirs)
