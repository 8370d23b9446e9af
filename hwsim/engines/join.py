"""Joins: `arithmetic` (sum, difference, product of two streams) and `concat` (one stream after the other)."""

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
from .multipliers import product_dsps, product_luts

#: What an `Arithmetic` computes of its inputs a and b; "rsub" is b - a.
OPERATIONS = ("add", "sub", "rsub", "mul")
#: How often a word of the second input is used.
REPEATS = ("none", "channels", "pixels")


@dataclass(frozen=True)
class Arithmetic(Engine):
    """Parameters of an element-wise operation on two streams.

    Parameters
    ----------
    operation : str
        One of `OPERATIONS`.
    pixels, channels : int
        Shape of the first input and of the output, per round.
    lanes : int
        Elements at a time; divides `channels`.
    a_type, b_type, out_type : IntType
    repeat : str
        One of `REPEATS`: ``none``, the second input has the shape of the first; ``channels``, it has one element per pixel,
        which all channels use; ``pixels``, it has one element per channel, which all pixels use and the block keeps.
    """

    kind: ClassVar[str] = "arithmetic"

    operation: str
    pixels: int
    channels: int
    lanes: int
    a_type: IntType
    b_type: IntType
    out_type: IntType
    repeat: str = "none"

    @property
    def folds(self) -> int:
        """Words per pixel."""
        return self.channels // self.lanes

    @property
    def word_in(self) -> Word:
        return Word(self.lanes, self.a_type)

    @property
    def words_in(self) -> tuple[Word, ...]:
        return self.word_in, Word(1 if self.repeat == "channels" else self.lanes, self.b_type)

    @property
    def word_out(self) -> Word:
        return Word(self.lanes, self.out_type)

    @property
    def period_cycles(self) -> int:
        """Steps per round: a word, a pixel, or all pixels."""
        return {"none": 1, "channels": self.folds, "pixels": self.folds * self.pixels}[self.repeat]

    @cached_property
    def schedule(self) -> Schedule:
        """A word of the first input and one of the output in each step; latency 1, or 2 for products.

        The second input gives a word in each step, in the first step of a pixel, or in those of the first pixel.
        """
        step = np.arange(self.period_cycles)
        fresh = {"none": step >= 0, "channels": step == 0, "pixels": step < self.folds}[self.repeat]
        return Schedule(np.stack([step >= 0, fresh], axis=1), step >= 0, 2 if self.operation == "mul" else 1)

    @property
    def actions(self) -> Actions:
        kept = self.channels * self.b_type.bits * (self.repeat == "pixels")
        return Actions(operations=self.period_cycles * self.lanes, buffer_bits_read=kept * (self.pixels - 1),
                       buffer_bits_written=kept)

    @property
    def memories(self) -> tuple[Memory, ...]:
        return (Memory(self.folds, self.words_in[1].bits, "async"),) if self.repeat == "pixels" else ()

    def dsps(self, family: str) -> int:
        return self.lanes * product_dsps(self.a_type, self.b_type, family) if self.operation == "mul" else 0

    def logic_luts(self, family: str) -> int:
        one = product_luts(self.a_type, self.b_type, family) if self.operation == "mul" else self.out_type.bits
        held = 0 if self.repeat == "none" else self.words_in[1].bits
        return self.lanes * one + held + mixed(4, family)


@dataclass(frozen=True)
class Concat(Engine):
    """Parameters of a concatenation: some words of the first input, then some of the second, and so on, again and again.

    Along channels a round is a pixel, along columns a row, along rows a frame.

    Parameters
    ----------
    lanes : int
        Elements a word.
    counts : tuple of int
        Words of each input per round.
    types : tuple of IntType
        Elements of each input.
    out_type : IntType
        Holds them all.
    """

    kind: ClassVar[str] = "concat"

    lanes: int
    counts: tuple[int, ...]
    types: tuple[IntType, ...]
    out_type: IntType

    @property
    def word_in(self) -> Word:
        return self.words_in[0]

    @property
    def words_in(self) -> tuple[Word, ...]:
        return tuple(Word(self.lanes, kind) for kind in self.types)

    @property
    def word_out(self) -> Word:
        return Word(self.lanes, self.out_type)

    @cached_property
    def schedule(self) -> Schedule:
        """A word of one input and one of the output in each step; latency 1."""
        which = np.repeat(np.arange(len(self.counts)), self.counts)
        return Schedule(which[:, None] == np.arange(len(self.counts)), which >= 0, 1)

    def logic_luts(self, family: str) -> int:
        return mixed(self.word_out.bits * -(-len(self.counts) // 3) + 2 * max(self.counts).bit_length() + 4, family)
