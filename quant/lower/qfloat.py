"""Functions of 8-bit integers that onnxruntime computes in float32, one IEEE operation after the other.

The operators come from `leftovers`: DequantizeLinear, functions, QuantizeLinear as one.  A function of one integer is a
table.  A function of two is evaluated on all pairs; the lowering makes it a step function of an exact sum or product,
for float32 rounding never turns an order round, and refuses where no step function gives every pair its level.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from .chain import ALL, NONE, Half
from .close import close
from .context import Context
from .errors import LoweringError
from .exact import ONE, ZERO, Ints, filled
from .layout import in_own_layout
from .node import OnnxNode
from .qjoins import reach_of, separated, summed, tabled
from .qlinear import Operands, accumulator, ruled
from .realise import integers_of
from .semantics import F32
from .steps import Steps
from .tensors import Act


def _functions(node: OnnxNode) -> list[tuple[str, np.float32, np.float32]]:
    names, numbers = node.attribute("functions", []), np.array(node.attribute("numbers", []), np.float32)
    return [(name.decode(), numbers[2 * i], numbers[2 * i + 1]) for i, name in enumerate(names)]


def _applied(x: F32, functions: list[tuple[str, np.float32, np.float32]]) -> F32:
    for name, a, b in functions:
        if name == "Relu":
            x = np.maximum(x, np.float32(0))
        elif name == "LeakyRelu":
            x = np.where(x >= 0, x, a * x)
        elif name == "HardSigmoid":
            x = np.clip(a * x + b, np.float32(0), np.float32(1))
        else:  # Clip; NaN is no bound
            x = np.fmin(np.fmax(x, a), b)
    return x


@ruled("Float32Table")
def _table(ctx: Context, node: OnnxNode, parts: Operands) -> Act:
    (x,) = parts.inputs
    out, functions = parts.output, _functions(node)
    if functions[0][0] == "Sigmoid":
        return tabled(ctx, x, out, lambda n: ctx.semantics.sigmoid(n, x.scale, out))
    return tabled(ctx, x, out, lambda n: ctx.semantics.quantize(_applied(n.astype(np.float32) * x.scale, functions), out))


@ruled("Float32Add", "Float32Sub", "Float32Mul")
def _pairs(ctx: Context, node: OnnxNode, parts: Operands) -> Act:
    out, kind = parts.output, node.op_type.removeprefix("Float32")
    acts = [in_own_layout(ctx, integers_of(ctx, one.act)) for one in parts.inputs]
    if kind != "Mul" and acts[0].shape != acts[1].shape:
        raise LoweringError(f"it joins tensors of shapes {acts[0].shape} and {acts[1].shape}; bring both to one shape, for example "
                            "with Expand")
    reach: list[Ints] = [np.arange(low, high + 1) for low, high in (reach_of(ctx, act) for act in acts)]
    reals = [(one - side.zero).astype(np.float32) * side.scale for one, side in zip(reach, parts.inputs, strict=True)]
    a, b = reals[0][:, None], reals[1][None]
    joined = a + b if kind == "Add" else a - b if kind == "Sub" else a * b
    table = np.clip(ctx.semantics.quantize(_applied(joined, _functions(node)), out), out.low, out.high)
    scale = Fraction(float(out.scale))
    if kind != "Mul":
        sign = 1 if kind == "Add" else -1
        sides = [[Fraction(float(one)) * turn / scale for one in real] for real, turn in zip(reals, (1, sign), strict=True)]
        return summed(ctx, node, acts, reach, sides, table, out)
    products = (reach[0] - parts.inputs[0].zero)[:, None] * (reach[1] - parts.inputs[1].zero)
    bounds = separated(products, table, out)
    if bounds is None:
        raise LoweringError("in float32, two pairs of its integers with one product give different levels; change one of its "
                            "scales slightly, or use exact semantics")
    acc = accumulator(ctx, node, "Mul", [one.centred() for one in parts.inputs])
    rank = len(acc.shape)
    slope = Fraction(float(parts.inputs[0].scale)) * Fraction(float(parts.inputs[1].scale)) / scale
    low, high = int(products.min()), int(products.max())
    halves = [ALL if one <= low else NONE if one > high else Half("ge", slope * one) for one in bounds[1]]
    one, zero = filled(ONE, rank), filled(ZERO, rank)
    return close(ctx, acc, Steps(filled(slope, rank), zero, out.low, [halves], filled(0, rank), one, zero))
