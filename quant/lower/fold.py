"""Constant folding: operators whose inputs are all constants.

What has an exact rational result is computed exactly (Add, Div, the quantizers, everything that moves values).  What
is irrational in general (Sqrt, Pow, Exp, Log, Sigmoid, Tanh, ...) is computed as the graph's executor would: the
inputs are rounded to float32, and so is the result of the float64 function.  From there on that float32 is taken as
the exact rational it is.  So `Div(x, Pow(var, 0.5))` divides exactly by the float32 nearest to the root.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from .errors import LoweringError
from .exact import objects
from .load import MAX_ELEMENTS
from .node import OnnxNode, folds
from .tensors import Const

#: Of the numerator and denominator of a constant.
MAX_CONST_BITS = 4096


def _native(*consts: Const) -> bool:
    """True if numpy's int64 computes with these exactly (shape arithmetic: small integers)."""
    return all(const.is_plain and const.base.dtype.kind in "iu" and const.base.dtype != np.uint64
               and (const.base.size == 0 or int(np.abs(const.base.astype(np.int64)).max()) < 2**31) for const in consts)


def _constants(node: OnnxNode) -> list[Const]:
    return [one for one in node.inputs if isinstance(one, Const)]


def _broadcastable(consts: list[Const]) -> None:
    try:
        shape = np.broadcast_shapes(*(const.shape for const in consts))
    except ValueError:
        raise LoweringError(f"constants of shapes {[const.shape for const in consts]} do not broadcast; export again") from None
    if math.prod(shape) > MAX_ELEMENTS:
        raise LoweringError(f"makes a constant of shape {shape}, beyond the limit of {MAX_ELEMENTS} elements")


def _short_enough(*consts: Const) -> None:
    """Squaring a constant again and again doubles its digits: no sound network comes near this limit."""
    for const in consts:
        for param in (const.scale, const.offset, *([const.base] if const.base.dtype == object else [])):
            parts = (part for one in param.ravel() for part in (Fraction(one).numerator, Fraction(one).denominator))
            if any(part.bit_length() > MAX_CONST_BITS for part in parts):
                raise LoweringError(f"its constants are fractions of more than {MAX_CONST_BITS} bits; compute them before "
                                    "the export")


@folds("Add", "Sub", "Mul", "Div")
def _arithmetic(node: OnnxNode) -> Const:
    a, b = (node.const(position, "operand") for position in (0, 1))
    _broadcastable([a, b])
    if node.op_type == "Div" and any(value == 0 for value in b.param().ravel()):
        raise LoweringError("it divides by 0; correct the constant")
    if _native(a, b):
        x, y = a.base.astype(np.int64), b.base.astype(np.int64)
        if node.op_type == "Div":  # ONNX integer division truncates
            return Const.plain(np.asarray(np.trunc(x / y), np.int64))
        return Const.plain(np.asarray({"Add": operator.add, "Sub": operator.sub, "Mul": operator.mul}[node.op_type](x, y)))
    _short_enough(a, b)
    shape = np.broadcast_shapes(a.shape, b.shape)
    if a.shape == shape and not (node.op_type in ("Add", "Sub") and b.param().size == b.base.size > 1):
        # Keep a's integers: scaling quantized weights must not lose their grid.
        p = b.param().reshape((1,) * (len(shape) - b.base.ndim) + b.param().shape)
        if node.op_type == "Mul":
            return Const(a.base, objects(a.scale * p), objects(a.offset * p))
        if node.op_type == "Div":
            return Const(a.base, objects(a.scale / p), objects(a.offset / p))
        return Const(a.base, a.scale, objects(a.offset + p if node.op_type == "Add" else a.offset - p))
    if b.shape == shape and node.op_type == "Mul":
        p = a.param().reshape((1,) * (len(shape) - a.base.ndim) + a.param().shape)
        return Const(b.base, objects(b.scale * p), objects(b.offset * p))
    function = {"Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Div": operator.truediv}[node.op_type]
    return Const.plain(objects(function(a.exact(), b.exact()), shape))


@folds("Neg")
def _negate(node: OnnxNode) -> Const:
    a = node.const(0, "operand")
    return Const(a.base, objects(-a.scale), objects(-a.offset))


def _elementwise(function: Callable[[Fraction], Fraction]) -> Callable[[OnnxNode], Const]:
    def fold(node: OnnxNode) -> Const:
        a = node.const(0, "operand")
        return Const.plain(objects([function(Fraction(value)) for value in a.exact().ravel()], a.shape))
    return fold


folds("Abs")(_elementwise(abs))
folds("Relu")(_elementwise(lambda x: max(x, Fraction(0))))
folds("Sign")(_elementwise(lambda x: Fraction((x > 0) - (x < 0))))
folds("Floor")(_elementwise(lambda x: Fraction(math.floor(x))))
folds("Ceil")(_elementwise(lambda x: Fraction(math.ceil(x))))
folds("Round")(_elementwise(lambda x: Fraction(round(x))))  # half-even, as ONNX
folds("Reciprocal")(_elementwise(lambda x: 1 / _nonzero(x)))


def _nonzero(x: Fraction) -> Fraction:
    if x == 0:
        raise LoweringError("it divides by 0; correct the constant")
    return x


_IRRATIONAL: dict[str, Callable[..., Any]] = {
    "Sqrt": np.sqrt, "Exp": np.exp, "Log": np.log, "Tanh": np.tanh, "Erf": np.vectorize(math.erf, otypes=[float]),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)), "Pow": np.power,
}


@folds(*_IRRATIONAL)
def _irrational(node: OnnxNode) -> Const:
    consts = _constants(node)
    _broadcastable(consts)
    with np.errstate(all="ignore"):
        values = _IRRATIONAL[node.op_type](*(const.floats().astype(np.float64) for const in consts))
    result = np.asarray(values, np.float64).astype(np.float32)
    if not np.isfinite(result).all():
        raise LoweringError(f"{node.op_type} of a constant gives {result[~np.isfinite(result)].ravel()[0]}; correct the constant")
    return Const.plain(result)



@folds("Min", "Max")
def _extreme(node: OnnxNode) -> Const:
    consts = _constants(node)
    _broadcastable(consts)
    return Const.plain(objects(reduce(np.minimum if node.op_type == "Min" else np.maximum, [one.exact() for one in consts])))


@folds("Clip")
def _clip(node: OnnxNode) -> Const:
    """Quantized weights are clipped to fewer bits this way (QCDQ), so integers stay integers."""
    a = node.const(0, "operand")
    low, high = (node.const(i, name).scalar(name) if node.has(i) else None if node.attribute(name) is None else
                 Fraction(float(node.attribute(name))) for i, name in ((1, "min"), (2, "max")))
    whole = a.is_plain and a.base.dtype.kind in "iu" and all(end is None or end.denominator == 1 for end in (low, high))
    values = a.base.astype(object) if whole else a.exact()
    for end, function in ((low, np.maximum), (high, np.minimum)):
        if end is not None:
            values = objects(function(values, objects(int(end) if whole else end)), a.shape)
    return Const.plain(values.astype(np.int64) if whole else values)


@folds("Cast", "CastLike")
def _cast(node: OnnxNode) -> Const:
    a = node.const(0, "operand")
    target = node.integer("to", TensorProto.FLOAT)
    kind = np.dtype(helper.tensor_dtype_to_np_dtype(target)).kind
    if kind in "iu":
        return Const.plain(np.array([int(value) for value in a.exact().ravel()], np.int64).reshape(a.shape))
    if kind == "b":
        return Const.plain(np.array([value != 0 for value in a.exact().ravel()], bool).reshape(a.shape))
    if target == TensorProto.FLOAT and a.base.dtype == np.float64:
        return Const.plain(a.floats())
    return a


@folds("Constant")
def _constant(node: OnnxNode) -> Const:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        value = node.attribute(name)
        if value is not None:
            return Const.plain(np.asarray(value, np.float32 if "float" in name else None))
    raise LoweringError("it has no numeric value; export the network again")


@folds("ConstantOfShape")
def _constant_of_shape(node: OnnxNode) -> Const:
    shape = tuple(node.const(0, "shape").integers("its shape"))
    if any(size < 0 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise LoweringError(f"makes a constant of shape {shape}, beyond the limit of {MAX_ELEMENTS} elements")
    value = node.attribute("value")
    return Const.plain(np.full(shape, np.float32(0) if value is None else value.reshape(-1)[0]))


@folds("Range")
def _range(node: OnnxNode) -> Const:
    start, stop, step = (Fraction(node.const(i, "bound").scalar("a bound")) for i in range(3))
    count = max(0, math.ceil((stop - start) / _nonzero(step)))
    if count > MAX_ELEMENTS:
        raise LoweringError(f"makes a constant of {count} elements, beyond the limit of {MAX_ELEMENTS}")
    values = [start + i * step for i in range(count)]
    if all(value.denominator == 1 for value in values):
        return Const.plain(np.array([int(value) for value in values], np.int64))
    return Const.plain(objects(values))


@folds("MatMul")
def _matmul(node: OnnxNode) -> Const:
    a, b = node.const(0, "operand"), node.const(1, "operand")
    if a.base.ndim == 0 or b.base.ndim == 0 or a.base.size * b.shape[-1] > MAX_ELEMENTS:
        raise LoweringError(f"it multiplies constants of shapes {a.shape} and {b.shape}; compute the product before the export")
    return Const.plain(objects(a.exact() @ b.exact()))


@folds("Shape")
def _shape(node: OnnxNode) -> Const:
    return shape_of(node, node.const(0, "operand").shape)


def shape_of(node: OnnxNode, shape: tuple[int, ...]) -> Const:
    """What `Shape` gives for a tensor of that shape."""
    return Const.plain(np.array(shape[node.integer("start", 0):node.attribute("end")], np.int64))


@folds("Size")
def _size(node: OnnxNode) -> Const:
    return Const.plain(np.array(math.prod(node.const(0, "operand").shape), np.int64))


@folds("Concat")
def _concat(node: OnnxNode) -> Const:
    consts, axis = _constants(node), node.integer("axis", 0)
    if sum(const.base.size for const in consts) > MAX_ELEMENTS:
        raise LoweringError(f"makes a constant beyond the limit of {MAX_ELEMENTS} elements")
    if all(const.is_plain and const.base.dtype != object for const in consts):
        return Const.plain(np.concatenate([const.base for const in consts], axis=axis))
    return Const.plain(np.concatenate([const.exact() for const in consts], axis=axis))


@folds("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")
def _reduce(node: OnnxNode) -> Const:
    a = node.const(0, "operand")
    listed = node.optional(1, "axes")
    axes = listed.integers("axes") if listed else node.integers("axes")
    axis = tuple(axes) if axes else tuple(range(a.base.ndim))
    keep = node.flag("keepdims", 1)
    values = a.exact()
    method: dict[str, Callable[..., Any]] = {"ReduceMean": np.sum, "ReduceSum": np.sum, "ReduceMax": np.max,
                                             "ReduceMin": np.min, "ReduceProd": np.prod}
    result = objects(method[node.op_type](values, axis=axis, keepdims=keep))
    if node.op_type == "ReduceMean":
        result = objects(result / Fraction(values.size, max(1, result.size)))
    if _native(a):
        return Const.plain(np.array([int(value) for value in result.ravel()], np.int64).reshape(result.shape))
    return Const.plain(result)


@folds("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual")
def _compare(node: OnnxNode) -> Const:
    a, b = node.const(0, "operand").exact(), node.const(1, "operand").exact()
    function = {"Equal": operator.eq, "Greater": operator.gt, "Less": operator.lt, "GreaterOrEqual": operator.ge,
                "LessOrEqual": operator.le}[node.op_type]
    return Const.plain(np.asarray(function(a, b)).astype(bool))


@folds("Where")
def _where(node: OnnxNode) -> Const:
    condition, a, b = (node.const(i, "operand") for i in range(3))
    _broadcastable([condition, a, b])
    if _native(a, b):
        return Const.plain(np.where(condition.base, a.base, b.base))
    return Const.plain(objects(np.where(condition.base, a.exact(), b.exact())))

