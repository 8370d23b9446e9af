"""Quantizers whose constants come from the data itself: scales of weights, averages of activations."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from intir.errors import BitwrightError

from .base import Quantizer

#: The least scale: QONNX wants scales above zero, and the magnitude of weights that are all zero is none.
LEAST_SCALE: Final = torch.finfo(torch.float32).tiny


def mean_per_output(values: Tensor, per_channel: bool) -> Tensor:
    """Mean over everything, or over everything but the first axis, which then keeps the others with size 1."""
    return values.mean(dim=tuple(range(1, values.ndim)), keepdim=True) if per_channel else values.mean()


class FittedQuantizer(Quantizer):
    """A quantizer of weights whose scale is computed from those very weights, and frozen for an export.

    The values that it gives have another mean than the weights, in the last bits at least: computed anew from what an
    export stores, the scale would change.  So `prepare_weight` keeps it.  A subclass overrides `fit` and, in `quantize`, asks
    `scale_of` for its scale.
    """

    scale: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", None, persistent=False)

    def fit(self, weight: Tensor) -> Tensor:
        """The scale for these weights, above zero, of a shape that broadcasts against them."""
        raise NotImplementedError

    def scale_of(self, weight: Tensor) -> Tensor:
        """The frozen scale if there is one, else the one that fits; without a gradient."""
        return self.fit(weight.detach()).clamp_min(LEAST_SCALE) if self.scale is None else self.scale

    def constant_bits(self, weight: Tensor) -> int:
        return 32 * self.scale_of(weight).numel()

    def prepare_weight(self, weight: Tensor) -> Tensor:
        """The quantized values; the scale is frozen.

        Errors
        ------
        BitwrightError
            It was frozen before, for other weights: two layers share one quantizer.
        """
        values = self.quantize(weight).detach()
        if self.scale is None:
            self.scale = self.scale_of(weight)
        elif not torch.equal(values, weight):
            raise BitwrightError(f"one {type(self).__name__} quantizes the weights of two layers, but its scale can be that of one "
                                 "only: give each layer its own")
        return values

    def qonnx_inputs(self) -> tuple[Tensor, ...]:
        if self.scale is None:
            raise BitwrightError(f"the scale of {type(self).__name__} isn't frozen: export it as `weight_quant` of a layer, with "
                                 "export_qonnx")
        return (self.scale,)


class RunningMean(nn.Module):
    """In training each batch's own value, in evaluation their running mean: a constant that hardware can hold.

    Parameters
    ----------
    momentum
        Weight of a new batch, 0 to 1.  The first batches count alike until 1 / momentum of them were seen.
    """

    value: Tensor
    batches: Tensor

    def __init__(self, momentum: float = 0.1) -> None:
        super().__init__()
        if not 0 < momentum <= 1:
            raise ValueError(f"the momentum of a running mean must be above 0 and at most 1, not {momentum}")
        self.momentum = momentum
        self.register_buffer("value", torch.ones(()))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def forward(self, batch_value: Tensor) -> Tensor:
        """`batch_value`, a number above zero, in training; the mean of those seen, in evaluation."""
        if not self.training:
            return self.value
        batch_value = batch_value.detach().clamp_min(LEAST_SCALE)
        self.batches += 1
        self.value += (batch_value - self.value) * max(self.momentum, 1 / int(self.batches))
        return batch_value
