"""Scales that are powers of two, so that requantization is a shift: per layer, dynamic fixed point.

Source: Gysel and others, "Ristretto: A Framework for Empirical Study of Resource-Efficient Inference in Convolutional
Neural Networks", 2018 (dynamic fixed point: word length, fraction length per layer).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .uniform import IntQuant

_LEAST_EXPONENT, _GREATEST_EXPONENT = -126, 127  # of a normal float32


class PowerOfTwoQuant(IntQuant):
    """`IntQuant` whose scale is ``2**exponent``.

    Parameters
    ----------
    bits, signed, narrow
        As in `IntQuant`.
    exponent
        A whole number from -126 to 127, or a tensor of them that broadcasts against what is quantized.
    """

    def __init__(self, bits: int, *, exponent: int | Tensor, signed: bool = True, narrow: bool = False) -> None:
        exponents = torch.as_tensor(exponent, dtype=torch.float64)
        if not bool(((exponents == exponents.round()) & (exponents >= _LEAST_EXPONENT) & (exponents <= _GREATEST_EXPONENT)).all()):
            raise ValueError(f"the exponent of PowerOfTwoQuant must be a whole number from {_LEAST_EXPONENT} to "
                             f"{_GREATEST_EXPONENT}, not {exponent}")
        super().__init__(bits, signed=signed, narrow=narrow, scale=torch.ldexp(torch.ones(()), exponents.to(torch.int32)))


class DynamicFixedPoint(PowerOfTwoQuant):
    """Ristretto's fixed point of one layer: `bits` in all, of them `bits` - `integer_bits` behind the binary point.

    Parameters
    ----------
    bits
        Word length, the sign bit included.
    integer_bits
        Bits before the binary point, the sign bit included; below zero or above `bits` is fine.
    signed
        Whether there is a sign bit.
    """

    def __init__(self, bits: int, integer_bits: int, *, signed: bool = True) -> None:
        super().__init__(bits, exponent=integer_bits - bits, signed=signed)
        self.integer_bits, self.fraction_bits = integer_bits, bits - integer_bits

    @classmethod
    def from_range(cls, bits: int, largest: float, *, signed: bool = True) -> DynamicFixedPoint:
        """The format with the fewest integer bits that hold a magnitude: ``ceil(log2(largest))``, and one for a sign.

        As in Ristretto, a `largest` that is a power of two itself saturates by one step.

        Parameters
        ----------
        largest
            Greatest magnitude in the layer; finite and above zero.
        """
        if not (math.isfinite(largest) and largest > 0):
            raise ValueError(f"the largest magnitude must be finite and above zero, not {largest}")
        mantissa, exponent = math.frexp(largest)  # largest = mantissa * 2**exponent, mantissa from 1/2 to 1
        return cls(bits, (exponent - (mantissa == 0.5)) + signed, signed=signed)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, integer_bits={self.integer_bits}, fraction_bits={self.fraction_bits}"
