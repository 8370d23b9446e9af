"""What a multiplication costs, in LUTs or DSPs."""

from __future__ import annotations

from intir import IntType

from .cells import has_lut4, mixed

#: Products wider than this, both operands together, go into DSPs (as Yosys does).
LOGIC_PRODUCT_BITS = 8
#: Operands of a DSP with their signs, the wider one first; ``generic`` is to fit parts that have none.
DSP_BITS = {"xilinx": (25, 18), "ecp5": (18, 18)}
#: Bits of a sum of partial products that the lowest of them gives alone.
LOW_BITS = 16
#: LUTs of a large product for each pair of its operands' bits, where there is no DSP: an iCE40 has none, or few.
LUTS_A_PAIR = 2.4


def product_dsps(x: IntType, w: IntType, family: str) -> int:
    """DSPs of a multiplier where the product is wide; none by a power of two."""
    if family not in DSP_BITS or is_shift(w) or x.bits + w.bits <= LOGIC_PRODUCT_BITS:
        return 0
    wide, narrow = _pieces(x, w, family)
    return wide * narrow


def _pieces(x: IntType, w: IntType, family: str) -> tuple[int, int]:
    """Into how many numbers the operands are cut so that DSPs take them, the wider one's first.

    All pieces of a number but the top one are unsigned, so that they have a bit less.  On ECP5 a top piece of one bit is no
    DSP's.
    """
    bits = sorted((kind.bits + (not kind.signed) for kind in (x, w)), reverse=True)
    spare = 1 + (family == "ecp5")
    wide, narrow = (max(1, -(-(one - spare) // (most - 1))) for one, most in zip(bits, DSP_BITS[family], strict=True))
    return wide, narrow


def product_luts(x: IntType, w: IntType, family: str) -> int:
    """LUTs of a multiplier in logic; by one constant, of about the adders for its nonzero signed digits.

    Where it is of several DSPs, of the adders of partial products; those along one operand are in DSPs of 7 series.
    """
    if is_shift(w):
        return 0
    if product_dsps(x, w, family):
        wide, narrow = _pieces(x, w, family)
        adders = wide + narrow - 2 if has_lut4(family) else min(wide, narrow) - 1
        return adders * max(0, x.bits + w.bits - LOW_BITS)
    if w.levels == 1:
        digits = ((3 * abs(w.lo)) ^ abs(w.lo)).bit_count()
        return max(0, digits - 1) * (x.bits + w.bits // 2)
    if x.bits + w.bits > LOGIC_PRODUCT_BITS:
        return round(LUTS_A_PAIR * x.bits * w.bits)
    return mixed(x.bits * w.bits, family)


def is_shift(w: IntType) -> bool:
    """Whether a factor is 0 or a power of two, so that wires multiply by it."""
    return w.levels == 1 and abs(w.lo) & abs(w.lo) - 1 == 0
