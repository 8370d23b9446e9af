"""A product of a vector and a constant matrix as a graph of adders and counters: what it is, computes and costs.

All that travels is unsigned.  The elements of the vector come as their unsigned codes u; a difference is made with the
complement, ``~b = 2**width - 1 - b``, which a LUT takes in without cost.  What is added in excess on the way is a constant,
and constants are collected in the offset of each output, where a threshold swallows them.

Values are numbered: the inputs first, then the nodes in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .popcount import PopcountTree

Int64 = NDArray[np.int64]

#: A counter of more bits takes as long as two adders.
SHORT_COUNT = 6


def width(bounds: tuple[int, int]) -> int:
    """Bits of values between two bounds, at least 1."""
    return max(1, bounds[1].bit_length())


class Add(NamedTuple):
    """``(a << a_shift) + ((~b if flip else b) << b_shift)``; one of the shifts is 0."""

    a: int
    b: int
    a_shift: int
    b_shift: int
    flip: bool

    @property
    def operands(self) -> tuple[int, ...]:
        """The values that it reads."""
        return self.a, self.b


class Count(NamedTuple):
    """How many of some one-bit values are 1 (or 0, where flipped)."""

    bits: tuple[int, ...]
    flips: tuple[bool, ...]

    @property
    def operands(self) -> tuple[int, ...]:
        """The values that it reads."""
        return self.bits

    def tree(self, family: str) -> PopcountTree:
        """Its counter."""
        return PopcountTree(len(self.bits), pairs=None, family=family)


Node = Add | Count


class Output(NamedTuple):
    """``offset + (value << shift)``, or less the value where `negative`; the offset alone where `value` is None."""

    value: int | None
    shift: int
    negative: bool
    offset: int


@dataclass(frozen=True)
class AdderGraph:
    """A constant matrix-vector product.

    Parameters
    ----------
    bounds : (int, int) per input
        Least and greatest code; at least 0.
    nodes : tuple of Add or Count
        Each reads values in front of it.
    outputs : tuple of Output
    family : str
        FPGA family that the counters' cells are made for.
    """

    bounds: tuple[tuple[int, int], ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]
    family: str = "xilinx"

    @property
    def inputs(self) -> int:
        """Elements of the vector."""
        return len(self.bounds)

    @cached_property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """Least and greatest of every value, as if the values that a node reads were independent."""
        found = list(self.bounds)
        for node in self.nodes:
            found.append(node_range(node, found))
        return tuple(found)

    def bits(self, value: int) -> int:
        """Width of a value."""
        return width(self.ranges[value])

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """Adders on the longest way to each value."""
        found = [0] * self.inputs
        for node in self.nodes:
            found.append(node_level(node, found))
        return tuple(found)

    @cached_property
    def node_luts(self) -> int:
        """LUTs of all nodes, as Yosys counts them."""
        return sum(node_luts(node, self.ranges, self.family) for node in self.nodes)

    @cached_property
    def adders(self) -> int:
        """Number of two-input adders."""
        return sum(isinstance(node, Add) for node in self.nodes)

    def evaluate(self, codes: Int64) -> Int64:
        """The outputs for codes (..., K): int64 (..., N).  The executable form of the graph."""
        values: list[Int64] = list(np.moveaxis(codes.astype(np.int64), -1, 0))
        for number, node in enumerate(self.nodes, self.inputs):
            if isinstance(node, Count):
                total: Int64 = sum((1 - values[bit] if flip else values[bit] for bit, flip in zip(*node, strict=True)),
                                   start=np.zeros(codes.shape[:-1], np.int64))
            else:
                second = values[node.b] ^ ((1 << self.bits(node.b)) - 1) if node.flip else values[node.b]
                total = (values[node.a] << node.a_shift) + (second << node.b_shift)
            lo, hi = self.ranges[number]
            assert total.size == 0 or (lo <= total.min() and total.max() <= hi)
            values.append(total)
        results = [np.full(codes.shape[:-1], out.offset) if out.value is None
                   else out.offset + (-1 if out.negative else 1) * (values[out.value] << out.shift) for out in self.outputs]
        return np.stack(results, axis=-1).astype(np.int64)


def node_range(node: Node, ranges: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Least and greatest of a node, from those of the values before it."""
    if isinstance(node, Count):
        return 0, len(node.bits)
    (a_lo, a_hi), (b_lo, b_hi) = ranges[node.a], ranges[node.b]
    if node.flip:
        mask = (1 << width((b_lo, b_hi))) - 1
        b_lo, b_hi = mask - b_hi, mask - b_lo
    return (a_lo << node.a_shift) + (b_lo << node.b_shift), (a_hi << node.a_shift) + (b_hi << node.b_shift)


def node_level(node: Node, levels: Sequence[int]) -> int:
    """The level of a node, from those of the values before it."""
    if isinstance(node, Count):
        return 1 if len(node.bits) <= SHORT_COUNT else 2
    return 1 + max(levels[node.a], levels[node.b])


def add_luts(a_bits: int, b_bits: int, a_shift: int, b_shift: int, flip: bool) -> int:
    """LUTs of an adder: one for each bit at which both operands have one; bits of one operand pass, or are inverted.

    The operand with the lower top bit drives the carry multiplexers directly.  If that is the one that is flipped, it needs
    an inverter at every bit.
    """
    overlap = min(a_bits + a_shift, b_bits + b_shift) - max(a_shift, b_shift)
    both = max(overlap, 0)
    inverted = b_bits if b_bits + b_shift < a_bits + a_shift else b_bits - both
    half_adder = both == 1 and a_bits + a_shift == b_bits + b_shift
    return both + half_adder + inverted * flip


def node_luts(node: Node, ranges: Sequence[tuple[int, int]], family: str) -> int:
    """LUTs of a node, from the ranges of the values that it reads."""
    if isinstance(node, Count):
        return node.tree(family).luts
    a_bits, b_bits = (width(ranges[value]) for value in node.operands)
    return add_luts(a_bits, b_bits, node.a_shift, node.b_shift, node.flip)
