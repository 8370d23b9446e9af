"""Accumulator widths: what the weights prove beside the rule of thumb."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .graph import Graph
from .ops import Conv2d, ConvTranspose2d, L1Conv2d, L1MatMul, MatMul
from .types import IntType


@dataclass(frozen=True)
class WidthRow:
    """One product node.

    Parameters
    ----------
    node, op : str
    terms : int
        K: how many products one output sums.
    activation_bits, weight_bits : int
        Bits of the operands' types, as `IntType.bits` counts them: one for binary.
    proven_bits : int
        Bits of the least type that no input can make the accumulator leave; binary products count in steps of two.
    rule_bits : int
        ``2 n + ceil(log2 K)`` with n the wider operand's bits.
    accumulators : int
        Outputs of the node per frame.
    """

    node: str
    op: str
    terms: int
    activation_bits: int
    weight_bits: int
    proven_bits: int
    rule_bits: int
    accumulators: int

    @property
    def saved_bits(self) -> int:
        """Bits that the proof saves per accumulator."""
        return self.rule_bits - self.proven_bits


def width_report(graph: Graph) -> list[WidthRow]:
    """One row for every `MatMul`, `Conv2d`, `ConvTranspose2d`, `L1MatMul` and `L1Conv2d`, in order."""
    rows = []
    for node in graph.nodes:
        op = node.op
        if not isinstance(op, (MatMul, Conv2d, ConvTranspose2d, L1MatMul, L1Conv2d)):
            continue
        terms = op.weights.size // op.weights.shape[-1]
        levels = IntType.of(op.weights)
        weight = levels.bits if levels.lo == -levels.hi else IntType(levels.lo, levels.hi).bits  # binary and odd levels are coded
        activation = graph.ranges[node.inputs[0]].type.bits
        rows.append(WidthRow(node.name, op.kind, terms, activation, weight, graph.ranges[node.output].type.bits,
                             2 * max(activation, weight) + math.ceil(math.log2(terms)), graph.values[node.output].elements))
    return rows
