"""Random graphs for differential tests, and their shrinking.

`random_graph` draws shapes, types, attributes and residual forks from a seed and uses every operation of the IR.  All
tensors stay small, so that thousands of graphs run in a minute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from .errors import GraphError
from .graph import Graph, GraphBuilder
from .ops import (
    Add,
    ArgMax,
    ChannelPermute,
    Clip,
    Concat,
    Conv2d,
    ConvTranspose2d,
    GlobalSumPool,
    L1Conv2d,
    L1MatMul,
    Lookup,
    MatMul,
    MaxPool2d,
    Mul,
    Op,
    Pad,
    Requant,
    Reshape,
    ScaleChannels,
    Slice,
    Sub,
    SumPool2d,
    Threshold,
    TopK,
    Transpose,
    Upsample,
)
from .ops.requant import NAMES
from .types import BIPOLAR, TERNARY, IntType, signed, unsigned

MAX_ELEMENTS = 600
_DEEP = 2**46  #: values beyond are requantized before anything else happens to them


class _Draw:
    """A graph in the making and its source of chance."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.build = GraphBuilder(f"random_{seed}")

    def pick(self, lo: int, hi: int) -> int:
        """An integer from lo to hi, both included."""
        return int(self.rng.integers(lo, hi + 1))

    def flip(self, chance: float = 0.5) -> bool:
        return bool(self.rng.random() < chance)

    def shape(self, value: str) -> tuple[int, ...]:
        return self.build.values[value].shape

    def span(self, value: str) -> tuple[int, int]:
        """Least and greatest value that a tensor can have."""
        proven = self.build.ranges[value]
        return int(proven.lo.min()), int(proven.hi.max())

    def kind(self) -> IntType:
        odd = 2 ** self.pick(1, 4) - 1
        choices = [BIPOLAR, TERNARY, IntType(-odd, odd, 2), unsigned(self.pick(1, 8)), signed(self.pick(2, 16)),
                   IntType(-self.pick(0, 9), self.pick(1, 300)), IntType(-10, 20, 5), signed(24)]
        return choices[self.pick(0, len(choices) - 1)]

    def weights(self, *shape: int) -> NDArray[np.int64]:
        """Binary, ternary, asymmetric ternary, 4-bit, 8-bit, codebook, constant or 16-bit weights."""
        sets = [np.array([-1, 1]), np.array([-1, 0, 1]), np.array([-5, 0, 3]), np.arange(-8, 8), np.arange(-128, 128),
                self.rng.integers(-90, 90, 5), self.rng.integers(-300, 300, 1), np.arange(-2**15, 2**15)]
        weights: NDArray[np.int64] = self.rng.choice(sets[self.pick(0, len(sets) - 1)], shape).astype(np.int64)
        return weights

    def channels(self, value: str) -> int:
        """Rows of a per-channel attribute: one, or one per channel."""
        return self.shape(value)[-1] if self.flip() else 1

    def window(self) -> dict[str, tuple[int, ...]]:
        return {"stride": (self.pick(1, 2), self.pick(1, 3)), "dilation": (self.pick(1, 2), self.pick(1, 2)),
                "pads": tuple(self.pick(0, 2) for _ in range(4)) if self.flip() else (0, 0, 0, 0)}

    def groups(self, channels: int) -> int:
        return int(self.rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))

    def partner(self, value: str) -> str:
        """Another value that joins element by element, if there is one; else the same."""
        shape = self.shape(value)
        alike = [other for other in self.build.values if len(self.shape(other)) == len(shape)
                 and all(m == n or 1 in (m, n) for m, n in zip(self.shape(other), shape, strict=True))]
        fitting = [other for other in alike if max(map(abs, self.span(other))) <= _DEEP]
        return str(self.rng.choice(fitting))


def _conv(d: _Draw, x: str, op: type[Conv2d] | type[L1Conv2d]) -> Op:
    channels, window = d.shape(x)[2], d.window()
    groups = d.groups(channels)
    weights = d.weights(d.pick(1, 3), d.pick(1, 3), channels // groups, groups * d.pick(1, 3))
    lo, hi = d.span(x)
    return op(weights, **window, pad_value=int(d.rng.choice([0, lo, hi, -1, 1])), groups=groups)


def _conv_transpose(d: _Draw, x: str) -> Op:
    channels = d.shape(x)[2]
    groups = d.groups(channels)
    stride = (d.pick(1, 3), d.pick(1, 2))
    weights = d.weights(d.pick(1, 3), d.pick(1, 3), channels // groups, groups * d.pick(1, 3))
    pads, extra = tuple(d.pick(0, 1) for _ in range(4)), tuple(d.pick(0, s - 1) for s in stride)
    return ConvTranspose2d(weights, stride, (d.pick(1, 2), d.pick(1, 2)), pads, extra, groups)


def _threshold(d: _Draw, x: str) -> Op:
    out = d.kind()
    while out.levels > 40:
        out = d.kind()
    lo, hi = d.span(x)
    return Threshold(np.sort(d.rng.integers(lo - 2, hi + 3, (d.channels(x), out.levels - 1)), axis=1), out)


def _requant(d: _Draw, x: str) -> Op:
    c, rounding, out = d.channels(x), NAMES[d.pick(0, len(NAMES) - 1)], d.kind()
    largest = max(1, *map(abs, d.span(x)))
    least = 31 if rounding == "gemmlowp" else 0
    multiplier = d.rng.integers(-2**12 if d.flip(0.3) else 1, 2**min(31, 58 - largest.bit_length()), c)
    # A shift near the product's width, so that the result has some bits.
    near = max(0, largest.bit_length() + int(np.abs(multiplier).max()).bit_length() - d.pick(2, 9))
    shift = np.clip(near + d.rng.integers(-2, 3, c), least, 60).astype(np.int64)
    return Requant(multiplier, shift, d.rng.integers(-9, 10, c), rounding, IntType(out.lo, out.hi))


def _lookup(d: _Draw, x: str) -> Op:
    kind = d.build.ranges[x].type
    if kind.levels > 1000:
        raise GraphError("a table would be too large")
    return Lookup(d.rng.integers(-2**d.pick(1, 33), 2**d.pick(1, 33), (d.channels(x), kind.levels)), kind)


def _slice(d: _Draw, x: str) -> Op:
    start = [d.pick(0, size - 1) for size in d.shape(x)]
    stop = [d.pick(a + 1, size) for a, size in zip(start, d.shape(x), strict=True)]
    return Slice(tuple(start), tuple(stop), tuple(d.pick(1, 3) for _ in start))


def _reshape(d: _Draw, x: str) -> Op:
    left, to = math.prod(d.shape(x)), []
    for _ in range(d.pick(0, 2)):
        to.append(d.groups(left))
        left //= to[-1]
    return Reshape((*to, left))


#: Operation -> how to draw one that takes a given value first.
MAKERS: dict[str, Callable[[_Draw, str], Op]] = {
    "MatMul": lambda d, x: MatMul(d.weights(d.shape(x)[-1], d.pick(1, 9))),
    "L1MatMul": lambda d, x: L1MatMul(d.weights(d.shape(x)[-1], d.pick(1, 9))),
    "Conv2d": lambda d, x: _conv(d, x, Conv2d),
    "L1Conv2d": lambda d, x: _conv(d, x, L1Conv2d),
    "ConvTranspose2d": _conv_transpose,
    "Add": lambda d, x: Add(), "Sub": lambda d, x: Sub(), "Mul": lambda d, x: Mul(),
    "ScaleChannels": lambda d, x: ScaleChannels(d.weights(d.channels(x)), d.weights(d.channels(x))),
    "Clip": lambda d, x: Clip(*sorted(d.pick(min(-9, d.span(x)[0] - 3), max(9, d.span(x)[1] + 3)) for _ in range(2))),
    "Threshold": _threshold, "Requant": _requant, "Lookup": _lookup,
    "MaxPool2d": lambda d, x: MaxPool2d((d.pick(1, 3), d.pick(1, 3)), **d.window()),
    "SumPool2d": lambda d, x: SumPool2d((d.pick(1, 3), d.pick(1, 3)), **d.window(), pad_value=d.pick(-2, 2)),
    "GlobalSumPool": lambda d, x: GlobalSumPool(),
    "Reshape": _reshape, "Slice": _slice,
    "Concat": lambda d, x: Concat(d.pick(-1, len(d.shape(x)) - 1)),
    "Pad": lambda d, x: Pad(tuple(d.pick(0, 2) for _ in d.shape(x)), tuple(d.pick(0, 2) for _ in d.shape(x)), d.pick(-300, 300)),
    "ChannelPermute": lambda d, x: ChannelPermute(d.rng.permutation(d.shape(x)[-1])),
    "Upsample": lambda d, x: Upsample((d.pick(1, 3), d.pick(1, 2))),
    "Transpose": lambda d, x: Transpose(tuple(d.rng.permutation(len(d.shape(x))))),
    "ArgMax": lambda d, x: ArgMax(), "TopK": lambda d, x: TopK(d.pick(1, d.shape(x)[-1])),
}
_PLANES = {"Conv2d", "L1Conv2d", "ConvTranspose2d", "MaxPool2d", "SumPool2d", "Upsample"}


def random_graph(seed: int, nodes: int = 8) -> Graph:
    """A graph of up to `nodes` nodes, the same for the same seed."""
    d = _Draw(seed)
    shape = (d.pick(1, 7), d.pick(1, 7), d.pick(1, 6)) if d.flip(0.7) else tuple(d.pick(1, 8) for _ in range(d.pick(1, 2)))
    for number in range(d.pick(1, 2)):
        d.build.input(f"x{number}", shape, d.kind())
    names = sorted(MAKERS)
    for _ in range(d.pick(1, nodes)):
        values = list(d.build.values)
        x = values[-1] if d.flip(0.7) else str(d.rng.choice(values))
        if max(map(abs, d.span(x))) > _DEEP:
            x = d.build.node(Clip(-2**15, 2**15), x)
        fitting = [name for name in names if name not in _PLANES or len(d.shape(x)) == 3]
        _try(d, str(d.rng.choice(fitting)), x)
    used = {value for node in d.build.nodes for value in node.inputs}
    for value in d.build.values:
        if value not in used or d.flip(0.1):
            d.build.output(value)
    return d.build.build()


def _try(d: _Draw, kind: str, x: str) -> None:
    """Add one node, unless what was drawn does not fit or grows too large."""
    try:
        op = MAKERS[kind](d, x)
        inputs = [x] if op.arity == 1 else [x, d.partner(x)]
        if math.prod(op.shape(*map(d.shape, inputs))) <= MAX_ELEMENTS:
            d.build.node(op, *inputs)
    except GraphError:
        return


def random_inputs(graph: Graph, batch: int, seed: int) -> dict[str, NDArray[np.int64]]:
    """Inputs of every kind of value: some of the least, some of the greatest, the rest uniform."""
    rng = np.random.default_rng(seed)
    inputs = {}
    for interface in graph.inputs:
        value = graph.values[interface.value]
        levels = rng.integers(0, value.type.levels, (batch, *value.shape))
        extreme = rng.random(levels.shape)
        levels = np.where(extreme < 0.15, 0, np.where(extreme > 0.85, value.type.levels - 1, levels))
        levels[:1], levels[1:2] = 0, value.type.levels - 1
        inputs[value.name] = levels * value.type.step + value.type.lo
    return inputs


def shrink(graph: Graph, fails: Callable[[Graph], bool]) -> Graph:
    """The smallest graph found, by cutting nodes off either end, that still fails."""
    for smaller in _cuts(graph):
        if fails(smaller):
            return shrink(smaller, fails)
    return graph


def _cuts(graph: Graph) -> Iterator[Graph]:
    """Graphs with fewer nodes or outputs: each value as the only output, then each value as an input."""
    sizes = (len(graph.nodes), len(graph.inputs), len(graph.outputs))
    inputs = frozenset(one.value for one in graph.inputs)
    wholes: list[tuple[frozenset[str], tuple[str, ...]]] = [(inputs, (node.output,)) for node in graph.nodes]
    ends = tuple(one.value for one in graph.outputs)
    wholes += [(inputs | {node.output}, ends) for node in reversed(graph.nodes)]
    for starts, stops in wholes:
        try:
            smaller = cut(graph, starts, stops)
        except GraphError:
            continue
        if (len(smaller.nodes), len(smaller.inputs), len(smaller.outputs)) < sizes:
            yield smaller


def cut(graph: Graph, inputs: frozenset[str], outputs: tuple[str, ...]) -> Graph:
    """The part of a graph between some values.  Raises GraphError if a wider input breaks a range below it."""
    needed, nodes = set(outputs), []
    for node in reversed(graph.nodes):
        if node.output in needed and node.output not in inputs:
            needed |= set(node.inputs)
            nodes.append(node)
    build = GraphBuilder(graph.name)
    for value in graph.values:
        if value in inputs and value in needed:
            build.input(value, graph.values[value].shape, graph.values[value].type)
    for node in reversed(nodes):
        build.node(node.op, *node.inputs, name=node.output, source=node.source)
    for value in outputs:
        build.output(value)
    return build.build()
