"""Networks to train: small ones for digits and clothes, and the CIFAR networks of the sparse training literature.

All are built of `torch.nn` layers and plain additions, so `torch.fx.symbolic_trace` reads them; those for CIFAR average
what their strides leave of an image of any size. `MODELS` gives each a name and one signature.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from torch import Tensor, nn
from torch.fx import Proxy

Signal = Tensor | Proxy  # what flows through a network: numbers, or the mark by which torch.fx follows them
VGG_STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # Table 1: A, B, D, E
# Channels, blocks and first stride of Sandler et al., Table 2, its first stride 2 after the stem made 1.
MOBILE_STAGES = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))


class Plain(nn.Module):
    """Features, then one linear layer: what the networks below without a name for each stage have in common."""

    features: nn.Sequential
    classifier: nn.Linear

    def forward(self, x: Signal) -> Signal:
        """Map images (n, channels, side, side) to logits (n, classes)."""
        return self.classifier(self.features(x))


class MLP(Plain):
    """LeNet-300-100, the fully connected network of the pruning literature: 266,200 weights on 28 x 28 images.

    Weights from the Gaussian of Glorot & Bengio (AISTATS 2010), biases 0, as in Frankle & Carbin (ICLR 2019, Figure 2).

    Args:
        classes: number of outputs. channels: input channels. side: height and width of the images.
        widths: sizes of the hidden layers, in order.
    """

    def __init__(self, classes: int = 10, *, channels: int = 1, side: int = 28, widths: Sequence[int] = (300, 100)):
        super().__init__()
        sizes = [channels * side**2, *widths]
        layers = [layer for before, after in pairwise(sizes) for layer in (nn.Linear(before, after), nn.ReLU())]
        self.features = nn.Sequential(nn.Flatten(), *layers)
        self.classifier = nn.Linear(sizes[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)


class CompactCNN(Plain):
    """Two convolutions and a linear layer for small images; GELU keeps the loss smooth.

    Args:
        classes: number of outputs. channels: input channels. side: height and width of the images (a multiple of 4).
        width: channels of the first convolution; the second has twice as many.
        norm: batch-normalise after each convolution, which then has no bias (it would cancel).

    Raises:
        ValueError: when side is not a positive multiple of 4.
    """

    def __init__(self, classes: int = 10, *, channels: int = 1, side: int = 8, width: int = 8, norm: bool = False):
        super().__init__()
        if side < 4 or side % 4:
            raise ValueError(f"side must be a positive multiple of 4, got {side}; pad or crop the images")
        layers: list[nn.Module] = []
        for before, after in ((channels, width), (width, 2 * width)):
            layers.append(nn.Conv2d(before, after, 3, stride=2, padding=1, bias=not norm))
            layers += [nn.BatchNorm2d(after), nn.GELU()] if norm else [nn.GELU()]
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.classifier = nn.Linear(2 * width * (side // 4) ** 2, classes)


def _conv(before: int, after: int, kernel: int = 3, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a convolution that keeps the size at stride 1, without the bias that the norm after it would cancel."""
    return nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)


def _clipped(conv: nn.Conv2d) -> nn.Sequential:
    """Return the convolution, normalised, and cut to [0, 6]."""
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU6())


def _average() -> nn.Sequential:
    """Return the mean over each channel's map: (n, c, h, w) -> (n, c)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _initialise(network: nn.Module) -> None:
    """Draw weights as the released code of GraSP does (Wang et al. 2020); norms start as the identity already.

    Convolutions: normal, variance 2/(k^2 c_out) (He et al., ICCV 2015, Section 2.2); linear: deviation 0.01, biases 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
            nn.init.zeros_(module.bias)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions around which the input is carried (He et al., CVPR 2016, Figure 2).

    Where the shape changes, the shortcut is a normalised 1 x 1 convolution (their option B); elsewhere it is empty.

    Args:
        before, after: channels in and out. stride: of the first convolution.
    """

    def __init__(self, before: int, after: int, stride: int = 1):
        super().__init__()
        self.conv1, self.bn1, self.relu1 = _conv(before, after, stride=stride), nn.BatchNorm2d(after), nn.ReLU()
        self.conv2, self.bn2, self.relu2 = _conv(after, after), nn.BatchNorm2d(after), nn.ReLU()
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut.add_module("conv", _conv(before, after, 1, stride=stride))
            self.shortcut.add_module("bn", nn.BatchNorm2d(after))

    def forward(self, x: Signal) -> Signal:
        """Map (n, before, h, w) to (n, after, ceil(h/stride), ceil(w/stride))."""
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(y + self.shortcut(x))


class ResNet(nn.Module):
    """The residual network for CIFAR of He et al. (CVPR 2016, Section 4.2), at the pruning literature's double width.

    Three stages of n basic blocks. The original widths are 16, 32, 64 with parameter-free shortcuts; the line from
    GraSP (Wang et al., ICLR 2020) to MEST (Yuan et al., NeurIPS 2021) takes 32, 64, 128 and projections: at depth 32
    with 10 classes 1,855,584 weights in 34 layers, and 275,612,928 multiply-adds for a 32 x 32 image.

    Args:
        depth: 6n + 2, at least 8. classes: number of outputs. channels: input channels.
        widths: channels of the three stages; the second and third halve the image.

    Raises:
        ValueError: when depth is not 6n + 2.
    """

    def __init__(self, depth: int = 32, classes: int = 10, *, channels: int = 3, widths: Sequence[int] = (32, 64, 128)):
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth must be 6n + 2 with n >= 1, got {depth}; take 8, 20, 32, 44, 56 or 110")
        first, second, third = widths
        self.conv1, self.bn1, self.relu = _conv(channels, first), nn.BatchNorm2d(first), nn.ReLU()
        self.layer1 = self._stage(first, first, depth // 6, 1)
        self.layer2 = self._stage(first, second, depth // 6, 2)
        self.layer3 = self._stage(second, third, depth // 6, 2)
        self.pool, self.fc = _average(), nn.Linear(third, classes)
        _initialise(self)

    @staticmethod
    def _stage(before: int, after: int, blocks: int, stride: int) -> nn.Sequential:
        return nn.Sequential(BasicBlock(before, after, stride), *(BasicBlock(after, after) for _ in range(blocks - 1)))

    def forward(self, x: Signal) -> Signal:
        """Map images (n, channels, h, w) to logits (n, classes)."""
        y = self.layer1(self.relu(self.bn1(self.conv1(x))))
        return self.fc(self.pool(self.layer3(self.layer2(y))))


class VGG(Plain):
    """The network of Simonyan & Zisserman (ICLR 2015, Table 1) with batch norm, in the pruning line's CIFAR form.

    Five stages of 3 x 3 convolutions with max pooling between; then a global average and one linear layer where the
    original has three. At depth 19: 16 convolutions; the name keeps counting the original's 19 layers.

    Args:
        depth: 11, 13, 16 or 19. classes: number of outputs. channels: input channels.
        widths: channels of the five stages.

    Raises:
        ValueError: when depth is none of those.
    """

    def __init__(
        self, depth: int = 19, classes: int = 10, *, channels: int = 3, widths: Sequence[int] = (64, 128, 256, 512, 512)
    ) -> None:
        super().__init__()
        if depth not in VGG_STAGES:
            raise ValueError(f"depth must be one of {', '.join(map(str, VGG_STAGES))}, got {depth}; take 19")
        layers: list[nn.Module] = []
        for stage, (count, width) in enumerate(zip(VGG_STAGES[depth], widths, strict=True)):
            layers += [nn.MaxPool2d(2, ceil_mode=True)] if stage else []  # rounding up keeps images below 16 x 16 alive
            for _ in range(count):
                layers += [_conv(channels, width), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers, _average())
        self.classifier = nn.Linear(channels, classes)
        _initialise(self)


class InvertedResidual(nn.Module):
    """Expand by a 1 x 1, filter each channel, project by a linear 1 x 1 (Sandler et al., CVPR 2018, Table 1).

    Args:
        before, after: channels in and out. expansion: factor of the hidden width; at 1 nothing is expanded.
        stride: of the filter. The input is added where the shape is kept.
    """

    def __init__(self, before: int, after: int, *, expansion: int, stride: int):
        super().__init__()
        hidden = expansion * before
        self.expand = _clipped(_conv(before, hidden, 1)) if expansion != 1 else nn.Sequential()
        self.depthwise = _clipped(_conv(hidden, hidden, stride=stride, groups=hidden))
        self.project = nn.Sequential(_conv(hidden, after, 1), nn.BatchNorm2d(after))
        self.residual = stride == 1 and before == after

    def forward(self, x: Signal) -> Signal:
        """Map (n, before, h, w) to (n, after, ceil(h/stride), ceil(w/stride))."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class MobileNetV2(Plain):
    """MobileNetV2 (Sandler et al., CVPR 2018, Table 2) for 32 x 32 images.

    The stem and the 24-channel stage keep the size, as usual on CIFAR; the last feature map is 4 x 4. No dropout.

    Args:
        classes: number of outputs. channels: input channels.
        stages: rows of channels, number of blocks, stride of the first. All blocks expand sixfold, the very first not.
    """

    def __init__(self, classes: int = 10, *, channels: int = 3, stages: Sequence[tuple[int, ...]] = MOBILE_STAGES):
        super().__init__()
        layers: list[nn.Module] = [_clipped(_conv(channels, 32))]
        width = 32
        for after, count, stride in stages:
            for i in range(count):
                expansion = 6 if len(layers) > 1 else 1
                layers.append(InvertedResidual(width, after, expansion=expansion, stride=1 if i else stride))
                width = after
        self.features = nn.Sequential(*layers, _clipped(_conv(width, 1280, 1)), _average())
        self.classifier = nn.Linear(1280, classes)
        _initialise(self)


MODELS: dict[str, Callable[..., nn.Module]] = {  # each is called as MODELS[name](classes=, channels=, side=)
    "mlp": MLP,
    "compact": partial(CompactCNN, width=32, norm=True),
    "resnet8": lambda classes=10, channels=3, side=32: ResNet(8, classes, channels=channels),
    "resnet32": lambda classes=10, channels=3, side=32: ResNet(32, classes, channels=channels),
    "vgg19": lambda classes=10, channels=3, side=32: VGG(19, classes, channels=channels),
    "mobilenet-v2": lambda classes=10, channels=3, side=32: MobileNetV2(classes, channels=channels),
}
