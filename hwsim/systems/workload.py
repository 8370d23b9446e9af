"""A network of the integer-only IR as the layers that a machine computes.

A product takes what is computed element by element on its sums into its layer, so that the sums never travel: thresholds,
requantization, tables, scales, clips, and joins with a second tensor, which the layer then reads as well.  Pools and element-wise
layers do the same.  What only moves is a layer of its own; a `Reshape` changes nothing in memory and is none.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from intir import Graph, IntType
from intir.graph import Node, Value
from intir.ops import (
    Add,
    ArgMax,
    Clip,
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
    Requant,
    Reshape,
    ScaleChannels,
    Slice,
    Sub,
    SumPool2d,
    Threshold,
    TopK,
)

from .work import Product, Tensor, Window, Work, Workload

PRODUCTS = (MatMul, Conv2d, ConvTranspose2d, L1MatMul, L1Conv2d)
POOLS = (MaxPool2d, SumPool2d, GlobalSumPool)
JOINS = (Add, Sub, Mul)
#: What a layer computes on its results as they leave.
ELEMENTWISE = (*JOINS, Threshold, Requant, Lookup, ScaleChannels, Clip)


@dataclass
class _Layer:
    """Nodes that become one layer, and the values that it reads."""

    kind: str
    nodes: list[Node]
    reads: list[str] = field(default_factory=list)

    @property
    def takes_more(self) -> bool:
        """Whether it computes on its results as they leave."""
        return self.kind != "move" and not isinstance(self.nodes[-1].op, (ArgMax, TopK))


def workload_of(graph: Graph) -> Workload:
    """The layers of a network, in an order in which each is read only after it is made.

    The operands' types are the graph's; those of weights are their real levels, and their density is counted.  Of several inputs,
    `Workload.input` is all elements in a type that holds them all.  Activations count as dense: their zeros depend on the frame.
    """
    position = {node.output: number for number, node in enumerate(graph.nodes)}
    layers = sorted(_grouped(graph, position), key=lambda layer: position[layer.nodes[-1].output])
    makers = {layer.nodes[-1].output: layer.nodes[0].name for layer in layers}
    works = tuple(_work(graph, layer, makers) for layer in layers)
    inputs = [graph.values[one.value] for one in graph.inputs]
    kind = inputs[0].type
    for value in inputs[1:]:
        kind = kind.union(value.type)
    read = {name for work in works for name in work.inputs}
    outputs = dict.fromkeys(makers.get(_memory_of(graph, one.value), "") for one in graph.outputs)
    return Workload(graph.name, works, Tensor(sum(value.elements for value in inputs), kind),
                    tuple(name for name in outputs if name and name in read))


def _memory_of(graph: Graph, value: str) -> str:
    """The value that a reshaped one is in memory."""
    sources = {node.output: node.inputs[0] for node in graph.nodes if isinstance(node.op, Reshape)}
    while value in sources:
        value = sources[value]
    return value


def _grouped(graph: Graph, position: dict[str, int]) -> list[_Layer]:
    """Nodes by layer."""
    uses = Counter(value for node in graph.nodes for value in node.inputs)
    uses.update(one.value for one in graph.outputs)
    alias: dict[str, str] = {}  # a reshaped value -> the one whose memory it is
    sole: dict[str, bool] = {}  # whether a value has one reader, through all reshapes
    layers: list[_Layer] = []
    at: dict[str, _Layer] = {}  # the layer that makes a value, reshaped values included
    for node in graph.nodes:
        inputs = [alias.get(value, value) for value in node.inputs]
        alone = [uses[value] == 1 and sole.get(value, True) for value in node.inputs]
        if isinstance(node.op, Reshape):
            alias[node.output], sole[node.output] = inputs[0], alone[0]
            if inputs[0] in at:
                at[node.output] = at[inputs[0]]
            continue
        makers = [at[value] for value, one in zip(node.inputs, alone, strict=True) if value in at and one]
        layer = _joined(graph, node, makers, position)
        if layer is None:
            layer = _Layer(_kind(node.op), [node], inputs)
            layers.append(layer)
        else:
            tail = layer.nodes[-1].output
            layer.nodes.append(node)
            layer.reads += [value for value in inputs if value != tail]
        at[node.output] = layer
    return layers


def _joined(graph: Graph, node: Node, makers: list[_Layer], position: dict[str, int]) -> _Layer | None:
    """The layer that computes an element-wise node on what it makes: a product before others, the last before earlier ones."""
    if not isinstance(node.op, ELEMENTWISE):
        return None
    size = graph.values[node.output].elements
    able = [layer for layer in makers if layer.takes_more and graph.values[layer.nodes[-1].output].elements == size]
    return max(able, key=lambda layer: (layer.kind == "product", position[layer.nodes[0].output]), default=None)


def _kind(op: Op) -> str:
    if isinstance(op, PRODUCTS):
        return "product"
    if isinstance(op, POOLS):
        return "pool"
    return "elementwise" if isinstance(op, (*ELEMENTWISE, ArgMax, TopK)) else "move"


def _tensor(value: Value) -> Tensor:
    return Tensor(value.elements, value.type)


def _work(graph: Graph, layer: _Layer, makers: dict[str, str]) -> Work:
    first, tail = layer.nodes[0], layer.nodes[-1]
    output = graph.values[tail.output]
    reads = tuple(_tensor(graph.values[value]) for value in layer.reads)
    if isinstance(first.op, Slice):
        reads = (Tensor(output.elements, reads[0].type),)
    operations: Counter[str] = Counter()
    constant_bits = 0
    for node in layer.nodes:
        operations.update(operations_of(node, graph))
        constant_bits += constant_bits_of(node, graph)
    made: dict[str, object] = {}
    if isinstance(first.op, PRODUCTS):
        matrix = matrix_of(first.op)
        weights = Tensor(matrix.size, IntType.of(matrix), int(np.count_nonzero(matrix)) / matrix.size)
        made = {"product": product_of(first, graph), "weights": weights, "sums": graph.values[first.output].type, "matrix": matrix}
    return Work(first.name, layer.kind, tuple(makers.get(value, "") for value in layer.reads), reads, _tensor(output),
                operations={name: count for name, count in operations.items() if count}, constant_bits=constant_bits,
                **made)  # type: ignore[arg-type]


def product_of(node: Node, graph: Graph) -> Product:
    """What a node sums.

    A transposed convolution is, for each input pixel, a product with all taps of its window; the overlapping results are added
    (`operations_of`).  So it takes no product with the zeros that a convolution over the spread input would meet.
    """
    op, given, made = node.op, graph.values[node.inputs[0]].shape, graph.values[node.output].shape
    if isinstance(op, (MatMul, L1MatMul)):
        terms, filters = op.weights.shape
        return Product(math.prod(given[:-1]), terms, filters, distance=isinstance(op, L1MatMul))
    if isinstance(op, ConvTranspose2d):
        height, width, inputs, outputs = op.weights.shape
        return Product(given[0] * given[1], inputs, height * width * outputs // op.groups, op.groups)
    if not isinstance(op, (Conv2d, L1Conv2d)):
        raise TypeError(f"{op.kind} is no product")
    height, width, inputs, outputs = op.weights.shape
    window = Window((height, width), (op.stride[0], op.stride[1]), (op.dilation[0], op.dilation[1]), (given[0], given[1]),
                    (made[0], made[1]))
    return Product(made[0] * made[1], height * width * inputs, outputs // op.groups, op.groups, window, isinstance(op, L1Conv2d))


def matrix_of(op: Op) -> NDArray[np.int64]:
    """The weights of a product as int64 (groups * filters, terms)."""
    weights: NDArray[np.int64] = op.weights  # type: ignore[attr-defined]
    if isinstance(op, ConvTranspose2d):
        height, width, inputs, outputs = weights.shape
        split = weights.reshape(height, width, inputs, op.groups, outputs // op.groups)
        return split.transpose(3, 0, 1, 4, 2).reshape(-1, inputs)
    return weights.reshape(-1, weights.shape[-1]).T


def operations_of(node: Node, graph: Graph) -> dict[str, int]:
    """What a node computes for a frame beside products: ``add``, ``multiply``, ``compare``, ``lookup``.

    A value is compared with its thresholds by bisection; a requantization is a product, an addition (rounding and zero point) and
    two comparisons with the ends of its range.
    """
    op, size, given = node.op, graph.values[node.output].elements, graph.values[node.inputs[0]].elements
    match op:
        case Add() | Sub():
            return {"add": size}
        case Mul():
            return {"multiply": size}
        case Threshold():
            return {"compare": size * op.thresholds.shape[1].bit_length()}
        case Requant():
            return {"multiply": size * _used(op.multiplier, 1), "add": size, "compare": 2 * size}
        case Lookup():
            return {"lookup": size}
        case ScaleChannels():
            return {"multiply": size * _used(op.multiplier, 1), "add": size * _used(op.offset, 0)}
        case Clip():
            return {"compare": 2 * size}
        case MaxPool2d():
            return {"compare": size * (math.prod(op.kernel) - 1)}
        case SumPool2d():
            return {"add": size * (math.prod(op.kernel) - 1)}
        case GlobalSumPool():
            return {"add": given - size}
        case ArgMax():
            return {"compare": given - size}
        case TopK():
            return {"compare": (given - size // op.k) * op.k}
        case ConvTranspose2d():
            results = given // (op.weights.shape[2] * op.groups) * op.weights[:, :, 0].size
            return {"add": max(0, results - size)}
    return {}


def constant_bits_of(node: Node, graph: Graph) -> int:
    """Bits of the constants that a node holds beside weights: a threshold has as many as what it is compared with."""
    match node.op:
        case Threshold() as op:
            return op.thresholds.size * graph.values[node.inputs[0]].type.bits
        case Requant() as op:
            return _bits(op.multiplier, 1) + _bits(op.shift, 0) + _bits(op.zero_point, 0)
        case Lookup() as op:
            return op.table.size * _plain_bits(op.table)
        case ScaleChannels() as op:
            return _bits(op.multiplier, 1) + _bits(op.offset, 0)
        case Clip():
            return 2 * graph.values[node.output].type.bits
    return 0


def _used(values: NDArray[np.int64], neutral: int) -> int:
    """Whether any of some constants does something."""
    return int((values != neutral).any())


def _bits(values: NDArray[np.int64], neutral: int) -> int:
    return values.size * _plain_bits(values) if _used(values, neutral) else 0


def _plain_bits(values: NDArray[np.int64]) -> int:
    """Bits of the narrowest integer, two's complement where one is negative."""
    return IntType(int(values.min()), int(values.max())).bits
