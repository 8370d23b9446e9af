"""Layers: which nodes of a graph share one engine.

The graph is walked from its input to its output.  A `MatMul` takes the `Threshold` behind it along; a `Reshape` moves
nothing in a row-major stream and costs no hardware.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from intir import BitwrightError, Graph, IntType, MatMul, Node, Reshape, Threshold


class MappingError(BitwrightError):
    """No engine runs a node, or the graph's shape is beyond the dataflow style."""


@dataclass(frozen=True)
class Layer:
    """The nodes that one engine runs.

    Parameters
    ----------
    engine : str
        Kind of the engine.
    nodes : tuple of Node
        In order; the first names the layer.
    x_type, out_type : IntType
        Elements of the streams at its input and output.
    inputs, outputs : int
        Elements along the channel axis, per round.
    rounds : int
        Rounds per frame: the product of the other axes.
    """

    engine: str
    nodes: tuple[Node, ...]
    x_type: IntType
    out_type: IntType
    inputs: int
    outputs: int
    rounds: int

    @property
    def name(self) -> str:
        """The first node's name."""
        return self.nodes[0].name

    @property
    def threshold(self) -> Threshold | None:
        """The layer's thresholds, if it has any."""
        return next((node.op for node in self.nodes if isinstance(node.op, Threshold)), None)


#: Operation -> engine that runs it.
ENGINES = {"MatMul": "mvu", "Threshold": "thresholding", "ArgMax": "argmax"}


def layers(graph: Graph) -> list[Layer]:
    """The layers of a graph that is a chain.

    Raises
    ------
    MappingError
        If a value is read more than once, or no engine runs a node.
    """
    value = graph.values[graph.input.value]
    kind = value.type
    found: list[Layer] = []
    while value.name != graph.output.value:
        readers = graph.consumers(value.name)
        if len(readers) != 1 or len(readers[0].inputs) != 1:
            names = ", ".join(f"'{node.name}'" for node in readers) or "no node"
            raise MappingError(f"value '{value.name}' is read by {names}, and dataflow designs are chains of nodes so far; "
                               "build a network without forks and joins")
        node = readers[0]
        nodes = [node]
        if isinstance(node.op, Reshape):
            value = graph.values[node.output]
            continue
        if node.op.kind not in ENGINES:
            raise MappingError(f"node '{node.name}' ({node.op.kind}) has no engine; engines run "
                               f"{', '.join([*ENGINES, 'Reshape'])}")
        behind = graph.consumers(node.output)
        if isinstance(node.op, MatMul) and len(behind) == 1 and isinstance(behind[0].op, Threshold) \
                and node.output != graph.output.value:
            nodes.append(behind[0])
        last = graph.values[nodes[-1].output]
        # Quantized elements travel in their code, sums as plain two's complement.
        out = nodes[-1].op.out if isinstance(nodes[-1].op, Threshold) else IntType(last.type.lo, last.type.hi)
        channels = last.shape[-1]
        found.append(Layer(ENGINES[node.op.kind], tuple(nodes), kind, out, value.shape[-1], channels,
                           math.prod(last.shape[:-1])))
        value, kind = last, out
    if not found:
        raise MappingError(f"graph '{graph.name}' computes nothing: its output is its input; lower a network with layers")
    return found
