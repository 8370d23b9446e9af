"""What pieces of logic cost in the LUTs of a family.

7 series has LUTs of six inputs, and a carry chain beside them; an ECP5 has LUTs of four, two in each carry cell; an iCE40, which is
what ``generic`` is synthesized for, LUTs of four with a carry chain beside them.  Families are those of `hwsim.plan.FAMILIES`.
"""

from __future__ import annotations

#: LUTs of four inputs for one of six, in logic of the usual mix: a sum's bit is one in both, other functions up to four.
LUT4S = 2.0


def has_lut4(family: str) -> bool:
    """Whether a family's LUTs have four inputs."""
    return family != "xilinx"


def mixed(luts: float, family: str) -> int:
    """Logic that takes so many LUTs of six inputs."""
    return round(LUT4S * luts if has_lut4(family) else luts)


def mux(ways: int, family: str) -> int:
    """Of one bit of several: a tree of choices of four in each LUT of six inputs, of two in each of four."""
    if ways <= 1 or has_lut4(family):
        return max(0, ways - 1)
    fours, rest = divmod(ways, 4)
    return fours + (rest > 1) + mux(fours + (rest > 0), family)


def constant_comparison(bits: int, family: str) -> int:
    """Of a number with one that is wired in: a chain of LUTs, each of which takes what the one before it found."""
    return max(1, -(-(bits - 1) // (3 if has_lut4(family) else 5)))
