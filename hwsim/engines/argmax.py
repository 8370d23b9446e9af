"""`argmax`: the index of the greatest channel, the first of equals."""

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
class Argmax(Engine):
    """Parameters of one argmax unit.

    Parameters
    ----------
    channels : int
    pe : int
        Channels compared at a time; divides `channels`.
    x_type, out_type : IntType
    """

    kind: ClassVar[str] = "argmax"

    channels: int
    pe: int
    x_type: IntType
    out_type: IntType

    @property
    def folds(self) -> int:
        """Steps per decision."""
        return self.channels // self.pe

    @property
    def word_in(self) -> Word:
        return Word(self.pe, self.x_type)

    @property
    def word_out(self) -> Word:
        return Word(1, self.out_type)

    @cached_property
    def schedule(self) -> Schedule:
        """A word in every step, the decision after the last; latency 2 (best of the word, best of all)."""
        step = np.arange(self.folds)
        return Schedule(step >= 0, step == self.folds - 1, 2)

    @property
    def actions(self) -> Actions:
        return Actions(operations=self.channels)

    def logic_luts(self, family: str) -> int:
        return mixed(self.pe * (self.x_type.bits * 3 // 2 + max(1, (self.channels - 1).bit_length())) + 8, family)
