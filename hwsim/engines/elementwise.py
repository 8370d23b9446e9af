"""Element-wise blocks: `requant`, `scale`, `clip` and `lookup`; one word in and one out in every cycle.

Constants per channel are wired in where a block sees all channels at once, or where they are the same for all; else a
memory gives them group by group, which takes one register more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from intir import IntType

from ..schedule import Schedule
from .base import Actions, Engine, Word
from .cells import has_lut4, mixed
from .memories import Memory
from .multipliers import product_dsps, product_luts


@dataclass(frozen=True)
class Elementwise(Engine):
    """What they have in common.

    Parameters
    ----------
    channels : int
        Elements per round, the last axis of the tensor (or any multiple of `pe` where no constant differs by channel).
    pe : int
        Elements at a time; divides `channels`.
    x_type, out_type : IntType
    """

    channels: int
    pe: int
    x_type: IntType
    out_type: IntType

    @property
    def constants(self) -> tuple[IntType, ...]:
        """Types of the constants that each channel has; one with a single value is the same for all channels."""
        return ()

    @property
    def folds(self) -> int:
        """Steps per round."""
        return self.channels // self.pe

    @property
    def from_memory(self) -> bool:
        """Whether constants are read from a memory, step by step."""
        return self.folds > 1 and any(kind.levels > 1 for kind in self.constants)

    @property
    def stages(self) -> int:
        """Registers from operands to output."""
        return 1

    @property
    def word_in(self) -> Word:
        return Word(self.pe, self.x_type)

    @property
    def word_out(self) -> Word:
        return Word(self.pe, self.out_type)

    @cached_property
    def schedule(self) -> Schedule:
        """A word in and a word out every cycle; latency `stages`, and 1 more where constants come from a memory."""
        every = np.ones(self.folds, np.bool_)
        return Schedule(every, every, self.stages + self.from_memory)

    @property
    def memory_bits(self) -> int:
        return self.channels * sum(kind.bits for kind in self.constants if kind.levels > 1)

    @property
    def actions(self) -> Actions:
        return Actions(operations=self.channels, weight_bits_read=self.memory_bits if self.from_memory else 0)

    @property
    def memories(self) -> tuple[Memory, ...]:
        varied = [kind for kind in self.constants if kind.levels > 1]
        return tuple(Memory(self.folds, self.pe * kind.bits) for kind in varied) if self.from_memory else ()


@dataclass(frozen=True)
class Clip(Elementwise):
    """``y = min(max(x, lo), hi)``, latency 1.

    Parameters
    ----------
    lo, hi : int
    """

    kind: ClassVar[str] = "clip"

    lo: int
    hi: int

    def logic_luts(self, family: str) -> int:
        return mixed(self.pe * (self.x_type.bits + self.out_type.bits) + 4, family)


@dataclass(frozen=True)
class Scale(Elementwise):
    """``y = x * multiplier[c] + offset[c]``, latency 2 (product, sum).

    Parameters
    ----------
    multiplier_type, offset_type : IntType
        They hold the constants of all channels.
    """

    kind: ClassVar[str] = "scale"

    multiplier_type: IntType
    offset_type: IntType

    @property
    def constants(self) -> tuple[IntType, ...]:
        return self.multiplier_type, self.offset_type

    @property
    def stages(self) -> int:
        return 2

    def dsps(self, family: str) -> int:
        return self.pe * product_dsps(self.x_type, self.multiplier_type, family)

    def logic_luts(self, family: str) -> int:
        """A product in one DSP of 7 series has its sum there, too."""
        total = 0 if self.dsps(family) == self.pe and not has_lut4(family) else self.out_type.bits
        return self.pe * (product_luts(self.x_type, self.multiplier_type, family) + total) + mixed(4, family)


#: LUTs for a bit that is left of a shift in several steps, for each pair of steps: of four inputs or six, of a number that is
#: then rounded or not.  Fitted on Yosys's numbers for shifts of three and four steps.
SHIFT_LUTS = {(True, True): 0.61, (True, False): 0.29, (False, True): 0.21, (False, False): 0.16}


@dataclass(frozen=True)
class Requant(Elementwise):
    """``y = clip(round(x * multiplier[c] / 2**shift[c]) + zero_point[c], out.lo, out.hi)``.

    Latency 3: product; rounded and moved by the zero point; clipped.  The double rounding ``gemmlowp`` takes one register
    more.

    Parameters
    ----------
    multiplier_type, shift_type, zero_type : IntType
        They hold the constants of all channels.
    rounding : str
        One of `intir.ops.requant.NAMES`.
    """

    kind: ClassVar[str] = "requant"

    multiplier_type: IntType
    shift_type: IntType
    zero_type: IntType
    rounding: str

    @property
    def constants(self) -> tuple[IntType, ...]:
        return self.multiplier_type, self.alignment_type, self.zero_type

    @property
    def alignment_type(self) -> IntType:
        """Places by which a channel's product is moved left, so that one shift right serves all channels."""
        return IntType(0, self.shift_type.hi - self.shift_type.lo)

    @property
    def stages(self) -> int:
        return 4 if self.rounding == "gemmlowp" else 3

    def dsps(self, family: str) -> int:
        return self.pe * product_dsps(self.x_type, self.multiplier_type, family)

    def logic_luts(self, family: str) -> int:
        rounds = self.rounding != "floor"
        kept = max(0, self.x_type.bits + (self.multiplier_type.bits if self.multiplier_type.hi > 1 else 0) - self.shift_type.lo)
        step = SHIFT_LUTS[has_lut4(family), rounds] * self._shifts**2
        # What is cut off by one shift needs no adder.
        cut = not rounds and not self.from_memory and self.zero_type.levels == 1 and self.zero_type.lo == 0
        product = product_luts(self.x_type, self.multiplier_type, family)
        clips = min(kept, self.out_type.bits)
        return self.pe * (product + (clips if cut else round(kept * (1 + step)))) + mixed(4, family)

    @property
    def _shifts(self) -> int:
        """Steps of the shift that brings all channels to one place."""
        return self.alignment_type.hi.bit_length() if self.from_memory else 0


@dataclass(frozen=True)
class Lookup(Elementwise):
    """``y = table[c, level of x]``, latency 1: the table is a memory for each lane.

    Parameters
    ----------
    common : bool
        All channels share one row.
    """

    kind: ClassVar[str] = "lookup"

    common: bool

    @property
    def entries(self) -> int:
        """Words in the memory of a lane: one per code of x, for each channel that the lane sees."""
        return (1 if self.common else self.folds) << self.x_type.bits

    @property
    def memory_bits(self) -> int:
        return self.pe * self.entries * self.out_type.bits

    @property
    def actions(self) -> Actions:
        return Actions(operations=self.channels, weight_bits_read=self.channels * self.out_type.bits)

    @property
    def memories(self) -> tuple[Memory, ...]:
        return (Memory(self.entries, self.out_type.bits),) * self.pe

    def logic_luts(self, family: str) -> int:
        return mixed(4, family)
