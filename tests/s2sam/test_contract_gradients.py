"""Radii of groups and schedules, and gradients that are odd: none, zero, tiny, huge, not finite, clipped, maximized."""

import numpy as np
import pytest
import torch
from optim_nets import closure_of, network, sgd, train
from optim_support import Problem, bits, run, vector

from s2sam import S2SAM, SAM

WRAPS = [S2SAM, SAM]


def test_a_scheduled_radius_is_the_radius():
    model, loss = network(dtype=torch.float64)
    opt = sgd(model.parameters())
    train(opt, loss, 1)
    for t, rho in enumerate((0.5, 0.0, 0.25, torch.tensor(0.125)), start=1):
        opt.param_groups[0]["rho"] = rho
        w = vector(model.parameters())
        with opt.perturbed():
            # y rounds to half an ulp of entries below 4: 67 of them.
            assert abs(np.linalg.norm(vector(model.parameters()) - w) - float(rho)) <= 67 * 4 * 2.0**-53
            loss(t).backward()
        opt.step()
        opt.zero_grad()


def test_each_group_has_its_radius_under_one_norm():
    problem = Problem(steps=3)

    def groups(parameters):
        return [{"params": p, "rho": r} for p, r in zip(parameters, (0.1, 0.0, 2.0, 0.5), strict=True)]

    ws, ys, opt = run(lambda gs: S2SAM(torch.optim.SGD(gs, lr=0.1), rho=7.0), problem, groups=groups)
    radii = np.repeat([0.1, 0.0, 2.0, 0.5], [4, 3, 1, 4])
    g = problem.grad(ys[1], 1)
    expected = ws[2] + radii * g / np.linalg.norm(g)
    assert np.abs(ys[2] - expected).max() <= 3 * 64 * 2.0**-53 * 4 * 10
    assert [group["rho"] for group in opt.param_groups] == [0.1, 0.0, 2.0, 0.5]
    assert opt.defaults["rho"] == 7.0


def test_adaptive_and_plain_groups_share_one_norm():
    problem = Problem(steps=3)

    def groups(parameters):
        return [{"params": parameters[:1], "adaptive": True}, {"params": parameters[1:]}]

    ws, ys, _ = run(lambda gs: S2SAM(torch.optim.SGD(gs, lr=0.1), rho=0.5), problem, groups=groups)
    g, unit = problem.grad(ys[1], 1), np.where(np.arange(12) < 4, ws[2], 1.0)
    expected = ws[2] + 0.5 * unit * unit * g / np.linalg.norm(unit * g)
    assert np.abs(ys[2] - expected).max() <= 3 * 64 * 2.0**-53 * 4 * 10


class Still(torch.optim.SGD):
    """A base that does not move (0 times an infinite gradient would be nan)."""

    def step(self, closure=None):
        return None


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("wrap", WRAPS)
def test_a_gradient_that_is_not_finite_never_becomes_a_direction_and_is_counted(wrap, bad):
    model, loss = network()
    opt = wrap(Still(model.parameters()), rho=0.1)
    opt.step(closure_of(opt, loss))
    w, seen, clean = bits(model.parameters()), [], [False]

    def closure():
        opt.zero_grad()
        seen.append(bits(model.parameters()))
        loss(0).backward()
        if not clean[0]:
            model[0].bias.grad[0] = bad

    for _ in range(3):
        opt.step(closure)
    assert isinstance(opt.skipped_perturbations, torch.Tensor)
    assert opt.skipped_perturbations == 3
    if wrap is SAM:
        assert seen == [w] * 6
    else:
        assert all((opt.direction(p) == 0).all() for p in model.parameters())
        assert seen[0] != w
        assert seen[1:] == [w, w]
    seen.clear()
    clean[0] = True
    opt.step(closure)
    opt.step(closure)
    assert seen[0] == w != seen[-1]
    assert opt.skipped_perturbations == 3


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_a_step_with_zero_gradients_does_what_the_base_does_and_makes_the_state(kind):
    """Distributed checkpointing makes this call, by keyword, to learn the state's shape."""
    model, _ = network()
    other, _ = network()
    opt, plain = S2SAM(kind(model.parameters(), lr=0.1), rho=0.1), kind(other.parameters(), lr=0.1)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        p.grad, q.grad = torch.zeros_like(p), torch.zeros_like(q)
    opt.step(closure=None)
    plain.step()
    assert bits(model.parameters()) == bits(other.parameters())
    assert all((opt.state[p]["ascent"] == 0).all() for p in model.parameters())
    w = bits(model.parameters())
    with opt.perturbed():
        assert bits(model.parameters()) == w
    opt.step()
    assert opt.skipped_perturbations == 0


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("wrap", WRAPS)
def test_nothing_reads_a_value_on_the_host(wrap, adaptive):
    """Parameters on the meta device have no values: a branch or a read that depends on one raises."""
    parameters = [torch.nn.Parameter(torch.empty(3, 300, device="meta")) for _ in range(2)]
    groups = [{"params": [parameters[0]]}, {"params": [parameters[1]], "rho": 0.5}]
    opt = wrap(torch.optim.SGD(groups, lr=0.1, momentum=0.9), adaptive=adaptive)

    def closure():
        for p in parameters:
            p.grad = torch.empty_like(p)

    for rho in (0.1, torch.empty((), device="meta"), 0.2):
        opt.param_groups[0]["rho"] = rho
        opt.step(closure)
        if wrap is S2SAM:
            for again in (rho, torch.empty((), device="meta")):
                opt.param_groups[0]["rho"] = again
                opt.perturb()
                opt.restore()
    assert opt.skipped_perturbations.is_meta
    with pytest.raises(RuntimeError, match=r"meta|item"):
        bool(opt.skipped_perturbations)


def test_distributed_checkpointing_can_learn_the_states_shape():
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    model, _ = network()
    opt = sgd(model.parameters())
    state = get_optimizer_state_dict(model, opt)
    assert state["state"].keys() == dict(model.named_parameters()).keys()
    assert all(slots["ascent"].shape == model.get_parameter(k).shape for k, slots in state["state"].items())


def test_a_step_without_any_gradient_is_a_no_op():
    model, loss = network()
    opt = sgd(model.parameters())
    opt.step()
    assert not opt.state
    train(opt, loss, 2)
    w = bits(model.parameters())
    with opt.perturbed():
        y = bits(model.parameters())
    opt.step()
    assert bits(model.parameters()) == w
    with opt.perturbed():
        assert bits(model.parameters()) == y


def test_a_parameter_without_gradient_has_no_direction_this_step():
    model, loss = network()
    opt = sgd(model.parameters())
    train(opt, loss, 1)
    assert (opt.direction(model[0].weight) != 0).any()
    model[0].weight.requires_grad_(False)
    train(opt, loss, 1)
    assert (opt.direction(model[0].weight) == 0).all()
    w = bits(model.parameters())
    with opt.perturbed():
        assert bits([model[0].weight]) == w[:1]
        assert bits(model.parameters())[1:] != w[1:]


@pytest.mark.parametrize("scale", [1e-25, 1e25])
@pytest.mark.parametrize("wrap", WRAPS)
def test_tiny_and_huge_gradients_perturb_by_rho(wrap, scale):
    p = torch.nn.Parameter(torch.zeros(3))
    opt = wrap(torch.optim.SGD([p], lr=0.0), rho=0.5)
    direction = torch.tensor([0.0, 3.0, -4.0])
    seen = []

    def closure():
        opt.zero_grad()
        seen.append(p.detach().clone())
        (p @ (direction * scale)).backward()

    opt.step(closure)
    opt.step(closure)
    # Three roundings of half an ulp: the scaled gradient, rho/norm, the product.
    assert torch.allclose(seen[-1], torch.tensor([0.0, 0.3, -0.4]), rtol=2 * 2.0**-23, atol=0)
    assert opt.skipped_perturbations == 0


def test_both_ways_to_clear_gradients_give_the_same_path_and_it_is_not_sgds():
    paths = [run(sgd, Problem(), set_to_none=flag)[0] for flag in (True, False)]
    assert np.array_equal(*paths)
    plain = run(lambda ps: sgd(ps, rho=0.0), Problem())[0]
    assert np.abs(np.array(plain) - paths[0]).max() > 1e-3


def test_clipping_the_norm_leaves_the_direction_and_clipping_values_does_not():
    def perturbation(clip):
        model, loss = network(dtype=torch.float64)
        opt = sgd(model.parameters(), lr=0.0)
        loss(0).backward()
        clip(model.parameters())
        opt.step()
        w = vector(model.parameters())
        with opt.perturbed():
            return vector(model.parameters()) - w

    plain = perturbation(lambda ps: None)
    # y rounds to half an ulp of entries below 4; clipping rounds twice, relative to entries below 0.1.
    by_norm = perturbation(lambda ps: torch.nn.utils.clip_grad_norm_(ps, 1e-3))
    assert np.abs(by_norm - plain).max() <= 4 * 2.0**-52
    assert np.abs(perturbation(lambda ps: torch.nn.utils.clip_grad_value_(ps, 1e-3)) - plain).max() > 1e-3


def test_maximizing_is_minimizing_the_negative():
    problem, negative = Problem(), Problem()
    negative.H, negative.b = -negative.H, -negative.b
    negative.loss = lambda ps, t: -problem.loss(ps, t)
    for wrap in WRAPS:
        up = run(lambda ps, w=wrap: sgd(ps, w, lr=0.01, momentum=0.5, maximize=True), problem, "closure")[:2]
        down = run(lambda ps, w=wrap: sgd(ps, w, lr=0.01, momentum=0.5), negative, "closure")[:2]
        assert np.array_equal(up[0], down[0])
        assert np.array_equal(up[1], down[1])
