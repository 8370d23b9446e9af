"""Quantizers: Quant, IntQuant, BipolarQuant, Sign, MultiThreshold, Trunc.

Each reads its constants and describes itself as `Steps`; `close` does the rest.  Of a constant they make a constant
that keeps its integers, for products to find.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from .chain import ALL, NONE, Half
from .close import close
from .context import Context
from .errors import LoweringError
from .exact import ONE, ZERO, Array, Ints, Param, aligned, filled, objects
from .node import OnnxNode, folds, lowers
from .steps import Steps, rounding
from .tensors import Act, Const, Shape

MAX_LEVEL_BITS = 16  # of an activation's quantizer: one threshold per level
MAX_CONST_BITS = 32


def scale_of(const: Const, shape: Shape, what: str = "scale") -> Param:
    """A quantizer's scale, aligned to its tensor; checked to be finite and not 0."""
    try:
        values = const.param()
    except LoweringError as error:
        raise LoweringError(f"its {what} is not usable: {error}") from None
    if any(value == 0 for value in values.ravel()):
        raise LoweringError(f"its {what} holds 0; every scale must be a number other than 0, so calibrate the quantizer again")
    return aligned(values, shape)


def _bits(node: OnnxNode, position: int, shape: Shape, limit: int) -> Param:
    bits = node.const(position, "bit width").param()
    for value in bits.ravel():
        if value.denominator != 1 or not 1 <= value <= limit:
            raise LoweringError(f"its bit width is {float(value):g}; it must be a whole number from 1 to {limit}")
    return aligned(bits, shape)


class _Quant:
    """The constants of a Quant or IntQuant node."""

    def __init__(self, node: OnnxNode, shape: Shape, limit: int) -> None:
        if len(node.inputs) != 4:
            raise LoweringError(f"it has {len(node.inputs)} inputs; a Quant has 4: tensor, scale, zero point, bit width")
        self.scale = scale_of(node.const(1, "scale"), shape)
        self.zero = aligned(node.const(2, "zero point").param(), shape)
        self.bits = _bits(node, 3, shape, limit)
        self.signed, narrow = node.flag("signed", 1), node.flag("narrow", 0)
        self.mode = str(node.attribute("rounding_mode", "ROUND"))
        self.rule = rounding(self.mode)
        #: One-bit signed is {-1, +1} with 0 -> +1: QONNX defines it so, whatever `narrow` says.
        self.bipolar = self.signed and all(bits == 1 for bits in self.bits.ravel())
        if self.signed and not self.bipolar and any(bits == 1 for bits in self.bits.ravel()):
            raise LoweringError("it mixes 1-bit signed channels, which are {-1, +1}, with wider ones; split it into two quantizers")
        self.lo = _each(self.bits, lambda bits: -(2 ** (bits - 1)) + narrow if self.signed else 0)
        self.hi = _each(self.bits, lambda bits: 2 ** (bits - 1) - 1 if self.signed else 2**bits - 1 - narrow)
        if any(low >= high for low, high in zip(self.lo.ravel(), self.hi.ravel(), strict=True)) and not self.bipolar:
            raise LoweringError("it has a single level (1 bit, unsigned, narrow); give it more bits")
        self.factor = objects(1 / self.scale)
        self.offset = objects(-self.zero * self.scale)

    def steps(self, rank: int) -> Steps:
        """The step function."""
        if self.bipolar:
            # levels -1 and +1: q = -1 + 2k
            return Steps(self.factor, self.zero, 0, [[Half("ge")]], filled(0, rank), objects(2 * self.scale),
                         objects(self.offset - self.scale))
        lo, hi = min(self.lo.ravel()), max(self.hi.ravel())
        ranges = sorted(set(zip(self.lo.ravel(), self.hi.ravel(), strict=True)))
        group = objects([ranges.index(pair) for pair in zip(self.lo.ravel(), self.hi.ravel(), strict=True)], self.lo.shape)
        bounds = [[ALL if q <= low else NONE if q > high else self.rule(q) for q in range(lo + 1, hi + 1)]
                  for low, high in ranges]
        return Steps(self.factor, self.zero, lo, bounds, group, self.scale, self.offset)


def _each(param: Param, function: Callable[[int], int]) -> Param:
    return objects([function(int(value)) for value in param.ravel()], param.shape)


@lowers("Quant", "IntQuant")
def _quant(ctx: Context, node: OnnxNode) -> Act:
    act = node.act()
    return close(ctx, act, _Quant(node, act.shape, MAX_LEVEL_BITS).steps(len(act.shape)))


@folds("Quant", "IntQuant")
def _quant_const(node: OnnxNode) -> Const:
    const = node.const(0, "tensor")
    quant = _Quant(node, const.shape, MAX_CONST_BITS)
    if quant.bipolar:
        at = const.exact() * quant.factor + quant.zero
        return Const(np.where(at >= 0, 1, -1).astype(np.int64).reshape(const.shape), quant.scale, quant.offset)
    levels = _levels(const, quant)
    if all(zero.denominator == 1 for zero in quant.zero.ravel()):
        levels = levels - _each(quant.zero, int).astype(np.int64)
        return Const(levels, quant.scale, filled(ZERO, levels.ndim))
    return Const(levels, quant.scale, quant.offset)


def _levels(const: Const, quant: _Quant) -> Ints:
    """round(clamp(x / scale + zero)): float64 where that is certain, exact rationals near a boundary."""
    lo, hi = quant.lo.astype(np.float64), quant.hi.astype(np.float64)
    base = const.base if const.is_plain and const.base.dtype != object else None
    if base is None:
        values = const.exact()
        approximate = np.array([float(value) for value in values.ravel()], np.float64).reshape(const.shape)
    else:
        approximate = base.astype(np.float64)
        if not np.isfinite(approximate).all():
            raise LoweringError(f"the tensor that it quantizes holds {approximate[~np.isfinite(approximate)][0]}; every weight "
                                "must be a finite number")
    v = approximate * quant.factor.astype(np.float64) + quant.zero.astype(np.float64)
    clamped = np.clip(v, lo, hi)
    # Boundaries lie at k + 1/2 for modes that round to nearest, at k for the others; a value that is clamped has none.
    shift = 0.5 if _mode(quant) in ("ROUND", "HALF_UP", "HALF_DOWN") else 0.0
    slack = 1e-12 * (np.abs(v) + np.abs(quant.zero.astype(np.float64)) + 1)
    doubtful = (np.abs(v - shift - np.rint(v - shift)) <= slack) & (v > lo - 1) & (v < hi + 1)
    levels = np.asarray(_FLOAT_ROUNDINGS[_mode(quant)](clamped)).astype(np.int64)
    for place in np.argwhere(doubtful):
        where = tuple(int(one) for one in place)
        at = [param[tuple(i if size > 1 else 0 for i, size in zip(where, param.shape, strict=True))]
              for param in (quant.factor, quant.zero, quant.lo, quant.hi)]
        value = Fraction(approximate[where].item()) if base is not None else Fraction(values[where])
        levels[where] = round_exactly(min(max(value * at[0] + at[1], at[2]), at[3]), _mode(quant))
    return levels


def _mode(quant: _Quant) -> str:
    return {"HALF_EVEN": "ROUND", "ROUND_TO_ZERO": "DOWN"}.get(quant.mode.upper(), quant.mode.upper())


_FLOAT_ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "ROUND": np.rint, "FLOOR": np.floor, "CEIL": np.ceil, "DOWN": np.trunc,
    "UP": lambda v: np.sign(v) * np.ceil(np.abs(v)),
    "HALF_UP": lambda v: np.sign(v) * np.floor(np.abs(v) + 0.5),
    "HALF_DOWN": lambda v: np.sign(v) * np.ceil(np.abs(v) - 0.5),
}


def round_exactly(value: Fraction | int, mode: str) -> int:
    """A rational rounded to an integer by a QONNX rounding mode.

    >>> [round_exactly(Fraction(5, 2), mode) for mode in ("ROUND", "HALF_UP", "HALF_DOWN", "CEIL", "FLOOR")]
    [2, 3, 2, 3, 2]
    """
    rule = rounding(mode)
    level = math.floor(value) - 1
    while rule(level + 1).holds(Fraction(value)):
        level += 1
    return level


@lowers("BipolarQuant")
def _bipolar(ctx: Context, node: OnnxNode) -> Act:
    act = node.act()
    scale, rank = scale_of(node.const(1, "scale"), act.shape), len(act.shape)
    steps = Steps(filled(ONE, rank), filled(ZERO, rank), 0, [[Half("ge")]], filled(0, rank), objects(2 * scale), objects(-scale))
    return close(ctx, act, steps)


@folds("BipolarQuant")
def _bipolar_const(node: OnnxNode) -> Const:
    const = node.const(0, "tensor")
    scale = scale_of(node.const(1, "scale"), const.shape)
    values = const.base if const.is_plain and const.base.dtype != object else const.exact()
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise LoweringError(f"the tensor that it quantizes holds {values[~np.isfinite(values)][0]}; every weight must be a finite "
                            f"number")
    bipolar = np.where(values >= 0, 1, -1).astype(np.int64).reshape(const.shape)
    return Const(bipolar, scale, filled(ZERO, bipolar.ndim))


@lowers("Sign")
def _sign(ctx: Context, node: OnnxNode) -> Act:
    act = node.act()
    one, zero = filled(ONE, len(act.shape)), filled(ZERO, len(act.shape))
    return close(ctx, act, Steps(one, zero, -1, [[Half("ge"), Half("gt")]], filled(0, len(act.shape)), one, zero))


@lowers("MultiThreshold")
def _multithreshold(ctx: Context, node: OnnxNode) -> Act:
    act = node.act()
    table = node.const(1, "thresholds").exact()
    rank = len(act.shape)
    layout = node.attribute("data_layout", "") or {2: "NC", 3: "NWC", 4: "NCHW"}.get(rank, "")
    axis = layout.index("C") if "C" in layout else 1
    if table.ndim != 2 or table.shape[1] == 0 or axis >= rank or table.shape[0] not in (1, act.shape[axis]):
        raise LoweringError(f"its thresholds have shape {table.shape}, but the tensor has shape {act.shape}; give (channels, "
                            f"steps)")
    bounds = [[Half("ge", bound) for bound in sorted(row)] for row in table]
    group = np.arange(len(table)).astype(object).reshape([len(table) if i == axis else 1 for i in range(rank)])
    scale, bias = (Fraction(float(node.attribute(name, default))) for name, default in (("out_scale", 1.0), ("out_bias", 0.0)))
    if scale == 0:
        raise LoweringError("its out_scale is 0; give a number other than 0")
    one = filled(ONE, rank)
    return close(ctx, act, Steps(one, filled(ZERO, rank), 0, bounds, group, filled(scale, rank), filled(bias, rank)))
