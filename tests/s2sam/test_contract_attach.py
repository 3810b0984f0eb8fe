"""`attach(model)`: the loop stays as it is; any forward but a training one is at w."""

import copy
import pickle

import pytest
import torch
from optim_nets import attached, network, train
from optim_support import bits
from torch.optim.swa_utils import AveragedModel, update_bn

from s2sam import S2SAM

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def test_an_attached_loop_is_the_documented_loop():
    model, loss, opt, _ = attached()
    for t in range(5):
        loss(t).backward()
        opt.step()
        opt.zero_grad()
    other, other_loss = network(batchnorm=True)
    train(S2SAM(torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9), rho=0.3), other_loss, 5)
    assert bits(model.state_dict().values()) == bits(other.state_dict().values())


def test_any_other_forward_of_an_attached_model_is_at_w():
    model, loss, opt, handle = attached()
    x = torch.ones(3, 4)
    loss(0).backward()
    opt.step()
    w = bits(model.parameters())

    def up():
        model(x)
        assert opt.is_perturbed
        assert bits(model.parameters()) != w

    up()
    model.eval()
    model(x)
    assert bits(model.parameters()) == w
    model.train()
    for mode in (torch.no_grad, torch.inference_mode):
        up()
        with mode():
            model(x)
        assert bits(model.parameters()) == w
    up()
    opt.zero_grad()  # often stands between forward and backward
    assert opt.is_perturbed
    model.state_dict()
    assert bits(model.parameters()) == w
    up()
    saved = bits(v for k, v in model.state_dict().items() if "running" not in k and "num_batches" not in k)
    assert saved == w
    up()
    torch.nn.Sequential(model).state_dict()  # as part of a larger model
    assert bits(model.parameters()) == w
    up()
    handle.remove()
    assert bits(model.parameters()) == w
    model(x)
    assert not opt.is_perturbed
    assert not {**model._forward_pre_hooks, **model._state_dict_pre_hooks, **model._load_state_dict_pre_hooks}


def test_loading_weights_into_an_attached_model_survives_the_next_step():
    model, loss, opt, _ = attached()
    loss(0).backward()
    opt.step()
    saved = copy.deepcopy(model.state_dict())
    loss(1)
    model.load_state_dict({k: v + 1 if v.is_floating_point() else v for k, v in saved.items()})
    opt.zero_grad()
    opt.step()
    assert bits(model.parameters()) == bits(saved[k] + 1 for k, _ in model.named_parameters())


def test_attached_hooks_run_before_those_that_were_there():
    """A sharded model's own pre-forward hook gathers the weights: they must be at y by then."""
    model, loss, opt, handle = attached()
    loss(0).backward()
    opt.step()
    handle.remove()
    seen = []
    model.register_forward_pre_hook(lambda *_: seen.append(opt.is_perturbed))
    opt.attach(model)
    loss(1)
    assert seen == [True]


def test_an_attachment_is_a_context_manager():
    _, loss, opt, handle = attached()
    loss(0).backward()
    opt.step()
    with handle as same:
        assert same is handle
        loss(1)
        assert opt.is_perturbed
    assert not opt.is_perturbed
    loss(1)
    assert not opt.is_perturbed


def test_update_bn_estimates_the_statistics_of_w():
    model, loss, opt, _ = attached()
    for t in range(3):
        loss(t).backward()
        opt.step()
    loss(3)  # at y; update_bn must not see it
    assert opt.is_perturbed
    data = [torch.randn(16, 4, generator=torch.Generator().manual_seed(1)) for _ in range(4)]
    update_bn(data, model)
    assert not opt.is_perturbed
    plain = torch.nn.BatchNorm1d(8, momentum=None)
    with torch.no_grad():
        for x in data:
            plain(model[0](x))
    assert bits([model[1].running_mean, model[1].running_var]) == bits([plain.running_mean, plain.running_var])


CLONES = [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), lambda m: AveragedModel(m).module]


@pytest.mark.parametrize("clone", CLONES, ids=["deepcopy", "pickle", "averaged"])
def test_a_copy_of_an_attached_model_is_not_attached(clone):
    model, loss, opt, _ = attached()
    loss(0).backward()
    opt.step()
    other = clone(model)
    w = bits(model.parameters()), bits(other.parameters())
    other(torch.ones(3, 4)).sum().backward()
    assert not opt.is_perturbed
    loss(1)
    assert opt.is_perturbed
    other.eval()
    other(torch.ones(3, 4))
    other.state_dict()
    other.load_state_dict(other.state_dict())
    assert opt.is_perturbed
    opt.restore()
    assert (bits(model.parameters()), bits(other.parameters())) == w


def test_an_averaged_model_averages_w():
    model, loss, opt, _ = attached()
    average, total = AveragedModel(model), [torch.zeros_like(p) for p in model.parameters()]
    for t in range(4):
        loss(t).backward()
        opt.step()
        opt.zero_grad()
        average.update_parameters(model)
        total = [a + p.detach() for a, p in zip(total, model.parameters(), strict=True)]
    for a, p in zip(average.module.parameters(), total, strict=True):
        assert torch.allclose(a, p / 4, rtol=0, atol=8 * 4 * 2.0**-24)  # 8 roundings of entries below 4; rho is 0.3
