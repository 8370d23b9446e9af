"""The cycle-exact simulator of dataflow designs: blocks joined by streams, with stalls at both ends.

Time is counted in clock cycles from the first cycle after reset.  The rules, identical in the RTL:

- a word moves over a stream in a cycle in which valid and ready are both high;
- sequencers, buffers and tasks keep the contract of `schedule`; a sequencer takes the words of all the streams that a step needs
  in the same cycle;
- a FIFO of depth D is ready while it holds fewer than D words and valid while it holds at least one, both as seen at
  the start of the cycle: a word written in cycle t can leave in cycle t + 1;
- a fork's outputs are valid while its input is and they have not taken its word; it is ready when each has taken it or
  takes it now;
- the source offers a word when its pattern says so, and then holds it until it is taken; the sink is ready in the
  cycles in which its pattern says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from intir import BitwrightError

from .schedule import Buffer, Schedule, Task

Int64 = NDArray[np.int64]

#: Simulations end after so many cycles at the latest.
MAX_CYCLES = 10**9
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


@dataclass(frozen=True)
class Fork:
    """One stream to several."""


Block = Schedule | Buffer | Task | Fifo | Fork


@dataclass(frozen=True)
class Wires:
    """The streams of a block, by number; stream 0 comes from the source, the one that no block reads goes to the sink."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Bins:
    """The counters of a `Trace` over time, in pieces of equal length; the last one may be cut short.

    Parameters
    ----------
    bin_cycles : int
        A power of two.
    fired, starved, blocked : int64 (bins, blocks)
        They add up to the trace's.
    peak_words : int64 (bins, blocks)
        Their greatest is the trace's.
    """

    bin_cycles: int
    fired: Int64
    starved: Int64
    blocked: Int64
    peak_words: Int64


@dataclass(frozen=True, eq=False)
class Trace:
    """What a simulation saw.

    Parameters
    ----------
    in_cycles, out_cycles : int64
        The cycle of every transfer at the input and at the output.
    fired : int64 (blocks,)
        Steps fired (sequencers), words given (buffers, tasks, FIFOs), words taken (forks).
    starved : int64 (blocks,)
        Cycles in which a sequencer or a buffer could advance but waited for input; in which a task waited for a frame.
    blocked : int64 (blocks,)
        Cycles in which the finished word of a sequencer, a buffer or a task was not taken.
    peak_words : int64 (blocks,)
        Most words a FIFO held.
    bins : Bins or None
        The four above over time, where that was asked for.
    input_stalls, output_stalls : int
        Cycles in which the next input word could have been taken, but was not offered; in which an output word was not taken.
    """

    in_cycles: Int64
    out_cycles: Int64
    fired: Int64
    starved: Int64
    blocked: Int64
    peak_words: Int64
    bins: Bins | None = None
    input_stalls: int = 0
    output_stalls: int = 0

    @property
    def total_cycles(self) -> int:
        """Clock cycles up to and with the last output transfer."""
        return int(self.out_cycles[-1]) + 1


def row(blocks: Sequence[Block]) -> list[Wires]:
    """The wires of blocks in a row."""
    return [Wires((n,), (n + 1,)) for n in range(len(blocks))]


def simulate(blocks: Sequence[Block], words_in: int, words_out: int, *, wires: Sequence[Wires] | None = None,
             source: NDArray[np.bool_] = ALWAYS, sink: NDArray[np.bool_] = ALWAYS, limit_cycles: int = MAX_CYCLES,
             drains: bool = False, bins: int = 1) -> Trace:
    """Run a design until `words_out` words have left.

    Parameters
    ----------
    blocks : sequence of Schedule, Buffer, Task, Fifo and Fork
        Producers before consumers.
    words_in, words_out : int
        Words offered at the input, words awaited at the output.
    wires : sequence of Wires, one per block
        By default the blocks stand in a row.
    source, sink : bool (T,)
        Stall patterns, repeated: the source may offer a new word, the sink is ready, in cycle t if ``pattern[t % T]``.
    limit_cycles : int
        Give up after so many cycles.
    drains : bool
        Go on behind the last output until all input is taken that can be: an end of the frame of which no output is made (behind
        a Slice, or where a stride does not reach it) comes in then.
    bins : int
        A power of two; 1 keeps counters for the whole run only.  Bins are a cycle long until they are full; then pairs of them
        are joined, which keeps memory bounded however long a run is.

    Raises
    ------
    SimulationError
        If nothing can move any more before the last word has left, or the limit is reached.
    """
    wires = row(blocks) if wires is None else wires
    latency = np.array([b.latency_cycles if isinstance(b, (Schedule, Buffer, Task)) else 0 for b in blocks], np.int64)
    # Nothing moving for longer than every stall and every pipeline together means nothing ever will.
    patience = len(source) + len(sink) + int(latency.sum()) + 2
    tables = (*_flat(blocks, wires), latency, source, sink, words_in, words_out, limit_cycles, patience, drains, bins)
    in_cycles, out_cycles, counters, bin_cycles, stalls, status = _run(*tables)
    if status == _DEADLOCK:
        raise SimulationError(f"the design stops after {len(out_cycles)} of {words_out} output words and takes no more input "
                              f"({len(in_cycles)} of {words_in} words); offer whole frames, or deepen its FIFOs")
    if status == _LIMIT:
        raise SimulationError(f"the design made {len(out_cycles)} of {words_out} output words in {limit_cycles} cycles; "
                              "raise the limit or check the stall patterns")
    fired, starved, blocked, peak = counters
    return Trace(in_cycles, out_cycles, fired.sum(axis=0), starved.sum(axis=0), blocked.sum(axis=0), peak.max(axis=0),
                 Bins(bin_cycles, *counters) if bins > 1 else None, *map(int, stalls))


_DONE, _DEADLOCK, _LIMIT = 0, 1, 2
_SEQUENCER, _BUFFER, _FIFO, _FORK, _TASK = 0, 1, 2, 3, 4
#: What a task does.
_WAITS, _WORKS, _GIVES = 0, 1, 2


def _flat(blocks: Sequence[Block], wires: Sequence[Wires]) -> tuple[Any, ...]:
    """Kinds, streams and tables of all blocks in flat arrays, as the compiled loop wants them."""
    kinds, depth = np.zeros(len(blocks), np.int64), np.zeros(len(blocks), np.int64)
    first, second = [], []  # needs (P * I) and emits (P), available (J) and room (I), or sizes and times of a task
    for n, block in enumerate(blocks):
        if isinstance(block, Schedule):
            first.append(block.needs.astype(np.int64).ravel())
            second.append(block.emits.astype(np.int64))
        elif isinstance(block, Buffer):
            kinds[n] = _BUFFER
            first.append(block.available)
            second.append(block.room)
        elif isinstance(block, Task):
            kinds[n] = _TASK
            first.append(np.array([block.words_in, block.words_out, block.clear_cycles]))
            second.append(np.stack([block.open_at, block.busy], axis=1).ravel())
        else:
            kinds[n] = _FIFO if isinstance(block, Fifo) else _FORK
            depth[n] = block.depth if isinstance(block, Fifo) else 0
            first.append(np.zeros(0, np.int64))
            second.append(np.zeros(0, np.int64))

    def joined(parts: Sequence[Any]) -> tuple[Int64, Int64]:
        return np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64), \
            np.concatenate([np.asarray(part, np.int64) for part in parts])

    streams = 1 + max(stream for one in wires for stream in one.outputs)
    read = {stream for one in wires for stream in one.inputs}
    (last,) = set(range(streams)) - read
    return (kinds, depth, *joined(first), *joined(second), *joined([one.inputs for one in wires]),
            *joined([one.outputs for one in wires]), streams, last)


@numba.njit(cache=True)
def _task(b, cycle, advances, takes, sizes, times, phase, since, frame, came, step, is_open, full):  # type: ignore[no-untyped-def]
    """One cycle of a task; whether it gives a word."""
    words_in, words_out, clear = sizes
    fires = phase[b] == _GIVES and advances
    now = 2 * (frame[b] % (len(times) // 2))
    if phase[b] == _WAITS and full[b] and cycle >= clear:
        phase[b], since[b], full[b] = _WORKS, cycle + 1, False
    elif fires:
        step[b] += 1
        if step[b] % words_out == 0:
            phase[b] = _WAITS
            frame[b] += 1
    if phase[b] == _WORKS:
        if cycle + 1 == since[b] + times[now]:
            is_open[b] = True
        if cycle + 1 == since[b] + times[now + 1]:
            phase[b] = _GIVES
    if takes:
        came[b] += 1
        if came[b] % words_in == 0:
            is_open[b], full[b] = False, True
    return fires


@numba.njit(cache=True)
def _join(counts, peak):  # type: ignore[no-untyped-def]
    """Join bins in pairs."""
    half = len(peak) // 2
    for k in range(half):
        for one in counts:
            one[k] = one[2 * k] + one[2 * k + 1]
        peak[k] = np.maximum(peak[2 * k], peak[2 * k + 1])
    for one in counts:
        one[half:] = 0
    peak[half:] = 0


@numba.njit(cache=True)
def _run(kinds, depth, first_at, first, second_at, second, in_at, ins, out_at, outs, streams, last,  # type: ignore[no-untyped-def]
         latency, source, sink, words_in, words_out, limit, patience, drains, bins):
    n = len(kinds)
    step = np.zeros(n, np.int64)  # sequencer: current step; buffer: words gone out, in all
    came = np.zeros(n, np.int64)  # buffer: words come in, in all
    pipe = np.zeros(n, np.uint64)  # bit k: the word that has k more registers to go is valid
    level = np.zeros(n, np.int64)
    phase, since, frame = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)  # of a task
    is_open, full = np.ones(n, np.bool_), np.zeros(n, np.bool_)  # of a task: it takes words; it has the next frame
    has = np.zeros(streams, np.bool_)  # of a fork's output: it has the present word
    fired, starved, blocked = np.zeros((bins, n), np.int64), np.zeros((bins, n), np.int64), np.zeros((bins, n), np.int64)
    peak = np.zeros((bins, n), np.int64)
    now, bin_cycles = 0, np.int64(1 if bins > 1 else limit + 1)  # the present bin
    bin_end = bin_cycles
    valid, ready = np.zeros(streams, np.bool_), np.zeros(streams, np.bool_)
    in_cycles, out_cycles = np.empty(words_in, np.int64), np.empty(words_out, np.int64)
    taken, left, holding, quiet = 0, 0, False, 0
    stalls = np.zeros(2, np.int64)
    one = np.uint64(1)
    cycle = 0
    status = _DONE
    while left < words_out or (drains and taken < words_in):
        if cycle >= limit:
            status = _DONE if left == words_out else _LIMIT
            break
        if cycle == bin_end:
            now += 1
            if now == bins:
                _join((fired, starved, blocked), peak)
                now, bin_cycles = bins // 2, 2 * bin_cycles
            bin_end += bin_cycles
        holding = taken < words_in and (holding or source[cycle % len(source)])
        valid[0] = holding
        for b in range(n):
            if kinds[b] == _FORK:
                for k in range(out_at[b], out_at[b + 1]):
                    valid[outs[k]] = valid[ins[in_at[b]]] and not has[outs[k]]
            else:
                valid[outs[out_at[b]]] = level[b] > 0 if kinds[b] == _FIFO else (pipe[b] & one) != 0
        ready[last] = sink[cycle % len(sink)]
        for b in range(n - 1, -1, -1):
            x, y = ins[in_at[b]], outs[out_at[b]]
            if kinds[b] == _SEQUENCER:
                count = in_at[b + 1] - in_at[b]
                at = first_at[b] + step[b] * count
                waits = 0
                for i in range(count):
                    waits += first[at + i] != 0 and not valid[ins[in_at[b] + i]]
                for i in range(count):  # a stream's word is taken with those of all others
                    s = ins[in_at[b] + i]
                    ready[s] = (ready[y] or not valid[y]) and first[at + i] != 0 and waits - (not valid[s]) <= 0
            elif kinds[b] == _BUFFER:
                words, rounds = second_at[b + 1] - second_at[b], first_at[b + 1] - first_at[b]
                ready[x] = step[b] >= came[b] // words * rounds + second[second_at[b] + came[b] % words]
            elif kinds[b] == _TASK:
                ready[x] = is_open[b]
            elif kinds[b] == _FIFO:
                ready[x] = level[b] < depth[b]
            else:
                ready[x] = True
                for k in range(out_at[b], out_at[b + 1]):
                    ready[x] = ready[x] and (has[outs[k]] or ready[outs[k]])
        moved = False
        stalls[0] += taken < words_in and ready[0] and not valid[0]
        stalls[1] += valid[last] and not ready[last]
        if valid[0] and ready[0]:
            in_cycles[taken] = cycle
            taken += 1
            holding = False
            moved = True
        if valid[last] and ready[last]:
            if left < words_out:
                out_cycles[left] = cycle
                left += 1
            moved = True
        for b in range(n):
            x, y = ins[in_at[b]], outs[out_at[b]]
            if kinds[b] == _FIFO:
                enters, leaves = valid[x] and ready[x], valid[y] and ready[y]
                level[b] += np.int64(enters) - np.int64(leaves)
                fired[now, b] += np.int64(leaves)
                peak[now, b] = max(peak[now, b], level[b])
                moved = moved or enters or leaves
                continue
            if kinds[b] == _FORK:
                enters = valid[x] and ready[x]
                for k in range(out_at[b], out_at[b + 1]):
                    leaves = valid[outs[k]] and ready[outs[k]]
                    has[outs[k]] = (has[outs[k]] or leaves) and not enters
                    moved = moved or leaves
                fired[now, b] += np.int64(enters)
                continue
            advances = ready[y] or not valid[y]
            fires, emits = False, False
            if kinds[b] == _SEQUENCER:
                if advances:
                    count = in_at[b + 1] - in_at[b]
                    at = first_at[b] + step[b] * count
                    fires = True
                    for i in range(count):
                        fires = fires and (first[at + i] == 0 or valid[ins[in_at[b] + i]])
                    if fires:
                        emits = second[second_at[b] + step[b]] != 0
                        step[b] += 1
                        if step[b] == second_at[b + 1] - second_at[b]:
                            step[b] = 0
            elif kinds[b] == _TASK:
                starved[now, b] += np.int64(phase[b] == _WAITS)
                fires = _task(b, cycle, advances, valid[x] and ready[x], first[first_at[b]:first_at[b + 1]],
                              second[second_at[b]:second_at[b + 1]], phase, since, frame, came, step, is_open, full)
                emits = fires
                moved = moved or phase[b] == _WORKS or (phase[b] == _WAITS and full[b]) or (valid[x] and ready[x])
                fired[now, b] += np.int64(fires)
            else:
                words, rounds = second_at[b + 1] - second_at[b], first_at[b + 1] - first_at[b]
                if advances:
                    fires = came[b] >= step[b] // rounds * words + first[first_at[b] + step[b] % rounds]
                    emits = fires
                    step[b] += np.int64(fires)
                if valid[x] and ready[x]:
                    came[b] += 1
                    moved = True
            if advances:
                shifted = pipe[b] >> one
                if emits:
                    shifted |= one << np.uint64(latency[b] - 1)
                if kinds[b] != _TASK:
                    fired[now, b] += np.int64(fires)
                    starved[now, b] += np.int64(not fires)
                moved = moved or fires or shifted != pipe[b]
                pipe[b] = shifted
            else:
                blocked[now, b] += 1
        quiet = 0 if moved else quiet + 1
        if quiet > patience:
            status = _DONE if left == words_out else _DEADLOCK
            break
        cycle += 1
    return in_cycles[:taken], out_cycles[:left], \
        (fired[:now + 1], starved[:now + 1], blocked[:now + 1], peak[:now + 1]), bin_cycles, stalls, status
