"""Uniform quantizers: integers times a scale, in QONNX a `Quant` node.

Source: Jacob and others, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", 2018; QONNX operator definitions for the order: divide, add the zero point, clamp, round.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import AttributeValue, Quantizer, straight_through


class IntQuant(Quantizer):
    """Quantize to `bits`-bit integers times a scale: ``(round(clamp(x / scale + zero_point)) - zero_point) * scale``.

    The gradient passes straight through inside the clamp and is zero outside.

    Parameters
    ----------
    bits
        1 to 16.
    signed
        Levels from -2**(bits-1) to 2**(bits-1) - 1, or from 0 to 2**bits - 1.
    narrow
        Leave out the level that makes a signed range lopsided (the least; unsigned: the greatest).
    scale
        Finite and above zero: one number, or a tensor that broadcasts against what is quantized (for a weight of shape
        (out, in, kh, kw), one scale per output channel has shape (out, 1, 1, 1)).
    zero_point
        Of the same kinds; the level that stands for 0.
    """

    qonnx_op = "Quant"
    scale: Tensor
    zero_point: Tensor

    def __init__(self, bits: int, *, signed: bool = True, narrow: bool = False, scale: float | Tensor = 1.0,
                 zero_point: float | Tensor = 0.0) -> None:
        super().__init__()
        if not 1 <= bits <= 16 or (bits == 1 and (signed or narrow)):
            raise ValueError(f"IntQuant takes 1 to 16 bits, and 1 bit only unsigned and not narrow; it got bits={bits}, "
                             f"signed={signed}, narrow={narrow}; for one signed bit use BipolarQuant")
        self.bits, self.signed, self.narrow = bits, signed, narrow
        for name, value in (("scale", scale), ("zero_point", zero_point)):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32).clone())
        if not bool((torch.isfinite(self.scale) & (self.scale > 0)).all()):
            raise ValueError(f"the scale of IntQuant must be finite and above zero, not {self.scale}")

    @property
    def lowest(self) -> int:
        """The lowest level."""
        return -(1 << self.bits - 1) + self.narrow if self.signed else 0

    @property
    def highest(self) -> int:
        """The highest level."""
        return (1 << self.bits - 1) - 1 if self.signed else (1 << self.bits) - 1 - self.narrow

    def quantize(self, x: Tensor) -> Tensor:
        clamped = torch.clamp(x / self.scale + self.zero_point, self.lowest, self.highest)
        return (straight_through(torch.round(clamped), clamped) - self.zero_point) * self.scale

    def qonnx_inputs(self) -> tuple[Tensor, ...]:
        return self.scale, self.zero_point, torch.tensor(float(self.bits))

    def qonnx_attributes(self) -> dict[str, AttributeValue]:
        return {"signed": int(self.signed), "narrow": int(self.narrow), "rounding_mode": "ROUND"}

    def extra_repr(self) -> str:
        return f"bits={self.bits}, signed={self.signed}, narrow={self.narrow}"
