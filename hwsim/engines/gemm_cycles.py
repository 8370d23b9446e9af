"""When a `gemm` does what: the cycle of every transfer, exactly as the hardware has it.

Cycle 0 is the first after reset.  For command i of the list, n the draining commands before it:

- ``enter[i]`` is when the queue takes it, one a cycle, while it has room;
- ``fetch[i] = max(enter[i] + 1, loaded[i - 1])``: the loader takes it, with the last word of the one before;
- its words of activations come in from ``max(fetch[i] + 1, begin[a])`` on, one a cycle, where a is the command before it that
  loads activations: the half they go into is free then; those of weights follow likewise; ``loaded[i]`` is the cycle of the
  last one, or ``fetch[i] + 1`` if it loads nothing;
- ``start[i] = max(enter[i] + 1, end[i - 1])``: the array takes it, with the last words of the one before;
- ``begin[i]`` is when its first words are read from the tile memories, one pair a cycle, from ``start[i] + 1`` on, and none
  before the cycle behind the one in which it came in;
- ``end[i]`` is when its last words are read; if it drains, not before ``end[n] + rows[n]``, so that the rows of the tile before
  it are out of the way, and not before a place for its sums is free, in the cycle behind the last read of the tile that had it;
- rows of its sums are read, one a cycle in which the output takes them, from ``end[i] + 5 + columns`` on, or behind the tile
  before; each is valid at the output a cycle later.

Without stalls, with the loads of a tile hidden behind the products of others, a tile of K words takes max(K, rows) cycles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .gemm import ELEMENT_CYCLES, Gemm
from .gemm_commands import Command

Int64 = NDArray[np.int64]
Bits = NDArray[np.bool_]
ALWAYS: Bits = np.ones(1, np.bool_)


@dataclass(frozen=True, eq=False)
class GemmTrace:
    """The cycles of a run.

    Parameters
    ----------
    command_cycles, in_cycles, out_cycles : int64
        Of the transfers of commands, words of tiles, and rows of sums.
    begin, end : int64 (commands,)
        In which each command's first and last words leave the tile memories.
    array_cycles : int
        In which the array multiplies.
    """

    command_cycles: Int64
    in_cycles: Int64
    out_cycles: Int64
    begin: Int64
    end: Int64
    array_cycles: int

    @property
    def cycles(self) -> int:
        """From the first cycle after reset to the last transfer."""
        return 1 + int(max(one.max(initial=0) for one in (self.command_cycles, self.in_cycles, self.out_cycles)))


class Pattern:
    """Cycles in which a port may move, repeated for ever."""

    def __init__(self, bits: Bits) -> None:
        self.period, self.at = len(bits), np.flatnonzero(bits)
        self.always = len(self.at) == self.period

    def next(self, cycle: int) -> int:
        """The first such cycle from `cycle` on."""
        return cycle if self.always else int(self.run(cycle, 1)[0])

    def run(self, cycle: int, count: int) -> Int64:
        """The first `count` such cycles from `cycle` on."""
        if self.always:
            return np.arange(cycle, cycle + count)
        rank = cycle // self.period * len(self.at) + int(np.searchsorted(self.at, cycle % self.period))
        ranks = np.arange(rank, rank + count)
        return ranks // len(self.at) * self.period + self.at[ranks % len(self.at)]


def simulate(gemm: Gemm, commands: Sequence[Command], *, source: Bits = ALWAYS, sink: Bits = ALWAYS,
             command_source: Bits = ALWAYS) -> GemmTrace:
    """Run a list.

    Parameters
    ----------
    gemm : Gemm
    commands : sequence of Command
    source, sink, command_source : bool
        Cycle by cycle, from the beginning again behind the end: whether words of tiles are newly offered (a word that is
        offered stays until it is taken), rows of sums are taken, and commands are newly offered.
    """
    offers, takes, lists = Pattern(source), Pattern(sink), Pattern(command_source)
    count = len(commands)
    enter, fetch, start, begin, end = (np.zeros(count, np.int64) for _ in range(5))
    words: list[Int64] = []
    rows: list[Int64] = []
    entered = loaded = ended = word = out = -1  # the last one of each
    freed = [0, 0]  # from when on a load into each memory may begin
    came: list[Int64] = [np.zeros(0, np.int64)] * 2  # when the words of the halves that are read came in
    tile_end, tile_rows = -1, 0  # of the last draining command
    reads = [-1] * gemm.places  # last reads of the last tiles
    for i, one in enumerate(commands):
        room = max(fetch[i - gemm.commands], start[i - gemm.commands]) + 1 if i >= gemm.commands else 0
        enter[i] = entered = int(max(lists.next(entered + 1), room))
        fetch[i] = max(entered + 1, loaded)
        loaded = opens = int(fetch[i]) + 1
        for n, load in enumerate((one.load_x, one.load_w)):
            if load:
                first = max(offers.next(word + 1), opens, freed[n])
                came[n] = np.append(first, offers.run(first + 1, load - 1))
                words.append(came[n])
                word = loaded = int(came[n][-1])
                opens = loaded + 1
        start[i] = max(entered + 1, ended)
        begin[i] = max(start[i] + 1, *(int(times[at]) + 1 for times, at in zip(came, (one.x_at, one.w_at), strict=True)))
        ended = int(begin[i]) + one.words - 1
        for times, at in zip(came, (one.x_at, one.w_at), strict=True):
            if times[at + one.words - 1] >= begin[i]:  # word n can't be read before the cycle behind the one it came in
                behind = int((times[at:at + one.words] - np.arange(one.words)).max()) + 1
                ended = max(ended, behind + one.words - 1)
        if one.rows:
            ended = max(ended, tile_end + tile_rows, reads[0] + 1)
            tile_end, tile_rows = ended, one.rows
            # A row is valid a cycle after it was read, which needs the output register free.
            read = max(ended + ELEMENT_CYCLES + 1 + gemm.columns, out)
            rows.append(takes.run(read + 1, one.rows))
            reads = [*reads[1:], int(rows[-1][-2]) if one.rows > 1 else read]
            out = int(rows[-1][-1])
        end[i] = ended
        if one.words == 1:
            begin[i] = ended
        freed = [int(begin[i]) if load else old for load, old in zip((one.load_x, one.load_w), freed, strict=True)]
    return GemmTrace(enter, _joined(words), _joined(rows), begin, end, sum(one.words for one in commands))


def _joined(parts: list[Int64]) -> Int64:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
