"""Groups of channels: those of known networks, what makes a layer ineligible, and what a group promises."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from s2sam.sparse.channels import Group, columns, element_masks, groups, rows
from validation.models import VGG, CompactCNN, InvertedResidual, ResNet

NETWORKS = {
    "residual": lambda: ResNet(8, channels=2, widths=(3, 4, 5)),
    "vgg": lambda: VGG(11, channels=2, widths=(3, 4, 5, 4, 3)),
    "mobile": lambda: nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU6()),
        InvertedResidual(4, 3, expansion=1, stride=1),
        InvertedResidual(3, 4, expansion=2, stride=2),
        InvertedResidual(4, 4, expansion=2, stride=1),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    ),
    "flattened": lambda: CompactCNN(channels=2, width=3, norm=True),
    "viewed": lambda: Small(lambda net, x: net.fc(net.conv(x).relu().view(x.size(0), -1))),
}


class Small(nn.Module):
    """One convolution (4 channels), one linear layer that reads maps of 8 x 8 one by one, and a forward to choose."""

    def __init__(self, forward, **more):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(256, 3)
        for name, module in more.items():
            self.add_module(name, module)
        self.chosen = forward

    def forward(self, x):
        return self.chosen(self, x)


FLATTENED = (Group("conv", (), (), (("fc", 64),)),)
ELIGIBLE = {
    "torch.flatten": lambda n, x: n.fc(torch.flatten(F.relu(n.conv(x)), 1)),
    "flatten": lambda n, x: n.fc(n.conv(x).flatten(start_dim=1)),
    "flatten to the last axis": lambda n, x: n.fc(n.conv(x).flatten(1, -1)),
    "view": lambda n, x: n.fc((2 * n.conv(x) + 1).view(x.size(0), -1)),
    "view of its own size": lambda n, x: n.fc((y := n.conv(x)).view(y.size()[0], -1)),
    "view of a shape": lambda n, x: n.fc((y := n.conv(x)).view((y.shape[0], -1))),
    "reshape": lambda n, x: n.fc(torch.reshape(F.dropout(n.conv(x), 0.1), (x.shape[0], -1))),
    "pool to the size of the input": lambda n, x: n.fc(F.avg_pool2d(y := n.conv(x), 1).sub(y.size(3)).flatten(1)),
}


@pytest.mark.parametrize("name", ELIGIBLE)
def test_ways_to_flatten(name):
    assert tuple(groups(Small(ELIGIBLE[name]))) == FLATTENED


def test_means_leave_one_column_for_a_channel():
    for mean in (
        lambda y: y.mean((2, 3)),
        lambda y: torch.mean(y, dim=[-2, -1]),
        lambda y: F.relu6(y).mean(dim=(3, 2)),
    ):
        net = Small(lambda n, x, mean=mean: n.head(mean(n.conv(x))), head=nn.Linear(4, 3))
        assert groups(net) == [Group("conv", (), (), (("head", 1),))]


INELIGIBLE = {
    "added": lambda n, x: n.fc((n.conv(x) + n.other(x)).flatten(1)),
    "also added": lambda n, x: n.fc((n.fc(n.conv(x).flatten(1)).sum() + n.conv.bias.sum()) * x.flatten(1)),
    "multiplied": lambda n, x: n.fc((n.conv(x) * x.mean(1, keepdim=True)).flatten(1)),
    "concatenated": lambda n, x: n.fc(torch.cat([n.conv(x), n.other(x)], 2).flatten(1)[:, :256]),
    "returned": lambda n, x: n.conv(x),
    "returned too": lambda n, x: (y := n.conv(x), n.fc(y.flatten(1))),
    "called twice": lambda n, x: n.fc(n.conv(x).flatten(1)) + n.fc(n.conv(x).flatten(1)),
    "read outside its call": lambda n, x: n.fc(n.conv(x).flatten(1)) + n.conv.weight.sum(),
    "reader read outside its call": lambda n, x: n.fc(n.conv(x).flatten(1)) + n.fc.weight.sum(),
    "a norm across channels": lambda n, x: n.fc(n.across(n.conv(x)).flatten(1)),
    "grouped reader": lambda n, x: n.fc(n.grouped(n.conv(x)).flatten(1)),
    "its channels counted": lambda n, x: n.fc((y := n.conv(x)).flatten(1)) * y.size(1),
    "its channels counted from a shape": lambda n, x: n.fc((y := n.conv(x)).flatten(1)) / y.shape[1],
    "its shape taken apart": lambda n, x: n.fc((y := n.conv(x)).flatten(1)) * len(y.shape),
    "a fixed view": lambda n, x: n.fc(n.conv(x).view(-1, 256)),
    "a partial flatten": lambda n, x: n.fc(n.conv(x).flatten(2).flatten(1)),
    "a mean over one axis": lambda n, x: n.conv(x).mean(2),
    "linear on an axis of the maps": lambda n, x: n.last(n.conv(x)),
    "indexed": lambda n, x: n.fc(n.conv(x)[:, :4].flatten(1)),
    "softmax": lambda n, x: n.fc(n.conv(x).softmax(1).flatten(1)),
    "a part of its shape": lambda n, x: n.fc(F.avg_pool2d(y := n.conv(x), y.shape[2:]).flatten(1)),
    "multiplied by a sum that starts with a number": lambda n, x: n.fc((n.conv(x) * (2 + x.mean())).flatten(1)),
}


@pytest.mark.parametrize("name", INELIGIBLE)
def test_a_use_not_known_to_treat_channels_alone_keeps_them(name):
    more = {"other": nn.Conv2d(2, 4, 1), "across": nn.GroupNorm(1, 4), "grouped": nn.Conv2d(4, 4, 1, groups=2)}
    net = Small(INELIGIBLE[name], **more, last=nn.Linear(8, 2))
    try:
        producers = [group.producer for group in groups(net)]
    except ValueError:  # len() of a stand-in: not readable at all
        producers = []
    assert "conv" not in producers


def test_a_shared_parameter_keeps_its_channels():
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    assert [g.producer for g in groups(net)] == ["0", "2"]
    net[2].weight = net[0].weight
    assert groups(net) == []


def test_a_reparametrised_weight_keeps_its_channels():
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    nn.utils.parametrizations.weight_norm(net[0])
    assert groups(net) == []


def test_only_the_first_convolution_of_a_block_is_free():
    blocks = [f"layer{stage}.{i}" for stage in (1, 2, 3) for i in range(5)]
    expected = [Group(f"{b}.conv1", (f"{b}.bn1",), (), ((f"{b}.conv2", 1),)) for b in blocks]
    assert groups(ResNet(32)) == expected


def test_an_expansion_passes_through_its_depthwise_convolution():
    assert groups(NETWORKS["mobile"]()) == [
        Group("0", ("1", "3.depthwise.1"), ("3.depthwise.0",), (("3.project.0", 1),)),
        Group("3.project.0", ("3.project.1",), (), (("4.expand.0", 1),)),
        Group("4.expand.0", ("4.expand.1", "4.depthwise.1"), ("4.depthwise.0",), (("4.project.0", 1),)),
        # 4.project.0 and 5.project.0 are added to each other.
        Group("5.expand.0", ("5.expand.1", "5.depthwise.1"), ("5.depthwise.0",), (("5.project.0", 1),)),
    ]


def test_a_forward_that_cannot_be_read_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"model must be readable by torch.fx, got .*; write its forward") as caught:
        groups(Small(lambda net, x: net.fc(x) if x.sum() > 0 else x))
    assert "\n" not in str(caught.value)


def output(net, x):
    with torch.no_grad():
        return net.double()(x)


def check_promise(make, training):
    """With its columns zero a channel may do anything; with them as they are it matters."""
    net = make().train(training)
    x = torch.randn(4, 2, 8, 8, dtype=torch.float64)
    assert groups(net)
    for group in groups(net):
        size = len(net.get_submodule(group.producer).weight)
        for j in range(size):
            broken, cut = copy.deepcopy(net).double(), copy.deepcopy(net).double()
            kept = torch.arange(size) != j
            for name, mask in element_masks(cut, {group: kept}).items():
                if name in [f"{consumer}.weight" for consumer, _ in group.consumers]:
                    cut.get_parameter(name).data[~mask] = 0
            before = output(copy.deepcopy(cut), x), output(copy.deepcopy(broken), x)
            for twin in (cut, broken):
                for name, tensor in rows(twin, group).items():
                    tensor.data[j] += 3.0 if "var" in name else torch.randn_like(tensor[j])
            # Zero columns times anything finite add an exact 0 to each sum.
            assert torch.equal(output(cut, x), before[0])
            assert not torch.equal(output(broken, x), before[1])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_channel_without_columns_is_not_read(name):
    check_promise(NETWORKS[name], training=name != "residual")


def test_the_promise_needs_the_right_columns(monkeypatch):
    def interleaved(self, repeats):
        return self.repeat(repeats)

    monkeypatch.setattr(torch.Tensor, "repeat_interleave", interleaved)
    with pytest.raises(AssertionError):
        check_promise(NETWORKS["flattened"], training=False)


@pytest.mark.parametrize("name", NETWORKS)
def test_element_masks_are_rows_and_columns(name):
    net, generator = NETWORKS[name](), torch.Generator().manual_seed(1)
    kept = {}
    for group in groups(net):
        kept[group] = torch.rand(len(net.get_submodule(group.producer).weight), generator=generator) < 0.6
    expected = {}
    for group, mask in kept.items():
        for owner in (group.producer, *group.norms, *group.depthwise):
            for attribute, t in net.get_submodule(owner).state_dict().items():
                if t.ndim == 0:  # the number of batches
                    continue
                array = expected.setdefault(f"{owner}.{attribute}", np.ones(t.shape, dtype=bool))
                for j in range(len(mask)):
                    if not mask[j]:
                        array[j] = False
        for owner, per in group.consumers:
            weight = net.get_submodule(owner).weight
            array = expected.setdefault(f"{owner}.weight", np.ones(weight.shape, dtype=bool))
            for column in range(weight.shape[1]):
                if not mask[column // per]:
                    array[:, column] = False
    masks = element_masks(net, kept)
    assert masks.keys() == expected.keys()
    assert all(np.array_equal(masks[k].numpy(), expected[k]) for k in masks)


def test_columns_of_a_channel():
    weight = torch.arange(24).view(2, 6, 2, 1)
    assert columns(weight, 3)[:, 1].tolist() == [[4, 5, 6, 7], [16, 17, 18, 19]]


def test_run_time_type_checks_that_refuse_the_mark_of_torch_fx_are_reported():
    def refusing(self, x):
        if not isinstance(x, torch.Tensor):
            raise TypeError("x must be a tensor")
        return Small.forward(self, x)

    net = Small(ELIGIBLE["flatten"])
    assert tuple(groups(net)) == FLATTENED
    net.__class__ = type("Refusing", (Small,), {"forward": refusing})
    with pytest.raises(ValueError, match=r"^model must be readable by torch.fx, got 'x must be a tensor'; write its"):
        groups(net)
