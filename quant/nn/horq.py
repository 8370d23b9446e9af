"""HORQ of order 2: the input as a sum of two binary tensors, so that a layer is two binary products.

Source: Li and others, "Performance Guaranteed Network Acceleration via High-Order Residual Quantization", 2017.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .binary import BipolarQuant
from .fitted import RunningMean
from .layers import QuantConv2d, QuantLinear
from .xnor import ScaledBipolarQuant


class HorqQuant(nn.Module):
    """Activations as ``b1 * sign(x) + b2 * sign(r)`` with the residual ``r = x - b1 * sign(x)``.

    b1 and b2 are the mean magnitudes of x and of r: in training the batch's, in evaluation running means, so that they are
    constants.  Each sign has its own straight-through gradient (where its argument is within [-1, 1]), and the
    residual hands its gradient on; b1 and b2 have none.

    Parameters
    ----------
    momentum
        Of the running means.
    """

    bits = 2

    def __init__(self, *, momentum: float = 0.1) -> None:
        super().__init__()
        self.sign, self.residual_sign = BipolarQuant(), BipolarQuant()
        self.magnitude, self.residual_magnitude = RunningMean(momentum), RunningMean(momentum)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The two summands, each of the shape of `x`."""
        first = self.sign(x) * self.magnitude(x.detach().abs().mean())
        residual = x - first
        second = self.residual_sign(residual) * self.residual_magnitude(residual.detach().abs().mean())
        return first, second


class HorqLinear(QuantLinear):
    """Sum of the products of both orders of the input with ``alpha * sign(W)``.

    Parameters
    ----------
    in_features, out_features, bias
        As `QuantLinear`.

    Shapes: input (..., in_features), output (..., out_features).
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__(in_features, out_features, weight_quant=ScaledBipolarQuant(), bias=bias)
        self.orders = HorqQuant()

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.orders(x)
        weight = self.weight_quant(self.weight)
        return self.biased(self.product(first, weight) + self.product(second, weight))


class HorqConv2d(QuantConv2d):
    """Sum of the convolutions of both orders of the input with ``alpha * sign(W)``.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, bias, **options
        As `torch.nn.Conv2d`.

    Shapes: input (N, in_channels, H, W), output (N, out_channels, H', W').
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], *, bias: bool = False,
                 **options: Any) -> None:
        super().__init__(in_channels, out_channels, kernel_size, weight_quant=ScaledBipolarQuant(), bias=bias, **options)
        self.orders = HorqQuant()

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.orders(x)
        weight = self.weight_quant(self.weight)
        return self.biased(self.product(first, weight) + self.product(second, weight))
