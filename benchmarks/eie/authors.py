"""The machine that the authors of EIE simulate, to say where ours differs from it.

Read off the sources of their simulator (RalphMao/EIE-simulator) and written anew: it gives the cycles that theirs was
measured with on every layer of `measured.csv`.  Columns go through the queues and the PEs as in ours.  But the scan spends a
cycle on going to the next word, unless the last lane was the last nonzero; and the layer is over in the first cycle after the
scan in which no PE writes a sum; a PE that works on padding or on a column without entries writes none, so the end may come
before the last sum.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from hwsim.engines.csc import Csc

FILE: Final = Path(__file__).with_name("measured.csv")
#: From the cycle in which a PE works on an entry until the cycle after its sum was written.
WRITE_CYCLES: Final = 6
#: The simulator makes at least so many cycles.
LEAST_CYCLES: Final = 9


def measured() -> dict[tuple[str, int], int]:
    """Cycles of the authors' simulator by layer and queue depth, on the patterns that `layers` and `real` draw with seed 1."""
    with FILE.open(encoding="utf-8") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return {(row["layer"], int(row["depth"])): int(row["cycles"]) for row in rows}


def authors_cycles(matrix: Csc, x: NDArray[np.int64], depth: int, *, scan: bool = True, stops: bool = True) -> int:
    """Cycles of a layer on the authors' machine; with `scan` and `stops` off, without the one and the other peculiarity."""
    return int(_machine(matrix.column_counts, matrix.codes, matrix.first, matrix.pointers, np.flatnonzero(x), len(x), depth, scan,
                        stops))


@numba.njit(cache=True)
def _machine(counts, codes, first, pointers, columns, inputs, depth, scan, stops):  # type: ignore[no-untyped-def]
    pes = counts.shape[1]
    start = np.zeros((len(columns), pes), np.int64)
    end = np.zeros((len(columns) + 1, pes), np.int64)
    t, word, lane = 0, 0, pes - 1
    for k in range(len(columns)):
        gap = columns[k] // pes - word
        if k and gap and lane == pes - 1:
            gap -= 1  # it went on to the next word at once
        t += 1 + (gap if scan else 0)
        word, lane = columns[k] // pes, columns[k] % pes
        if k >= depth - 1:
            t = max(t, start[k - (depth - 1)].max() + 1)
        for p in range(pes):
            start[k, p] = max(t + 1, end[k, p])
            end[k + 1, p] = start[k, p] + max(1, np.int64(counts[columns[k], p]))
    last = end[-1].max()
    if not stops:
        return last + WRITE_CYCLES
    scanned = t + (1 if lane == pes - 1 else 2) + (inputs - 1) // pes - word
    writes = np.zeros(last + WRITE_CYCLES + 1, np.bool_)
    for p in range(pes):
        for k in range(len(columns)):
            if end[k + 1, p] > scanned - WRITE_CYCLES:
                begin = first[p] + pointers[p, columns[k]]
                for place in range(counts[columns[k], p]):
                    writes[start[k, p] + place + WRITE_CYCLES] |= codes[begin + place] > 0
    cycle = max(scanned, LEAST_CYCLES)
    while cycle < len(writes) and writes[cycle]:
        cycle += 1
    return cycle
