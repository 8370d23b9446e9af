"""Counting the ones of a bit vector with few LUTs: the plan of a compressor tree.

A binary multiply-accumulate is an XNOR followed by a population count, so the count *is* the cost of a
binarized layer. Written as a plain sum, synthesis rebuilds it from full adders and pays about 2.2 six-input
LUTs a synapse. The tree planned here pays about one.

The cells are described in `hwsim.engines.popcount_cells`, the search in `hwsim.engines.popcount_search`.

One parameter object, two realisations: :class:`PopcountTree` plans and evaluates;
``codegen.blocks.popcount.Popcount`` takes that object and is the hardware.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from .popcount_cells import ZERO, Cell, CellKind, Group
from .popcount_search import plan_tree

__all__ = ["ZERO", "Cell", "CellKind", "Group", "PopcountTree"]

FAMILIES = ("xilinx", "ecp5", "generic")
PAIRS = ("xnor", "and", None)


@dataclass(frozen=True)
class PopcountTree:
    """Population count of ``n_bits`` bits, or of what ``n_bits`` (activation, weight) pairs give.

    Parameters
    ----------
    n_bits: number of bits or pairs, at least 1.
    pairs: ``xnor`` counts ``~(x ^ w)``, ``and`` counts ``x & w``; None counts ``x``.
    family: ``xilinx`` (LUT6, CARRY4), ``ecp5`` (LUT4, CCU2C) or ``generic`` (a plain sum, for all others).

    Members
    -------
    cells: the plan, in topological order; empty for ``generic``.
    result: bit ids of the count, lowest first.
    columns: weight of each bit id, as a power of two.
    out_bits: width of the count.
    luts: LUTs as Yosys counts them (an estimate for ``generic``).
    carry_cells: CARRY4 or CCU2C cells.
    levels: cells on the longest path.

    Raises ``ValueError`` for a size below 1 or an unknown family. Latency: 0 cycles, purely combinational.
    """

    n_bits: int
    pairs: str | None = "xnor"
    family: str = "xilinx"

    def __post_init__(self) -> None:
        if isinstance(self.n_bits, bool) or not isinstance(self.n_bits, int) or self.n_bits < 1:
            raise ValueError(
                f"PopcountTree n_bits is {self.n_bits!r}; give a whole number of bits, 1 or more."
            )
        if self.pairs not in PAIRS:
            raise ValueError(f"PopcountTree pairs is {self.pairs!r}; choose 'xnor', 'and' or None.")
        if self.family not in FAMILIES:
            raise ValueError(f"PopcountTree family is {self.family!r}; choose one of {', '.join(FAMILIES)}.")

    @property
    def out_bits(self) -> int:
        """Width of the count."""
        return self.n_bits.bit_length()

    @cached_property
    def _plan(self) -> tuple[tuple[Cell, ...], tuple[int, ...]]:
        return ((), ()) if self.family == "generic" else plan_tree(self.n_bits, self.pairs is not None, self.family)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The plan, in topological order; empty for ``generic``."""
        return self._plan[0]

    @property
    def result(self) -> tuple[int, ...]:
        """Bit ids of the count, lowest first; empty for ``generic``."""
        return self._plan[1]

    @cached_property
    def columns(self) -> dict[int, int]:
        """Weight of each bit id, as a power of two."""
        weights = dict.fromkeys(range(self.n_bits), 0)
        for cell in self.cells:
            weights |= {bit: cell.column + i for i, bit in enumerate(cell.outputs) if bit != ZERO}
        return weights

    @property
    def luts(self) -> int:
        """LUTs as Yosys counts them; for ``generic``, an estimate for four-input LUTs (iCE40: 17, 36, 163 at 8, 16, 64)."""
        if self.family == "generic":
            return (5 * self.n_bits + 1) // 2
        return sum(cell.kind.luts(self.family) for cell in self.cells)

    @property
    def carry_cells(self) -> int:
        """CARRY4 or CCU2C cells."""
        width = 4 if self.family == "xilinx" else 2
        return sum(-(-cell.kind.n_outputs // width) for cell in self.cells if cell.kind.is_chain)

    @property
    def levels(self) -> int:
        """Cells on the longest path; 0 for ``generic``: unknown."""
        level: dict[int, int] = dict.fromkeys(range(-1, self.n_bits), 0)
        for cell in self.cells:
            deepest = 1 + max(level[bit] for bit in cell.inputs)
            level |= {bit: deepest for bit in cell.outputs if bit != ZERO}
        return max(level.values(), default=0)

    def evaluate(self, x: np.ndarray, w: np.ndarray | None = None) -> np.ndarray:
        """Count by walking the cells: the executable form of the plan.

        ``x`` (and ``w``, for a tree of pairs) holds 0 or 1, shape ``[..., n_bits]``; the answer has shape ``[...]``.
        """
        x = np.asarray(x)
        if (w is None) != (self.pairs is None):
            raise ValueError(f"PopcountTree has pairs={self.pairs!r}; pass w exactly when it counts pairs.")
        operands = [x] if w is None else [x, np.asarray(w)]
        for operand in operands:
            if operand.ndim == 0 or operand.shape[-1] != self.n_bits:
                raise ValueError(
                    f"PopcountTree operand has shape {operand.shape}; the last axis must be {self.n_bits}."
                )
        bits = x.astype(np.int64)
        if self.pairs is not None:
            bits = bits & operands[1].astype(np.int64) if self.pairs == "and" else 1 - (bits ^ operands[1].astype(np.int64))
        if self.family == "generic":
            return np.asarray(bits.sum(axis=-1))
        values = {i: bits[..., i] for i in range(self.n_bits)} | {ZERO: np.zeros(bits.shape[:-1], np.int64)}
        for cell in self.cells:
            driven = cell.kind.evaluate([values[bit] for bit in cell.inputs])
            values |= {bit: value for bit, value in zip(cell.outputs, driven, strict=True) if bit != ZERO}
        count: np.ndarray = values[ZERO]
        for i, bit in enumerate(self.result):
            count = count + (values[bit] << i)
        return count


#: Sizes that `quick_tree_luts` finds a tree for.
_ANCHORS = (16, 32, 64, 128)


@cache
def quick_tree_luts(n_bits: int, pairs: str | None, family: str) -> float:
    """LUTs of a tree within some 3%, without the search for it, which takes seconds: straight lines between a few trees."""
    if family == "generic" or n_bits <= _ANCHORS[0]:
        return PopcountTree(n_bits, pairs, family).luts
    low, high = next(((low, high) for low, high in itertools.pairwise(_ANCHORS) if n_bits <= high), _ANCHORS[-2:])
    ends = [PopcountTree(one, pairs, family).luts for one in (low, high)]
    return ends[0] + (ends[1] - ends[0]) * (n_bits - low) / (high - low)
