"""Shrinking: the small network computes what the large one did, and nothing that could go is left."""

import copy
import importlib

import numpy as np
import pytest
import torch
from torch import nn

from s2sam.sparse.channels import columns, groups, rows
from s2sam.sparse.shrink import shrink
from validation.models import MLP, VGG, CompactCNN, InvertedResidual, ResNet

NETWORKS = {
    "residual": lambda: ResNet(8, channels=2, widths=(5, 6, 7)),
    "vgg": lambda: VGG(11, channels=2, widths=(5, 6, 7, 6, 5)),
    "mobile": lambda: nn.Sequential(
        *(nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU6()),
        InvertedResidual(5, 4, expansion=1, stride=1),
        InvertedResidual(4, 4, expansion=3, stride=1),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    ),
    "flattened": lambda: CompactCNN(channels=2, width=4, norm=True),
    "biased": lambda: CompactCNN(channels=2, width=4),
    "linear": lambda: MLP(channels=2, side=8, widths=(9, 7)),
    "normed": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(128, 6), nn.BatchNorm1d(6, affine=False), nn.Hardtanh(), nn.Linear(6, 3)
    ),
}


def pruned(name, seed=0):
    """A float64 network with statistics that are not trivial, in which about half of all channels are unread."""
    torch.manual_seed(seed)
    net = NETWORKS[name]().double()
    with torch.no_grad():
        for norm in net.modules():
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                    if tensor is not None:
                        tensor.copy_(torch.rand_like(tensor) + 0.5)
                norm.running_mean.sub_(1.0)  # of both signs, so that few channels are dead behind a ReLU
        for group in groups(net):
            size = len(net.get_submodule(group.producer).weight)
            unread = torch.rand(size) < 0.5
            unread[-1] = False
            for consumer, per in group.consumers:
                net.get_submodule(consumer).weight[:, unread.repeat_interleave(per)] = 0
    return net


def check_same_outputs(net, small):
    for training in (False, True):
        x = torch.randn(6, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        large, little = copy.deepcopy(net).train(training), copy.deepcopy(small).train(training)
        for _ in range(2):  # the second time on the running statistics that the first has moved
            expected, got = large(x).detach(), little(x).detach()
            # float64, sums of at most 128 terms in another order, 20 layers, norms divide by deviations above 0.1:
            # 128 * 20 * 10 * 2^-53 = 3e-12, and 30 times that for cancellation.
            assert (got - expected).abs().max() <= 1e-10 * expected.abs().max()
            assert expected.abs().max() > 1e-3
            large.eval()
            little.eval()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(3))
def test_outputs_are_the_same(name, seed):
    net = pruned(name, seed)
    before = copy.deepcopy(net.state_dict())
    small = shrink(net)
    check_same_outputs(net, small)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in net.parameters())
    assert all(torch.equal(t, before[k]) for k, t in net.state_dict().items())
    assert not {t.data_ptr() for t in net.parameters()} & {t.data_ptr() for t in small.parameters()}


def test_a_shrink_that_misses_a_tensor_is_caught(monkeypatch):
    def forgets_the_mean(model, group):
        return {name: t for name, t in rows(model, group).items() if not name.endswith("running_mean")}

    def mixes_columns(weight, channels):
        return columns(weight, channels).flip(1)

    net = pruned("residual")
    for name, mutant in (("rows", forgets_the_mean), ("columns", mixes_columns)):
        with monkeypatch.context() as patch:
            patch.setattr(importlib.import_module("s2sam.sparse.shrink"), name, mutant)
            wrong = shrink(net)
        with pytest.raises((AssertionError, RuntimeError)):
            check_same_outputs(net, wrong)


def alive_by_hand(weights):
    """Channels left in a chain of weights (out, in, entries), by loops: unread ones go, one by one, but the last."""
    weights = [w.copy() for w in weights]
    alive = [set(range(w.shape[0])) for w in weights[:-1]]
    changed = True
    while changed:
        changed = False
        for layer, channels in reversed([*enumerate(alive)]):  # readers first: it decides which one is the last
            outputs = alive[layer + 1] if layer + 1 < len(alive) else range(weights[-1].shape[0])
            for j in sorted(channels, reverse=True):
                read = any(e != 0 for i in outputs for e in weights[layer + 1][i, j])
                if not read and len(channels) > 1:
                    channels.remove(j)
                    changed = True
    return [len(channels) for channels in alive]


@pytest.mark.parametrize("seed", range(8))
def test_what_is_left_by_loops(seed):
    torch.manual_seed(seed)
    net = CompactCNN(channels=2, width=4)
    net = nn.Sequential(
        *net.features[:-1], nn.Conv2d(8, 5, 2), nn.Flatten(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)
    )
    layers = [m for m in net.double() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for layer in layers:
            layer.weight.mul_(torch.rand_like(layer.weight) < 0.06 + 0.05 * seed)
    small = shrink(net)
    got = [m for m in small if isinstance(m, nn.Conv2d | nn.Linear)]
    expected = alive_by_hand([m.weight.detach().reshape(*m.weight.shape[:2], -1).numpy() for m in layers])
    assert [len(m.weight) for m in got[:-1]] == expected
    assert [m.weight.shape[1] for m in got[1:]] == expected
    assert np.prod(expected) < 4 * 8 * 5 * 4
    x = torch.randn(3, 2, 8, 8, dtype=torch.float64)
    assert (small(x) - net(x)).abs().max() <= 1e-12  # sums of at most 200 products below 1 in another order


def test_sizes_are_those_of_the_tensors():
    small = shrink(pruned("mobile"))
    for m in small.modules():
        if isinstance(m, nn.Conv2d):
            assert m.weight.shape[:2] == (m.out_channels, m.in_channels // m.groups)
        if isinstance(m, nn.Linear):
            assert m.weight.shape == (m.out_features, m.in_features)
        if isinstance(m, nn.BatchNorm2d):
            assert m.weight.shape == m.running_var.shape == (m.num_features,)
    depthwise = small[4].depthwise[0]
    assert 1 < depthwise.groups == depthwise.in_channels == depthwise.out_channels < 12


def test_a_network_that_reads_nothing_keeps_one_channel_of_each_layer():
    net = pruned("vgg")
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim > 1:
                p.zero_()
    small = shrink(net)
    assert {m.out_channels for m in small.modules() if isinstance(m, nn.Conv2d)} == {1}
    x = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    assert torch.equal(small.eval()(x), net.eval()(x))  # nothing but the classifier's bias


def test_masks_are_taken_off_the_copy_only():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    net[0].register_buffer("weight_mask", torch.ones(4, 3, dtype=torch.bool))
    net[0].register_buffer("bias_mask", torch.ones(4, dtype=torch.bool))
    net[0].register_buffer("other_mask", torch.ones(1))
    net[2].weight.requires_grad_(False)[:, 0] = 0
    small = shrink(net)
    assert set(dict(small.named_buffers())) == {"0.other_mask"}
    assert set(dict(net.named_buffers())) == {"0.weight_mask", "0.bias_mask", "0.other_mask"}
    assert small[0].weight.shape == (3, 3)
    assert [p.requires_grad for p in small.parameters()] == [True, True, False, True]


def test_nothing_to_cut_is_an_exact_copy():
    net = NETWORKS["residual"]()
    small = shrink(net)
    assert str(small) == str(net)
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), net.parameters(), strict=True))
