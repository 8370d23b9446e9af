"""`fork`: one stream to several, each reader in its own time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..schedule import Schedule
from .base import Passing
from .cells import mixed


@dataclass(frozen=True)
class Fork(Passing):
    """Parameters of one fork.

    Parameters
    ----------
    lanes, type
        Of the words.
    outputs : int
        Streams that it makes, 2 or more.
    """

    kind: ClassVar[str] = "fork"

    outputs: int

    @property
    def streams_out(self) -> int:
        return self.outputs

    @property
    def schedule(self) -> Schedule:
        raise TypeError("a fork has no schedule; the simulator treats it by its rule")

    def logic_luts(self, family: str) -> int:
        return mixed(2 * self.outputs, family)
