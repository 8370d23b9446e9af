"""Layers that change each element on its own: thresholds, requantization, scaling, clips and tables."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, cast

import numpy as np

from intir import Clip, Graph, IntType, Lookup, Node, Op, Requant, ScaleChannels, Threshold

from ..engines import elementwise as engines
from ..engines.base import Engine
from ..engines.thresholding import Thresholding
from ..plan import LayerPlan
from .base import Builder, Flow, Int64, Layer, divisors, makes, span
from .product import clamped

AnyOp = TypeVar("AnyOp", bound=Op)


@dataclass(frozen=True, eq=False)
class ElementwiseLayer(Layer, Generic[AnyOp]):
    """One node, one block: `pe` elements in, `pe` elements out in every cycle."""

    pe_counts: ClassVar[str] = "elements"

    @property
    def op(self) -> AnyOp:
        """The operation."""
        return cast(AnyOp, self.nodes[0].op)  # `layer_of` makes no others

    @property
    @abstractmethod
    def rows(self) -> int:
        """Channels that have constants of their own; 1 where they are common."""

    @property
    def channels(self) -> int:
        """Elements per round of the block: where constants are common, words may cross channels."""
        return self.elements if self.rows == 1 else self.shape[-1]

    def pe_choices(self) -> list[int]:
        return divisors(self.channels)

    @abstractmethod
    def unit(self, entry: LayerPlan, x_type: IntType) -> tuple[Engine, dict[str, Int64]]:
        """The block and its constants."""

    def luts(self, entry: LayerPlan, family: str) -> int:
        return self.unit(entry, self.x_types[0])[0].resources(family).luts

    def build(self, builder: Builder, entry: LayerPlan, flows: list[Flow]) -> Flow:
        engine, constants = self.unit(entry, flows[0].word.type)
        return builder.block(self.engine, engine, flows, self.elements // entry.pe, self.elements // self.channels, **constants)


class ThresholdLayer(ElementwiseLayer[Threshold]):
    """A Threshold that no product takes along."""

    engine: ClassVar[str] = "thresholding"

    @property
    def rows(self) -> int:
        return len(self.op.thresholds)

    @property
    def out_type(self) -> IntType:
        return self.op.out

    def unit(self, entry: LayerPlan, x_type: IntType) -> tuple[Engine, dict[str, Int64]]:
        bounds = self.range(self.sources[0])
        common = self.rows == 1
        lo, hi = (bounds.lo.min(keepdims=True), bounds.hi.max(keepdims=True)) if common else (bounds.lo, bounds.hi)
        rows = clamped(self.op, lo, hi)
        kind = IntType(min(x_type.lo, int(rows.min())), max(x_type.hi, int(rows.max())))
        return Thresholding(self.channels, entry.pe, x_type, self.out_type, rows.shape[1], common, kind), {"thresholds": rows}


class RequantLayer(ElementwiseLayer[Requant]):
    """A Requant."""

    engine: ClassVar[str] = "requant"

    @property
    def rows(self) -> int:
        return _rows(self.op.multiplier, self.op.shift, self.op.zero_point)

    @property
    def out_type(self) -> IntType:
        return self.op.out

    def unit(self, entry: LayerPlan, x_type: IntType) -> tuple[Engine, dict[str, Int64]]:
        op = self.op
        constants = {"multiplier": op.multiplier, "shift": op.shift, "zero_point": op.zero_point}
        engine = engines.Requant(self.channels, entry.pe, x_type, self.out_type, span(op.multiplier), span(op.shift),
                                 span(op.zero_point), op.rounding)
        return engine, _spread(constants, self.rows)


class ScaleLayer(ElementwiseLayer[ScaleChannels]):
    """A ScaleChannels."""

    engine: ClassVar[str] = "scale"

    @property
    def rows(self) -> int:
        return _rows(self.op.multiplier, self.op.offset)

    def unit(self, entry: LayerPlan, x_type: IntType) -> tuple[Engine, dict[str, Int64]]:
        constants = {"multiplier": self.op.multiplier, "offset": self.op.offset}
        engine = engines.Scale(self.channels, entry.pe, x_type, self.out_type, span(self.op.multiplier),
                               span(self.op.offset))
        return engine, _spread(constants, self.rows)


class ClipLayer(ElementwiseLayer[Clip]):
    """A Clip."""

    engine: ClassVar[str] = "clip"

    @property
    def rows(self) -> int:
        return 1

    def unit(self, entry: LayerPlan, x_type: IntType) -> tuple[Engine, dict[str, Int64]]:
        return engines.Clip(self.channels, entry.pe, x_type, self.out_type, self.op.lo, self.op.hi), {}


class LookupLayer(ElementwiseLayer[Lookup]):
    """A Lookup."""

    engine: ClassVar[str] = "lookup"

    @property
    def rows(self) -> int:
        return len(self.op.table)

    def unit(self, entry: LayerPlan, x_type: IntType) -> tuple[Engine, dict[str, Int64]]:
        op = self.op
        values = np.arange(x_type.lo, x_type.hi + 1, x_type.step)
        index = np.clip((values - op.domain.lo) // op.domain.step, 0, op.domain.levels - 1)  # values outside never come
        table = np.clip(op.table[:, index], self.out_type.lo, self.out_type.hi)
        return engines.Lookup(self.channels, entry.pe, x_type, self.out_type, self.rows == 1), {"table": table}


def _rows(*columns: Int64) -> int:
    return max(len(column) for column in columns)


def _spread(constants: dict[str, Int64], rows: int) -> dict[str, Int64]:
    return {name: np.broadcast_to(values, (rows,)) for name, values in constants.items()}


_LAYERS: Sequence[tuple[type[Op], type[ElementwiseLayer[Any]]]] = (
    (Threshold, ThresholdLayer), (Requant, RequantLayer), (ScaleChannels, ScaleLayer), (Clip, ClipLayer), (Lookup, LookupLayer),
)


@makes("Threshold", "Requant", "ScaleChannels", "Clip", "Lookup")
def layer_of(graph: Graph, node: Node, x_types: tuple[IntType, ...]) -> Layer | None:
    """The element-wise layer of a node."""
    kind = next(layer for op, layer in _LAYERS if isinstance(node.op, op))
    return kind(graph, (node,), x_types)
