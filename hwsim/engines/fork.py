"""`fork`: one stream to several, each reader in its own time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intir import IntType

from ..schedule import Schedule
from .base import Actions, Engine, Word


@dataclass(frozen=True)
class Fork(Engine):
    """Parameters of one fork.

    Parameters
    ----------
    lanes : int
    type : IntType
    outputs : int
        Streams that it makes, 2 or more.
    """

    kind: ClassVar[str] = "fork"

    lanes: int
    type: IntType
    outputs: int

    @property
    def word_in(self) -> Word:
        return Word(self.lanes, self.type)

    @property
    def word_out(self) -> Word:
        return Word(self.lanes, self.type)

    @property
    def schedule(self) -> Schedule:
        raise TypeError("a fork has no schedule; the simulator treats it by its rule")

    @property
    def actions(self) -> Actions:
        return Actions()

    @property
    def luts(self) -> int:
        return 2 * self.outputs
