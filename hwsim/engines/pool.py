"""`pool`: the maximum or the sum of each channel over the taps of a window, or over a whole frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from intir import IntType

from ..schedule import Schedule
from .base import Actions, Engine, Word
from .cells import mixed
from .memories import Memory

#: What a pool computes.
OPERATIONS = ("max", "sum")
#: In which order a window's words come: all taps of `pe` channels before the next channels, or all channels of a tap first.
ORDERS = ("taps", "channels")


@dataclass(frozen=True)
class Pool(Engine):
    """Parameters of one pool.

    Parameters
    ----------
    channels : int
    pe : int
        Channels at a time; divides `channels`.
    taps : int
        Elements of a channel that make one output: the window's size, or the pixels of a frame for a global pool.
    operation : str
        One of `OPERATIONS`.
    x_type, out_type : IntType
        Elements, padding included (which for a maximum is the least value of the type), and results.
    order : str
        One of `ORDERS`.  A frame as it comes is a window in the order ``channels``.
    simd : int
        Taps at a time: 1, or all `taps`, each with `pe` channels.
    """

    kind: ClassVar[str] = "pool"

    channels: int
    pe: int
    taps: int
    operation: str
    x_type: IntType
    out_type: IntType
    order: str = "taps"
    simd: int = 1

    @property
    def folds(self) -> int:
        """Groups of channels."""
        return self.channels // self.pe

    @property
    def keeps(self) -> bool:
        """Whether the results of all channels are kept while the taps come."""
        return self.order == "channels" and self.folds > 1 and self.steps > 1

    @property
    def steps(self) -> int:
        """Words that make one output."""
        return self.taps // self.simd

    @property
    def word_in(self) -> Word:
        return Word(self.simd * self.pe, self.x_type)

    @property
    def word_out(self) -> Word:
        return Word(self.pe, self.out_type)

    @property
    def counter_type(self) -> IntType:
        """What an accumulator holds: a maximum as carried; the sum of the numbers as carried."""
        if self.operation == "max":
            return self.x_type
        if self.x_type.is_coded:
            return IntType(0, self.taps * (self.x_type.levels - 1))
        return IntType(self.out_type.lo, self.out_type.hi)

    @cached_property
    def schedule(self) -> Schedule:
        """Period ``taps / simd * channels / pe``: a word in every step, a word out with the last tap of its channels; latency 1."""
        step = np.arange(self.steps * self.folds)
        tap = step % self.steps if self.order == "taps" else step // self.folds
        return Schedule(np.ones(len(step), np.bool_), tap == self.steps - 1, 1)

    @property
    def actions(self) -> Actions:
        bits = self.channels * self.counter_type.bits * self.keeps
        return Actions(operations=self.taps * self.channels, buffer_bits_read=bits * (self.steps - 1),
                       buffer_bits_written=bits * self.steps)

    @property
    def memories(self) -> tuple[Memory, ...]:
        return (Memory(self.folds, self.pe * self.counter_type.bits, "async"),) if self.keeps else ()

    def logic_luts(self, family: str) -> int:
        bits = self.counter_type.bits
        joins = self.simd if self.steps > 1 else self.simd - 1
        return joins * self.pe * bits * (2 if self.operation == "max" else 1) + mixed(10, family)
