"""Gradient scaling and autocast: factors are powers of two, so every path is the plain loop's, bit for bit."""

import copy

import pytest
import torch
from engine_checks import STEPS, Net, build, loss_of, members, weights
from optim_support import bits
from torch.nn.utils import clip_grad_norm_

from s2sam import SAM

SPOILT = (0, 4, 5, 9)  # steps whose first gradient has an inf: the scaler skips them, and they are tried again


def scaler_of(enabled=True):
    return torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=3, enabled=enabled)


def attempt(model, opt, scaler, t, *, spoil, attach, autocast, micro, clip):
    """One attempt at a step of the documented loop; returns y."""
    for k in range(micro):
        handle = opt.attach(model) if attach else opt.perturbed()
        with handle if not attach else torch.enable_grad():
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = loss_of(model, t, slice(k, None, micro), torch.float32) / micro
            y = bits(members(opt))
            scaler.scale(loss).backward()
        if attach:
            handle.remove()
    if spoil:
        members(opt)[-1].grad[0] = torch.inf
    if clip:
        scaler.unscale_(opt)
        clip_grad_norm_(members(opt), 0.05)
    scaler.step(opt)
    scaler.update()
    opt.zero_grad()
    return y


def run(opt_of, enabled=True, spoilt=(), attach=False, autocast=False, micro=1, clip=False, save_at=None):
    """Train; each spoilt step is attempted once more. With `save_at` everything is saved and loaded after its spoilt
    attempt."""
    model = Net(torch.float32)
    opt, scaler, path = opt_of(model.parameters()), scaler_of(enabled), []
    how = {"attach": attach, "autocast": autocast, "micro": micro, "clip": clip}
    for t in range(STEPS):
        if t in spoilt:
            w = bits(members(opt))
            y = attempt(model, opt, scaler, t, spoil=True, **how)
            opt.restore()
            assert bits(members(opt)) == w
            if t == save_at:
                kept = copy.deepcopy([thing.state_dict() for thing in (model, opt, scaler)])
                model = Net(torch.float32)
                opt, scaler = opt_of(model.parameters()), scaler_of(enabled)
                for thing, state in zip((model, opt, scaler), kept, strict=True):
                    thing.load_state_dict(state)
            assert attempt(model, opt, scaler, t, spoil=False, **how) == y
        else:
            attempt(model, opt, scaler, t, spoil=False, **how)
        path.append(weights(opt))
    assert opt.skipped_perturbations == 0
    return path


def fused(parameters):
    """A base that says it unscales by itself: the optimizer around it must not, or it would be done twice."""
    from s2sam import S2SAM

    return S2SAM(torch.optim.AdamW(parameters, lr=0.01, eps=1e-3, fused=True), rho=0.2)


WAYS = {
    "plain": {},
    "attached": {"attach": True},
    "bfloat16": {"autocast": True},
    "accumulated": {"micro": 2},
    "clipped": {"clip": True},
    "all": {"attach": True, "autocast": True, "micro": 2, "clip": True},
}


@pytest.mark.parametrize("opt_of", [build, fused], ids=["momentum", "fused AdamW"])
@pytest.mark.parametrize("way", WAYS)
def test_a_scaler_changes_no_bit(way, opt_of):
    plain = run(opt_of, enabled=False, **WAYS[way])
    assert bits(run(opt_of, **WAYS[way])) == bits(plain)
    assert bits(run(opt_of, spoilt=SPOILT, **WAYS[way])) == bits(plain)
    assert bits(run(opt_of, spoilt=SPOILT, save_at=5, **WAYS[way])) == bits(plain)
    assert (plain[-1] - plain[0]).abs().max() > 0.01


def test_the_comparison_can_fail():
    def far(parameters):
        return build(parameters, rho=0.2000001)

    assert bits(run(far)) != bits(run(build))


def test_a_retry_that_forgets_the_perturbation_is_noticed():
    """The mutant: going back to w loses what was added to it."""

    def forgetful(parameters):
        opt = build(parameters)
        restore = opt.restore

        def worse():
            moved = opt.is_perturbed
            restore()
            for p in members(opt) if moved and opt.direction(members(opt)[0]) is not None else []:
                opt.direction(p).zero_()

        opt.restore = worse
        return opt

    with pytest.raises(AssertionError):
        run(forgetful, spoilt=SPOILT)


def test_sam_says_that_it_needs_a_closure_which_a_scaler_cannot_give():
    model, scaler = Net(torch.float32), scaler_of()
    opt = build(model.parameters())
    exact = SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    scaler.scale(loss_of(model, 0, dtype=torch.float32)).backward()
    with pytest.raises(RuntimeError, match="closure must be given"):
        scaler.step(exact)
    assert not opt.is_perturbed
