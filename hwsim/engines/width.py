"""`width`: a stream width converter; the same elements in the same order, other lanes a word."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from intir import IntType

from ..schedule import Schedule
from .base import Engine, Word
from .cells import mixed


@dataclass(frozen=True)
class Width(Engine):
    """Parameters of one width converter.

    Parameters
    ----------
    lanes_in, lanes_out : int
        One divides the other.
    type : IntType
        The elements.
    """

    kind: ClassVar[str] = "width"

    lanes_in: int
    lanes_out: int
    type: IntType

    @property
    def ratio(self) -> int:
        """Words of the narrow side per word of the wide side."""
        return max(self.lanes_in, self.lanes_out) // min(self.lanes_in, self.lanes_out)

    @property
    def widens(self) -> bool:
        """True where several input words make one output word."""
        return self.lanes_out > self.lanes_in

    @property
    def word_in(self) -> Word:
        return Word(self.lanes_in, self.type)

    @property
    def word_out(self) -> Word:
        return Word(self.lanes_out, self.type)

    @cached_property
    def schedule(self) -> Schedule:
        """`ratio` steps: the narrow side moves a word in each, the wide side in the last (out) or the first (in)."""
        step, every = np.arange(self.ratio), np.ones(self.ratio, np.bool_)
        return Schedule(every, step == self.ratio - 1, 1) if self.widens else Schedule(step == 0, every, 1)

    def logic_luts(self, family: str) -> int:
        return mixed(4 if self.widens else self.word_in.bits - self.word_out.bits + 4, family)


def converters(lanes_in: int, lanes_out: int, kind: IntType) -> list[Width]:
    """The converters that bring a stream from one width to another: none, one, or two over the common multiple."""
    if lanes_in == lanes_out:
        return []
    if lanes_in % lanes_out == 0 or lanes_out % lanes_in == 0:
        return [Width(lanes_in, lanes_out, kind)]
    common = int(np.lcm(lanes_in, lanes_out))
    return [Width(lanes_in, common, kind), Width(common, lanes_out, kind)]
