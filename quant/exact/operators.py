"""Operators that compute: quantizers, arithmetic, products, pools, decisions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from onnx import TensorProto

from . import products, quantizers
from .node import Node, Tensor, computes, kind_of
from .rational import (
    ExactError,
    Rational,
    Shape,
    add,
    compact,
    divide,
    each,
    least,
    moved,
    multiply,
    of_array,
    scaled,
    uniform,
    units,
    whole,
)
from .smooth import OF_CONSTANTS, RISING, Softened, enclosed, of_constants


@computes("Quant", "IntQuant", orderly=True)
def _quant(node: Node) -> Rational:
    x, scale, zero, bits = (node.input(i) for i in range(4))
    return quantizers.quant(x, scale, zero, bits, mode=node.attribute("rounding_mode", "ROUND"), **_flags(node))


def _flags(node: Node) -> dict[str, bool]:
    return {"signed": bool(node.attribute("signed", 1)), "narrow": bool(node.attribute("narrow", 0))}


@computes("BipolarQuant", orderly=True)
def _bipolar(node: Node) -> Rational:
    return quantizers.bipolar(node.input(), node.input(1))


@computes("Trunc", orderly=True)
def _trunc(node: Node) -> Rational:
    constants = [node.input(i) for i in range(1, len(node.inputs))]
    return quantizers.trunc(node.input(), constants, mode=node.attribute("rounding_mode", "FLOOR"), **_flags(node))


@computes("MultiThreshold", orderly=True)
def _multithreshold(node: Node) -> Rational:
    x = node.input()
    layout = node.attribute("data_layout", "") or {2: "NC", 3: "NWC", 4: "NCHW"}.get(len(x.shape), "")
    axis = layout.index("C") if "C" in layout else 1
    return quantizers.multithreshold(x, node.input(1), axis + 1, node.number("out_scale", 1.0), node.number("out_bias", 0.0))


@computes("QuantizeLinear", orderly=True)
def _quantize(node: Node) -> Rational:
    zero = node.optional(2)
    given = node.attribute("output_dtype", 0)
    return quantizers.quantize_linear(node.input(), node.input(1), zero, node.attribute("axis", 1),
                                      zero.kind if zero else kind_of(given) if given else "uint8")


@computes("DequantizeLinear")
def _dequantize(node: Node) -> Rational:
    return quantizers.dequantize_linear(node.input(), node.input(1), node.optional(2), node.attribute("axis", 1))


@computes("Add", orderly=True)
def _add(node: Node) -> Rational:
    return add(node.input(), node.input(1))


@computes("Sub", orderly=True)
def _sub(node: Node) -> Rational:
    return add(node.input(), node.input(1), -1)


@computes("Mul", orderly=True)
def _mul(node: Node) -> Rational:
    return multiply(node.input(), node.input(1))


@computes("Div", orderly=True)
def _div(node: Node) -> Rational:
    a, b = node.input(), node.input(1)
    quotient = divide(a, b)
    return whole(quantizers.rounded(quotient, "DOWN"), a.kind) if a.whole and b.whole else quotient


@computes("Neg", orderly=True)
def _neg(node: Node) -> Rational:
    x = node.input()
    return Rational(-x.integers, x.unit, x.kind)


@computes("Abs")
def _abs(node: Node) -> Rational:
    x = node.input()
    return Rational(np.abs(x.integers), x.unit, x.kind)


@computes("Sign", orderly=True)
def _sign(node: Node) -> Rational:
    x = node.input().integers
    return whole((x > 0).astype(np.int64) - (x < 0))


@computes("Floor", "Ceil", "Round", orderly=True)
def _round(node: Node) -> Rational:
    return whole(quantizers.rounded(node.input(), node.op_type.upper()))


@computes("Relu", orderly=True)
def _relu(node: Node) -> Rational:
    x = node.input()
    return Rational(np.maximum(x.integers, 0), x.unit, x.kind)


@computes("LeakyRelu", "PRelu", orderly=True)
def _leaky(node: Node) -> Rational:
    x = node.input()
    slope = node.input(1) if node.op_type == "PRelu" else _scalar(node.number("alpha", 0.01), x)
    below = multiply(Rational(np.minimum(x.integers, 0), x.unit), slope)
    return add(Rational(np.maximum(x.integers, 0), x.unit), below)


def _scalar(value: Fraction, like: Rational) -> Rational:
    rank = like.integers.ndim
    sign = (value > 0) - (value < 0)
    return Rational(np.full((1,) * rank, sign, np.int64), units(abs(value) or Fraction(1), rank))


def _clamped(x: Rational, low: Rational | None, high: Rational | None) -> Rational:
    x = x if low is None else least(x, low, -1)
    return x if high is None else least(x, high)


@computes("Clip", orderly=True)
def _clip(node: Node) -> Rational:
    x = node.input()
    ends = [node.optional(i) if node.has(i) else None if node.attribute(name) is None else _scalar(node.number(name, 0.0), x)
            for i, name in ((1, "min"), (2, "max"))]
    return _clamped(x, *ends)


@computes("HardTanh", "Hardtanh", orderly=True)
def _hard_tanh(node: Node) -> Rational:
    x = node.input()
    return _clamped(x, _scalar(node.number("min_val", -1.0), x), _scalar(node.number("max_val", 1.0), x))


@computes("HardSigmoid", orderly=True)
def _hard_sigmoid(node: Node) -> Rational:
    x = node.input()
    line = add(multiply(x, _scalar(node.number("alpha", 0.2), x)), _scalar(node.number("beta", 0.5), x))
    return _clamped(line, _scalar(Fraction(0), x), _scalar(Fraction(1), x))


@computes("Min", "Max")
def _extreme(node: Node) -> Rational:
    found = node.input()
    for i in range(1, len(node.inputs)):
        found = least(found, node.input(i), 1 if node.op_type == "Min" else -1)
    return found


@computes(*(RISING | OF_CONSTANTS))
def _irrational(node: Node) -> Tensor:
    x = node.input()
    power = node.op_type == "Pow" and node.input(1).integers.size == 1 and node.input(1).fractions().item()
    if power and power.denominator == 1 and 1 <= power <= 4 and not node.is_constant:
        made = x
        for _ in range(int(power) - 1):
            made = multiply(made, x)
        return made
    if node.is_constant:
        return of_constants(node.op_type, *(node.input(i) for i in range(len(node.inputs))))
    if node.op_type not in RISING:
        raise ExactError("has irrational values at activations, of which none is defined exactly")
    return enclosed(node.op_type, x, node.number("alpha", 1.0))


@computes("Reciprocal")
def _reciprocal(node: Node) -> Rational:
    x = node.input()
    return divide(whole(np.ones_like(x.integers)), x)


@computes("BatchNormalization", orderly=True)
def _batch_norm(node: Node) -> Rational:
    """(x - mean) / sigma * gamma + beta, where sigma = sqrt(variance + epsilon) is computed in float32."""
    x = node.input()
    gamma, beta, mean, variance = (moved(node.input(i), lambda v: v.reshape(1, 1, -1, *[1] * (len(x.shape) - 2)))
                                   for i in range(1, 5))
    if node.attribute("training_mode", 0):
        raise ExactError("is in training mode")
    floats = variance.fractions().astype(np.float64).astype(np.float32)
    sigma = of_array(np.sqrt(floats + np.float32(node.attribute("epsilon", 1e-5))))
    return add(multiply(divide(add(x, mean, -1), sigma), gamma), beta)


def _geometry(node: Node, x: Rational, kernel: Shape) -> tuple[Shape, Shape, Shape]:
    """Strides, dilations and pads of a window operator."""
    rank = len(kernel)
    strides, dilations = (node.integers(name, [1] * rank) for name in ("strides", "dilations"))
    pads, mode = list(node.integers("pads", [0] * 2 * rank)), node.attribute("auto_pad", "NOTSET")
    for i, (size, k, s, d) in enumerate(zip(x.shape[2:], kernel, strides, dilations, strict=True)):
        reach = d * (k - 1) + 1
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            missing = max(0, (math.ceil(size / s) - 1) * s + reach - size)
            halves = (missing // 2, missing - missing // 2)
            pads[i], pads[i + rank] = halves if mode == "SAME_UPPER" else halves[::-1]
        elif mode == "VALID":
            pads[i] = pads[i + rank] = 0
        if node.attribute("ceil_mode", 0):
            count = math.ceil((size + pads[i] + pads[i + rank] - reach) / s) + 1
            count -= (count - 1) * s >= size + pads[i]  # no window starts behind the input
            pads[i + rank] = (count - 1) * s + reach - size - pads[i]
    return strides, dilations, tuple(pads)


@computes("Conv")
def _conv(node: Node) -> Rational:
    x, w = node.input(), node.input(1)
    made = products.conv(x, w, node.attribute("group", 1), *_geometry(node, x, w.shape[2:]))
    return _biased(made, node.optional(2))


def _biased(x: Rational, bias: Rational | None) -> Rational:
    return x if bias is None else add(x, moved(bias, lambda v: v.reshape(1, 1, -1, *[1] * (len(x.shape) - 2))))


@computes("ConvTranspose")
def _conv_transpose(node: Node) -> Rational:
    x, w = node.input(), node.input(1)
    if node.attribute("output_shape") or node.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise ExactError("computes its pads from output_shape or auto_pad, which is not supported")
    extra = node.integers("output_padding", [0] * (len(x.shape) - 2))
    made = products.conv_transpose(x, w, node.attribute("group", 1), *_geometry(node, x, w.shape[2:]), extra)
    return _biased(made, node.optional(2))


@computes("MatMul")
def _matmul(node: Node) -> Rational:
    return products.matmul(node.input(), node.input(1))


@computes("Gemm")
def _gemm(node: Node) -> Rational:
    a, b = (moved(node.input(i), lambda v: v.swapaxes(1, 2)) if node.attribute(flag, 0) else node.input(i)
            for i, flag in ((0, "transA"), (1, "transB")))
    product = products.matmul(a, b)
    product = multiply(product, _scalar(node.number("alpha", 1.0), product))
    bias = node.optional(2)
    return product if bias is None else add(product, multiply(bias, _scalar(node.number("beta", 1.0), bias)))


@computes("QLinearMatMul", "QLinearConv")
def _qlinear(node: Node) -> Rational:
    """Real arithmetic between the quantizers: dequantize, multiply, quantize."""
    x = quantizers.dequantize_linear(node.input(0), node.input(1), node.optional(2), 0)
    if node.op_type == "QLinearMatMul":
        axis = 1
        w = quantizers.dequantize_linear(node.input(3), node.input(4), node.optional(5), -1)
        product = products.matmul(x, w)
    else:
        axis = 0
        w = quantizers.dequantize_linear(node.input(3), node.input(4), node.optional(5), axis)
        product = products.conv(x, w, node.attribute("group", 1), *_geometry(node, x, w.shape[2:]))
        bias = node.optional(8)
        if bias is not None:
            step = multiply(node.input(1), node.input(4))
            product = _biased(product, multiply(Rational(bias.integers, bias.unit), step))
    zero = node.optional(7)
    return quantizers.quantize_linear(product, node.input(6), zero, 1, zero.kind if zero else "uint8")


@computes("MaxPool", orderly=True)
def _max_pool(node: Node) -> Rational:
    kernel = node.integers("kernel_shape", [])
    return products.pool(node.input(), kernel, *_geometry(node, node.input(), kernel), largest=True)[0]


@computes("AveragePool", orderly=True)
def _average_pool(node: Node) -> Rational:
    x, kernel = node.input(), node.integers("kernel_shape", [])
    strides, dilations, pads = _geometry(node, x, kernel)
    total, met = products.pool(x, kernel, strides, dilations, pads, largest=False)
    if node.attribute("count_include_pad", 0):
        # what ceil_mode adds behind the declared pads does not count
        rank = len(kernel)
        declared = node.integers("pads", [0] * 2 * rank) if node.attribute("auto_pad", "NOTSET") == "NOTSET" else pads
        there = products.padded(np.ones(x.shape[2:], np.int64), declared, 1)
        rest = tuple(p - q for p, q in zip(pads, declared, strict=True))
        wide = whole(products.padded(there, rest)[None, None, None])
        met = products.pool(wide, kernel, strides, dilations, (0,) * 2 * rank, largest=False)[0].integers[0, 0, 0]
    return scaled(total, each(lambda count: Fraction(1, count), met.astype(object)[None, None, None]))


@computes("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")
def _reduce(node: Node) -> Rational:
    x, rank = node.input(), len(node.input().shape)
    if node.op_type.startswith("Global"):
        axes, keep = list(range(2, rank)), True
    else:
        listed = node.listed(1, "axes")
        axes = list(range(rank)) if not listed else [axis % rank for axis in listed]
        keep = bool(node.attribute("keepdims", 1))
    places = tuple(axis + 1 for axis in axes)
    x = uniform(x, places)
    unit = x.unit if keep else x.unit.reshape([size for i, size in enumerate(x.unit.shape) if i not in places])
    count = math.prod(x.shape[axis] for axis in axes)
    if node.op_type == "ReduceProd":
        made = compact(np.asarray(x.integers.astype(object).prod(axis=places, keepdims=keep)))
        return Rational(made, each(lambda one: one**count, unit), x.kind)
    if node.op_type.endswith(("Max", "MaxPool", "Min")):
        reduce = np.min if node.op_type == "ReduceMin" else np.max
        return Rational(np.asarray(reduce(x.integers, axis=places, keepdims=keep)), unit, x.kind)
    total = Rational(compact(np.asarray(x.integers.astype(object).sum(axis=places, keepdims=keep))), unit, x.kind)
    return total if node.op_type == "ReduceSum" else scaled(total, units(Fraction(1, count), total.integers.ndim))


@computes("Softmax", "LogSoftmax")
def _softmax(node: Node) -> Tensor:
    rank = node.rank()
    axis = node.attribute("axis", 1 if node.opset < 13 else -1) % rank
    # old versions normalise over all axes from theirs on
    return Softened(node.input(), tuple(range(axis + 1, rank + 1)) if node.opset < 13 else (axis + 1,))


@computes("ArgMax")
def _argmax(node: Node) -> Rational:
    axis = node.attribute("axis", 0) % node.rank() + 1
    values = uniform(node.compared(axis), (axis,)).integers
    best = np.argmax(values, axis)
    if node.attribute("select_last_index", 0):
        best = values.shape[axis] - 1 - np.argmax(np.flip(values, axis), axis)
    return whole(np.expand_dims(best, axis) if node.attribute("keepdims", 1) else best, "int64")


@computes("TopK")
def _topk(node: Node) -> list[Tensor]:
    """The greatest, of equal ones the first; values only of numbers that are known."""
    axis = node.attribute("axis", -1) % node.rank() + 1
    x = uniform(node.compared(axis), (axis,))
    count = int(node.input(1).numbers()[0]) if node.has(1) else node.attribute("k", 1)
    values = -x.integers if node.attribute("largest", 1) else x.integers
    order = np.argsort(values, axis, kind="stable").take(np.arange(count), axis)
    best = Rational(np.take_along_axis(x.integers, order, axis), x.unit, x.kind)
    return [Softened(best, ()) if isinstance(node.inputs[0], Softened) else best, whole(order, "int64")]


@computes("Cast", "CastLike", orderly=True)
def _cast(node: Node) -> Rational:
    """To a float type nothing changes; to an integer type numbers are cut towards zero."""
    x = node.input()
    kind = node.input(1).kind if node.op_type == "CastLike" else kind_of(node.attribute("to", TensorProto.FLOAT))
    if kind == "bool":
        return whole((x.integers != 0).astype(np.int64), kind)
    if kind == "float":
        return Rational(x.integers, x.unit, kind)
    return whole(quantizers.rounded(x, "DOWN"), kind)


