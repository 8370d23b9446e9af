"""The networks as PyTorch modules, not trained: shapes (N, channels, height, width) or (N, features)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quant.nn import AdderConv2d, BinaryLinear, BipolarQuant, IntQuant, QuantConv2d, Quantizer, ScaledBipolarQuant, TernaryQuant

from .blocks import Mean, conv, deconv, distances_of, features, linear, pixels, signed, unit, unsigned, unsigned7, w4a4


def cnv(weight_bits: float, activation_bits: int) -> nn.Module:
    """FINN's CNV: six 3x3 convolutions 64-64-128-128-256-256 without padding, two max pools, 512-512-10.

    Two bits are -1, 0 and 1, as in FINN's networks.
    """
    bits = 1.5 if weight_bits == 2 else weight_bits

    def act() -> Quantizer:
        return BipolarQuant() if activation_bits == 1 else IntQuant(2, narrow=True)

    layers: list[nn.Module] = [pixels()]
    channels = 3
    for outputs, pool in ((64, False), (64, True), (128, False), (128, True), (256, False), (256, False)):
        behind = [act(), nn.MaxPool2d(2)] if pool else [act()]
        layers.append(unit(conv(channels, outputs, 3, bits, padding=0), outputs, *behind))
        channels = outputs
    layers.append(nn.Flatten())
    return nn.Sequential(*layers, unit(linear(256, 512, bits), 512, act()), unit(linear(512, 512, bits), 512, act()),
                         linear(512, 10, bits))


class Residual(nn.Module):
    """``act(main(x) + shortcut(x))``; both give integers of one scale."""

    def __init__(self, main: nn.Module, shortcut: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.main, self.shortcut, self.act = main, shortcut, act

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.act(self.main(x) + self.shortcut(x))
        return total


class Signs(nn.Sequential):
    """Batch normalization and sign: 1-bit inputs of a binary convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.BatchNorm2d(channels), BipolarQuant())


def resnet8() -> nn.Module:
    """ResNet-8 of MLPerf Tiny, 32x32x3: an 8-bit stem and 8-bit stack of 16, a 2-bit stack of 32, a binary stack of 64.

    The binary convolutions each have a shortcut of their own, as in Bi-Real Net; every addition is one of integers.
    """
    def binary(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
        return nn.Sequential(Signs(inputs), unit(conv(inputs, outputs, kernel, 1, stride=stride), outputs, signed(4)))

    stack8 = Residual(nn.Sequential(unit(conv(16, 16, 3, 8), 16, unsigned(8)), unit(conv(16, 16, 3, 8), 16, signed(8))),
                      nn.Identity(), unsigned(2))
    stack2 = Residual(nn.Sequential(unit(conv(16, 32, 3, 2, stride=2), 32, unsigned(2)), unit(conv(32, 32, 3, 2), 32, signed(4))),
                      unit(conv(16, 32, 1, 2, stride=2), 32, signed(4)), nn.Identity())
    stack1 = nn.Sequential(Residual(binary(32, 64, 3, 2), binary(32, 64, 1, 2), nn.Identity()),
                           Residual(binary(64, 64, 3, 1), nn.Identity(), unsigned(4)))
    return nn.Sequential(pixels(), unit(conv(3, 16, 3, 8), 16, unsigned(8)), stack8, stack2, stack1, Mean(8, unsigned(8)),
                         linear(64, 10, 8))


def mobilenet() -> nn.Module:
    """MobileNetV1 0.25 of MLPerf Tiny with 13 depthwise-separable blocks, at 48x48x3, 4 bits throughout."""
    layers: list[nn.Module] = [pixels(), w4a4(3, 8, 3, stride=2)]
    channels = 8
    for outputs, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *((128, 1),) * 5, (256, 2), (256, 1)):
        layers.append(w4a4(channels, channels, 3, stride=stride, groups=channels))
        layers.append(w4a4(channels, outputs, 1))
        channels = outputs
    return nn.Sequential(*layers, Mean(2, unsigned(4)), linear(256, 10, 4, per_channel=False))


class ShuffleUnit(nn.Module):
    """ShuffleNet v2: half of the channels pass, or with stride 2 all go both ways; then the halves are mixed."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        first = inputs if stride > 1 else half
        self.splits = stride == 1
        self.shortcut = nn.Identity() if self.splits else nn.Sequential(
            w4a4(first, first, 3, stride=stride, groups=first, sign=True), w4a4(first, half, 1))
        self.main = nn.Sequential(
            w4a4(first, half, 1), w4a4(half, half, 3, stride=stride, groups=half, sign=True),
            w4a4(half, half, 1))
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[1] // 2
        passing, changed = (x[:, :half], x[:, half:]) if self.splits else (x, x)
        mixed: Tensor = self.shuffle(torch.cat([self.shortcut(passing), self.main(changed)], dim=1))
        return mixed


def shufflenet() -> nn.Module:
    """A stride-2 unit and a stride-1 unit of ShuffleNet v2 0.5x, 28x28x24 to 14x14x48, w4a4."""
    return nn.Sequential(features(), ShuffleUnit(24, 48, 2), ShuffleUnit(48, 48, 1))


def shufflenet_v1() -> nn.Module:
    """A ShuffleNet v1 unit at 14x14x60 with three groups: grouped 1x1 convolutions, a shuffle, a residual addition; w4a4."""
    main = nn.Sequential(w4a4(60, 60, 1, groups=3), nn.ChannelShuffle(3),
                         w4a4(60, 60, 3, groups=60, sign=True), w4a4(60, 60, 1, groups=3, sign=True))
    return nn.Sequential(features(), Residual(main, nn.Identity(), unsigned(4)))


class Branches(nn.Module):
    """The same input through several branches, side by side."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def squeezenet_fire() -> nn.Module:
    """The fire2 module of SqueezeNet at its real size: 55x55x96, squeeze 16, expand 64 + 64; w4a4."""
    expand = Branches(w4a4(16, 64, 1), w4a4(16, 64, 3))
    return nn.Sequential(features(), w4a4(96, 16, 1), expand)


def inception() -> nn.Module:
    """Inception 3a of GoogLeNet with its real channels, at 14x14x192 instead of 28x28x192; w4a4."""
    def reduced(middle: int, outputs: int, kernel: int) -> nn.Module:
        return nn.Sequential(w4a4(192, middle, 1), w4a4(middle, outputs, kernel))

    pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), w4a4(192, 32, 1))
    return nn.Sequential(features(), Branches(w4a4(192, 64, 1), reduced(96, 128, 3), reduced(16, 32, 5), pool))


def tbn() -> nn.Module:
    """TBN on a VGG of 32-32-64-64-128-128 at 32x32x3: ternary activations, binary weights, pads of zeros, 8-bit ends."""
    layers: list[nn.Module] = [pixels(), unit(conv(3, 32, 3, 8), 32, TernaryQuant())]
    channels = 32
    for outputs, pool in ((32, True), (64, False), (64, True), (128, False), (128, True)):
        layer = QuantConv2d(channels, outputs, 3, weight_quant=ScaledBipolarQuant(), padding=1, bias=False)
        last = pool and outputs == 128
        behind = [unsigned(8) if last else TernaryQuant(), *([nn.MaxPool2d(2)] if pool else [])]
        layers.append(unit(layer, outputs, *behind))
        channels = outputs
    return nn.Sequential(*layers, nn.Flatten(), linear(128 * 4 * 4, 10, 8))


def addernet() -> nn.Module:
    """A residual block of AdderNet's ResNet-20: two 3x3 layers of L1 distances at 32x32x16, 8 bits."""
    def adder() -> nn.Module:
        return AdderConv2d(16, 16, 3, padding=1, quant=distances_of())

    main = nn.Sequential(unit(adder(), 16, unsigned7()), unit(adder(), 16, signed(8)))
    return nn.Sequential(unsigned7(), Residual(main, nn.Identity(), unsigned7()))


def generator() -> nn.Module:
    """A small DCGAN generator: 32 numbers of 4 bits to 32x32x3 pixels of 8 bits by four transposed convolutions, w4a4."""
    return nn.Sequential(
        IntQuant(4, scale=0.25), unit(deconv(32, 64, 4, stride=1, padding=0), 64, unsigned(4)),
        unit(deconv(64, 32, 4), 32, unsigned(4)), unit(deconv(32, 16, 4), 16, unsigned(4)),
        unit(deconv(16, 3, 4), 3, unsigned(8)))


class Binary784(nn.Module):
    """784-64-64-10 with 1-bit weights and activations; a pixel counts as ink from one half on."""

    def __init__(self) -> None:
        super().__init__()
        self.signs = BipolarQuant()
        self.hidden = nn.Sequential(unit(BinaryLinear(784, 64), 64, BipolarQuant()), unit(BinaryLinear(64, 64), 64, BipolarQuant()))
        self.classifier = BinaryLinear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.hidden(self.signs(torch.flatten(x, 1) - 0.5))) * 0.125
        return logits


def mlp_int8() -> nn.Module:
    """784-64-64-10 with 8-bit weights and activations."""
    return nn.Sequential(nn.Flatten(), pixels(), unit(linear(784, 64, 8), 64, unsigned(8)),
                         unit(linear(64, 64, 8), 64, unsigned(8)), linear(64, 10, 8))


def mlp_6bit() -> nn.Module:
    """16-64-32-32-5 with 6-bit weights and activations: the shape of the jet-tagging network."""
    return nn.Sequential(nn.Flatten(), pixels(), unit(linear(16, 64, 6), 64, unsigned(6)), unit(linear(64, 32, 6), 32, unsigned(6)),
                         unit(linear(32, 32, 6), 32, unsigned(6)), linear(32, 5, 6, per_channel=False))
