"""What a multiplication costs, in LUTs or DSPs."""

from __future__ import annotations

from intir import IntType

from .cells import calibrated, mixed

#: Products wider than this, both operands together, go into DSPs (as Yosys does).
LOGIC_PRODUCT_BITS = 8
#: Operands of a DSP, the wider one first.
DSP_BITS = {"xilinx": (25, 18), "ecp5": (18, 18)}


def product_dsps(x: IntType, w: IntType, family: str) -> int:
    """DSPs of a multiplier where the product is wide; none by one constant."""
    if w.levels == 1 or x.bits + w.bits <= LOGIC_PRODUCT_BITS:
        return 0
    wide, narrow = max(x.bits, w.bits), min(x.bits, w.bits)
    most_wide, most_narrow = DSP_BITS[calibrated(family)]
    return -(-wide // most_wide) * -(-narrow // most_narrow)


def product_luts(x: IntType, w: IntType, family: str) -> int:
    """LUTs of a multiplier in logic; by one constant, of about the adders for its nonzero signed digits."""
    if w.levels > 1:
        return 0 if product_dsps(x, w, family) else mixed(x.bits * w.bits, family)
    digits = ((3 * abs(w.lo)) ^ abs(w.lo)).bit_count()
    return max(0, digits - 1) * (x.bits + w.bits // 2)
