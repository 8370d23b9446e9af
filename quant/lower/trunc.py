"""Trunc: dropping low bits of a quantized tensor, both versions of the QONNX operator.

It rounds twice: to the input's grid (half to even), then, divided by a power of two, by its own mode.  Both are rising,
so level q holds from the least grid integer m on whose quotient rounds to q or more.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from .close import close
from .columns import extent
from .context import Context
from .errors import LoweringError
from .exact import Param, aligned, filled, objects
from .node import OnnxNode, lowers
from .steps import ROUNDINGS, Steps, rounding
from .tensors import Act


@lowers("Trunc")
def _trunc(ctx: Context, node: OnnxNode) -> Act:
    act = node.act()
    if len(node.inputs) not in (5, 6):
        raise LoweringError(f"it has {len(node.inputs)} inputs; a Trunc has 5 (version 1) or 6 (version 2)")
    rank = len(act.shape)
    scale, zero = (aligned(node.const(i, what).param(), act.shape) for i, what in ((1, "scale"), (2, "zero point")))
    if any(one == 0 for one in scale.ravel()):
        raise LoweringError("its scale holds 0; every scale must be a number other than 0")
    mode = rounding(str(node.attribute("rounding_mode", "FLOOR")))
    factor = objects(1 / scale)
    if len(node.inputs) == 5:
        shift = _bits(node, 3) - _bits(node, 4)
        out_scale, out_zero = scale, zero  # version 1 keeps both as they are
        low, high = extent(ctx, act.linear(factor, zero))
        levels = math.floor(low / 2**shift) - 2, math.ceil(high / 2**shift) + 2
    else:
        out_scale = aligned(node.const(4, "output scale").param(), act.shape)
        shift = _shift(out_scale, scale)
        out_zero = objects(zero / Fraction(2) ** shift)
        bits, narrow = _bits(node, 5), node.flag("narrow")
        levels = (-(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1) if node.flag("signed", 1) else (0, 2**bits - 1 - narrow)
    if shift < 0 or levels[1] - levels[0] > 2**16:
        raise LoweringError(f"it drops {shift} bits and has {levels[1] - levels[0] + 1} levels; it must drop 0 or more and leave "
                            f"at most "
                            "65536 levels")
    bounds = []
    for q in range(levels[0] + 1, levels[1] + 1):
        half = mode(q)  # the quotient m / 2**shift must lie in it
        least = math.ceil(half.bound * 2**shift)
        least += int(half.kind == "gt" and least == half.bound * 2**shift)
        bounds.append(ROUNDINGS["ROUND"](least))
    return close(ctx, act, Steps(factor, zero, levels[0], [bounds], filled(0, rank), out_scale, objects(-out_zero * out_scale)))


def _bits(node: OnnxNode, position: int) -> int:
    bits = node.const(position, "bit width").scalar("its bit width")
    if bits.denominator != 1 or not 1 <= bits <= 64:
        raise LoweringError(f"its bit width is {float(bits):g}; it must be a whole number from 1 to 64")
    return int(bits)


def _shift(out_scale: Param, scale: Param) -> int:
    shifts = {round(math.log2(o / s)) for o, s in zip(*(one.ravel() for one in np.broadcast_arrays(out_scale, scale)), strict=True)}
    if len(shifts) != 1:
        raise LoweringError(f"its scales drop different numbers of bits ({sorted(shifts)}); use one for all channels")
    return shifts.pop()
