"""Binary weights with a magnitude, and binary products whose inputs keep theirs: BWN and XNOR-Net.

Source: Rastegari and others, "XNOR-Net: ImageNet Classification Using Binary Convolutional Neural Networks", 2016,
sections 3.1 (BWN, the gradient) and 3.2 (the map K).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .base import Quantizer, straight_through
from .binary import BipolarQuant, bipolar
from .fitted import FittedQuantizer, mean_per_output
from .layers import QuantConv2d, QuantLinear


class ScaledBipolarQuant(FittedQuantizer):
    """Weights as {-alpha, +alpha} with ``alpha = mean(|W|)``: the weights of BWN, XNOR-Net and TBN.

    The gradient is the paper's: ``dC/dW = dC/dW' * (1 / n + alpha * [|W| <= 1])``, with n weights to one alpha.

    Parameters
    ----------
    per_channel
        One alpha for each output channel (the first axis), or one for the tensor.
    """

    qonnx_op = "BipolarQuant"
    bits = 1
    clips_latent_weights = True

    def __init__(self, *, per_channel: bool = True) -> None:
        super().__init__()
        self.per_channel = per_channel

    def fit(self, weight: Tensor) -> Tensor:
        return mean_per_output(weight.abs(), self.per_channel)

    def quantize(self, x: Tensor) -> Tensor:
        scale = self.scale_of(x)
        return straight_through(bipolar(x) * scale, x * (scale.numel() / x.numel()) + x.clamp(-1.0, 1.0) * scale)

    def extra_repr(self) -> str:
        return f"per_channel={self.per_channel}"


class XnorLinear(QuantLinear):
    """Product of the input's signs with ``alpha * sign(W)``; with `input_scale` times ``beta = mean(|x|)`` of each sample.

    Parameters
    ----------
    in_features, out_features, bias
        As `QuantLinear`.
    input_scale
        Whether beta is multiplied in.  It is computed from the input, so for hardware a quantizer must be in front.
    input_quant
        That quantizer, of the input before its sign is taken; None where the input is quantized already, or where
        signs alone are used.

    Shapes: input (N, in_features), output (N, out_features).
    """

    def __init__(self, in_features: int, out_features: int, *, input_scale: bool = False, input_quant: Quantizer | None = None,
                 bias: bool = False) -> None:
        super().__init__(in_features, out_features, weight_quant=ScaledBipolarQuant(), bias=bias)
        self.input_scale, self.input_quant, self.sign = input_scale, input_quant, BipolarQuant()

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.input_quant is None else self.input_quant(x)
        product = self.product(self.sign(x), self.weight_quant(self.weight))
        if self.input_scale:
            product = product * x.abs().mean(dim=-1, keepdim=True)
        return self.biased(product)


class XnorConv2d(QuantConv2d):
    """Convolution of the input's signs with ``alpha * sign(W)``; with `input_scale` times the map K.

    K is the mean of the input's magnitudes that each output position sees: over channels first, then a box filter of the
    kernel's size with the convolution's stride, padding and dilation.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, bias, **options
        As `torch.nn.Conv2d`; `groups` of 1 and pads of zeros where K is used.
    input_scale
        Whether K is multiplied in.  It is computed from the input, so for hardware a quantizer must be in front.
    input_quant
        That quantizer, of the input before its sign is taken; None where the input is quantized already, or where
        signs alone are used.

    Shapes: input (N, in_channels, H, W), output (N, out_channels, H', W').
    """

    box: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], *, input_scale: bool = False,
                 input_quant: Quantizer | None = None, bias: bool = False, **options: Any) -> None:
        super().__init__(in_channels, out_channels, kernel_size, weight_quant=ScaledBipolarQuant(), bias=bias, **options)
        self.input_scale, self.input_quant, self.sign = input_scale, input_quant, BipolarQuant()
        if input_scale:
            if self.groups != 1 or self.padding_mode != "zeros":
                raise ValueError(f"the input scale map needs one group and pads of zeros, not {self.groups} groups and pads of "
                                 f"'{self.padding_mode}': leave input_scale out")
            height, width = self.kernel_size
            self.register_buffer("box", torch.full((1, 1, height, width), 1 / (height * width)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.input_quant is None else self.input_quant(x)
        product = self.product(self.sign(x), self.weight_quant(self.weight))
        if self.input_scale:
            means = x.abs().mean(dim=1, keepdim=True)
            product = product * functional.conv2d(means, self.box, None, self.stride, self.padding, self.dilation)
        return self.biased(product)
