"""`permute`: the channels of each pixel in another order, for example a channel shuffle."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from ..schedule import Buffer, Schedule
from .base import Actions, Passing
from .cells import mixed
from .memories import Memory


@dataclass(frozen=True)
class Permute(Passing):
    """Parameters of one permutation.

    Parameters
    ----------
    lanes, type
        Of the words; `lanes` divides the number of channels.
    order : tuple of int
        Channel c of the output is channel ``order[c]`` of the input.
    """

    kind: ClassVar[str] = "permute"

    order: tuple[int, ...]

    @property
    def folds(self) -> int:
        """Words per pixel."""
        return len(self.order) // self.lanes

    @cached_property
    def sources(self) -> tuple[tuple[int, ...], ...]:
        """For each output lane: the input lanes that it ever reads."""
        return tuple(tuple(sorted({channel % self.lanes for channel in self.order[n::self.lanes]})) for n in range(self.lanes))

    @cached_property
    def schedule(self) -> Schedule | Buffer:
        """Wiring where a word is a pixel; else a buffer of two pixels, one that comes and one that goes.  Latency 1."""
        if self.folds == 1:
            return Schedule(np.ones(1, np.bool_), np.ones(1, np.bool_), 1)
        return Buffer(np.full(self.folds, self.folds), np.full(self.folds, -self.folds), 1)

    @property
    def _kept_bits(self) -> int:
        """Bits of a word's copies, over all output lanes."""
        return sum(map(len, self.sources)) * self.type.bits * (self.folds > 1)

    @property
    def actions(self) -> Actions:
        return Actions(buffer_bits_read=self._kept_bits * self.folds, buffer_bits_written=self._kept_bits * self.folds)

    @property
    def memories(self) -> tuple[Memory, ...]:
        return (Memory(2 * self.folds, self._kept_bits, "queue"),)

    def logic_luts(self, family: str) -> int:
        select = sum((len(lanes) + 1) // 3 * self.type.bits for lanes in self.sources) * (self.folds > 1)
        return mixed(select + 4 * self.folds.bit_length() + 6, family)
