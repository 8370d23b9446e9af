"""What every engine's parameter object answers.

One frozen dataclass per engine.  It says when (``schedule``), what moves and what is computed (``actions``), and how
large it is (``resources``); the block of the same name in `codegen.blocks` takes that very object and is the hardware.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intir import IntType

from ..schedule import Buffer, Schedule
from .memories import Memory, Resources


@dataclass(frozen=True)
class Word:
    """One transfer of a stream: `lanes` elements of a type, lane 0 in the least significant bits."""

    lanes: int
    type: IntType

    @property
    def bits(self) -> int:
        """Width of the word."""
        return self.lanes * self.type.bits


@dataclass(frozen=True)
class Actions:
    """What one round of a schedule moves and computes.

    All in bits or operations per round; memories are counted at their ports.
    """

    operations: int = 0  #: multiply-accumulates (binary: XNOR and count), comparisons in an argmax
    weight_bits_read: int = 0
    threshold_bits_read: int = 0
    buffer_bits_read: int = 0
    buffer_bits_written: int = 0


@dataclass(frozen=True)
class Engine:
    """Base of all parameter objects."""

    kind: ClassVar[str] = ""

    @property
    def word_in(self) -> Word:
        """The word it takes, from its first input stream."""
        raise NotImplementedError

    @property
    def words_in(self) -> tuple[Word, ...]:
        """The word that it takes from each of its input streams."""
        return (self.word_in,)

    @property
    def word_out(self) -> Word:
        """The word it gives."""
        raise NotImplementedError

    @property
    def streams_out(self) -> int:
        """Number of streams that it gives its words to."""
        return 1

    @property
    def schedule(self) -> Schedule | Buffer:
        """Its steps and its latency."""
        raise NotImplementedError

    @property
    def actions(self) -> Actions:
        """What one round of the schedule moves and computes."""
        return Actions()

    def logic_luts(self, family: str) -> int:
        """Estimated LUTs of a family but for those of its memories."""
        raise NotImplementedError

    @property
    def memories(self) -> tuple[Memory, ...]:
        """What it stores."""
        return ()

    def dsps(self, family: str) -> int:
        """Estimated DSPs of a family."""
        return 0

    def resources(self, family: str) -> Resources:
        """What it takes of a device of a family (one of `hwsim.plan.FAMILIES`), estimated."""
        memories = self.memories
        return Resources(self.logic_luts(family) + sum(one.luts(family) for one in memories),
                         sum(one.brams(family) for one in memories), self.dsps(family))

    @property
    def memory_bits(self) -> int:
        """Bits of weights and thresholds that the block stores."""
        return 0


@dataclass(frozen=True)
class Passing(Engine):
    """Base of the engines whose words leave as they came.

    Parameters
    ----------
    lanes : int
        Elements a word.
    type : IntType
    """

    lanes: int
    type: IntType

    @property
    def word_in(self) -> Word:
        return Word(self.lanes, self.type)

    @property
    def word_out(self) -> Word:
        return Word(self.lanes, self.type)
