"""Which products of a network go to sparse engines, where a plan is made by the tool."""

from __future__ import annotations

import numpy as np

from intir import Graph, MatMul

from .engines.csc import MAX_BITS
from .layers.sparse import CODE_BITS, LANES, SparseLayer, sparse
from .plan import LayerPlan, PlanError

#: Above this density a dense unit is about as fast and smaller.
MOST_DENSITY = 0.5


def sparse_entries(graph: Graph, pes: int) -> dict[str, LayerPlan]:
    """Entries for every row of pruned MatMuls that one engine of so many PEs can run, by the name of its first node.

    Raises
    ------
    PlanError
        If the network has no such product.
    """
    entries: dict[str, LayerPlan] = {}
    taken: set[str] = set()
    for node in graph.nodes:
        if node.name in taken or not _is_sparse(node.op):
            continue
        made: tuple[SparseLayer, LayerPlan] | None = None
        for last in _in_a_row(graph, node.name):
            try:
                layer = sparse(graph, node, last, (graph.values[node.inputs[0]].type,))
                entry = _entry(layer, last, pes)
                layer.check(entry)
            except PlanError:
                break
            made = layer, entry
        if made is not None:
            entries[node.name] = made[1]
            taken |= {one.name for one in made[0].nodes}
    if not entries:
        products = [node for node in graph.nodes if isinstance(node.op, MatMul)]
        found = ", ".join(f"'{node.name}' {np.count_nonzero(node.op.weights) / node.op.weights.size:.0%} of "
                          f"{len(np.setdiff1d(node.op.weights, [0]))} values"
                          for node in products if isinstance(node.op, MatMul)) or "none"
        raise PlanError(f"no MatMul of '{graph.name}' is for a sparse engine, which wants up to {MOST_DENSITY:.0%} nonzero "
                        f"weights of up to {(1 << MAX_BITS) - 1} different values, and activations that can be 0; it has {found}; "
                        "prune and share the weights, or plan without sparse engines")
    return entries


def _is_sparse(op: object) -> bool:
    return isinstance(op, MatMul) and bool(np.count_nonzero(op.weights) <= MOST_DENSITY * op.weights.size)


def _in_a_row(graph: Graph, first: str) -> list[str]:
    """Names of the sparse MatMuls that follow one another from a first one on, itself included."""
    node = next(node for node in graph.nodes if node.name == first)
    found = [first]
    while True:
        readers = graph.consumers(node.output)
        if len(readers) != 1 or (isinstance(readers[0].op, MatMul) and not _is_sparse(readers[0].op)):
            return found
        node = readers[0]
        if isinstance(node.op, MatMul):
            found.append(node.name)


def _entry(layer: SparseLayer, last: str, pes: int) -> LayerPlan:
    values = max(len(np.setdiff1d(weights, [0])) for weights in layer.weights)
    bits = max(1, values.bit_length())
    lanes = max(d for d in range(1, min(LANES, pes) + 1) if pes % d == 0)
    return LayerPlan(layer.engine, pes, lanes, through=last, code_bits=bits if bits > CODE_BITS else None)
