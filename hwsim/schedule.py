"""Schedules: what a stream block does, and when its results appear.

Every block in a dataflow design is of one of five kinds.  What they have in common: words leave through a pipeline of
`latency` registers that all advance together, in every clock cycle in which the last register is empty or its word is
taken.

A *sequencer* (`Schedule`) runs through a fixed cycle of steps.  A step may take one word from each of its input streams
and may complete one word of the output stream.  In a cycle in which the pipeline advances, the current step fires,
provided that every word it needs is there.

A *buffer* (`Buffer`) takes and gives words independently: word i may come in once enough words have gone out to make
room, and word j may go out once the word it is made of has come in.

A *task* (`Task`) takes a whole frame, works on it for a time that depends on the frame, and gives a whole frame; while it
works it may take the next one.

A *queue* (`Fifo`) is valid while it holds a word and ready while it has room.  A *fork* (`Fork`) gives every word to all
its output streams, each in its own time, and takes the next when the last of them has it.

That is the whole contract between a block's hardware and the simulator: the RTL block of the same name must do exactly
this, and co-verification compares the two beat by beat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: The simulator keeps a pipeline in one 64-bit word.
MAX_LATENCY_CYCLES = 62


@dataclass(frozen=True, eq=False)
class Schedule:
    """A sequencer's cycle of steps.

    Parameters
    ----------
    needs : bool (P,), or (P, I) for I input streams
        Step i takes a word from the input.
    emits : bool (P,)
        Step i completes a word of the output.
    latency_cycles : int
        A word completed by a step that fires in cycle t is valid at the output from cycle t + latency on.
    """

    needs: NDArray[np.bool_]
    emits: NDArray[np.bool_]
    latency_cycles: int

    def __post_init__(self) -> None:
        if len(self.needs) != len(self.emits) or not len(self.needs):
            raise ValueError(f"a schedule of {len(self.needs)} needs and {len(self.emits)} emits; give both per step")
        _check_latency(self.latency_cycles)

    @property
    def inputs(self) -> int:
        """Number of input streams."""
        return 1 if self.needs.ndim == 1 else self.needs.shape[1]

    @property
    def period_cycles(self) -> int:
        """Steps in the cycle: the least number of clock cycles from one round to the next."""
        return len(self.needs)

    @property
    def words_in(self) -> int:
        """Words taken in one round, over all input streams."""
        return int(self.needs.sum())

    @property
    def words_out(self) -> int:
        """Words completed in one round."""
        return int(self.emits.sum())


@dataclass(frozen=True, eq=False)
class Buffer:
    """A memory that gives a round's words in another order, some often, some never.

    Parameters
    ----------
    available : int64 (J,)
        Word j of a round's output may go out once so many of the round's input words have come in (all of earlier rounds'
        have).  "Have come in" means in an earlier cycle.
    room : int64 (I,)
        Word i of a round's input may come in once so many of the round's output words have gone into the pipeline, in an
        earlier cycle; where it is below 0, so many of the round before may still be due.
    latency_cycles : int
        A word that goes into the pipeline in cycle t is valid at the output from cycle t + latency on.
    """

    available: NDArray[np.int64]
    room: NDArray[np.int64]
    latency_cycles: int

    inputs = 1

    def __post_init__(self) -> None:
        _check_latency(self.latency_cycles)

    @property
    def period_cycles(self) -> int:
        """The least number of clock cycles from one round to the next: one word comes in and one goes out at most."""
        return max(len(self.available), len(self.room))

    @property
    def words_in(self) -> int:
        """Words taken in one round."""
        return len(self.room)

    @property
    def words_out(self) -> int:
        """Words given in one round."""
        return len(self.available)


def _check_latency(latency_cycles: int) -> None:
    if not 1 <= latency_cycles <= MAX_LATENCY_CYCLES:
        raise ValueError(f"a latency of {latency_cycles} cycles; a block has 1 to {MAX_LATENCY_CYCLES}")


@dataclass(frozen=True, eq=False)
class Task:
    """Work on one frame after the other, each as long as its data want.

    The work on a frame begins in cycle c0.  If the frame before is done with and this one's last word came in before cycle c,
    a unit that waits in cycle c has c0 = c + 1.  It waits from cycle `clear_cycles` after reset on, and again from the cycle
    after the last word of a frame went into the pipeline.

    Parameters
    ----------
    words_in, words_out : int
        Per frame.
    open_at : int64 (F,)
        The next frame's words may come in from cycle ``c0 + open_at[f]`` on; the first one's from reset on.
    busy : int64 (F,)
        The first output word may go into the pipeline in cycle ``c0 + busy[f]``, the others one a cycle behind it, each in a cycle
        in which the pipeline advances.  Frame f is worked on as ``f % F``.
    clear_cycles : int
    latency_cycles : int
        A word that goes into the pipeline in cycle t is valid at the output from cycle t + latency on.
    """

    words_in: int
    words_out: int
    open_at: NDArray[np.int64]
    busy: NDArray[np.int64]
    clear_cycles: int = 0
    latency_cycles: int = 1

    inputs = 1

    def __post_init__(self) -> None:
        if len(self.open_at) != len(self.busy) or not len(self.busy) or (self.busy < 1).any() or (self.open_at > self.busy).any():
            raise ValueError("a task works for a cycle or more on each frame, and takes the next one before it is done")
        _check_latency(self.latency_cycles)

    @property
    def period_cycles(self) -> int:
        """The least number of clock cycles from one frame to the next, for the frame that takes longest."""
        return int(self._periods.max())

    @property
    def mean_period_cycles(self) -> float:
        """The mean over the frames."""
        return float(self._periods.mean())

    @property
    def _periods(self) -> NDArray[np.int64]:
        return np.maximum(self.busy + self.words_out, self.open_at + self.words_in) + 1
