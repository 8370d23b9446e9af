"""Schedules: what a stream block does, step by step, and when its results appear.

Every block in a dataflow design is a *sequencer*.  It runs through a fixed cycle of steps.  A step may take one word
from the input stream and may complete one word of the output stream.  Words leave through a pipeline of `latency`
registers that all advance together: in every clock cycle in which the last register is empty or its word is taken,

- the pipeline moves by one, and
- the current step fires, provided the word it needs is there.

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
    """A block's cycle of steps.

    Parameters
    ----------
    needs : bool (P,)
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
        if not 1 <= self.latency_cycles <= MAX_LATENCY_CYCLES:
            raise ValueError(f"a latency of {self.latency_cycles} cycles; a block has 1 to {MAX_LATENCY_CYCLES}")

    @property
    def period_cycles(self) -> int:
        """Steps in the cycle: the least number of clock cycles from one round to the next."""
        return len(self.needs)

    @property
    def words_in(self) -> int:
        """Words taken in one round."""
        return int(self.needs.sum())

    @property
    def words_out(self) -> int:
        """Words completed in one round."""
        return int(self.emits.sum())
