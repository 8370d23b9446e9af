"""Layers that decide: argmax and top-k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intir import Graph, IntType, Node, TopK

from ..engines.argmax import Argmax
from ..engines.topk import TopK as Sorter
from ..plan import LayerPlan
from .base import Builder, Flow, Layer, divisors, makes


@dataclass(frozen=True, eq=False)
class ArgmaxLayer(Layer):
    """An ArgMax over the channels of each position."""

    engine: ClassVar[str] = "argmax"
    pe_counts: ClassVar[str] = "channels"

    @property
    def channels(self) -> int:
        """Compared."""
        return self.shape_in[-1]

    def pe_choices(self) -> list[int]:
        return divisors(self.channels)

    def cycles(self, entry: LayerPlan) -> int:
        return self.elements * (self.channels // entry.pe)

    def build(self, builder: Builder, entry: LayerPlan, flows: list[Flow]) -> Flow:
        engine = Argmax(self.channels, entry.pe, flows[0].word.type, self.out_type)
        return builder.block("argmax", engine, flows, self.elements, self.elements)


@makes("ArgMax")
def argmax(graph: Graph, node: Node, x_types: tuple[IntType, ...]) -> Layer | None:
    """An argmax unit."""
    return ArgmaxLayer(graph, (node,), x_types)


@dataclass(frozen=True, eq=False)
class TopkLayer(Layer):
    """A TopK over the channels of each position: one channel at a time in, all k places out."""

    engine: ClassVar[str] = "topk"
    pe_counts: ClassVar[str] = "places"

    def pe_choices(self) -> list[int]:
        return [self.shape[-1]]

    def cycles(self, entry: LayerPlan) -> int:
        return self.positions * self.shape_in[-1]

    def lanes_in(self, entry: LayerPlan) -> tuple[int, ...]:
        return (1,)

    def build(self, builder: Builder, entry: LayerPlan, flows: list[Flow]) -> Flow:
        engine = Sorter(self.shape_in[-1], self.shape[-1], flows[0].word.type, self.out_type)
        return builder.block("topk", engine, flows, self.positions, self.positions)


@makes("TopK")
def topk(graph: Graph, node: Node, x_types: tuple[IntType, ...]) -> Layer | None:
    """A sorter of the best k."""
    assert isinstance(node.op, TopK)
    return TopkLayer(graph, (node,), x_types)
