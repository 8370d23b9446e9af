"""How elements are compared with their thresholds: all of them at once where they are few, else by bisection.

Bisection finds a bit of the level in each of its steps: ``b = ceil(log2(T + 1))`` comparators in a pipeline instead of T.
Each step reads the one threshold that it needs from a memory of its own, so the pipeline takes an element every cycle.
Missing thresholds, up to ``2**b - 1``, are put in front as ones that are always reached, and taken off the count.
"""

from __future__ import annotations

from dataclasses import dataclass

from .cells import constant_comparison, mixed
from .memories import Memory

#: Most thresholds that are compared at once.
MOST_AT_ONCE = 3
#: Most words of a step's table that are wired in instead of read from a memory.
MOST_WIRED = 16


@dataclass(frozen=True)
class Levels:
    """Comparisons of a word's elements.

    Parameters
    ----------
    pe : int
        Elements at a time.
    thresholds : int
        T, of an element.
    bits : int
        Of a threshold.
    folds : int
        Words per round with thresholds of their own; 1: they are wired in.
    bisects : bool
    memory : str
        Where the tables are: one of `memories.STYLES`.
    """

    pe: int
    thresholds: int
    bits: int
    folds: int
    bisects: bool
    memory: str = "auto"

    @property
    def steps(self) -> int:
        """Cycles from an element to its level, the last one's register not counted."""
        return self.thresholds.bit_length() if self.bisects else 1

    @property
    def stored(self) -> int:
        """Thresholds that are stored of an element."""
        return (1 << self.steps) - 1 if self.bisects else self.thresholds

    @property
    def memory_bits(self) -> int:
        """Bits of all thresholds."""
        return self.folds * self.pe * self.stored * self.bits

    @property
    def comparisons(self) -> int:
        """Comparisons of a round."""
        return self.folds * self.pe * (self.steps if self.bisects else self.thresholds)

    @property
    def bits_read(self) -> int:
        """Bits of thresholds that a round compares with."""
        return self.comparisons * self.bits

    @property
    def memories(self) -> tuple[Memory, ...]:
        """Of the first step one for all elements, of each further one a table for each element."""
        if not self.bisects:
            return (Memory(self.folds, self.pe * self.thresholds * self.bits, style=self.memory),)
        tables = [Memory(self.folds << step, self.bits, style="distributed" if self.folds << step <= MOST_WIRED else self.memory)
                  for step in range(1, self.steps)]
        return (Memory(self.folds, self.pe * self.bits, style=self.memory), *(table for table in tables for _ in range(self.pe)))

    def luts(self, family: str) -> int:
        """Estimated LUTs of the comparisons; tables are among the memories."""
        if self.folds == 1 and not self.bisects:
            return self.pe * self.thresholds * constant_comparison(self.bits, family)
        return mixed(self.pe * (self.steps if self.bisects else self.thresholds) * (self.bits + 1) // 2, family)
