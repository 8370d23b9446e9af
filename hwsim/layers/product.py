"""`mvu` layers: matrix products and convolutions, with the thresholds behind them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from intir import Conv2d, ConvTranspose2d, Graph, IntType, L1Conv2d, L1MatMul, MatMul, Node, Threshold

from ..engines.mvu import ORDERS, Mvu
from ..engines.unrolled import quick_luts, unrolled
from ..engines.vvu import Vvu
from ..engines.window import Window
from ..plan import LayerPlan
from .base import Builder, Flow, Int64, Layer, MappingError, divisors, makes, plain, sole_reader

Product = MatMul | Conv2d | ConvTranspose2d | L1MatMul | L1Conv2d


@dataclass(frozen=True, eq=False)
class ProductLayer(Layer):
    """A MatMul or a convolution of all channels, and the Threshold that alone reads it."""

    engine: ClassVar[str] = "mvu"
    has_simd: ClassVar[bool] = True

    @property
    def op(self) -> Product:
        """The product."""
        op = self.nodes[0].op
        assert isinstance(op, Product)  # `product` makes no others
        return op

    @property
    def is_distance(self) -> bool:
        """Whether distances are summed instead of products."""
        return isinstance(self.op, (L1MatMul, L1Conv2d))

    @property
    def threshold(self) -> Threshold | None:
        """The thresholds, if it has any."""
        op = self.nodes[-1].op
        return op if isinstance(op, Threshold) else None

    @property
    def weights(self) -> Int64:
        """(K, N); K runs over rows, columns and channels of the window."""
        return self.op.weights.reshape(-1, self.outputs)

    @property
    def inputs(self) -> int:
        """K."""
        return self.op.weights.size // self.outputs

    @property
    def outputs(self) -> int:
        """N."""
        return int(self.op.weights.shape[-1])

    @property
    def rounds(self) -> int:
        """Vectors per frame."""
        return self.positions

    @property
    def channels(self) -> int:
        """Of the input: what the words of its stream hold."""
        return self.shape_in[-1]

    @property
    def is_windowed(self) -> bool:
        """Whether a window unit must lay out its inputs."""
        op = self.op
        if isinstance(op, (MatMul, L1MatMul)):
            return False
        return op.weights.shape[:2] != (1, 1) or op.stride != (1, 1) or any(op.pads) or isinstance(op, ConvTranspose2d)

    @property
    def out_type(self) -> IntType:
        # Quantized elements travel in their code, sums as plain two's complement.
        return self.threshold.out if self.threshold is not None else plain(self.graph.values[self.value].type)

    def pe_choices(self) -> list[int]:
        return divisors(self.outputs)

    def simd_choices(self) -> list[int]:
        if not self.is_windowed:
            return divisors(self.inputs)
        taps = math.prod(self.op.weights.shape[:2])
        return sorted({*divisors(self.channels), *(self.channels * d for d in divisors(taps))})

    def window_lanes(self, simd: int) -> int:
        """Channels per word of the window unit."""
        return min(simd, self.channels)

    def cycles(self, entry: LayerPlan) -> int:
        assert entry.simd is not None
        product = self.rounds * (self.outputs // entry.pe) * (self.inputs // entry.simd)
        if not self.is_windowed:
            return product
        lanes = self.window_lanes(entry.simd)
        return max(product, self.rounds * self.inputs // lanes, math.prod(self.shape_in) // lanes)

    def lanes_in(self, entry: LayerPlan) -> tuple[int, ...]:
        assert entry.simd is not None
        return (self.window_lanes(entry.simd) if self.is_windowed else entry.simd,)

    def build(self, builder: Builder, entry: LayerPlan, flows: list[Flow]) -> Flow:
        flow = self.windowed(builder, entry, flows[0])
        if self.is_unrolled(entry):
            rows = None if self.threshold is None else self.threshold.thresholds
            rows = rows if rows is None else np.broadcast_to(rows, (self.outputs, rows.shape[1]))
            whole = unrolled(self.weights, flow.word.type, self.out_type, rows, builder.family)
            return builder.block(whole.kind, whole, [flow], self.positions, self.rounds)
        engine, rows = self.unit(entry, builder.family, flow.word.type)
        constants = {} if rows is None else {"thresholds": rows}
        return builder.block(self.engine, engine, [flow], self.elements // entry.pe, self.rounds, weights=self.weights, **constants)

    def is_unrolled(self, entry: LayerPlan) -> bool:
        """Whether a vector takes one cycle, so that weights are constants."""
        return (entry.pe, entry.simd) == (self.outputs, self.inputs) and not self.is_distance

    def windowed(self, builder: Builder, entry: LayerPlan, flow: Flow) -> Flow:
        """The stream of vectors that the unit takes, behind a window unit where there has to be one."""
        assert entry.simd is not None
        op = self.op
        if isinstance(op, (MatMul, L1MatMul)) or not self.is_windowed:
            return flow
        height, width, _ = self.shape_in
        size = (height, width, self.channels // flow.word.lanes, flow.word.lanes, flow.word.type)
        kernel = op.weights.shape[:2]
        if isinstance(op, ConvTranspose2d):
            window = Window.transposed(*size, kernel=kernel, stride=op.stride, dilation=op.dilation, pads=op.pads, extra=op.extra)
        else:
            window = Window.convolution(*size, kernel=kernel, stride=op.stride, dilation=op.dilation, pads=op.pads,
                                        pad_value=op.pad_value)
        flow = builder.block("window", window, [flow], self.rounds * self.inputs // flow.word.lanes, 1)
        return builder.converted(flow, entry.simd)

    @property
    def operations(self) -> int:
        return self.inputs * self.outputs * self.rounds

    def luts(self, entry: LayerPlan) -> int:
        if self.is_unrolled(entry):
            return quick_luts(self.weights, self.x_types[0])
        # The plain popcount ranks foldings as well as the planned tree, which takes seconds to find for each width.
        return self.unit(entry, "generic", self.x_types[0])[0].luts

    def unit(self, entry: LayerPlan, family: str, x_type: IntType) -> tuple[Mvu, Int64 | None]:
        """The matrix-vector unit and its thresholds, in the unit of its counter."""
        assert entry.simd is not None
        bounds = self.range(self.nodes[0].output)
        engine = Mvu(self.inputs, self.outputs, entry.pe, entry.simd, x_type, IntType.of(self.weights), bounds.type, 0, bounds.type,
                     self.out_type, family, entry.order or ORDERS[0], self.is_distance)
        return self.compared(engine)

    def compared(self, engine: Mvu) -> tuple[Mvu, Int64 | None]:
        """The unit with the thresholds behind it, if it has any."""
        bounds = self.range(self.nodes[0].output)
        if self.threshold is None:
            return engine, None
        rows = clamped(self.threshold, bounds.lo, bounds.hi)
        if engine.arithmetic == "xnor":  # sum = 2 * count - K, so sum >= T means count >= ceil((T + K) / 2)
            rows = -((-rows - self.inputs) // 2)
        counter = engine.counter_type
        kind = IntType(min(counter.lo, int(rows.min())), max(counter.hi, int(rows.max())))
        return replace(engine, thresholds=rows.shape[1], threshold_type=kind), rows


def clamped(threshold: Threshold, lo: Int64, hi: Int64) -> Int64:
    """Thresholds per channel of the bounds, moved to the least value that is always and the least that is never reached."""
    return np.clip(np.broadcast_to(threshold.thresholds, (len(lo), threshold.thresholds.shape[1])), lo[:, None], hi[:, None] + 1)


@dataclass(frozen=True, eq=False)
class DepthwiseLayer(ProductLayer):
    """A convolution of each channel on its own, and the Threshold that alone reads it."""

    engine: ClassVar[str] = "vvu"
    has_simd: ClassVar[bool] = False
    pe_counts: ClassVar[str] = "channels"

    def cycles(self, entry: LayerPlan) -> int:
        return max(self.rounds * self.inputs * self.outputs, math.prod(self.shape_in)) // entry.pe

    def lanes_in(self, entry: LayerPlan) -> tuple[int, ...]:
        return (entry.pe,)

    def windowed(self, builder: Builder, entry: LayerPlan, flow: Flow) -> Flow:
        op = self.op
        assert isinstance(op, Conv2d)  # `product` makes no others
        height, width, channels = self.shape_in
        window = Window.depthwise(height, width, channels // entry.pe, entry.pe, flow.word.type, kernel=op.weights.shape[:2],
                                  stride=op.stride, dilation=op.dilation, pads=op.pads, pad_value=op.pad_value)
        return builder.block("window", window, [flow], self.rounds * self.inputs * channels // entry.pe, 1)

    def unit(self, entry: LayerPlan, family: str, x_type: IntType) -> tuple[Mvu, Int64 | None]:
        bounds = self.range(self.nodes[0].output)
        return self.compared(Vvu(self.inputs, self.outputs, entry.pe, 1, x_type, IntType.of(self.weights), bounds.type, 0,
                                 bounds.type, self.out_type, family))


@makes("MatMul", "Conv2d", "ConvTranspose2d", "L1MatMul", "L1Conv2d")
def product(graph: Graph, node: Node, x_types: tuple[IntType, ...]) -> Layer | None:
    """A product of all channels, or of each on its own."""
    behind = sole_reader(graph, node.output, Threshold)
    nodes = (node,) if behind is None else (node, behind)
    groups, channels = getattr(node.op, "groups", 1), graph.values[node.inputs[0]].shape[-1]
    if groups == 1:
        return ProductLayer(graph, nodes, x_types)
    if isinstance(node.op, Conv2d) and groups == channels == graph.values[node.output].shape[-1]:
        return DepthwiseLayer(graph, nodes, x_types)
    raise MappingError(f"node '{node.name}' ({node.op.kind}) has {groups} groups of {channels} channels; engines run 1 group, or "
                       "as many as channels, so split it into convolutions of slices and a concatenation")
