"""FLOPs: counts by loops, the published figures of ResNet-32, and costs that add up step by step."""

import math

import pytest
import torch
from torch import nn

from s2sam.sparse.channels import element_masks, groups
from s2sam.sparse.distributions import erk, uniform
from s2sam.sparse.flops import Flops, flops, grasp, snip, training
from s2sam.sparse.shrink import shrink
from validation.models import ResNet


def rigl(sparse, dense, interval):
    """The mean cost of RigL's batches: of `interval` + 1, one takes the dense gradient and makes no step."""
    return (interval * 3 * sparse + 2 * sparse + dense) / (interval + 1)


def lottery(sparse, steps, rewind=0):
    """The cost of iterative pruning at f_S of each round: the first trains from step 0, later ones from `rewind`."""
    return sum(3 * f * (steps - (rewind if i else 0)) for i, f in enumerate(sparse))


class Odd(nn.Module):
    """Strides, padding, dilation, groups, a layer called twice, a linear layer on a longer axis, one never called."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2))
        self.grouped = nn.Conv2d(6, 6, 3, groups=3, padding=1)
        self.rows, self.unused = nn.Linear(7, 5), nn.Linear(2, 2)

    def forward(self, x):
        x = self.first(x)
        return self.rows(self.grouped(self.grouped(x)))


def test_counts_by_loops():
    # Each output entry of a convolution sums (c_in/groups) kh kw products: a multiplication and an addition each.
    height = math.floor((8 + 2 * 1 - (3 - 1) - 1) / 2) + 1
    width = math.floor((9 + 2 * 0 - 2 * (2 - 1) - 1) / 1) + 1
    assert (height, width) == (4, 7)
    first = sum(2 for _ in range(6 * height * width) for _ in range(3 * 3 * 2))
    grouped = 2 * sum(2 for _ in range(6 * height * width) for _ in range(2 * 3 * 3))
    rows = sum(2 for _ in range(6 * height * 5) for _ in range(7))
    found = flops(Odd(), torch.zeros(3, 3, 8, 9))
    assert found.layers == {"first.weight": first, "grouped.weight": grouped, "rows.weight": rows, "unused.weight": 0}
    assert found.dense == first + grouped + rows
    assert flops(nn.Linear(4, 2), torch.zeros(7, 4)).layers == {"weight": 16}


@pytest.fixture(scope="module")
def resnet():
    net = ResNet(32)
    shapes = {f"{n}.weight": tuple(m.weight.shape) for n, m in net.named_modules() if hasattr(m, "weight")}
    return flops(net, torch.zeros(2, 3, 32, 32)), {n: s for n, s in shapes.items() if len(s) > 1}


def test_resnet_32_has_its_published_cost(resnet):
    """The multiply-adds of ResNet-32 at double width; half-way rounding of the stated digits is the tolerance."""
    found, shapes = resnet
    assert found.dense == 2 * 275_612_928
    for sparsity, ratio in ((0.9, 0.174905), (0.95, 0.087778)):
        assert found.forward(erk(shapes, sparsity)) / found.dense == pytest.approx(ratio, abs=5e-7)
    others = [name for name, shape in shapes.items() if shape[2:] != (3, 3) or name == "conv1.weight"]
    assert found.forward(uniform(shapes, 0.9, dense=others)) / found.dense == pytest.approx(0.106317, abs=5e-7)
    of_training = rigl(found.forward(erk(shapes, 0.9)), found.dense, 100) / training(found.dense)
    assert of_training == pytest.approx(0.177628, abs=5e-7)


def test_dense_first_layer_is_that_of_rigl_on_resnet_50():
    """RigL's README: 0.23 of the dense inference at uniform 0.8; 2.9 % of the work is in the dense stem."""
    cost = Flops({"stem": 2.9, "rest": 97.1})
    assert cost.forward({"rest": 0.2}) / cost.dense == pytest.approx(0.223, abs=5e-4)


def test_densities_and_masks_agree():
    cost = Flops({"a": 10.0, "b": 30.0, "c": 5.0})
    mask = torch.tensor([[True, False, False, True], [False, False, True, False]])
    assert cost.forward() == cost.dense == 45
    assert cost.forward({"b": mask, "c": torch.ones(3, dtype=torch.bool), "a.bias": mask}) == 10 + 30 * 3 / 8 + 5
    assert cost.forward({"b": mask}) == cost.forward({"b": 0.375})


def test_costs_of_methods_add_up_step_by_step():
    cost = Flops({"a": 8.0, "b": 24.0})
    kept = {"a": 0.5, "b": 0.25}
    sparse, dense, interval = 10.0, 32.0, 7
    steps = [training(cost.forward(kept), cost.dense if t == interval else None) for t in range(interval + 1)]
    assert steps == [30.0] * interval + [52.0]
    assert sum(steps) / (interval + 1) == rigl(sparse, dense, interval) == (3 * 10 * 7 + 2 * 10 + 32) / 8
    assert training(cost.forward(kept), cost.dense) == 2 * sparse + dense  # a method that always takes it (SNFS)
    assert training(cost.forward()) == 3 * dense


def test_costs_of_scores_and_rounds():
    assert snip(32.0, 100) == 9600
    assert grasp(32.0, 100) == 38400
    # Dense for 10 steps, then two rounds from step 2.
    rounds = [(32.0, range(10)), (20.0, range(2, 10)), (10.0, range(2, 10))]
    added_up = sum(training(sparse) for sparse, steps in rounds for _ in steps)
    assert added_up == lottery([32.0, 20.0, 10.0], 10, rewind=2) == 3 * (32 * 10 + 20 * 8 + 10 * 8)
    assert sum(training(32.0) for _ in range(10)) == lottery([32.0], 10, rewind=2) == 960


def test_masks_of_channels_cost_what_the_small_network_costs():
    net, x = ResNet(8, channels=2, widths=(4, 6, 8)), torch.zeros(2, 2, 8, 8)
    kept = {g: torch.rand(len(net.get_submodule(g.producer).weight)) < 0.5 for g in groups(net)}
    assert all(mask.any() and not mask.all() for mask in kept.values())
    masks = element_masks(net, kept)
    with torch.no_grad():
        for name, mask in masks.items():
            net.state_dict()[name].mul_(mask)
    # Both are sums of integers divided by powers of 2 and by numbers of entries: one rounding for each layer.
    assert flops(net, x).forward(masks) == pytest.approx(flops(shrink(net), x).dense, rel=1e-14)
    assert flops(net, x).forward(masks) < flops(net, x).dense


def test_the_network_is_left_as_it_is():
    net = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Dropout(), nn.Flatten(), nn.Linear(12, 2))
    net[2].eval()
    before = {k: t.clone() for k, t in net.state_dict().items()}
    random = torch.get_rng_state()
    flops(net, torch.ones(4, 2, 2, 2))
    with pytest.raises(RuntimeError):
        flops(net, torch.ones(4, 3, 2, 2))
    assert all(torch.equal(t, before[k]) for k, t in net.state_dict().items())
    assert [m.training for m in net.modules()] == [True, True, True, False, True, True]
    assert not any(m._forward_hooks for m in net.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in net.parameters())
