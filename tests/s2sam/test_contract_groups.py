"""Groups that are added, names, a tensor as radius; what the object shows of itself."""

import torch
from optim_nets import make, network, through_a_file, train
from optim_support import bits

import s2sam
from s2sam import S2SAM, SAM


def test_groups_can_be_added_with_their_own_options():
    model, loss = network()
    opt = S2SAM(torch.optim.SGD(model[0].parameters(), lr=0.1), rho=0.1)
    train(opt, loss, 2)
    opt.zero_grad()
    opt.add_param_group({"params": (p for p in model[2].parameters()), "rho": 0.7, "lr": 0.01})
    extra = torch.nn.Parameter(torch.ones(2))
    opt.add_param_group({"params": extra})
    assert [(g["rho"], g["lr"]) for g in opt.param_groups] == [(0.1, 0.1), (0.7, 0.01), (0.1, 0.1)]
    w = bits(model.parameters())
    with opt.perturbed():
        assert bits(model[0].parameters()) != w[:2]
        assert bits(model[2].parameters()) == w[2:]  # no gradient of theirs yet
    model[2].zero_grad()
    train(opt, loss, 1)
    w = bits(model.parameters())
    with opt.perturbed():
        assert all(a != b for a, b in zip(bits(model.parameters()), w, strict=True))
    assert extra.tolist() == [1.0, 1.0]


def test_a_group_can_be_added_while_a_perturbation_is_held_or_applied():
    for inside in (False, True):
        model, loss = network()
        opt = S2SAM(torch.optim.SGD(model[0].parameters(), lr=0.1), rho=0.1)
        train(opt, loss, 2)
        w = bits(model.parameters())
        opt.perturb()
        y = bits(model.parameters())
        if not inside:
            opt.restore()
        opt.add_param_group({"params": model[2].parameters()})
        opt.restore()
        assert bits(model.parameters()) == w
        with opt.perturbed():
            assert bits(model.parameters()) == y


def test_names_of_parameters_are_kept():
    model, loss = network()
    opt = S2SAM(torch.optim.SGD(model.named_parameters(), lr=0.1))
    opt.add_param_group({"params": [("extra", torch.nn.Parameter(torch.ones(2)))]})
    assert [g["param_names"] for g in opt.param_groups] == [[k for k, _ in model.named_parameters()], ["extra"]]
    train(opt, loss, 2)


def test_a_tensor_radius_is_used_saved_and_scheduled_in_place():
    rho = torch.tensor(0.5)
    model, loss, opt = make(rho=rho)
    other, other_loss, plain = make(rho=0.5)
    for o, f in ((opt, loss), (plain, other_loss)):
        train(o, f, 3)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        # torch divides a number by multiplying it with 1/x: one ulp of rho, and roundings of entries below 4, 3 steps
        assert torch.allclose(p, q, rtol=0, atol=3 * 8 * 2.0**-24)
    with opt.perturbed():
        rho.fill_(0.25)
    w = bits(model.parameters())
    with opt.perturbed():
        moved = torch.cat([p.double().view(-1) for p in model.parameters()]) - torch.frombuffer(
            bytearray(b"".join(w)), dtype=torch.float32
        )
    assert abs(moved.norm() - 0.25) <= 67 * 4 * 2.0**-24  # y rounds to half an ulp of 67 entries below 4
    assert through_a_file(opt.state_dict())["param_groups"][0]["held_rho"] == 0.25


def test_a_tensor_radius_that_was_zero_perturbs_nothing_until_the_next_gradient_and_spoils_nothing():
    model, loss = network()
    opt = S2SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=torch.tensor(0.0))
    train(opt, loss, 2)
    w = bits(model.parameters())
    for rho in (0.0, 0.5, 1.0):  # the buffer holds zeros from the first on, whatever it is divided by
        opt.param_groups[0]["rho"] = torch.tensor(rho)
        with opt.perturbed():
            assert bits(model.parameters()) == w
    train(opt, loss, 1)
    with opt.perturbed():
        assert bits(model.parameters()) != w


def test_sam_at_the_radius_one_moves_by_one():
    """No radius but 0 is left out of the move."""
    p = torch.nn.Parameter(torch.tensor([3.0]))
    seen = []
    opt = SAM(torch.optim.SGD([p], lr=0.0), rho=1.0)

    def closure():
        opt.zero_grad()
        seen.append(p.item())
        loss = p.square().sum()
        loss.backward()
        return loss

    opt.step(closure)
    assert seen == [3.0, 4.0]


def test_it_is_an_optimizer_and_shows_its_options():
    _, _, opt = make()
    assert isinstance(opt, torch.optim.Optimizer)
    assert "S2SAM" in repr(opt)
    assert "rho: 0.1" in repr(opt)
    assert set(s2sam.__all__) == {"SAM", "S2SAM", "__version__"}
    assert isinstance(s2sam.__version__, str)


class Bare(torch.optim.Optimizer):
    """A base whose options have no "maximize": it descends."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.0})

    def step(self, closure=None):
        del closure


def test_a_base_without_the_option_maximize_is_perturbed_upwards():
    p = torch.nn.Parameter(torch.tensor([3.0]))
    opt = S2SAM(Bare([p]), rho=0.5)
    for y in (3.0, 3.5):
        with opt.perturbed():
            assert p.item() == y
            p.square().sum().backward()
        opt.step()
        opt.zero_grad()
