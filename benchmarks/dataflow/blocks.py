"""What the networks are made of: quantizers with fixed scales, layers with batch normalization, and their calibration."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from quant.nn import (
    LSQ,
    BipolarQuant,
    IntQuant,
    PowerOfTwoQuant,
    QuantConv2d,
    QuantConvTranspose2d,
    Quantizer,
    QuantLinear,
    TwnQuant,
)

#: Pixels are multiples of 1/256, so that an 8-bit first layer has power-of-two scales all through.
PIXELS = "u8/256"
#: Of features, as activations behind a batch normalization have it: up to 3.75 standard deviations.
FEATURES = "u4/4"
#: Significant bits of a batch normalization's scale, and fraction bits of its offset, in front of activations of 5 and more bits.
COARSE_BITS = 8


def pixels() -> IntQuant:
    """The input's 8 bits."""
    return IntQuant(8, signed=False, scale=2.0**-8)


def features() -> IntQuant:
    """An input of 4 bits."""
    return IntQuant(4, signed=False, scale=0.25)


def distances_of() -> IntQuant:
    """Both operands of an L1 distance: 8 bits."""
    return IntQuant(8, scale=2.0**-5)


def unsigned7() -> IntQuant:
    """ReLU and quantizer in front of a layer of L1 distances: the upper half of `distances_of`."""
    return IntQuant(7, signed=False, scale=2.0**-5)


def unsigned(bits: int) -> IntQuant:
    """ReLU and quantizer of what a batch normalization gives: the range is some four standard deviations, less for 2 bits."""
    return IntQuant(bits, signed=False, scale=0.5 if bits == 2 else 2.0**(2 - bits))


def signed(bits: int) -> IntQuant:
    """The same with a sign, for sums to come."""
    return IntQuant(bits, scale=2.0**(3 - bits))


def weight_quant(bits: float, shape: tuple[int, ...], fan_in: int) -> Quantizer:
    """Weights of 1 bit (-1, 1), 1.5 (ternary), 2 to 4 (a step for each output channel, or one where `shape` is empty) or more.

    From 5 bits on the scale is a power of two, from the fan-in.
    """
    if bits == 1:
        return BipolarQuant()
    if bits == 1.5:
        return TwnQuant()
    if bits < 5:
        return LSQ(int(bits), narrow=True, shape=shape, weight=True)
    exponent = math.ceil(math.log2(4 * math.sqrt(2 / fan_in) / 2**(bits - 1)))
    return PowerOfTwoQuant(int(bits), exponent=exponent, narrow=True)


def conv(inputs: int, outputs: int, kernel: int, bits: float, *, stride: int = 1, padding: int | None = None, groups: int = 1,
         kind: Callable[..., nn.Module] = QuantConv2d) -> nn.Module:
    """A convolution without bias, of the same size as its input unless told otherwise."""
    fan_in = kernel * kernel * inputs // groups
    shape = (outputs, 1, 1, 1) if kind is QuantConv2d else (1, outputs, 1, 1)
    layer = kind(inputs, outputs, kernel, weight_quant=weight_quant(bits, shape, fan_in), stride=stride, bias=False,
                 padding=kernel // 2 if padding is None else padding, groups=groups)
    assert isinstance(layer.weight, Tensor)
    nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_in))
    return layer


def linear(inputs: int, outputs: int, bits: float, *, per_channel: bool = True) -> QuantLinear:
    """A matrix product without bias."""
    shape = (outputs, 1) if per_channel else ()
    layer = QuantLinear(inputs, outputs, weight_quant=weight_quant(bits, shape, inputs), bias=False)
    nn.init.normal_(layer.weight, std=math.sqrt(2 / inputs))
    return layer


def unit(layer: nn.Module, channels: int, *behind: nn.Module) -> nn.Sequential:
    """A layer, batch normalization, and what follows: a quantizer, a pool."""
    norm = nn.BatchNorm1d(channels) if isinstance(layer, nn.Linear) else nn.BatchNorm2d(channels)
    return nn.Sequential(layer, norm, *behind)


def w4a4(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, sign: bool = False) -> nn.Sequential:
    """A convolution of 4-bit weights, batch normalization, 4-bit activations: ReLU and quantizer, or with a sign."""
    return unit(conv(inputs, outputs, kernel, 4, stride=stride, groups=groups), outputs, signed(4) if sign else unsigned(4))


def deconv(inputs: int, outputs: int, bits: float, *, kernel: int = 4, stride: int = 2, padding: int = 1) -> nn.Module:
    """A transposed convolution that doubles its input's size unless told otherwise."""
    return conv(inputs, outputs, kernel, bits, stride=stride, padding=padding, kind=QuantConvTranspose2d)


class Mean(nn.Module):
    """The mean of each map, quantized, as a vector."""

    def __init__(self, side: int, quant: Quantizer) -> None:
        super().__init__()
        self.mean, self.quant = nn.AvgPool2d(side), quant

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.quant(self.mean(x)), 1)


@torch.no_grad()
def calibrate(network: nn.Module, batches: list[Tensor]) -> None:
    """Bring steps and statistics of an initialized network to real inputs; its batch normalizations get drawn factors."""
    norms = [part for part in network.modules() if isinstance(part, _BatchNorm)]
    for norm in norms:
        norm.momentum = None  # the plain mean over the batches
        norm.reset_running_stats()
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
    network.train()
    for batch in batches:
        network(batch)
    network.eval()


@torch.no_grad()
def simplify_norms(network: nn.Module) -> None:
    """Round batch normalizations in front of quantizers of 5 and more bits, so that small multipliers requantize.

    Their scales get 8 significant bits, which moves them by 0.4% at most, their offsets 8 fraction bits.
    """
    for part in network.modules():
        if not isinstance(part, nn.Sequential):
            continue
        for norm, quant in pairwise(part):
            if isinstance(norm, _BatchNorm) and isinstance(quant, IntQuant) and quant.bits > 4:
                _simplify(norm)


def _simplify(norm: Any) -> None:
    factor = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    offset = norm.bias.double() - norm.running_mean.double() * factor
    mantissa, exponent = torch.frexp(factor)
    factor = torch.ldexp(torch.round(mantissa * 2**COARSE_BITS), exponent - COARSE_BITS)
    norm.eps = 0.0
    norm.running_mean.zero_()
    norm.running_var.fill_(1)
    norm.weight.copy_(factor)
    norm.bias.copy_(torch.round(offset * 2**COARSE_BITS) / 2**COARSE_BITS)
