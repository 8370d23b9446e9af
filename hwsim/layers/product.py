"""`mvu` layers: matrix products and convolutions, with the thresholds behind them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from intir import Conv2d, ConvTranspose2d, Graph, IntType, L1Conv2d, L1MatMul, MatMul, Node, Threshold

from ..engines.memories import Resources
from ..engines.mvu import ORDERS, Mvu
from ..engines.unrolled import quick_luts, unrolled
from ..engines.vvu import Vvu
from ..plan import CHOICES, LayerPlan, PlanError
from .base import Builder, Flow, Int64, Layer, divisors, makes, nearest, plain, sole_reader
from .reload import check_reloadable, for_any_weights
from .taps import Taps

#: More than twice the LUTs of the largest device; the search for the adders of a larger layer takes minutes, for nothing.
MOST_UNROLLED_LUTS = 500_000

Product = MatMul | Conv2d | ConvTranspose2d | L1MatMul | L1Conv2d


@dataclass(frozen=True, eq=False)
class ProductLayer(Layer):
    """A MatMul or a convolution of all channels, and the Threshold that alone reads it."""

    engine: ClassVar[str] = "mvu"
    has_simd: ClassVar[bool] = True
    options: ClassVar[frozenset[str]] = frozenset({*CHOICES, "reloadable"}) - {"weights"}

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

    @cached_property
    def weight_type(self) -> IntType:
        """The least type that holds every weight."""
        return IntType.of(self.weights)

    @property
    def inputs(self) -> int:
        """K."""
        return self.op.weights.size // self.outputs

    @property
    def outputs(self) -> int:
        """N."""
        return int(self.op.weights.shape[-1])

    @property
    def groups(self) -> int:
        """Of channels and outputs; each output sums over the channels of its group."""
        return int(getattr(self.op, "groups", 1))

    @property
    def counted(self) -> str:
        return self.pe_counts if self.groups == 1 else f"{self.pe_counts} of a group"

    @property
    def rounds(self) -> int:
        """Vectors per frame, over all groups."""
        return self.positions

    @property
    def channels(self) -> int:
        """Of the input: what the words of its stream hold."""
        return self.shape_in[-1]

    @cached_property
    def taps(self) -> Taps | None:
        """Its windows, if a unit must lay them out."""
        op = self.op
        if isinstance(op, (MatMul, L1MatMul)):
            return None
        if op.weights.shape[:2] == (1, 1) and op.stride == (1, 1) and not any(op.pads) and not isinstance(op, ConvTranspose2d):
            return None
        height, width, channels = self.shape_in
        return Taps(op, (height, width, channels), self.positions, self.x_types[0])

    @property
    def has_windows(self) -> bool:
        return self.taps is not None

    @property
    def out_type(self) -> IntType:
        # Quantized elements travel in their code, sums as plain two's complement.
        return self.threshold.out if self.threshold is not None else plain(self.graph.values[self.value].type)

    def pe_choices(self) -> list[int]:
        return divisors(self.outputs // self.groups)

    def simd_choices(self) -> list[int]:
        if self.taps is None:
            return divisors(self.inputs)
        found = divisors(self.channels // self.groups)
        return sorted({*found, *(self.taps.count * d for d in found if self.taps.has_lines)})

    def check(self, entry: LayerPlan) -> None:
        if self.taps is not None and self.has_simd and entry.simd not in [None, *self.simd_choices()]:
            super().check(replace(entry, simd=1))
            raise PlanError(f"layer '{self.name}': its windows cannot give simd = {entry.simd} inputs at a time; the nearest that "
                            f"they can is {' or '.join(nearest(entry.simd or 1, self.simd_choices()))}")
        super().check(entry)
        if entry.reloadable:
            check_reloadable(self, entry)
        if self.is_unrolled(entry) and (luts := quick_luts(self.weights, self.x_types[0])) > MOST_UNROLLED_LUTS:
            key, choices = ("pe", self.pe_choices()) if self.outputs > 1 else ("simd", self.simd_choices())
            raise PlanError(f"layer '{self.name}': pe = {entry.pe}, simd = {entry.simd} builds all {self.weights.size:,} weights "
                            f"into logic, about {luts:,} LUTs, more than any device has; {key} = {choices[-2]} keeps them in "
                            "memories")

    def lanes(self, entry: LayerPlan) -> int:
        """Channels that it takes at a time."""
        assert entry.simd is not None
        return entry.simd // self.taps.count if self.taps is not None and self.is_lined(entry) else entry.simd

    def is_lined(self, entry: LayerPlan) -> bool:
        assert entry.simd is not None
        return self.taps is not None and (self.channels // self.groups) % entry.simd != 0

    def cycles(self, entry: LayerPlan) -> int:
        assert entry.simd is not None
        folds, words = self.outputs // self.groups // entry.pe, self.inputs // entry.simd
        product = self.rounds * self.groups * folds * words
        if self.taps is None:
            return product
        if not self.is_lined(entry):
            return max(product, self.taps.window_cycles(self.lanes(entry)))
        inner, outer = (folds, folds) if entry.order == "inputs" else (1, 1 + (folds - 1) * words)
        return self.taps.line(self.lanes(entry)).paced_cycles(self.groups, inner, outer)

    def lanes_in(self, entry: LayerPlan) -> tuple[int, ...]:
        return (self.lanes(entry),)

    def build(self, builder: Builder, entry: LayerPlan, flows: list[Flow]) -> Flow:
        flow = flows[0] if self.taps is None else self.windowed(self.taps, builder, entry, flows[0])
        if self.is_unrolled(entry):
            rows = None if self.threshold is None else self.threshold.thresholds
            rows = rows if rows is None else np.broadcast_to(rows, (self.outputs, rows.shape[1]))
            whole = unrolled(self.ordered_weights(entry), flow.word.type, self.out_type, rows, builder.family)
            return builder.block(whole.kind, whole, [flow], self.positions, self.rounds)
        engine, rows = self.unit(entry, builder.family, flow.word.type)
        constants = {} if rows is None else {"thresholds": rows}
        return builder.block(self.engine, engine, [flow], self.elements // entry.pe, self.rounds,
                             weights=self.ordered_weights(entry), **constants)

    def is_unrolled(self, entry: LayerPlan) -> bool:
        """Whether a vector takes one cycle, so that weights are constants."""
        return (entry.pe, entry.simd) == (self.outputs, self.inputs) and not self.is_distance

    def windowed(self, taps: Taps, builder: Builder, entry: LayerPlan, flow: Flow) -> Flow:
        """The stream of vectors that the unit takes."""
        return taps.laid_out(builder, flow, None if self.is_lined(entry) else self.groups, entry.window_memory)

    def ordered_weights(self, entry: LayerPlan) -> Int64:
        """(K, N); K in the order of the unit's input: of a line buffer (channel word, row, column, channel)."""
        if not self.is_lined(entry):
            return self.weights
        weights = self.op.weights
        if isinstance(self.op, ConvTranspose2d):  # its line buffer gives the last tap first
            weights = weights[::-1, ::-1]
        parted = weights.reshape(*weights.shape[:2], -1, self.lanes(entry), self.outputs)
        return parted.transpose(2, 0, 1, 3, 4).reshape(-1, self.outputs)

    @property
    def operations(self) -> int:
        return self.inputs * self.outputs * self.rounds

    def luts(self, entry: LayerPlan, family: str) -> int:
        return self.resources(entry, family).luts

    def resources(self, entry: LayerPlan, family: str) -> Resources:
        if self.is_unrolled(entry):
            return Resources(quick_luts(self.weights, self.x_types[0]))
        # The plain popcount ranks foldings as well as the planned tree, which takes seconds to find for each width.
        unit = self.unit(entry, "generic", self.x_types[0])[0].resources(family)
        return unit if self.taps is None else unit + Resources(self.taps.luts(self.lanes(entry), self.is_lined(entry), family))

    def unit(self, entry: LayerPlan, family: str, x_type: IntType) -> tuple[Mvu, Int64 | None]:
        """The matrix-vector unit and its thresholds, in the unit of its counter."""
        assert entry.simd is not None
        sums = self.range(self.nodes[0].output).type
        engine = Mvu(self.inputs, self.outputs, entry.pe, entry.simd, x_type, self.weight_type, sums, 0, sums,
                     self.out_type, family, entry.order or ORDERS[0], self.is_distance, self.groups, entry.multiplier or "auto",
                     entry.weight_memory or "auto")
        return self.compared(for_any_weights(engine, self.threshold is None) if entry.reloadable else engine)

    def compared(self, engine: Mvu) -> tuple[Mvu, Int64 | None]:
        """The unit with the thresholds behind it, if it has any."""
        if self.threshold is None:
            return engine, None
        bounds = self.range(self.nodes[0].output)
        lo, hi = bounds.lo, bounds.hi
        if engine.reloadable:
            lo, hi = np.full_like(lo, engine.acc_type.lo), np.full_like(hi, engine.acc_type.hi)
        rows = clamped(self.threshold, lo, hi)
        if engine.arithmetic == "xnor":  # sum = 2 * count - K, so sum >= T means count >= ceil((T + K) / 2)
            rows = -((-rows - self.inputs) // 2)
        counter = engine.counter_type
        kind = IntType(min(counter.lo, int(rows.min())), max(counter.hi, int(rows.max())))
        if engine.reloadable:
            kind = IntType(counter.lo, counter.hi + 1)
        return replace(engine, thresholds=rows.shape[1], threshold_type=kind), rows


def clamped(threshold: Threshold, lo: Int64, hi: Int64) -> Int64:
    """Thresholds per channel of the bounds, moved to the least value that is always and the least that is never reached."""
    return np.clip(np.broadcast_to(threshold.thresholds, (len(lo), threshold.thresholds.shape[1])), lo[:, None], hi[:, None] + 1)


@dataclass(frozen=True, eq=False)
class DepthwiseLayer(ProductLayer):
    """A convolution of each channel on its own, and the Threshold that alone reads it."""

    engine: ClassVar[str] = "vvu"
    has_simd: ClassVar[bool] = False
    takes_taps: ClassVar[bool] = True
    pe_counts: ClassVar[str] = "channels"
    options: ClassVar[frozenset[str]] = ProductLayer.options - {"order"}

    @property
    def counted(self) -> str:
        return self.pe_counts

    def pe_choices(self) -> list[int]:
        return divisors(self.outputs)

    def simd_choices(self) -> list[int]:
        return [1] if self.taps is None else self.taps.taps_choices

    def lanes(self, entry: LayerPlan) -> int:
        return entry.pe

    def is_lined(self, entry: LayerPlan) -> bool:
        return Layer.is_lined(self, entry)

    def is_unrolled(self, entry: LayerPlan) -> bool:
        return False  # all taps of all channels at a time are no matrix: each channel has taps of its own

    def cycles(self, entry: LayerPlan) -> int:
        if self.taps is None:
            return self.elements // entry.pe
        return self.taps.cycles(entry.pe, self.is_lined(entry))

    def windowed(self, taps: Taps, builder: Builder, entry: LayerPlan, flow: Flow) -> Flow:
        return taps.by_channel(builder, flow, self.is_lined(entry), entry.window_memory)

    def ordered_weights(self, entry: LayerPlan) -> Int64:
        """(taps, channels)."""
        return self.weights[::-1] if self.is_lined(entry) and isinstance(self.op, ConvTranspose2d) else self.weights

    def unit(self, entry: LayerPlan, family: str, x_type: IntType) -> tuple[Mvu, Int64 | None]:
        sums = self.range(self.nodes[0].output).type
        engine = Vvu(self.inputs, self.outputs, entry.pe, entry.simd or 1, x_type, self.weight_type, sums, 0,
                     sums, self.out_type, family, distance=self.is_distance, multiplier=entry.multiplier or "auto",
                     memory=entry.weight_memory or "auto")
        return self.compared(for_any_weights(engine, self.threshold is None) if entry.reloadable else engine)


@makes("MatMul", "Conv2d", "ConvTranspose2d", "L1MatMul", "L1Conv2d")
def product(graph: Graph, node: Node, x_types: tuple[IntType, ...]) -> Layer | None:
    """A product of all channels, or of each on its own."""
    behind = sole_reader(graph, node.output, Threshold)
    nodes = (node,) if behind is None else (node, behind)
    groups, channels = getattr(node.op, "groups", 1), graph.values[node.inputs[0]].shape[-1]
    is_depthwise = groups == channels == graph.values[node.output].shape[-1] and groups > 1
    return (DepthwiseLayer if is_depthwise else ProductLayer)(graph, nodes, x_types)
