"""The one topology that every method quantizes: three convolutions and a linear classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from quant.data import CLASSES
from quant.nn import IntQuant, QuantConv2d, Quantizer, QuantLinear


class MakeConv(Protocol):
    """Makes a convolution without bias."""

    def __call__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int) -> nn.Module: ...


@dataclass(frozen=True)
class Layers:
    """How a method makes its layers, all without bias: a batch normalization follows each.

    Members
    -------
    conv
        (in_channels, out_channels, kernel size, stride=) -> module.
    linear
        (in_features, out_features) -> module.
    """

    conv: MakeConv
    linear: Callable[[int, int], nn.Module]


FLOAT = Layers(lambda *sizes, **options: nn.Conv2d(*sizes, bias=False, **options), lambda *sizes: nn.Linear(*sizes, bias=False))


def weights(quantizer: Callable[[], Quantizer]) -> Layers:
    """Layers whose weights pass through a quantizer, each through one of its own."""
    return Layers(lambda *sizes, **options: QuantConv2d(*sizes, weight_quant=quantizer(), bias=False, **options),
                  lambda *sizes: QuantLinear(*sizes, weight_quant=quantizer(), bias=False))


class DigitsNet(nn.Module):
    """Convolutions 16 (5x5, stride 2), 32 (3x3, max pool 2) and 64 (3x3), without padding, and a classifier 576-10.

    29,200 weights.  Input: float32, shape (N, 1, 28, 28), pixel / 255.  Output: logits, float32, shape (N, 10).

    Parameters
    ----------
    inner
        The second and third convolution.
    ends
        The first convolution and the classifier.
    activation
        Makes what follows the first two batch normalizations: nonlinearity and quantizer.
    last_activation
        The same in front of the classifier.
    pixels
        What the input goes through: pixels have 8 bits unless the network is a float one.
    """

    def __init__(self, inner: Layers, ends: Layers, activation: Callable[[], nn.Module],
                 last_activation: Callable[[], nn.Module], pixels: nn.Module | None = None) -> None:
        super().__init__()
        self.pixels = IntQuant(8, signed=False, scale=1 / 255) if pixels is None else pixels
        self.features = nn.Sequential(
            Stage(ends.conv(1, 16, 5, stride=2), 16, activation()),  # 16 x 12 x 12
            Stage(inner.conv(16, 32, 3, stride=1), 32, activation(), pool=True),  # 32 x 5 x 5
            Stage(inner.conv(32, 64, 3, stride=1), 64, last_activation()),  # 64 x 3 x 3
        )
        self.classifier = ends.linear(64 * 3 * 3, CLASSES)
        self.norm = nn.BatchNorm1d(CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.norm(self.classifier(torch.flatten(self.features(self.pixels(x)), 1)))
        return logits


class Stage(nn.Module):
    """Convolution, batch normalization, activation, max pool: a pool commutes with quantizers, which never fall."""

    def __init__(self, conv: nn.Module, channels: int, activation: nn.Module, *, pool: bool = False) -> None:
        super().__init__()
        self.conv, self.norm, self.activation = conv, nn.BatchNorm2d(channels), activation
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        activations: Tensor = self.pool(self.activation(self.norm(self.conv(x))))
        return activations
