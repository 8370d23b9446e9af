"""Energy of memories by size and width, between the points that were measured."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import exp, log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from intir import BitwrightError

#: How far outside the measured sizes and widths a figure may be, as a factor.
REACH: Final = 8
#: There, energy goes with this power of the size, and is proportional to the width.
SIZE_POWER: Final = 0.5


class EnergyError(BitwrightError):
    """A table is wrong, or does not have what was asked for."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Energy of an access by size and width.

    Between points, log-log interpolation.  Outside, up to a factor of `REACH`, energy goes with the square root of the
    size, which is about what CACTI's figures do at their ends, and for narrower words in proportion to the width.  A wider
    word is spread over memories side by side, each as wide as the widest that was measured and with its part of the size.
    Where all points have no size (0), energy does not depend on it.

    Where a larger or wider memory was measured to take less than a smaller one, the smaller one takes that, too: one would
    build the larger.  So energy never falls with size or width.

    Parameters
    ----------
    sizes_bytes, widths_bits : tuple of int, ascending
    logs : float64 (sizes, widths)
        Natural logarithms of pJ.
    """

    sizes_bytes: tuple[int, ...]
    widths_bits: tuple[int, ...]
    logs: NDArray[np.float64]

    @classmethod
    def of(cls, points: Mapping[tuple[int, int], float]) -> Grid:
        """Make it from (bytes, bits) -> pJ; a point that is missing follows from its neighbours in size.

        Energies are above 0, or there is one point only.
        """
        sizes = sorted({size for size, _ in points})
        widths = sorted({width for _, width in points})
        logs = np.empty((len(sizes), len(widths)))
        for column, width in enumerate(widths):
            known = [size for size in sizes if (size, width) in points]
            for row, size in enumerate(sizes):
                logs[row, column] = _along(size, known, [_log(points[one, width]) for one in known], SIZE_POWER)
        # the least of all memories that are as large and as wide or more
        logs = np.minimum.accumulate(np.minimum.accumulate(logs[::-1, ::-1], axis=0), axis=1)[::-1, ::-1]
        return cls(tuple(sizes), tuple(widths), logs)

    def pj(self, size_bytes: int, width_bits: int) -> float:
        """Energy of an access.

        Raises
        ------
        EnergyError
            If the size, or a width below those that were measured, is farther from them than `REACH`.
        """
        slices = max(1.0, width_bits / self.widths_bits[-1])
        size = size_bytes / slices
        if self.sizes_bytes != (0,):
            least, most = self.sizes_bytes[0] / REACH, self.sizes_bytes[-1] * REACH
            if size_bytes < least or size > most:
                advice = "use a register" if size < least else "split them into banks"
                raise EnergyError(f"{size_bytes} bytes are more than {REACH} times outside of the {self.sizes_bytes[0]} to "
                                  f"{self.sizes_bytes[-1]} bytes that are known; {advice}")
            size = max(size, least)
        if len(self.widths_bits) > 1 and width_bits * REACH < self.widths_bits[0]:
            raise EnergyError(f"words of {width_bits} bits are more than {REACH} times narrower than the {self.widths_bits[0]} "
                              "bits that are known; read wider ones")
        columns = [_along(size, self.sizes_bytes, column, SIZE_POWER) for column in self.logs.T]
        return slices * exp(_along(width_bits / slices, self.widths_bits, columns, 1.0))

    def scaled(self, factor: float) -> Grid:
        """All of it times a factor."""
        return dataclasses.replace(self, logs=self.logs + _log(factor))


def _log(energy: float) -> float:
    return log(energy) if energy else float("-inf")


def _along(at: float, points: Iterable[int], logs: Iterable[float] | NDArray[np.float64], power: float) -> float:
    """Piecewise linear in the logarithm of `at`; outside of the points, with the given slope."""
    points, values = list(points), list(logs)
    if points == [0]:
        return values[0]
    inside = min(max(at, points[0]), points[-1])
    return float(np.interp(log(inside), np.log(points), values)) + power * log(at / inside)


@cache
def cacti(node_nm: int, cell: str) -> dict[str, Grid]:
    """Figures of `hwsim/data/cacti7_sram.csv` by action.

    Parameters
    ----------
    node_nm : int
    cell : str
        ``itrs-hp`` or ``itrs-lstp``: high performance, low standby power.

    Raises
    ------
    EnergyError
        If that node and cell were not measured.
    """
    rows = [row for row in cacti_rows() if row["node_nm"] == str(node_nm) and row["cell"] == cell]
    if not rows:
        known = sorted({f"{row['node_nm']}nm {row['cell']}" for row in cacti_rows()})
        raise EnergyError(f"no SRAM of {node_nm}nm {cell} was measured; there is {', '.join(known)}")
    # milliwatts for a nanosecond are picojoules
    return {action: Grid.of({(int(row["size_bytes"]), int(row["width_bits"])): float(row[column]) for row in rows})
            for action, column in (("sram_read", "read_pj"), ("sram_write", "write_pj"), ("sram_leakage", "leakage_mw"))}


@cache
def cacti_rows() -> tuple[dict[str, str], ...]:
    """All that was measured, as text."""
    lines = (files("hwsim") / "data" / "cacti7_sram.csv").read_text(encoding="utf-8").splitlines()
    return tuple(csv.DictReader(line for line in lines if not line.startswith("#")))
