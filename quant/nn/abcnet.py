"""ABC-Net: weights and inputs as sums of several binary tensors, so that a layer is a sum of binary products.

Source: Lin, Zhao, Pan, "Towards Accurate Binary Convolutional Neural Network", 2017, sections 3.1 (weights) and 3.2
(activations).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from operator import add
from typing import Any, cast

import torch
from torch import Tensor, nn

from .base import Quantizer, straight_through
from .binary import BipolarQuant, bipolar
from .layers import QuantConv2d, QuantLinear, QuantWeights


class AbcQuant(Quantizer):
    """Weights as ``sum(alpha[m] * B[m])`` with ``B[m] = sign(W - mean(W) + u[m] * std(W))``, u from -1 to 1.

    The alphas fit W in the least squares and have no gradient; each basis passes its gradient to W as it is.

    An export stores for each weight one small integer, from which every basis is a comparison: the bases of a weight
    are +1 from some m on.

    Parameters
    ----------
    bases
        How many, 1 or more; u is 0 for one.
    """

    alphas: Tensor | None

    def __init__(self, bases: int) -> None:
        super().__init__()
        if bases < 1:
            raise ValueError(f"ABC-Net needs at least one basis, not {bases}")
        self.bits = bases
        self.shifts = torch.linspace(-1, 1, bases).tolist() if bases > 1 else [0.0]
        self.sign = BipolarQuant()
        self.register_buffer("alphas", None, persistent=False)

    def bases(self, weight: Tensor) -> list[Tensor]:
        """The bases, each {-1, +1} of the shape of `weight`."""
        if self.alphas is not None:
            return [self.sign(weight + (2.0 * m + 1 - self.bits)) for m in range(self.bits)]
        latent = weight.detach()
        centred, spread = latent - latent.mean(), latent.std(correction=0)
        return [straight_through(bipolar(centred + shift * spread), weight) for shift in self.shifts]

    def strengths(self, weight: Tensor) -> Tensor:
        """The alphas, shape (bases,), without a gradient."""
        if self.alphas is not None:
            return self.alphas
        with torch.no_grad():
            columns = torch.stack([one.flatten() for one in self.bases(weight)], dim=1).double()
            # gelsd finds the least solution where bases are alike, as those of weights that are all equal.
            found = torch.linalg.lstsq(columns, weight.detach().double().flatten()[:, None], driver="gelsd").solution
        alphas: Tensor = found[:, 0].to(weight.dtype)
        return alphas

    def quantize(self, x: Tensor) -> Tensor:
        return _weighted(self.bases(x), self.strengths(x))

    def constant_bits(self, weight: Tensor) -> int:
        return 32 * self.bits

    def prepare_weight(self, weight: Tensor) -> Tensor:
        """Sum of the bases of each weight, an integer from -bases to bases; the alphas are frozen."""
        alphas = self.strengths(weight)
        total = reduce(add, self.bases(weight)).detach()
        self.alphas = alphas
        return total


class _HalfSign(BipolarQuant):
    """A sign whose gradient passes within 1/2 of the step."""

    def quantize(self, x: Tensor) -> Tensor:
        return straight_through(bipolar(x), x.clamp(-0.5, 0.5))


class AbcInputs(nn.Module):
    """Activations as ``sum(beta[n] * sign(x - t[n]))``, steps and betas learned.

    The paper's shifts are ``v = 1/2 - t``; the gradient of each sign passes where ``0 <= x + v <= 1``.

    Parameters
    ----------
    bases
        How many, 1 or more.  The steps start evenly from -1 to 1 (0 for one), the betas at 1 / bases.
    """

    def __init__(self, bases: int) -> None:
        super().__init__()
        if bases < 1:
            raise ValueError(f"ABC-Net needs at least one basis, not {bases}")
        self.bits = bases
        self.sign = _HalfSign()
        starts = torch.linspace(-1, 1, bases).tolist() if bases > 1 else [0.0]
        self.steps = nn.ParameterList(torch.tensor(start) for start in starts)
        self.betas = nn.ParameterList(torch.tensor(1 / bases) for _ in starts)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The bases, each {-1, +1} of the shape of `x`."""
        return tuple(self.sign(x - step) for step in self.steps)


class _SumOfProducts(QuantWeights):
    """What both layers do with their product."""

    weight_quant: AbcQuant
    input_quant: AbcInputs
    product: Callable[[Tensor, Tensor], Tensor]
    biased: Callable[[Tensor], Tensor]
    training: bool

    def _take_inputs(self, bases: int) -> None:
        self.input_quant = AbcInputs(bases)
        self.coefficients = nn.ModuleList()  # of an export: one list for each basis of the input

    def _products_of_coefficients(self) -> list[list[Tensor]]:
        """``beta[n] * alpha[m]``, each rounded to one float32."""
        alphas = self.weight_quant.strengths(self.weight)
        return [[beta * alpha for alpha in alphas] for beta in self.input_quant.betas]

    def prepare_for_export(self) -> None:
        """Freeze the coefficients, too."""
        if not self.coefficients:
            rows = self._products_of_coefficients()
            self.coefficients = nn.ModuleList(nn.ParameterList(one.detach() for one in row) for row in rows)
        super().prepare_for_export()

    def forward(self, x: Tensor) -> Tensor:
        """``sum(beta[n] * alpha[m] * product(A[n], B[m]))`` plus the bias."""
        inputs, bases = self.input_quant(x), self.weight_quant.bases(self.weight)
        if self.training:  # one product of the sums: the same but for rounding, and the same gradients
            signal = _weighted(inputs, self.input_quant.betas)
            return self.biased(self.product(signal, _weighted(bases, self.weight_quant.strengths(self.weight))))
        rows: Iterable[Iterable[Tensor]] = self._products_of_coefficients()
        if self.coefficients:
            rows = cast("Iterable[Iterable[Tensor]]", self.coefficients)
        terms = [self.product(one, basis) * factor for one, row in zip(inputs, rows, strict=True)
                 for basis, factor in zip(bases, row, strict=True)]
        return self.biased(reduce(add, terms))


def _weighted(terms: Iterable[Tensor], factors: Iterable[Tensor]) -> Tensor:
    return reduce(add, [term * factor for term, factor in zip(terms, factors, strict=True)])


class AbcLinear(_SumOfProducts, QuantLinear):
    """Linear layer as ``weight_bases * input_bases`` binary products.

    Parameters
    ----------
    in_features, out_features, bias
        As `QuantLinear`.
    weight_bases, input_bases
        How many binary tensors stand for the weights and for the input.

    Shapes: input (..., in_features), output (..., out_features).
    """

    def __init__(self, in_features: int, out_features: int, *, weight_bases: int = 3, input_bases: int = 3,
                 bias: bool = False) -> None:
        QuantLinear.__init__(self, in_features, out_features, weight_quant=AbcQuant(weight_bases), bias=bias)
        self._take_inputs(input_bases)


class AbcConv2d(_SumOfProducts, QuantConv2d):
    """Convolution as ``weight_bases * input_bases`` binary convolutions.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, bias, **options
        As `torch.nn.Conv2d`.
    weight_bases, input_bases
        How many binary tensors stand for the weights and for the input.

    Shapes: input (N, in_channels, H, W), output (N, out_channels, H', W').
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], *, weight_bases: int = 3,
                 input_bases: int = 3, bias: bool = False, **options: Any) -> None:
        QuantConv2d.__init__(self, in_channels, out_channels, kernel_size, weight_quant=AbcQuant(weight_bases), bias=bias,
                             **options)
        self._take_inputs(input_bases)
