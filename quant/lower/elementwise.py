"""Element-wise operators with constants: they only extend an activation's chain of exact functions.

To add one: a `Function` in `chain.py` if no existing one serves, and a handler here.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from .chain import Clip, Leaky
from .context import Context
from .errors import LoweringError
from .exact import ONE, ZERO, Param, aligned, filled, fractions, objects
from .fold import shape_of
from .node import OnnxNode, folds, lowers
from .tensors import Act, Const, Source, Tensor


def _pair(node: OnnxNode) -> tuple[Act, Param, bool]:
    """An activation and a constant that broadcast together, and whether the constant came first."""
    first = isinstance(node.inputs[0], Const)
    act, const = node.act(int(first)), node.const(int(not first), "operand")
    try:
        shape = np.broadcast_shapes(act.shape, const.shape)
    except ValueError:
        raise LoweringError(f"shapes {act.shape} and {const.shape} do not broadcast; export the network again") from None
    if shape != act.shape:
        act = act.moved(lambda values: np.broadcast_to(values.reshape((1,) * (len(shape) - values.ndim) + values.shape), shape))
    return act, aligned(const.param(), shape), first


def mul_const(ctx: Context, node: OnnxNode) -> Act:
    """Mul with a constant."""
    act, factor, _ = _pair(node)
    return act.linear(factor, filled(ZERO, len(act.shape)))


@lowers("Div")
def _div(ctx: Context, node: OnnxNode) -> Act:
    if node.joins or isinstance(node.inputs[0], Const):
        raise LoweringError("it divides by a computed tensor, which the IR does not do; only constant divisors are supported")
    act, divisor, _ = _pair(node)
    if any(value == 0 for value in divisor.ravel()):
        raise LoweringError("it divides by 0; correct the constant")
    return act.linear(objects(ONE / divisor), filled(ZERO, len(act.shape)))


def add_const(ctx: Context, node: OnnxNode) -> Act:
    """Add or Sub with a constant."""
    act, summand, first = _pair(node)
    one = filled(ONE, len(act.shape))
    if node.op_type == "Add":
        return act.linear(one, summand)
    return act.linear(objects(-one), summand) if first else act.linear(one, objects(-summand))


@lowers("Neg")
def _neg(ctx: Context, node: OnnxNode) -> Act:
    act = node.act()
    return act.linear(filled(-ONE, len(act.shape)), filled(ZERO, len(act.shape)))


@lowers("Relu")
def _relu(ctx: Context, node: OnnxNode) -> Act:
    rank = len(node.act().shape)
    return node.act().then(Clip((filled(ZERO, rank), filled(None, rank))))


@lowers("Clip")
def _clip(ctx: Context, node: OnnxNode) -> Act:
    act = node.act()
    ends = []
    for position, name in ((1, "min"), (2, "max")):
        if node.has(position):
            ends.append(filled(node.const(position, name).scalar(name), len(act.shape)))
        else:
            value = node.attribute(name)
            ends.append(filled(None if value is None else fractions(np.array(float(value))).item(), len(act.shape)))
    return act.then(Clip((ends[0], ends[1])))


@lowers("Max", "Min")
def _extreme(ctx: Context, node: OnnxNode) -> Act:
    if len(node.inputs) != 2 or node.joins:
        raise LoweringError(f"it compares {len(node.inputs)} tensors; only one computed tensor and one constant are supported")
    act, bound, _ = _pair(node)
    none = filled(None, len(act.shape))
    return act.then(Clip((bound, none) if node.op_type == "Max" else (none, bound)))


@lowers("HardTanh", "Hardtanh")
def _hardtanh(ctx: Context, node: OnnxNode) -> Act:
    act = node.act()
    low, high = (fractions(np.array(float(node.attribute(name, default)))).item()
                 for name, default in (("min_val", -1.0), ("max_val", 1.0)))
    return act.then(Clip((filled(low, len(act.shape)), filled(high, len(act.shape)))))


@lowers("HardSigmoid")
def _hardsigmoid(ctx: Context, node: OnnxNode) -> Act:
    act, rank = node.act(), len(node.act().shape)
    # ONNX's default 0.2 is a float32
    alpha, beta = (fractions(np.array(np.float32(node.attribute(name, default)))).item()
                   for name, default in (("alpha", 0.2), ("beta", 0.5)))
    return act.linear(filled(alpha, rank), filled(beta, rank)).then(Clip((filled(ZERO, rank), filled(ONE, rank))))


@lowers("LeakyRelu")
def _leaky(ctx: Context, node: OnnxNode) -> Act:
    slope = fractions(np.array(np.float32(node.attribute("alpha", 0.01)))).item()
    return node.act().then(Leaky((filled(slope, len(node.act().shape)),)))


@lowers("Abs")
def _abs(ctx: Context, node: OnnxNode) -> Act:
    return node.act().then(Leaky((filled(-ONE, len(node.act().shape)),)))


@lowers("PRelu")
def _prelu(ctx: Context, node: OnnxNode) -> Act:
    act = node.act()
    return act.then(Leaky((aligned(node.const(1, "slope").param(), act.shape),)))


@lowers("BatchNormalization")
def _batchnorm(ctx: Context, node: OnnxNode) -> Act:
    """Evaluation mode: (x - mean) / sigma * gamma + beta, sigma = sqrt(var + epsilon) in float32, all else exact."""
    act = node.act()
    if node.flag("training_mode"):
        raise LoweringError("it is in training mode, so its statistics depend on the data; export the network in eval mode")
    gamma, beta, mean, var = (node.const(i, what) for i, what in enumerate(("scale", "bias", "mean", "variance"), 1))
    epsilon = np.float32(node.attribute("epsilon", 1e-5))
    if len(act.shape) < 2 or any(one.shape != (act.shape[1],) for one in (gamma, beta, mean, var)):
        raise LoweringError(f"its constants have shapes {[one.shape for one in (gamma, beta, mean, var)]}, but the tensor has "
                            f"shape "
                            f"{act.shape}; they must have one number per channel")
    with np.errstate(all="ignore"):
        sigma = np.sqrt(var.floats() + epsilon)
    if not np.isfinite(sigma).all() or not (sigma > 0).all():
        raise LoweringError(f"its variance plus epsilon is {float((var.floats() + epsilon).min())}; it must be above 0 and finite")
    factor = gamma.exact() / fractions(sigma)
    summand = beta.exact() - mean.exact() * factor
    shape = (1, -1) + (1,) * (len(act.shape) - 2)
    return act.linear(factor.reshape(shape), summand.reshape(shape))


@folds("Identity", "Dropout")
def _same_const(node: OnnxNode) -> Const:
    return node.const(0, "operand")


@lowers("Identity", "Dropout", "DebugMarker")
def _same(ctx: Context, node: OnnxNode) -> Tensor:
    return node.act()


@lowers("Cast")
def _cast(ctx: Context, node: OnnxNode) -> Tensor:
    """To a float type it changes nothing; to an integer type it would round, unless every value is an integer."""
    act = node.act()
    kind = np.dtype(helper.tensor_dtype_to_np_dtype(node.integer("to", TensorProto.FLOAT))).kind
    whole = not act.chain and all(value.denominator == 1 for param in (act.scale, act.offset) for value in param.ravel())
    if kind in "iub" and (kind == "b" or not whole or isinstance(act.carrier, Source)):
        raise LoweringError("it casts values that are no integers to an integer type; quantize them with Quant instead")
    return act


@lowers("Shape")
def _shape(ctx: Context, node: OnnxNode) -> Const:
    return shape_of(node, node.act().shape)


@lowers("Size")
def _size(ctx: Context, node: OnnxNode) -> Const:
    return Const.plain(np.array(node.act().where.size, np.int64))
