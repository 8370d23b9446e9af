"""AdderNet: layers that measure L1 distances instead of multiplying.

Source: Chen and others, "AdderNet: Do We Really Need Multiplications in Deep Learning?", 2020, sections 3.2 (gradients)
and 3.3 (the learning rate of each layer).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from .base import Quantizer
from .layers import QuantConv2d, QuantLinear


class _NegativeDistance(torch.autograd.Function):
    """``y[n, o] = -sum over k of |x[n, k] - w[o, k]|`` with the paper's gradients.

    To the weights the full-precision gradient, ``x - w`` instead of its sign; to the input the HardTanh of ``w - x``.
    Neither direction makes the (N, O, K) tensor of all differences.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return -torch.cdist(x, weight, p=1)

    @staticmethod
    def backward(ctx: Any, *incoming: Tensor) -> tuple[Tensor, Tensor]:
        (x, weight), (gradient,) = ctx.saved_tensors, incoming
        to_weight = gradient.t() @ x - gradient.sum(dim=0)[:, None] * weight
        to_x = torch.zeros_like(x)
        for row, one in zip(weight, gradient.t(), strict=True):
            to_x += (row - x).clamp(-1.0, 1.0) * one[:, None]
        return to_x, to_weight


def _negative_distance(x: Tensor, weight: Tensor) -> Tensor:
    result: Tensor = _NegativeDistance.apply(x, weight)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


class AdderLinear(QuantLinear):
    """``y[n, o] = -sum over k of |x[n, k] - w[o, k]|`` plus the bias.

    Parameters
    ----------
    in_features, out_features, bias
        As `QuantLinear`.
    quant
        Quantizer of weights and input alike, so that their difference is one of integers.

    Shapes: input (N, in_features), output (N, out_features).
    """

    def __init__(self, in_features: int, out_features: int, *, quant: Quantizer, bias: bool = False) -> None:
        super().__init__(in_features, out_features, weight_quant=quant, bias=bias)
        nn.init.normal_(self.weight)

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        if torch.onnx.is_in_onnx_export():
            return -(x.unsqueeze(1) - weight).abs().sum(dim=-1)
        return _negative_distance(x, weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.biased(self.product(self.weight_quant(x), self.weight_quant(self.weight)))


class AdderConv2d(QuantConv2d):
    """Convolution with the negative L1 distance between patch and kernel in place of their product.

    Pads are zeros, whose distance to the weights counts.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, **options
        As `torch.nn.Conv2d`; `groups` of 1 and pads of zeros.
    quant
        Quantizer of weights and input alike, so that their difference is one of integers.

    Shapes: input (N, in_channels, H, W), output (N, out_channels, H', W').
    """

    windows: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], *, quant: Quantizer,
                 bias: bool = False, **options: Any) -> None:
        super().__init__(in_channels, out_channels, kernel_size, weight_quant=quant, bias=bias, **options)
        if self.groups != 1 or self.padding_mode != "zeros" or isinstance(self.padding, str):
            raise ValueError(f"AdderConv2d takes one group and a number of zeros as padding, not {self.groups} groups and "
                             f"{self.padding} pads of '{self.padding_mode}'")
        self.pads: tuple[int, ...] = self.padding
        nn.init.normal_(self.weight)
        depth = self.weight[0].numel()
        self.register_buffer("windows", torch.eye(depth).reshape(depth, *self.weight.shape[1:]), persistent=False)

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        matrix = weight.flatten(1)
        if torch.onnx.is_in_onnx_export():  # patches by a convolution that picks values: of all operators the best supported
            image = functional.conv2d(x, self.windows, None, self.stride, self.pads, self.dilation)
            patches = image.reshape(len(x), 1, len(self.windows), -1)
            distances = (patches - matrix[None, :, :, None]).abs().sum(dim=2)
            return (-distances).reshape(len(x), len(matrix), *image.shape[2:])
        patches = functional.unfold(x, self.kernel_size, self.dilation, self.pads, self.stride)  # (N, K, positions)
        distances = _negative_distance(patches.transpose(1, 2).flatten(0, 1), matrix)
        size, pad, dilation, kernel, stride = x.shape[2], self.pads[0], self.dilation[0], self.kernel_size[0], self.stride[0]
        rows = (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        return distances.reshape(len(x), patches.shape[2], len(matrix)).transpose(1, 2).reshape(len(x), len(matrix), rows, -1)

    def forward(self, x: Tensor) -> Tensor:
        return self.biased(self.product(self.weight_quant(x), self.weight_quant(self.weight)))


def scale_adder_gradients(module: nn.Module, eta: float = 0.1) -> None:
    """Bring the gradients of each adder layer's weights to the norm ``eta * sqrt(weights)``; call before the optimizer's step.

    Distances have much smaller gradients in some layers than in others, so the paper gives each layer a learning rate of
    its own: this is it, as a factor of the gradient.  It matters for SGD; Adam normalizes gradients itself.
    """
    for part in module.modules():
        if isinstance(part, (AdderLinear, AdderConv2d)) and part.weight.grad is not None:
            norm = part.weight.grad.norm()
            part.weight.grad *= eta * math.sqrt(part.weight.numel()) / norm.clamp_min(torch.finfo(norm.dtype).tiny)
