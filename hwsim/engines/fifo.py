"""`fifo`: a first-in first-out queue between two blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..schedule import Schedule
from .base import Passing
from .cells import mixed
from .memories import Memory

#: A queue that is two registers, and the LUTs of its control.
SMALL_DEPTH, SMALL_LUTS = 2, 8


@dataclass(frozen=True)
class StreamFifo(Passing):
    """Parameters of one queue.

    Parameters
    ----------
    lanes, type
        Of the words.
    depth : int
        Words it holds, at least 2 so that a word can enter and leave in every cycle.
    """

    kind: ClassVar[str] = "fifo"

    depth: int

    @property
    def schedule(self) -> Schedule:
        raise TypeError("a queue has no schedule; the simulator treats it by its depth")

    @property
    def memories(self) -> tuple[Memory, ...]:
        return (Memory(self.depth, self.word_in.bits, "queue"),)

    def logic_luts(self, family: str) -> int:
        """Of two words, where one is read and written; of more, counters and what compares them."""
        return SMALL_LUTS if self.depth <= SMALL_DEPTH else mixed(5 * self.depth.bit_length(), family)
