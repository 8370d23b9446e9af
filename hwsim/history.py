"""What a simulated design did over time: every block's work and waits, every queue's fill, every frame's way through the blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .dataflow import SimulationError, Trace
from .schedule import Buffer, Schedule, Task

if TYPE_CHECKING:
    from .design import Stage

Int64 = NDArray[np.int64]

#: Pieces of time that a history has at most; shorter runs are known cycle by cycle.
BINS = 4096


@dataclass(frozen=True, eq=False)
class History:
    """Blocks over time, in bins of `bin_cycles`, in the order of the report's blocks.

    Parameters
    ----------
    bin_cycles : int
        A power of two; 1 where every cycle is known.
    total_cycles : int
        From reset up to and with the last output transfer.
    busy, starved, blocked : int64 (bins, blocks)
        Cycles in which a block works, waits for input, waits for its output to be taken; all three 0 for queues and forks.
    peak_words : int64 (bins, blocks)
        Most words that a queue held; 0 for others.
    frame_cycles : int64 (blocks, frames, 2)
        When a block first and last worked on (moved a word of) a frame: start of a bin, end of a bin; -1 where it did not.
    port_cycles : int64 (frames, 2)
        The cycles of a frame's first input transfer and of its last output transfer.
    """

    bin_cycles: int
    total_cycles: int
    busy: Int64
    starved: Int64
    blocked: Int64
    peak_words: Int64
    frame_cycles: Int64
    port_cycles: Int64

    @property
    def bin_ends(self) -> Int64:
        """The cycle behind each bin; the last one may be short."""
        return np.minimum(self.bin_cycles * np.arange(1, len(self.busy) + 1), self.total_cycles)


def history_of(stages: Sequence[Stage], trace: Trace, words_in: int, words_out: int) -> History:
    """The history of a trace with bins.

    Parameters
    ----------
    stages : sequence of Stage
        Of the design.
    words_in, words_out : int
        At the ports, a frame.

    Raises
    ------
    SimulationError
        If the trace was made without bins.
    """
    bins = trace.bins
    if bins is None:
        raise SimulationError("a history needs a trace with bins; simulate with bins=4096")
    frames, total = len(trace.out_cycles) // words_out, trace.total_cycles
    ends = np.minimum(bins.bin_cycles * np.arange(1, len(bins.fired) + 1), total)
    lengths = np.diff(ends, prepend=0)
    works = np.array([isinstance(stage.timing, (Schedule, Buffer, Task)) for stage in stages])
    # What a task waits for its next frame may fall together with the wait for its last word to be taken: that is one wait.
    blocked = np.minimum(bins.blocked, lengths[:, None])
    starved = np.minimum(bins.starved, lengths[:, None] - blocked)
    busy = np.where(works, lengths[:, None] - blocked - starved, 0)
    moved = np.cumsum(bins.fired, axis=0)
    spans = np.full((len(stages), frames, 2), -1, np.int64)
    for block, stage in enumerate(stages):
        each = _moves(stage)
        for frame in range(frames):
            first = int(np.searchsorted(moved[:, block], frame * each, "right"))
            if isinstance(stage.timing, Task):  # it works before it gives anything
                done = int(np.searchsorted(moved[:, block], frame * each, "left")) + 1 if frame else 0
                first = done + int(np.argmax(busy[done:first + 1, block] > 0)) if done < first else first
            last = int(np.searchsorted(moved[:, block], (frame + 1) * each, "left"))
            if first < len(moved):
                spans[block, frame] = first * bins.bin_cycles, ends[min(last, len(moved) - 1)]
    ports = np.stack([trace.in_cycles[::words_in][:frames], trace.out_cycles[words_out - 1::words_out]], axis=1)
    return History(bins.bin_cycles, total, busy, np.where(works, starved, 0), np.where(works, blocked, 0), bins.peak_words, spans,
                   ports)


def _moves(stage: Stage) -> int:
    """Steps or words of a frame, as `Trace.fired` counts them."""
    timing = stage.timing
    if isinstance(timing, Schedule):
        return stage.rounds * len(timing.emits)
    return stage.rounds * (timing.words_out if isinstance(timing, (Buffer, Task)) else 1)
