"""Memories: what an engine stores, and whether that costs LUTs or block RAMs.

The counts are those of Yosys for 7 series: it puts a memory where it costs least, and the costs are its own.  A block RAM
here is one of 18 kbit; a RAMB36 counts as two.  ECP5's have the same size.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Where a memory goes: as synthesis likes, into LUTs, or into block RAM.
STYLES = ("auto", "distributed", "block")
#: (words, bits) that an 18 kbit block RAM can be.
SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
#: What Yosys takes a block RAM for, in LUTs, when it weighs a ROM.
BLOCK_COST_LUTS = 129
#: Largest memory of more than 64 words that it makes of LUT RAM.
MOST_LUTRAM_BITS = 2048


@dataclass(frozen=True)
class Memory:
    """One memory.

    Parameters
    ----------
    depth, bits : int
        Words, and bits of a word.
    kind : str
        ``rom`` and ``ram`` are read at a clock edge; ``async``, read at once, is always LUT RAM.
    style : str
        One of `STYLES`.
    """

    depth: int
    bits: int
    kind: str = "rom"
    style: str = "auto"

    @property
    def is_empty(self) -> bool:
        """Whether nothing is stored: constants and registers are no memories."""
        return self.bits == 0 or self.depth <= (1 if self.kind == "rom" else 0)

    @property
    def is_block(self) -> bool:
        """Whether it is block RAM."""
        if self.kind == "async" or self.style == "distributed" or self.is_empty:
            return False
        if self.kind == "ram" and self.style == "auto":
            return self.depth > 64 and self.depth * self.bits > MOST_LUTRAM_BITS
        return self.style == "block" or self._in_luts > BLOCK_COST_LUTS * self._in_blocks

    @property
    def luts(self) -> int:
        """LUTs that it takes."""
        return 0 if self.is_block or self.is_empty else self._in_luts

    @property
    def brams(self) -> int:
        """Block RAMs of 18 kbit that it takes."""
        return self._in_blocks if self.is_block else 0

    @property
    def _in_blocks(self) -> int:
        return min(-(-self.depth // words) * -(-self.bits // bits) for words, bits in SHAPES)

    @property
    def _in_luts(self) -> int:
        """A ROM: a LUT for 64 words and bit; LUT RAM: four LUTs for 32 words of 6 bits or 64 of 3; and multiplexers."""
        blocks = -(-self.depth // 64)
        if self.kind == "rom":
            return self.bits * (blocks + (blocks - 1) // 3)
        return (4 * -(-self.bits // 6) if self.depth <= 32 else 4 * blocks * -(-self.bits // 3)) + self.bits * (blocks // 2)


@dataclass(frozen=True)
class Resources:
    """What hardware takes of a device.

    Parameters
    ----------
    luts : int
        Of six inputs.
    brams : int
        Of 18 kbit.
    dsps : int
    """

    luts: int = 0
    brams: int = 0
    dsps: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(self.luts + other.luts, self.brams + other.brams, self.dsps + other.dsps)

    def holds(self, taken: Resources) -> bool:
        """Whether there is room for something."""
        return taken.luts <= self.luts and taken.brams <= self.brams and taken.dsps <= self.dsps
