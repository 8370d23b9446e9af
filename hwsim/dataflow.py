"""The cycle-exact simulator of dataflow designs: sequencers and FIFOs in a row, with stalls at both ends.

Time is counted in clock cycles from the first cycle after reset.  The rules, identical in the RTL:

- a word moves over a stream in a cycle in which valid and ready are both high;
- a sequencer (see `schedule`) is ready when its pipeline advances and its current step needs a word;
- a FIFO of depth D is ready while it holds fewer than D words and valid while it holds at least one, both as seen at
  the start of the cycle: a word written in cycle t can leave in cycle t + 1;
- the source offers a word when its pattern says so, and then holds it until it is taken; the sink is ready in the
  cycles in which its pattern says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from intir import BitwrightError

from .schedule import Schedule

Int64 = NDArray[np.int64]

#: A pattern that never stalls.
ALWAYS = np.ones(1, np.bool_)


class SimulationError(BitwrightError):
    """A design does not finish: it deadlocks, or takes longer than allowed."""


@dataclass(frozen=True)
class Fifo:
    """A first-in first-out queue between two blocks: `depth` words, at least 1 (2 for full throughput)."""

    depth: int

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise SimulationError(f"a queue of {self.depth} words; give it 1 or more")


Block = Schedule | Fifo


@dataclass(frozen=True, eq=False)
class Trace:
    """What a simulation saw.

    Parameters
    ----------
    in_cycles, out_cycles : int64
        The cycle of every transfer at the input and at the output.
    fired : int64 (blocks,)
        Steps fired (sequencers) or words passed (FIFOs).
    starved : int64 (blocks,)
        Cycles in which a sequencer could advance but waited for input.
    blocked : int64 (blocks,)
        Cycles in which a sequencer's finished word was not taken.
    peak_words : int64 (blocks,)
        Most words a FIFO held.
    """

    in_cycles: Int64
    out_cycles: Int64
    fired: Int64
    starved: Int64
    blocked: Int64
    peak_words: Int64

    @property
    def total_cycles(self) -> int:
        """Clock cycles up to and with the last output transfer."""
        return int(self.out_cycles[-1]) + 1


def simulate(blocks: Sequence[Block], words_in: int, words_out: int, *, source: NDArray[np.bool_] = ALWAYS,
             sink: NDArray[np.bool_] = ALWAYS, limit_cycles: int = 10**9) -> Trace:
    """Run a row of blocks until `words_out` words have left.

    Parameters
    ----------
    blocks : sequence of Schedule and Fifo, from input to output
    words_in, words_out : int
        Words offered at the input, words awaited at the output.
    source, sink : bool (T,)
        Stall patterns, repeated: the source may offer a new word, the sink is ready, in cycle t if ``pattern[t % T]``.
    limit_cycles : int
        Give up after so many cycles.

    Raises
    ------
    SimulationError
        If nothing can move any more before the last word has left, or the limit is reached.
    """
    needs = [b.needs if isinstance(b, Schedule) else np.zeros(1, np.bool_) for b in blocks]
    emits = [b.emits if isinstance(b, Schedule) else np.zeros(1, np.bool_) for b in blocks]
    offsets = np.concatenate([[0], np.cumsum([len(steps) for steps in needs])]).astype(np.int64)
    latency = np.array([b.latency_cycles if isinstance(b, Schedule) else 0 for b in blocks], np.int64)
    depth = np.array([b.depth if isinstance(b, Fifo) else 0 for b in blocks], np.int64)
    # Nothing moving for longer than every stall and every pipeline together means nothing ever will.
    patience = len(source) + len(sink) + int(latency.sum()) + 2
    in_cycles, out_cycles, counters, status = _run(
        np.concatenate(needs), np.concatenate(emits), offsets, latency, depth, source, sink,
        words_in, words_out, limit_cycles, patience)
    if status == _DEADLOCK:
        raise SimulationError(f"the design stops after {len(out_cycles)} of {words_out} output words and takes no more input "
                              f"({len(in_cycles)} of {words_in} words); offer whole frames, or deepen its FIFOs")
    if status == _LIMIT:
        raise SimulationError(f"the design made {len(out_cycles)} of {words_out} output words in {limit_cycles} cycles; "
                              "raise the limit or check the stall patterns")
    return Trace(in_cycles, out_cycles, *counters)


_DONE, _DEADLOCK, _LIMIT = 0, 1, 2


@numba.njit(cache=True)
def _run(needs, emits, offsets, latency, depth, source, sink, words_in, words_out, limit, patience):  # type: ignore[no-untyped-def]
    n = len(latency)
    step = np.zeros(n, np.int64)
    pipe = np.zeros(n, np.uint64)  # bit k: the word that has k more registers to go is valid
    level = np.zeros(n, np.int64)
    fired, starved, blocked = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    peak = np.zeros(n, np.int64)
    valid = np.zeros(n + 1, np.bool_)  # valid[b], ready[b]: the stream in front of block b; n is the sink's
    ready = np.zeros(n + 1, np.bool_)
    in_cycles, out_cycles = np.empty(words_in, np.int64), np.empty(words_out, np.int64)
    taken, left, holding, quiet = 0, 0, False, 0
    one = np.uint64(1)
    cycle = 0
    status = _DONE
    while left < words_out:
        if cycle >= limit:
            status = _LIMIT
            break
        holding = taken < words_in and (holding or source[cycle % len(source)])
        valid[0] = holding
        for b in range(n):
            valid[b + 1] = level[b] > 0 if depth[b] else (pipe[b] & one) != 0
        ready[n] = sink[cycle % len(sink)]
        for b in range(n - 1, -1, -1):
            if depth[b]:
                ready[b] = level[b] < depth[b]
            else:
                ready[b] = (ready[b + 1] or not valid[b + 1]) and needs[offsets[b] + step[b]]
        moved = False
        if valid[0] and ready[0]:
            in_cycles[taken] = cycle
            taken += 1
            holding = False
            moved = True
        if valid[n] and ready[n]:
            out_cycles[left] = cycle
            left += 1
            moved = True
        for b in range(n):
            if depth[b]:
                enters, leaves = valid[b] and ready[b], valid[b + 1] and ready[b + 1]
                level[b] += np.int64(enters) - np.int64(leaves)
                fired[b] += np.int64(leaves)
                peak[b] = max(peak[b], level[b])
                moved = moved or enters or leaves
            elif ready[b + 1] or not valid[b + 1]:
                at = offsets[b] + step[b]
                fires = valid[b] or not needs[at]
                shifted = pipe[b] >> one
                if fires:
                    if emits[at]:
                        shifted |= one << np.uint64(latency[b] - 1)
                    step[b] += 1
                    if offsets[b] + step[b] == offsets[b + 1]:
                        step[b] = 0
                    fired[b] += 1
                else:
                    starved[b] += 1
                moved = moved or fires or shifted != pipe[b]
                pipe[b] = shifted
            else:
                blocked[b] += 1
        quiet = 0 if moved else quiet + 1
        if quiet > patience:
            status = _DEADLOCK
            break
        cycle += 1
    return in_cycles[:taken], out_cycles[:left], (fired, starved, blocked, peak), status
