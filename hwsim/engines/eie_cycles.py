"""When a sparse engine does what: exact cycles of layers and frames from the real data, and what happens in them.

The rules are those of `eie`.  One pass over the broadcast columns suffices: what the queues' depth asks of column k is the
latest start among the PEs of column ``k - (F - 1)``, one number for all of them, so a column costs a maximum and a sum for
each PE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ..schedule import Task
from .csc import Csc
from .eie import SETTLE_CYCLES, Eie

Int64 = NDArray[np.int64]
Activations = NDArray[Any]


@dataclass(frozen=True, eq=False)
class LayerRun:
    """What happens in the cycles of a layer, from the first of its scan (c0) until all PEs are done (E).

    Parameters
    ----------
    cycles : int
        ``E - c0``.
    broadcasts : int
        Nonzero activations.
    scan_wait_cycles : int
        In which the scan was in words without a nonzero and so kept the broadcast waiting.
    full_wait_cycles : int
        In which an activation stood in the broadcast register because a PE held as many columns as it can.
    busy_cycles, empty_cycles : int64 (pes,)
        In which each PE worked on an entry (padding, too), and on a column in which it has none.
    held_mean : float
        Columns that a PE holds, on average over cycles and PEs.
    held_peak : int
        Most that a PE ever held; at most the queue depth.
    padding_entries : int
        Padding among the entries worked on.
    word_reads : int
        Words read from the matrix memories, all PEs.
    same_row_entries : int
        Entries that follow one of the same row in the very next cycle.  A pipeline that reads a sum in one cycle and writes
        it in a later one must forward here; ours does both in one.
    """

    cycles: int
    broadcasts: int
    scan_wait_cycles: int
    full_wait_cycles: int
    busy_cycles: Int64
    empty_cycles: Int64
    held_mean: float
    held_peak: int
    padding_entries: int
    word_reads: int
    same_row_entries: int

    @property
    def entries(self) -> int:
        """Entries worked on, padding included."""
        return int(self.busy_cycles.sum())

    @property
    def pointer_reads(self) -> int:
        """Pointers read, all PEs: begin and end of a column, from the even and the odd bank."""
        return 2 * self.broadcasts * len(self.busy_cycles)

    @property
    def starved_cycles(self) -> Int64:
        """Cycles in which each PE had no column to work on."""
        return self.cycles - self.busy_cycles - self.empty_cycles

    @property
    def load_balance(self) -> float:
        """Part of all PEs' cycles in which they worked on an entry."""
        return float(self.busy_cycles.mean()) / self.cycles


def layer_cycles(matrix: Csc, x: Activations, *, lanes: int, queue_depth: int) -> int:
    """Cycles from the first of a layer's scan (c0) until all PEs are done (E).

    Parameters
    ----------
    matrix : Csc
    x : array (inputs,)
        Activations; only where they are 0 matters.
    lanes, queue_depth : int
        As in `Eie`.
    """
    _check(matrix, x.shape, queue_depth)
    return int(_walk(matrix.column_counts, x != 0, lanes, queue_depth, *NOTHING))


def run_layer(matrix: Csc, x: Activations, *, lanes: int, queue_depth: int, read_entries: int = 8,
              base: Int64 | None = None) -> LayerRun:
    """The same cycles and what happens in them.

    Parameters
    ----------
    matrix, x, lanes, queue_depth
        As in `layer_cycles`.
    read_entries : int
        Entries in a word of the matrix memory, a power of two.
    base : int64 (pes,), optional
        Entries that lie before the layer's in each PE's matrix memory, by default none.
    """
    _check(matrix, x.shape, queue_depth)
    if read_entries < 1 or read_entries & (read_entries - 1):
        raise ValueError(f"read_entries is {read_entries}; give a power of two")
    columns = np.flatnonzero(x)
    taken, accepted, ends, follows = _room(len(columns), matrix.pes)
    cycles = int(_walk(matrix.column_counts, x != 0, lanes, queue_depth, taken, accepted, ends, follows))
    before = np.concatenate([np.ones(1, np.int64), accepted[:-1]])[:len(columns)]
    busy, empty, padding, word_reads, same_row = _read(
        matrix.indices, matrix.codes, matrix.first, matrix.pointers, columns, follows,
        np.zeros(matrix.pes, np.int64) if base is None else base, read_entries.bit_length() - 1)
    held = int(ends.sum()) - int((accepted + 1).sum()) * matrix.pes
    return LayerRun(cycles, len(columns), int((taken - before).sum()), int((accepted - taken - 1).sum()), busy, empty,
                    held / (cycles * matrix.pes), int(_most_held(accepted, ends)), int(padding), int(word_reads), int(same_row))


def frame_cycles(engine: Eie, matrices: Sequence[Csc], activations: Sequence[Activations]) -> tuple[Int64, Int64]:
    """Cycles of whole frames: all layers one after another, as the command list runs them.

    Parameters
    ----------
    engine : Eie
    matrices : sequence of Csc
        One a layer.
    activations : sequence of arrays (frames, inputs)
        What each layer takes; only where they are 0 matters.

    Returns
    -------
    open_at, busy : int64 (frames,)
        From the first cycle of the first layer's scan to that of the last one's, in which loading the next frame may begin;
        and to the first drained word of the last layer.
    """
    frames = len(activations[0])
    _check_layers(engine, matrices, [one.shape for one in activations], frames)
    return _frames(engine, [one.column_counts for one in matrices], activations)


def task(engine: Eie, pointers: Int64, activations: Sequence[Activations] | None = None) -> Task:
    """What an engine does with frames, as the simulator of whole designs wants it.

    Parameters
    ----------
    engine : Eie
    pointers : int64 (pes, columns + 1)
        Of all layers, as the engine's memories hold them.
    activations : sequence of arrays (frames, inputs), optional
        What each layer takes; by default one frame without a zero, which takes longest.
    """
    sizes = engine.sizes[:-1]
    counts = np.split(np.ascontiguousarray(np.diff(pointers, axis=1).T), np.cumsum(sizes)[:-1])
    if activations is None:
        activations = [np.ones((1, size), np.bool_) for size in sizes]
    return Task(engine.words_in_frame, engine.words_out_frame, *_frames(engine, counts, activations),
                0 if engine.loaded else engine.rows)


def _frames(engine: Eie, counts: Sequence[NDArray[Any]], activations: Sequence[Activations]) -> tuple[Int64, Int64]:
    frames = len(activations[0])
    open_at, busy = np.zeros(frames, np.int64), np.zeros(frames, np.int64)
    for layer, (own, batch) in enumerate(zip(counts, activations, strict=True)):
        if layer:
            open_at += busy + engine.drain_words(layer - 1) + engine.feedback_cycles
        for frame, x in enumerate(batch):
            busy[frame] = int(_walk(own, x != 0, engine.lanes, engine.queue_depth, *NOTHING)) + SETTLE_CYCLES
    return open_at, open_at + busy


def run_frame(engine: Eie, matrices: Sequence[Csc], activations: Sequence[Activations]) -> list[LayerRun]:
    """What happens in each layer of a frame.

    Parameters
    ----------
    engine, matrices
        As in `frame_cycles`.
    activations : sequence of arrays (inputs,)
        What each layer takes.
    """
    _check_layers(engine, matrices, [(1, *one.shape) for one in activations], 1)
    runs, base = [], np.zeros(engine.pes, np.int64)
    for matrix, x in zip(matrices, activations, strict=True):
        runs.append(run_layer(matrix, x, lanes=engine.lanes, queue_depth=engine.queue_depth, read_entries=engine.read_entries,
                              base=base))
        base += matrix.pointers[:, -1]
    return runs


def _check_layers(engine: Eie, matrices: Sequence[Csc], given: list[tuple[int, ...]], frames: int) -> None:
    shapes = list(pairwise(engine.sizes))
    if [(one.inputs, one.outputs) for one in matrices] != shapes or any(one.pes != engine.pes for one in matrices):
        raise ValueError(f"matrices of {[(one.inputs, one.outputs, one.pes) for one in matrices]} inputs, outputs and PEs; the "
                         f"engine has layers of {shapes} and {engine.pes} PEs")
    if given != [(frames, inputs) for inputs, _ in shapes]:
        raise ValueError(f"activations of the shapes {given}; give (frames, inputs) for each of {shapes}")


def _room(broadcasts: int, pes: int) -> tuple[Int64, Int64, Int64, NDArray[np.bool_]]:
    """For what `_walk` tells of every broadcast."""
    return (np.empty(broadcasts, np.int64), np.empty(broadcasts, np.int64), np.empty((broadcasts, pes), np.int64),
            np.empty((broadcasts, pes), np.bool_))


NOTHING = _room(0, 1)


def _check(matrix: Csc, shape: tuple[int, ...], queue_depth: int) -> None:
    if shape != (matrix.inputs,):
        raise ValueError(f"activations of the shape {shape}; the matrix has {matrix.inputs} inputs")
    if queue_depth < 2:
        raise ValueError(f"a queue depth of {queue_depth}; give 2 or more")


@numba.njit(cache=True)
def _walk(counts, active, lanes, depth, taken, accepted, ends, follows):  # type: ignore[no-untyped-def]
    """E - c0.

    Unless they are empty, r, t (broadcasts,), the PEs' ends and whether they began at the end of the column before
    (broadcasts, pes) go into the arrays behind.
    """
    pes = counts.shape[1]
    end = np.zeros(pes, np.int64)
    latest = np.zeros(depth - 1, np.int64)  # latest start of each of the last depth - 1 columns
    slot, k, word, r, t = 0, 0, 0, 1, 0
    for column in range(len(active)):
        if not active[column]:
            continue
        r, word = max(t, r + column // lanes - word), column // lanes
        t = max(r, latest[slot]) + 1
        if len(ends):
            follows[k] = end >= t + 1
        last = t + 1
        for p in range(pes):
            start = max(t + 1, end[p])
            last = max(last, start)
            end[p] = start + max(1, np.int64(counts[column, p]))
        latest[slot] = last
        slot = slot + 1 if slot < depth - 2 else 0
        if len(ends):
            taken[k], accepted[k], ends[k] = r, t, end
        k += 1
    return max(end.max(), r + (len(active) - 1) // lanes - word + 1)


@numba.njit(cache=True)
def _most_held(accepted, ends):  # type: ignore[no-untyped-def]
    """Most columns that a PE holds at once: in the cycle after one is accepted, those that end later."""
    most = 0
    for k in range(len(ends)):
        while most <= k and ends[k - most].max() > accepted[k] + 1:
            most += 1
    return most


@numba.njit(cache=True)
def _read(indices, codes, first, pointers, columns, follows, base, read_shift):  # type: ignore[no-untyped-def]
    """Busy and empty cycles of the PEs, padding entries, words read, entries in the same row as the one a cycle before."""
    pes = len(pointers)
    busy, empty = np.zeros(pes, np.int64), np.zeros(pes, np.int64)
    padding, words, same_row = 0, 0, 0
    for p in range(pes):
        last_row = -1  # of the column before
        for k in range(len(columns)):
            begin, stop = pointers[p, columns[k]], pointers[p, columns[k] + 1]
            busy[p] += stop - begin
            if begin == stop:
                empty[p] += 1
                last_row = -1
                continue
            words += ((base[p] + stop - 1) >> read_shift) - ((base[p] + begin) >> read_shift) + 1
            begin += first[p]
            stop += first[p]
            same_row += follows[k, p] & (codes[begin] > 0) & (indices[begin] == last_row)
            last_row = -1
            for place in range(begin, stop):
                last_row += indices[place] + 1
                padding += codes[place] == 0
    return busy, empty, padding, words, same_row
