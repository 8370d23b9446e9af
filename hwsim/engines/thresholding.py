"""`thresholding`: compares every element with its channel's thresholds; quantizes the input pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from intir import IntType

from .base import Actions
from .cells import mixed
from .elementwise import Elementwise
from .levels import MOST_AT_ONCE, Levels
from .memories import Memory


@dataclass(frozen=True)
class Thresholding(Elementwise):
    """Parameters of one thresholding unit.

    Parameters
    ----------
    channels : int
        Elements per round, the last axis of the tensor (or any multiple of `pe` where `common`).
    pe : int
        Elements compared at a time; divides `channels`.
    x_type, out_type : IntType
    thresholds : int
        Per channel: the levels of `out_type` less one.
    common : bool
        All channels share one row of thresholds, which then is wired in.
    threshold_type : IntType
        Thresholds as the comparison sees them.
    loaded : bool
        Whether thresholds come while the hardware runs; they are compared all at once then.
    """

    kind: ClassVar[str] = "thresholding"

    thresholds: int
    common: bool
    threshold_type: IntType
    loaded: bool = False

    @cached_property
    def levels(self) -> Levels:
        """How elements are compared."""
        return Levels(self.pe, self.thresholds, self.threshold_type.bits, self.folds if self.from_memory else 1,
                      not self.loaded and self.thresholds > MOST_AT_ONCE)

    @property
    def stages(self) -> int:
        return self.levels.steps

    @property
    def from_memory(self) -> bool:
        """Whether thresholds are read from a memory, step by step."""
        return not self.common and self.folds > 1

    @property
    def actions(self) -> Actions:
        return Actions(threshold_bits_read=self.levels.bits_read if self.from_memory else 0)

    @property
    def memory_bits(self) -> int:
        return self.levels.memory_bits // (self.pe if self.common else 1)

    @property
    def memories(self) -> tuple[Memory, ...]:
        return self.levels.memories

    def logic_luts(self, family: str) -> int:
        return self.levels.luts(family) + mixed(4, family)
