"""Networks made with Brevitas, and how its two exporters write them.

Their weights are random, so that every channel is used; batch normalizations have statistics of real batches, disturbed,
and scales of both signs.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from brevitas import nn as qnn
from brevitas.export import export_onnx_qcdq, export_qonnx
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFixedPoint,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    Uint8ActPerTensorFixedPoint,
    Uint8ActPerTensorFloat,
)
from torch import Tensor, nn

EXPORTERS: dict[str, Callable[..., Any]] = {"qonnx": export_qonnx, "qcdq": export_onnx_qcdq}


class Quantizers:
    """Quantizers of one kind of scale: any float, per channel for weights, or a power of two."""

    def __init__(self, power_of_two: bool) -> None:
        self.act = Int8ActPerTensorFixedPoint if power_of_two else Int8ActPerTensorFloat
        self.positive = Uint8ActPerTensorFixedPoint if power_of_two else Uint8ActPerTensorFloat
        self.weight = Int8WeightPerTensorFixedPoint if power_of_two else Int8WeightPerChannelFloat

    def identity(self, bits: int) -> nn.Module:
        return qnn.QuantIdentity(act_quant=self.act, bit_width=bits)

    def relu(self, bits: int) -> nn.Module:
        return qnn.QuantReLU(act_quant=self.positive, bit_width=bits)

    def conv(self, inputs: int, outputs: int, kernel: int, bits: int, **options: Any) -> nn.Module:
        options = {"bias": False, **options}
        return qnn.QuantConv2d(inputs, outputs, kernel, weight_quant=self.weight, weight_bit_width=bits, **options)

    def linear(self, inputs: int, outputs: int, bits: int, bias: bool = False) -> nn.Module:
        return qnn.QuantLinear(inputs, outputs, bias=bias, weight_quant=self.weight, weight_bit_width=bits)


def mlp_binary(power_of_two: bool) -> nn.Module:
    """784-64-64-10, one bit everywhere behind an 8-bit input."""
    const = 0.5 if power_of_two else 0.1

    def linear(inputs: int, outputs: int) -> nn.Module:
        quantizer = SignedBinaryWeightPerTensorConst
        return qnn.QuantLinear(inputs, outputs, bias=False, weight_quant=quantizer, weight_scaling_const=const)

    def sign() -> nn.Module:
        return qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst, scaling_const=const)

    return nn.Sequential(nn.Flatten(), Quantizers(power_of_two).identity(8), linear(784, 64), nn.BatchNorm1d(64), sign(),
                         linear(64, 64), nn.BatchNorm1d(64), sign(), linear(64, 10))


def mlp(power_of_two: bool, bits: int = 2) -> nn.Module:
    """784-64-64-10, few bits everywhere behind an 8-bit input."""
    q = Quantizers(power_of_two)
    return nn.Sequential(nn.Flatten(), q.identity(8), q.linear(784, 64, bits), nn.BatchNorm1d(64), q.identity(bits),
                         q.linear(64, 64, bits), nn.BatchNorm1d(64), q.relu(bits), q.linear(64, 10, bits, bias=True))


def convolutional(power_of_two: bool, bits: int = 4) -> nn.Module:
    """Dense, strided, depthwise and dilated convolutions and a pool on (3, 16, 16)."""
    q = Quantizers(power_of_two)
    return nn.Sequential(
        q.identity(8), q.conv(3, 16, 3, bits, padding=1), nn.BatchNorm2d(16), q.relu(bits),
        q.conv(16, 16, 3, bits, padding=1, groups=16, stride=2), nn.BatchNorm2d(16), q.relu(bits),
        q.conv(16, 32, 1, bits, bias=True), nn.MaxPool2d(2), q.identity(bits),
        q.conv(32, 16, 3, bits, padding=(1, 2), dilation=2, groups=2), nn.BatchNorm2d(16), q.relu(bits),
        nn.Flatten(), q.linear(16 * 2 * 4, 10, bits, bias=True))


class Block(nn.Module):
    """Two convolutions and a shortcut whose scales differ, added and quantized."""

    def __init__(self, q: Quantizers, inputs: int, outputs: int, stride: int, bits: int) -> None:
        super().__init__()
        self.main = nn.Sequential(q.conv(inputs, outputs, 3, bits, padding=1, stride=stride), nn.BatchNorm2d(outputs), q.relu(bits),
                                  q.conv(outputs, outputs, 3, bits, padding=1), nn.BatchNorm2d(outputs), q.identity(bits))
        self.shortcut = nn.Identity() if stride == 1 and inputs == outputs else nn.Sequential(
            q.conv(inputs, outputs, 1, bits, stride=stride), nn.BatchNorm2d(outputs), q.identity(bits))
        self.out = q.relu(bits)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.main(x) + self.shortcut(x))


def resnet8(power_of_two: bool, width: int = 16, bits: int = 4) -> nn.Module:
    """A first convolution and three residual blocks of width, 2 width, 4 width; mean over all positions; one dense layer."""
    q = Quantizers(power_of_two)
    return nn.Sequential(
        q.identity(8), q.conv(3, width, 3, bits, padding=1), nn.BatchNorm2d(width), q.relu(bits),
        Block(q, width, width, 1, bits), Block(q, width, 2 * width, 2, bits), Block(q, 2 * width, 4 * width, 2, bits),
        nn.AdaptiveAvgPool2d(1), q.identity(8), nn.Flatten(), q.linear(4 * width, 10, 8, bias=True))


def cnv(bits: int) -> nn.Module:
    """The Brevitas examples' CNV, 32 x 32 x 3, six convolutions and three dense layers."""
    from brevitas_examples.bnn_pynq.models.CNV import CNV

    return CNV(num_classes=10, weight_bit_width=bits, act_bit_width=bits, in_bit_width=8, in_ch=3)


def prepared(build: Callable[[], nn.Module], shape: tuple[int, ...], seed: int = 0) -> nn.Module:
    """A network in evaluation mode, its quantizers calibrated and its batch normalizations disturbed."""
    torch.manual_seed(seed)
    model = build()
    x = torch.rand(32, *shape) * 2 - 1
    norms = [one for one in model.modules() if isinstance(one, (nn.BatchNorm1d, nn.BatchNorm2d))]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
        model.train()(x)
        for norm in norms:
            spread = norm.running_var.sqrt()
            norm.running_mean += spread * 0.3 * torch.randn_like(spread)
            norm.running_var *= torch.rand_like(spread) + 0.5
            norm.weight.copy_((torch.rand_like(spread) + 0.5) * torch.where(torch.rand_like(spread) < 0.3, -1.0, 1.0))
            norm.bias.copy_(0.3 * torch.randn_like(spread))
            norm.eval()
        model(x)
    return model.eval()


def exported(model: nn.Module, exporter: str, shape: tuple[int, ...], **options: Any) -> onnx.ModelProto:
    """What an exporter of `EXPORTERS` writes, for a batch of 1."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "model.onnx"
        EXPORTERS[exporter](model, args=torch.rand(1, *shape), export_path=str(path), **options)
        return onnx.load(path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
