"""What lies between dequantizers and a quantizer without a kernel of its own, as functions of 8-bit integers.

onnxruntime computes it in float32.  As long as every step is element-wise, or only moves values, each result is a
function of one integer, or of the two that a sum or product reads: the operators made here hold it (`qfloat`).
TFLite's converter turns such a path into kernels, of which only a Relu and a change of scale are made here.
"""

from __future__ import annotations

import math
from typing import Any

from onnx import NodeProto, TensorProto, helper

from .fusegraph import MOVES, FuseGraph
from .load import label

#: Element-wise functions whose float32 steps are known, and their two numbers with the defaults of ONNX.
FUNCTIONS = {"Relu": (), "Clip": (), "LeakyRelu": (("alpha", 0.01),), "HardSigmoid": (("alpha", 0.2), ("beta", 0.5)), "Sigmoid": ()}
EIGHT_BIT = (TensorProto.UINT8, TensorProto.INT8)
_PAIRS = ("Add", "Sub", "Mul")
#: Nodes on the way up from one quantizer, and their depth; a model beyond that is none that a network comes from.
MAX_NODES, MAX_DEPTH = 1000, 100


def absorb(graph: FuseGraph, stock: bool) -> None:
    """Put operators on integers in place of all paths from dequantizers to a quantizer that are such functions.

    Parameters
    ----------
    stock : bool
        Of onnxruntime, else of TFLite.
    """
    for q in [node for node in graph.in_order() if node.op_type == "QuantizeLinear" and graph.per_tensor(node)]:
        made = _Path(graph, stock, q).integers(q.input[0], (), q.output[0], 0)
        if made is not None:
            graph.remove(q)
            graph.add(*made)
    graph.sweep()


class _Path:
    def __init__(self, graph: FuseGraph, stock: bool, q: NodeProto) -> None:
        self.graph = graph
        self.stock = stock
        self.q = q
        self.narrow = graph.kind(q.output[0]) in EIGHT_BIT
        self.left = MAX_NODES

    def integers(self, name: str, functions: tuple[NodeProto, ...], made: str, depth: int) -> list[NodeProto] | None:
        """Nodes that compute the quantized `functions` of a float value under the name `made`; None if there are none."""
        graph, node = self.graph, self.graph.maker(name)
        self.left -= 1
        if node is None or len(node.output) != 1 or self.left < 0 or depth > MAX_DEPTH:
            return None
        if node.op_type == "DequantizeLinear":
            return self._one(node, functions, made)
        if node.op_type in (*MOVES, "MaxPool") or (node.op_type == "Concat" and self.stock and self.narrow):
            if node.op_type == "MaxPool" and not all(map(self._rises, functions)):
                return None
            copy = NodeProto()
            copy.CopyFrom(node)
            copy.output[0] = made
            found = [copy]
            for i in range(len(node.input) if node.op_type == "Concat" else 1):
                copy.input[i] = graph.unique(f"{node.input[i]}_int")
                above = self.integers(node.input[i], functions, copy.input[i], depth + 1)
                if above is None:
                    return None
                found += above
            return found
        if node.op_type == "Relu" or (self.stock and node.op_type in FUNCTIONS and graph.is_fixed(node)):
            return self.integers(node.input[0], (node, *functions), made, depth + 1)
        return self._two(node, functions, made) if self.stock and node.op_type in _PAIRS else None

    def _one(self, dq: NodeProto, functions: tuple[NodeProto, ...], made: str) -> list[NodeProto] | None:
        graph, q = self.graph, self.q
        sigmoids = sum(one.op_type == "Sigmoid" for one in functions)
        if not graph.per_tensor(dq) or graph.is_const(dq.input[0]) or (sigmoids and len(functions) > 1):
            return None  # a sigmoid is known up to a small error alone, see `OnnxRuntime.sigmoid`
        params, out = graph.params(dq).names, graph.params(q).names[1:]
        if not functions:
            if graph.same_params(dq, q) and graph.kind(dq.input[0]) == graph.kind(q.output[0]):
                return [helper.make_node("Identity", [params[0]], [made], name=label(q))]
            return [_node("QLinearConcat", [*out, *params], made, q, axis=1)]
        if not self.stock:
            return [_node("QLinearLeakyRelu", [*params, *out], made, q, alpha=0.0)]
        return [_node("Float32Table", [*params, *out], made, functions[0], **self._listed(functions))]

    def _two(self, node: NodeProto, functions: tuple[NodeProto, ...], made: str) -> list[NodeProto] | None:
        """A sum, difference or product of two dequantized tensors, and functions that rise with it."""
        graph, q = self.graph, self.q
        sides = [graph.maker(name) for name in node.input]
        names: list[str] = []
        for dq in sides:
            if dq is None or dq.op_type != "DequantizeLinear" or not graph.per_tensor(dq) or \
                    graph.kind(dq.input[0]) not in EIGHT_BIT:
                return None
            names += graph.params(dq).names
        if not self.narrow or any(not self._rises(one) or one.op_type == "Sigmoid" for one in functions):
            return None
        return [_node(f"Float32{node.op_type}", [*names, *graph.params(q).names[1:]], made, node, **self._listed(functions))]

    def _rises(self, function: NodeProto) -> bool:
        return all(number >= 0 for number in self._numbers(function)) or function.op_type == "Clip"

    def _numbers(self, function: NodeProto) -> list[float]:
        if function.op_type == "Clip":
            return [math.nan if end is None else end for end in self.graph.clip_bounds(function)]
        given = {one.name: helper.get_attribute_value(one) for one in function.attribute}
        return [float(given.get(name, default)) for name, default in FUNCTIONS[function.op_type]]

    def _listed(self, functions: tuple[NodeProto, ...]) -> dict[str, list[str] | list[float]]:
        if not functions:
            return {}
        numbers = [number for one in functions for number in [*self._numbers(one), math.nan, math.nan][:2]]
        return {"functions": [one.op_type for one in functions], "numbers": numbers}


def _node(op_type: str, names: list[str], made: str, source: NodeProto, **attributes: Any) -> NodeProto:
    return helper.make_node(op_type, names, [made], name=label(source), domain="com.microsoft", **attributes)
