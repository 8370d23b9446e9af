"""What a multiplication costs, in LUTs or DSPs."""

from __future__ import annotations

from intir import IntType

from .cells import mixed

#: Products wider than this, both operands together, go into DSPs (as Yosys does).
LOGIC_PRODUCT_BITS = 8
#: Operands of a DSP, the wider one first; ``generic`` is to fit parts that have none.
DSP_BITS = {"xilinx": (25, 18), "ecp5": (18, 18)}
#: LUTs of a large product for each pair of its operands' bits, where there is no DSP: an iCE40 has none, or few.
LUTS_A_PAIR = 2.4


def product_dsps(x: IntType, w: IntType, family: str) -> int:
    """DSPs of a multiplier where the product is wide; none by a power of two."""
    if family not in DSP_BITS or is_shift(w) or x.bits + w.bits <= LOGIC_PRODUCT_BITS:
        return 0
    wide, narrow = max(x.bits, w.bits), min(x.bits, w.bits)
    most_wide, most_narrow = DSP_BITS[family]
    return -(-wide // most_wide) * -(-narrow // most_narrow)


def product_luts(x: IntType, w: IntType, family: str) -> int:
    """LUTs of a multiplier in logic; by one constant, of about the adders for its nonzero signed digits."""
    if is_shift(w) or product_dsps(x, w, family):
        return 0
    if w.levels == 1:
        digits = ((3 * abs(w.lo)) ^ abs(w.lo)).bit_count()
        return max(0, digits - 1) * (x.bits + w.bits // 2)
    if x.bits + w.bits > LOGIC_PRODUCT_BITS:
        return round(LUTS_A_PAIR * x.bits * w.bits)
    return mixed(x.bits * w.bits, family)


def is_shift(w: IntType) -> bool:
    """Whether a factor is 0 or a power of two, so that wires multiply by it."""
    return w.levels == 1 and abs(w.lo) & abs(w.lo) - 1 == 0
