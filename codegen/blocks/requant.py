"""`requant`: multiply, shift, round, add a zero point, saturate.  Parameters and latency: `hwsim.engines.elementwise.Requant`.

Every rounding is the floor, or the floor and 1: which one depends on the sign, on the half bit and on whether anything
lies below it.  So a rounding costs one carry chain, and the zero point rides on the same one.
"""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Cat, Const, Module, Signal, Value
from numpy.typing import NDArray

from hwsim.engines.elementwise import Requant

from .elementwise import ElementwiseBlock, clamped
from .numbers import spanning
from .sequencer import register

Int64 = NDArray[np.int64]
#: The first of gemmlowp's two shifts.
HIGH_MULTIPLY = 31


class RequantBlock(ElementwiseBlock[Requant]):
    """``y = clip(round(x * multiplier[c] / 2**shift[c]) + zero_point[c], out.lo, out.hi)``.

    Parameters
    ----------
    params : Requant
    multiplier, shift, zero_point : int64 (channels,), or (1,) for all alike
    stem : str
        Prefix of its memory files.
    """

    names = ("multiplier", "alignment", "zero_point")

    def __init__(self, params: Requant, multiplier: Int64, shift: Int64, zero_point: Int64, stem: str) -> None:
        super().__init__(params, (multiplier, params.shift_type.hi - shift, zero_point), stem)

    def lane(self, m: Module, advance: Value, n: int, x: Value, constants: list[Value]) -> Value:
        p = self.params
        multiplier, alignment, zero = constants
        shift, rounding = p.shift_type.hi, p.rounding
        kinds = [p.multiplier_type, p.alignment_type, p.zero_type]
        ends = [(c.value, c.value) if isinstance(c, Const) else (kind.lo, kind.hi)
                for c, kind in zip(constants, kinds, strict=True)]
        if isinstance(alignment, Const):  # a wired channel has its own shift
            shift, alignment, ends[1] = shift - alignment.value, Const(0), (0, 0)

        corners = [a * b for a in (p.x_type.lo, p.x_type.hi) for b in ends[0]]
        lo, hi = min(corners), max(corners)
        value: Value = self._held(m, advance, x * multiplier, lo, hi, f"product{n}")
        zero, alignment = (c if isinstance(c, Const) else register(m, advance, c, f"held{k}_{n}")
                           for k, c in enumerate((zero, alignment)))
        if rounding == "gemmlowp":
            lo, hi = lo >> HIGH_MULTIPLY, -(-hi >> HIGH_MULTIPLY)
            value = self._held(m, advance, rounded(value, HIGH_MULTIPLY, "half_up", Const(0)), lo, hi, f"high{n}")
            zero, alignment = (c if isinstance(c, Const) else register(m, advance, c, f"again{k}_{n}")
                               for k, c in enumerate((zero, alignment)))
            shift, rounding = shift - HIGH_MULTIPLY, "half_away"
        if not isinstance(alignment, Const):
            lo, hi = min(lo, lo << ends[1][1]), max(hi, hi << ends[1][1])
            wide = Signal(spanning(lo, hi), name=f"aligned{n}")
            m.d.comb += wide.eq(value << alignment)
            value = wide
        lo, hi = (lo >> shift) + ends[2][0], -(-hi >> shift) + ends[2][1]
        value = self._held(m, advance, rounded(value, shift, rounding, zero), lo, hi, f"rounded{n}")
        return clamped(value, lo, hi, p.out_type.lo, p.out_type.hi)

    @staticmethod
    def _held(m: Module, advance: Value, value: Value, lo: int, hi: int, name: str) -> Signal:
        """A register for a value in [lo, hi]."""
        held = Signal(spanning(lo, hi), name=name, reset_less=True)
        with m.If(advance):
            m.d.sync += held.eq(value)
        return held


def rounded(p: Value, shift: int, rounding: str, plus: Value) -> Value:
    """``round(p / 2**shift) + plus``; roundings as in `intir.ops.requant`, without the double one."""
    p, plus = _signed(p), _signed(plus)
    if shift == 0:
        return p + plus
    if shift >= len(p):  # sign bits to look at
        p = Cat(p, p[-1].replicate(shift + 1 - len(p))).as_signed()
    floor, half, rest, negative = p[shift:].as_signed(), p[shift - 1], p[:shift - 1].any(), p[-1]
    up = {
        "floor": Const(0, 1),
        "ceil": half | rest,
        "toward_zero": negative & (half | rest),
        "half_up": half,
        "half_away": half & (rest | ~negative),
        "half_even": half & (rest | floor[0]),
    }[rounding]
    # One carry chain for three terms: 2 floor + 1, and 2 plus + up.
    return (Cat(Const(1, 1), floor).as_signed() + Cat(up, plus).as_signed()) >> 1


def _signed(value: Value) -> Value:
    return value if value.shape().signed else Cat(value, Const(0, 1)).as_signed()
