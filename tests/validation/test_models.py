"""The networks: sizes known from the papers, every layer reached, readable by torch.fx, the compact one unchanged."""

import itertools
import math

import pytest
import torch
from torch import nn

from validation import models
from validation.models import MLP, MODELS, VGG, CompactCNN, MobileNetV2, ResNet


def weights(model: nn.Module) -> dict[str, int]:
    """Sizes of the weights of convolutions and linear layers, by name."""
    return {k: m.weight.numel() for k, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


def multiply_adds(model: nn.Module, side: int) -> int:
    """Multiply-adds of the convolutions and linear layers for one image: each output is one filter's scalar product."""
    total = 0

    def count(module, _, output):
        nonlocal total
        total += output.numel() * math.prod(module.weight.shape[1:])

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    return total


def check_resnet32(model: nn.Module) -> None:
    size = weights(model)
    assert len(size) == 34
    assert sum(size.values()) == 1_855_584
    blocks = {k: n for k, n in size.items() if k.startswith("layer") and "shortcut" not in k}
    assert list(blocks) == [f"layer{s}.{b}.conv{c}" for s, b, c in itertools.product((1, 2, 3), range(5), (1, 2))]
    assert sum(blocks.values()) == 1_843_200
    assert {k: n for k, n in size.items() if k not in blocks} == {
        "conv1": 27 * 32,
        "layer2.0.shortcut.conv": 32 * 64,
        "layer3.0.shortcut.conv": 64 * 128,
        "fc": 1280,
    }
    assert multiply_adds(model, 32) == 275_612_928


def test_resnet32_is_the_one_of_the_papers():
    check_resnet32(ResNet())


def test_resnet8_is_the_smallest_of_its_family():
    """Stem 27*32, one block of two convolutions in each stage, two shortcuts, a linear layer."""
    model, other = MODELS["resnet8"](), MODELS["resnet32"]()
    blocks = 9 * (2 * 32**2 + 32 * 64 + 64**2 + 64 * 128 + 128**2)
    assert sum(weights(model).values()) == 864 + blocks + 32 * 64 + 64 * 128 + 1280
    assert sum(weights(other).values()) == 1_855_584


@pytest.mark.parametrize("mutant", [{"depth": 26}, {"widths": (16, 32, 64)}, {"classes": 100}, {"channels": 1}])
def test_another_resnet_fails_the_check(mutant):
    with pytest.raises(AssertionError):
        check_resnet32(ResNet(**mutant))


def test_a_stage_that_keeps_the_size_fails_the_check():
    model = ResNet()
    model.layer2[0].conv1.stride = model.layer2[0].shortcut.conv.stride = (1, 1)
    with pytest.raises(AssertionError):
        check_resnet32(model)


def test_residual_block_by_hand():
    """With norms that are the identity at evaluation, the block is relu(conv2(relu(conv1 x)) + shortcut x)."""
    block = models.BasicBlock(1, 2, stride=2).eval()
    for conv in (block.conv1, block.conv2, block.shortcut.conv):
        nn.init.zeros_(conv.weight)
    for norm in (block.bn1, block.bn2, block.shortcut.bn):
        norm.eps = 0.0  # running statistics are 0 and 1, so the norm is the identity
    with torch.no_grad():
        block.conv1.weight[:, 0, 1, 1] = torch.tensor([1.0, -1.0])  # channel 0: x, channel 1: -x
        block.conv2.weight[[0, 1], [0, 1], 1, 1] = torch.tensor([2.0, 5.0])
        block.shortcut.conv.weight[:, 0] = torch.tensor([1.0, -3.0])[:, None, None]
    x = torch.tensor([[4.0, 0.0], [0.0, 0.0]])[None, None]  # stride 2 sees the corner
    assert block(x).flatten().tolist() == [2 * 4 + 4, 0]
    assert block(-x).flatten().tolist() == [0, 5 * 4 + 3 * 4]


def test_inverted_residual_adds_only_where_the_shape_is_kept():
    def change(block, x):
        nn.init.zeros_(block.project[1].weight)  # the last norm gives 0: what is left is the input, if it is added
        return block.eval()(x)

    x = torch.randn(2, 4, 6, 6)
    assert torch.equal(change(models.InvertedResidual(4, 4, expansion=6, stride=1), x), x)
    assert change(models.InvertedResidual(4, 4, expansion=6, stride=2), x).tolist() == torch.zeros(2, 4, 3, 3).tolist()
    assert change(models.InvertedResidual(4, 5, expansion=1, stride=1), x).tolist() == torch.zeros(2, 5, 6, 6).tolist()


def test_sizes_known_from_the_literature():
    """784*300 + 300*100 + 1000 (LeNet-300-100); VGG-19's convolutions, 5504 norms; MobileNetV2's 3.5M parameters."""
    assert weights(MLP()) == {"features.1": 235_200, "features.3": 30_000, "classifier": 1_000}
    vgg = weights(VGG())
    assert len(vgg) == 17
    widths = (3, *[64] * 2, *[128] * 2, *[256] * 4, *[512] * 8)
    assert list(vgg.values()) == [9 * a * b for a, b in itertools.pairwise(widths)] + [5120]
    assert sum(p.numel() for p in VGG().parameters()) == 20_035_018
    assert sum(p.numel() for p in MobileNetV2(1000).parameters()) == 3_504_872
    assert len(weights(MobileNetV2())) == 53  # stem, 16 blocks of three and one of two, head, classifier


@pytest.mark.parametrize(("depth", "count"), [(11, 8), (13, 10), (16, 13), (19, 16)])
def test_vgg_counts_three_layers_that_it_has_no_more(depth, count):
    names = [k for k, m in VGG(depth, widths=(4, 4, 4, 4, 4)).named_modules() if isinstance(m, nn.Conv2d)]
    assert len(names) == count == depth - 3


def test_maps_before_the_average():
    """32 x 32 is left as 8 x 8 by the ResNet, 2 x 2 by VGG and 4 x 4 by MobileNetV2."""
    for model, side in ((ResNet(8), 8), (VGG(11), 2), (MobileNetV2(), 4)):
        pool = next(m for m in model.modules() if isinstance(m, nn.AdaptiveAvgPool2d))
        seen = []
        pool.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(tuple(args[0].shape[2:])))
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, 32, 32))
        assert seen == [(side, side)]


CASES = [(name, side) for name in MODELS for side in (8, 28, 32)]


@pytest.mark.parametrize(("name", "side"), CASES)
def test_every_network_trains_on_images_of_every_size(name, side):
    """One step in training mode reaches every parameter; classes and channels are those asked for."""
    model = MODELS[name](classes=7, channels=2, side=side)
    logits = model(torch.randn(3, 2, side, side))
    assert logits.shape == (3, 7)
    nn.functional.cross_entropy(logits, torch.tensor([0, 3, 6])).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@pytest.mark.parametrize("name", MODELS)
def test_fx_reads_every_network(name):
    """The traced graph has every layer with weights, additions as `+`, and computes the same numbers."""
    model = MODELS[name](classes=5, channels=1, side=8).eval()
    traced = torch.fx.symbolic_trace(model)
    called = {node.target for node in traced.graph.nodes if node.op == "call_module"}
    assert set(weights(model)) <= called
    functions = {node.target.__name__ for node in traced.graph.nodes if node.op == "call_function"}
    assert functions == ({"add"} if name in ("resnet8", "resnet32", "mobilenet-v2") else set())
    assert not [node for node in traced.graph.nodes if node.op == "call_method"]
    x = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(traced(x), model(x))


def former_compact(classes=10, channels=1, side=8, width=8):
    """The layers of the compact network, in the order in which they draw their weights."""
    return [
        nn.Conv2d(channels, width, 3, stride=2, padding=1),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.Linear(2 * width * (side // 4) ** 2, classes),
    ]


def check_unchanged(model: nn.Module, layers: list[nn.Module], x: torch.Tensor) -> None:
    first, second, last = layers
    names = [f"{place}.{kind}" for place in ("features.0", "features.2", "classifier") for kind in ("weight", "bias")]
    assert list(model.state_dict()) == names
    for p, q in zip(model.parameters(), (q for layer in layers for q in layer.parameters()), strict=True):
        assert torch.equal(p, q)
    gelu = nn.functional.gelu
    assert torch.equal(model(x), last(gelu(second(gelu(first(x)))).flatten(1)))


@pytest.mark.parametrize("arguments", [{}, {"classes": 3, "channels": 2, "side": 28, "width": 5}])
def test_the_compact_network_draws_what_it_drew(arguments):
    """Rows are committed that depend on its weights, so the default must stay as it was."""
    x = torch.randn(3, arguments.get("channels", 1), arguments.get("side", 8), arguments.get("side", 8))
    made = []
    for build in (CompactCNN, former_compact, CompactCNN):
        torch.manual_seed(5)
        made.append(build(**arguments))
    check_unchanged(made[0], made[1], x)
    with pytest.raises(AssertionError):
        check_unchanged(CompactCNN(**arguments), made[1], x)  # another draw
    with pytest.raises(AssertionError):
        check_unchanged(CompactCNN(**arguments, norm=True), made[1], x)


def test_normalised_compact_network():
    kinds = [type(m).__name__ for m in CompactCNN(norm=True).features]
    assert kinds == ["Conv2d", "BatchNorm2d", "GELU", "Conv2d", "BatchNorm2d", "GELU", "Flatten"]
    assert [k for k, _ in CompactCNN(norm=True).features.named_parameters() if k in ("0.bias", "3.bias")] == []
    assert MODELS["compact"](classes=10, channels=1, side=28).features[0].out_channels == 32


def check_normal(w: torch.Tensor, variance: float) -> None:
    """Check the mean square of n entries, and that one lies beyond two deviations, where a uniform draw cannot.

    The mean square has relative deviation sqrt(2/n); beyond six of them lie less than 1e-6 of the draws, also at the
    smallest layer's n = 288, where the distribution leans to the right. None of 288 beyond two: 0.954^288 = 1e-6.
    """
    assert float((w**2).mean()) / variance == pytest.approx(1, abs=6 * math.sqrt(2 / w.numel()))
    assert float(w.abs().max()) > 2 * math.sqrt(variance)


@pytest.mark.parametrize("name", ["resnet32", "vgg19", "mobilenet-v2"])
def test_initial_weights_of_the_cifar_networks(name):
    """Convolutions have variance 2/(k^2 c_out), linear layers deviation 0.01; norms and biases start as identity."""
    model = MODELS[name](classes=10, channels=3, side=32)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            w = module.weight.detach()
            variance = 2 / (math.prod(w.shape[2:]) * len(w)) if w.dim() == 4 else 1e-4
            check_normal(w, variance)
        if isinstance(module, nn.Linear):
            assert not module.bias.any()
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert not module.bias.any()


def test_initial_weights_of_the_mlp():
    """Glorot's normal: variance 2/(n_in + n_out)."""
    for module in MLP().modules():
        if isinstance(module, nn.Linear):
            w = module.weight.detach()
            check_normal(w, 2 / sum(w.shape))
            assert not module.bias.any()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CompactCNN(side=10), "side must be a positive multiple of 4, got 10; pad or crop the images"),
        (lambda: ResNet(30), "depth must be 6n \\+ 2 with n >= 1, got 30; take 8, 20"),
        (lambda: ResNet(2), "depth must be 6n \\+ 2 with n >= 1, got 2"),
        (lambda: VGG(18), "depth must be one of 11, 13, 16, 19, got 18"),
    ],
)
def test_sizes_that_do_not_exist_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
