"""1-bit quantizers: {-scale, +scale}.

Source: Courbariaux and others, "Binarized Neural Networks", 2016 (straight-through gradient, clipped latent weights).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Quantizer, straight_through


def bipolar(x: Tensor) -> Tensor:
    """-1 where `x` is negative and +1 elsewhere: 0, and -0.0 too, give +1, as QONNX BipolarQuant defines."""
    one = torch.ones((), dtype=x.dtype, device=x.device)
    return torch.where(x >= 0, one, -one)


class BipolarQuant(Quantizer):
    """Quantize to {-scale, +scale}: 1 bit.

    The gradient passes straight through where `|x| <= 1` and is zero elsewhere, so that a value which is
    already far on one side isn't pushed further.

    Parameters
    ----------
    scale
        Magnitude of the output; finite and above zero.  1.0 keeps the values integers.
    """

    qonnx_op = "BipolarQuant"
    bits = 1
    clips_latent_weights = True
    scale: Tensor

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"the scale of BipolarQuant must be finite and above zero, not {scale}")
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))

    def quantize(self, x: Tensor) -> Tensor:
        return straight_through(bipolar(x), x.clamp(-1.0, 1.0)) * self.scale

    def qonnx_inputs(self) -> tuple[Tensor, ...]:
        return (self.scale,)

    def extra_repr(self) -> str:
        return f"scale={self.scale.item():g}"
