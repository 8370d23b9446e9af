"""What a multiplication costs, in LUTs or DSPs."""

from __future__ import annotations

from intir import IntType

#: Products wider than this, both operands together, go into DSPs (as Yosys does).
LOGIC_PRODUCT_BITS = 8


def product_dsps(x: IntType, w: IntType) -> int:
    """DSPs of a multiplier: of 25 x 18 bits each, where the product is wide; none by one constant."""
    if w.levels == 1 or x.bits + w.bits <= LOGIC_PRODUCT_BITS:
        return 0
    wide, narrow = max(x.bits, w.bits), min(x.bits, w.bits)
    return -(-wide // 25) * -(-narrow // 18)


def product_dsps_on(family: str, x: IntType, w: IntType) -> int:
    """The same on a family: ECP5's multiply 18 x 18 bits."""
    one = product_dsps(x, w)
    return -(-max(x.bits, w.bits) // 18) * -(-min(x.bits, w.bits) // 18) if one and family == "ecp5" else one


def product_luts(x: IntType, w: IntType) -> int:
    """LUTs of a multiplier in logic; by one constant, of about the adders for its nonzero signed digits."""
    if w.levels > 1:
        return 0 if product_dsps(x, w) else x.bits * w.bits
    digits = ((3 * abs(w.lo)) ^ abs(w.lo)).bit_count()
    return max(0, digits - 1) * (x.bits + w.bits // 2)
