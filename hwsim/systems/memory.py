"""Where a machine's memories hold what, how fast DRAM is in clock cycles, and which activations stay on chip between layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from intir import BitwrightError

from .actions import Action
from .machine import CONTENTS, Machine, Sram
from .work import Work

#: Of the memory of activations, what is never given to tensors that stay: half of it where weights are held in it as well, else a
#: quarter.  Tiles of everything else live there.
TILES_SHARE_WITH_WEIGHTS, TILES_SHARE = 0.5, 0.25


class RunError(BitwrightError):
    """A machine cannot compute a network."""


class TileError(RunError):
    """No tile of a layer fits a machine's memories."""


@dataclass(frozen=True)
class Memory:
    """A machine's memories as a run uses them.

    Parameters
    ----------
    machine : Machine
    """

    machine: Machine

    @cached_property
    def holders(self) -> Mapping[str, Sram]:
        """The memory of ``activations``, of ``weights`` and of ``sums``: the largest that may hold them.

        Sums that no memory may hold go where the activations are, and so do ``outputs``; ``pointers`` into compressed weights are
        in the second largest memory of weights, if there are two.
        """
        found: dict[str, Sram] = {}
        for what in CONTENTS:
            able = [one for one in self.machine.srams if what in one.holds]
            if able:
                found[what] = max(able, key=lambda one: one.bytes)
        for what in ("activations", "weights"):
            if what not in found:
                raise RunError(f"machine {self.machine.name}: no SRAM holds {what}; add \"{what}\" to one's holds")
        found.setdefault("sums", found["activations"])
        found["outputs"] = found["activations"]
        return found | {"pointers": sorted((one for one in self.machine.srams if "weights" in one.holds),
                                           key=lambda one: -one.bytes)[:2][-1]}

    @cached_property
    def tiled(self) -> list[Sram]:
        """The memories of activations, weights and sums, each once."""
        return list({self.holders[what].name: self.holders[what] for what in CONTENTS}.values())

    def room(self, what: str, resident_bytes: float) -> float:
        """Bytes for tiles in the memory of something, beside activations that stay on chip."""
        sram = self.holders[what]
        taken = resident_bytes if sram is self.holders["activations"] else 0.0
        return max(0.0, sram.bytes - taken) / (2 if sram.double_buffered else 1)

    @cached_property
    def overlapped(self) -> bool:
        """Whether loading goes on behind computing: where activations and weights are double-buffered."""
        return all(self.holders[what].double_buffered for what in ("activations", "weights"))

    @cached_property
    def bytes_per_cycle(self) -> float:
        """Of DRAM."""
        return self.machine.dram.gb_per_s * 1e3 / self.machine.clock_mhz

    @cached_property
    def latency_cycles(self) -> float:
        """From a request to DRAM to its first word."""
        return self.machine.dram.latency_ns * self.machine.clock_mhz / 1e3

    @staticmethod
    @cache
    def sram_action(name: str, sram: Sram) -> Action:
        """A ``sram_read`` or ``sram_write`` of one word, or a nanosecond of ``sram_leakage``, of one bank's half."""
        return Action(name, bits=sram.width_bits, bytes=max(1, sram.usable_bytes // sram.banks))

    def leakage(self, cycles: int) -> dict[Action, float]:
        """Of all memories over some cycles."""
        nanoseconds = cycles * 1e3 / self.machine.clock_mhz
        counts: dict[Action, float] = {}
        for sram in self.machine.srams:
            action = self.sram_action("sram_leakage", sram)
            parts = sram.banks * (2 if sram.double_buffered else 1)
            counts[action] = counts.get(action, 0.0) + parts * nanoseconds
        return counts


def resident(works: Sequence[Work], memory: Memory, batch: int) -> tuple[list[set[str]], list[float]]:
    """Which layers' outputs are on chip when each layer runs, and how many bytes they take there then.

    In the order of layers, an output stays from the layer that makes it to the last that reads it if there is room for it in
    all of them.  The decision looks at sizes only, never at time, so that a faster DRAM can't change it for the worse.  What
    nothing reads is the network's output and goes to DRAM.
    """
    last = {name: position for position, work in enumerate(works) for name in work.inputs}
    names = [work.name for work in works]
    sram = memory.holders["activations"]
    share = TILES_SHARE_WITH_WEIGHTS if memory.holders["weights"] is sram else TILES_SHARE
    room = sram.bytes * (1 - share)
    used, here = [0.0] * len(works), [set[str]() for _ in works]
    for position, name in enumerate(names):
        end, size = last.get(name, -1), works[position].output.bytes * batch
        if end > position and max(used[position:end + 1]) + size <= room:
            for at in range(position, end + 1):
                used[at] += size
                here[at].add(name)
    return here, used
