"""Layers of a graph: its nodes grouped by the engines that run them.

`base` has what all layers share; `product`, `elementwise`, `decide`, ... a class for each kind.  A new kind is a class, a
function that makes it (decorated with `makes`), and an import here.
"""

from __future__ import annotations

from collections.abc import Mapping

from intir import Graph, IntType, Node, Reshape

from ..plan import LayerPlan
from . import decide, elementwise, joins, product, windows
from .base import MAKERS, Builder, Flow, Layer, MappingError, divisors, plain
from .sparse import SparseLayer, sparse

__all__ = [
    "Builder", "Flow", "Layer", "MappingError", "SparseLayer", "collect", "decide", "divisors", "elementwise", "joins", "plain",
    "product", "source_of", "windows",
]


def collect(graph: Graph, entries: Mapping[str, LayerPlan] | None = None) -> list[Layer]:
    """The layers of a graph, producers before consumers.

    `entries` is a plan's: nodes that it gives to a sparse engine are its layers, all others go by their kind.

    A `Reshape` moves nothing in a row-major stream and costs no hardware; `source_of` looks through it.

    Raises
    ------
    MappingError
        If no engine runs a node, a node's value is read by none, or nothing is computed.
    PlanError
        If the plan gives nodes to a sparse engine that it can't run together.
    """
    ends = {interface.value for interface in graph.outputs}
    for node in graph.nodes:
        if node.output not in ends and not graph.consumers(node.output):  # its stream would have nowhere to go
            raise MappingError(f"node '{node.name}' ({node.op.kind}) makes '{node.output}', which no node reads and which is no "
                               "output; remove the node (`GraphBuilder.prune` does)")
    types: dict[str, IntType] = {graph.input.value: graph.values[graph.input.value].type}
    found: list[Layer] = []
    taken: set[str] = set()
    for node in graph.nodes:
        if node.name in taken:
            continue
        if isinstance(node.op, Reshape):
            types[node.output] = types[node.inputs[0]]
            continue
        x_types = tuple(types[value] for value in node.inputs)
        entry = (entries or {}).get(node.name)
        layer = sparse(graph, node, entry.through or node.name, x_types) if entry and entry.engine == SparseLayer.engine \
            else _layer(graph, node, x_types)
        taken |= {one.name for one in layer.nodes}
        types[layer.value] = layer.out_type
        found.append(layer)
    if not found:
        raise MappingError(f"graph '{graph.name}' computes nothing: its output is its input; lower a network with layers")
    return found


def _layer(graph: Graph, node: Node, x_types: tuple[IntType, ...]) -> Layer:
    for maker in MAKERS.get(node.op.kind, []):
        layer = maker(graph, node, x_types)
        if layer is not None:
            return layer
    raise MappingError(f"node '{node.name}' ({node.op.kind}) has no engine; engines run {', '.join(sorted([*MAKERS, 'Reshape']))}")


def source_of(graph: Graph, value: str) -> str:
    """The value that a row-major stream of `value` carries, before any Reshape."""
    makers = {node.output: node for node in graph.nodes}
    while value in makers and isinstance(makers[value].op, Reshape):
        value = makers[value].inputs[0]
    return value

