"""How elements lie in AXI4-Stream data: the outside of a design."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.engines.base import Word
from intir import IntType


@dataclass(frozen=True)
class AxiPort:
    """One AXI4-Stream port.

    Each element takes the next power of two of bits (1, 2, 4, 8, 16, ...); element 0 lies in the least significant bits;
    TDATA is padded with zeros to whole bytes.

    Parameters
    ----------
    word : Word
    beats : int
        Transfers per frame.
    """

    word: Word
    beats: int

    @property
    def element_bits(self) -> int:
        """Bits that an element takes in TDATA."""
        return 1 << (self.word.type.bits - 1).bit_length()

    @property
    def data_bits(self) -> int:
        """Width of TDATA."""
        return -(-self.word.lanes * self.element_bits // 8) * 8

    @property
    def data_bytes(self) -> int:
        """Bytes of TDATA."""
        return self.data_bits // 8

    @property
    def meaning(self) -> str:
        """One line for headers and documents."""
        kind = self.word.type
        if kind.is_coded:
            code = f"code 0..{kind.levels - 1} for {kind.lo}, {kind.lo + kind.step}, ..., {kind.hi}"
            how = f"code 1 for {kind.hi}, 0 for {kind.lo}" if kind.levels == 2 else code
        else:
            how = "two's complement, sign-extended" if kind.signed else "unsigned, zero-extended"
        return f"{self.word.lanes} x {kind} in {self.element_bits} bits each ({how}), element 0 in the least significant bits"

    def pack(self, elements: list[int]) -> int:
        """TDATA of one beat."""
        kind, size = self.word.type, self.element_bits
        data = 0
        for lane, value in enumerate(elements):
            data |= encode(value, kind, size) << (lane * size)
        return data

    def unpack(self, data: int) -> list[int]:
        """The elements of one beat: the inverse of `pack`."""
        kind, size = self.word.type, self.element_bits
        codes = [(data >> (lane * size)) & ((1 << size) - 1) for lane in range(self.word.lanes)]
        if kind.is_coded:
            return [code * kind.step + kind.lo for code in codes]
        return [code - (1 << size) if kind.signed and code >> (size - 1) else code for code in codes]


def encode(value: int, kind: IntType, bits: int) -> int:
    """An element as carried, in a field of `bits` bits."""
    return (value - kind.lo) // kind.step if kind.is_coded else value & ((1 << bits) - 1)
