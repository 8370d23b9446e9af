"""The cells of a compressor tree: what each reads, drives and costs.

Two styles of cell do the work:

- a **table** cell turns up to six LUT inputs into their binary count, one LUT an output bit (three
  pairs into two bits; six bits into three);
- a **chain** cell is an adder on the carry chain whose LUTs are not wasted on ``a ^ b``: column *i* adds one
  ready *row* bit, which drives the carry multiplexer, and one *table* bit, a function of up to five more
  inputs that the same LUT computes on its way to ``row ^ table``. Two pairs, three bits of weight 1 (row,
  table input, carry in) and one bit of weight 2 leave as three bits for two LUTs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ZERO = -1
"""Bit id of the constant 0 (an empty place in a chain's row, or a count bit that can never be 1)."""


class Group(NamedTuple):
    """Inputs that one set of LUTs counts together: the LUT of every output bit sees all of them.

    Members
    -------
    pairs: pairs of weight 1 (XNOR or AND, which the whole tree has in common), two LUT inputs each.
    ones: bits of weight 1.
    twos: bits of weight 2.
    """

    pairs: int = 0
    ones: int = 0
    twos: int = 0

    @property
    def slots(self) -> int:
        """LUT inputs taken."""
        return 2 * self.pairs + self.ones + self.twos

    @property
    def n_inputs(self) -> int:
        """Pairs and bits."""
        return self.pairs + self.ones + self.twos

    @property
    def span(self) -> int:
        """Columns of the binary count, at least one (an empty group is a column that only passes a carry)."""
        return max(1, (self.pairs + self.ones + 2 * self.twos).bit_length())

    @property
    def code(self) -> str:
        """The group in a module name: p pairs, b ones, d twos, z nothing."""
        return (
            "".join(f"{tag}{n}" for tag, n in (("p", self.pairs), ("b", self.ones), ("d", self.twos)) if n)
            or "z"
        )

    @property
    def offsets(self) -> tuple[int, ...]:
        """Column of each input, relative to the group's lowest column."""
        return (0,) * (self.pairs + self.ones) + (1,) * self.twos


class CellKind(NamedTuple):
    """The shape of one cell. Equal kinds become instances of one Verilog module.

    Inputs are ordered: the carry in (chains that have one), the row from its lowest column up, then each
    group's pairs, ones and twos. Outputs are the binary sum, lowest column first.

    Members
    -------
    groups: one group for a table cell; for a chain, groups that tile its columns without a gap.
    row: number of row bits of a chain, from its lowest column up; 0 marks a table cell.
    carry_in: the chain takes one more bit of weight 1 as its carry in.
    """

    groups: tuple[Group, ...]
    row: int = 0
    carry_in: bool = False

    @property
    def is_chain(self) -> bool:
        """Whether the cell adds to a row on the carry chain."""
        return self.row > 0

    @property
    def columns(self) -> int:
        """Columns that the groups cover."""
        return sum(group.span for group in self.groups)

    @property
    def n_outputs(self) -> int:
        """Sum bits."""
        return max(self.columns, self.row) + 1 if self.is_chain else self.columns

    @property
    def name(self) -> str:
        """Verilog module name, without the prefix of the family."""
        codes = "_".join(group.code for group in self.groups)
        return f"add{self.row}{'c' if self.carry_in else ''}_{codes}" if self.is_chain else f"count_{codes}"

    @property
    def offsets(self) -> tuple[int, ...]:
        """Column of each input relative to the cell's lowest, in input order."""
        result = [0] * self.carry_in + list(range(self.row))
        base = 0
        for group in self.groups:
            result += [base + offset for offset in group.offsets]
            base += group.span
        return tuple(result)

    def is_pair(self) -> tuple[bool, ...]:
        """For each input, whether it is a pair."""
        result = [False] * (self.carry_in + self.row)
        for group in self.groups:
            result += [True] * group.pairs + [False] * (group.ones + group.twos)
        return tuple(result)

    def evaluate(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Walk the cell as the hardware does: group counts side by side, then row + counts + carry in."""
        at = self.carry_in + self.row
        total = np.zeros_like(inputs[0], dtype=np.int64)
        base = 0
        for group in self.groups:
            members = inputs[at : at + group.n_inputs]
            count = sum(
                (bit.astype(np.int64) << offset for bit, offset in zip(members, group.offsets, strict=True)),
                start=np.zeros_like(total),
            )
            total += (count & ((1 << group.span) - 1)) << base
            at += group.n_inputs
            base += group.span
        for column in range(self.row):
            total += inputs[self.carry_in + column].astype(np.int64) << column
        if self.carry_in:
            total += inputs[0]
        return [(total >> bit) & 1 for bit in range(self.n_outputs)]

    def luts(self, family: str) -> int:
        """LUTs as Yosys counts them: LUT6 for ``xilinx``; LUT4 plus two a CCU2C for ``ecp5``."""
        if not self.is_chain:
            return self.columns
        if family == "ecp5":
            return 2 * ((self.n_outputs + 1) // 2) + sum(group.pairs for group in self.groups)
        count = base = 0
        for group in self.groups:
            for offset in range(group.span):
                # A column whose sum input is a bare bit needs no LUT in the netlist.
                count += group.n_inputs > (0 if base + offset < self.row else 1)
            base += group.span
        return count


class Cell(NamedTuple):
    """One placed cell: its kind, the column of its lowest bit, and the bit ids it reads and drives.

    Input ids below ``n_bits`` are the tree's own inputs; outputs that can never be 1 have the id ``ZERO``.
    """

    kind: CellKind
    column: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
