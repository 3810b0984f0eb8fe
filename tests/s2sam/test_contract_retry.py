"""A retry (after a skipped step, or the next micro-batch) sees the same y to the last bit."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from optim_nets import attached, network, stepped, train
from optim_support import Problem, bits

from s2sam import S2SAM

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("radii", [(0.1, 0.1), (0.1, 3.0), (0.5, 0.0)])
def test_every_retry_sees_the_same_y(dtype, adaptive, radii):
    model, loss = network(dtype=dtype)
    groups = [{"params": m.parameters(), "rho": r} for m, r in zip((model[0], model[2]), radii, strict=True)]
    opt = S2SAM(torch.optim.SGD(groups, lr=0.1), adaptive=adaptive)
    train(opt, loss, 2)
    w, seen = bits(model.parameters()), []
    for _ in range(6):
        with opt.perturbed():
            seen.append(bits(model.parameters()))
            loss(2).backward()
        assert bits(model.parameters()) == w
    assert seen == seen[:1] * 6
    assert seen[0][:2] != w[:2]
    assert (seen[0][2:] == w[2:]) == (radii[1] == 0)


def retried(w, e, dtype, rho=1.0):
    """y and the y of two retries, of weights w under a held perturbation e (as after a skipped step)."""
    p = torch.nn.Parameter(w.to(dtype))
    opt = S2SAM(torch.optim.SGD([p], lr=0.0), rho=rho)
    p.grad = torch.ones_like(p)
    opt.step()
    opt.direction(p).copy_(e)
    opt.param_groups[0]["held_rho"] = rho
    seen = []
    for _ in range(3):
        with opt.perturbed():
            seen.append(p.detach().clone())
    return p.detach(), seen


def test_a_retry_is_exact_for_every_pair_of_mantissas():
    """All bfloat16 pairs whose exponents differ by at most 12 (beyond, one of the two is rounded away)."""
    mantissas = torch.arange(128.0, 256.0)
    w, e = torch.cartesian_prod(
        mantissas, torch.cat([s * mantissas * 2.0**d for d in range(-12, 13) for s in (1, -1)])
    ).T
    w, (first, *again) = retried(w, e, torch.bfloat16)
    assert all(torch.equal(first, y) for y in again)
    once = (w + e.bfloat16()) != first  # 64 of 819200, where fl(w + fl(y - w)) is not y
    assert 0 < once.sum() < 100
    ulp = 2.0**-7 * torch.exp2(torch.floor(torch.log2(first.float().abs())))
    assert ((w + e.bfloat16()).float() - first.float()).abs()[once].le(ulp[once]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(seed=st.integers(0, 2**32 - 1))
def test_a_retry_is_exact_in_single_and_double(dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    w, e = torch.randn(2, 3000, generator=generator, dtype=torch.float64)
    e = e * torch.exp2(torch.randint(-30, 30, (3000,), generator=generator))
    w[0], e[0] = -(1 + 5 * 2.0**-20), 17 + 6 * 2.0**-20  # float32's fl(w + e) = 16, from which e is not found again
    _, (first, *again) = retried(w, e.to(dtype), dtype)
    assert all(torch.equal(first, y) for y in again)


def perturbation(model, opt):
    w = [p.detach().clone() for p in model.parameters()]
    with opt.perturbed():
        return [p.detach() - v for p, v in zip(model.parameters(), w, strict=True)]


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("tensor", [False, True])
def test_a_radius_that_changed_between_retries_scales_the_perturbation(adaptive, tensor):
    def radius(value):
        return torch.tensor(value, dtype=torch.float64) if tensor else value

    model, _, opt = stepped(radius(0.25), torch.float64, adaptive=adaptive)
    first = perturbation(model, opt)
    for factor in (3.0, 0.5, 1.0):
        opt.param_groups[0]["rho"] = radius(0.25 * factor)
        for p, q in zip(perturbation(model, opt), first, strict=True):
            # y and y - w round to half an ulp of numbers below 4, in each of the (at most 4) perturbations.
            assert torch.allclose(p, factor * q, rtol=8 * 2.0**-53, atol=4 * 4 * 3 * 2.0**-52)


def test_a_radius_of_zero_during_a_retry_does_not_lose_the_direction():
    model, _, opt = stepped(0.25, torch.float64)
    expected = perturbation(model, opt)
    opt.param_groups[0]["rho"] = 0.0
    assert all((p == 0).all() for p in perturbation(model, opt))
    opt.param_groups[0]["rho"] = 0.25
    later = perturbation(model, opt)
    warm, _, fresh = stepped(0.0, torch.float64)
    assert all((p == 0).all() for p in perturbation(warm, fresh))
    fresh.param_groups[0]["rho"] = 0.25
    raised = perturbation(warm, fresh)
    for p, q, r in zip(expected, later, raised, strict=True):
        assert torch.equal(p, q)
        assert torch.allclose(p, r, rtol=0, atol=4 * 2.0**-52)  # two roundings of entries below 4


def test_a_scaler_that_skips_the_step_leaves_a_retry_with_the_same_y_and_a_loadable_state():
    """GradScaler does not call step() at all when it meets an inf."""
    model, loss, opt, _ = attached()
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)

    def attempt(t, spoil=False):
        opt.zero_grad()
        value = loss(t)
        seen = bits(model.parameters())
        scaler.scale(value).backward()
        if spoil:
            model[0].weight.grad[0, 0] = torch.inf
        scaler.step(opt)
        scaler.update()
        return seen

    attempt(0)
    w = bits(model.parameters())
    y = attempt(1, spoil=True)
    assert y != w
    assert opt.is_perturbed  # with attach nothing tells us that the step was skipped
    state = opt.state_dict()
    assert not opt.is_perturbed
    assert bits(model.parameters()) == w
    other, other_loss = network(batchnorm=True)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    resumed = S2SAM(torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9), rho=0.3)
    resumed.load_state_dict(copy.deepcopy(state))
    with resumed.perturbed():
        assert bits(other.parameters()) == y
        other_loss(1).backward()
    resumed.step()
    assert attempt(1) == y
    assert scaler.get_scale() == 2.0
    assert opt.skipped_perturbations == 0
    # A power of two scales and unscales exactly.
    assert bits(model.parameters()) == bits(other.parameters()) != w


def test_accumulated_micro_batches_see_one_y():
    problem = Problem(steps=6)
    parameters = problem.parameters()
    opt = S2SAM(torch.optim.SGD(parameters, lr=0.1), rho=0.3)
    for _ in range(3):
        seen = []
        for t in range(4):
            with opt.perturbed():
                seen.append(bits(parameters))
                problem.loss(parameters, t).backward()
        assert seen == seen[:1] * 4
        opt.step()
        opt.zero_grad()
