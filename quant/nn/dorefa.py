"""DoReFa-Net: k-bit weights behind a tanh, k-bit activations in [0, 1].

Source: Zhou and others, "DoReFa-Net: Training Low Bitwidth Convolutional Neural Networks with Low Bitwidth Gradients",
2016, equations 9 and 11.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from intir.errors import BitwrightError

from .base import straight_through
from .binary import bipolar
from .fitted import LEAST_SCALE, FittedQuantizer
from .uniform import IntQuant

MAX_WEIGHT_BITS: Final = 8


class DoReFaActivation(IntQuant):
    """``round((2**k - 1) * clip(x, 0, 1)) / (2**k - 1)``: one unsigned `Quant` node of scale 1 / (2**k - 1).

    Parameters
    ----------
    bits
        k, from 1 to 16.
    """

    def __init__(self, bits: int) -> None:
        super().__init__(bits, signed=False, scale=1.0 / max(1, (1 << bits) - 1))


class DoReFaWeight(IntQuant):
    """``2 * round((2**k - 1) * (tanh(w) / (2 * max|tanh(w)|) + 1/2)) / (2**k - 1) - 1``, from -1 to 1.

    In QONNX, one unsigned `Quant` node with the zero point (2**k - 1) / 2 and the scale 2 / (2**k - 1): every weight is an odd
    multiple of half the scale, and none is 0.  The tanh and its maximum, over the whole layer, stay in training: an
    export stores the quantized weights.

    Parameters
    ----------
    bits
        k, from 2 to 8.  For one bit there is `DoReFaSign`.
    """

    def __init__(self, bits: int) -> None:
        if not 2 <= bits <= MAX_WEIGHT_BITS:
            raise ValueError(f"DoReFaWeight takes 2 to {MAX_WEIGHT_BITS} bits, not {bits}; for one bit use DoReFaSign")
        steps = (1 << bits) - 1
        super().__init__(bits, signed=False, scale=2.0 / steps, zero_point=steps / 2)
        self.frozen = False

    def quantize(self, x: Tensor) -> Tensor:
        if self.frozen:
            return super().quantize(x)
        squeezed = torch.tanh(x)
        # No gradient through the maximum, which a single weight decides; a layer of zeros stays finite.
        return super().quantize(squeezed / squeezed.detach().abs().amax().clamp_min(LEAST_SCALE))

    def prepare_weight(self, weight: Tensor) -> Tensor:
        """The quantized values; what comes now needs no tanh.

        Errors
        ------
        BitwrightError
            It was called before, for other weights: two layers share one quantizer.
        """
        prepared = self.quantize(weight).detach()
        if self.frozen and not torch.equal(prepared, weight):
            raise BitwrightError("one DoReFaWeight quantizes the weights of two layers, but its maximum can be that of one only: "
                                 "give each layer its own")
        self.frozen = True
        return prepared


class DoReFaSign(FittedQuantizer):
    """1-bit weights: ``sign(w) * mean|w|``, one scale for the whole layer; the gradient passes straight through.

    In QONNX, a `BipolarQuant` node.  The mean is frozen where an export stores the weights.
    """

    qonnx_op = "BipolarQuant"
    bits = 1

    def fit(self, weight: Tensor) -> Tensor:
        return weight.abs().mean()

    def quantize(self, x: Tensor) -> Tensor:
        return straight_through(bipolar(x) * self.scale_of(x), x)
