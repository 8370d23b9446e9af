"""How a processing element multiplies and adds: the arithmetic that the operands' types allow.

===========  =============================================  ============================================================
arithmetic   operands                                       a processing element computes
===========  =============================================  ============================================================
xnor         bipolar x bipolar                              the number of equal bits
planes       any x; weights of one bit or ternary; others   for each bit of x and each digit of the weights, the number
             where multipliers are to be logic              of lanes where they agree; these counts, weighted, are added
distance     any x and weights                              ``-sum |x - w|``
integer      all others                                     multiplications, which synthesis puts into DSPs
===========  =============================================  ============================================================

Why counting agreements is enough: let u be the unsigned code of x, with B bits, and d a digit of a weight: one of -1, 0, +1.
Bit b of u agrees with d if d is +1 and the bit is 1, or d is -1 and the bit is 0.  So a digit of -1 gives
``sum of 2**b * (1 - u_b)``, which is ``(2**B - 1) - u``: the product d * u, and a constant.  Constants depend on the weights
only; for each output, the accumulator starts with them.  Nothing is multiplied, subtracted or negated.  For one bit this is
the AND/XOR-popcount of {0, 1} activations, for two bits that of ternary ones.

A weight of W bits has W digits: the bits of an unsigned code are 0 or +1, the top bit of two's complement is 0 or -1, and
the bits of a level number of symmetric odd levels (-3, -1, 1, 3) are -1 or +1.  Counts of equal weight, ``2**(b + digit)``,
come from one tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from intir import BIPOLAR, TERNARY, IntType, unsigned

from .cells import has_lut4, mixed
from .multipliers import DSP_BITS, LOGIC_PRODUCT_BITS, product_dsps, product_luts
from .popcount import PopcountTree

_SIGNS = (BIPOLAR, TERNARY, unsigned(1))
#: LUTs of four inputs that make two numbers of three, for each bit of a product: two for each bit of the sum.
COMPRESSOR_LUTS = 2.9
#: Where products are computed: in LUTs, in DSPs where synthesis finds them worth it, or whichever suits the operands.
MULTIPLIERS = ("auto", "logic", "dsp")


def origin(kind: IntType) -> int:
    """The number whose unsigned code is 0, two's complement being moved up by half its range."""
    if kind.is_coded:
        return kind.lo
    return -(1 << kind.bits - 1) if kind.signed else 0


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
    multiplier : str
        One of `MULTIPLIERS`.
    """

    lanes: int
    x_type: IntType
    w_type: IntType
    distance: bool = False
    family: str = "xilinx"
    multiplier: str = "auto"

    @property
    def arithmetic(self) -> str:
        """``xnor``, ``planes``, ``distance`` or ``integer``."""
        if self.distance:
            return "distance"
        if self.x_type == self.w_type == BIPOLAR:
            return "xnor"
        if self.x_type.levels == 1 or not self.has_digits:
            return "integer"
        in_logic = self.multiplier == "logic" or (self.multiplier == "auto" and self.product_bits <= LOGIC_PRODUCT_BITS)
        return "planes" if self.w_type in _SIGNS or in_logic else "integer"

    @property
    def product_bits(self) -> int:
        """Bits of both operands of a product together."""
        return self.x_type.bits + self.w_type.bits

    @property
    def is_symmetric(self) -> bool:
        """Whether the bits of a weight's level number are digits of -1 and +1."""
        kind = self.w_type
        return kind.step % 2 == 0 and kind.lo == -kind.hi and kind.levels == 1 << kind.bits

    @property
    def has_digits(self) -> bool:
        """Whether weights are sums of digits: all but uneven sets with steps."""
        return self.is_symmetric or self.w_type.step == 1

    @property
    def pairs(self) -> str | None:
        """How a bit of x meets a digit: as `PopcountTree.pairs`; None where they agree outside of the counter."""
        if self.distance or self.w_type == TERNARY:
            return None
        return "xnor" if self.is_symmetric else "and"

    @cached_property
    def planes(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For each power of two from 0 on: the bits of x and the digits of w whose agreements count so much."""
        digits = 1 if self.w_type == TERNARY else self.w_type.bits
        return tuple(tuple((bit, power - bit) for bit in range(self.x_type.bits) if 0 <= power - bit < digits)
                     for power in range(self.x_type.bits + digits - 1))

    @property
    def scale(self) -> int:
        """What the weighted sum of counts must be multiplied by: the steps of x and of odd levels."""
        return self.x_type.step * (self.w_type.step // 2 if self.is_symmetric else 1)

    def popcount(self, members: int = 1) -> PopcountTree:
        """The counter of `members` pairs or bits a lane."""
        return PopcountTree(members * self.lanes, self.pairs, self.family)

    @property
    def counters(self) -> tuple[PopcountTree, ...]:
        """Of one processing element: one for each power of two (``planes``), one (``xnor``, ``distance``), or none."""
        if self.arithmetic == "planes":
            return tuple(self.popcount(len(members)) for members in self.planes)
        return () if self.arithmetic == "integer" else (self.popcount(),)

    @property
    def x_origin(self) -> int:
        """The number whose unsigned code is 0 (``planes``)."""
        return origin(self.x_type)

    def start(self, weights: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the accumulator of each output starts with, for weights (..., N): int64 (N,)."""
        flat = weights.reshape(-1, weights.shape[-1])
        if self.arithmetic != "planes":
            return np.zeros(flat.shape[1], np.int64)
        if self.is_symmetric:
            negative = (self.w_type.hi - flat) // 2
        else:
            negative = (flat < 0) * (1 if self.w_type == TERNARY else 1 << self.w_type.bits - 1)
        greatest = self.x_type.step * ((1 << self.x_type.bits) - 1)
        start: NDArray[np.int64] = self.x_origin * flat.sum(axis=0) - greatest * negative.sum(axis=0)
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

    def luts(self, family: str) -> int:
        """Estimated LUTs of one processing element; the counters' are those of their own family."""
        bits = self.x_type.bits
        trees = self.counters
        if self.arithmetic == "xnor":
            return trees[0].luts
        if self.arithmetic == "planes":
            masks = bits * self.lanes if self.pairs is None else 0
            return sum(tree.luts for tree in trees) + masks + sum(tree.out_bits + 1 for tree in trees[1:])
        if self.arithmetic == "distance":
            return self.lanes * (3 * max(bits, self.w_type.bits) + trees[0].out_bits) + trees[0].luts
        if family in DSP_BITS and not self.dsps(family):
            multiply = mixed(2 * bits * self.w_type.bits, family)
        else:
            multiply = product_luts(self.x_type, self.w_type, family)
        return self.lanes * multiply + self._adder_luts(family)

    def _adder_luts(self, family: str) -> int:
        """Of the sum of all products.

        A DSP of 7 series adds another one's product to its own.  Elsewhere three numbers become two, bit by bit, until one adder
        is left for two (Yosys's pass maccmap).
        """
        if not self.dsps(family):
            return (self.lanes - 1) * self.product_bits
        if not has_lut4(family):
            return (-(-self.lanes // 2) - 1) * (self.product_bits + 3)
        return round(max(0, self.lanes - 2) * COMPRESSOR_LUTS * self.product_bits) + (self.lanes > 1) * (self.product_bits + 2)

    def dsps(self, family: str) -> int:
        """Estimated DSPs of one processing element."""
        wide = self.arithmetic == "integer" and self.product_bits > LOGIC_PRODUCT_BITS and self.x_type.levels > 1
        return self.lanes * product_dsps(self.x_type, self.w_type, family) if wide else 0
