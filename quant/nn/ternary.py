"""Ternary weights (TWN, TTQ) and ternary activations (TBN).

Sources: Li and others, "Ternary Weight Networks", 2016; Zhu and others, "Trained Ternary Quantization", 2017; Wan and
others, "TBN: Convolutional Neural Network with Ternary Inputs and Binary Weights", 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import AttributeValue, Quantizer, straight_through
from .fitted import LEAST_SCALE, FittedQuantizer, RunningMean, mean_per_output
from .uniform import IntQuant


class TwnQuant(FittedQuantizer):
    """Weights as {-alpha, 0, +alpha}: 0 where ``|w| <= ratio * mean(|W|)``, alpha the mean magnitude of the others.

    The gradient passes straight through, as in the paper.

    Parameters
    ----------
    per_channel
        Threshold and alpha for each output channel (the first axis), or one of each for the tensor.
    ratio
        Of the threshold to the mean magnitude; the paper's is 0.7.
    """

    qonnx_op = "Quant"
    bits = 2

    def __init__(self, *, per_channel: bool = False, ratio: float = 0.7) -> None:
        super().__init__()
        self.per_channel, self.ratio = per_channel, ratio

    def _kept(self, weight: Tensor) -> Tensor:
        """1.0 where a weight is beyond the threshold."""
        magnitude = weight.abs()
        return (magnitude > self.ratio * mean_per_output(magnitude, self.per_channel)).to(weight.dtype)

    def fit(self, weight: Tensor) -> Tensor:
        kept = self._kept(weight)
        share = mean_per_output(kept, self.per_channel)
        return mean_per_output(weight.abs() * kept, self.per_channel) / share.clamp_min(LEAST_SCALE)

    def quantize(self, x: Tensor) -> Tensor:
        if self.scale is not None:  # the threshold is in what was stored
            return straight_through(torch.round((x / self.scale).clamp(-1.0, 1.0)) * self.scale, x)
        latent = x.detach()
        return straight_through(torch.sign(latent) * self._kept(latent) * self.scale_of(latent), x)

    def qonnx_inputs(self) -> tuple[Tensor, ...]:
        return *super().qonnx_inputs(), torch.tensor(0.0), torch.tensor(2.0)

    def qonnx_attributes(self) -> dict[str, AttributeValue]:
        return {"signed": 1, "narrow": 1, "rounding_mode": "ROUND"}

    def extra_repr(self) -> str:
        return f"per_channel={self.per_channel}, ratio={self.ratio:g}"


class TtqQuant(Quantizer):
    """Weights as {-negative, 0, +positive}, two learned magnitudes: 0 where ``|w| <= ratio * max(|W|)``.

    A latent weight's gradient is multiplied by the magnitude of its class (1 for those at 0), as in the paper; a
    magnitude's is that of the function.  Both magnitudes start as the mean of their class in the first weights seen.

    In QONNX: two `Quant` of one unsigned bit, of w and of -w, with the magnitudes as scales, and their difference.

    Parameters
    ----------
    ratio
        Of the threshold to the greatest magnitude; the paper's is 0.05.
    """

    bits = 2
    fitted: Tensor

    def __init__(self, *, ratio: float = 0.05) -> None:
        super().__init__()
        self.ratio = ratio
        self.positive, self.negative = (nn.Parameter(torch.ones(())) for _ in range(2))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))
        self.frozen = nn.ModuleList()  # the two quantizers of an export

    def _classes(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """1.0 for the positive weights, and for the negative ones."""
        threshold = self.ratio * weight.abs().max()
        return (weight > threshold).to(weight.dtype), (weight < -threshold).to(weight.dtype)

    def _magnitudes(self) -> tuple[Tensor, Tensor]:
        return self.positive.abs().clamp_min(LEAST_SCALE), self.negative.abs().clamp_min(LEAST_SCALE)

    @torch.no_grad()
    def _fit(self, weight: Tensor) -> None:
        for magnitude, members in zip((self.positive, self.negative), self._classes(weight), strict=True):
            if bool(members.any()):
                magnitude.copy_((weight.abs() * members).sum() / members.sum())
        self.fitted.fill_(True)

    def quantize(self, x: Tensor) -> Tensor:
        if not self.fitted:
            self._fit(x)
        above, below = self._classes(x.detach())
        positive, negative = self._magnitudes()
        values = positive * above - negative * below
        factor = values.detach().abs() + (1 - above - below)
        # Written out: the magnitudes take the values' gradient, the latent weights the carrier's.
        return values + (x * factor - (x * factor).detach())

    def constant_bits(self, weight: Tensor) -> int:
        return 2 * 32

    def prepare_weight(self, weight: Tensor) -> Tensor:
        """The quantized values; the magnitudes are frozen."""
        values: Tensor = self(weight).detach()
        self.frozen = nn.ModuleList(IntQuant(1, signed=False, scale=one.detach()) for one in self._magnitudes())
        return values

    def forward(self, x: Tensor) -> Tensor:
        if not self.frozen:
            return self.quantize(x)
        positive, negative = self.frozen
        values: Tensor = positive(x) - negative(-x)
        return values

    def extra_repr(self) -> str:
        return f"ratio={self.ratio:g}"


class TernaryQuant(Quantizer):
    """Activations as {-1, 0, +1}: 0 where ``|x| <= ratio * mean(|x|)``, the inputs of TBN.

    In training the mean is the batch's; in evaluation, a running mean, so that the threshold is a constant.  The gradient
    passes straight through where ``|x| <= 1`` and is zero elsewhere.

    In QONNX: a `Quant` of 2 narrow bits of ``x / (2 * threshold)``, which rounds to 0 up to one half.

    Parameters
    ----------
    ratio
        Of the threshold to the mean magnitude; the paper's is 0.4.
    momentum
        Of the running mean.
    """

    bits = 2

    def __init__(self, *, ratio: float = 0.4, momentum: float = 0.1) -> None:
        super().__init__()
        if not ratio > 0:
            raise ValueError(f"the ratio of TernaryQuant must be above zero, not {ratio}")
        self.ratio = ratio
        self.step = RunningMean(momentum)  # twice the threshold
        self.levels = IntQuant(2, narrow=True)

    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = self.levels(x / self.step(2 * self.ratio * x.detach().abs().mean()))
        return values if torch.onnx.is_in_onnx_export() else straight_through(values, x.clamp(-1.0, 1.0))

    def extra_repr(self) -> str:
        return f"ratio={self.ratio:g}"
