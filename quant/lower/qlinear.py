"""QLinear operators: integers in, integers out, with scale and zero point of each among the inputs.

Under exact semantics such an operator is dequantize - operator - quantize, in rationals.  Under a runtime's semantics the
products, sums and pools are integers, exactly as in its kernels, and `semantics` says how they come back to 8 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from .close import close
from .columns import extent
from .context import Context
from .errors import LoweringError
from .exact import ONE, ZERO, Ints, filled, fractions, objects
from .node import HANDLERS, OnnxNode, lowers
from .qdq import quantized
from .realise import integers_of
from .semantics import F32, INT32, Output, steps_of
from .tensors import Act, Const, Tensor


@dataclass(frozen=True)
class Form:
    """Where a QLinear operator has its inputs.

    Parameters
    ----------
    float_op : str
        The operator on real numbers.
    operands : tuple of int
        Positions of the integers; their scales and zero points follow each.  Empty: from the third input on, in threes.
    output : int
        Position of the output's scale; its zero point follows.
    bias : int, optional
    weights_axis : int, optional
        Axis of the second operand along which its scales go.
    """

    float_op: str
    operands: tuple[int, ...]
    output: int
    bias: int | None = None
    weights_axis: int | None = None


FORMS = {
    "QLinearConv": Form("Conv", (0, 3), 6, 8, 0),
    "QLinearMatMul": Form("MatMul", (0, 3), 6, None, -1),
    "QGemm": Form("Gemm", (0, 3), 7, 6, 1),
    "QLinearAdd": Form("Add", (0, 3), 6),
    "QLinearMul": Form("Mul", (0, 3), 6),
    "QLinearConcat": Form("Concat", (), 0),
    "QLinearAveragePool": Form("AveragePool", (0,), 3),
    "QLinearGlobalAveragePool": Form("GlobalAveragePool", (0,), 3),
    "QLinearReduceMean": Form("ReduceMean", (0,), 3),
    "QLinearLeakyRelu": Form("LeakyRelu", (0,), 3),
    "QLinearSigmoid": Form("Sigmoid", (0,), 3),
}
#: What `leftovers` makes; no operators of a runtime.
FLOAT_FORMS = {
    "Float32Table": Form("", (0,), 3),
    "Float32Add": Form("", (0, 3), 6),
    "Float32Sub": Form("", (0, 3), 6),
    "Float32Mul": Form("", (0, 3), 6),
    "Float32GlobalAveragePool": Form("", (0,), 3),
}

Ruled = Callable[[Context, OnnxNode, "Operands"], Act]
#: Operator -> its lowering under a runtime's semantics.
RULED: dict[str, Ruled] = {}


def ruled(*op_types: str) -> Callable[[Ruled], Ruled]:
    """Enter a function into `RULED`."""
    def enter(function: Ruled) -> Ruled:
        RULED.update(dict.fromkeys(op_types, function))
        return function
    return enter


@dataclass(frozen=True, eq=False)
class Operand:
    """A quantized input: ``real = (integers - zeros) * scales``.

    Parameters
    ----------
    integers : Act or Const
    scales : float32 (N,), N is 1 or the number of channels of weights
    zeros : int64 (N,)
    axis : int
        Of the channels.
    """

    integers: Act | Const
    scales: F32
    zeros: Ints
    axis: int

    @property
    def act(self) -> Act:
        """The integers, which must be computed from the network's input."""
        if isinstance(self.integers, Const):
            raise LoweringError("one of its inputs is a constant where a tensor computed from the network's input is expected; "
                                "fold it, or swap the inputs")
        return self.integers

    @property
    def scale(self) -> np.float32:
        """The only scale."""
        if self.scales.size != 1:
            raise LoweringError(f"its input has {self.scales.size} scales; a quantized kernel takes one for all of an activation")
        return np.float32(self.scales[0])

    @property
    def zero(self) -> int:
        """The only zero point."""
        if self.zeros.size != 1:
            raise LoweringError(f"its input has {self.zeros.size} zero points; a quantized kernel takes one for all of an "
                                "activation")
        return int(self.zeros[0])

    def centred(self) -> Act | Const:
        """The integers without zero point."""
        if isinstance(self.integers, Const):
            shape = [-1 if i == self.axis % self.integers.base.ndim else 1 for i in range(self.integers.base.ndim)]
            return Const.plain(self.integers.base.astype(np.int64) - self.zeros.reshape(shape if self.zeros.size > 1 else (-1,)))
        rank = len(self.integers.shape)
        return self.integers.linear(filled(ONE, rank), filled(Fraction(-self.zero), rank))

    def real(self) -> Act | Const:
        """The real numbers that it stands for, exactly."""
        centred = self.centred()
        rank = len(centred.shape)
        shape = tuple(-1 if i == self.axis % rank else 1 for i in range(rank)) if self.scales.size > 1 else (1,) * rank
        scale = fractions(self.scales).reshape(shape)
        if isinstance(centred, Const):
            return Const(centred.base, scale, filled(ZERO, rank))
        return centred.linear(scale, filled(ZERO, rank))


@dataclass(frozen=True, eq=False)
class Operands:
    """All that a QLinear node says.  `out` is None where the result stays unquantized."""

    form: Form
    inputs: list[Operand]
    bias: Const | None
    out: Output | None

    @property
    def output(self) -> Output:
        """The output, which must be quantized."""
        if self.out is None:
            raise LoweringError("its output has no scale; export the network again")
        return self.out


def operands_of(ctx: Context, node: OnnxNode) -> Operands:
    """Read a QLinear node's inputs."""
    form = FORMS.get(node.op_type) or FLOAT_FORMS[node.op_type]
    positions = form.operands or tuple(range(2, len(node.inputs), 3))
    axis = form.weights_axis
    if node.op_type == "QGemm" and node.flag("transB"):
        axis = 0
    inputs = [_operand(ctx, node, position, axis or 0 if i == 1 else 0) for i, position in enumerate(positions)]
    bias = node.optional(form.bias, "bias") if form.bias is not None else None
    if bias is not None and bias.base.dtype != np.int32:
        raise LoweringError(f"its bias is of type {bias.base.dtype}; it must be int32, in units of both input scales")
    out = _output(ctx, node, form.output) if node.has(form.output) else None
    return Operands(form, inputs, bias, out)


def _operand(ctx: Context, node: OnnxNode, position: int, axis: int) -> Operand:
    tensor: Tensor | None = node.inputs[position] if position < len(node.inputs) else None
    if isinstance(tensor, Act):
        tensor = integers_of(ctx, tensor) if tensor.chain else tensor
    elif isinstance(tensor, Const):
        if tensor.base.dtype.kind not in "iu":
            raise LoweringError(f"its input {position} is a constant of type {tensor.base.dtype}; it must hold integers")
    else:
        raise LoweringError(f"its input {position} is missing; export the network again")
    scales = scale_of(node, position + 1)
    zero = node.optional(position + 2, "zero point")
    zeros = np.zeros(1, np.int64) if zero is None else zero.base.reshape(-1).astype(np.int64)
    if isinstance(tensor, Const):
        channels = tensor.shape[axis] if tensor.shape else 1
        if scales.size not in (1, channels) or zeros.size not in (1, channels):
            raise LoweringError(f"its weights of shape {tensor.shape} have {scales.size} scales and {zeros.size} zero points; give "
                                f"one, or one for each of {channels} channels")
    return Operand(tensor, scales, zeros, axis)


def scale_of(node: OnnxNode, position: int) -> F32:
    """Scales as float32; each must be positive and finite."""
    const = node.const(position, "scale")
    if const.base.dtype.kind != "f" or not const.is_plain:
        raise LoweringError(f"its scale (input {position}) is of type {const.base.dtype}; it must be float32")
    scales = np.asarray(const.base, np.float32).reshape(-1)
    if scales.size == 0 or not np.isfinite(scales).all() or not (scales > 0).all():
        raise LoweringError(f"its scale (input {position}) holds {scales.min() if scales.size else 'nothing'}; every scale must be "
                            "a positive number")
    return scales


def _output(ctx: Context, node: OnnxNode, position: int) -> Output:
    scales, zero = scale_of(node, position), node.optional(position + 1, "zero point")
    kind = np.dtype(np.uint8) if zero is None else zero.base.dtype
    if scales.size != 1 or (zero is not None and zero.base.size != 1):
        raise LoweringError(f"its output has {scales.size} scales; a quantized kernel takes one for all of an activation")
    if kind.kind not in "iu" or kind.itemsize > 2:
        raise LoweringError(f"its output's zero point is of type {kind}; only 8- and 16-bit integers are supported")
    info = np.iinfo(kind)
    point = 0 if zero is None else int(zero.base.reshape(-1)[0])
    out = Output(np.float32(scales[0]), point, int(info.min), int(info.max), kind.kind == "i")
    low, high = (node.attribute(name) for name in ("activation_min", "activation_max"))
    return out if low is None and high is None else ctx.semantics.clamped(out, low, high)


@lowers(*FORMS)
def _qlinear(ctx: Context, node: OnnxNode) -> Act:
    parts = operands_of(ctx, node)
    if node.flag("channels_last"):
        raise LoweringError("it has channels_last = 1; export it with channels first")
    if ctx.semantics.is_exact:
        return _exact(ctx, node, parts)
    return RULED[node.op_type](ctx, node, parts)


def real_node(node: OnnxNode, op_type: str, inputs: list[Tensor | None], drop: tuple[str, ...] = (), **more: Any) -> OnnxNode:
    """The same node as another operator on other inputs."""
    proto = helper.make_node(op_type, [f"in{i}" for i in range(len(inputs))], list(node.proto.output), name=node.name, **more)
    proto.attribute.extend(one for one in node.proto.attribute if one.name not in (*drop, "channels_last", "activation_min",
                                                                                    "activation_max"))
    return OnnxNode(proto, inputs, node.opset)


def _exact(ctx: Context, node: OnnxNode, parts: Operands) -> Act:
    """Dequantize, compute, quantize."""
    inputs: list[Tensor | None] = [one.real() for one in parts.inputs]
    bias = parts.bias
    if bias is not None:
        x, w = (fractions(one.scales) for one in parts.inputs)
        unit = objects(x * w)
        shape = (1,) * (bias.base.ndim - 1) + (unit.size,) if bias.base.ndim else ()
        inputs.append(Const(bias.base.astype(np.int64), unit.reshape(shape) if unit.size > 1 or shape else unit.reshape(()),
                            filled(ZERO, bias.base.ndim)))
    if not isinstance(inputs[0], Act) and len(inputs) == 1:
        raise LoweringError("all its inputs are constants; fold it before the export")
    act = HANDLERS[parts.form.float_op](ctx, real_node(node, parts.form.float_op, inputs))
    assert isinstance(act, Act)
    if parts.out is None:
        return act
    out, rank = parts.out, len(act.shape)
    return quantized(act, filled(Fraction(float(out.scale)), rank), filled(out.zero, rank), out.low, out.high)


@lowers(*FLOAT_FORMS)
def _float32(ctx: Context, node: OnnxNode) -> Act:
    if not ctx.semantics.is_stock:
        raise LoweringError(f"the operator {node.op_type} is not supported")
    return RULED[node.op_type](ctx, node, operands_of(ctx, node))


@ruled("QLinearConv", "QLinearMatMul", "QGemm")
def _product(ctx: Context, node: OnnxNode, parts: Operands) -> Act:
    """An exact int32 accumulator, and the runtime's way back to 8 bits."""
    x, w = parts.inputs
    if not isinstance(w.integers, Const):
        raise LoweringError("it multiplies two computed tensors, which the IR does not do; only constant weights are supported")
    acc = accumulator(ctx, node, parts.form.float_op, [x.centred(), w.centred(), parts.bias])
    axis = 1 if node.op_type == "QLinearConv" else len(acc.shape) - 1
    alpha = np.float32(node.attribute("alpha", 1.0))
    per = tuple(acc.shape[axis] if i == axis else 1 for i in range(len(acc.shape)))
    if parts.out is None:
        units = ctx.semantics.unquantized(x.scale, w.scales, alpha)
        return acc.linear(objects(units, per if len(units) > 1 else (1,) * len(per)), filled(ZERO, len(per)))
    kind = "conv" if node.op_type == "QLinearConv" else "dense"
    return close(ctx, acc, steps_of(ctx.semantics.product(kind, x.scale, w.scales, parts.out, alpha), parts.out, per))


def accumulator(ctx: Context, node: OnnxNode, op_type: str, inputs: list[Tensor | None], **attributes: Any) -> Act:
    """An operator on integers; its result must fit int32, for there the runtimes wrap around."""
    while inputs and inputs[-1] is None:
        inputs.pop()
    acc = HANDLERS[op_type](ctx, real_node(node, op_type, inputs, drop=("alpha",), **attributes))
    assert isinstance(acc, Act)
    low, high = extent(ctx, acc)
    if low < INT32[0] or high > INT32[1]:
        raise LoweringError(f"its accumulator can take {int(low)} to {int(high)}, beyond int32, where the runtime wraps around; "
                            "use fewer inputs, or exact semantics")
    return acc


@lowers("ConvInteger", "MatMulInteger")
def _integer_product(ctx: Context, node: OnnxNode) -> Act:
    """int32 sums of products: the same under every semantics."""
    operands = []
    for position in (0, 1):
        tensor = node.inputs[position] if position < len(node.inputs) else None
        if not isinstance(tensor, (Act, Const)):
            raise LoweringError(f"its input {position} is missing; export the network again")
        zero = node.optional(position + 2, "zero point")
        zeros = np.zeros(1, np.int64) if zero is None else zero.base.reshape(-1).astype(np.int64)
        act = integers_of(ctx, tensor) if isinstance(tensor, Act) else tensor
        axis = 0 if node.op_type == "ConvInteger" else -1
        operands.append(Operand(act, np.ones(1, np.float32), zeros, axis))
    return accumulator(ctx, node, node.op_type.removesuffix("Integer"), [one.centred() for one in operands])


@lowers("MatMulIntegerToFloat")
def _to_float(ctx: Context, node: OnnxNode) -> Act:
    """A product whose accumulator is scaled to a float; the graph's output, since onnxruntime goes on in float32."""
    order = (0, 2, 4, 1, 3, 5)  # to those of QLinearMatMul
    proto = NodeProto()
    proto.CopyFrom(node.proto)
    proto.op_type = "QLinearMatMul"
    if node.has(6):
        raise LoweringError("it adds a float bias; use QLinearMatMul or QGemm")
    inputs = [node.inputs[i] if i < len(node.inputs) else None for i in order]
    again = OnnxNode(proto, inputs, node.opset)
    parts = operands_of(ctx, again)
    return _exact(ctx, again, parts) if ctx.semantics.is_exact else _product(ctx, again, parts)


@lowers("DynamicQuantizeLinear")
def _dynamic(ctx: Context, node: OnnxNode) -> Act:
    raise LoweringError("its scale is computed from the data of each input, which hardware with fixed scales can't follow; "
                        "quantize statically, with scales from a calibration set")


@lowers("QLinearSoftmax")
def _softmax(ctx: Context, node: OnnxNode) -> Act:
    raise LoweringError("it quantizes the output of a Softmax, which the IR does not compute; end the network before it (the class "
                        "with the greatest input is the same)")

