"""Which nodes of a QDQ model run as one quantized kernel: DequantizeLinear - operator - QuantizeLinear becomes QLinear.

This follows onnxruntime's default session on x86-64: dequantizers are made unique per reader, QuantizeLinear moves up
and DequantizeLinear down through operators that only move values, int8 pairs with a single reader become uint8, and a
group is fused if its types fit.  What stays behind runs in float32 there and is refused here, with the node's name.
TFLite has no such passes: its converter turns every group into one kernel, so there types and clips do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from .errors import Problem
from .fusegraph import MOVES, FuseGraph, Params, attribute
from .leftovers import EIGHT_BIT, absorb
from .load import label
from .semantics import Semantics

#: Through these onnxruntime moves quantizers and dequantizers.
_PROPAGATED = ("MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice")
_UNARY = ("AveragePool", "LeakyRelu", "GlobalAveragePool", "Sigmoid", "Softmax")
#: Operators on integers, and those that end a network without computing on its values.
_ENDS = ("Softmax", "ArgMax", "TopK", "LogSoftmax")


def fused(model: ModelProto, semantics: Semantics) -> tuple[ModelProto, list[Problem]]:
    """The model with its groups as QLinear nodes, and what would run in float32.

    Parameters
    ----------
    model : ModelProto, without functions
    semantics : Semantics
        Not the exact ones, under which nothing is fused.
    """
    graph = FuseGraph(model)
    graph.fold_constants()
    fuser = _Fuser(graph, semantics.is_stock, semantics.keeps_int8)
    pairs = fuser.double_pairs() if fuser.stock else []
    graph.single_readers()
    fuser.propagate()
    if fuser.stock and not fuser.int8:
        fuser.to_uint8()
    for node in graph.in_order():
        fuser.fuse(node)
    absorb(graph, fuser.stock)
    return graph.model(), pairs or fuser.left()


@dataclass
class _Group:
    """A target between its dequantizers and its quantizer (None: the float result is read)."""

    target: NodeProto
    inputs: list[Params]
    quantizer: NodeProto | None
    clip: NodeProto | None
    output: str


class _Fuser:
    def __init__(self, graph: FuseGraph, stock: bool, int8: bool) -> None:
        self.graph = graph
        self.stock = stock
        self.int8 = int8
        self.why: dict[str, str] = {}
        self.mixed: set[str] = set()  #: names of nodes whose types have no kernel, all of 8 bits

    # passes in front

    def double_pairs(self) -> list[Problem]:
        """Two pairs of quantizer and dequantizer in a row: onnxruntime makes one of them, with a scale of its own."""
        graph, problems = self.graph, []
        for q in graph.in_order():
            dq = graph.maker(q.input[0]) if q.op_type == "QuantizeLinear" else None
            first = graph.maker(dq.input[0]) if dq is not None and dq.op_type == "DequantizeLinear" else None
            if dq is None or first is None or first.op_type != "QuantizeLinear" or graph.same_params(dq, q) or \
                    graph.kind(first.output[0]) != graph.kind(q.output[0]) or \
                    any(graph.sole(name) is None for name in (first.output[0], dq.output[0])) or \
                    all(one.op_type != "DequantizeLinear" for one in graph.readers(q.output[0])):
                continue
            message = (f"node '{label(q)}' (QuantizeLinear): it quantizes again what '{label(first)}' quantized with another scale "
                       "or zero point, and onnxruntime makes one pair with a third scale of the two; leave one of them out, or "
                       "lower with exact semantics")
            problems.append(Problem(label(q), q.op_type, message))
        return problems

    def propagate(self) -> None:
        """QuantizeLinear up and DequantizeLinear down through moves."""
        graph = self.graph
        for q in [node for node in graph.in_order() if node.op_type == "QuantizeLinear" and graph.per_tensor(node)]:
            above = graph.maker(q.input[0])
            while above is not None and above.op_type in _PROPAGATED and graph.sole(above.output[0]) is not None:
                source = graph.maker(above.input[0])
                if source is None or source.op_type == "DequantizeLinear" or graph.sole(above.input[0]) is None:
                    break
                graph.insert_pair(above.input[0], [above], q)
                above = source
        for dq in [node for node in graph.in_order() if node.op_type == "DequantizeLinear" and graph.per_tensor(node)]:
            if graph.is_const(dq.input[0]):
                continue
            front = [dq.output[0]]
            while front:
                reader = graph.sole(front.pop())
                if reader is None or reader.op_type not in _PROPAGATED or reader.output[0] in graph.outputs:
                    continue
                readers = [one for one in graph.readers(reader.output[0]) if one.op_type != "QuantizeLinear"]
                if readers:
                    front += graph.insert_pair(reader.output[0], readers, dq)

    def to_uint8(self) -> None:
        """An int8 quantizer whose only reader is a dequantizer with the same zero point becomes uint8."""
        graph = self.graph
        for q in graph.in_order():
            dq = graph.sole(q.output[0]) if q.op_type == "QuantizeLinear" else None
            if dq is None or dq.op_type != "DequantizeLinear" or len(q.input) < 3 or len(dq.input) < 3:
                continue
            zeros = [graph.const(one.input[2]) for one in (q, dq)]
            if any(zero is None or zero.dtype != np.int8 or zero.size != 1 for zero in zeros):
                continue
            first, second = (int(zero.item()) for zero in zeros if zero is not None)
            if first == second:
                name = graph.add_const(np.array(first + 128, np.uint8), f"{q.input[2]}_uint8")
                q.input[2] = dq.input[2] = name
                fresh = graph.unique(f"{q.output[0]}_uint8")
                graph.rename(q.output[0], fresh)

    # groups

    def group(self, node: NodeProto) -> _Group | None:
        """The group around a node, if all its inputs are dequantized and its output is quantized or read as float."""
        graph = self.graph
        inputs = []
        for name in node.input:
            maker = graph.maker(name) if name else None
            if not name:
                continue
            if maker is None or maker.op_type != "DequantizeLinear":
                self.why[node.name] = f"its input '{name}' is not dequantized"
                return None
            inputs.append(graph.params(maker))
        if len(node.output) != 1:
            return None
        output, clip = node.output[0], None
        reader = graph.sole(output)
        if reader is not None and reader.op_type in ("Relu", "Clip") and graph.is_fixed(reader) and \
                graph.sole(reader.output[0]) is not None:
            clip, output = reader, reader.output[0]
            reader = graph.sole(output)
        if reader is None or reader.op_type != "QuantizeLinear":
            if clip is None and all(one.op_type != "QuantizeLinear" for one in graph.readers(output)):
                return _Group(node, inputs, None, None, output)
            self.why[node.name] = "its output is not read by one QuantizeLinear alone"
            return None
        if clip is not None and self.stock and not graph.redundant(clip, reader):
            self.why[node.name] = (f"the clip behind it ('{label(clip)}') is not what its quantizer's range clips anyway, as a "
                                   "zero point at the end of the range would")
            return None
        return _Group(node, inputs, reader, clip, output)

    def fuse(self, node: NodeProto) -> None:
        """Replace the group around a node by its QLinear operator, if the runtime has a kernel for it."""
        handlers = {"Conv": self._conv, "Gemm": self._gemm, "MatMul": self._matmul, "Add": self._binary, "Mul": self._binary,
                    "Concat": self._concat, "ReduceMean": self._mean, **dict.fromkeys(_UNARY, self._unary)}
        if node.op_type not in handlers or node.domain not in ("", "ai.onnx"):
            return
        if node.op_type in ("Conv", "Gemm"):
            self._quantize_bias(node)
        if node.op_type == "ReduceMean":
            self.graph.axes_as_attribute(node)
        group = self.group(node)
        if group is not None:
            handlers[node.op_type](group)

    def _kinds(self, group: _Group) -> tuple[int, ...]:
        kinds = [one.kind for one in group.inputs]
        return (*kinds, self.graph.kind(group.quantizer.output[0])) if group.quantizer is not None else tuple(kinds)

    def _alike(self, group: _Group) -> bool:
        """Inputs and output of one 8-bit type."""
        kinds = set(self._kinds(group))
        if not self.stock:
            return True
        if len(kinds) == 1 and kinds <= set(EIGHT_BIT):
            return True
        self._unfit(group, self._kinds(group))
        return False

    def _unfit(self, group: _Group, kinds: tuple[int, ...]) -> None:
        names = " x ".join(TensorProto.DataType.Name(kind).lower() for kind in kinds)
        self.why[group.target.name] = f"it has none for the types {names}"
        if TensorProto.INT8 in kinds and set(kinds) <= set(EIGHT_BIT):
            self.mixed.add(group.target.name)
            self.why[group.target.name] += "; an int8 tensor becomes uint8 only where a single DequantizeLinear reads it"

    def _multiplies(self, x: int, w: int) -> bool:
        """True for the types of data and weights that onnxruntime's products take."""
        return w in EIGHT_BIT and (x == TensorProto.UINT8 or (self.int8 and x == w == TensorProto.INT8))

    def _conv(self, group: _Group) -> None:
        x, w, *bias = group.inputs
        kinds = self._kinds(group)
        if group.quantizer is None:
            self.why[group.target.name] = "its output is not quantized"
            return
        if self.stock and not (self._multiplies(x.kind, w.kind) and kinds[-1] == x.kind):
            self._unfit(group, (x.kind, w.kind, kinds[-1]))
            return
        self._replace(group, "QLinearConv", "", [*x.names, *w.names, *self._out(group), *[one.names[0] for one in bias]])

    def _gemm(self, group: _Group) -> None:
        a, b, *bias = group.inputs
        kinds = (a.kind, b.kind, *self._kinds(group)[len(group.inputs):])
        fits = a.kind in EIGHT_BIT and b.kind in EIGHT_BIT and kinds[-1] == a.kind if group.quantizer is not None else \
            a.kind in EIGHT_BIT and b.kind in EIGHT_BIT
        if self.stock and (not fits or (a.kind == TensorProto.INT8 and b.kind != a.kind)):
            self._unfit(group, kinds)
            return
        if bias and float(attribute(group.target, "beta", 1.0)) != 1.0:
            self.why[group.target.name] = "its beta is not 1"
            return
        c = bias[0].names[0] if bias else ""
        self._replace(group, "QGemm", "com.microsoft", [*a.names, *b.names, c, *self._out(group)], drop=("beta",))

    def _matmul(self, group: _Group) -> None:
        a, b = group.inputs
        kinds = self._kinds(group)
        if self.stock and not (self._multiplies(a.kind, b.kind) and (group.quantizer is None or kinds[-1] == a.kind)):
            self._unfit(group, kinds)
            return
        if group.quantizer is not None:
            self._replace(group, "QLinearMatMul", "", [*a.names, *b.names, *self._out(group)])
        else:
            names = [a.names[0], b.names[0], a.names[1], b.names[1], a.names[2], b.names[2]]
            self._replace(group, "MatMulIntegerToFloat", "com.microsoft", names)

    def _binary(self, group: _Group) -> None:
        if group.quantizer is not None and self._alike(group):
            a, b = group.inputs
            self._replace(group, f"QLinear{group.target.op_type}", "com.microsoft", [*a.names, *b.names, *self._out(group)])

    def _unary(self, group: _Group) -> None:
        if group.quantizer is None:
            return
        names, op_type = [*group.inputs[0].names, *self._out(group)], group.target.op_type
        if self._alike(group):
            self._replace(group, f"QLinear{op_type}", "com.microsoft", names)
        elif op_type in ("AveragePool", "GlobalAveragePool") and set(self._kinds(group)) <= set(EIGHT_BIT):
            self._replace(group, f"{'QLinear' if op_type == 'AveragePool' else 'Float32'}{op_type}", "com.microsoft", names)

    def _mean(self, group: _Group) -> None:
        """No kernel of its own, but a mean of integers: the lowering accepts it where every float32 sum rounds the same way."""
        axes = attribute(group.target, "axes", None)
        if group.quantizer is not None and axes is not None:
            names = [*group.inputs[0].names, *self._out(group)]
            self._replace(group, "QLinearReduceMean", "com.microsoft", names)

    def _concat(self, group: _Group) -> None:
        if group.quantizer is not None and self._alike(group):
            names = [*self._out(group), *(name for one in group.inputs for name in one.names)]
            self._replace(group, "QLinearConcat", "com.microsoft", names)

    def _out(self, group: _Group) -> tuple[str, ...]:
        return self.graph.params(group.quantizer).names[1:] if group.quantizer is not None else ()

    def _replace(self, group: _Group, op_type: str, domain: str, names: list[str], drop: tuple[str, ...] = ()) -> None:
        target, q = group.target, group.quantizer
        while names and not names[-1]:
            names.pop()
        made = helper.make_node(op_type, names, [q.output[0] if q is not None else group.output], name=target.name, domain=domain)
        made.attribute.extend(one for one in target.attribute if one.name not in drop)
        if not self.stock and group.clip is not None and q is not None:
            low, high = self.graph.clip_bounds(group.clip)
            made.attribute.extend(helper.make_attribute(name, value) for name, value in
                                  (("activation_min", low), ("activation_max", high)) if value is not None)
        self.graph.replace([target, *([group.clip] if group.clip is not None else []), *([q] if q is not None else [])], made)

    def _quantize_bias(self, node: NodeProto) -> None:
        """onnxruntime quantizes a float bias to int32 where input and weights are dequantized and a quantizer follows."""
        graph = self.graph
        bias = graph.const(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if bias is None or bias.dtype != np.float32 or bias.ndim != 1:
            return
        makers = [graph.maker(name) for name in node.input[:2]]
        if any(maker is None or maker.op_type != "DequantizeLinear" for maker in makers):
            return
        x, w = (graph.const(maker.input[1]) for maker in makers if maker is not None)
        reader = graph.sole(node.output[0])
        while reader is not None and reader.op_type in ("Relu", "Clip"):
            reader = graph.sole(reader.output[0])
        if x is None or w is None or x.size != 1 or w.size not in (1, bias.size) or reader is None or \
                reader.op_type != "QuantizeLinear" or not self.stock:
            return
        scale = (x.reshape(()) * w.reshape(-1)).astype(np.float32)
        integers = np.rint(bias / scale).astype(np.int64).clip(-(2**31), 2**31 - 1).astype(np.int32)
        names = [graph.add_const(one, f"{node.input[2]}_{what}") for what, one in
                 (("int32", integers), ("scale", scale if scale.size > 1 else scale.reshape(())))]
        dq = helper.make_node("DequantizeLinear", names, [graph.unique(f"{node.input[2]}_dequantized")], name=f"{node.name}_bias",
                              axis=0)
        graph.add(dq)
        node.input[2] = dq.output[0]

    # what is left

    def left(self) -> list[Problem]:
        """The nodes that compute on float32 values: everything but quantizers of the input and what ends the network."""
        graph = self.graph
        floats = {name for name, kind in graph.inputs.items() if kind in (TensorProto.FLOAT, TensorProto.FLOAT16)}
        entry, refused = set(floats), set[str]()
        problems = []
        for node in graph.in_order():
            if node.op_type == "DequantizeLinear" or (node.op_type in ("QGemm", "MatMulIntegerToFloat") and graph.is_float(node)):
                floats.add(node.output[0])
            elif not any(name in floats for name in node.input):
                continue
            elif node.op_type == "QuantizeLinear":
                if node.input[0] not in entry | refused:
                    problems.append(self._problem(node))
            elif node.op_type in (*MOVES, "Identity"):
                floats.update(node.output)
                for known in (entry, refused):
                    known.update(node.output if node.input[0] in known else ())
            elif node.op_type in _ENDS and all(name in graph.outputs for name in node.output):
                floats.update(node.output)
            else:
                problems.append(self._problem(node))
                floats.update(node.output)
                refused.update(node.output)
        return problems

    def _problem(self, node: NodeProto) -> Problem:
        runtime = "onnxruntime" if self.stock else "TFLite"
        why = self.why.get(node.name, "")
        mend = "quantize its inputs and its output with one scale each"
        if self.stock:
            mend = "quantize its inputs and its output as uint8 with one scale each"
            if not self.int8 and node.name in self.mixed:
                mend += ", or run onnxruntime with its session option session.qdqisint8allowed = 1 and lower with semantics " \
                        "onnxruntime-int8"
        message = (f"node '{label(node)}' ({node.op_type}): {runtime} has no quantized kernel for it here and computes it in "
                   f"float32{f' ({why})' if why else ''}, which no integer reproduces exactly; {mend}, or lower with "
                   "exact semantics")
        return Problem(label(node), node.op_type, message)
