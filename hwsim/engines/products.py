"""How a processing element multiplies and adds: the arithmetic that the operands' types allow.

===========  =============================================  ============================================================
arithmetic   operands                                       a processing element computes
===========  =============================================  ============================================================
xnor         bipolar x bipolar                              the number of equal bits
planes       any x, weights bipolar, ternary or {0, 1}      for each bit of x, the number of lanes where it agrees with
                                                            the weight; these counts, weighted, are added
distance     any x and weights                              ``-sum |x - w|``
integer      all others                                     multiplications
===========  =============================================  ============================================================

Why counting agreements is enough: let u be the unsigned code of x, with B bits, and w one of -1, 0, +1.  Bit b of u agrees
with w if w is +1 and the bit is 1, or w is -1 and the bit is 0.  So a weight of -1 gives ``sum of 2**b * (1 - u_b)``, which is
``(2**B - 1) - u``: the product w * u, and a constant.  Constants depend on the weights only; for each output, the
accumulator starts with them.  Nothing is multiplied, subtracted or negated.  For one bit this is the AND/XOR-popcount of
{0, 1} activations, for two bits that of ternary ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intir import BIPOLAR, TERNARY, IntType, unsigned

from .popcount import PopcountTree

_SIGNS = (BIPOLAR, TERNARY, unsigned(1))


@dataclass(frozen=True)
class Products:
    """Parameters of the products of one processing element.

    Parameters
    ----------
    lanes : int
        Products added at a time.
    x_type, w_type : IntType
    distance : bool
        Distances instead of products.
    family : str
        FPGA family that the counters' cells are made for.
    """

    lanes: int
    x_type: IntType
    w_type: IntType
    distance: bool = False
    family: str = "xilinx"

    @property
    def arithmetic(self) -> str:
        """``xnor``, ``planes``, ``distance`` or ``integer``."""
        if self.distance:
            return "distance"
        if self.x_type == self.w_type == BIPOLAR:
            return "xnor"
        return "planes" if self.w_type in _SIGNS and self.x_type.levels > 1 else "integer"

    @property
    def popcount(self) -> PopcountTree:
        """The counter: of pairs that are equal, where weights are bipolar; else of bits."""
        return PopcountTree(self.lanes, xnor=self.w_type == BIPOLAR and not self.distance, family=self.family)

    @property
    def x_origin(self) -> int:
        """The number whose unsigned code is 0 (``planes``)."""
        if self.x_type.is_coded:
            return self.x_type.lo
        return -(1 << self.x_type.bits - 1) if self.x_type.signed else 0

    def start(self, weights: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the accumulator of each output starts with, for weights (..., N): int64 (N,)."""
        flat = weights.reshape(-1, weights.shape[-1])
        if self.arithmetic != "planes":
            return np.zeros(flat.shape[1], np.int64)
        greatest = self.x_type.step * ((1 << self.x_type.bits) - 1)
        start: NDArray[np.int64] = self.x_origin * flat.sum(axis=0) - greatest * (flat < 0).sum(axis=0)
        return start

    def counter_type(self, acc_type: IntType, terms: int) -> IntType:
        """What an accumulator holds: for ``xnor`` the number of equal bits, else the sum."""
        if self.arithmetic == "xnor":
            return IntType((acc_type.lo + terms) // 2, (acc_type.hi + terms) // 2)
        return IntType(acc_type.lo, acc_type.hi)

    @property
    def has_start(self) -> bool:
        """Whether accumulators start with a constant of their output."""
        return self.arithmetic == "planes" and (self.x_origin != 0 or self.w_type.lo < 0)

    @property
    def luts(self) -> int:
        """Estimated LUTs of one processing element."""
        bits, count = self.x_type.bits, self.popcount.luts
        depth = self.popcount.out_bits
        if self.arithmetic == "xnor":
            return count
        if self.arithmetic == "planes":
            masks = 0 if self.w_type == BIPOLAR else self.lanes
            return bits * (count + masks) + (bits - 1) * (depth + 1)
        wide = bits + self.w_type.bits
        if self.arithmetic == "distance":
            return self.lanes * (3 * max(bits, self.w_type.bits) + depth) + count
        return self.lanes * (bits * self.w_type.bits + wide)
