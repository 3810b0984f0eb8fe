"""Which parameters get a mask, how masks travel with the model, and that a refused call leaves nothing behind."""

import copy

import pytest
import torch
from optim_support import bits
from sparse_checks import WEIGHTS, Fixed, Net, assert_masked, clones, loss_of, network, through_a_file, train_step
from torch import nn

from s2sam import S2SAM
from s2sam.sparse.controller import Controller
from s2sam.sparse.masks import prunable


def buffers(model):
    return [n for n, _ in model.named_buffers() if n.endswith("_mask")]


def test_weights_of_convolutions_and_linear_layers_get_masks_and_nothing_else():
    model = network()
    before = bits(model.parameters())
    sparse = Controller(model)
    assert list(sparse.weights) == list(sparse.masks) == WEIGHTS
    assert buffers(model) == [f"{n}_mask" for n in WEIGHTS]
    assert sparse.shapes == {n: tuple(p.shape) for n, p in model.named_parameters() if n in WEIGHTS}
    assert all(sparse.weights[n] is p for n, p in model.named_parameters() if n in WEIGHTS)
    assert all(m.dtype is torch.bool and m.all() for m in sparse.masks.values())
    assert sparse.nonzeros == sum(w.numel() for w in sparse.weights.values())
    assert bits(model.parameters()) == before


def test_a_single_layer_is_a_model():
    sparse = Fixed(nn.Linear(4, 5), sparsity=0.5)
    assert list(sparse.masks) == ["weight"]
    assert sparse.nonzeros == 10


class Shared(nn.Module):
    """An embedding that its decoder shares, two linear layers that share a weight, and one layer used twice."""

    def __init__(self):
        super().__init__()
        self.embed, self.decode = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.one, self.two, self.again = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.decode.weight, self.two.weight = self.embed.weight, self.one.weight
        self.alias = self.again
        self.attention, self.other = nn.MultiheadAttention(4, 2), nn.Conv1d(4, 4, 1)

    def forward(self, x):
        return self.decode(self.alias(self.again(self.two(self.one(self.embed(x))))))


def test_shared_weights_get_one_mask_and_embeddings_none():
    model = Shared()
    sparse = Fixed(model, sparsity=0.75, distribution="uniform")
    assert list(sparse.masks) == ["one.weight", "again.weight", "attention.out_proj.weight"]
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    sparse.attach(opt)
    before = model.embed.weight.detach().clone()
    for _ in range(3):
        opt.zero_grad()
        model(torch.arange(7)).square().sum().backward()
        opt.step()
        assert_masked(model, opt)
    assert int(model.one.weight.count_nonzero()) == sparse.budget["one.weight"] == 4
    assert (model.embed.weight != before).all()
    assert model.two.weight is model.one.weight


@pytest.mark.parametrize("chosen", [["fc1", "conv2"], ["conv2.weight", "fc1.weight"], ("fc1.weight", "conv2")])
def test_layers_chooses_in_the_models_order(chosen):
    model = network()
    sparse = Fixed(model, sparsity=0.5, layers=chosen)
    assert list(sparse.masks) == ["conv2.weight", "fc1.weight"]
    assert buffers(model) == ["conv2.weight_mask", "fc1.weight_mask"]


def test_a_layer_whose_name_ends_like_a_weight_can_be_named():
    model = nn.ModuleDict({"my_weight": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    assert list(prunable(model, ["my_weight"])) == ["my_weight.weight"]
    assert Controller(model, 0.5, dense=["my_weight"]).budget == {"my_weight.weight": 4, "b.weight": 2}


ALL = str(WEIGHTS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 1.0}, "sparsity must be in [0, 1), got 1.0; give the fraction of weights to remove"),
        ({"sparsity": -0.5}, "sparsity must be in [0, 1), got -0.5; give the fraction of weights to remove"),
        ({"layers": ["bn1"]}, f"layers must name Conv2d or Linear layers, got ['bn1.weight']; the model has {ALL}"),
        ({"layers": []}, "model must have a Conv2d or Linear layer to prune, got Net without"),
        ({"dense": ["bn1"]}, f"dense must name prunable layers, got ['bn1.weight']; the layers are {ALL}"),
        (
            {"compensate": True, "distribution": {n: 0.1 for n in WEIGHTS}},
            "dense and compensate need a distribution by name, got another; give 'erk' or 'uniform'",
        ),
        (
            {"dense_first": True, "distribution": {n: 0.1 for n in WEIGHTS}},
            "dense and compensate need a distribution by name, got another; give 'erk' or 'uniform'",
        ),
        ({"distribution": "ERK"}, "distribution must be one of uniform, er, erk, got 'ERK'"),
        ({"distribution": 5}, "distribution must be one of uniform, er, erk, got 5"),
        (
            {"distribution": {"fc1.weight": 0.5}},
            "distribution must give a density for exactly the prunable layers, got a mismatch: "
            "['conv1.weight', 'conv2.weight', 'conv3.weight', 'fc2.weight']",
        ),
        ({"total_steps": 0}, "total_steps must be >= 1, got 0; give the optimizer steps of the training"),
    ],
)
def test_a_refused_call_leaves_the_model_without_masks(options, message):
    model = network()
    names, before = [n for n, _ in model.named_buffers()], bits(model.parameters())
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        Fixed(model, **options)
    assert str(caught.value) == message
    assert [n for n, _ in model.named_buffers()] == names
    assert bits(model.parameters()) == before
    assert Fixed(model).nonzeros > 0  # nothing is in the way of a good call


def test_a_ranking_of_all_layers_knows_no_dense_ones():
    class Ranking(Controller):
        own_distribution = None

    model = network()
    with pytest.raises(ValueError, match=r"^dense and compensate need a distribution by name, got another; "):
        Ranking(model, dense=["fc1"])
    assert buffers(model) == []
    assert Ranking(model).budget is None
    assert Fixed(network(), 0.8, None).budget == Fixed(network(), 0.8, "erk").budget  # None: the method's own


def test_nothing_to_prune_is_refused():
    with pytest.raises(ValueError, match=r"^model must have a Conv2d or Linear .*, got Sequential without$"):
        Controller(nn.Sequential(nn.Embedding(3, 3), nn.BatchNorm1d(3), nn.Conv1d(3, 3, 1)))


def test_a_second_controller_is_refused_until_the_first_is_done_or_has_other_layers():
    model = network()
    first = Fixed(model, layers=["fc1"])
    with pytest.raises(ValueError, match=r"^model must not be masked already, got masks on \['fc1.weight'\]; call fin"):
        Fixed(model)
    assert buffers(model) == ["fc1.weight_mask"]
    assert list(Fixed(model, layers=["conv1"]).masks) == ["conv1.weight"]
    first.finalize()
    assert list(Fixed(model, layers=["fc1", "fc2"]).masks) == ["fc1.weight", "fc2.weight"]


def test_masks_travel_in_the_models_state_dict():
    model, fresh = network(0), network(1)
    sparse, other = Fixed(model, 0.8, seed=0), Fixed(fresh, 0.8, seed=1)
    live = other.masks
    assert not torch.equal(live["fc1.weight"], sparse.masks["fc1.weight"])
    fresh.load_state_dict(through_a_file(model.state_dict()))
    for name, mask in sparse.masks.items():
        assert torch.equal(other.masks[name], mask)
        assert other.masks[name] is live[name]  # in place: what held the buffer sees it
    assert_masked(fresh)


def test_a_deepcopy_has_masks_of_its_own():
    model = network()
    sparse = Fixed(model, 0.8)
    twin = copy.deepcopy(model)
    sparse._set("fc1.weight", torch.zeros_like(sparse.masks["fc1.weight"]))
    assert_masked(twin)
    assert int(twin.fc1.weight_mask.sum()) == sparse.budget["fc1.weight"]


@pytest.mark.parametrize(
    "convert",
    [
        lambda m: m.half(),
        lambda m: m.bfloat16(),
        lambda m: m.double(),
        lambda m: m.to(torch.float16),
        lambda m: m.to("cpu", torch.bfloat16),
        lambda m: m.to(memory_format=torch.channels_last),
    ],
)
def test_conversion_leaves_masks_alone(convert):
    model = network()
    sparse = Fixed(model, 0.8)
    before = clones(sparse.masks)
    convert(model)
    for name, mask in sparse.masks.items():
        assert mask.dtype is torch.bool
        assert torch.equal(mask, before[name])
    assert all(sparse.weights[n] is p for n, p in model.named_parameters() if n in sparse.weights)
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sparse.attach(opt)
    train_step(model, opt, 0)
    assert_masked(model, opt)


def test_apply_also_removes_what_is_not_finite():
    model = network()
    sparse = Fixed(model, 0.8)
    opt = torch.optim.Adam(model.parameters())
    sparse.attach(opt)
    train_step(model, opt, 0)
    w = sparse.weights["fc1.weight"]
    pruned = ~sparse.masks["fc1.weight"]
    for t in (w.detach(), w.grad, opt.state[w]["exp_avg"], opt.state[w]["exp_avg_sq"]):
        t[pruned] = torch.tensor([torch.nan, torch.inf, -torch.inf]).repeat(100)[: int(pruned.sum())]
    with pytest.raises(AssertionError, match=r"of fc1.weight is not 0 where it is pruned"):
        assert_masked(model, opt)
    counter = opt.state[w]["step"].clone()
    sparse.apply()
    assert_masked(model, opt)
    assert opt.state[w]["step"] == counter


def test_masks_do_not_change_the_forward_of_the_weights_that_are_there():
    model = network()
    sparse = Fixed(model, 0.8)
    plain = Net(3)
    plain.load_state_dict({n: t for n, t in model.state_dict().items() if not n.endswith("_mask")})
    assert bits([loss_of(model, 0)]) == bits([loss_of(plain, 0)])
    assert sparse.nonzeros == sum(sparse.budget.values())


def test_finalize_gives_back_a_plain_module():
    model = network()
    sparse = Fixed(model, 0.8)
    opt = S2SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    sparse.attach(opt)
    for t in range(3):
        train_step(model, opt, t)
    masks = clones(sparse.masks)
    weights = bits(model.parameters())
    assert sparse.finalize() is model
    assert bits(model.parameters()) == weights
    assert buffers(model) == []
    assert sparse.nonzeros == sum(int(w.count_nonzero()) for w in sparse.weights.values()) > 0
    fresh = Net(3)
    fresh.load_state_dict(model.state_dict(), strict=True)
    assert bits([loss_of(fresh.eval(), 0)]) == bits([loss_of(model.eval(), 0)])
    assert all((dict(model.named_parameters())[n][~m] == 0).all() for n, m in masks.items())
    assert sparse.optimizer is None
    train_step(model.train(), opt, 0)  # nothing acts on the optimizer any more
    assert int(model.fc1.weight.count_nonzero()) > int(masks["fc1.weight"].sum())


def test_masks_wait_for_the_weights():
    model = network()
    sparse = Fixed(model, 0.8)
    opt = S2SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    sparse.attach(opt)
    train_step(model, opt, 0)
    for act in (sparse.apply, sparse.update, sparse.finalize):
        with (
            pytest.raises(RuntimeError, match=r"^topology must change at w, got perturbed weights; call .*"),
            opt.perturbed(),
        ):
            act()
        assert len(buffers(model)) == 5
    act()
    assert buffers(model) == []
