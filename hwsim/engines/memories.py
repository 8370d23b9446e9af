"""Memories: what an engine stores, and whether that costs LUTs or block RAMs.

The counts are those of Yosys: it puts a memory where it costs least, and the costs are its own.  A block RAM here is one of
18 kbit; a RAMB36 counts as two.  ECP5's have the same size.  LUTs are those of the family: of six inputs in 7 series, of four
in ECP5.  What was measured stands in ``benchmarks/calibration``.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Where a memory goes: as synthesis likes, into LUTs, or into block RAM.
STYLES = ("auto", "distributed", "block")
#: (words, bits) that an 18 kbit block RAM can be.
SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
#: What Yosys takes a block RAM for, in LUTs, when it weighs a ROM.
BLOCK_COST_LUTS = 129
#: Words of a ROM that a LUT holds one bit of.
LUT_WORDS = {"xilinx": 64, "ecp5": 16}
#: LUTs whose outputs a slice's own multiplexers join, so that a ROM's bit of so many LUTs needs no more.
FREE_LUTS = {"xilinx": 4, "ecp5": 8}
#: LUTs that multiplexers add to each LUT of a larger ROM; random contents, fitted from 512 to 4,096 words.
MULTIPLEXED = {"xilinx": 0.42, "ecp5": 0.5}
#: Largest memory of more than 64 words that it makes of LUT RAM.
MOST_LUTRAM_BITS = 2048
#: Smaller ones that are written become flip-flops.
LEAST_LUTRAM_BITS = 28


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
        """Whether it is block RAM in 7 series."""
        return self.is_block_on("xilinx")

    @property
    def luts(self) -> int:
        """LUTs that it takes in 7 series."""
        return self.luts_on("xilinx")

    @property
    def brams(self) -> int:
        """Block RAMs of 18 kbit that it takes in 7 series."""
        return self.brams_on("xilinx")

    def is_block_on(self, family: str) -> bool:
        """Whether it is block RAM in a family."""
        if self.kind == "async" or self.style == "distributed" or self.is_empty:
            return False
        if self.kind == "ram" and self.style == "auto":
            return self.depth > 64 and self.depth * self.bits > MOST_LUTRAM_BITS
        return self.style == "block" or self.depth * self.bits > BLOCK_COST_LUTS * LUT_WORDS[_lut(family)] * self._in_blocks

    def luts_on(self, family: str) -> int:
        """LUTs of a family that it takes."""
        return 0 if self.is_block_on(family) or self.is_empty else self._in_luts(_lut(family))

    def brams_on(self, family: str) -> int:
        """Block RAMs of 18 kbit that it takes."""
        return self._in_blocks if self.is_block_on(family) else 0

    @property
    def _in_blocks(self) -> int:
        return min(-(-self.depth // words) * -(-self.bits // bits) for words, bits in SHAPES)

    def _in_luts(self, family: str) -> int:
        """A ROM: a LUT for each bit of some words, and multiplexers.  LUT RAM: in 7 series, four LUTs for 32 words of 6 bits or
        64 of 3; in ECP5, six for 16 words of 4 bits; and multiplexers.  What is written and small: flip-flops and a multiplexer.
        """
        if self.kind == "rom":
            blocks = -(-self.depth // LUT_WORDS[family])
            return self.bits * (blocks if blocks <= FREE_LUTS[family] else round(blocks * (1 + MULTIPLEXED[family])))
        if self.depth * self.bits < LEAST_LUTRAM_BITS:
            return self.bits
        if family == "ecp5":
            blocks = -(-self.depth // 16)
            return 6 * blocks * -(-self.bits // 4) + self.bits * (blocks // 2)
        whole, rest = divmod(self.depth, 64)
        blocks = whole + (rest > 0)
        tail = 4 * -(-self.bits // (6 if rest <= 32 else 3)) if rest else 0
        return 4 * whole * -(-self.bits // 3) + tail + self.bits * (blocks // 2)


def _lut(family: str) -> str:
    """The family whose LUTs are counted: those of ECP5, or else of six inputs."""
    return "ecp5" if family == "ecp5" else "xilinx"


@dataclass(frozen=True)
class Resources:
    """What hardware takes of a device.

    Parameters
    ----------
    luts : int
        Of the family: of six inputs, in ECP5 of four.
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
