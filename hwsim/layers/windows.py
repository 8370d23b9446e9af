"""Layers that read windows or move values: pools, slices, pads, upsampling, transposes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from intir import Graph, IntType, MaxPool2d, Node, Pad, Slice, SumPool2d, Transpose, Upsample

from ..engines.pool import Pool
from ..engines.window import Loop, Window
from ..plan import LayerPlan
from .base import Builder, Flow, Layer, MappingError, divisors, makes, plain
from .taps import Taps


@dataclass(frozen=True, eq=False)
class PoolLayer(Layer):
    """A MaxPool2d, a SumPool2d, or a GlobalSumPool."""

    engine: ClassVar[str] = "pool"
    pe_counts: ClassVar[str] = "channels"
    takes_taps: ClassVar[bool] = True
    options: ClassVar[frozenset[str]] = frozenset({"window_memory"})

    @cached_property
    def windows(self) -> Taps | None:
        """Its windows; None for a global pool, whose window is the frame as it comes."""
        op = self.nodes[0].op
        if not isinstance(op, (MaxPool2d, SumPool2d)):
            return None
        height, width, channels = self.shape_in
        return Taps(op, (height, width, channels), self.positions, self.x_types[0])

    @property
    def channels(self) -> int:
        """Of input and output."""
        return self.shape[-1]

    @property
    def taps(self) -> int:
        """Elements of a channel that make one output."""
        return math.prod(self.shape_in[:-1]) if self.windows is None else self.windows.count

    @property
    def out_type(self) -> IntType:
        if isinstance(self.nodes[0].op, MaxPool2d):
            return self.x_types[0]
        return plain(self.graph.values[self.value].type)

    @property
    def has_windows(self) -> bool:
        return self.windows is not None

    def simd_choices(self) -> list[int]:
        return [1] if self.windows is None else self.windows.taps_choices

    def cycles(self, entry: LayerPlan) -> int:
        if self.windows is None:
            return math.prod(self.shape_in) // entry.pe
        return self.windows.cycles(entry.pe, self.is_lined(entry))

    def luts(self, entry: LayerPlan, family: str) -> int:
        unit = self.unit(entry, self.x_types[0]).resources(family).luts
        return unit if self.windows is None else unit + self.windows.luts(entry.pe, self.is_lined(entry), family)

    def unit(self, entry: LayerPlan, x_type: IntType) -> Pool:
        """The pool itself."""
        operation = "max" if isinstance(self.nodes[0].op, MaxPool2d) else "sum"
        order = "channels" if self.windows is None else "taps"
        return Pool(self.channels, entry.pe, self.taps, operation, x_type, self.out_type, order, entry.simd or 1)

    def build(self, builder: Builder, entry: LayerPlan, flows: list[Flow]) -> Flow:
        (flow,) = flows
        if self.windows is not None:
            flow = self.windows.by_channel(builder, flow, self.is_lined(entry), entry.window_memory)
        return builder.block("pool", self.unit(entry, flow.word.type), [flow], self.elements // entry.pe, self.positions)


@makes("MaxPool2d", "SumPool2d", "GlobalSumPool")
def pool(graph: Graph, node: Node, x_types: tuple[IntType, ...]) -> Layer | None:
    """A pool."""
    return PoolLayer(graph, (node,), x_types)


@dataclass(frozen=True, eq=False)
class MoveLayer(Layer):
    """A Slice, Pad, Upsample or Transpose: a window unit alone."""

    engine: ClassVar[str] = "window"
    pe_counts: ClassVar[str] = "channels"
    options: ClassVar[frozenset[str]] = frozenset({"window_memory"})

    @property
    def frame(self) -> tuple[int, int, int]:
        """The input as rows, columns and channels."""
        return _three(self.shape_in)

    @property
    def out_type(self) -> IntType:
        return self._window(LayerPlan(self.engine, 1), self.x_types[0]).word_out.type

    def pe_choices(self) -> list[int]:
        op, channels = self.nodes[0].op, self.shape_in[-1]
        if isinstance(op, Transpose) and op.perm[-1] != len(op.perm) - 1:
            return [1]  # channels become positions: one at a time
        fixed = [channels]
        if isinstance(op, Slice):
            fixed += [op.start[-1], op.stop[-1]] if op.step[-1] == 1 else [1]
        elif isinstance(op, Pad):
            fixed += [op.before[-1], op.after[-1]]
        return divisors(math.gcd(*fixed))

    def cycles(self, entry: LayerPlan) -> int:
        return max(self.elements, math.prod(self.shape_in)) // entry.pe

    def build(self, builder: Builder, entry: LayerPlan, flows: list[Flow]) -> Flow:
        return builder.block("window", self._window(entry, flows[0].word.type), flows, self.elements // entry.pe, 1)

    def _window(self, entry: LayerPlan, kind: IntType) -> Window:
        op, lanes = self.nodes[0].op, entry.pe
        height, width, channels = self.frame
        size = (height, width, channels // lanes, lanes, kind)
        memory = entry.window_memory or "auto"
        if isinstance(op, Slice):
            start, stop, step = (_three(one, fill) for one, fill in ((op.start, 0), (op.stop, 1), (op.step, 1)))
            words = [-(-end // lanes) if step[2] == 1 else end for end in (start[2], stop[2])]
            return Window.slice(*size, start=(*start[:2], words[0]), stop=(*stop[:2], words[1]), step=step,
                                memory=memory)
        if isinstance(op, Pad):
            before, after = (_three(one, 0) for one in (op.before, op.after))
            return Window.pad(*size, before=(*before[:2], before[2] // lanes), after=(*after[:2], after[2] // lanes),
                              pad_value=op.value, memory=memory)
        if isinstance(op, Upsample):
            return Window.upsample(*size, factor=op.factor, memory=memory)
        assert isinstance(op, Transpose)  # `move` makes no others
        lead = 3 - len(op.perm)
        steps = [Loop(height, row=1), Loop(width, col=1), Loop(channels // lanes, word=1)]
        if len(op.perm) == 2:  # (T, K) stands as T rows of one pixel
            steps = [steps[0], steps[2]]
            lead = 0
        return Window(*size, tuple(steps[axis + lead] for axis in op.perm), memory=memory)


def _three(shape: tuple[int, ...], fill: int = 1) -> tuple[int, int, int]:
    """One number per row, column and channel: (T, K) stands as T rows of one pixel, (K,) as one pixel."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    return (shape[0], fill, shape[1]) if len(shape) == 2 else (fill, fill, shape[0])


@makes("Slice", "Pad", "Upsample", "Transpose")
def move(graph: Graph, node: Node, x_types: tuple[IntType, ...]) -> Layer | None:
    """A window unit that moves values."""
    shape = graph.values[node.inputs[0]].shape
    if len(shape) > 3:
        raise MappingError(f"node '{node.name}' ({node.op.kind}) moves a tensor of shape {shape}; hardware moves (rows, columns, "
                           "channels), so reshape it to three axes")
    return MoveLayer(graph, (node,), x_types)
