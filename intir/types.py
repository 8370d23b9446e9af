"""Types of the IR: finite arithmetic progressions of integers.

A type is the set ``{lo, lo + step, ..., hi}``.  With ``step = 1`` it is a closed interval; ``step = 2`` gives the odd
levels of binary and DoReFa networks without a second concept: bipolar is ``{-1, +1}``, two-bit DoReFa weights are
``{-3, -1, +1, +3}``.  The number of bits is derived, never stored.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import GraphError

#: No value of the IR may need more: numpy's int64 then holds every sum of two values.
MAX_BITS = 62


@dataclass(frozen=True, order=True)
class IntType:
    """The integers ``lo, lo + step, ..., hi``.

    Parameters
    ----------
    lo, hi : int
        Least and greatest value, both reachable.
    step : int
        Distance of neighbouring values, at least 1; 1 for a type of a single value.

    Raises
    ------
    GraphError
        If ``lo > hi``, ``step < 1``, ``hi - lo`` is no multiple of ``step``, or a bound needs more than 62 bits.
    """

    lo: int
    hi: int
    step: int = 1

    def __post_init__(self) -> None:
        for field in ("lo", "hi", "step"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise GraphError(f"IntType: {field} is {value!r}, not an integer; pass a whole number")
            object.__setattr__(self, field, int(value))
        if self.lo > self.hi:
            raise GraphError(f"IntType: lo {self.lo} is above hi {self.hi}; swap them")
        if self.step < 1 or (self.hi - self.lo) % self.step:
            raise GraphError(f"IntType: step {self.step} does not lead from {self.lo} to {self.hi}; "
                             "choose a positive divisor of hi - lo")
        if max(abs(self.lo), abs(self.hi)) >> MAX_BITS:
            raise GraphError(f"IntType: [{self.lo}, {self.hi}] needs more than {MAX_BITS} bits; scale the values down")
        if self.lo == self.hi:
            object.__setattr__(self, "step", 1)

    @property
    def levels(self) -> int:
        """Number of values in the type."""
        return (self.hi - self.lo) // self.step + 1

    @property
    def is_coded(self) -> bool:
        """True where hardware carries ``(value - lo) / step`` instead of the value itself (``step`` above 1)."""
        return self.step > 1

    @property
    def signed(self) -> bool:
        """True where the carried number can be negative (two's complement)."""
        return self.lo < 0 and not self.is_coded

    @property
    def bits(self) -> int:
        """Least number of bits that hold every value: two's complement if signed, offset code if ``step`` > 1."""
        if self.is_coded:
            return max(1, (self.levels - 1).bit_length())
        if self.lo < 0:
            return max((-self.lo - 1).bit_length(), self.hi.bit_length()) + 1
        return max(1, self.hi.bit_length())

    def contains(self, other: IntType) -> bool:
        """True if every value of `other` is a value of this type."""
        if other.lo < self.lo or other.hi > self.hi or (other.lo - self.lo) % self.step:
            return False
        return other.levels == 1 or other.step % self.step == 0

    def union(self, other: IntType) -> IntType:
        """The least type that holds both."""
        lo, hi = min(self.lo, other.lo), max(self.hi, other.hi)
        step = math.gcd(self.step if self.levels > 1 else 0, other.step if other.levels > 1 else 0,
                        self.lo - other.lo, hi - lo)
        return IntType(lo, hi, step or 1)

    def encode(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """The non-negative bit pattern that hardware carries for each value, as int64 of the same shape."""
        if self.is_coded:
            return (values - self.lo) // self.step
        return values & ((1 << self.bits) - 1)

    def decode(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Inverse of `encode`."""
        if self.is_coded:
            return codes * self.step + self.lo
        if not self.signed:
            return codes
        sign = 1 << (self.bits - 1)
        return (codes ^ sign) - sign

    def holds(self, values: NDArray[np.integer]) -> bool:
        """True if every element of an integer array is a value of this type."""
        if values.size == 0:
            return True
        if int(values.min()) < self.lo or int(values.max()) > self.hi:
            return False
        mask = self.step - 1
        if self.step & mask == 0 and values.dtype.kind in "iu" and mask <= np.iinfo(values.dtype).max:
            # A power of two: the low bits say it, in the values' own dtype.
            return not bool(((values ^ values.dtype.type(self.lo & mask)) & values.dtype.type(mask)).any())
        return not bool(np.any((values.astype(np.int64) - self.lo) % self.step))

    @classmethod
    def of(cls, values: NDArray[np.integer]) -> IntType:
        """The least type that holds every element of a non-empty integer array."""
        lo, hi = int(values.min()), int(values.max())
        distances = np.unique(values.astype(np.int64).ravel() - lo)
        return cls(lo, hi, int(np.gcd.reduce(distances)) or 1)

    @classmethod
    def parse(cls, text: str) -> IntType:
        """Read ``u8``, ``s4``, ``bipolar``, ``ternary``, ``[lo, hi]`` or ``[lo, hi] step n``.

        Raises
        ------
        GraphError
            If the text is none of these.
        """
        text = text.strip()
        for name, kind in _NAMES.items():
            if text == name:
                return kind
        if match := re.fullmatch(r"([us])(\d{1,2})", text):
            bits = int(match[2])
            if 1 <= bits <= MAX_BITS:
                return cls(0, 2**bits - 1) if match[1] == "u" else cls(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        if match := re.fullmatch(r"\[(-?\d{1,20}), ?(-?\d{1,20})\](?: step (\d{1,20}))?", text):
            return cls(int(match[1]), int(match[2]), int(match[3] or 1))
        raise GraphError(f"'{text[:80]}' is no type of the IR; write u8, s4, bipolar, ternary, [lo, hi] or [lo, hi] step n")

    def __str__(self) -> str:
        for name, kind in _NAMES.items():
            if self == kind:
                return name
        if self.step == 1 and self.lo == 0 and self.hi > 1 and (self.hi + 1).bit_count() == 1:
            return f"u{self.bits}"
        if self.step == 1 and self.lo == -self.hi - 1 and (self.hi + 1).bit_count() == 1:
            return f"s{self.bits}"
        return f"[{self.lo}, {self.hi}]" + (f" step {self.step}" if self.step > 1 else "")


BIPOLAR = IntType(-1, 1, 2)
TERNARY = IntType(-1, 1)
_NAMES = {"bipolar": BIPOLAR, "ternary": TERNARY, "u1": IntType(0, 1)}


def unsigned(bits: int) -> IntType:
    """The type ``u<bits>``."""
    return IntType(0, 2**bits - 1)


def signed(bits: int) -> IntType:
    """The type ``s<bits>``, two's complement."""
    return IntType(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
