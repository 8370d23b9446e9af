"""Uniform quantizers: integers times a scale, in QONNX a `Quant` node.

Source: Jacob and others, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", 2018; QONNX operator definitions for the order: divide, add the zero point, clamp, round.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import AttributeValue, Quantizer, straight_through


class UniformQuant(Quantizer):
    """Base of the quantizers that are a `Quant` node: equally spaced levels, `bits` wide.

    A subclass provides the tensors `scale` and `zero_point`, as attributes or as properties.

    Parameters
    ----------
    bits
        1 to 16.
    signed
        Levels from -2**(bits-1) to 2**(bits-1) - 1, or from 0 to 2**bits - 1.
    narrow
        Leave out the level that makes a signed range lopsided (the least; unsigned: the greatest).
    """

    qonnx_op = "Quant"
    scale: Tensor
    zero_point: Tensor

    def __init__(self, bits: int, *, signed: bool, narrow: bool) -> None:
        super().__init__()
        if not hasattr(bits, "__index__") or not 1 <= bits <= 16 or (bits == 1 and (signed or narrow)):
            raise ValueError(f"{type(self).__name__} takes 1 to 16 bits, and 1 bit only unsigned and not narrow; it got "
                             f"bits={bits}, signed={signed}, narrow={narrow}; for one signed bit use BipolarQuant")
        self.bits, self.signed, self.narrow = bits, signed, narrow

    @property
    def lowest(self) -> int:
        """The lowest level."""
        return -(1 << self.bits - 1) + self.narrow if self.signed else 0

    @property
    def highest(self) -> int:
        """The highest level."""
        return (1 << self.bits - 1) - 1 if self.signed else (1 << self.bits) - 1 - self.narrow

    def rounded(self, clamped: Tensor) -> Tensor:
        """Levels of values that are clamped already: to the nearest, ties to the even one."""
        return torch.round(clamped)

    def quantize(self, x: Tensor) -> Tensor:
        clamped = torch.clamp(x / self.scale + self.zero_point, self.lowest, self.highest)
        return (straight_through(self.rounded(clamped), clamped) - self.zero_point) * self.scale

    def qonnx_inputs(self) -> tuple[Tensor, ...]:
        return self.scale, self.zero_point, torch.tensor(float(self.bits))

    def qonnx_attributes(self) -> dict[str, AttributeValue]:
        return {"signed": int(self.signed), "narrow": int(self.narrow), "rounding_mode": "ROUND"}

    def extra_repr(self) -> str:
        return f"bits={self.bits}, signed={self.signed}, narrow={self.narrow}"


class IntQuant(UniformQuant):
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

    def __init__(self, bits: int, *, signed: bool = True, narrow: bool = False, scale: float | Tensor = 1.0,
                 zero_point: float | Tensor = 0.0) -> None:
        super().__init__(bits, signed=signed, narrow=narrow)
        for name, value in (("scale", scale), ("zero_point", zero_point)):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32).detach().clone())
        check_scale(self.scale, type(self).__name__)
        if not bool(torch.isfinite(self.zero_point).all()):
            raise ValueError(f"the zero point of {type(self).__name__} must be finite, not {self.zero_point}")


def check_scale(scale: Tensor, name: str) -> None:
    """Refuse a scale by which a network can't be divided.  Raises ValueError."""
    usable = torch.isfinite(scale) & (scale > 0)
    if not bool(usable.all()):
        raise ValueError(f"the scale of {name} must be finite and above zero, not {scale[~usable].flatten()[0].item():g}")
