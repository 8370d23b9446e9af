"""Layers that change each element on its own: thresholds so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intir import Graph, IntType, Node, Threshold

from ..engines.thresholding import Thresholding
from ..plan import LayerPlan
from .base import Builder, Flow, Layer, divisors, makes
from .product import clamped


@dataclass(frozen=True, eq=False)
class ThresholdLayer(Layer):
    """A Threshold that no product takes along."""

    engine: ClassVar[str] = "thresholding"
    pe_counts: ClassVar[str] = "elements"

    @property
    def threshold(self) -> Threshold:
        """The operation."""
        op = self.nodes[0].op
        assert isinstance(op, Threshold)  # `threshold` makes no others
        return op

    @property
    def is_common(self) -> bool:
        """Whether one row of thresholds serves all channels, so that words may cross them."""
        return len(self.threshold.thresholds) == 1

    @property
    def out_type(self) -> IntType:
        return self.threshold.out

    def pe_choices(self) -> list[int]:
        return divisors(self.elements if self.is_common else self.shape[-1])

    def cycles(self, entry: LayerPlan) -> int:
        return self.elements // entry.pe

    def lanes_in(self, entry: LayerPlan) -> tuple[int, ...]:
        return (entry.pe,)

    def build(self, builder: Builder, entry: LayerPlan, flows: list[Flow]) -> Flow:
        bounds, x_type = self.range(self.sources[0]), flows[0].word.type
        lo, hi = (bounds.lo.min(keepdims=True), bounds.hi.max(keepdims=True)) if self.is_common else (bounds.lo, bounds.hi)
        rows = clamped(self.threshold, lo, hi)
        kind = IntType(min(x_type.lo, int(rows.min())), max(x_type.hi, int(rows.max())))
        channels = self.elements if self.is_common else self.shape[-1]
        engine = Thresholding(channels, entry.pe, x_type, self.out_type, rows.shape[1], self.is_common, kind)
        return builder.block("thresholding", engine, flows, self.elements // entry.pe, rounds=self.elements // channels,
                             thresholds=rows)


@makes("Threshold")
def threshold(graph: Graph, node: Node, x_types: tuple[IntType, ...]) -> Layer | None:
    """A thresholding unit."""
    return ThresholdLayer(graph, (node,), x_types)
