"""Memories: what an engine stores, and whether that costs LUTs or block RAMs.

The counts are those of Yosys: it puts a memory where it costs least, and the costs are its own (its pass memory_libmap, and the
libraries ``xilinx/brams_xc4v.txt``, ``xilinx/lutrams_xc5v.txt``, ``lattice/brams_16kd.txt``, ``lattice/lutrams_trellis.txt`` and
``ice40/brams.txt`` of version 0.70).  A memory stands in rows of units; a unit of some width holds bits of several rows, and
multiplexers choose the row.  A block RAM here is one of 18 kbit, in an iCE40 of 4; a RAMB36 counts as two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from .cells import mux

#: Where a memory goes: as synthesis likes, into LUTs, or into block RAM.
STYLES = ("auto", "distributed", "block")


class Unit(NamedTuple):
    """A cell that stores.

    Parameters
    ----------
    shapes : tuple of (int, int)
        Words, and bits of a word, that it can be.
    cost : float
        What Yosys takes it for, in LUTs.
    bit_cost : float
        Part of the cost that counts by the bits used.
    luts, brams : int
        What it is.
    byte : int
        Bits that are written together.
    """

    shapes: tuple[tuple[int, int], ...]
    cost: float
    bit_cost: float = 0.0
    luts: int = 0
    brams: int = 0
    byte: int = 9


def _shapes(address_bits: int, *widths: int) -> tuple[tuple[int, int], ...]:
    return tuple((1 << address_bits - place, width) for place, width in enumerate(widths))


BLOCK_RAMS = {
    "xilinx": (Unit(_shapes(14, 1, 2, 4, 9, 18, 36), 129, brams=1), Unit(_shapes(15, 1, 2, 4, 9, 18, 36, 72), 257, brams=2),
               Unit(_shapes(16, 1, 2, 4, 9), 513, brams=4)),
    "ecp5": (Unit(_shapes(14, 1, 2, 4, 9, 18, 36), 128, brams=1),),
    "generic": (Unit(_shapes(11, 2, 4, 8, 16), 64, brams=1, byte=1),),
}
LUT_RAMS = {
    "xilinx": (Unit(((32, 6),), 8, 7, luts=4, byte=6), Unit(((64, 3),), 8, 7, luts=4, byte=3)),
    "ecp5": (Unit(((16, 4),), 4, luts=6, byte=4),),
    "generic": (),
}
#: What Yosys takes a multiplexer's input, a write enable and the port of a block RAM for, in LUTs.
MUX_COST, ENABLE_COST, PORT_COST = 0.5, 0.5, 2.0
#: Words of a ROM that a LUT holds one bit of.
LUT_WORDS = {"xilinx": 64, "ecp5": 16, "generic": 16}
#: LUTs whose outputs a slice's own multiplexers join, so that a ROM's bit of so many LUTs needs no more.
FREE_LUTS = {"xilinx": 4, "ecp5": 8, "generic": 1}
#: LUTs that multiplexers add to each LUT of a larger ROM; random contents, fitted from 512 to 4,096 words.
MULTIPLEXED = {"xilinx": 0.42, "ecp5": 0.5, "generic": 1.15}
#: Functions of three address bits: a wide ROM of an iCE40 shares them all, and multiplexers of four choose (two LUTs each).
SHARED_WORDS, SHARED_FUNCTIONS = 8, 256
#: Words up to which bits are often alike.
MOST_ALIKE = 8
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
        ``rom`` and ``ram`` are read at a clock edge; ``async``, read at once, is always LUT RAM; ``queue``, read at once where a
        register points, may become block RAM, with logic around it for words that have just come.
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

    def is_block(self, family: str) -> bool:
        """Whether it is block RAM in a family."""
        return self.brams(family) > 0

    def luts(self, family: str) -> int:
        """LUTs of a family that it takes, with those that choose its rows."""
        return _placed(self, family)[0]

    def brams(self, family: str) -> int:
        """Block RAMs of 18 kbit that it takes."""
        return _placed(self, family)[1]

    def rom_luts(self, family: str) -> int:
        """In LUTs as logic, where nothing is written: a LUT for each bit of some words, and multiplexers.

        Bits that are equal in all words are one, and few words leave few that differ: not the two constants, and not the
        address bits.
        """
        groups = -(-self.depth // LUT_WORDS[family])
        different = (1 << self.depth) - 2 - (self.depth - 1).bit_length() if self.depth <= MOST_ALIKE else self.bits
        each = groups if groups <= FREE_LUTS[family] else round(groups * (1 + MULTIPLEXED[family]))
        direct = min(self.bits, different) * each
        if family != "generic":
            return direct
        return min(direct, SHARED_FUNCTIONS + self.bits * round((-(-self.depth // SHARED_WORDS) - 1) * 2 / 3))


@cache
def _placed(memory: Memory, family: str) -> tuple[int, int]:
    """LUTs and block RAMs of a memory, where Yosys puts it."""
    if memory.is_empty:
        return 0, 0
    written = memory.kind != "rom"
    if written and memory.depth * memory.bits < LEAST_LUTRAM_BITS:
        return memory.bits, 0  # flip-flops, and a multiplexer
    blocks = list(_arranged(memory, BLOCK_RAMS[family], written, family)) if memory.kind != "async" else []
    logic: list[tuple[float, int, int]]
    if written and not LUT_RAMS[family]:  # flip-flops with an enable for each word, and multiplexers
        logic = [(memory.depth * memory.bits, memory.depth + memory.bits * mux(memory.depth, family), 0)]
    elif written:
        logic = list(_arranged(memory, LUT_RAMS[family], written, family))
    else:
        logic = [(memory.depth * memory.bits / LUT_WORDS[family], memory.rom_luts(family), 0)]
    places = {"distributed": logic, "block": blocks or logic}.get(memory.style, logic + blocks)
    _, luts, brams = min(places, key=lambda place: place[0])
    return luts, brams


def _arranged(memory: Memory, units: tuple[Unit, ...], written: bool, family: str) -> Iterator[tuple[float, int, int]]:
    """Cost, LUTs and block RAMs of a memory made of such units, in each of their shapes."""
    for unit in units:
        for words, width in unit.shapes:
            rows = -(-memory.depth // words)
            byte = min(unit.byte, width) if written else 1
            slots = -(-memory.bits // byte) * byte
            count = -(-rows * slots // width)
            cost = (unit.cost - unit.bit_cost) * count + unit.bit_cost * rows * memory.bits / width
            cost += MUX_COST * (rows - 1) * memory.bits + ENABLE_COST * rows * (written and rows > 1)
            cost += PORT_COST * (unit.brams > 0)
            chosen = memory.bits * mux(rows, family) + rows * (written and rows > 1)
            yield cost, count * unit.luts + chosen, count * unit.brams


@dataclass(frozen=True)
class Resources:
    """What hardware takes of a device.

    Parameters
    ----------
    luts : int
        Of the family: of six inputs, in ECP5 and iCE40 of four.
    brams : int
        Of 18 kbit, in iCE40 of 4.
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
