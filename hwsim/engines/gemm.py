"""`gemm`: an output-stationary array with double-buffered tile memories that runs a list of commands.

    commands -> queue -> loader -> tile memories -> array of rows x columns elements -> sums, a row at a time
    tiles ------------------^

Element (r, c) keeps one sum.  In each cycle it multiplies `lanes` activations of its row with `lanes` weights of its column,
adds the products to its sum and hands both on, the activations to (r, c + 1), the weights to (r + 1, c): row r and column c
are r and c cycles behind the first (H. T. Kung, "Why systolic architectures?", IEEE Computer, 1982).  Each operand has a
memory of two halves: the array reads one while the loader fills the other, and begins with a half as soon as its first word is
there.  Finished sums go into a memory of a few tiles, from which they leave while the array is at the next ones.

What a command says and how a product of matrices becomes commands: `gemm_commands`; cycles: `gemm_cycles`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intir import BIPOLAR, BitwrightError, IntType, signed, unsigned

from .base import Engine, Word
from .cells import has_lut4, mixed, mux
from .memories import Memory
from .multipliers import LOGIC_PRODUCT_BITS, product_dsps, product_luts
from .popcount import FAMILIES
from .products import Products

#: From the cycle in which an element's operands leave the tile memories to that in which its sum is complete: memory, operands,
#: products, sum.
ELEMENT_CYCLES = 4
#: Most rows, columns, lanes.
MOST_ELEMENTS, MOST_LANES = 256, 256


class GemmError(BitwrightError):
    """An array cannot be as asked, or a product of matrices cannot run on it."""


@dataclass(frozen=True)
class Gemm(Engine):
    """Parameters of an array.

    Parameters
    ----------
    rows, columns : int
        Elements: a tile has so many rows and columns of sums.
    lanes : int
        Products that an element sums in a cycle.
    x_type, w_type : IntType
        Activations and weights.  Two bipolar ones are compared and counted; all others are multiplied, and one of them
        must hold 0, to fill up the last word of a sum with.
    sum_bits : int
        Of a sum, two's complement; the commands' encoder refuses products that might not fit.
    depth : int
        Words in half a tile memory, a power of two.  A word of activations has `rows` times `lanes` of them, one of weights
        `columns` times `lanes`.
    commands : int
        Commands that the queue holds.
    family : str
        FPGA family that the counters' cells are made for.

    Raises
    ------
    GemmError
        If that is no array.
    """

    kind: ClassVar[str] = "gemm"

    rows: int
    columns: int
    lanes: int
    x_type: IntType
    w_type: IntType
    sum_bits: int = 32
    depth: int = 1024
    commands: int = 16
    family: str = "xilinx"

    def __post_init__(self) -> None:
        for name, value, most in (("rows", self.rows, MOST_ELEMENTS), ("columns", self.columns, MOST_ELEMENTS),
                                  ("lanes", self.lanes, MOST_LANES), ("sum_bits", self.sum_bits, 48),
                                  ("depth", self.depth, 1 << 20), ("commands", self.commands, 1 << 16)):
            if not 1 <= value <= most:
                raise GemmError(f"an array with {name} {value}; give 1 to {most}")
        if self.sum_bits < 2:
            raise GemmError(f"an array with sum_bits {self.sum_bits}; give 2 to 48")
        if self.depth < 2 or self.depth & (self.depth - 1):
            raise GemmError(f"tile memories of {self.depth} words a half; give a power of two from 2 on")
        if self.commands < 2:
            raise GemmError("a queue of 1 command; give 2 or more")
        if self.family not in FAMILIES:
            raise GemmError(f"unknown family '{self.family}'; choose one of {', '.join(FAMILIES)}")
        if not self.is_binary and not any(self.holds_zero(kind) for kind in (self.x_type, self.w_type)):
            raise GemmError(f"activations {self.x_type} and weights {self.w_type}: neither has a 0 to fill up sums with; "
                            "make one of them a type with 0, or both bipolar")
        ends = [0, *(x * w for x in (self.x_type.lo, self.x_type.hi) for w in (self.w_type.lo, self.w_type.hi))]
        if not self.sum_type.contains(IntType(min(ends), max(ends))):
            raise GemmError(f"sums of {self.sum_bits} bits do not hold even one product of {self.x_type} and {self.w_type}; "
                            "make sum_bits greater")

    @staticmethod
    def holds_zero(kind: IntType) -> bool:
        """Whether 0 is a value of the type."""
        return kind.contains(IntType(0, 0))

    @property
    def is_binary(self) -> bool:
        """Whether products are counts of equal bits."""
        return self.x_type == self.w_type == BIPOLAR

    @property
    def peak_macs(self) -> int:
        """Multiply-accumulates a cycle."""
        return self.rows * self.columns * self.lanes

    @property
    def x_word(self) -> Word:
        """A word of activations: lane l of row r is element ``r * lanes + l``."""
        return Word(self.rows * self.lanes, self.x_type)

    @property
    def w_word(self) -> Word:
        """A word of weights: lane l of column c is element ``c * lanes + l``."""
        return Word(self.columns * self.lanes, self.w_type)

    @property
    def word_in(self) -> Word:
        """A word of tiles, as bits: of activations or of weights, in the least significant bits."""
        return Word(max(self.x_word.bits, self.w_word.bits), unsigned(1))

    @property
    def sum_type(self) -> IntType:
        """A sum as it leaves."""
        return signed(self.sum_bits)

    @property
    def kept_type(self) -> IntType:
        """A sum as elements keep it: of two bipolar operands, how many were equal."""
        return unsigned(self.sum_bits - 1) if self.is_binary else self.sum_type

    @property
    def word_out(self) -> Word:
        """A row of a tile's sums, column 0 in the least significant bits."""
        return Word(self.columns, self.sum_type)

    @property
    def products(self) -> Products:
        """What an element multiplies in a cycle."""
        return Products(self.lanes, self.x_type, self.w_type, family=self.family, multiplier="dsp")

    @property
    def address_bits(self) -> int:
        """Of a word in half a tile memory."""
        return (self.depth - 1).bit_length()

    @property
    def row_bits(self) -> int:
        """Of a row's number in a tile of sums."""
        return max(1, (self.rows - 1).bit_length())

    @property
    def places(self) -> int:
        """Finished tiles that the memory of sums holds, a power of two: enough for tiles that follow each other as closely as
        their rows leave."""
        return 1 << (-(-(self.latency_cycles - 1) // self.rows)).bit_length()

    @property
    def sum_address_bits(self) -> int:
        """Of a row in the memory of sums: its place, and its number in the tile."""
        return (self.places - 1).bit_length() + self.row_bits

    @property
    def fields(self) -> tuple[tuple[str, int], ...]:
        """What a command consists of, from the least significant bit on: name and bits, as in `gemm_commands.Command`."""
        words, address = self.depth.bit_length(), self.address_bits
        return (("load_x", words), ("load_w", words), ("x_at", address), ("w_at", address), ("words", words),
                ("rows", self.rows.bit_length()), ("keeps", 1), ("ends", 1), *[("terms", self.sum_bits - 1)] * self.is_binary)

    @property
    def command_bits(self) -> int:
        """Of a command."""
        return sum(bits for _, bits in self.fields)

    @property
    def latency_cycles(self) -> int:
        """From the cycle in which a tile's last words leave the tile memories to that in which its first row of sums is valid."""
        return ELEMENT_CYCLES + self.columns + 2

    @property
    def tile_memories(self) -> tuple[Memory, Memory]:
        """Both halves of that for activations, and of that for weights."""
        return Memory(2 * self.depth, self.x_word.bits, "ram"), Memory(2 * self.depth, self.w_word.bits, "ram")

    @property
    def memories(self) -> tuple[Memory, ...]:
        bits = self.command_bits
        loads = 2 * self.depth.bit_length()
        return (*self.tile_memories, *[Memory(1 << self.sum_address_bits, self.kept_type.bits, "async")] * self.columns,
                Memory(self.commands, loads, "async"), Memory(self.commands, bits, "async"))

    def dsps(self, family: str) -> int:
        return 0 if self.is_binary else self.peak_macs * product_dsps(self.x_type, self.w_type, family)

    def logic_luts(self, family: str) -> int:
        kept, bits = self.kept_type.bits, self.x_type.bits + self.w_type.bits
        if self.is_binary:
            element = self.products.popcount().luts + kept
        elif bits > LOGIC_PRODUCT_BITS and self.lanes == 1:
            # A DSP multiplies, and adds in 7 series; ECP5 adds, and clears the sum, in LUTs.
            element = 2 * kept if has_lut4(family) else 0
        else:
            element = self.lanes * product_luts(self.x_type, self.w_type, family) + (self.lanes - 1) * bits + kept
        if has_lut4(family):  # shift registers are flip-flops
            choice = self.columns * kept * mux(self.rows, family)
            return self.rows * self.columns * element + choice + mixed(4 * self.command_bits + 200, family)
        choice = self.columns * kept * ((self.rows + 2) // 4)
        skew = self.lanes * ((self.rows - 1) * self.x_type.bits + (self.columns - 1) * self.w_type.bits) * 3 // 4  # shift registers
        return self.rows * self.columns * element + mixed(choice + skew + 4 * self.command_bits + 200, family)
