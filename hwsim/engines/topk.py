"""`topk`: the channels of the k greatest values, of equals the lowest channel first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from intir import IntType

from ..schedule import Schedule
from .base import Actions, Engine, Word
from .cells import mixed


@dataclass(frozen=True)
class TopK(Engine):
    """Parameters of one sorter.

    Parameters
    ----------
    channels, k : int
        The best k of `channels`, which come one by one.
    x_type, out_type : IntType
    """

    kind: ClassVar[str] = "topk"

    channels: int
    k: int
    x_type: IntType
    out_type: IntType

    @property
    def word_in(self) -> Word:
        return Word(1, self.x_type)

    @property
    def word_out(self) -> Word:
        return Word(self.k, self.out_type)

    @cached_property
    def schedule(self) -> Schedule:
        """A channel in every step, all k places after the last; latency 1."""
        step = np.arange(self.channels)
        return Schedule(step >= 0, step == self.channels - 1, 1)

    @property
    def actions(self) -> Actions:
        return Actions(operations=self.channels * self.k)

    def logic_luts(self, family: str) -> int:
        return mixed(self.k * (self.x_type.bits * 3 // 2 + (self.channels - 1).bit_length()) + 8, family)
