"""One state: delegated to the base, saved, resumed, copied and pickled as one whole, one extra buffer."""

import copy
import pickle

import pytest
import torch
from optim_nets import make, network, through_a_file, train
from optim_support import BASES, bits

from s2sam import S2SAM, SAM


def test_state_groups_and_defaults_are_the_bases():
    _, loss, opt = make()
    train(opt, loss, 1)
    opt.load_state_dict(copy.deepcopy(opt.state_dict()))  # the base replaces its own here
    for name in ("state", "param_groups", "defaults"):
        assert getattr(opt, name) is getattr(opt.base, name)
        setattr(opt, name, new := copy.copy(getattr(opt, name)))
        assert getattr(opt.base, name) is new
    assert opt.defaults["rho"] == 0.1
    assert opt.defaults["adaptive"] is False


def test_one_extra_buffer_and_no_more():
    model, loss, opt = make()
    for moment in range(4):
        train(opt, loss, 1, start=moment)
        for p in model.parameters():
            slots = opt.state[p]
            assert slots.keys() == {"momentum_buffer", "ascent"}
            assert slots["ascent"].shape == p.shape
            assert slots["ascent"].dtype == p.dtype
        pointers = [opt.state[p]["ascent"].data_ptr() for p in model.parameters()]
        w = bits(model.parameters())
        with opt.perturbed():
            assert bits(opt.state[p]["ascent"] for p in model.parameters()) == w
            assert [opt.state[p]["ascent"].data_ptr() for p in model.parameters()] == pointers
    _, loss, sam = make(wrap=SAM)
    sam.step(lambda: loss(0).backward())
    assert all("ascent" not in slots for slots in sam.state.values())
    assert sam._lifted is None


@pytest.mark.parametrize("skipped", [False, True])
@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("base", ["sgd", "nesterov", "adam", "adamw"])
def test_a_run_resumes_bit_for_bit(base, adaptive, skipped):
    model, loss, opt = make(base, adaptive=adaptive)
    train(opt, loss, 3)
    if skipped:
        with opt.perturbed():
            loss(3).backward()
        opt.zero_grad()
    saved = through_a_file({"model": model.state_dict(), "opt": opt.state_dict()})
    other, other_loss, resumed = make(base, rho=9.0)
    other.load_state_dict(saved["model"])
    resumed.load_state_dict(state_dict=saved["opt"])  # checkpointing passes it by keyword
    assert resumed.param_groups[0]["rho"] == 0.1
    assert resumed.param_groups[0]["adaptive"] is adaptive
    for t in range(3, 8):
        train(opt, loss, 1, start=t)
        train(resumed, other_loss, 1, start=t)
        assert bits(model.parameters()) == bits(other.parameters())
    plain, plain_loss = network()
    train(S2SAM(BASES[base][0](plain.parameters(), **BASES[base][2]), rho=0.0), plain_loss, 8)
    assert bits(plain.parameters()) != bits(model.parameters())


def test_a_checkpoint_of_the_base_alone_loads():
    model, loss = network()
    base = torch.optim.Adam(model.parameters(), lr=0.05)
    train(S2SAM(copy.deepcopy(base), rho=0.1), loss, 1)
    loss(0).backward()
    base.step()
    state = copy.deepcopy(base.state_dict())
    groups = copy.deepcopy(state["param_groups"])
    for wrap in (S2SAM, SAM):
        other, other_loss, opt = make("adam", wrap, rho=0.3, adaptive=True)
        opt.load_state_dict(state)
        assert state["param_groups"] == groups
        group = opt.param_groups[0]
        assert (group["rho"], group["adaptive"], group["held_rho"]) == (0.3, True, 0.0)
        assert opt.state[other[0].weight]["step"] == 1
    other, other_loss, opt = make("adam")
    train(opt, other_loss, 2)
    with opt.perturbed():
        pass
    opt.load_state_dict(state)  # into a run that has buffers, and a held perturbation
    w = bits(other.parameters())
    with opt.perturbed():
        assert bits(other.parameters()) == w
        other_loss(0).backward()
    opt.step()
    with opt.perturbed():
        assert bits(other.parameters()) != w


def test_a_checkpoint_loads_into_the_base_alone():
    _, loss, opt = make("momentum")
    train(opt, loss, 2)
    other, _ = network()
    base = torch.optim.SGD(other.parameters(), lr=0.5, momentum=0.1)
    base.load_state_dict(copy.deepcopy(opt.state_dict()))
    assert base.param_groups[0]["momentum"] == 0.9


def test_saving_and_loading_while_perturbed_restore_first():
    model, loss, opt = make()
    train(opt, loss, 2)
    w = bits(model.parameters())
    clean = copy.deepcopy(opt.state_dict())
    opt.perturb()
    state = opt.state_dict()
    assert bits(model.parameters()) == w
    assert not opt.is_perturbed
    assert state["param_groups"][0]["held_rho"] == 0.1
    opt.perturb()
    y = bits(model.parameters())
    opt.load_state_dict(clean)
    assert bits(model.parameters()) == w
    opt.perturb()
    assert bits(model.parameters()) == y


@pytest.mark.parametrize("wrong", [1, 3])
def test_a_state_with_other_groups_is_refused_as_by_torch(wrong):
    model, _, opt = make()
    groups = [{"params": p} for p in list(model.parameters())[:wrong]]
    state = S2SAM(torch.optim.SGD(groups, lr=0.1)).state_dict()
    with pytest.raises(ValueError, match="loaded state dict"):
        opt.load_state_dict(state)


@pytest.mark.parametrize("perturbed", [False, True])
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("base", ["nesterov", "adamw"])
def test_a_copy_goes_on_as_the_original_does(base, clone, perturbed):
    model, loss, opt = make(base)
    x = torch.ones(2, 4)
    train(opt, loss, 2)
    opt.skipped_perturbations += 5
    if perturbed:
        opt.perturb()
    other, twin = clone((model, opt))
    assert type(twin) is S2SAM
    assert twin.skipped_perturbations == 5
    assert twin.is_perturbed is perturbed
    for _ in range(4):
        for m, o in ((model, opt), (other, twin)):
            with o.perturbed():
                m(x).square().sum().backward()
            o.step()
            o.zero_grad()
        assert bits(model.parameters()) == bits(other.parameters())
    assert opt.state is not twin.state
    calls = []
    twin.register_step_pre_hook(lambda *_: calls.append("pre"))
    twin.base.register_step_post_hook(lambda *_: calls.append("post"))
    twin.step()
    opt.step()
    assert calls == ["pre", "post"]


def test_the_counter_is_not_saved():
    _, loss, opt = make()
    train(opt, loss, 1)
    opt.skipped_perturbations += 2
    assert "skipped" not in str(opt.state_dict().keys()) + str(opt.state_dict()["param_groups"])
    fresh = make()[2]
    fresh.load_state_dict(opt.state_dict())
    assert fresh.skipped_perturbations == 0


def test_state_dict_hooks_fire_once_with_the_wrapper():
    _, _, opt = make()
    seen = []
    opt.register_state_dict_pre_hook(seen.append)
    opt.base.register_state_dict_post_hook(lambda o, state: seen.append(o))
    opt.register_load_state_dict_pre_hook(lambda o, state: seen.append(o))
    opt.base.register_load_state_dict_post_hook(seen.append)
    opt.load_state_dict(opt.state_dict())
    assert [o is opt for o in seen] == [True] * 4
