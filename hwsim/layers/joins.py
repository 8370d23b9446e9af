"""Layers with several inputs: Add, Sub, Mul and Concat; and ChannelPermute, which belongs with them in grouped networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from intir import Add, ChannelPermute, Concat, Graph, IntType, Mul, Node, Sub

from ..engines import join
from ..engines.permute import Permute
from ..plan import LayerPlan
from .base import Builder, Flow, Layer, MappingError, divisors, makes, plain

_OPERATIONS: dict[type, str] = {Add: "add", Sub: "sub", Mul: "mul"}


@dataclass(frozen=True, eq=False)
class ArithmeticLayer(Layer):
    """An Add, Sub or Mul of two streams; one of them may repeat along channels or along pixels.

    Parameters
    ----------
    swapped : bool
        The second input has the output's shape and the first repeats.
    repeat : str
        As `engines.join.Arithmetic` names it.
    """

    engine: ClassVar[str] = "arithmetic"
    pe_counts: ClassVar[str] = "channels"

    swapped: bool = False
    repeat: str = "none"

    def lanes_in(self, entry: LayerPlan) -> tuple[int, ...]:
        lanes = (entry.pe, 1 if self.repeat == "channels" else entry.pe)
        return lanes[::-1] if self.swapped else lanes

    def build(self, builder: Builder, entry: LayerPlan, flows: list[Flow]) -> Flow:
        operation = _OPERATIONS[type(self.nodes[0].op)]
        if self.swapped:
            flows, operation = flows[::-1], {"sub": "rsub"}.get(operation, operation)
        engine = join.Arithmetic(operation, self.positions, self.shape[-1], entry.pe, flows[0].word.type, flows[1].word.type,
                                 self.out_type, self.repeat)
        words = self.elements // entry.pe
        return builder.block("arithmetic", engine, flows, words, words // engine.schedule.words_out)


@makes("Add", "Sub", "Mul")
def arithmetic(graph: Graph, node: Node, x_types: tuple[IntType, ...]) -> Layer | None:
    """An operation on two streams, if their shapes allow it."""
    shape = graph.values[node.output].shape
    for swapped in (False, True):
        first, second = (graph.values[one].shape for one in (node.inputs[::-1] if swapped else node.inputs))
        lead = len(shape) - len(second)
        if first != shape:
            continue
        if second == shape:
            return ArithmeticLayer(graph, (node,), x_types)
        if second == (*shape[:-1], 1):
            return ArithmeticLayer(graph, (node,), x_types, swapped, "channels")
        if second[-1] == shape[-1] and math.prod(second) == shape[-1] and lead >= 0:
            return ArithmeticLayer(graph, (node,), x_types, swapped, "pixels")
    shapes = " and ".join(str(graph.values[one].shape) for one in node.inputs)
    raise MappingError(f"node '{node.name}' ({node.op.kind}) joins tensors of shapes {shapes}; hardware repeats one of them along "
                       "all channels or along all positions only")


@dataclass(frozen=True, eq=False)
class ConcatLayer(Layer):
    """A Concat along any axis."""

    engine: ClassVar[str] = "concat"
    pe_counts: ClassVar[str] = "channels"

    @property
    def axis(self) -> int:
        """Counted from the first after the batch."""
        op = self.nodes[0].op
        assert isinstance(op, Concat)  # `concat` makes no others
        return op.axis % len(self.shape)

    @property
    def sizes(self) -> list[tuple[int, ...]]:
        """Shapes of the inputs."""
        return [self.graph.values[value].shape for value in self.sources]

    @property
    def out_type(self) -> IntType:
        kind = self.x_types[0]
        return kind if all(one == kind for one in self.x_types) else plain(self.graph.values[self.value].type)

    def pe_choices(self) -> list[int]:
        return divisors(math.gcd(*(shape[-1] for shape in self.sizes)))

    def build(self, builder: Builder, entry: LayerPlan, flows: list[Flow]) -> Flow:
        counts = tuple(math.prod(shape[self.axis:]) // entry.pe for shape in self.sizes)
        engine = join.Concat(entry.pe, counts, tuple(flow.word.type for flow in flows), self.out_type)
        return builder.block("concat", engine, flows, self.elements // entry.pe, math.prod(self.shape[:self.axis]))


@makes("Concat")
def concat(graph: Graph, node: Node, x_types: tuple[IntType, ...]) -> Layer | None:
    """A concatenation."""
    return ConcatLayer(graph, (node,), x_types)


@dataclass(frozen=True, eq=False)
class PermuteLayer(Layer):
    """A ChannelPermute."""

    engine: ClassVar[str] = "permute"
    pe_counts: ClassVar[str] = "channels"

    @property
    def out_type(self) -> IntType:
        return self.x_types[0]

    def build(self, builder: Builder, entry: LayerPlan, flows: list[Flow]) -> Flow:
        op = self.nodes[0].op
        assert isinstance(op, ChannelPermute)  # `permute` makes no others
        engine = Permute(entry.pe, flows[0].word.type, tuple(int(channel) for channel in op.order))
        return builder.block("permute", engine, flows, self.elements // entry.pe, self.positions)


@makes("ChannelPermute")
def permute(graph: Graph, node: Node, x_types: tuple[IntType, ...]) -> Layer | None:
    """A permutation of channels."""
    return PermuteLayer(graph, (node,), x_types)
