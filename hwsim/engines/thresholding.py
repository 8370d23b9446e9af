"""`thresholding`: compares every element with its channel's thresholds; quantizes the input pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intir import IntType

from .base import Actions
from .elementwise import Elementwise
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
    """

    kind: ClassVar[str] = "thresholding"

    thresholds: int
    common: bool
    threshold_type: IntType

    @property
    def from_memory(self) -> bool:
        """Whether thresholds are read from a memory, step by step."""
        return not self.common and self.folds > 1

    @property
    def actions(self) -> Actions:
        return Actions(threshold_bits_read=self.memory_bits if self.from_memory else 0)

    @property
    def memory_bits(self) -> int:
        return (1 if self.common else self.channels) * self.thresholds * self.threshold_type.bits

    @property
    def memories(self) -> tuple[Memory, ...]:
        return (Memory(self.folds, self.pe * self.thresholds * self.threshold_type.bits),) if self.from_memory else ()

    @property
    def logic_luts(self) -> int:
        return self.pe * self.thresholds * (self.x_type.bits + 1) // 2 + 4
