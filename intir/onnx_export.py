"""Export to plain ONNX: the third-party witness.

`to_onnx` writes a graph with integer operators of a released opset, such that an unmodified onnxruntime computes the
same bits.  Where onnxruntime has no kernel for an operator on the integers at hand, the operation is decomposed into
ones it has: a windowed operation becomes one Gather and a product, a shift becomes Mod and Div.  No operator on floats
is used.  Channels stay last, as in the IR; the first axis is a dynamic batch of
one or more (onnxruntime's batched products refuse an empty one).

Every value is stored in the narrowest of int8, uint8, int32 and int64 that its proven range allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import BitwrightError
from .graph import Graph
from .ops.base import Shape
from .ranges import Int64, Range
from .verify import proven_ranges

if TYPE_CHECKING:
    from .ops.products import Conv2d

try:
    import onnx
except ImportError:  # all of intir but this export does without it
    onnx = None  # type: ignore[assignment,unused-ignore]

OPSET, IR_VERSION = 18, 10
_STORED = (np.int8, np.uint8, np.int32, np.int64)

#: onnxruntime's uint8 x int8 kernels form 16-bit sums of two products on CPUs with AVX2 but no VNNI, and saturate there.
#: Operands whose two products stay below are exact on every CPU; others go as uint8 x uint8, which is exact but slower.
_SAFE_PAIR = 2**15 - 1


def to_onnx(graph: Graph) -> onnx.ModelProto:
    """The graph as an ONNX model.

    Returns
    -------
    onnx.ModelProto
        Inputs and outputs have the IR's names, channels-last shapes with a batch axis ``N`` in front, and the narrowest of
        int8, uint8, int32, int64 that holds their type.

    Raises
    ------
    BitwrightError
        If the package onnx is not installed.
    GraphError
        If the graph breaks a rule of the IR.
    """
    if onnx is None:
        raise BitwrightError("the ONNX export needs the package 'onnx', which is not installed; run: pip install onnx")

    build = OnnxBuilder(graph)
    for interface in graph.inputs:
        build.value(interface.value, interface.value, build.stored(interface.value))
    for node in graph.nodes:
        made = node.op.onnx(build, *(build.tensor[value] for value in node.inputs))
        dtype = build.stored(node.output)
        build.value(node.output, build.cast(made, dtype), dtype)
    outputs = []
    for number, interface in enumerate(graph.outputs):
        # An output needs its own name, even where it is an input or another output too.
        taken = interface.value in {one.value for one in (*graph.inputs, *graph.outputs[:number])}
        name = f"{interface.value}__{number}" if taken else interface.value
        build.emit("Identity", [build.tensor[interface.value]], name, {})
        outputs.append(build.info(name, interface.value))
    model = onnx.helper.make_model(
        onnx.helper.make_graph(build.nodes, graph.name, [build.info(one.value, one.value) for one in graph.inputs], outputs,
                               build.initializers),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)], producer_name="bitwright")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model


class OnnxBuilder:
    """What operations emit ONNX nodes with.

    Tensors go by name.  Those that stand for IR values have a shape (without batch axis) and a range; all have a dtype.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.tensor: dict[str, str] = {}  #: IR value -> ONNX tensor
        self._proven = proven_ranges(graph)
        self._value: dict[str, str] = {}  # ONNX tensor -> an IR value it stands for
        self._dtype: dict[str, np.dtype[Any]] = {}
        self._extent: dict[str, Shape] = {}
        self._consts: dict[tuple[str, Shape, bytes], str] = {}
        self._count = 0

    def value(self, value: str, tensor: str, dtype: Any) -> None:
        """Say which tensor stands for an IR value."""
        self.tensor[value], self._dtype[tensor] = tensor, np.dtype(dtype)
        self._value.setdefault(tensor, value)

    def shape(self, tensor: str) -> Shape:
        """Shape, without batch axis, of a tensor that stands for an IR value."""
        return self.graph.values[self._value[tensor]].shape

    def range(self, tensor: str) -> Range:
        """Range of a tensor that stands for an IR value."""
        return self._proven[self._value[tensor]]

    def dtype(self, tensor: str) -> np.dtype[Any]:
        """A tensor's dtype."""
        return self._dtype[tensor]

    def stored(self, value: str) -> np.dtype[Any]:
        """The dtype that holds an IR value's declared type."""
        kind = self.graph.values[value].type
        return np.dtype(next(d for d in _STORED if np.iinfo(d).min <= kind.lo and kind.hi <= np.iinfo(d).max))

    @staticmethod
    def wide(magnitude: int) -> np.dtype[Any]:
        """int32 or int64: the dtype in which to compute with values up to a magnitude."""
        return np.dtype(np.int32 if magnitude < 2**31 else np.int64)

    def info(self, name: str, value: str) -> onnx.ValueInfoProto:
        """Declaration of an input or output."""
        kind = onnx.helper.np_dtype_to_tensor_dtype(self.stored(value))
        return onnx.helper.make_tensor_value_info(name, kind, ["N", *self.graph.values[value].shape])

    def emit(self, op: str, inputs: Sequence[str], output: str, attributes: dict[str, Any]) -> None:
        """Append a node."""
        self.nodes.append(onnx.helper.make_node(op, list(inputs), [output], name=f"n{len(self.nodes)}_{op}", **attributes))

    def node(self, op: str, *inputs: str, dtype: Any = None, **attributes: Any) -> str:
        """Append a node; returns its output.  `dtype` is that of the first input unless given."""
        output = self._fresh(op)
        self._dtype[output] = np.dtype(dtype) if dtype is not None else self._dtype[inputs[0]]
        self.emit(op, inputs, output, attributes)
        return output

    def const(self, array: NDArray[Any], dtype: Any) -> str:
        """An initializer; equal ones are shared."""
        array = np.ascontiguousarray(array).astype(dtype).reshape(np.shape(array))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._consts:
            name = self._consts[key] = self._fresh("const")
            self._dtype[name] = array.dtype
            self.initializers.append(onnx.numpy_helper.from_array(array, name))
        return self._consts[key]

    def cast(self, x: str, dtype: Any) -> str:
        """x in a dtype that is known to hold its values."""
        if self._dtype[x] == np.dtype(dtype):
            return x
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.node("Cast", x, to=kind, dtype=dtype)

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """x under another shape, the batch axis kept."""
        y = self.node("Reshape", x, self.const(np.array([-1, *shape]), np.int64))
        self._extent[y] = tuple(shape)
        return y

    def extent(self, x: str, axis: int) -> int:
        """Size of an axis (0 is the batch) of a tensor made by `reshape` and then gathered into windows."""
        producer = next(node for node in reversed(self.nodes) if x in node.output)
        if producer.op_type == "Gather":
            index = next(one for one in self.initializers if one.name == producer.input[1])
            return int(index.dims[axis - 1])
        return self._extent[x][axis - 1]

    def transpose(self, x: str, perm: Sequence[int]) -> str:
        """x with its axes, the batch axis apart, permuted."""
        return self.node("Transpose", x, perm=[0, *(axis + 1 for axis in perm)])

    def pad(self, x: str, before: Sequence[int], after: Sequence[int], value: int) -> str:
        """x with a constant around it, in a dtype that holds both."""
        if not np.iinfo(self._dtype[x]).min <= value <= np.iinfo(self._dtype[x]).max:
            x = self.cast(x, np.int32 if self._dtype[x].itemsize < 8 and abs(value) < 2**31 else np.int64)
        pads = self.const(np.array([0, *before, 0, *after]), np.int64)
        return self.node("Pad", x, pads, self.const(np.array(value), self._dtype[x]))

    def clip(self, x: str, lo: int, hi: int) -> str:
        """x, an int32 or int64, clipped; bounds beyond the dtype do nothing."""
        limits = np.iinfo(self._dtype[x])
        least, most = (self.const(np.array(min(max(bound, int(limits.min)), int(limits.max))), self._dtype[x])
                       for bound in (lo, hi))
        return self.lesser(self.greater(x, least), most)

    def greater(self, a: str, b: str) -> str:
        """The element-wise maximum of two int32 or int64 tensors."""
        return self._chosen("Max", "Greater", a, b)

    def lesser(self, a: str, b: str) -> str:
        """The element-wise minimum of two int32 or int64 tensors."""
        return self._chosen("Min", "Less", a, b)

    def _chosen(self, op: str, comparison: str, a: str, b: str) -> str:
        # onnxruntime 1.31 returns wrong bits from Max, Min and ReduceMax on int64 beyond 2**32 (seen with AVX-512).
        if self._dtype[a].itemsize < 8:
            return self.node(op, a, b)
        return self.node("Where", self.node(comparison, a, b, dtype=np.bool_), a, b, dtype=self._dtype[a])

    def sum(self, x: str, axis: int, size: int, rank: int, bound: int) -> str:
        """x of `rank` axes, an int32 or int64, summed along one of `size`; `bound` is the greatest magnitude of a partial sum."""
        if bound < 2**53:
            return self.node("ReduceSum", x, self.const(np.array([axis]), np.int64), keepdims=0)
        # onnxruntime adds int64 through float64, which rounds beyond 2**53; its integer product does not.
        last = self.node("Transpose", x, perm=[*(one for one in range(rank) if one != axis), axis])
        return self.node("MatMul", last, self.const(np.ones(size), self._dtype[x]))

    def affine(self, x: str, scale: int, offset: int, magnitude: int) -> str:
        """``x * scale + offset`` for x up to a magnitude."""
        dtype = self.wide(max(magnitude * abs(scale) + abs(offset), abs(offset)))
        y = self.cast(x, dtype)
        y = self.node("Mul", y, self.const(np.array(scale), dtype)) if scale != 1 else y
        return self.node("Add", y, self.const(np.array(offset), dtype)) if offset else y

    def arithmetic(self, op: str, a: str, b: str, *, result: Range) -> str:
        """Add, Sub or Mul of two tensors, in a dtype that holds both and the result."""
        dtype = self.wide(max(result.magnitude, self.range(a).magnitude, self.range(b).magnitude))
        return self.node(op, self.cast(a, dtype), self.cast(b, dtype))

    def fits_integer_kernel(self, x: Range, weights: Int64, reach: int) -> bool:
        """Whether onnxruntime's 8-bit kernels with 32-bit sums hold a product."""
        ends = ((int(x.lo.min()), int(x.hi.max())), (int(weights.min()), int(weights.max())))
        return all(max(0, hi) - min(0, lo) <= 255 for lo, hi in ends) and max(1, x.magnitude) * reach < 2**31

    def _unsigned(self, x: str, bounds: Range) -> tuple[str, str]:
        """x as uint8, moved up by its zero point; and the zero point."""
        zero = -min(0, int(bounds.lo.min()))
        if zero:
            x = self.node("Add", self.cast(x, np.int32), self.const(np.array(zero), np.int32))
        return self.cast(x, np.uint8), self.const(np.array(zero), np.uint8)

    def matmul(self, x: str, weights: Int64, bounds: Range, reach: int) -> str:
        """``x @ weights`` for weights (..., K, N)."""
        if not self.fits_integer_kernel(bounds, weights, reach):
            dtype = self.wide(max(1, bounds.magnitude) * max(1, reach))
            return self.node("MatMul", self.cast(x, dtype), self.const(weights, dtype))
        # MatMulInteger is fast with uint8 activations; for int8 ones onnxruntime has no vector kernel on x86.
        x, zero = self._unsigned(x, bounds)
        top = int(bounds.hi.max()) - min(0, int(bounds.lo.min()))
        if int(weights.min()) >= -128 and int(weights.max()) <= 127 and 2 * top * int(np.abs(weights).max()) <= _SAFE_PAIR:
            return self.node("MatMulInteger", x, self.const(weights, np.int8), zero, dtype=np.int32)
        low = -min(0, int(weights.min()))
        raised, up = self.const(weights + low, np.uint8), self.const(np.array(low), np.uint8)
        return self.node("MatMulInteger", x, raised, zero, up, dtype=np.int32)

    def grouped_matmul(self, columns: str, weights: Int64, groups: int, bounds: Range, reach: int) -> str:
        """Windows (N, P, KH * KW, C) times weights (KH, KW, C / groups, O): (N, P, O)."""
        points = self.extent(columns, 1)
        kh, kw, per_group, outputs = weights.shape
        matrices = weights.reshape(kh * kw * per_group, groups, -1).transpose(1, 0, 2)
        if groups == 1:
            return self.matmul(self.reshape(columns, (points, kh * kw * per_group)), matrices[0], bounds, reach)
        split = self.transpose(self.reshape(columns, (points, kh * kw, groups, per_group)), (2, 0, 1, 3))
        product = self.matmul(self.reshape(split, (groups, points, kh * kw * per_group)), matrices, bounds, reach)
        return self.reshape(self.transpose(product, (1, 0, 2)), (points, outputs))

    def conv_integer(self, x: str, op: Conv2d, bounds: Range) -> str:
        """A convolution by ConvInteger, which has channels first and pads with zero."""
        pads = op.pads
        if op.pad_value and any(pads):
            x, pads = self.pad(x, (*pads[:2], 0), (*pads[2:], 0), op.pad_value), (0, 0, 0, 0)
        # ConvInteger multiplies the weights from the left: there uint8 weights and int8 activations are the fast pair.
        low = -min(0, int(op.weights.min()))
        weights = self.const(op.weights.transpose(3, 2, 0, 1) + low, np.uint8)
        if bounds.magnitude <= 127 and 2 * bounds.magnitude * (int(op.weights.max()) + low) <= _SAFE_PAIR:
            x, zero = self.cast(x, np.int8), self.const(np.array(0), np.int8)
        else:
            x, zero = self._unsigned(x, bounds)
        up = self.const(np.array(low), np.uint8)
        planes = self.node("ConvInteger", self.transpose(x, (2, 0, 1)), weights, zero, up, dtype=np.int32, strides=op.stride,
                           dilations=op.dilation, pads=pads, group=op.groups)
        return self.transpose(planes, (1, 2, 0))

    def top(self, x: str, k: int) -> str:
        """Indices of the k greatest along the last axis, lowest index first among equals: ONNX's own tie rule."""
        wide = self.cast(x, self.wide(self.range(x).magnitude))
        values, indices = self._fresh("TopK"), self._fresh("TopK")
        self._dtype[indices] = np.dtype(np.int64)
        self.nodes.append(onnx.helper.make_node("TopK", [wide, self.const(np.array([k]), np.int64)], [values, indices],
                                                name=f"n{len(self.nodes)}_TopK", axis=-1, largest=1, sorted=1))
        return indices

    def _fresh(self, stem: str) -> str:
        while True:
            name = f"{stem}_{self._count}"
            self._count += 1
            if name not in self.graph.values:
                return name
