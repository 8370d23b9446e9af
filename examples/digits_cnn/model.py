"""The network: convolutions 8-16-32 with two residual additions, in float."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from examples.digits import load_weights
from quant.data import CLASSES

WEIGHTS: Final = Path(__file__).with_name("digits_cnn.npz")
FLOAT_ONNX: Final = Path(__file__).with_name("digits_cnn_float.onnx")


class DigitsCnn(nn.Module):
    """Stem of 8 channels, two residual stages of 16 and 32, a mean over each map, and a linear classifier.

    Input: float32, shape (N, 1, 28, 28), pixel / 255.  Output: logits, float32, shape (N, 10).
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(1, 8)
        self.down1 = ConvNorm(8, 16)
        self.residual1 = Residual(16)
        self.down2 = ConvNorm(16, 32)
        self.residual2 = Residual(32)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.mean = nn.AvgPool2d(7)
        self.classifier = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.stem(x)))  # 8 x 14 x 14
        x = self.residual1(self.relu(self.down1(x)))
        x = self.pool(x)  # 16 x 7 x 7
        x = self.residual2(self.relu(self.down2(x)))
        logits: Tensor = self.classifier(torch.flatten(self.mean(x), 1))
        return logits


class ConvNorm(nn.Module):
    """3x3 convolution that keeps the size, then batch normalization."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        normalized: Tensor = self.norm(self.conv(x))
        return normalized


class Residual(nn.Module):
    """``relu(x + f(x))``, where f is two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.relu(x + self.second(self.relu(self.first(x))))
        return total


def trained(path: Path = WEIGHTS) -> DigitsCnn:
    """The trained network in evaluation mode, from a file that `save_weights` wrote."""
    return load_weights(DigitsCnn(), path)
