"""Linear and convolutional layers whose weights pass through a quantizer."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .base import Quantizer
from .binary import BipolarQuant


class QuantWeights:
    """What the layers share: what an export stores of their latent weights, and clipping."""

    weight: Tensor
    weight_quant: Quantizer

    def prepare_for_export(self) -> None:
        """Keep of the latent weights what the hardware will hold."""
        with torch.no_grad():
            # A new parameter: another layer may share the old one, and quantize it otherwise.
            self.weight = nn.Parameter(self.weight_quant.prepare_weight(self.weight))

    def clip_latent_weights(self) -> None:
        """Clip latent weights to [-1, 1]: outside, a 1-bit weight gets no gradient and would never change its sign again."""
        with torch.no_grad():
            self.weight.clamp_(-1.0, 1.0)


class QuantLinear(QuantWeights, nn.Linear):
    """``y = x @ weight_quant(weight).T + bias``.

    Parameters
    ----------
    in_features, out_features
        Sizes of the last axis of the input and of the output.
    weight_quant
        Quantizer of the weights, of shape (out_features, in_features).
    bias
        Whether a bias is added.  It isn't quantized: the lowering takes it as the exact number it is.

    Shapes: input (..., in_features), output (..., out_features).
    """

    def __init__(self, in_features: int, out_features: int, *, weight_quant: Quantizer, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.weight_quant = weight_quant

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """The matrix product of an input and weights, without bias."""
        # Spelled out, as a linear layer would become Gemm for two axes and MatMul for more: this is one form
        # for both, Transpose and MatMul, and the one that Brevitas and FINN files have.
        return x @ weight.t()

    def biased(self, product: Tensor) -> Tensor:
        """A product plus the bias, if there is one."""
        return product if self.bias is None else product + self.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.biased(self.product(x, self.weight_quant(self.weight)))


class QuantConv2d(QuantWeights, nn.Conv2d):
    """Convolution with ``weight_quant(weight)``.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, **options
        As `torch.nn.Conv2d`.
    weight_quant
        Quantizer of the weights, of shape (out_channels, in_channels / groups, kh, kw).

    Shapes: input (N, in_channels, H, W), output (N, out_channels, H', W').
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], *, weight_quant: Quantizer,
                 **options: Any) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        self.weight_quant = weight_quant

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """The convolution of an input with weights, without bias."""
        result: Tensor = self._conv_forward(x, weight, None)
        return result

    def biased(self, product: Tensor) -> Tensor:
        """A convolution plus the bias, if there is one."""
        return product if self.bias is None else product + self.bias[:, None, None]

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self._conv_forward(x, self.weight_quant(self.weight), self.bias)
        return result


class QuantConv1d(QuantWeights, nn.Conv1d):
    """1-D convolution with ``weight_quant(weight)``; parameters as `QuantConv2d`.

    Shapes: weight (out_channels, in_channels / groups, k), input (N, in_channels, T), output (N, out_channels, T').
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int], *, weight_quant: Quantizer,
                 **options: Any) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        self.weight_quant = weight_quant

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self._conv_forward(x, self.weight_quant(self.weight), self.bias)
        return result


class QuantConvTranspose1d(QuantWeights, nn.ConvTranspose1d):
    """1-D transposed convolution with ``weight_quant(weight)``; parameters as `torch.nn.ConvTranspose1d`.

    Shapes: weight (in_channels, out_channels / groups, k), input (N, in_channels, T), output (N, out_channels, T').
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int], *, weight_quant: Quantizer,
                 **options: Any) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        self.weight_quant = weight_quant

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        padding = cast("tuple[int, ...]", self.padding)  # the names of padding modes are for convolutions
        return functional.conv_transpose1d(x, self.weight_quant(self.weight), self.bias, self.stride, padding, self.output_padding,
                                           self.groups, self.dilation)


class QuantConvTranspose2d(QuantWeights, nn.ConvTranspose2d):
    """Transposed convolution with ``weight_quant(weight)``; parameters as `torch.nn.ConvTranspose2d`.

    Shapes: weight (in_channels, out_channels / groups, kh, kw), input (N, in_channels, H, W), output (N, out_channels, H', W').
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], *, weight_quant: Quantizer,
                 **options: Any) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        self.weight_quant = weight_quant

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        padding = cast("tuple[int, ...]", self.padding)  # the names of padding modes are for convolutions
        return functional.conv_transpose2d(x, self.weight_quant(self.weight), self.bias, self.stride, padding, self.output_padding,
                                           self.groups, self.dilation)


class BinaryLinear(QuantLinear):
    """Matrix product with 1-bit weights, without bias: `y = x @ bipolar(weight).T`.

    Training keeps float latent weights; `clip_latent_weights` is to be called after each optimizer step.

    Parameters
    ----------
    in_features, out_features
        Sizes of the last axis of the input and of the output.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, weight_quant=BipolarQuant(), bias=False)

    def reset_parameters(self) -> None:
        """Draw the latent weights anew, small enough that few are clipped in the first steps."""
        nn.init.uniform_(self.weight, -0.1, 0.1)


def clip_latent_weights(module: nn.Module) -> None:
    """Clip to [-1, 1] the latent weights of every layer inside `module` that has 1-bit weights."""
    for part in module.modules():
        if isinstance(part, QuantWeights) and part.weight_quant.clips_latent_weights:
            part.clip_latent_weights()
