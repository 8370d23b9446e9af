"""Layers that decide: argmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intir import Graph, IntType, Node

from ..engines.argmax import Argmax
from ..plan import LayerPlan
from .base import Builder, Flow, Layer, divisors, makes, plain


@dataclass(frozen=True, eq=False)
class ArgmaxLayer(Layer):
    """An ArgMax over the channels of each position."""

    engine: ClassVar[str] = "argmax"
    pe_counts: ClassVar[str] = "channels"

    @property
    def channels(self) -> int:
        """Compared."""
        return self.shape_in[-1]

    @property
    def out_type(self) -> IntType:
        return plain(self.graph.values[self.value].type)

    def pe_choices(self) -> list[int]:
        return divisors(self.channels)

    def cycles(self, entry: LayerPlan) -> int:
        return self.elements * (self.channels // entry.pe)

    def lanes_in(self, entry: LayerPlan) -> tuple[int, ...]:
        return (entry.pe,)

    def build(self, builder: Builder, entry: LayerPlan, flows: list[Flow]) -> Flow:
        engine = Argmax(self.channels, entry.pe, flows[0].word.type, self.out_type)
        return builder.block("argmax", engine, flows, self.elements, rounds=self.elements)


@makes("ArgMax")
def argmax(graph: Graph, node: Node, x_types: tuple[IntType, ...]) -> Layer | None:
    """An argmax unit."""
    return ArgmaxLayer(graph, (node,), x_types)
